"""The machine that a result belongs to."""

import datetime
import os
import platform
import re
import statistics
import subprocess
import time
from pathlib import Path


def output_of(*command, cwd=None):
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""


def cpu_model():
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def commit(root):
    """As git describes it; a tree that differs from its commit says so."""
    # A tree of another user is fine to look at.
    git = ("git", "-c", f"safe.directory={root}")
    name = output_of(*git, "rev-parse", "--short=12", "HEAD", cwd=root)
    changed = output_of(*git, "status", "--porcelain", "--untracked-files=no", cwd=root)
    return (name + " with changes" if changed else name) or "unknown"


def load():
    return os.getloadavg()[0]


def spawn_ms():
    """A shell that does nothing, without any container: what a command costs at least on this machine."""
    taken = []
    for _ in range(40):
        begun = time.perf_counter()
        os.waitpid(os.posix_spawn("/bin/bash", ["bash", "-c", "true"], {"PATH": "/usr/bin:/bin"}), 0)
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def cpu_ticks():
    """Of all CPUs since the machine began: user, nice, system, idle, iowait, irq, softirq, steal."""
    return [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]


def settle(patience_s=5):
    """Wait until the CPUs have nothing to do, but no longer than that: what the kernel and dockerd have left to do when they have
    made or removed hundreds of containers belongs to that, and not to the next figure."""
    deadline = time.monotonic() + patience_s
    before = cpu_ticks()
    while time.monotonic() < deadline:
        time.sleep(0.3)
        now = cpu_ticks()
        spent = [after - earlier for after, earlier in zip(now, before)]
        if sum(spent) - spent[3] - spent[4] < 0.05 * sum(spent):
            return
        before = now


class Steal:
    """How much of the time the machine's host gave the CPUs to others, in percent."""

    def __init__(self):
        self.begun = self.read()

    @staticmethod
    def read():
        fields = cpu_ticks()
        return fields[7], sum(fields)

    def percent(self):
        stolen, total = (now - then for now, then in zip(self.read(), self.begun))
        return 100 * stolen / max(total, 1)


def describe(docker, root):
    version, info = docker.call("GET", "/version"), docker.call("GET", "/info")
    parts = {part["Name"]: part["Version"] for part in version.get("Components", [])}
    memory_kb = int(re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE).group(1))
    system = re.search(r'^PRETTY_NAME="(.*)"$', Path("/etc/os-release").read_text(), re.MULTILINE)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(root),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory_kb * 1024 / 1e9, 1),
        "kernel": platform.release(),
        "system": system.group(1) if system else "unknown",
        "dockerd": version["Version"],
        "runc": parts.get("runc", "unknown"),
        "containerd": parts.get("containerd", "unknown"),
        "storage": info.get("Driver", "unknown"),
        "cgroup": info.get("CgroupVersion", "1"),
        "nginx": output_of("nginx", "-v").rpartition("/")[2] or "unknown",
        "python": platform.python_version(),
        "spawn_ms": round(spawn_ms(), 2),
        "load_before": round(load(), 2),
    }
