"""Sessions from create to the end: what is told of them, their limits, repeated creates, stop and resume."""
import datetime
import json
import os
import pathlib
import signal
import time
import uuid

import pytest

from exec_kit import Exec, wait_for
from stack import Call, Session
from support import BUSYBOX, GONE, HELD, Background, eventually, in_parallel, is_held, let_go, tar

JSON = {"Accept": "application/json"}


def look(session, status=200):
    response = session.stack.http.get(session.path, headers=JSON)
    assert response.status_code == status, response.text
    return response.json()


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def listed(stack, **params):
    response = stack.http.get("/api/v1/session/", params=params)
    assert response.status_code == 200, response.text
    return response.json()


def detail(response, status):
    assert response.status_code == status, f"{response.status_code} {response.text}"
    return response.json()["detail"]


# --- what is told of a session ---


def test_a_plain_get_of_a_session_answers_204_and_one_for_json_the_record(stack, create):
    session = create(BUSYBOX, environment={"SECRET": "x"}, labels={"team": "a", "empty": ""}, cpus=0.5,
                     memory_bytes=64 << 20)
    for accept in ("*/*", "text/html", ""):
        plain = stack.http.get(session.path, headers={"Accept": accept})
        assert (plain.status_code, plain.content) == (204, b"")
    before = time.time()
    session.run("true")
    record = eventually(lambda: (found := look(session))["usage"] and found)  # null while dockerd takes its time
    usage = record.pop("usage")
    assert usage["memory_bytes"] > 0 and usage["processes"] >= 1 and usage["cpu_ms"] >= 0
    assert before - 60 < moment(record.pop("created_at")) <= moment(record.pop("last_used_at")) <= time.time()
    assert record == {"session_id": session.id, "state": "ready", "owner": "default", "base_image": BUSYBOX,
                      "expires_at": None, "idle_seconds": None, "seeded": False, "extract_patch": False,
                      "ephemeral": False, "network_enabled": False, "memory_bytes": 64 << 20, "cpus": 0.5,
                      "disk_bytes": None, "labels": {"team": "a", "empty": ""}}
    session.seeded(tar({"a": b"a"}))
    assert look(session)["seeded"] is True


def test_a_session_is_told_of_while_a_command_runs_in_it(stack, create):
    session = create(BUSYBOX)
    running = Background(session.post, [HELD])
    stack.working_pid(session.id)
    begun = time.monotonic()
    assert look(session)["state"] == "ready"
    assert time.monotonic() - begun < 2 and running.running()
    let_go(session)
    running.result()


@pytest.mark.parametrize("sid", ["nonsense", str(uuid.uuid4())])
def test_a_session_that_is_none_is_404_for_get_and_patch(stack, sid):
    path = f"/api/v1/session/{sid}/"
    for accept in ("*/*", "application/json"):
        response = stack.http.get(path, headers={"Accept": accept})
        assert (response.status_code, response.json()) == (404, GONE)
    assert stack.http.patch(path, json={}).status_code == 404


def test_a_closed_session_is_404_and_not_listed(stack):
    session = stack.create(BUSYBOX, labels={"one": "closed"})
    assert session.close().status_code == 204
    look(session, 404)
    assert listed(stack, label="one=closed")["sessions"] == []


