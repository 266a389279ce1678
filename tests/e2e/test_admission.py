"""Who is let in, and when: limits of clients, the bounded queue, and what always has a way."""
import hashlib
import re
import time
import uuid

import pytest

from conftest import finish
from support import BUSYBOX, Background, eventually, in_parallel, proc_text

LIMITS = {"paced": "rate=5", "slow": "rate=0.02", "few": "concurrent=2", "small": "sessions=2"}


def write_keys(path, limits):
    path.write_text("".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()}:{limit}\n" for name, limit in limits.items()))


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "api-keys"
    write_keys(path, LIMITS)
    return path


@pytest.fixture(scope="module")
def limited(start_stack, keys_file):
    # whoever holds a session's lock may stand still for longer than the default wait
    stack = start_stack(API_KEYS_FILE=keys_file, MIN_WORKERS=4, SESSION_LOCK_WAIT_SECONDS=30)
    yield stack
    finish(stack)


@pytest.fixture
def client(limited):
    made = []

    def connect(name, stack=limited):
        made.append(stack.client(name))
        return made[-1]

    yield connect
    for http in made:
        http.close()


def create(http, **fields):
    return http.post("/api/v1/session/", json={"base_image": BUSYBOX, **fields})


def path_of(response):
    assert response.status_code == 200, response.text
    return f"/api/v1/session/{response.json()['session_id']}/"


def refused(response):
    """The seconds to wait of a 429."""
    assert response.status_code == 429, response.text
    assert response.json()["detail"]
    return int(response.headers["Retry-After"])


def let_in(ask, *args, **options):
    """The answer of a request that is let in: the place of the one before it may be free a moment after its answer only."""
    return eventually(lambda: (answer := ask(*args, **options)).status_code != 429 and answer, what="a place")


def closed(http, path):
    assert http.delete(path).status_code == 204


def sleeping(stack, session_id):
    """Wait until the session's command runs."""
    eventually(lambda: any("sleep 1000" in line for line in stack.docker.processes(f"sandboxd-{session_id}")), 20,
               "the command to run")


# --- limits of a client ---


def test_a_rate_lets_a_second_s_requests_through_and_then_its_pace(client):
    paced = client("paced")
    path = path_of(create(paced))
    answers = []

    def too_many():
        """Side by side: on a busy machine one after the other is no faster than may be."""
        answers.extend(in_parallel(lambda _: paced.get("/api/v1/session/"), range(40), threads=20))
        return any(a.status_code != 200 for a in answers)

    begun = time.monotonic()
    eventually(too_many)
    passed = [a for a in answers if a.status_code == 200]
    took = time.monotonic() - begun
    assert 4 <= len(passed) <= 5 + 5 * took, (len(passed), took)
    assert {refused(a) for a in answers if a.status_code != 200} == {1}
    eventually(lambda: paced.get("/api/v1/session/").status_code == 200)
    closed(paced, path)


def test_a_rate_below_one_says_how_long_to_wait(client):
    slow = client("slow")
    begun = time.monotonic()
    assert slow.get("/api/v1/session/").status_code == 200
    wait = refused(slow.get("/api/v1/session/"))
    assert 50 - (time.monotonic() - begun) <= wait <= 50


def test_a_client_without_limits_is_not_slowed_by_one_with(limited, client):
    paced = client("paced")
    for _ in range(30):
        paced.get("/api/v1/session/")
        assert limited.http.get("/api/v1/session/").status_code == 200


def test_so_many_requests_at_a_time_and_closing_always(limited, client):
    few = client("few")
    path, other = path_of(create(few)), path_of(let_in(create, few))
    busy = [Background(let_in, few.post, p, json={"commands": ["sleep 1000"]}) for p in (path, other)]
    for p in (path, other):
        sleeping(limited, p.split("/")[4])
    assert refused(few.get("/api/v1/session/")) == 1
    assert refused(create(few)) == 1
    closed(few, path)  # which is never refused, and ends the command
    assert busy[0].result().status_code in (200, 404)
    eventually(lambda: few.get("/api/v1/session/").status_code == 200)
    closed(few, other)
    busy[1].result()


def test_never_more_at_a_time_than_may(client):
    few = client("few")
    path = path_of(let_in(create, few))
    answers = in_parallel(lambda _: few.post(path + "exec/", json={"command": "true"}).status_code, range(60), threads=12)
    assert set(answers) <= {201, 429} and 201 in answers, answers
    assert let_in(few.get, path + "exec/").status_code == 200
    closed(few, path)


def test_so_many_sessions_and_no_more(client):
    small = client("small")
    answers = in_parallel(lambda _: create(small), range(8), threads=8)
    mine = [path_of(a) for a in answers if a.status_code == 200]
    assert len(mine) <= 2
    assert {refused(a) for a in answers if a.status_code != 200} == {1}
    while len(mine) < 2:  # those that raced for the last place may all have been turned away
        mine.append(path_of(create(small)))
    over = create(small)
    assert refused(over) and "2 sessions" in over.json()["detail"]
    again = {"headers": {"Idempotency-Key": "one more"}}
    assert refused(small.post("/api/v1/session/", json={"base_image": BUSYBOX}, **again))
    closed(small, mine.pop())
    kept = path_of(small.post("/api/v1/session/", json={"base_image": BUSYBOX}, **again))
    assert path_of(small.post("/api/v1/session/", json={"base_image": BUSYBOX}, **again)) == kept
    assert len(small.get("/api/v1/session/").json()["sessions"]) == 2
    closed(small, kept)
    closed(small, mine.pop())


