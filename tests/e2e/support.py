"""Small things that the suite's modules share: polling, tar archives, threads, the Docker API."""
import concurrent.futures
import io
import json
import os
import pathlib
import re
import subprocess
import tarfile
import threading
import time

import httpx

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEBIAN = "sandboxd/debian:12"
BUSYBOX = "sandboxd/busybox:1"
DISTROLESS = "sandboxd/distroless:1"
RUNTIME = os.environ.get("SBX_RUNTIME", "")  # of all containers; empty: the service's default
GVISOR = RUNTIME.startswith("runsc")
MIB = 1024 * 1024
GONE = {"detail": "Session not found or already closed"}


def eventually(fn, timeout=20.0, what=""):
    """The first true value of fn(); AssertionErrors count as false until the time is over, which only a failure takes.

    The last look begins when the time is over: a test that stood still does not miss what came in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        last = time.monotonic() >= deadline
        error = None
        try:
            value = fn()
            if value:
                return value
        except AssertionError as e:
            error = e
        if last:
            raise AssertionError(f"not within {timeout} s: {what or fn}") from error
        time.sleep(0.02)


class Background:
    """fn(*args) in a thread; result() waits for it and raises what it raised."""

    def __init__(self, fn, *args, **kwargs):
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._future = self._pool.submit(fn, *args, **kwargs)
        self._pool.shutdown(wait=False)

    def running(self):
        return not self._future.done()

    def result(self, timeout=60):
        return self._future.result(timeout)


def in_parallel(fn, items, threads=None):
    """fn of every item, all at once; the results in order."""
    items = list(items)
    with concurrent.futures.ThreadPoolExecutor(threads or len(items)) as pool:
        return list(pool.map(fn, items))


# --- archives ---


def member(name, content=b"", mode=0o644, **fields):
    """One tar member; directories by type=tarfile.DIRTYPE or a trailing slash."""
    info = tarfile.TarInfo(name.rstrip("/") if name.endswith("/") else name)
    if name.endswith("/"):
        info.type = tarfile.DIRTYPE
    info.mode = mode
    info.size = len(content)
    info.mtime = 1700000000
    for key, value in fields.items():
        setattr(info, key, value)
    if info.type in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        info.size = 0
    return info, content


def tar(members, mode="w", fmt=tarfile.PAX_FORMAT):
    """An archive of (TarInfo, content) pairs, or of a {name: content} dictionary."""
    if isinstance(members, dict):
        members = [member(name, content) for name, content in members.items()]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=fmt) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return out.getvalue()


def zstd(data):
    """A zstd frame of raw blocks: valid, if not small."""
    out = b"\x28\xb5\x2f\xfd\xa0" + len(data).to_bytes(4, "little")
    step = 65536
    blocks = [data[at:at + step] for at in range(0, len(data), step)] or [b""]
    for i, block in enumerate(blocks):
        last = i == len(blocks) - 1
        out += (len(block) << 3 | last).to_bytes(3, "little") + block
    return out


def multipart(fields, boundary="e2e-boundary"):
    """(content type, body) of a multipart form; fields are (name, filename, bytes)."""
    body = b""
    for name, filename, content in fields:
        body += (f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
                 "Content-Type: application/octet-stream\r\n\r\n").encode() + content + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()


# --- commands that last as long as a test likes ---

HELD = "touch /tmp/held; until [ -e /tmp/go ]; do sleep 0.02; done"


def in_container(session, *argv):
    return session.stack.docker.command("exec", session.container, *argv, check=False).returncode == 0


def is_held(session):
    """Wait until the session's command is in HELD."""
    eventually(lambda: in_container(session, "test", "-e", "/tmp/held"), what="the command to begin")


def let_go(session):
    assert in_container(session, "touch", "/tmp/go")


# --- processes ---

PID_MASK = (1 << 22) - 1  # of the number by which the store knows a process; above it is when the process began


def proc_text(pid, name):
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    except (OSError, ProcessLookupError):
        return ""


def proc_state(pid):
    """The letter of ps: R running, S sleeping, Z ended and not reaped …; "" when it is gone."""
    state = re.search(r"^State:\s+(\w)", proc_text(pid, "status"), re.M)
    return state[1] if state else ""


def proc_alive(pid):
    return proc_state(pid) not in ("", "Z", "X")


