"""Many clients at once, and many sessions that idle."""

import contextlib
import multiprocessing
import signal
import statistics
import threading
import time
from concurrent import futures

from cases_command import ours_run, raw_exec
from figure import case, figure
from machine import settle
from measure import cpu_ms, summary

FORK = multiprocessing.get_context("fork")


def client(work, seconds, ready, go, results):
    """One client's process: `work` makes a connection of its own and returns what is to be repeated."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        sample = work()
        for _ in range(2):
            sample()
        ready.release()
        go.wait()
        taken, cpu, begun = [], cpu_ms("self"), time.perf_counter()
        while time.perf_counter() - begun < seconds:
            taken.append(sample())
        results.put((taken, time.perf_counter() - begun, cpu_ms("self") - cpu))
    except Exception as failure:  # reported by the parent, which waits for an answer of every client
        ready.release()
        results.put(failure)


def together(works, seconds):
    """One process a client, all at once: latencies, commands per second, the clients' own CPU time a command."""
    ready, go, results = FORK.Semaphore(0), FORK.Event(), FORK.Queue()
    clients = [FORK.Process(target=client, args=(work, seconds, ready, go, results), daemon=True) for work in works]
    try:
        for each in clients:
            each.start()
        for _ in clients:
            ready.acquire()
        go.set()
        answers = [results.get(timeout=seconds + 120) for _ in clients]
    finally:
        for each in clients:
            each.join(5)
            each.kill()
            each.join()
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    taken = [ms for answer in answers for ms in answer[0]]
    rate = sum(len(answer[0]) / answer[1] for answer in answers)
    return taken, rate, sum(answer[2] for answer in answers) / len(taken)


class Apart:
    """A Bench's clients with connections of their own, made in the process that uses them."""

    def __init__(self, bench):
        self.service, self.docker = bench.new_service(), bench.new_docker()


def session_client(bench, session):
    return lambda: ours_run(Apart(bench), session, ["true"])


def container_client(bench, container):
    return lambda: raw_exec(Apart(bench), container)


@case("throughput_1", "throughput_8", "throughput_32")
def throughput(bench):
    seconds, rounds = bench.count(3, 1.5), bench.count(3, 2)
    with bench.sessions(bench.count(32, 8)) as sessions, bench.containers(8) as containers:
        rates, own, latencies, raw_rates = {}, {}, {}, []
        sizes = [count for count in (1, 8, 32) if count <= len(sessions)]
        for _ in range(rounds):
            for count in sizes:
                taken, rate, cpu = together([session_client(bench, each) for each in sessions[:count]], seconds)
                rates.setdefault(count, []).append(rate)
                own.setdefault(count, []).append(cpu)
                latencies.setdefault(count, []).extend(taken)
            raw_rates.append(together([container_client(bench, each) for each in containers], seconds)[1])
    raw = summary(raw_rates)
    for count in sizes:
        yield figure(f"throughput_{count}", f"commands of {count} client{'s' * (count > 1)}, each on its session",
                     summary(rates[count]), raw, "8 clients' execs", unit="/s",
                     target={"min_per_s": 600} if count == 8 else None,
                     latency_ms=summary(latencies[count]), client_cpu_ms=statistics.median(own[count]))


@case("command_idle_50", full_only=True)
def idle_sessions(bench):
    """The same command when 50 other sessions idle."""
    with bench.session() as session:
        run = ours_run(bench, session, ["true"])

        def sample():
            settle(10)
            return [run() for _ in range(220)][20:]
        alone = sample()
        with bench.sessions(50):
            crowded = sample()
        alone += sample()
    yield figure("command_idle_50", "one command beside 50 idle sessions", summary(crowded), summary(alone),
                 "beside none")


@contextlib.contextmanager
def idle(bench, count):
    """So many sessions that nobody uses, made and closed a few at a time."""
    local, sessions = threading.local(), []

    def service():
        if not hasattr(local, "service"):
            local.service = bench.new_service()
        return local.service
    with futures.ThreadPoolExecutor(4) as pool:
        try:
            for made in [pool.submit(lambda: sessions.append(service().create(bench.image))) for _ in range(count)]:
                made.result()
            yield
        finally:
            for closed in [pool.submit(lambda each=each: service().close(each)) for each in sessions]:
                closed.result()


@case("command_idle_200", "busy_32_idle_200", full_only=True)
def idle_and_busy(bench):
    """200 sessions idle: the latency of one client, and of 32 at once, against the same without them."""
    seconds = bench.count(6, 3)
    with bench.sessions(32) as sessions:
        run = ours_run(bench, sessions[0], ["true"])

        def sample():
            settle(20)
            one = [run() for _ in range(220)][20:]
            many, rate, _ = together([session_client(bench, each) for each in sessions], seconds)
            return one, many, rate
        alone = sample()
        with idle(bench, 200):
            crowded = sample()
        after = sample()
    yield figure("command_idle_200", "one command beside 200 idle sessions", summary(crowded[0]),
                 summary(alone[0] + after[0]), "beside none")
    yield figure("busy_32_idle_200", "a command of 32 busy clients beside 200 idle sessions", summary(crowded[1]),
                 summary(alone[1] + after[1]), "beside none", rates=[each[2] for each in (alone, crowded, after)])
