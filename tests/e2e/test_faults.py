"""What dies, and what is left then: workers, the master, agents, dockerd."""
import os
import pathlib
import signal
import threading
import time

import httpx
import pytest

from exec_kit import Exec
from support import BUSYBOX, DEBIAN, Background, eventually, in_parallel, open_files, proc_alive, tar

WORKERS = {"MIN_WORKERS": 4, "MAX_WORKERS": 16}


def json_error(response, *statuses):
    assert response.status_code in statuses, f"{response.status_code} {response.text}"
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["detail"] and isinstance(response.json()["detail"], str)
    return response.json()["detail"]


def sleepers(session):
    return [p for p in session.stack.docker.processes(session.container) if "sleep" in p]


def starting(command):
    """A command of which the test can see that it runs."""
    return f"touch /tmp/started; {command}"


def started(session):
    return eventually(lambda: session.stack.docker.command("exec", session.container, "test", "-e", "/tmp/started",
                                                           check=False).returncode == 0, what="the command to start")


class Prober:
    """Threads that run commands without a pause until told to stop; every answer is kept as (time, status, text)."""

    def __init__(self, sessions):
        self.stop = threading.Event()
        self.answers = []
        self.threads = [Background(self.work, session) for session in sessions]

    def work(self, session):
        with session.stack.client(session.stack.key) as http:
            while not self.stop.is_set():
                response = http.post(session.path, json={"commands": ["echo hi"]})
                text = response.text
                if response.status_code == 200 and response.json()["results"][0]["output"] == "hi\n":
                    text = "hi"
                self.answers.append((time.monotonic(), response.status_code, text))

    def finish(self):
        self.stop.set()
        for thread in self.threads:
            thread.result()
        return self.answers


# --- workers that are killed ---


@pytest.fixture(scope="module", autouse=True)
def orphaned(start_stack):
    """A session whose worker was killed under a command and that nobody used since: time passes while the other tests run."""
    from conftest import finish
    stack = start_stack(MIN_WORKERS=2)
    session = stack.create()
    running = Background(session.post, [starting("sleep 1000")])
    started(session)
    os.kill(stack.working_pid(session.id), signal.SIGKILL)
    json_error(running.result(), 502, 503)
    session.orphaned_at = time.monotonic()
    yield session
    finish(stack)


def test_a_worker_killed_in_the_middle_of_a_command_costs_that_request_only(make_stack):
    stack = make_stack(**WORKERS)
    for patch in (False, True):
        session = stack.create(extract_patch=patch)
        session.run("sleep 4321 > /dev/null 2>&1 &")  # of an earlier request, which ended well
        running = Background(session.post, [starting("sleep 1000 & setsid sleep 1000 & sleep 1000")])
        started(session)
        begun = time.monotonic()
        os.kill(stack.working_pid(session.id), signal.SIGKILL)
        json_error(running.result(), 502, 503)
        assert time.monotonic() - begun < 2
        assert "retry-after" in running.result().headers
        eventually(lambda: session.post(["echo alive"]).status_code == 200, 1)
        eventually(lambda: sleepers(session) == ["sleep 4321"], 5, "the leftovers to be gone")
        assert stack.lock_holder(session.id) is None


def test_a_worker_killed_while_its_command_floods_its_output(make_stack):
    stack = make_stack(**WORKERS)
    session = stack.create()
    for _ in range(3):
        running = Background(session.post, [starting("yes 'some output'")], timeout=600)
        started(session)
        os.kill(stack.working_pid(session.id), signal.SIGKILL)
        json_error(running.result(), 502, 503)
        eventually(lambda: session.post(["rm /tmp/started; echo alive"]).status_code == 200, 2)


