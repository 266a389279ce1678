"""Commands that outlive a request: start, look, talk to, signal, cancel."""
import base64
import hashlib
import time
import uuid

import pytest

from exec_kit import Exec
from support import BUSYBOX, DISTROLESS, HELD, Background, eventually, let_go, tar

NOT_THERE = {"detail": "Exec not found or forgotten"}


def test_a_command_runs_on_after_its_request_and_tells_how_it_went(shared):
    job = Exec(shared, "echo out; echo err >&2; exit 3")
    assert job.started["state"] == "running" and job.started["exit_code"] is None and job.started["usage"] is None
    state = job.ended()
    assert state["exit_code"] == 3 and state["reason"] == "exited" and state["signal"] is None
    assert state["output_bytes"] == 8 and state["dropped_bytes"] == 0
    assert state["usage"]["max_rss_bytes"] > 0 and state["duration_ms"] > 0
    assert state["started_at_ms"] <= state["ended_at_ms"]
    stream = job.follow()
    assert stream.text("stdout") == "out\n" and stream.text("stderr") == "err\n"


def test_it_names_the_request_that_started_it(shared):
    headers = {"X-Request-Id": "find-me_1.2"}
    response = shared.stack.http.post(shared.path + "exec/", json={"command": "true"}, headers=headers)
    assert response.status_code == 201 and response.json()["request_id"] == "find-me_1.2"
    path = shared.path + f"exec/{response.json()['exec_id']}/"
    later = shared.stack.http.get(path, headers={"X-Request-Id": "another"})
    assert later.json()["request_id"] == "find-me_1.2"
    job = Exec(shared, "true")
    assert job.ended()["request_id"] == job.started["request_id"] != "find-me_1.2"


def test_the_session_is_free_while_execs_run(shared):
    jobs = [Exec(shared, f"sleep 0.3; echo {i}") for i in range(5)]
    assert shared.out("echo meanwhile") == "meanwhile"
    for i, job in enumerate(jobs):
        assert job.ended()["exit_code"] == 0
        assert job.follow().text() == f"{i}\n"


def test_argv_needs_no_shell(create):
    session = create(DISTROLESS)
    listed = session.post(["x"]).json()
    assert listed["results"][0]["exit_code"] == 127
    response = session.stack.http.post(session.path + "exec/", json={"command": "true"})
    assert response.status_code == 422 and "no shell" in response.json()["detail"]
    state = Exec(session, argv=["/no/such/program"]).ended()
    assert state["reason"] == "failed" and state["exit_code"] == 127 and "/no/such/program" in state["message"]


def test_argv_is_taken_as_it_is(shared):
    job = Exec(shared, argv=["printf", "%s|", "a b", "$HOME", "*"])
    job.ended()
    assert job.follow().text() == "a b|$HOME|*|"


def test_cwd_and_environment(shared):
    job = Exec(shared, "pwd; echo $WHAT", cwd="/tmp", env={"WHAT": "ever"})
    job.ended()
    assert job.follow().text() == "/tmp\never\n"


def test_a_directory_that_is_not_there(shared):
    state = Exec(shared, "true", cwd="/nowhere").ended()
    assert state["reason"] == "failed" and "/nowhere" in state["message"]


@pytest.mark.parametrize("command,reason,code,signal", [
    ("exit 0", "exited", 0, None), ("kill -9 $$", "signal", 137, 9), ("kill -TERM $$", "signal", 143, 15)])
def test_reasons(shared, command, reason, code, signal):
    state = Exec(shared, command).ended()
    assert (state["reason"], state["exit_code"], state["signal"]) == (reason, code, signal)


def test_a_timeout_ends_the_tree(shared):
    begun = time.monotonic()
    job = Exec(shared, "echo before; setsid sleep 987 & sleep 987", timeout=3)
    state = job.ended(40)
    assert state["reason"] == "timeout" and state["exit_code"] == 124
    assert time.monotonic() - begun < 12
    assert job.follow().text() == "before\n"
    eventually(lambda: not [line for line in shared.stack.docker.processes(shared.container) if "sleep 987" in line])


def test_an_output_limit(shared):
    job = Exec(shared, "yes", max_output_bytes=100_000)
    state = job.ended()
    assert state["reason"] == "output_limit" and state["output_bytes"] == 100_000


