"""What is short, stuck or slow: bounded answers with the documented status, no pile-up, recovery by itself."""
import os
import signal
import subprocess
import threading
import time

import pytest

from faults import OwnDockerd
from stack import Redis, Session, Stack
from support import DEBIAN, Background, eventually


@pytest.fixture
def make(dockerd):
    made = []

    def start(redis=None, dockerd=dockerd, **settings):
        if redis:
            settings["REDIS_URL"] = redis.url
        stack = Stack(dockerd.host, **{"DOCKER_TIMEOUT_SECONDS": 3, "MAX_WORKERS": 8, **settings})
        stack.redis = redis
        made.append(stack)
        stack.up()
        return stack

    yield start
    for stack in made:
        stack.discard()


def frozen(stack):
    """Creates, commands and health while dockerd does not move: (status, seconds) of each."""

    def timed(fn):
        begun = time.monotonic()
        response = fn()
        return response.status_code, time.monotonic() - begun

    asked = [Background(timed, lambda: stack.post_session(base_image=DEBIAN)) for _ in range(16)]
    health = timed(lambda: stack.http.get("/-/health/"))
    workers = len(stack.children("worker"))
    return [a.result(60) for a in asked], health, workers


def test_a_frozen_dockerd_is_503_in_bounded_time_and_nothing_piles_up(make, dockerd):
    stack = make()
    session = stack.create()
    os.kill(dockerd.pid(), signal.SIGSTOP)
    try:
        answers, health, workers = frozen(stack)
    finally:
        os.kill(dockerd.pid(), signal.SIGCONT)
    assert health[0] == 503 and health[1] < 3, health
    assert {status for status, _ in answers} == {503} and max(took for _, took in answers) < 20, answers
    assert workers <= 8
    eventually(stack.healthy, 20, "health to be back")
    assert session.out("echo again") == "again"
    session.close()
    label = f"sandboxd.instance={stack.instance}"
    eventually(lambda: not stack.docker.containers(label), 60, "what was half made to be gone")


def test_a_slow_dockerd_makes_requests_slow_and_not_wrong(make, dockerd):
    stack = make(DOCKER_TIMEOUT_SECONDS=20)
    over = threading.Event()

    def slow():
        while not over.is_set():
            os.kill(dockerd.pid(), signal.SIGSTOP)
            time.sleep(0.08)
            os.kill(dockerd.pid(), signal.SIGCONT)
            time.sleep(0.02)

    brake = Background(slow)
    try:
        session = stack.create()
        for number in range(20):
            assert session.out(f"echo {number}") == str(number)
        assert session.close().status_code == 204
    finally:
        over.set()
        brake.result()


def test_a_redis_without_room_is_503_and_sessions_outlive_it(make):
    redis = Redis("--maxmemory-policy", "noeviction")
    try:
        stack = make(redis)
        session = stack.create()
        redis.ask("CONFIG", "SET", "maxmemory", "1")
        for _ in range(8):
            begun = time.monotonic()
            for response in stack.post_session(base_image=DEBIAN), session.post(["true"]):
                assert response.status_code == 503 and response.json()["detail"], response.text
            assert time.monotonic() - begun < 10
        redis.ask("CONFIG", "SET", "maxmemory", "0")
        eventually(lambda: Session(stack, session.id).post(["true"]).status_code == 200, 20, "the session to be usable")
        assert session.close().status_code == 204
        label = f"sandboxd.instance={stack.instance}"
        eventually(lambda: not stack.docker.containers(label), 60, "what was half made to be gone")
    finally:
        redis.destroy()


@pytest.fixture
def small_disk():
    """Mount a small tmpfs at a directory; all are unmounted at the end."""
    mounted = []

    def mount(path, size):
        assert os.system(f"mount -t tmpfs -o size={size},mode=0700 sbx-small {path}") == 0
        mounted.append(path)

    yield mount
    for path in mounted:
        os.system(f"umount -l {path}")


def test_a_full_disk_of_the_home_is_503_and_over_when_there_is_room(make, small_disk):
    stack = make()
    stack.down()
    state = f"{stack.home}/state"
    owner = os.stat(state)
    kept = open(f"{state}/instance", "rb").read()
    small_disk(state, "32m")
    os.chown(state, owner.st_uid, owner.st_gid)
    with open(f"{state}/instance", "wb") as file:
        file.write(kept)
    os.chown(f"{state}/instance", owner.st_uid, owner.st_gid)
    stack.up()
    session = stack.create()
    hog = f"{state}/hog"
    subprocess.run(["dd", "if=/dev/zero", f"of={hog}", "bs=4k"], stderr=subprocess.DEVNULL, check=False)  # until it is full
    try:
        refused = stack.post_session(base_image=DEBIAN)
        assert refused.status_code == 503 and refused.json()["detail"], refused.text
    finally:
        os.unlink(hog)
    eventually(stack.healthy, 20, "health to be back")
    assert session.out("echo again") == "again"
    assert session.close().status_code == 204
    label = f"sandboxd.instance={stack.instance}"
    eventually(lambda: not stack.docker.containers(label), 60, "what was half made to be gone")
    stack.down("--purge", check=False)


@pytest.fixture
def cramped():
    """A dockerd that has little more room than the image takes."""
    own = OwnDockerd(data_mib=600)
    yield own
    own.destroy()


def test_a_full_disk_of_dockerd_is_an_error_for_each_and_over_when_there_is_room(cramped, make):
    stack = make(dockerd=cramped)
    master = stack.master()
    neighbour, glutton = stack.create(), stack.create()
    assert "No space left" in glutton.one("head -c 1G /dev/zero > /repo/full", timeout=60)["output"]
    assert neighbour.out("echo here") == "here"
    written, = neighbour.files([("/repo/f", b"x" * 100_000, 0o644)])
    assert not written["ok"] and "space" in written["error"], written
    for _ in range(4):
        begun = time.monotonic()
        refused = stack.post_session(base_image=DEBIAN)
        assert refused.status_code in (502, 503) and "no space left" in refused.json()["detail"].lower(), refused.text
        assert time.monotonic() - begun < 10
    assert glutton.out("echo still here") == "still here"
    assert glutton.close().status_code == 204
    again = stack.create()
    assert again.out("echo room > /repo/a; cat /repo/a") == "room"
    written, = neighbour.files([("/repo/f", b"x" * 100_000, 0o644)])
    assert written["ok"]
    eventually(stack.healthy, 20, "health to be back")
    for session in again, neighbour:
        assert session.close().status_code == 204
    label = f"sandboxd.instance={stack.instance}"
    eventually(lambda: not stack.docker.containers(label), 60, "what was half made to be gone")
    assert stack.master() == master and not stack.events("process died")