@pytest.mark.parametrize("patch", [False, True])
def test_a_worker_killed_while_creating_leaves_nothing(make_stack, patch):
    stack = make_stack(MIN_WORKERS=2, MAX_WORKERS=2)
    stack.create(extract_patch=patch).close()
    stack.close_since(0)
    label = f"sandboxd.instance={stack.instance}"
    for delay in (0, 0.05, 0.15):
        creating = Background(stack.post_session, base_image=DEBIAN, extract_patch=patch)
        eventually(lambda: stack.docker.containers(label), what="a half-made container")
        threading.Event().wait(delay)  # another moment of the creation each time
        for pid in stack.children("worker"):
            os.kill(pid, signal.SIGKILL)
        if creating.result(15).status_code == 200:  # it was faster
            stack.http.delete(f"/session/{creating.result().json()['session_id']}/")
        else:
            json_error(creating.result(), 502, 503)
        eventually(lambda: not stack.docker.containers(label) and not stack.docker.volumes(label), 25,
                   "the half-made session to be removed")
        eventually(lambda: stack.http.post("/session/", json={}).status_code == 422)


def test_a_worker_killed_while_a_seed_arrives_leaves_it_unseeded(make_stack):
    stack = make_stack(MIN_WORKERS=2, MAX_WORKERS=2)
    session = stack.create()
    archive = tar({"a": b"1" * 3_000_000})
    killed = threading.Event()

    def body():
        yield b'--b\r\nContent-Disposition: form-data; name="repo_archive"; filename="a"\r\n\r\n'
        yield archive[:2_000_000]
        killed.wait(60)
        yield archive[2_000_000:] + b"\r\n--b--\r\n"

    def send():
        try:
            return stack.http.post(session.path + "seed/", content=body(),
                                   headers={"Content-Type": "multipart/form-data; boundary=b"}).status_code
        except httpx.TransportError:
            return 502

    sending = Background(send)
    spool = os.path.join(stack.home, "state", "spool")
    pid = eventually(lambda: next((p for p in stack.children("worker") if any(file.startswith(spool) for file in open_files(p))), None))
    os.kill(pid, signal.SIGKILL)
    killed.set()
    assert sending.result(20) in (502, 503)
    eventually(lambda: session.seed(repo=archive).status_code == 204)
    assert not os.listdir(spool)


def test_workers_are_replaced_after_their_share_without_an_error(make_stack):
    stack = make_stack(WORKER_REQUESTS=20, MIN_WORKERS=2, MAX_WORKERS=4)
    sessions = [stack.create() for _ in range(4)]
    before = set(stack.children("worker"))

    def hundred(session):
        return [session.post(["echo hi"]).status_code for _ in range(100)]

    assert sum(in_parallel(hundred, sessions), []) == [200] * 400
    eventually(lambda: not before & set(stack.children("worker")), what="the first workers to have left")
    assert not stack.events("process died")


def test_a_service_that_cannot_start_workers_does_not_fork_in_a_loop(make_stack):
    stack = make_stack(MIN_WORKERS=4, SWEEP_SECONDS=3600)
    state = pathlib.Path(stack.home, "state")
    aside = pathlib.Path(stack.home, "state.aside")
    state.rename(aside)
    state.write_text("not a directory")
    try:
        for pid in stack.children("worker"):
            os.kill(pid, signal.SIGKILL)
        before = len(stack.events("process died"))
        threading.Event().wait(5)  # long enough for hundreds of forks
        assert len(stack.events("process died")) - before <= 40
        eventually(lambda: len(stack.events("process died")) - before >= 4)  # it goes on trying
        json_error(stack.http.post("/session/", json={}, timeout=10), 502, 503)
    finally:
        state.unlink()
        aside.rename(state)
    eventually(lambda: stack.http.post("/session/", json={}, timeout=30).status_code == 422, 40)


# --- reload, stop, death of the master ---


def test_reloads_under_load_drop_nothing(make_stack):
    stack = make_stack(**WORKERS)
    sessions = [stack.create() for _ in range(4)]
    prober = Prober(sessions)
    for number in range(1, 6):
        os.kill(stack.master(), signal.SIGHUP)
        eventually(lambda: len(stack.events("settings reloaded")) == number)
        seen = len(prober.answers)
        eventually(lambda: len(prober.answers) > seen + 50)
    answers = prober.finish()
    assert [a for a in answers if a[1:] != (200, "hi")] == []
    assert not stack.events("process died")
    eventually(lambda: 4 <= len(stack.children("worker")) <= 16 and len(stack.children("control")) == 3
               and len(stack.children("janitor")) == 1)