def test_sessions_are_listed_in_parts_by_label(stack, create):
    mark = uuid.uuid4().hex
    ids = sorted(create(BUSYBOX, labels={"mark": mark, "n": str(n % 2)}).id for n in range(3))
    assert [s["session_id"] for s in listed(stack, label=f"mark={mark}")["sessions"]] == ids
    odd = listed(stack, label=[f"mark={mark}", "n=1"])["sessions"]
    assert len(odd) == 1 and odd[0]["labels"] == {"mark": mark, "n": "1"} and "usage" not in odd[0]
    assert listed(stack, label=[f"mark={mark}", "n=2"])["sessions"] == []
    first = listed(stack, label=f"mark={mark}", limit=2)
    rest = listed(stack, label=f"mark={mark}", limit=2, cursor=first["next_cursor"])
    assert [s["session_id"] for s in first["sessions"] + rest["sessions"]] == ids
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("params", [{"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"cursor": "x"}, {"label": "x"},
                                    {"label": ["a=b"] * 17}, {"label": "a=" + "b" * 1000}])
def test_a_query_that_makes_no_sense_is_refused(stack, params):
    assert stack.http.get("/api/v1/session/", params=params).status_code == 422


@pytest.mark.parametrize("fields", [
    {"labels": {"": "x"}}, {"labels": {"a=b": "x"}}, {"labels": {"a" * 64: "x"}}, {"labels": {"a": "x" * 256}},
    {"labels": {"a": 1}}, {"labels": {str(n): "" for n in range(33)}}, {"labels": ["a"]},
    {"idle_seconds": 0}, {"ttl_seconds": -1}, {"ttl_seconds": "soon"}, {"idle_seconds": 10**12}])
def test_bad_labels_and_limits_are_refused_by_create_and_patch(stack, shared, fields):
    assert stack.post_session(base_image=BUSYBOX, **fields).status_code == 422
    faults = detail(stack.http.patch(shared.path, json=fields), 422)
    assert faults[0]["loc"][:2] == ["body", next(iter(fields))]


# --- limits ---


def used_beyond_its_limit(stack, seconds):
    """(session, record) of one that was used for longer than its idle limit; None where this process itself stood still for
    as long between two uses."""
    begun = last = time.monotonic()
    session = stack.create(BUSYBOX, idle_seconds=seconds)
    while True:
        asked = time.monotonic()
        over = asked >= begun + seconds + 3
        response = stack.http.get(session.path, headers=JSON) if over else session.post(["sleep 0.3; echo here"])
        if response.status_code == 404 and time.monotonic() - last >= 0.9 * seconds:  # a use is noted so exactly
            return None
        assert response.status_code == 200, response.text
        if over:
            return session, response.json()
        assert response.json()["results"][0]["output"] == "here\n"
        last = asked


def test_a_session_ends_at_its_idle_limit_and_not_while_it_is_used(make_stack):
    stack = make_stack(MIN_WORKERS=2, SWEEP_SECONDS="0.2")
    busy = stack.create(BUSYBOX)
    command = Background(busy.post, [f"{HELD}; echo through"])
    is_held(busy)
    assert stack.http.patch(busy.path, json={"idle_seconds": 5}).status_code == 200
    while not (used := used_beyond_its_limit(stack, 5)):
        pass
    session, record = used
    let_go(busy)
    assert command.result().json()["results"][0]["output"] == "through\n"
    assert record["idle_seconds"] == 5
    assert moment(record["expires_at"]) == pytest.approx(moment(record["last_used_at"]) + 5, abs=0.01)
    for ended in (session, busy):
        eventually(lambda: not stack.docker.exists(ended.container), 25, "the idle session to be swept")
        assert ended.post(["true"]).json() == GONE
        eventually(lambda: stack.events("swept", subject=ended.id, detail='"over its idle limit"'))


def worked_beyond_its_limit(stack, seconds):
    """(session, release, its record then) of one that got its limit while a command ran in it, which went on for longer; None where
    the service stood still for as long after it."""
    key = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"base_image": BUSYBOX, "labels": {"mark": key["Idempotency-Key"]}}
    session = Session(stack, stack.http.post("/session/", json=body, headers=key).json()["session_id"])
    command = Background(session.post, [f"{HELD}; echo through"])
    is_held(session)
    assert stack.http.patch(session.path, json={"idle_seconds": seconds}).status_code == 200
    over = time.time() + seconds
    eventually(lambda: time.time() > over)
    asked = time.time()
    record = look(session)
    asked -= 0.001  # times are told in milliseconds
    assert asked <= moment(record["last_used_at"]) == pytest.approx(moment(record["expires_at"]) - seconds, abs=0.01)
    assert [s["session_id"] for s in listed(stack, label=f"mark={key['Idempotency-Key']}")["sessions"]] == [session.id]
    assert stack.http.post("/session/", json=body, headers=key).json()["session_id"] == session.id
    assert stack.http.get(session.path).status_code == 204
    released = time.time()
    let_go(session)
    assert command.result().json()["results"][0]["output"] == "through\n"
    response = stack.http.get(session.path, headers=JSON)
    if response.status_code == 404 and time.time() >= released + 0.9 * seconds:
        return None
    assert response.status_code == 200, response.text
    return session, released, response.json()


