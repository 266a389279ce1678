"""Samples, their summary, and what /proc tells about processes."""

import os
import socket
import statistics
import struct
from pathlib import Path

TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def summary(samples):
    ordered = sorted(samples)
    p90 = ordered[min(len(ordered) - 1, len(ordered) * 9 // 10)]
    return {"n": len(ordered), "p50": statistics.median(ordered), "p90": p90, "min": ordered[0], "max": ordered[-1]}


def paired(ours, raw, rounds, ours_each=1, raw_each=1, warm=0):
    """Samples of two functions that return milliseconds, in turns, so that what disturbs the machine disturbs both.

    `warm` calls after every change of sides do not count: dockerd is still busy with the end of an exec when it has
    answered, and neither side should pay for the other.
    """
    taken = ([], [])
    for _ in range(rounds):
        for side, function, each in ((0, ours, ours_each), (1, raw, raw_each)):
            for _ in range(warm):
                function()
            taken[side].extend(function() for _ in range(each))
    return summary(taken[0]), summary(taken[1])


def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def family(pid):
    """A process and all below it."""
    found = [pid]
    for each in found:
        try:
            found += children(each)
        except FileNotFoundError:
            pass
    return found


def parent(pid):
    return int(stat_fields(pid)[1])


def stat_fields(pid):
    """/proc/PID/stat from the state on: what comes before may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_ms(pid):
    """CPU time of a process with one thread, to the microsecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def cpu_ticks_ms(pid):
    """CPU time of a process with all its threads, and of its children that it has waited for: to a tick (10 ms)."""
    utime, stime, cutime, cstime = (int(field) for field in stat_fields(pid)[11:15])
    return (utime + stime) * TICK_MS, (cutime + cstime) * TICK_MS


def cpu_of(pids):
    """{pid: ms}, without those that have ended."""
    found = {}
    for pid in pids:
        try:
            found[pid] = cpu_ms(pid)
        except FileNotFoundError:
            pass
    return found


def memory_mb(pid):
    """Megabytes: anonymous, highest ever resident, shared with nobody, and what is dirty of that."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    rollup = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        rollup[name] = int(value.split()[0])
    kb = {"rss_anon": int(status["RssAnon"].split()[0]), "peak_rss": int(status["VmHWM"].split()[0]),
          "private": rollup["Private_Dirty"] + rollup["Private_Clean"], "private_dirty": rollup["Private_Dirty"]}
    return {name: value * 1024 / 1e6 for name, value in kb.items()}


def listener(path):
    """The process behind a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(path)
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return pid