def test_a_long_command_survives_a_reload(make_stack):
    stack = make_stack(**WORKERS)
    session = stack.create()
    running = Background(session.post, [starting("until [ -e /tmp/go ]; do sleep 0.02; done; echo done")])
    started(session)
    old = stack.working_pid(session.id)
    stack.reload(LOG_LEVEL="DEBUG")
    eventually(lambda: stack.events("settings reloaded"))
    eventually(lambda: set(stack.children("worker")) - {old} and len(stack.children("worker")) >= 5)
    stack.docker.command("exec", session.container, "touch", "/tmp/go")
    assert running.result().json()["results"][0]["output"] == "done\n"
    eventually(lambda: not proc_alive(old), what="the old worker to leave")


def test_scripts_reload_takes_changed_settings_into_force(make_stack):
    stack = make_stack(**WORKERS)
    session = stack.create()

    def run(key, command="true"):
        with stack.client(key) as client:  # a connection of its own: those that are kept end with nginx's old workers
            return client.post(session.path, json={"commands": [command]})

    def timed_out():
        response = run("Another-Key", "sleep 1000")  # a worker of before does not know the key
        return response.status_code == 200 and response.json()["results"][0]["exit_code"] == 124

    def closed():
        with stack.client("Another-Key") as client:
            return client.delete(session.path).status_code == 204

    run(stack.key)
    assert " level=debug " not in stack.log()
    stack.reload(API_KEY="Another-Key", LOG_LEVEL="DEBUG", COMMAND_TIMEOUT="1", MIN_WORKERS=6)
    eventually(lambda: run("Another-Key").status_code == 200)
    eventually(lambda: run(stack.key).status_code == 403)
    eventually(timed_out)
    eventually(lambda: stack.healthy() and " level=debug " in stack.log())
    eventually(lambda: len(stack.children("worker")) >= 6)
    eventually(closed)


def test_a_stop_under_load_lets_running_commands_finish_and_refuses_new_ones(make_stack):
    stack = make_stack(DRAIN_SECONDS=600, **WORKERS)
    long, *others = [stack.create() for _ in range(4)]
    running = Background(long.post, [starting("until [ -e /tmp/go ]; do sleep 0.02; done; echo done")])
    started(long)
    prober = Prober(others)
    eventually(lambda: len(prober.answers) > 30)
    master = stack.master()
    os.kill(master, signal.SIGTERM)
    eventually(lambda: any(a[1] == 503 for a in prober.answers))
    refused = len([a for a in prober.answers if a[1] == 503])
    eventually(lambda: len([a for a in prober.answers if a[1] == 503]) > refused + 30)
    response = others[0].post(["true"])
    assert "stopping" in json_error(response, 503) and "retry-after" in response.headers
    answers = prober.finish()
    assert running.running() and proc_alive(master)
    assert {a[1] for a in answers} == {200, 503}, [a for a in answers if a[1] not in (200, 503)][:3]
    stack.docker.command("exec", long.container, "touch", "/tmp/go")
    assert running.result().json()["results"][0]["output"] == "done\n"
    eventually(lambda: not proc_alive(master) and not stack.processes())
    stack.up()
    assert [session.out("echo back") for session in others] == ["back"] * 3


def test_a_stop_does_not_wait_longer_than_the_drain(make_stack):
    stack = make_stack(DRAIN_SECONDS=1, **WORKERS)
    session = stack.create()
    running = Background(session.post, [starting("sleep 1000")])
    started(session)
    begun = time.monotonic()
    os.kill(stack.master(), signal.SIGTERM)
    json_error(running.result(), 502, 503)
    eventually(lambda: not stack.processes())
    assert 1 <= time.monotonic() - begun < 10
    stack.up()
    assert session.out("echo back") == "back"
    eventually(lambda: sleepers(session) == [])