def test_a_request_that_works_is_a_use_also_beyond_a_limit_that_came_meanwhile(make_stack):
    stack = make_stack(MIN_WORKERS=3, SWEEP_SECONDS="0.2")
    while not (worked := worked_beyond_its_limit(stack, 3)):
        pass
    session, released, record = worked
    assert moment(record["last_used_at"]) >= released - 0.05
    eventually(lambda: not stack.docker.exists(session.container), 25, "the idle session to be swept")
    look(session, 404)


def test_a_request_to_an_expired_session_is_404_at_once(make_stack):
    stack = make_stack(MIN_WORKERS=2, SWEEP_SECONDS="3600", CLOSE="remove")
    session = stack.create(BUSYBOX, ttl_seconds=5)
    limit = time.time() + 5  # at the latest
    eventually(lambda: time.time() > limit)
    for response in (session.post(["true"]), session.post_files([{"path": "/repo/a", "content": "", "mode": 420}]),
                     stack.http.get(session.path), stack.http.patch(session.path, json={"ttl_seconds": 100})):
        assert (response.status_code, response.json()) == (404, GONE)
    assert listed(stack)["sessions"] == []
    assert stack.docker.exists(session.container)  # nobody has swept
    assert session.close().status_code == 204
    assert not stack.docker.exists(session.container)


def test_the_absolute_limit_ends_a_running_command(make_stack):
    stack = make_stack(MIN_WORKERS=2, SWEEP_SECONDS="0.2")
    session = stack.create(BUSYBOX, ttl_seconds=5)
    begun = time.monotonic()
    response = session.post(["sleep 60"])
    assert (response.status_code, response.json()) == (404, GONE)
    assert time.monotonic() - begun < 20
    eventually(lambda: stack.events("swept", subject=session.id, detail='"over its absolute limit"'))


def test_patch_extends_a_session_and_replaces_its_labels(make_stack):
    stack = make_stack(MIN_WORKERS=2, SWEEP_SECONDS="0.2", SESSION_MAX_SECONDS="600", SESSION_IDLE_SECONDS="300")
    while True:  # until the limit is put off before it is over
        begun = time.time()
        session = stack.create(BUSYBOX, ttl_seconds=6, labels={"a": "1", "b": "2"})
        limit = time.time() + 6  # at the latest
        response = stack.http.patch(session.path, json={"ttl_seconds": 100, "labels": {"c": "3"}})
        if response.status_code != 404 or time.time() < begun + 6:
            break
    assert response.status_code == 200, response.text
    record = response.json()
    created = moment(record["created_at"])
    assert record["labels"] == {"c": "3"} and record["idle_seconds"] == 300
    assert moment(record["expires_at"]) == pytest.approx(time.time() + 100, abs=30)
    eventually(lambda: time.time() > limit + 1)
    assert session.out("echo still") == "still"
    assert look(session)["labels"] == {"c": "3"}
    eventually(lambda: time.time() > created + 8)
    too_late = stack.http.patch(session.path, json={"ttl_seconds": 600})
    assert detail(too_late, 422) == "ttl_seconds: a session ends 600 s after its create at the latest"
    for fields in ({"ttl_seconds": 601}, {"idle_seconds": 301}):
        faults = detail(stack.http.patch(session.path, json=fields), 422)
        assert faults[0]["type"] == "less_than_equal"
        assert detail(stack.post_session(base_image=BUSYBOX, **fields), 422)[0]["type"] == "less_than_equal"


