"""Several replicas before one Redis and one daemon."""
import itertools
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import httpx
import pytest

from stack import Session, binary
from support import BUSYBOX, DEBIAN, GONE, Background, eventually, in_parallel, is_held, tar

RETRYABLE = (502, 503)


def at(stack, session):
    """The same session, reached through another replica."""
    return Session(stack, session.id)


def nothing_left(stack):
    """No key of a session or a lock, and no object in dockerd."""
    left = [k for k in stack.redis.keys() if k.split(":")[1] in ("session", "session-lock", "locks-of")]
    label = f"sandboxd.instance={stack.instance}"
    return not left and not stack.docker.containers(label) and not stack.docker.volumes(label)


# --- the main flow ---


def test_the_main_flow_on_redis_each_step_on_another_replica(make_replicas):
    one, two = make_replicas(2)
    assert one.instance == two.instance == one.redis.ask("GET", "daiv-sandbox:instance")
    session = one.create(extract_patch=True, environment={"A": "b"})
    other = at(two, session)
    other.seeded(repo=tar({"file": b"seeded\n", "dir/other": b"o"}), skills=tar({"skill": b"s"}))
    again = session.seed(repo=tar({}))
    assert again.status_code == 409 and again.json() == {"detail": "Session already seeded"}
    session.write("/repo/added", b"added\n")
    result = other.one("cat file added /skills/skill; echo $A")
    assert (result["output"], result["exit_code"]) == ("seeded\nadded\nsb\n", 0)
    assert b"+more" in session.turn("echo more >> file")
    assert other.turn("cat file") is None
    assert b"+more" in other.cumulative() and b"+added" in other.cumulative()
    assert other.close().status_code == 204
    for stack in one, two:
        gone = at(stack, session).post(["true"])
        assert gone.status_code == 404 and gone.json() == GONE
        assert at(stack, session).close().status_code == 204
    eventually(lambda: nothing_left(one), what=f"nothing to be left: {one.redis.keys()}")


def test_an_ephemeral_session_with_patches_on_redis(make_replicas):
    one, two = make_replicas(2)
    session = one.create(extract_patch=True, ephemeral=True).seeded(repo=tar({"file": b"seeded\n"}))
    assert b"+run" in at(two, session).turn("echo run >> file")
    assert session.out("cat file") == "seeded"
    assert at(two, session).close().status_code == 204
    eventually(lambda: nothing_left(one))


@pytest.mark.plain  # the same request a thousand times
def test_a_stream_of_requests_alternates_between_two_replicas(make_replicas):
    stacks = make_replicas(2)
    session = stacks[0].create()
    turns = itertools.cycle([at(stack, session) for stack in stacks])
    for number in range(1000):
        response = next(turns).post([f"echo {number} >> list; wc -l < list"])
        assert response.status_code == 200, f"{number}: {response.text}"
        assert int(response.json()["results"][0]["output"]) == number + 1
    assert session.out("cat list").split() == [str(number) for number in range(1000)]


def test_clients_of_two_replicas_at_once_wait_for_each_other(make_replicas):
    stacks = make_replicas(2, SESSION_LOCK_WAIT_SECONDS=30)
    session = stacks[0].create()

    def work(stack):
        with stack.client(stack.key) as http:
            return [http.post(session.path, json={"commands": ["n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) > n"]}).status_code
                    for _ in range(100)]

    assert sum(in_parallel(work, stacks * 2), []) == [200] * 400
    assert session.out("cat n") == "400"


# --- a replica dies ---


