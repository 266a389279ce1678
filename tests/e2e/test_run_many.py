"""Several commands of one request: their order, what stops them, and that none begins that must not."""
import json
import os
import signal

import pytest

from stack import Call
from support import BUSYBOX, Background, eventually

pytestmark = pytest.mark.core
WAIT = "touch /repo/waits; while [ ! -e /repo/go ]; do sleep 0.01; done"


@pytest.fixture(params=["bash", "sh"])
def session(request, create):
    return create() if request.param == "bash" else create(BUSYBOX)


def exists(session, path):
    return session.stack.docker.command("exec", session.container, "test", "-e", path, check=False).returncode == 0


def waiting(session):
    eventually(lambda: exists(session, "/repo/waits"), what="the command to wait")


def test_they_run_one_after_the_other(session):
    step = "test ! -e running && : > running && sleep 0.0{0} && echo {0} >> log && rm running && echo {0}"
    results = session.run(*[step.format(i) for i in range(60)], fail_fast=True)["results"]
    assert [r["output"] for r in results] == [f"{i}\n" for i in range(60)]
    assert session.out("cat log") == "\n".join(map(str, range(60)))


def test_small_and_large_commands_and_outputs_keep_their_places(session):
    """Some commands take many frames, some outputs are larger than what an agent sends unasked."""
    commands, expected = [], []
    for i in range(40):
        if i % 5 == 1:
            commands.append(f"echo {i}; : {'x' * (20000 if i % 2 else 90000)}")
            expected.append(f"{i}\n")
        elif i % 5 == 2:
            commands.append(f"head -c 700000 /dev/zero | tr '\\0' {i % 10}")
            expected.append(str(i % 10) * 700000)
        else:
            commands.append(f"echo {i}")
            expected.append(f"{i}\n")
    assert [r["output"] for r in session.run(*commands)["results"]] == expected


def test_each_gets_the_requests_fields(session):
    session.run("mkdir sub")
    results = session.run(*["echo $WORD; pwd; cat"] * 5, env={"WORD": "here"}, cwd="/repo/sub", stdin="input")["results"]
    assert [r["output"] for r in results] == ["here\n/repo/sub\ninput"] * 5
    results = session.run(*["echo $WORD; pwd; cat"] * 5, env={"WORD": "here"}, cwd="/repo/sub")["results"]
    assert [r["output"] for r in results] == ["here\n/repo/sub\n"] * 5
    results = session.run(*["echo ${#WORD}"] * 5, env={"WORD": "x" * 90000, "MORE": "y" * 90000})["results"]
    assert [r["output"] for r in results] == ["90000\n"] * 5


@pytest.mark.parametrize("stop, code", [("exit 3", 3), ("kill -9 $$", 137), ("/no/such/program", 127)])
def test_a_failure_stops_the_others_at_once_with_fail_fast(session, stop, code):
    results = session.run("true", f"sleep 0.1; {stop}", *["touch ran"] * 30, fail_fast=True)["results"]
    assert [r["exit_code"] for r in results] == [0, code]
    results = session.run("ls", stop, "ls", stop, "ls")["results"]
    assert [(r["exit_code"], r["output"]) for r in results if r["command"] == "ls"] == [(0, "")] * 3


def test_a_directory_that_is_gone_fails_each_of_them_alone(session):
    results = session.run("true", "rmdir /repo/sub", "echo never", "echo never", cwd="/repo/sub")["results"]
    assert [r["exit_code"] for r in results] == [126] * 4
    session.run("mkdir sub")
    results = session.run("true", "rmdir /repo/sub", "echo never", cwd="/repo/sub")["results"]
    assert [r["exit_code"] for r in results] == [0, 0, 126]
    results = session.run("true", "echo never", cwd="/repo/sub", fail_fast=True)["results"]
    assert [r["exit_code"] for r in results] == [126]


def test_a_timeout_keeps_the_rest_from_starting(session):
    def codes():
        return [r["exit_code"] for r in session.run("true", "sleep 1000", *["touch ran"] * 30, timeout=3)["results"]]

    eventually(lambda: codes() == [0, 124])  # where much else goes on, the first may be the one that takes too long
    assert session.out("ls") == ""


def test_the_timeout_is_each_commands_own(session):
    def late():
        return [r["timed_out"] for r in session.run(*["sleep 1"] * 4, timeout=3)["results"]]

    eventually(lambda: late() == [False] * 4)  # never, were it the request's; one of them may take 3 s where much else goes on


def test_a_client_that_leaves_keeps_the_rest_from_starting(session):
    stack = session.stack
    call = Call(stack, session.path, {"commands": ["true", WAIT, *["touch ran"] * 10]})
    waiting(session)
    assert not call.leave()
    eventually(lambda: stack.lock_holder(session.id) is None)
    assert session.out("touch go; ls") == "go\nwaits"


def test_a_worker_that_dies_keeps_the_rest_from_starting(make_stack):
    session = make_stack(MIN_WORKERS=2).create()
    running = Background(session.post, ["true", WAIT, *["touch ran"] * 10])
    waiting(session)
    os.kill(session.stack.working_pid(session.id), signal.SIGKILL)
    assert running.result().status_code == 503
    assert session.out("touch go; ls") == "go\nwaits"


def test_a_container_that_dies_is_an_error_and_the_rest_does_not_run(session):
    running = Background(session.post, ["true", WAIT, *["touch ran"] * 10])
    waiting(session)
    session.stack.docker.command("kill", session.container)
    assert running.result(20).status_code in (502, 503)
    assert session.out("touch go; ls") == "go\nwaits"


def test_a_stream_tells_them_in_order(session):
    body = {"commands": ["echo 1", "echo 2; false", "echo 3", "touch ran"], "fail_fast": True}
    response = session.stack.http.post(session.path, json=body, headers={"Accept": "application/x-ndjson"})
    events = [json.loads(line) for line in response.text.splitlines()]
    text = [(e["index"], e["event"]) for e in events if e["event"] in ("command", "exit")]
    assert text == [(0, "command"), (0, "exit"), (1, "command"), (1, "exit")]
    assert session.out("ls") == ""