def test_a_change_whose_client_leaves_keeps_what_dockerd_knows_of_the_session(relay, make_stack):
    stack = make_stack(docker_host=f"unix://{relay.path}", MIN_WORKERS=2)
    session = stack.create(BUSYBOX)
    note = f"sandboxd-{session.id}-note"
    relay.keep_back(f"/volumes/{note}".encode())
    call = Call(stack, session.path, {"labels": {"a": "b"}}, method="PATCH")
    try:
        assert relay.reached.wait(30) and relay.kept.startswith(b"DELETE")
        assert not call.leave()
        access = pathlib.Path(stack.home, "log", "nginx-access.log")
        eventually(lambda: " status=499 " in access.read_text(), what="nginx to close the worker's connection")
    finally:
        relay.free.set()

    def noted():
        """Labels of the session by its note; None where there is none."""
        found = [v["Labels"]["sandboxd.record"] for v in stack.docker.volumes(f"sandboxd.session={session.id}") if v["Name"] == note]
        return json.loads(json.loads(found[0]).get("labels", "null")) if found else None

    eventually(lambda: noted() == {"a": "b"})


# --- creates that are repeated ---


def post_with(stack, key, **fields):
    return stack.http.post("/api/v1/session/", json={"base_image": BUSYBOX, **fields}, headers={"Idempotency-Key": key})


def adopt(stack, response):
    assert response.status_code == 200, response.text
    session = Session(stack, response.json()["session_id"])
    stack.open_sessions.append(session)
    return session


def test_a_repeated_create_gives_the_same_session_until_that_is_closed(stack, create):
    key = uuid.uuid4().hex
    first = adopt(stack, post_with(stack, key, labels={"a": "b"}))
    assert post_with(stack, key, labels={"a": "b"}).json()["session_id"] == first.id
    assert detail(post_with(stack, key), 422) == "Idempotency-Key was used with another request body"
    assert adopt(stack, post_with(stack, key + "x")).id != first.id
    assert first.close().status_code == 204
    assert adopt(stack, post_with(stack, key)).id != first.id


def test_creates_with_one_key_at_the_same_time_make_one_session(stack, create):
    key = uuid.uuid4().hex
    answers = in_parallel(lambda _: post_with(stack, key, labels={"key": key}), range(8))
    assert {adopt(stack, answer).id for answer in answers} == {listed(stack, label=f"key={key}")["sessions"][0]["session_id"]}
    assert len(listed(stack, label=f"key={key}")["sessions"]) == 1


def test_a_create_that_failed_frees_its_key(stack, create):
    key = uuid.uuid4().hex
    response = stack.http.post("/api/v1/session/", json={"base_image": "no such image"}, headers={"Idempotency-Key": key})
    assert response.status_code == 422
    missing = stack.http.post("/api/v1/session/", json={"base_image": "localhost:1/none"}, headers={"Idempotency-Key": key})
    assert missing.status_code >= 400
    adopt(stack, post_with(stack, key))


def test_a_worker_killed_at_a_create_frees_its_key(make_stack):
    stack = make_stack(MIN_WORKERS=2, SWEEP_SECONDS="0.5")
    key = uuid.uuid4().hex

    def half_made():
        return [c for c in stack.docker.containers(f"sandboxd.instance={stack.instance}")]

    lost = Background(post_with, stack, key, extract_patch=True)
    workers = stack.children("worker")
    eventually(half_made, what="the create to have begun")
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    assert lost.result().status_code in (200, 502, 503)
    eventually(stack.healthy)
    session = eventually(lambda: (lambda r: r.status_code == 200 and Session(stack, r.json()["session_id"]))(
        post_with(stack, key, extract_patch=True)), 30, "the key to be free")
    assert session.out("echo here") == "here"
    assert session.close().status_code == 204
    eventually(lambda: not half_made(), 30, "what the killed worker left to be swept")


