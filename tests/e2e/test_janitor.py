"""The janitor: takes what nobody owns any more, says why, and leaves alone what is in use."""
import contextlib
import os
import re
import signal
import sqlite3

import pytest

from support import BUSYBOX, DEBIAN, GONE, PID_MASK, eventually, in_parallel


@pytest.fixture(scope="module")
def sweeping(start_stack):
    """A stack whose janitor never rests and knows no grace. It asks dockerd about a run that has just ended while it has the
    session's lock, for as long as dockerd takes: that is waited for, and no 409."""
    from conftest import finish
    stack = start_stack(MIN_WORKERS=4, SWEEP_SECONDS="0.1", ORPHAN_GRACE_SECONDS="0", SESSION_LOCK_WAIT_SECONDS="30")
    yield stack
    finish(stack)


def test_a_session_whose_container_is_gone_is_ended(sweeping):
    lost = sweeping.create(extract_patch=True)
    kept = sweeping.create()
    sweeping.docker.remove(lost.container)
    label = f"sandboxd.session={lost.id}"
    eventually(lambda: not sweeping.docker.containers(label) and not sweeping.docker.volumes(label),
               what="the rest of the session to be swept")
    eventually(lambda: sweeping.events("swept", subject=lost.id, detail='"its container is gone"'), what="the janitor to say so")
    assert lost.post(["true"]).json() == GONE
    assert kept.out("echo here") == "here"
    kept.close()


def test_a_volume_without_a_record_is_swept_with_its_reason(sweeping):
    labels = {"sandboxd.instance": sweeping.instance, "sandboxd.created": "1000",
              "sandboxd.session": "00000000-0000-4000-8000-000000000000"}
    name = f"sandboxd-stale-volume-{os.getpid()}"  # other runs of this test may use the same daemon
    made = sweeping.docker.http.post("/volumes/create", json={"Name": name, "Labels": labels})
    assert made.status_code == 201
    eventually(lambda: sweeping.docker.http.get(f"/volumes/{name}").status_code == 404, what="the volume to be swept")
    eventually(lambda: sweeping.events("swept", subject=name, detail='"volume without a record"'))


def test_what_live_requests_make_is_never_swept(sweeping):
    """With no grace at all and a sweep every 100 ms: any wrong guess would end one of these."""
    marked = len(sweeping.log().splitlines())

    def life(n):
        session = sweeping.create(DEBIAN if n % 2 else BUSYBOX, extract_patch=n % 2 == 1, ephemeral=n % 4 == 1)
        for turn in range(3):
            assert session.out(f"echo {n} {turn}") == f"{n} {turn}"
        assert session.close().status_code == 204
        return session.id

    ids = in_parallel(life, range(24), threads=6)
    # a session that is being closed may be met by both; closing twice does no harm
    swept = [line for line in sweeping.log().splitlines()[marked:]
             if re.search(r"event=swept ", line) and 'detail="closing session"' not in line]
    assert not [line for line in swept if any(sid in line for sid in ids)], swept
    eventually(lambda: not sweeping.docker.containers(f"sandboxd.instance={sweeping.instance}"))


def test_a_half_made_session_is_swept_when_its_makers_pid_is_another_processs_by_now(make_stack):
    """So it is in a container that is killed and started again: its processes have the pids of those before."""
    stack = make_stack(MIN_WORKERS=1, SWEEP_SECONDS="0.3")
    session = stack.create(BUSYBOX)
    before = stack.children("worker")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    another = eventually(lambda: [pid for pid in stack.children("worker") if pid not in before])[0]
    with contextlib.closing(sqlite3.connect(f"{stack.home}/state/sessions.db", timeout=20)) as db, db:
        (maker,), = db.execute("SELECT worker_pid FROM sessions WHERE id = ?", (session.id,)).fetchall()
        assert maker & PID_MASK in before
        db.execute("UPDATE sessions SET state = 1, worker_pid = ? WHERE id = ?", (maker & ~PID_MASK | another, session.id))
    eventually(lambda: stack.events("swept", subject=session.id, detail='"half-made session"'), what="the sweep of the session")
    eventually(lambda: not stack.docker.exists(session.container))


def test_foreign_objects_survive_a_load_of_sessions(sweeping):
    foreign = sweeping.docker.command("create", "--label", "sandboxd.session=00000000-0000-4000-8000-000000000000",
                                      "--label", "sandboxd.created=1000", "--label", "sandboxd.instance=another",
                                      BUSYBOX, "true").stdout.strip()
    try:
        in_parallel(lambda _: sweeping.create(BUSYBOX).close(), range(8), threads=4)
        assert sweeping.docker.exists(foreign)
    finally:
        sweeping.docker.remove(foreign)