def test_delete_cancels_and_can_be_repeated(shared):
    job = Exec(shared, "setsid sleep 988 & sleep 988")
    job.cancel()
    state = job.ended()
    assert state["reason"] == "cancelled" and state["signal"] == 15
    job.cancel()
    assert job.get()["reason"] == "cancelled"
    eventually(lambda: not [line for line in shared.stack.docker.processes(shared.container) if "sleep 988" in line])


def test_delete_forgets_when_asked(shared, stack):
    done = Exec(shared, "true")
    done.ended()
    done.cancel(forget="true")
    assert stack.http.get(done.path).status_code == 404
    assert stack.http.get(done.path).json() == NOT_THERE
    running = Exec(shared, "sleep 989")
    running.cancel(forget="true")
    eventually(lambda: stack.http.get(running.path).status_code == 404)
    assert running.id not in [item["exec_id"] for item in stack.http.get(shared.path + "exec/").json()["execs"]]


def test_the_list_has_all_in_order_of_their_start(create):
    session = create(BUSYBOX)
    jobs = [Exec(session, f"echo {i}") for i in range(4)] + [Exec(session, "sleep 100")]
    for job in jobs[:-1]:
        job.ended()
    listed = session.stack.http.get(session.path + "exec/").json()["execs"]
    assert [item["exec_id"] for item in listed] == [job.id for job in jobs]
    assert [item["state"] for item in listed] == ["finished"] * 4 + ["running"]
    assert [item["command"] for item in listed[:4]] == [f"echo {i}" for i in range(4)]


def test_the_oldest_that_are_over_are_forgotten(create):
    session = create(BUSYBOX)
    first = Exec(session, "true")
    first.ended()
    for _ in range(32):
        last = Exec(session, "true")
        last.ended()
    assert session.stack.http.get(first.path).status_code == 404
    assert last.get()["exit_code"] == 0


def test_too_many_at_once_are_refused(create):
    session = create(BUSYBOX)
    jobs = [Exec(session, "sleep 100") for _ in range(32)]
    response = session.stack.http.post(session.path + "exec/", json={"command": "true"})
    assert response.status_code == 429 and "retry-after" in response.headers
    assert session.out("echo run") == "run"
    jobs[0].cancel()
    jobs[0].ended()
    Exec(session, "true")


# --- stdin ---


def test_stdin_that_comes_with_the_start_is_all_of_it(shared):
    assert Exec(shared, "cat", stdin="hello\n").ended()["output_bytes"] == 6
    job = Exec(shared, "wc -c", stdin=base64.b64encode(bytes(range(256))).decode(), stdin_encoding="base64")
    job.ended()
    assert job.follow().text().strip() == "256"


def test_without_stdin_there_is_nothing_to_read(shared):
    job = Exec(shared, "cat; echo end")
    assert job.started["stdin_open"] is False
    job.ended()
    assert job.follow().text() == "end\n"
    assert job.post("stdin", content=b"x").status_code == 409


def test_a_prompt_is_fed_line_by_line(shared):
    job = Exec(shared, "while read line; do echo got $line; done; echo end", stdin_open=True)
    assert job.get()["stdin_open"] is True
    assert job.stdin("one\n") == {"accepted": 4, "eof": False}
    eventually(lambda: job.get()["output_bytes"] == 8)
    response = job.post("stdin", json={"data": base64.b64encode(b"two\n").decode(), "encoding": "base64"})
    assert response.json() == {"accepted": 4, "eof": False}
    assert job.stdin("", eof=True) == {"accepted": 0, "eof": True}
    assert job.ended()["exit_code"] == 0
    assert job.follow().text() == "got one\ngot two\nend\n"
    assert job.post("stdin", content=b"x").json() == {"detail": "The command's stdin is closed"}


def test_much_stdin_goes_through_as_it_is_read(shared):
    job = Exec(shared, "sleep 0.3; sha256sum", stdin_open=True)
    data = bytes(range(256)) * 20_000
    assert job.stdin(data, eof=True) == {"accepted": len(data), "eof": True}
    job.ended()
    assert job.follow().text().split()[0] == hashlib.sha256(data).hexdigest()


# --- signals ---