@pytest.mark.parametrize("key", ["x" * 256, "ž"])
def test_a_bad_key_is_refused(stack, key):
    response = stack.http.post("/api/v1/session/", json={"base_image": BUSYBOX},
                               headers={"Idempotency-Key": key.encode()})
    assert detail(response, 422).startswith("Idempotency-Key must be")


# --- stop instead of removal ---


@pytest.fixture(scope="module")
def keeping(start_stack):
    from conftest import finish
    stack = start_stack(MIN_WORKERS=3, SWEEP_SECONDS="0.3", CLOSE="stop", STOPPED_SECONDS="3600", STOPPED_MAX="1000",
                        ORPHAN_GRACE_SECONDS="0.5", SESSION_LOCK_WAIT_SECONDS="30")  # the sweep has a session's lock for as long as dockerd takes
    yield stack
    finish(stack)


def running(stack, container):
    return stack.docker.inspect(container)["State"]["Running"]


@pytest.mark.parametrize("options", [{}, {"extract_patch": True}], ids=["plain", "patch"])
def test_a_stopped_session_is_started_again_by_its_next_use(keeping, options):
    session = keeping.create(**options).seeded(tar({"a": b"one\n"}))
    session.run("echo two >> a; echo kept > ~/home")
    for _ in range(2):
        assert session.close().status_code == 204
        assert not running(keeping, session.container)
        record = look(session)
        assert record["state"] == "stopped" and record["usage"] is None
        assert moment(record["expires_at"]) == pytest.approx(time.time() + 3600, abs=60)
    assert keeping.http.get(session.path).status_code == 204
    answer = session.run("cat a ~/home; echo three >> a")
    assert answer["results"][0]["output"] == "one\ntwo\nkept\n"
    assert (answer["patch"] is not None) == bool(options)
    assert look(session)["state"] == "ready"
    if options:
        assert running(keeping, session.helper) and b"+three" in session.cumulative()
    assert session.seed(tar({"a": b""})).status_code == 409
    assert keeping.http.delete(session.path, params={"force": "true"}).status_code == 204
    assert not keeping.docker.exists(session.container)
    look(session, 404)


def test_an_ephemeral_session_is_stopped_and_used_again(keeping):
    session = keeping.create(ephemeral=True).seeded(tar({"a": b"one\n"}))
    assert session.out("cat a; echo more >> a") == "one"
    assert session.close().status_code == 204
    assert session.out("cat a") == "one"
    assert keeping.http.delete(session.path, params={"force": "true"}).status_code == 204


def test_a_running_command_is_ended_by_the_stop(keeping):
    session = keeping.create(BUSYBOX)
    command = Background(session.post, ["sleep 60"])
    keeping.working_pid(session.id)
    assert session.close().status_code == 204
    response = command.result()
    assert (response.status_code, response.json()) == (404, GONE)
    assert not running(keeping, session.container)
    assert look(session)["state"] == "stopped"
    assert session.out("echo back") == "back"
    keeping.http.delete(session.path, params={"force": "1"})


def test_who_was_at_work_in_a_stopped_session_does_not_start_it_again(keeping):
    """A follower looks again and again, and so does who writes more to stdin than the program takes."""
    session = keeping.create(BUSYBOX)
    job = Exec(session, "head -c 1; sleep 600", stdin_open=True)
    follower = job.follower().in_thread()
    feeder = Background(job.post, "stdin", content=b"x" * 1_000_000, headers={"Content-Type": "application/octet-stream"})
    wait_for(follower, "x")
    assert session.close().status_code == 204
    follower.join()
    assert follower.events[-1]["event"] == "error" and follower.events[-1]["status"] == 404
    assert (feeder.result().status_code, feeder.result().json()) == (404, GONE)
    assert look(session)["state"] == "stopped"
    assert not running(keeping, session.container)
    assert session.out("echo back") == "back"
    keeping.http.delete(session.path, params={"force": "true"})


def test_a_stopped_session_can_be_removed_when_its_container_is_gone(keeping):
    session = keeping.create(extract_patch=True)
    assert session.close().status_code == 204
    keeping.docker.remove(session.container)
    assert session.close().status_code == 204
    assert keeping.http.delete(session.path, params={"force": "true"}).status_code == 204
    assert session.close().status_code == 204
    look(session, 404)