def test_a_replica_killed_in_the_middle_costs_the_requests_in_flight_on_it_only(make_replicas):
    one, two = make_replicas(2)
    sessions = [one.create() for _ in range(2)]
    stop, answers = threading.Event(), []

    def work(session, stack):
        with stack.client(stack.key) as http:
            for number in itertools.count():
                if stop.is_set():
                    return
                try:
                    response = http.post(session.path, json={"commands": [f"echo {number}"]})
                    answers.append((time.monotonic(), stack, response.status_code, response.text))
                except httpx.TransportError as error:
                    answers.append((time.monotonic(), stack, 0, repr(error)))

    threads = [Background(work, sessions[0], one), Background(work, sessions[1], two)]
    eventually(lambda: len(answers) > 100, 20)
    killed = time.monotonic()
    one.kill_all()
    eventually(lambda: len([a for a in answers if a[1] is two and a[0] > killed]) > 100, 20)
    stop.set()
    for thread in threads:
        thread.result()
    assert {a[2] for a in answers if a[0] < killed} == {200}
    assert {a[2] for a in answers if a[1] is two} == {200}
    assert {a[2] for a in answers if a[1] is one} <= {200, *RETRYABLE}, [a for a in answers if a[2] not in (200, 502, 503)][:3]
    # the sessions live on, at once where the dead replica held no lock, else when it is back
    one.up()
    eventually(lambda: at(two, sessions[0]).post(["true"]).status_code == 200)
    eventually(one.healthy)


def test_a_replica_that_starts_releases_the_locks_of_its_dead_predecessor(make_replicas):
    one, two = make_replicas(2)
    session = one.create()
    running = Background(session.post, ["sleep 1000"])
    one.working_pid(session.id)
    one.kill_all()
    assert running.result().status_code in RETRYABLE
    busy = at(two, session).post(["true"])
    assert busy.status_code == 409 and busy.json() == {"detail": "Session is busy"}
    one.up()
    eventually(lambda: at(two, session).post(["true"]).status_code == 200, 5, "the lock to be released")
    eventually(lambda: one.redis.ask("HGETALL", "daiv-sandbox:locks-of:replica-1") == [])


def test_a_killed_workers_lock_is_released_at_once(make_replicas):
    one, two = make_replicas(2)
    session = one.create()
    running = Background(session.post, ["sleep 1000"])
    os.kill(one.working_pid(session.id), signal.SIGKILL)
    assert running.result().status_code in RETRYABLE
    eventually(lambda: at(two, session).post(["true"]).status_code == 200, 5)


# --- the store loses its records ---


def lose_redis(stack):
    """Redis is killed and comes back empty."""
    stack.redis.stop()
    stack.redis.start()


def lose_database(stack):
    for path in pathlib.Path(stack.home, "state").glob("sessions.db*"):
        path.unlink()


def spoil_database(stack):
    path = pathlib.Path(stack.home, "state", "sessions.db")
    path.write_bytes(b"no database at all" * 1000)


@pytest.fixture(params=["redis", "database", "corrupt"])
def losing(request, make_redis, make_stack):
    """(stack, what loses its records)"""
    if request.param == "redis":
        return make_stack(redis=make_redis(), SWEEP_SECONDS=3600), lose_redis
    return make_stack(SWEEP_SECONDS=3600), lose_database if request.param == "database" else spoil_database


def served(call):
    """The response of a call that may be refused for a moment, never with 404."""
    def ask():
        response = call()
        if response.status_code == 404:
            pytest.fail(response.text)  # which eventually() does not put up with
        return response if response.status_code not in RETRYABLE else None
    return eventually(ask)


def test_sessions_outlive_the_loss_of_all_records(losing):
    stack, lose = losing
    instance = stack.instance
    plain = stack.create(environment={"A": "b"})
    plain.run("echo kept > file")
    patched = stack.create(extract_patch=True).seeded(repo=tar({"file": b"seeded\n"}))
    patched.run("echo more >> file")
    ephemeral = stack.create(ephemeral=True, environment={"A": "c"}).seeded(repo=tar({"file": b"seeded\n"}))
    closed = stack.create()
    closed.close()
    lose(stack)
    assert served(lambda: plain.post(["cat file; echo $A"])).json()["results"][0]["output"] == "kept\nb\n"
    assert plain.seed(repo=tar({"late": b"l"})).status_code == 204
    assert patched.seed(repo=tar({})).status_code == 409
    assert b"+more" in patched.cumulative()
    assert b"+again" in patched.turn("echo again >> file")
    assert ephemeral.out("cat file; echo $A; rm file").split() == ["seeded", "c"]
    assert closed.post(["true"]).json() == GONE
    assert stack.instance == instance
    assert len(stack.events("session rebuilt")) == 3
    for session in plain, patched, ephemeral:
        assert session.close().status_code == 204
        assert session.post(["true"]).json() == GONE
    label = f"sandboxd.instance={instance}"
    eventually(lambda: not stack.docker.containers(label) and not stack.docker.volumes(label))