def test_a_signal_reaches_the_group(shared):
    job = Exec(shared, "trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.05; done")
    eventually(lambda: job.get()["output_bytes"] > 0)
    for name in ("WINCH", "SIGCONT", "28"):
        job.signal(name)
    job.signal("TERM")
    assert job.ended()["signal"] == 15
    response = job.post("signal", json={"signal": "INT"})
    assert response.status_code == 409 and response.json() == {"detail": "The command has ended"}


@pytest.mark.parametrize("body", [{}, {"signal": ""}, {"signal": "NOSUCH"}, {"signal": "0"}, {"signal": "99"}, {"signal": 9}])
def test_signals_that_are_none(shared, body):
    job = Exec(shared, "sleep 5")
    assert job.post("signal", json=body).status_code == 422
    job.cancel()


# --- what is not there, or not allowed ---


@pytest.mark.parametrize("method,rest", [("get", ""), ("delete", ""), ("get", "stream/"), ("post", "signal/"), ("post", "resize/"),
                                         ("post", "stdin/")])
@pytest.mark.parametrize("eid", ["x", str(uuid.uuid4()), "y" * 100])
def test_an_exec_that_is_not_there(shared, method, rest, eid):
    body = {"signal/": {"signal": "INT"}, "resize/": {"rows": 1, "columns": 1}, "stdin/": {"data": "x"}}.get(rest)
    response = shared.stack.http.request(method, f"{shared.path}exec/{eid}/{rest}", json=body)
    assert response.status_code == 404 and response.json() == NOT_THERE


def test_a_session_that_is_not_there(stack):
    path = f"/session/{uuid.uuid4()}/exec/"
    for method, where in (("post", ""), ("get", ""), ("get", "x/"), ("get", "x/stream/"), ("delete", "x/")):
        response = stack.http.request(method, path + where, json={"command": "true"} if method == "post" else None)
        assert response.status_code == 404 and "Session" in response.json()["detail"]


@pytest.mark.parametrize("body", [
    {}, {"command": "x", "argv": ["x"]}, {"argv": []}, {"argv": [1]}, {"argv": ["a\0b"]}, {"command": "a\0b"}, {"command": 1},
    {"command": "x", "cwd": "relative"}, {"command": "x", "tty": 3}, {"command": "x", "rows": 0}, {"command": "x", "columns": 1001},
    {"command": "x", "buffer_bytes": 1}, {"command": "x", "when_full": "explode"}, {"command": "x", "max_output_bytes": 0},
    {"command": "x", "stdin": "y" * 262_145}, {"command": "x", "timeout": -1}, {"command": "x", "env": {"": "x"}}])
def test_faults_of_a_start(shared, body):
    response = shared.stack.http.post(shared.path + "exec/", json=body)
    assert response.status_code == 422 and response.json()["detail"]


def test_an_ephemeral_session_holds_nothing(create):
    session = create(BUSYBOX, ephemeral=True)
    response = session.stack.http.post(session.path + "exec/", json={"command": "true"})
    assert response.status_code == 409


def test_a_plain_run_keeps_execs_running_but_not_reachable(create):
    session = create(BUSYBOX)
    job = Exec(session, "i=0; while [ $i -lt 20 ]; do echo $i; sleep 0.1; i=$((i+1)); done")
    run = Background(session.post, [HELD])
    session.stack.working_pid(session.id)
    assert session.stack.http.get(job.path).status_code == 409
    let_go(session)
    assert run.result().status_code == 200
    assert job.ended()["output_bytes"] == sum(len(f"{i}\n") for i in range(20))


def test_an_exec_changes_the_next_patch(create):
    session = create(extract_patch=True).seeded(repo=tar({"a": b"1\n"}))
    Exec(session, "echo 2 >> a").ended()
    assert b"+2" in session.turn("true")


def test_a_restarted_container_has_forgotten(create):
    session = create(BUSYBOX)
    job = Exec(session, "sleep 100")
    session.stack.docker.kill(session.container)
    eventually(lambda: not session.stack.docker.inspect(session.container)["State"]["Running"])
    response = session.stack.http.get(job.path)
    assert response.status_code == 404 and response.json() == NOT_THERE
    assert Exec(session, "true").ended()["exit_code"] == 0
