"""One running stack (sandboxd and nginx below a home of its own) and the sessions in it."""
import base64
import fcntl
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile

import httpcore
import httpx
from httpcore.backends.sync import SyncBackend

from openapi import check_answer
from support import DEBIAN, ROOT, RUNTIME, Docker, all_pids, eventually, proc_alive, proc_born, proc_parent, proc_state, proc_text

KEEP = ("PATH", "VARIANT", "SAN", "CC", "HOME", "LANG", "SANDBOXD_BIN", "SANDBOXD_DOCKER_DIR", "SANDBOXD_CACHE",
        "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "http_proxy", "https_proxy", "no_proxy")
FIRST_PORT, LAST_PORT = 12000, 32000  # below those that the kernel gives away by itself


def free_port():
    """A port to be bound later: no other run beside this one is given it meanwhile."""
    with open(os.path.join(tempfile.gettempdir(), "sbx-e2e-port"), "a+", encoding="ascii") as last:
        fcntl.flock(last, fcntl.LOCK_EX)
        last.seek(0)
        port = int(last.read() or 0)
        while True:
            port = port + 1 if FIRST_PORT <= port < LAST_PORT else FIRST_PORT
            with socket.socket() as s:
                try:
                    s.bind(("127.0.0.1", port))
                except OSError:
                    continue
            last.truncate(0)
            last.write(str(port))
            return port


def base_environment():
    """The environment that scripts run in: nothing of the tester's settings."""
    return {name: os.environ[name] for name in KEEP if os.environ.get(name)}


def script(name, *args, env, check=True, timeout=600):
    done = subprocess.run([str(ROOT / "scripts" / name), *args], env=env, capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL)
    assert not check or done.returncode == 0, f"scripts/{name} {args}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def binary():
    """The program that scripts/up runs (after it has been built)."""
    return os.environ.get("SANDBOXD_BIN") or str(ROOT / "build" / os.environ.get("VARIANT", "gcc") / "sandboxd")


class NoDelay(SyncBackend):
    """Connections of httpx as later versions make them: this one's wait 40 ms between a request's head and its body."""

    def connect_tcp(self, *args, **kwargs):
        stream = super().connect_tcp(*args, **kwargs)
        stream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stream


class Client(httpx.Client):
    """Holds every answer that is read whole against docs/openapi.yaml."""

    def send(self, request, *, stream=False, **options):
        response = super().send(request, stream=stream, **options)
        if not stream:
            check_answer(response)
        return response


class Call:
    """A request on a bare socket, whose client can leave at any moment."""

    def __init__(self, stack, path, body, accept="application/json", method="POST"):
        data = json.dumps(body).encode()
        self.socket = socket.create_connection(("127.0.0.1", stack.port), timeout=30)
        self.socket.sendall((f"{method} {path} HTTP/1.1\r\nHost: sandbox\r\nX-API-Key: {stack.key}\r\nAccept: {accept}\r\n"
                             f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n").encode() + data)

    def leave(self):
        """Returns whether there was an answer already."""
        self.socket.setblocking(False)
        try:
            answered = bool(self.socket.recv(1))
        except BlockingIOError:
            answered = False
        self.socket.close()
        return answered


class Session:
    """A session of a stack, by its id."""

    def __init__(self, stack, sid):
        self.stack = stack
        self.id = sid
        self.path = f"/api/v1/session/{sid}/"
        self.container = f"sandboxd-{sid}"
        self.helper = f"sandboxd-{sid}-patch"

    def post(self, commands, **fields):
        """A run as the client sees it: the response, whatever it is."""
        return self.stack.http.post(self.path, json={"commands": commands, **fields})

    def run(self, *commands, **fields):
        """The answer of a run that must be 200."""
        response = self.post(list(commands), **fields)
        assert response.status_code == 200, f"{response.status_code} {response.text}"
        return response.json()

    def one(self, command, **fields):
        """The result of one command."""
        results = self.run(command, **fields)["results"]
        assert len(results) == 1
        return results[0]

    def out(self, command, **fields):
        """The output of one command that must succeed, without the last line break."""
        result = self.one(command, **fields)
        assert result["exit_code"] == 0, result
        return result["output"].rstrip("\n")

    def seed(self, repo=None, skills=None):
        files = {name: (f"{name}.tar", data) for name, data in
                 (("repo_archive", repo), ("skills_archive", skills)) if data is not None}
        return self.stack.http.post(self.path + "seed/", files=files)

    def seeded(self, repo=None, skills=None):
        response = self.seed(repo, skills)
        assert response.status_code == 204, f"{response.status_code} {response.text}"
        assert response.content == b""
        return self

    def post_files(self, mutations):
        return self.stack.http.post(self.path + "files/", json={"mutations": mutations})

    def files(self, mutations):
        """Results of a batch of (path, bytes[, mode])."""
        body = [{"path": m[0], "content": base64.b64encode(m[1]).decode(), "mode": m[2] if len(m) > 2 else 0o644}
                for m in mutations]
        response = self.post_files(body)
        assert response.status_code == 200, f"{response.status_code} {response.text}"
        return response.json()["results"]

    def write(self, path, content, mode=0o644):
        results = self.files([(path, content, mode)])
        assert results == [{"path": path, "ok": True, "error": None}]

    def turn(self, *commands, **fields):
        """The patch of a run as bytes; None when there is none."""
        patch = self.run(*commands, **fields)["patch"]
        return None if patch is None else base64.b64decode(patch, validate=True)

    def cumulative(self):
        response = self.stack.http.get(self.path + "patch/")
        assert response.status_code == 200, f"{response.status_code} {response.text}"
        patch = response.json()["patch"]
        return None if patch is None else base64.b64decode(patch, validate=True)

    def close(self):
        return self.stack.http.delete(self.path)


class Stack:
    def __init__(self, docker_host, **settings):
        self.home = tempfile.mkdtemp(prefix="sbx-e2e-", dir="/tmp")
        self.port = free_port()
        self.key = "Key-" + secrets.token_hex(16)
        self.env = {**base_environment(), "DOCKER_HOST": docker_host, "DAIV_SANDBOX_HOME": self.home,
                    "DAIV_SANDBOX_HOST": "127.0.0.1", "DAIV_SANDBOX_PORT": str(self.port),
                    "DAIV_SANDBOX_API_KEY": self.key, "DAIV_SANDBOX_GIT_IMAGE": DEBIAN}
        if RUNTIME:
            self.env["DAIV_SANDBOX_RUNTIME"] = RUNTIME
        self.env.update({f"DAIV_SANDBOX_{name}": str(value) for name, value in settings.items()})
        self.docker = Docker(docker_host)
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = self.client(self.key)
        self.open_sessions = []
        self.seen_nginx = set()
        self.redis = None
        self.secrets = {}  # besides the key, by name: what must be nowhere when the stack ends

    def client(self, key=None, **options):
        headers = {} if key is None else {"X-API-Key": key}
        options.setdefault("timeout", 60)
        transport = httpx.HTTPTransport(trust_env=False)
        transport._pool = httpcore.ConnectionPool(max_connections=200, network_backend=NoDelay())
        return Client(base_url=self.url, headers=headers, transport=transport, trust_env=False, **options)

    # --- life ---

    def up(self, check=True):
        old = self.nginx_pids()[1:]
        done = script("up", env=self.env, check=check)
        if done.returncode == 0 and "runs already" not in done.stderr:
            self.let_go(old)
        self.nginx_pids()
        return done

    def down(self, *args, check=True):
        return script("down", *args, env={**self.env, "SANDBOXD_DOWN_TIMEOUT": "40"}, check=check)

    def reload(self, check=True, **settings):
        """scripts/reload with changed settings, as an operator does it."""
        env = {**self.env, **{f"DAIV_SANDBOX_{name}": str(value) for name, value in settings.items()}}
        old = self.nginx_pids()[1:]
        done = script("reload", env=env, check=check)
        if done.returncode == 0:
            self.let_go(old)
        return done

    @staticmethod
    def let_go(nginx_workers):
        """Wait until workers that nginx has replaced let go of kept connections: a request on one of those would be lost.

        A worker changes its name, closes what is idle, and only then sleeps again.
        """
        eventually(lambda: all("shutting down" in proc_text(pid, "cmdline") and proc_state(pid) == "S" or not proc_alive(pid)
                               for pid in nginx_workers), what="nginx's old workers to let go of their connections")

    def destroy(self):
        """Stop, purge, and complain about whatever is left."""
        self.http.close()
        self.down("--purge")
        try:
            eventually(lambda: not self.leftovers(), 10)  # dockerd may be at the end of a removal still
        except AssertionError:
            pass
        left = self.leftovers()
        shutil.rmtree(self.home, ignore_errors=True)
        assert not left, f"left behind by {self.home}: {left}"

    def discard(self):
        """The remains of a stack that did not come up."""
        self.http.close()
        self.down("--purge", check=False)
        shutil.rmtree(self.home, ignore_errors=True)

    def leftovers(self):
        label = f"sandboxd.instance={self.instance}"
        found = [c["Names"] for c in self.docker.containers(label)] + [v["Name"] for v in self.docker.volumes(label)]
        found += [f"process {pid}: {proc_text(pid, 'cmdline')}" for pid in all_pids()
                  if f"{self.home}/" in proc_text(pid, "cmdline") and proc_alive(pid)]
        found += [f"nginx process {pid}" for pid, born in self.seen_nginx if proc_alive(pid) and proc_born(pid) == born]
        found += [str(s) for s in pathlib.Path(self.home, "run").glob("*.sock")]
        return found

    @property
    def instance(self):
        return pathlib.Path(self.home, "state", "instance").read_text().strip()

    # --- processes ---

    def processes(self):
        """Every sandboxd of this home that is alive: the master and its children."""
        return [pid for pid in all_pids() if f"{self.home}/" in proc_text(pid, "cmdline") and proc_alive(pid)
                and proc_text(pid, "comm").startswith("sandboxd")]

    def master(self):
        return int(pathlib.Path(self.home, "run", "sandboxd.pid").read_text())

    def children(self, role):
        """Pids of the master's processes of a role: worker, control or janitor."""
        name = f"sandboxd:{role}"[:15]
        master = self.master()
        return [pid for pid in self.processes()
                if proc_parent(pid) == master and proc_text(pid, "comm").strip() == name]

    def nginx_pids(self):
        pidfile = pathlib.Path(self.home, "run", "nginx.pid")
        if not pidfile.exists():
            return []
        master = int(pidfile.read_text())
        if "nginx" not in proc_text(master, "comm"):
            return []  # it was killed, and its pid may be another's
        pids = [master] + [pid for pid in all_pids() if proc_parent(pid) == master]
        self.seen_nginx.update((pid, proc_born(pid)) for pid in pids)
        return pids

    def lock_holder(self, sid):
        """The pid of the process that holds a session's lock, or None. Blocked waiters do not count."""
        if self.redis:
            token = self.redis.ask("GET", f"daiv-sandbox:session-lock:{sid}")
            return int(token.split(".")[0]) if token else None
        for path in pathlib.Path(self.home, "state").rglob(f"{sid}.lock"):
            inode = str(path.stat().st_ino)
            for line in pathlib.Path("/proc/locks").read_text().splitlines():
                found = re.match(r"\d+: FLOCK .* (\d+) \w+:\w+:(\d+) ", line)
                if found and found[2] == inode:
                    return int(found[1])
        return None

    def working_pid(self, sid):
        """Wait until a worker works in the session, and name it."""
        return eventually(lambda: self.lock_holder(sid), what=f"a worker in session {sid}")

    # --- logs ---

    def log_files(self):
        return sorted(pathlib.Path(self.home, "log").glob("*.log"))

    def log(self):
        return pathlib.Path(self.home, "log", "sandboxd.log").read_text(errors="replace")

    def events(self, event, **fields):
        """Log lines of an event that have these fields (as they are written)."""
        name = f'event="{event}"' if " " in event else f"event={event}"
        wanted = [name] + [f"{key}={value}" for key, value in fields.items()]
        return [line for line in self.log().splitlines() if all(f" {w} " in f" {line} " for w in wanted)]

    # --- sessions ---

    def post_session(self, **fields):
        return self.http.post("/api/v1/session/", json=fields)

    def create(self, image=DEBIAN, **options):
        response = self.post_session(base_image=image, **options)
        assert response.status_code == 200, f"{response.status_code} {response.text}"
        session = Session(self, response.json()["session_id"])
        self.open_sessions.append(session)
        return session

    def close_since(self, mark):
        """Close the sessions that were made since open_sessions had this length."""
        while len(self.open_sessions) > mark:
            self.open_sessions.pop().close()

    def healthy(self):
        try:
            return self.client(timeout=5).get("/-/health/").status_code == 200
        except httpx.TransportError:
            return False

    def kill_master(self):
        """kill -9 of the master; its children leave by themselves."""
        os.kill(self.master(), signal.SIGKILL)

    def kill_all(self):
        """kill -9 of master and children."""
        for pid in [self.master(), *self.processes()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Redis:
    """A redis-server of a test's own. Nothing is saved unless asked for: a restart finds it empty."""

    def __init__(self, *options):
        self.dir = tempfile.mkdtemp(prefix="sbx-redis-", dir="/tmp")
        os.chmod(self.dir, 0o755)  # the service is not root
        self.port = free_port()
        self.options = options
        self.url = f"redis://127.0.0.1:{self.port}"
        self.process = None
        self.start()

    def start(self, *options):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", f"{self.dir}/redis.sock", "--unixsocketperm", "777",
             "--dir", self.dir, "--save", "", "--appendonly", "no", "--logfile", f"{self.dir}/log", *self.options, *options],
            stdin=subprocess.DEVNULL)
        eventually(self.answers, 20, "redis-server to answer")

    def answers(self):
        try:
            self.ask("PING")
            return True
        except OSError:
            return False

    def ask(self, *words, timeout=5):
        """One command's answer: text, a number, a list or None; an error answer as text with its minus."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
            connection.sendall(b"*%d\r\n" % len(words) + b"".join(
                b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in map(str, words)))
            return self.read(connection.makefile("rb"))

    def read(self, stream):
        line = stream.readline().decode().rstrip("\r\n")
        if not line:
            raise ConnectionError("redis closed the connection")
        kind, rest = line[0], line[1:]
        if kind == "$":
            return None if rest == "-1" else stream.read(int(rest) + 2)[:-2].decode(errors="replace")
        if kind == "*":
            return [self.read(stream) for _ in range(int(rest))]
        return int(rest) if kind == ":" else line if kind == "-" else rest

    def keys(self):
        return sorted(self.ask("KEYS", "*"))

    def stop(self):
        """kill -9."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def destroy(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