def proc_born(pid):
    """When it began, in ticks: with it a pid is nobody else's. None when it is gone."""
    fields = proc_text(pid, "stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else None


def proc_parent(pid):
    found = re.search(r"^PPid:\s+(\d+)", proc_text(pid, "status"), re.M)
    return int(found[1]) if found else 0


def open_files(pid):
    """What the descriptors of a process stand for; those that it closes meanwhile are left out."""
    found = []
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                continue
    except OSError:
        pass
    return found


def memory_status(pid, field):
    found = re.search(rf"^{field}:\s+(\d+) kB", proc_text(pid, "status"), re.M)
    return int(found[1]) * 1024 if found else 0


def rss_anon(pid):
    """Private memory of a process in bytes; 0 when it is gone."""
    return memory_status(pid, "RssAnon")


def peak_rss(pid):
    """The most bytes of memory, shared ones included, that a process ever had; 0 when it is gone."""
    return memory_status(pid, "VmHWM")


class PeakResident:
    """with PeakResident(stack): … and then grown: the most bytes that a worker took on meanwhile, what it maps included."""

    def __init__(self, stack):
        self._stack = stack

    def _sizes(self, field):
        found = {pid: re.search(rf"^{field}:\s+(\d+) kB", proc_text(pid, "status"), re.M) for pid in self._stack.children("worker")}
        return {pid: int(size[1]) * 1024 for pid, size in found.items() if size}

    def __enter__(self):
        self._baseline = {pid: size for pid, size in self._sizes("VmRSS").items() if self._forget_peak(pid)}
        return self

    @staticmethod
    def _forget_peak(pid):
        """False when the worker has left meanwhile, as idle ones do."""
        try:
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
            return True
        except (FileNotFoundError, ProcessLookupError):
            return False

    def __exit__(self, *_):
        typical = min(self._baseline.values())
        self.grown = max(peak - self._baseline.get(pid, typical) for pid, peak in self._sizes("VmHWM").items())


class PeakMemory:
    """with PeakMemory(stack): … and then grown: the most bytes of private memory that a worker took on meanwhile."""

    def __init__(self, stack):
        self._stack = stack

    def __enter__(self):
        found = {pid: rss_anon(pid) for pid in self._stack.children("worker")}
        self._baseline = {pid: size for pid, size in found.items() if size}  # an idle one may have left meanwhile
        self._peak = dict(self._baseline)
        self._done = threading.Event()
        self._watcher = Background(self._watch)
        return self

    def _watch(self):
        while not self._done.wait(0.02):
            for pid in self._stack.children("worker"):
                self._peak[pid] = max(self._peak.get(pid, 0), rss_anon(pid))

    def __exit__(self, *_):
        self._done.set()
        self._watcher.result()
        self.typical = min(self._baseline.values())
        self.grown = max(now - self._baseline.get(pid, self.typical) for pid, now in self._peak.items())


def all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


# --- Docker ---


class Docker:
    """What the tests ask the daemon themselves. Talks HTTP, since the command line client takes 30 ms a call."""

    def __init__(self, host):
        self.host = host
        if host.startswith("unix://"):
            transport = httpx.HTTPTransport(uds=host[len("unix://"):])
            self.http = httpx.Client(transport=transport, base_url="http://docker", timeout=60, trust_env=False)
        else:
            self.http = httpx.Client(base_url=host.replace("tcp://", "http://"), timeout=60, trust_env=False)

    def get(self, path, **params):
        response = self.http.get(path, params=params)
        response.raise_for_status()
        return response.json()

    def containers(self, label):
        """Containers in any state that carry a label (NAME or NAME=VALUE)."""
        return self.get("/containers/json", all="1", filters=json.dumps({"label": [label]}))

    def volumes(self, label):
        return self.get("/volumes", filters=json.dumps({"label": [label]}))["Volumes"] or []

    def inspect(self, container):
        return self.get(f"/containers/{container}/json")

    def exists(self, container):
        return self.http.get(f"/containers/{container}/json").status_code == 200

    def processes(self, container):
        """Command lines of a container's processes."""
        if GVISOR:  # its processes are none of the host's
            look = "for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || tr '\\0' ' ' <$p/cmdline 2>/dev/null && echo; done"
            return [line.strip() for line in self.command("exec", container, "sh", "-c", look, check=False).stdout.splitlines()
                    if line.strip()]
        response = self.http.get(f"/containers/{container}/top", params={"ps_args": "-eo pid,args"})
        if response.status_code != 200:
            return []
        return [row[1] for row in response.json()["Processes"]]

    def kill(self, container):
        self.http.post(f"/containers/{container}/kill").raise_for_status()

    def remove(self, container):
        self.http.delete(f"/containers/{container}", params={"force": "1", "v": "1"}).raise_for_status()

    def command(self, *args, check=True, stdin=None):
        """The command line client."""
        done = subprocess.run(["docker", "-H", self.host, *args], stdin=stdin, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, f"docker {args}: {done.stderr}"
        return done
