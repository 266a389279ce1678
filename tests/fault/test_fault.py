"""Everything that can be killed is, at random instants under load. FAULT_SECONDS and FAULT_SEED choose how long and what."""
import collections
import multiprocessing
import os
import queue
import re
import secrets
import time

import pytest

from client import work
from faults import Faults
from stack import Redis, Stack
from support import eventually, open_files

SECONDS = int(os.environ.get("FAULT_SECONDS", "60"))
SEED = int(os.environ.get("FAULT_SEED") or secrets.randbits(32))
CLIENTS = 4
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
BAD_LOG = r"^.*(?:AddressSanitizer|runtime error:|level=critical|stack smashing|how=\"signal (?:6|11)\").*$"


@pytest.fixture
def replicas(dockerd):
    redis = Redis("--appendonly", "yes", "--appendfsync", "always")
    stacks = []
    try:
        for number in (1, 2):
            settings = {"REDIS_URL": redis.url, "REPLICA": f"replica-{number}", "ORPHAN_GRACE_SECONDS": 5, "SWEEP_SECONDS": 2,
                        "SESSION_LOCK_TTL_SECONDS": 10, "SESSION_LOCK_REFRESH_SECONDS": 3}
            if stacks:
                settings["API_KEY"] = stacks[0].key
            stack = Stack(dockerd.host, **settings)
            stack.redis = redis
            stacks.append(stack)
            stack.up()
        yield stacks
    finally:
        for stack in reversed(stacks):
            stack.discard()
        redis.destroy()


def sessions_of(redis):
    return {key.rsplit(":", 1)[1] for key in redis.keys() if re.fullmatch(r"daiv-sandbox:session:[0-9a-f-]{36}", key)}


def objects(stack):
    label = f"sandboxd.instance={stack.instance}"
    names = [c["Names"][0] for c in stack.docker.containers(label)]
    return names + [v["Name"] for v in stack.docker.volumes(label) if not v["Name"].startswith("sandboxd-agent-")]


def fds(stack):
    """Open files of idle workers: the same few for each of them."""
    return {pid: len(open_files(pid)) for pid in stack.children("worker")}


@pytest.mark.timeout(SECONDS + 400)
def test_nothing_acknowledged_is_lost_and_nothing_is_left_over(replicas, dockerd):
    print(f"\nFAULT_SEED={SEED} FAULT_SECONDS={SECONDS}", flush=True)
    context = multiprocessing.get_context("fork")
    stop, settled, results = context.Event(), context.Event(), context.Queue()
    urls = [stack.url for stack in replicas]
    fresh = max(eventually(lambda: fds(replicas[0]), what="the workers to have their name").values())
    clients = [context.Process(target=work, args=(urls, replicas[0].key, SEED + n, stop, settled, results)) for n in range(CLIENTS)]
    for client in clients:
        client.start()
    faults = Faults(replicas, replicas[0].redis, dockerd, SEED)
    deadline = time.monotonic() + SECONDS
    try:
        while time.monotonic() < deadline and all(c.is_alive() for c in clients):
            time.sleep(faults.random.uniform(0.2, 3.0))
            faults.one()
    finally:
        stop.set()
    for stack in replicas:
        faults.bring_up(stack)
        eventually(stack.healthy, 30, "the replica to be healthy")
    settled.set()
    reports = []
    while len(reports) < CLIENTS:
        try:
            reports.append(results.get(timeout=240))
        except queue.Empty:
            break
    for client in clients:
        client.join(5)
        client.kill()
    counts = sum((collections.Counter(r["counts"]) for r in reports), collections.Counter())
    lost = sum(r["lost"] for r in reports)
    print(dict(counts), f"lost creates: {lost}, slowest answer {max(r['slowest'] for r in reports):.1f} s,",
          f"{len(faults.done)} faults", flush=True)
    wrong = [r["wrong"] for r in reports if r["wrong"]]
    concerned = set(re.findall(UUID, " ".join(wrong)))
    logged = [line for stack in replicas for line in stack.log().splitlines() if any(sid in line for sid in concerned)]
    assert not wrong, "\n".join([f"FAULT_SEED={SEED}", *wrong, *faults.done, *logged[-60:]])
    assert len(reports) == CLIENTS

    # A create whose answer was lost left at most a session that its client does not know; its worker may be at it still.
    redis = replicas[0].redis
    known = {sid for r in reports for sid in r["closed"]}
    unknown = sessions_of(redis)
    assert not unknown & known, f"FAULT_SEED={SEED}: {unknown & known}"

    def nothing_is_left():
        for sid in sessions_of(redis) - known:
            unknown.add(sid)
            assert replicas[0].http.delete(f"/api/v1/session/{sid}/").status_code == 204
        return not objects(replicas[0])

    eventually(nothing_is_left, 40, f"FAULT_SEED={SEED}: no object to be left")
    assert len(unknown) <= lost, f"FAULT_SEED={SEED}: {len(unknown)} > {lost}"
    eventually(lambda: not [k for k in redis.keys() if k.split(":")[1] in ("session", "session-lock", "locks-of")], 20,
               f"FAULT_SEED={SEED}: no key to be left: {redis.keys()}")
    for stack in replicas:
        eventually(lambda: all(n <= fresh + 3 for n in fds(stack).values()), 20, f"no descriptor to be left: {fresh} {fds(stack)}")
        eventually(lambda: len(stack.processes()) <= 1 + len(stack.children("worker")) + len(stack.children("control")) + 1)
        bad = re.findall(BAD_LOG, stack.log(), re.M)
        assert not bad, bad[:5]
        stack.destroy()
