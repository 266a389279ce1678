"""The warm pool: sessions made in advance."""
import hashlib
import os
import shutil
import signal
import sqlite3
import time

import httpx
import pytest

from conftest import finish
from stack import Session, free_port, script
from support import BUSYBOX, DEBIAN, PID_MASK, Background, Docker, eventually, in_parallel, tar

POOL = f"{DEBIAN}=2,{DEBIAN}=2;patch"


def pooled(stack):
    """Ids of sessions in dockerd that no client made: every container but those of the known sessions."""
    known = {session.id for session in stack.open_sessions}
    found = {c["Labels"]["sandboxd.session"] for c in stack.docker.containers(f"sandboxd.instance={stack.instance}")
             if c["State"] == "running" and c["Labels"]["sandboxd.role"] == "session"}
    return found - known


def stored(stack, question, *values):
    """Rows of the database, in which somebody who was killed may have left half a change: the service takes that back."""
    try:
        with sqlite3.connect(f"file:{stack.home}/state/sessions.db?mode=ro", uri=True, timeout=5) as db:
            return db.execute(question, values).fetchall()
    except sqlite3.OperationalError as error:
        raise AssertionError(f"{question}: {error}") from error


def waiting(stack):
    """How many sessions wait in the pool, by the store's account."""
    if stack.redis:
        return sum(stack.redis.ask("HGET", key, "state") == "5" for key in stack.redis.keys()
                   if key.startswith("daiv-sandbox:session:"))
    return stored(stack, "SELECT count(*) FROM sessions WHERE state = 5")[0][0]


def full(stack, count):
    eventually(lambda: waiting(stack) == count, 30, f"{count} sessions in the pool")
    return pooled(stack)


@pytest.fixture(scope="module")
def warm(start_stack):
    stack = start_stack(WARM_POOL=POOL, MIN_WORKERS=2)
    full(stack, 4)
    yield stack
    finish(stack)


def test_a_create_takes_a_pooled_session_and_the_pool_is_filled_again(warm):
    before = full(warm, 4)
    session = warm.create()
    assert session.id in before
    assert session.out("echo ok; pwd") == "ok\n/repo"
    assert session.id not in full(warm, 4)
    assert session.close().status_code == 204
    assert not warm.docker.exists(session.container)


def test_a_pooled_pair_makes_patches(warm):
    before = full(warm, 4)
    session = warm.create(extract_patch=True).seeded(repo=tar({"file": b"seeded\n"}))
    assert session.id in before
    assert b"+more" in session.turn("echo more >> file")
    assert session.close().status_code == 204


def test_a_pooled_session_has_the_environment_that_was_asked_for(warm):
    before = full(warm, 4)
    session = warm.create(environment={"A": "it's b", "HOME": "/tmp"})
    assert session.id in before
    assert session.out('echo "$A $HOME"') == "it's b /tmp"
    plain = warm.create()
    assert plain.out('echo "[$A]"') == "[]"