def test_a_session_whose_key_another_one_got_after_the_loss_is_used_and_closed(losing):
    stack, lose = losing

    def create():
        response = served(lambda: stack.http.post("/session/", json={"base_image": BUSYBOX}, headers={"Idempotency-Key": "once"}))
        return Session(stack, response.json()["session_id"])

    first = create()
    first.run("echo kept > file")
    lose(stack)
    second = create()
    assert second.id != first.id and second.out("ls") == ""
    assert served(lambda: first.post(["cat file"])).json()["results"][0]["output"] == "kept\n"
    assert create().id == second.id
    for session in first, second:
        assert session.close().status_code == 204
        assert session.post(["true"]).json() == GONE


def test_a_close_after_the_loss_of_all_records_removes_everything(losing):
    stack, lose = losing
    session = stack.create(extract_patch=True, ephemeral=True).seeded(repo=tar({"a": b"a"}))
    lose(stack)
    served(session.close)
    label = f"sandboxd.instance={stack.instance}"
    assert not stack.docker.containers(label) and not stack.docker.volumes(label)


def test_a_sweep_rebuilds_records_instead_of_removing_sessions(make_redis, make_stack):
    stack = make_stack(redis=make_redis(), SWEEP_SECONDS="0.2", ORPHAN_GRACE_SECONDS=0)
    session = stack.create(extract_patch=True)
    session.run("echo kept > file")
    stack.redis.ask("FLUSHALL")
    eventually(lambda: stack.events("session rebuilt"))
    assert stack.redis.ask("EXISTS", f"daiv-sandbox:session:{session.id}") == 1
    eventually(lambda: stack.redis.ask("GET", "daiv-sandbox:instance") == stack.instance)
    assert session.out("cat file") == "kept"
    assert not stack.events("swept")


def test_creates_and_commands_go_on_while_redis_loses_everything_again_and_again(make_replicas):
    stacks = make_replicas(2, SWEEP_SECONDS="0.5")
    redis = stacks[0].redis
    stop, wrong, done = threading.Event(), [], []

    def work(stack):
        while not stop.is_set():
            response = stack.post_session(base_image=DEBIAN)
            if response.status_code != 200:
                wrong.append((response.status_code, response.text))
                continue
            session = Session(stack, response.json()["session_id"])
            for other in (*stacks, stack):
                response = at(other, session).post(["echo hi"])
                if response.status_code != 200:
                    wrong.append((response.status_code, response.text))
            done.append(session.id)
            assert session.close().status_code == 204

    threads = [Background(work, stack) for stack in stacks]
    for _ in range(8):
        before = len(done)
        redis.ask("FLUSHALL")
        eventually(lambda: len(done) >= before + 2, 30)
    stop.set()
    for thread in threads:
        thread.result()
    assert wrong == []
    eventually(lambda: nothing_left(stacks[0]), 20, f"nothing to be left: {redis.keys()}")


def test_what_was_answered_to_be_closed_is_while_redis_loses_everything(make_redis, make_stack):
    stack = make_stack(redis=make_redis(), SWEEP_SECONDS="3600")
    sessions = in_parallel(lambda _: stack.create(BUSYBOX), range(12), threads=4)
    stop = threading.Event()

    def lose():
        while not stop.wait(0.001):
            stack.redis.ask("FLUSHALL")
    losing = Background(lose)
    try:
        for session in sessions:
            eventually(lambda session=session: session.close().status_code == 204, 30)
            assert not stack.docker.containers(f"sandboxd.session={session.id}")
    finally:
        stop.set()
        losing.result()


# --- a lock is lost ---

QUICK = {"SESSION_LOCK_TTL_SECONDS": "3", "SESSION_LOCK_REFRESH_SECONDS": "0.3", "SESSION_LOCK_WAIT_SECONDS": "20"}


def refused(response):
    assert response.status_code in (409, 503), f"{response.status_code} {response.text}"
    assert "lock" in response.json()["detail"] or "taken over" in response.json()["detail"], response.text


