"""What our own processes cost: memory at rest, CPU time a command."""

from pathlib import Path

from cases_command import ours_run, raw_exec
from figure import case, figure, single
from measure import cpu_of, cpu_ticks_ms, family, listener, memory_mb, parent, summary
from transport import checked, head


NOTHING = head("GET", "/-/version/", 0)


def pid_in(home, name):
    return int(Path(home, "run", name).read_text())


def init_of(bench, container):
    return bench.docker.call("GET", f"/containers/{container}/json")["State"]["Pid"]


def agent_of(bench, session):
    """Found as dockerd knows it: the container carries the session's id in its name."""
    for container in bench.docker.call("GET", "/containers/json"):
        if any(session in name for name in container["Names"]):
            return init_of(bench, container["Id"])
    raise RuntimeError(f"session {session} has no container")


@case("cpu_command")
def cpu(bench):
    """1,000 commands one after the other; then execs, of which dockerd, containerd and runc do the work."""
    count, execs = bench.count(1000, 300), bench.count(50, 15)
    with bench.session() as session, bench.container() as container:
        run, execute = ours_run(bench, session, ["true"]), raw_exec(bench, container)
        for _ in range(20):
            run()
        agent = agent_of(bench, session)
        groups = {"workers": pid_in(bench.home, "sandboxd.pid"), "nginx": pid_in(bench.home, "nginx.pid")}

        def own():
            return {**{name: cpu_of(family(pid)) for name, pid in groups.items()}, "agent": cpu_of([agent])}

        def cost(call):
            """CPU time of ours for one of many calls."""
            before = own()
            for _ in range(count):
                call()
            after = own()
            return {name: sum(ms - before[name].get(pid, 0) for pid, ms in after[name].items()) / count for name in after}
        daemons = daemon_pids(bench, container)
        shells, docker_before = cpu_ticks_ms(agent)[1], daemon_cpu(daemons)
        parts = cost(run)
        docker_after = daemon_cpu(daemons)
        commands_ms = (cpu_ticks_ms(agent)[1] - shells) / count
        for _ in range(execs):
            execute()
        raw_ms = (daemon_cpu(daemons) - docker_after) / execs
        idle_ms = sum(cost(lambda: checked("GET", "version", *bench.service.connection.exchange(NOTHING))).values())
    dockerd_ms = (docker_after - docker_before) / count
    yield figure("cpu_command", "CPU of our processes, one command", single(sum(parts.values())), single(raw_ms),
                 "dockerd's, containerd's and runc's, one exec", target={"max_ms": 0.5},
                 parts_ms={**parts, "dockerd (not ours)": dockerd_ms, "the command itself (not ours)": commands_ms,
                           "workers and nginx for a request that does nothing (not added)": idle_ms})


def daemon_pids(bench, container):
    """dockerd, containerd and the container's shim: what an exec costs ends up in these and in their children."""
    dockerd = listener(bench.docker.address) if isinstance(bench.docker.address, str) else None
    shim = parent(init_of(bench, container))
    named = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/comm") if reads(path) == "containerd"]
    # Not the containerd of another dockerd.
    named = [pid for pid in named if dockerd is None or parent(pid) in (dockerd, 1)]
    return [pid for pid in (dockerd, shim, *named) if pid]


def reads(path):
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def daemon_cpu(pids):
    return sum(sum(cpu_ticks_ms(pid)) for pid in pids)


@case("memory_worker", "memory_agent", "memory_peak")
def memory(bench):
    """After use: every worker has served commands, one of them a large output."""
    with bench.session() as session:
        run = ours_run(bench, session, ["true"])
        for _ in range(200):
            run()
        ours_run(bench, session, ["head -c 5000000 /dev/zero | tr '\\0' x"])()
        agent = memory_mb(agent_of(bench, session))
    master = pid_in(bench.home, "sandboxd.pid")
    workers = [memory_mb(pid) for pid in family(master)[1:]]
    private = summary([each["private"] for each in workers])
    yield figure("memory_worker", "unshared memory of a worker after use", private, unit="MB", target={"max_mb": 6},
                 largest=private["max"], rss_anon=max(each["rss_anon"] for each in workers),
                 private_dirty=max(each["private_dirty"] for each in workers), processes=len(workers))
    yield figure("memory_agent", "unshared memory of the agent", single(agent["private"]), unit="MB",
                 rss_anon=agent["rss_anon"], private_dirty=agent["private_dirty"])
    yield figure("memory_peak", "highest resident memory of a process of ours so far",
                 single(max(each["peak_rss"] for each in workers)), unit="MB")