def test_a_pooled_session_has_the_limits_that_were_asked_for(warm):
    before = full(warm, 4)
    session = warm.create(memory_bytes=64 * 1024 * 1024, cpus=0.5)
    assert session.id in before
    host = warm.docker.inspect(session.container)["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (64 * 1024 * 1024, 64 * 1024 * 1024, 500000000)
    assert session.out("echo ok") == "ok"


def test_other_options_and_images_are_made_the_long_way(warm):
    before = full(warm, 4)
    for options in {"image": BUSYBOX}, {"network_enabled": True}, {"ephemeral": True}:
        session = warm.create(**options)
        assert session.id not in before
        assert session.out("echo ok") == "ok"
        session.close()


def test_options_that_are_refused_cost_one_entry_at_most(warm):
    before = full(warm, 4)
    response = warm.post_session(base_image=DEBIAN, cpus=100000)
    assert response.status_code == 422, response.text
    assert len(before - full(warm, 4)) <= 1


def test_a_create_over_the_limit_of_sessions_costs_no_entry(make_stack, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"few:{hashlib.sha256(b'few').hexdigest()}:sessions=1\n")
    stack = make_stack(API_KEYS_FILE=keys, WARM_POOL=f"{DEBIAN}=1", MIN_WORKERS=2)
    full(stack, 1)
    with stack.client("few") as http:
        def create(key):
            return http.post("/session/", json={"base_image": DEBIAN}, headers={"Idempotency-Key": key})

        mine = Session(stack, create("first").json()["session_id"])
        stack.open_sessions.append(mine)
        before = full(stack, 1)
        assert create("second").status_code == 429
        assert full(stack, 1) == before
        assert create("first").json() == {"session_id": mine.id}
        assert http.delete(mine.path).status_code == 204
    stack.open_sessions.remove(mine)


def test_an_empty_pool_is_no_reason_to_fail(warm):
    full(warm, 4)
    sessions = in_parallel(lambda _: warm.create(), range(6))
    assert len({session.id for session in sessions}) == 6
    assert in_parallel(lambda session: session.out("echo ok"), sessions) == ["ok"] * 6
    for session in sessions:
        session.close()


def test_a_dead_pooled_container_is_not_handed_out(warm):
    before = full(warm, 4)
    for sid in before:
        warm.docker.kill(f"sandboxd-{sid}")
    session = warm.create()
    assert session.id not in before
    assert session.out("echo ok") == "ok"


def test_a_pooled_session_is_nobodys_until_it_is_claimed(warm):
    sid = sorted(full(warm, 4))[0]
    assert warm.http.post(f"/session/{sid}/", json={"commands": ["true"]}).status_code == 404
    assert warm.http.delete(f"/session/{sid}/").status_code == 204
    assert warm.docker.exists(f"sandboxd-{sid}")


def test_dead_containers_are_replaced_by_the_next_sweep(make_stack):
    stack = make_stack(WARM_POOL=f"{DEBIAN}=1", SWEEP_SECONDS="0.5", MIN_WORKERS=1)
    sid, = full(stack, 1)
    stack.docker.kill(f"sandboxd-{sid}")
    eventually(lambda: len(pooled(stack)) == 1 and sid not in pooled(stack), 20)
    eventually(lambda: not stack.docker.exists(f"sandboxd-{sid}"))


def test_a_newer_image_replaces_what_the_pool_has(make_stack, docker_host):
    name = f"sandboxd/pool-test-{os.getpid()}:1"  # other runs of this test may use the same daemon
    docker = Docker(docker_host)
    docker.command("tag", DEBIAN, name)  # first, so that no registry is asked for it
    try:
        stack = make_stack(WARM_POOL=f"{name}=1", SWEEP_SECONDS="0.5", MIN_WORKERS=1)
        sid, = full(stack, 1)
        docker.command("tag", BUSYBOX, name)
        eventually(lambda: pooled(stack) and sid not in pooled(stack), 30)
        assert stack.create(name).out("busybox true; echo $?").endswith("0")
        stack.close_since(0)
    finally:
        docker.command("rmi", "-f", name, check=False)


def test_the_pool_is_adopted_by_the_next_start(make_stack):
    stack = make_stack(WARM_POOL=f"{DEBIAN}=2", MIN_WORKERS=1)
    before = full(stack, 2)
    stack.down()
    stack.up()
    assert stack.create().id in before
    stack.close_since(0)


def test_a_pool_that_is_not_wanted_any_more_goes(make_stack):
    stack = make_stack(WARM_POOL=f"{DEBIAN}=1", SWEEP_SECONDS="0.5", MIN_WORKERS=1)
    before = full(stack, 1)
    stack.down()
    stack.env["DAIV_SANDBOX_WARM_POOL"] = f"{BUSYBOX}=1"
    stack.up()
    eventually(lambda: len(pooled(stack)) == 1 and not before & pooled(stack), 20)
    stack.down()
    del stack.env["DAIV_SANDBOX_WARM_POOL"]
    stack.up()
    eventually(lambda: not stack.docker.containers(f"sandboxd.instance={stack.instance}"), 20)


def test_a_janitor_killed_while_it_fills_leaves_nothing(make_stack):
    stack = make_stack(WARM_POOL=f"{DEBIAN}=3;patch", SWEEP_SECONDS="1", MIN_WORKERS=1)
    for _ in range(3):
        janitor, = eventually(lambda: stack.children("janitor"))
        os.kill(janitor, signal.SIGKILL)
        eventually(lambda: [pid for pid in stack.children("janitor") if pid != janitor])
    full(stack, 3)
    eventually(lambda: len(stack.docker.containers(f"sandboxd.instance={stack.instance}")) == 6, 20)


def test_sweeps_are_not_put_off_until_the_pool_is_full(make_stack):
    stack = make_stack(WARM_POOL=f"{BUSYBOX}=60", SWEEP_SECONDS="0.3", ORPHAN_GRACE_SECONDS="0", MIN_WORKERS=1)
    session = stack.create()
    stack.docker.remove(session.container)
    eventually(lambda: stack.events("swept", subject=session.id, detail='"its container is gone"'), 60)
    assert waiting(stack) < 60
    eventually(lambda: waiting(stack) > 5, 60, "the pool to be filled between sweeps")


def claimed_by(stack, sid):
    """The worker that is making a session of an entry, by the store's account."""
    rows = stored(stack, "SELECT worker_pid FROM sessions WHERE id = ? AND state = 1", sid)
    return rows and rows[0][0] & PID_MASK


def create_with_key(stack, key):
    response = stack.http.post("/session/", json={"base_image": DEBIAN}, headers={"Idempotency-Key": key})
    assert response.status_code == 200, response.text
    return response.json()["session_id"]


def test_a_repeated_create_gets_the_session_that_came_from_the_pool(warm):
    before = full(warm, 4)
    sid = create_with_key(warm, "pooled once")
    warm.open_sessions.append(Session(warm, sid))
    assert sid in before and create_with_key(warm, "pooled once") == sid
    assert before - full(warm, 4) == {sid}
    warm.open_sessions.pop().close()
    again = create_with_key(warm, "pooled once")
    assert again != sid
    Session(warm, again).close()


def test_creates_with_one_key_at_once_take_one_session(warm):
    before = full(warm, 4)
    sid, = set(in_parallel(lambda _: create_with_key(warm, "pooled at once"), range(6)))
    warm.open_sessions.append(Session(warm, sid))
    assert sid in before
    assert before - full(warm, 4) == {sid}
    warm.open_sessions.pop().close()


def test_a_worker_killed_in_the_middle_of_a_claim_leaves_nothing(make_stack):
    stack = make_stack(WARM_POOL=f"{DEBIAN}=1;patch", SWEEP_SECONDS="0.5", MIN_WORKERS=2)
    for _ in range(3):
        sid, = full(stack, 1)
        agent = stack.docker.inspect(f"sandboxd-{sid}")["State"]["Pid"]
        os.kill(agent, signal.SIGSTOP)  # it does not answer when it is greeted
        creating = Background(stack.http.post, "/session/", json={"base_image": DEBIAN, "extract_patch": True})
        os.kill(eventually(lambda entry=sid: claimed_by(stack, entry)), signal.SIGKILL)
        assert creating.result().status_code == 503
        eventually(lambda entry=sid: not stack.docker.exists(f"sandboxd-{entry}"), 20)
        other, = full(stack, 1)
        assert other != sid
        eventually(lambda: len(stack.docker.containers(f"sandboxd.instance={stack.instance}")) == 2, 20)
    session = stack.create(extract_patch=True)
    assert session.id == other
    session.close()


def test_two_replicas_fill_one_pool_and_both_take_from_it(make_replicas):
    one, two = make_replicas(2, WARM_POOL=f"{DEBIAN}=3")
    before = full(one, 3)
    time.sleep(1)  # not for anything to happen, but for nothing more to happen
    assert waiting(one) == 3 and len(pooled(one)) == 3
    sessions = [one.create(), two.create()]
    assert {session.id for session in sessions} < before
    eventually(lambda: waiting(two) == 3, 30)
    for session in sessions:
        assert session.out("echo ok") == "ok"
        session.close()
    one.down()  # else it makes new ones while the other is purged


def images(stack):
    """The images of the sessions that wait, sorted, with ;patch where they are pairs."""
    rows = stored(stack, "SELECT image, extract_patch FROM sessions WHERE state = 5")
    return sorted(image + ";patch" * patch for image, patch in rows)


def asked_for(stack, times, image, **options):
    for _ in range(times):
        stack.create(image, **options).close()
        stack.open_sessions.pop()


def test_an_automatic_pool_keeps_what_is_asked_for_most(make_stack):
    stack = make_stack(WARM_POOL="auto=2", SWEEP_SECONDS="0.5", MIN_WORKERS=1)
    assert images(stack) == []
    asked_for(stack, 3, DEBIAN)
    eventually(lambda: images(stack) == [DEBIAN] * 2, 20)
    before = pooled(stack)
    session = stack.create()
    assert session.id in before
    assert session.out("echo ok") == "ok"
    session.close()
    # As wanted as the other by now: a place each. Then far more: both.
    asked_for(stack, 4, BUSYBOX, extract_patch=True)
    eventually(lambda: images(stack) == [f"{BUSYBOX};patch", DEBIAN], 20)
    asked_for(stack, 6, BUSYBOX, extract_patch=True)
    eventually(lambda: images(stack) == [f"{BUSYBOX};patch"] * 2, 20)
    eventually(lambda: len(stack.docker.containers(f"sandboxd.instance={stack.instance}")) == 4, 20)
    # What was learnt outlives a restart; without the setting it goes.
    stack.down()
    stack.up()
    assert images(stack) == [f"{BUSYBOX};patch"] * 2
    stack.down()
    stack.env["DAIV_SANDBOX_WARM_POOL"] = "auto=1"
    stack.up()
    eventually(lambda: images(stack) == [f"{BUSYBOX};patch"], 20)
    eventually(lambda: len(stack.docker.containers(f"sandboxd.instance={stack.instance}")) == 2, 20)


def test_what_the_setting_names_has_its_own_places_beside_the_automatic_ones(make_stack):
    stack = make_stack(WARM_POOL=f"auto=1,{DEBIAN}=1", SWEEP_SECONDS="0.5", MIN_WORKERS=1)
    full(stack, 1)
    asked_for(stack, 2, DEBIAN)
    asked_for(stack, 1, BUSYBOX)
    eventually(lambda: images(stack) == [BUSYBOX, DEBIAN], 20)


def test_two_replicas_learn_together(make_replicas):
    one, two = make_replicas(2, WARM_POOL="auto=2", SWEEP_SECONDS="0.5")
    for stack in one, two, one:
        asked_for(stack, 1, DEBIAN)
    full(one, 2)
    before = pooled(one)
    sessions = [one.create(), two.create()]
    assert {session.id for session in sessions} == before
    for session in sessions:
        session.close()
    one.down()  # else it makes new ones while the other is purged


def test_fewer_are_kept_when_the_number_is_lowered(make_stack):
    stack = make_stack(WARM_POOL=f"{DEBIAN}=3", SWEEP_SECONDS="0.5", MIN_WORKERS=1)
    before = full(stack, 3)
    stack.reload(WARM_POOL=f"{DEBIAN}=1")
    full(stack, 1)
    left, = eventually(lambda: len(found := pooled(stack)) == 1 and found)  # the others' containers go after their records
    assert left in before


@pytest.mark.parametrize("value", ["auto", "auto=1;patch", "debian", "debian=0", "debian=1;patches", "debian=1,debian=2"])
def test_a_wrong_setting_is_told_at_start(warm, value):
    home = warm.home + "-wrong"
    done = script("up", env={**warm.env, "DAIV_SANDBOX_HOME": home, "DAIV_SANDBOX_PORT": str(free_port()),
                               "DAIV_SANDBOX_WARM_POOL": value}, check=False)
    shutil.rmtree(home, ignore_errors=True)
    assert done.returncode != 0
    assert "DAIV_SANDBOX_WARM_POOL" in done.stdout + done.stderr


def test_hits_and_misses_are_counted(make_stack):
    port = free_port()
    stack = make_stack(WARM_POOL=f"{DEBIAN}=1", METRICS_LISTEN=f"127.0.0.1:{port}", MIN_WORKERS=1)
    full(stack, 1)
    stack.create()
    text = httpx.get(f"http://127.0.0.1:{port}/-/metrics/", trust_env=False, timeout=60).text
    assert 'sandboxd_pool_claims_total{outcome="hit"} 1' in text
    assert 'sandboxd_sessions{state="pooled"}' in text
    stack.close_since(0)