def test_a_worker_frozen_past_its_lock_is_refused_and_another_replica_goes_on(make_replicas):
    one, two = make_replicas(2, **QUICK)
    session = one.create()
    running = Background(session.post, ["echo first >> log; until [ -e go ]; do sleep 0.01; done; echo late >> log", "echo later >> log"])
    pid = one.working_pid(session.id)
    eventually(lambda: one.docker.command("exec", session.container, "test", "-e", "/repo/log", check=False).returncode == 0)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert at(two, session).post(["echo second >> log; touch go; sleep 0.2"]).status_code == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    refused(running.result())
    assert "retry-after" in running.result().headers
    assert at(two, session).out("cat log").split() == ["first", "second"]
    assert session.out("cat log").split() == ["first", "second"]


@pytest.mark.timeout(300)
def test_writes_of_a_worker_frozen_past_its_lock_are_refused_by_the_agent(make_replicas):
    one, two = make_replicas(2, **QUICK)
    session = one.create()
    mine = [(f"/repo/f{n}", b"a" * 200_000) for n in range(60)]
    refusals = 0
    deadline = time.monotonic() + 200
    for delay in itertools.cycle((0, 0.002, 0.005, 0.02)):
        writing = Background(session.files, mine)
        while not (pid := one.lock_holder(session.id)) and writing.running():
            pass
        threading.Event().wait(delay)
        if pid and writing.running():
            os.kill(pid, signal.SIGSTOP)
            try:
                held = one.lock_holder(session.id) == pid
                for path, _ in mine:
                    at(two, session).write(path, b"b")
            finally:
                os.kill(pid, signal.SIGCONT)
            try:
                writing.result()  # everything had been sent before
            except AssertionError as refusal:
                assert held and re.search("409|503", str(refusal))
                refusals += 1
            if held:
                assert at(two, session).out("cat f* | tr -d b | wc -c; cat f* | wc -c").split() == ["0", "60"]
        else:
            writing.result(20)
        if refusals == 2:
            break
        assert time.monotonic() < deadline, f"{refusals} times refused"


# --- Redis is away ---


def unavailable(stack, session):
    """Every request that needs Redis is refused at once; version needs nothing."""
    for ask in (lambda: stack.post_session(base_image=BUSYBOX), lambda: session.post(["true"]), session.close,
                lambda: session.post_files([{"path": "/repo/a", "content": "", "mode": 420}]), lambda: session.seed(repo=tar({})),
                lambda: stack.http.get("/-/health/")):
        begun = time.monotonic()
        response = ask()
        assert response.status_code == 503, f"{response.status_code} {response.text}"
        assert response.headers["retry-after"] and response.headers["content-type"] == "application/json"
        assert time.monotonic() - begun < 2.5
    eventually(lambda: stack.http.get("/-/health/").json() == {"detail": "Session store is not responding"})  # dockerd is asked first
    assert stack.http.get("/-/version/").status_code == 200


def outage_killed(redis):
    redis.stop()
    return redis.start


def outage_frozen(redis):
    redis.freeze()
    return redis.thaw


def outage_full(redis):
    assert redis.ask("CONFIG", "SET", "maxmemory", 1) == "OK"
    return lambda: redis.ask("CONFIG", "SET", "maxmemory", 0)


def outage_read_only(redis):
    assert redis.ask("REPLICAOF", "127.0.0.1", 1) == "OK"
    return lambda: redis.ask("REPLICAOF", "NO", "ONE")


def outage_busy(redis):
    """A script of somebody else that does not end."""
    assert redis.ask("CONFIG", "SET", "busy-reply-threshold", 50) == "OK"
    Background(redis.ask, "EVAL", "while true do end", 0, timeout=60)
    eventually(lambda: str(redis.ask("GET", "x")).startswith("-BUSY"))
    return lambda: redis.ask("SCRIPT", "KILL")