def test_when_the_master_is_killed_its_children_leave_and_up_starts_again(make_stack):
    stack = make_stack(**WORKERS)
    session = stack.create(extract_patch=True)
    session.run("echo kept > file")
    children = stack.processes()
    stack.kill_master()
    eventually(lambda: not any(proc_alive(pid) for pid in children), 5, "the children to leave")
    json_error(stack.http.post(session.path, json={"commands": []}), 502, 503)
    json_error(stack.http.get("/-/health/"), 502, 503)
    stack.up()
    assert session.out("cat file") == "kept"
    assert b"+more" in session.turn("echo more >> file")


def test_a_master_killed_while_a_session_is_made_leaves_nothing_after_the_next_start(make_stack):
    stack = make_stack(MIN_WORKERS=2)
    label = f"sandboxd.instance={stack.instance}"
    while True:
        creating = Background(stack.post_session, base_image=DEBIAN, extract_patch=True)
        eventually(lambda: stack.docker.containers(label))
        stack.kill_all()
        response = creating.result()
        stack.up()
        if response.status_code != 200:
            break
        assert stack.http.delete(f"/session/{response.json()['session_id']}/").status_code == 204  # it was faster
    json_error(response, 502, 503)
    eventually(lambda: not stack.docker.containers(label) and not stack.docker.volumes(label), 25)


def test_nginx_killed_is_started_again_by_up(make_stack):
    stack = make_stack(MIN_WORKERS=2)
    session = stack.create()
    master = stack.master()
    killed = stack.nginx_pids()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(proc_alive(pid) for pid in killed))  # until then the port is theirs
    assert not stack.healthy()
    stack.up()
    assert stack.master() == master and session.out("echo hi") == "hi"


# --- agents and dockerd ---


def test_a_container_killed_from_outside_is_started_again_with_its_files(create, stack):
    session = create(extract_patch=True, environment={"A": "b"}).seeded(repo=tar({"seeded": b"s"}))
    session.run("echo kept > file; echo home > ~/file")
    for container in session.container, session.helper:
        stack.docker.kill(container)
    assert session.out("cat file ~/file seeded; echo $A").split() == ["kept", "home", "sb"]
    assert b"+more" in session.turn("echo more >> file")
    assert session.seed(repo=tar({})).status_code == 409


def test_a_container_killed_under_a_command_is_an_error_and_then_usable(create, stack):
    session = create()
    running = Background(session.post, [starting("sleep 1000")])
    started(session)
    stack.docker.kill(session.container)
    json_error(running.result(), 502, 503)
    assert eventually(lambda: session.post(["echo alive"]).status_code == 200)