def test_stopped_sessions_go_after_their_grace_and_the_oldest_beyond_the_cap(make_stack):
    stack = make_stack(MIN_WORKERS=2, SWEEP_SECONDS="0.3", CLOSE="stop", STOPPED_SECONDS="3600", STOPPED_MAX="2")
    sessions = [stack.create(BUSYBOX) for _ in range(4)]
    for session in sessions[:3]:
        assert session.close().status_code == 204
    eventually(lambda: not stack.docker.exists(sessions[0].container), 15, "the oldest to be removed")
    eventually(lambda: stack.events("swept", subject=sessions[0].id, detail='"more are stopped than are kept"'))
    assert all(stack.docker.exists(s.container) for s in sessions[1:])
    stack.reload(STOPPED_SECONDS="1")
    eventually(lambda: not any(stack.docker.exists(s.container) for s in sessions[1:3]), 50, "the grace to end")
    assert sessions[1].post(["true"]).status_code == 404
    assert sessions[3].out("echo here") == "here"
    stack.http.delete(sessions[3].path, params={"force": "true"})


# --- replicas ---


def test_replicas_give_one_session_for_a_key_and_see_its_limits_and_its_stop(make_replicas):
    one, two = make_replicas(2, CLOSE="stop", SWEEP_SECONDS="0.3")
    key = uuid.uuid4().hex
    answers = in_parallel(lambda n: post_with((one, two)[n % 2], key), range(6))
    ids = {answer.json()["session_id"] for answer in answers}
    assert len(ids) == 1 and len(listed(two)["sessions"]) == 1
    session, other = (Session(stack, *ids) for stack in (one, two))
    assert detail(post_with(two, key, labels={}), 422) == "Idempotency-Key was used with another request body"
    session.write("/repo/a", b"kept")
    assert other.close().status_code == 204
    assert look(session)["state"] == "stopped"
    assert post_with(two, key).json()["session_id"] == session.id
    assert other.out("cat a") == "kept"
    assert two.http.patch(other.path, json={"labels": {"a": "b"}}).status_code == 200
    assert listed(one, label="a=b")["sessions"][0]["session_id"] == session.id
    assert two.http.patch(other.path, json={"ttl_seconds": 1}).status_code == 200
    eventually(lambda: not one.docker.exists(session.container), what="one of the janitors to sweep it")
    eventually(lambda: [k for k in one.redis.keys() if k.split(":")[1] in ("session", "key")] == [])
    assert session.post(["true"]).json() == GONE


# --- many at once ---


@pytest.mark.timeout(300)
@pytest.mark.plain  # most of its time is dockerd's
def test_a_hundred_creates_at_twenty_in_parallel_leak_nothing(make_stack):
    stack = make_stack(MIN_WORKERS=8, SWEEP_SECONDS="0.5", ORPHAN_GRACE_SECONDS="2")

    def create(_):
        return stack.http.post("/api/v1/session/", json={"base_image": BUSYBOX}, timeout=300)

    answers = in_parallel(create, range(100), threads=20)
    made = [answer.json()["session_id"] for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert all(answer.status_code in (429, 502, 503, 504) and answer.json()["detail"] for answer in refused)
    assert len(set(made)) == len(made) and len(made) >= 50
    sessions = [Session(stack, sid) for sid in made]
    names = {c["Names"][0][1:] for c in stack.docker.containers(f"sandboxd.instance={stack.instance}")}
    assert names >= {session.container for session in sessions}
    assert all(in_parallel(lambda s: s.out("echo ok") == "ok", sessions, threads=8))
    assert all(in_parallel(lambda s: s.close().status_code == 204, sessions, threads=8))
    eventually(lambda: stack.docker.containers(f"sandboxd.instance={stack.instance}") == [], 30, "nothing to be left")
    assert listed(stack)["sessions"] == []