def test_sighup_brings_new_limits(limited, client, keys_file):
    small = client("small")
    mine = [path_of(create(small)) for _ in range(2)]
    write_keys(keys_file, {**LIMITS, "small": "sessions=3"})
    limited.reload()
    eventually(lambda: create_or_none(small, mine), 20, "the new limit to hold")  # old workers know the old one only
    write_keys(keys_file, LIMITS)
    limited.reload()
    for path in mine:
        closed(small, path)


def create_or_none(http, into):
    response = create(http)
    if response.status_code == 200:
        into.append(path_of(response))
    return response.status_code == 200


def test_the_limit_of_sessions_holds_over_replicas(make_replicas, tmp_path, client):
    keys = tmp_path / "keys"
    write_keys(keys, LIMITS)
    one, two = make_replicas(2, API_KEYS_FILE=keys)
    here, there = client("small", one), client("small", two)
    mine = [path_of(create(here)), path_of(create(there))]
    assert refused(create(here)) and refused(create(there))
    closed(there, mine.pop(0))
    mine.append(path_of(create(here)))
    for path in mine:
        closed(here, path)


# --- the queue ---


@pytest.fixture
def crowded(start_stack):
    """Two workers, both busy for as long as the test likes, and two places in the queue."""
    stack = start_stack(MIN_WORKERS=2, MAX_WORKERS=2, MAX_QUEUED=2, CONTROL_WORKERS=2)
    sessions = [stack.create(BUSYBOX) for _ in range(2)]
    busy = [Background(session.post, ["sleep 1000"]) for session in sessions]
    for session in sessions:
        sleeping(stack, session.id)
    yield stack, sessions, busy
    for session in sessions:
        session.close()
    for run in busy:
        run.result()
    finish(stack)


def test_more_than_may_wait_is_429_at_once_and_closing_and_health_have_their_way(crowded):
    stack, sessions, _ = crowded
    waiting = []

    def full():
        """One more: it waits, or is refused."""
        more = Background(stack.http.get, "/api/v1/session/")
        until = time.monotonic() + 2
        while more.running() and time.monotonic() < until:
            time.sleep(0.01)
        if more.running():
            waiting.append(more)
            return False
        return refused(more.result()) == 1

    eventually(full, 30, "the queue to be full")
    # a refusal that took its time was taken for one that waits
    eventually(lambda: len([w for w in waiting if w.running()]) == 2, what="no more than two to wait")
    waiting = [w for w in waiting if w.running()]
    assert refused(stack.http.delete(sessions[1].path + "files/repo/session/x/"))  # ends nothing, whatever its name
    for _ in range(20):
        begun = time.monotonic()
        assert stack.http.get("/-/health/").status_code == 200
        assert time.monotonic() - begun < 1
    begun = time.monotonic()
    assert sessions[0].close().status_code == 204
    assert time.monotonic() - begun < 3
    assert [w.result().status_code for w in waiting] == [200, 200]  # a worker is free again
    eventually(lambda: stack.http.get("/api/v1/session/").status_code == 200)


def switches(stack):
    """How often the workers have gone to sleep so far."""
    texts = [proc_text(pid, "status") for pid in stack.children("worker")]
    return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1]) for text in texts)


def test_a_request_wakes_one_worker_of_many_and_none_is_left_behind(start_stack):
    stack = start_stack(MIN_WORKERS=24, MAX_WORKERS=24)

    def list_or_close(i):
        path = "/api/v1/session/" if i % 2 else f"/api/v1/session/{uuid.uuid4()}/"  # both lanes
        return stack.http.request("GET" if i % 2 else "DELETE", path, timeout=20).status_code

    for _ in range(100):  # nothing comes after such a burst that would wake a worker for what it left
        assert in_parallel(list_or_close, range(8)) == [204, 200] * 4
    before = switches(stack)
    for _ in range(50):
        assert stack.http.get("/api/v1/session/").status_code == 200
    assert switches(stack) - before < 50 * 12  # a few each, not 24
    finish(stack)


def test_a_command_is_cancelled_and_signalled_while_all_are_busy(start_stack):
    stack = start_stack(MIN_WORKERS=2, MAX_WORKERS=2, CONTROL_WORKERS=2)
    session = stack.create(BUSYBOX)
    execs = [stack.http.post(session.path + "exec/", json={"command": "sleep 1000"}).json()["exec_id"] for _ in range(2)]
    others = [stack.create(BUSYBOX) for _ in range(2)]
    busy = [Background(other.post, ["sleep 1000"]) for other in others]
    for other in others:
        sleeping(stack, other.id)
    begun = time.monotonic()
    assert stack.http.post(f"{session.path}exec/{execs[0]}/signal/", json={"signal": "TERM"}).status_code == 204
    assert stack.http.delete(f"{session.path}exec/{execs[1]}/").status_code in (200, 204)
    assert time.monotonic() - begun < 3
    for other in others:
        assert other.close().status_code == 204
    for run in busy:
        run.result()

    def ended():
        states = {e["exec_id"]: e for e in stack.http.get(session.path + "exec/").json()["execs"]}
        assert all(states[e]["state"] != "running" for e in execs), states
        return True

    eventually(ended)
    session.close()
    finish(stack)