@pytest.mark.parametrize("outage", [outage_killed, outage_frozen, outage_full, outage_read_only, outage_busy])
def test_while_redis_is_away_requests_are_refused_at_once_and_running_commands_finish(make_redis, make_stack, outage):
    stack = make_stack(redis=make_redis(), MIN_WORKERS=4, SESSION_LOCK_TTL_SECONDS=60, SESSION_LOCK_REFRESH_SECONDS="0.3")
    session, idle = stack.create(), stack.create()
    running = Background(session.post, ["touch /tmp/started; until [ -e /tmp/go ]; do sleep 0.02; done; echo done"])
    eventually(lambda: stack.docker.command("exec", session.container, "test", "-e", "/tmp/started", check=False).returncode == 0)
    before = len(stack.docker.containers(f"sandboxd.instance={stack.instance}"))
    back = outage(stack.redis)
    try:
        unavailable(stack, idle)
        assert running.running()
        stack.docker.command("exec", session.container, "touch", "/tmp/go")
        assert running.result(20).json()["results"][0]["output"] == "done\n"
        assert len(stack.docker.containers(f"sandboxd.instance={stack.instance}")) == before
    finally:
        back()
    eventually(stack.healthy, 5)
    eventually(lambda: idle.post(["true"]).status_code == 200, 5)
    # Each worker finds out for itself that Redis is back: until then it refuses, and has done nothing.
    eventually(lambda: idle.seed(repo=tar({"a": b"a"})).status_code == 204)
    eventually(lambda: session.post(["true"]).status_code in (200, 409))
    eventually(lambda: stack.post_session(base_image=DEBIAN).status_code == 200)


def test_a_lock_that_cannot_be_refreshed_ends_its_request_before_another_could_have_it(make_redis, make_stack):
    # It is given up at the second refresh that fails, 4.4 s after the last that did not: the third would come too late.
    stack = make_stack(redis=make_redis(), SESSION_LOCK_TTL_SECONDS="6", SESSION_LOCK_REFRESH_SECONDS="2.2")
    session = stack.create()
    running = Background(session.post, ["touch /tmp/held; exec sleep 1017"])
    is_held(session)  # no earlier: Redis is needed for that
    before = time.monotonic()
    stack.redis.stop()
    stopped = time.monotonic()
    response = running.result()
    ended = time.monotonic()
    stack.redis.start()
    assert response.status_code == 503 and "lock" in response.json()["detail"]
    assert ended - before > 1 and ended - stopped < 6  # its TTL
    eventually(lambda: session.post(["true"]).status_code == 200)


def test_workers_that_start_while_redis_is_away_serve_when_it_is_back(make_redis, make_stack):
    stack = make_stack(redis=make_redis())
    session = stack.create()
    stack.redis.stop()
    old = stack.children("worker") + stack.children("control")
    for pid in old:
        os.kill(pid, signal.SIGKILL)

    def started():
        """As many as before, and none of those: a process is there for a moment after its SIGKILL."""
        workers, control = stack.children("worker"), stack.children("control")
        return len(workers) >= 2 and len(control) == 3 and not set(old) & {*workers, *control}

    eventually(started)
    unavailable(stack, session)
    stack.redis.start()
    eventually(lambda: session.post(["true"]).status_code == 200)


def test_a_redis_url_that_cannot_be_used_is_refused_at_the_start(make_stack):
    for url in ("rediss://localhost", "redis://localhost:port", "redis://localhost/name", "unix://relative"):
        done = subprocess.run([binary(), "--check-config"], capture_output=True, text=True,
                              env={"DAIV_SANDBOX_API_KEY": "k", "DAIV_SANDBOX_REDIS_URL": url, "PATH": os.environ["PATH"]})
        assert done.returncode == 78 and "DAIV_SANDBOX_REDIS_URL" in done.stderr and "no TLS" in done.stderr


@pytest.mark.parametrize("form", ["redis://:{password}@127.0.0.1:{port}/3", "redis://someone:{password}@localhost:{port}",
                                  "unix://someone:{password}@{dir}/redis.sock?db=2"])
def test_forms_of_the_url_each_through_a_reconnect(make_redis, make_stack, form):
    redis = make_redis()

    def guard():
        redis.ask("ACL", "SETUSER", "someone", "on", ">pass word", "~daiv-sandbox:*", "+@all")
        redis.ask("CONFIG", "SET", "requirepass", "pass word")

    guard()
    stack = make_stack(redis=redis, REDIS_URL=form.format(password="pass%20word", port=redis.port, dir=redis.dir))
    session = stack.create()
    redis.stop()
    redis.start()
    guard()
    assert served(lambda: session.post(["echo back"])).json()["results"][0]["output"] == "back\n"