@pytest.mark.plain
@pytest.mark.runc
@pytest.mark.timeout(300)
def test_an_agent_that_stands_still_is_given_up_and_serves_when_it_goes_on(create, stack):
    session = create()
    agent = stack.docker.inspect(session.container)["State"]["Pid"]
    with stack.client(stack.key, timeout=200) as patient:
        running = Background(patient.post, session.path, json={"commands": [starting("sleep 1000")]})
        started(session)
        os.kill(agent, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            json_error(running.result(200), 503)
            assert 50 < time.monotonic() - begun < 150 and "has not answered for 60 s" in running.result().json()["detail"]
        finally:
            os.kill(agent, signal.SIGCONT)
    assert session.out("echo alive") == "alive"


def test_a_dockerd_that_is_down_is_503_in_json_and_comes_back(relay, make_stack):
    stack = make_stack(docker_host=f"unix://{relay.path}", SWEEP_SECONDS=1, **WORKERS)
    session = stack.create()
    running = Background(session.post, [starting("sleep 1000")])
    eventually(lambda: stack.lock_holder(session.id))
    relay.close()
    try:
        json_error(running.result(), 502, 503)
        assert json_error(stack.http.get("/-/health/"), 503) == "Docker client is not responding"
        begun = time.monotonic()
        for response in (stack.post_session(base_image=BUSYBOX), stack.post_session(base_image=BUSYBOX, extract_patch=True),
                         session.post(["true"]), session.post_files([{"path": "/repo/a", "content": "", "mode": 420}]), session.close()):
            assert json_error(response, 502, 503).startswith("Docker client is not responding")
            assert "retry-after" in response.headers
        assert time.monotonic() - begun < 10
    finally:
        relay.open()
        stack.docker.http.close()
        stack.docker.__init__(stack.docker.host)
    eventually(stack.healthy)
    other = stack.create()
    assert other.out("echo back") == "back"
    eventually(lambda: not stack.docker.exists(session.container), 15, "the close that failed to be completed")


def test_a_client_that_goes_away_while_dockerd_is_down_ends_a_command_that_is_tied_to_it(relay, make_stack):
    stack = make_stack(docker_host=f"unix://{relay.path}", **WORKERS)
    job = Exec(stack.create(BUSYBOX), "echo ready; sleep 1000", detach=False)
    with job.http().stream("GET", job.path + "stream/") as response:
        lines = response.iter_lines()  # without which httpx leaves
        while "ready" not in next(lines):
            pass
        relay.close()
    time.sleep(1)  # the service might give up
    relay.open()
    stack.docker.http.close()
    stack.docker.__init__(stack.docker.host)
    assert job.ended()["reason"] == "cancelled"


def test_a_dockerd_that_hangs_does_not_hang_health(relay, make_stack):
    stack = make_stack(docker_host=f"unix://{relay.path}", DOCKER_TIMEOUT_SECONDS=3, **WORKERS)
    relay.hanging = True
    relay.hang_up()
    try:
        for _ in range(3):
            begun = time.monotonic()
            assert json_error(stack.http.get("/-/health/"), 503) == "Docker client is not responding"
            assert time.monotonic() - begun < 2.5
        begun = time.monotonic()
        json_error(stack.post_session(base_image=BUSYBOX), 502, 503, 504)
        assert time.monotonic() - begun < 10
    finally:
        relay.hanging = False
        relay.hang_up()
        stack.docker.http.close()
        stack.docker.__init__(stack.docker.host)
    eventually(stack.healthy)
    assert stack.create().out("echo back") == "back"


# --- two of them ---


def test_two_stacks_on_one_daemon_do_not_touch_each_others_sessions(make_stack):
    one = make_stack(MIN_WORKERS=2, SWEEP_SECONDS="0.2", ORPHAN_GRACE_SECONDS="0")
    two = make_stack(MIN_WORKERS=2, SWEEP_SECONDS="0.2", ORPHAN_GRACE_SECONDS="0")
    mine, theirs = one.create(extract_patch=True), two.create(extract_patch=True)
    assert one.instance != two.instance
    assert one.http.post(theirs.path, json={"commands": ["true"]}).status_code == 404
    assert one.http.delete(theirs.path).status_code == 204  # gone, as far as this one knows
    with one.client(two.key) as client:
        assert client.post("/session/", json={}).status_code == 403
    one.down("--purge")
    assert not one.docker.exists(mine.container)
    assert theirs.out("echo alive") == "alive"
    assert b"+x" in theirs.turn("echo x > a")


def test_orphans_are_swept_and_what_belongs_to_others_is_not(make_stack):
    stack = make_stack(MIN_WORKERS=2, SWEEP_SECONDS="0.2", ORPHAN_GRACE_SECONDS="1")
    session = stack.create()
    made = []
    for name, instance in (("orphan", stack.instance), ("foreign", "another-instance"), ("plain", None)):
        labels = [] if instance is None else ["--label", f"sandboxd.instance={instance}", "--label", "sandboxd.created=1000",
                                              "--label", "sandboxd.session=00000000-0000-4000-8000-000000000000"]
        made.append(stack.docker.command("create", *labels, BUSYBOX, "true").stdout.strip())
    try:
        eventually(lambda: not stack.docker.exists(made[0]), what="the orphan to be swept")
        assert stack.docker.exists(made[1]) and stack.docker.exists(made[2])
        assert session.out("echo alive") == "alive"
    finally:
        for container in made[1:]:
            stack.docker.remove(container)


# --- and what was begun first of all ---


def test_a_killed_workers_command_is_ended_without_another_request(orphaned):
    left = 75 - (time.monotonic() - orphaned.orphaned_at)
    eventually(lambda: sleepers(orphaned) == [], max(left, 1), "the orphaned command to be ended")
    assert orphaned.out("echo alive") == "alive"
