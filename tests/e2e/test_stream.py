"""Output as it comes: following execs, coming back, runs that are streamed."""
import base64
import json
import os
import signal
import time

import pytest

from conftest import finish_whole
from exec_kit import Exec, Follower, wait_for
from stack import Call
from support import BUSYBOX, HELD, MIB, Background, eventually, is_held, let_go, rss_anon, tar

COUNT = "i=0; while [ $i -lt %d ]; do echo line $i; sleep %s; i=$((i+1)); done"
HALFWAY = f"i=0; while [ $i -lt 160 ]; do echo line $i; [ $i -ne 80 ] || {{ {HELD}; }}; sleep 0.05; i=$((i+1)); done"
PATIENT = {"SESSION_LOCK_WAIT_SECONDS": "30"}


@pytest.fixture(scope="module")
def stack(start_stack):
    """A follower that stands still has the session's lock for longer than others wait by default: here they wait for it."""
    stack = start_stack(**PATIENT)
    yield stack
    finish_whole(stack)


def lines(n):
    return "".join(f"line {i}\n" for i in range(n))


@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_output_comes_while_the_command_runs(shared, form):
    job = Exec(shared, "echo first; read x; echo second $x; exit 2", stdin_open=True)
    follower = job.follower(form=form).in_thread()
    wait_for(follower, "first\n")
    assert job.get()["state"] == "running"
    job.stdin("go\n")
    follower.join()
    assert follower.text() == "first\nsecond go\n"
    assert follower.exit["exit_code"] == 2 and follower.exit["reason"] == "exited"
    assert follower.exit["exec_id"] == job.id and follower.exit["usage"]["max_rss_bytes"] > 0
    assert follower.seq == len(follower.text()) + 1


def test_the_head_of_a_stream(shared, stack):
    job = Exec(shared, "true")
    job.ended()
    for accept, kind in (("text/event-stream", "text/event-stream"), ("application/x-ndjson", "application/x-ndjson"),
                         ("*/*", "text/event-stream")):
        response = stack.http.get(job.path + "stream/", headers={"Accept": accept})
        assert response.status_code == 200
        assert response.headers["content-type"] == kind
        assert response.headers["cache-control"] == "no-store"
        assert "content-length" not in response.headers and response.headers["x-request-id"]


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
def test_a_silent_command_s_follower_learns_at_once_that_it_follows(shared, stack, accept):
    job = Exec(shared, "sleep 1000")
    begun = time.monotonic()
    with stack.http.stream("GET", job.path + "stream/", headers={"Accept": accept}) as response:
        assert response.status_code == 200
        assert b"keepalive" in next(response.iter_raw())
    assert time.monotonic() - begun < 5
    job.cancel()


def test_the_channels_are_told_apart(shared):
    job = Exec(shared, "echo a; read x; echo b >&2; read x; echo c", stdin_open=True)
    for size in 2, 4:  # what is written at once may be read channel by channel
        eventually(lambda so_far=size: job.get()["output_bytes"] == so_far)
        job.stdin("\n")
    job.ended()
    assert [(e["event"], e["data"]) for e in job.follow().events[:-1]] == [("stdout", "a\n"), ("stderr", "b\n"), ("stdout", "c\n")]
    merged = Exec(shared, "echo a; echo b >&2; echo c", split=False)
    merged.ended()
    assert merged.follow().text("stdout") == "a\nb\nc\n"


def test_coming_back_after_any_number_neither_loses_nor_repeats(shared):
    job = Exec(shared, COUNT % (30, 0.02))
    seen, after = "", 0
    while True:
        follower = job.follower(after=after).follow(until=lambda f: len(f.events) >= 2)
        seen += follower.text()
        after = follower.seq
        if "exit" in follower.names():
            break
    assert seen == lines(30)


def test_a_browser_comes_back_with_a_header(shared, stack):
    job = Exec(shared, COUNT % (10, 0))
    job.ended()
    follower = Follower(stack.client(stack.key), job.path + "stream/", headers={"Last-Event-ID": "7"}).follow()
    assert follower.text() == lines(10)[7:]
    last = Follower(stack.client(stack.key), job.path + "stream/", headers={"Last-Event-ID": str(follower.seq)}).follow()
    assert last.status == 204


@pytest.mark.parametrize("after", ["x", "-1", "1x", "9223372036854775807", "100"])
def test_a_number_that_was_never_given(shared, stack, after):
    job = Exec(shared, "echo hello")
    job.ended()
    response = stack.http.get(job.path + "stream/", params={"after": after})
    assert response.status_code == 422 and response.json()["detail"]
    assert stack.http.get(job.path + "stream/", params={"encoding": "rot13"}).status_code == 422


def test_what_the_ring_dropped_is_said(shared):
    job = Exec(shared, "head -c 300000 /dev/zero | tr '\\0' x; echo end", buffer_bytes=65536)
    state = job.ended()
    assert state["output_bytes"] == 300_004 and state["dropped_bytes"] == 300_004 - 65536
    follower = job.follow(after=10)
    dropped = follower.events[0]
    assert dropped["event"] == "dropped" and dropped["from"] == 10 and dropped["to"] == dropped["seq"] == 300_004 - 65536
    assert dropped["bytes"] == dropped["to"] - 10
    assert follower.text() == "x" * (65536 - 4) + "end\n"
    assert "dropped" not in job.follow(after=dropped["seq"]).names()


def test_a_command_that_waits_for_its_reader_loses_nothing(shared):
    job = Exec(shared, "head -c 3000000 /dev/zero | tr '\\0' x", buffer_bytes=65536, when_full="wait")
    eventually(lambda: job.get()["output_bytes"] == 65536)
    follower = job.follow()
    assert len(follower.text()) == 3_000_000 and "dropped" not in follower.names()


def test_text_is_never_cut_within_a_character(shared):
    job = Exec(shared, "printf '\\303'; sleep 0.3; printf '\\244\\342\\202'; sleep 0.3; printf '\\254x'")
    follower = job.follow()
    assert follower.text() == "ä€x"
    assert all("\ufffd" not in event["data"] for event in follower.events[:-1])


def test_many_wide_characters_come_back_whole(shared):
    job = Exec(shared, "i=0; while [ $i -lt 20000 ]; do printf '€ä𝄞'; i=$((i+1)); done")
    assert job.follow().text() == "€ä𝄞" * 20_000


def test_bytes_that_are_no_text(shared):
    job = Exec(shared, "printf 'a\\377b\\000c\\303'")
    job.ended()
    assert job.follow().text() == "a\ufffdb\0c\ufffd"
    data = b"".join(base64.b64decode(e["data"]) for e in job.follow(encoding="base64").events[:-1])
    assert data == b"a\xffb\0c\xc3"


def test_a_client_that_goes_away_ends_nothing(shared):
    job = Exec(shared, COUNT % (20, 0.05))
    job.follower().follow(until=lambda f: "line 3" in f.text())
    assert job.ended()["reason"] == "exited"
    assert job.follow().text() == lines(20)


def test_a_client_that_goes_away_ends_it_when_it_wanted_that(shared):
    tied = Exec(shared, "echo ready; sleep 100", detach=False)
    assert tied.started["detach"] is False
    tied.follower().follow(until=lambda f: f.text())
    assert tied.ended()["reason"] == "cancelled"
    asked = Exec(shared, "echo ready; sleep 100")
    asked.follower(detach="false").follow(until=lambda f: f.text())
    assert asked.ended()["reason"] == "cancelled"
    spared = Exec(shared, "echo ready; sleep 1", detach=False)
    spared.follower(detach="true").follow(until=lambda f: f.text())
    assert spared.ended()["reason"] == "exited"


def test_several_follow_at_once(shared):
    job = Exec(shared, COUNT % (40, 0.02))
    followers = [job.follower(form=form).in_thread() for form in ("sse", "ndjson", "sse")]
    for follower in followers:
        assert follower.join().text() == lines(40)


def test_a_follower_goes_on_after_a_plain_run(create):
    session = create(BUSYBOX)
    job = Exec(session, COUNT % (30, 0.1))
    follower = job.follower().in_thread()
    wait_for(follower, "line 0")
    assert session.out("sleep 1; echo run") == "run"
    assert follower.join().text() == lines(30)


def test_a_follower_that_comes_during_a_plain_run_waits(create):
    session = create(BUSYBOX)
    job = Exec(session, "echo hello")
    run = Background(session.post, ["sleep 2"])
    session.stack.working_pid(session.id)
    assert job.follow().text() == "hello\n"
    assert run.result().status_code == 200


def test_the_end_of_the_session_is_said(create):
    session = create(BUSYBOX)
    job = Exec(session, "echo ready; sleep 100")
    follower = job.follower().in_thread()
    wait_for(follower, "ready")
    session.close()
    follower.join()
    assert follower.events[-1] == {"event": "error", "status": 404, "detail": "Session not found or already closed"}


def test_a_forgotten_exec_is_said(shared):
    job = Exec(shared, "echo ready; sleep 100")
    follower = job.follower().in_thread()
    wait_for(follower, "ready")
    job.cancel(forget="true")
    follower.join()
    assert follower.events[-1]["event"] == "error" and follower.events[-1]["status"] == 404


# --- on a stack of their own ---


def test_silence_is_bridged_and_places_are_limited(make_stack):
    stack = make_stack(MIN_WORKERS=2, MAX_WORKERS=4, STREAM_KEEPALIVE_SECONDS="0.3", **PATIENT)
    session = stack.create(BUSYBOX)
    job = Exec(session, "sleep 100")
    followers = [job.follower(form=form).in_thread() for form in ("sse", "ndjson")]
    eventually(lambda: all(f.keepalives >= 3 for f in followers))
    response = stack.http.get(job.path + "stream/")
    assert response.status_code == 429 and response.headers["retry-after"] == "1"
    assert response.json() == {"detail": "Too many execs are being followed; try again later"}
    assert session.out("echo there is room") == "there is room"
    job.cancel()
    for follower in followers:
        assert follower.join().exit["reason"] == "cancelled"
    assert eventually(lambda: stack.http.get(job.path + "stream/").status_code == 200)


def test_a_killed_worker_loses_nothing(make_stack):
    stack = make_stack(MIN_WORKERS=2, MAX_WORKERS=8)
    session = stack.create(BUSYBOX)
    job = Exec(session, HALFWAY)
    first = job.follower().in_thread()
    wait_for(first, "line 5\n")
    for pid in stack.children("worker"):
        os.kill(pid, signal.SIGKILL)
    first.join()
    let_go(session)  # not before: it would be over already
    assert "exit" not in first.names() and "error" not in first.names()
    eventually(stack.healthy)
    rest = eventually(lambda: (lambda f: f if f.status == 200 else None)(job.follow(after=first.seq)), 20)
    assert first.text() + rest.text() == lines(160)
    assert rest.exit["exit_code"] == 0


def test_a_service_that_stops_says_so(make_stack):
    stack = make_stack(DRAIN_SECONDS="20", **PATIENT)
    session = stack.create(BUSYBOX)
    job = Exec(session, "echo ready; sleep 100")
    follower = job.follower().in_thread()
    wait_for(follower, "ready")
    begun = time.monotonic()
    os.kill(stack.master(), signal.SIGTERM)
    follower.join()
    assert follower.events[-1] == {"event": "error", "status": 503, "detail": "The service is stopping; try again"}
    assert time.monotonic() - begun < 5
    stack.down()
    stack.up()
    again = job.follower(after=follower.seq).in_thread()
    job.cancel()
    assert again.join().exit["reason"] == "cancelled"


@pytest.mark.parametrize("begun", ["before the run", "during the run"])
def test_a_client_that_goes_away_during_a_run_ends_it_when_it_wanted_that(make_stack, begun):
    stack = make_stack(SESSION_LOCK_WAIT_SECONDS="0.1")
    session = stack.create(BUSYBOX)
    job = Exec(session, "echo ready; sleep 1000", detach=False)
    run = Background(session.post, [HELD]) if begun == "during the run" else None
    if run:
        is_held(session)
    with job.http().stream("GET", job.path + "stream/") as response:
        told = response.iter_lines()  # without which httpx leaves
        while ("keepalive" if run else "ready") not in next(told):
            pass
        run = run or Background(session.post, [HELD])
        is_held(session)
    time.sleep(1)  # the service might give up
    let_go(session)
    assert run.result().status_code == 200
    assert job.ended()["reason"] == "cancelled"


@pytest.mark.memory
@pytest.mark.timeout(240)
def test_endless_output_costs_no_memory(make_stack):
    stack = make_stack(MIN_WORKERS=2, MAX_WORKERS=4)
    session = stack.create()
    warm = Exec(session, "yes | head -c 4194304")
    warm.follow()
    workers = {pid: rss_anon(pid) for pid in stack.children("worker")}
    agent = int(stack.docker.inspect(session.container)["State"]["Pid"])
    before = rss_anon(agent)
    job = Exec(session, "yes | head -c 2147483648")
    total = told = 0
    for line in job.follower(form="ndjson").lines():
        event = json.loads(line)
        total += len(event.get("data", "")) + event.get("bytes", 0)
        told += event["event"] == "dropped"
    assert total == 2 * 1024 * MIB and event["event"] == "exit"
    assert rss_anon(agent) - before < 4 * MIB
    for pid, was in workers.items():
        assert rss_anon(pid) - was < 2 * MIB


# --- runs ---


def stream_run(session, commands, form="sse", **fields):
    kind = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}[form]
    response = session.stack.http.post(session.path, json={"commands": commands, **fields}, headers={"Accept": kind})
    assert response.status_code == 200 and response.headers["content-type"] == kind, response.text
    if form == "ndjson":
        return [json.loads(line) for line in response.text.splitlines()]
    events = []
    for block in response.text.split("\n\n")[:-1]:
        head, data = block.split("\n")
        events.append(json.loads(data[len("data: "):]))
        assert head == "event: " + events[-1]["event"]
    return events


@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_a_run_as_events(shared, form):
    events = stream_run(shared, ["echo one", "echo two >&2; exit 4", "printf ''"], form)
    assert [(e["event"], e.get("index")) for e in events] == [
        ("command", 0), ("stdout", 0), ("exit", 0), ("command", 1), ("stdout", 1), ("exit", 1), ("command", 2), ("exit", 2), ("done", None)]
    assert events[0]["command"] == "echo one" and events[1]["data"] == "one\n" and events[4]["data"] == "two\n"
    assert events[5]["exit_code"] == 4 and events[5]["usage"]["max_rss_bytes"] > 0
    assert events[-1] == {"event": "done", "patch": None}


def test_a_streamed_run_keeps_the_rules_of_a_run(create):
    session = create(extract_patch=True).seeded(repo=tar({"a": b"1\n"}))
    events = stream_run(session, ["echo 2 >> a; false", "never"], fail_fast=True)
    assert [e["event"] for e in events] == ["command", "exit", "done"]
    assert b"+2" in base64.b64decode(events[-1]["patch"])
    events = stream_run(session, ["echo out; echo err >&2"], split=True)
    assert {e["event"]: e["data"] for e in events[1:3]} == {"stdout": "out\n", "stderr": "err\n"}

    def cut_short():
        """A run that was ended after it had written, not before."""
        found = stream_run(session, ["echo before; sleep 50"], timeout=3)
        return found[1]["event"] == "stdout" and found

    events = eventually(cut_short)
    assert events[2]["timed_out"] and events[2]["exit_code"] == 124 and events[1]["data"] == "before\n"
    events = stream_run(session, ["x"], cwd="/nowhere")
    assert events[1]["exit_code"] == 126 and "/nowhere" in events[1]["message"]


def test_a_streamed_run_comes_as_it_is_written(shared):
    seen = []
    with shared.stack.http.stream("POST", shared.path, json={"commands": [f"echo first; {HELD}; echo second"]},
                                  headers={"Accept": "application/x-ndjson"}) as response:
        for line in response.iter_lines():
            seen.append(json.loads(line).get("data"))
            if seen[-1] == "first\n":
                let_go(shared)  # nothing else ends the command
    assert [data for data in seen if data] == ["first\n", "second\n"]


def test_a_run_without_commands_is_done_at_once(shared):
    assert stream_run(shared, []) == [{"event": "done", "patch": None}]


def test_faults_of_a_streamed_run_are_answers(shared, stack):
    response = stack.http.post(shared.path, json={"commands": 1}, headers={"Accept": "text/event-stream"})
    assert response.status_code == 422
    response = stack.http.post(shared.path, json={"commands": ["true"]}, headers={"Accept": "application/json"})
    assert response.json()["results"][0]["exit_code"] == 0


def test_a_streamed_run_whose_session_is_closed_says_so(create):
    session = create(BUSYBOX)
    run = Background(stream_run, session, [f"echo ready; {HELD}"])
    is_held(session)  # before it there is no stream that could say so
    session.close()
    assert run.result()[-1] == {"event": "error", "status": 404, "detail": "Session not found or already closed"}


@pytest.mark.parametrize("form", ["sse", "ndjson"])
def test_a_streamed_run_that_a_stop_cuts_off_says_so(make_stack, form):
    stack = make_stack(DRAIN_SECONDS="0.2")
    session = stack.create(BUSYBOX)
    run = Background(stream_run, session, [f"echo ready; {HELD}"], form)
    is_held(session)
    os.kill(stack.master(), signal.SIGTERM)
    last = run.result()[-1]
    assert (last["event"], last["status"]) == ("error", 503) and last["detail"]
    stack.down()
    stack.up()


def test_silence_of_a_streamed_run_is_bridged_while_its_patch_is_made_too(make_stack):
    stack = make_stack(STREAM_KEEPALIVE_SECONDS="0.3")
    session = stack.create(extract_patch=True).seeded(repo=tar({"a": b"1\n"}))
    helper = stack.docker.inspect(session.helper)["State"]["Pid"]
    names = []
    os.kill(helper, signal.SIGSTOP)
    try:
        with stack.http.stream("POST", session.path, json={"commands": [HELD]}, headers={"Accept": "application/x-ndjson"}) as response:
            for line in response.iter_lines():
                event = json.loads(line)
                names.append(event["event"])
                assert names[-1] != "keepalive" or event == {"event": "keepalive"}
                if names == ["command", "keepalive"]:
                    let_go(session)
                elif names[-3:] == ["exit", "keepalive", "keepalive"]:
                    os.kill(helper, signal.SIGCONT)
    finally:
        os.kill(helper, signal.SIGCONT)
    assert [name for name in names if name != "keepalive"] == ["command", "exit", "done"]


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("setting", ["cancel", "finish"])
def test_what_becomes_of_a_run_whose_client_goes_away(make_stack, setting, accept):
    stack = make_stack(ON_DISCONNECT=setting)
    session = stack.create(BUSYBOX)
    call = Call(stack, session.path, {"commands": [f"echo start; {HELD}; echo more", "touch done"]}, accept)
    is_held(session)
    call.leave()
    if setting == "finish":
        time.sleep(0.5)  # the service might notice
        let_go(session)
    eventually(lambda: stack.lock_holder(session.id) is None)
    assert session.out("test -e done && echo yes || echo no") == ("yes" if setting == "finish" else "no")


# --- several replicas ---

SECONDS = int(os.environ.get("SBX_STREAM_SECONDS", "8"))
TICKS = """i=0; n=0; now=0; first=${EPOCHREALTIME/./}; end=$((first + %d000000))
while [ $now -lt $end ]; do
    j=0; block=
    while [ $j -lt 200 ]; do block="$block line $i
"; i=$((i+1)); j=$((j+1)); done
    printf '%%s' "$block"
    n=$((n+1)); now=${EPOCHREALTIME/./}
    left=$((first + n * 20000 - now))
    if [ $left -gt 0 ]; then read -t 0.$(printf %%06d $left) <> <(:); fi
done"""


def lines_that_reach_every_follower_once(first, second, session):
    """How many the command wrote in SECONDS."""
    job = Exec(session, TICKS % SECONDS)
    begun = time.monotonic()
    followers = [job.follower(first).in_thread(), job.follower(second, form="ndjson").in_thread()]
    broken = job.follower(second)
    broken.in_thread(until=lambda f: time.monotonic() - begun > SECONDS / 3)
    broken.thread.join(60)  # its client is gone in the middle of the stream …
    resumed = job.follower(first, after=broken.seq).in_thread()  # … and comes back elsewhere
    for follower in followers + [resumed]:
        follower.join(SECONDS + 60)
        assert follower.exit["reason"] == "exited" and "dropped" not in follower.names()
    whole = followers[0].text()
    count = whole.count("\n")
    assert whole == "".join(f" line {i}\n" for i in range(count))
    assert followers[1].text() == whole
    assert broken.text() + resumed.text() == whole
    return count


@pytest.mark.timeout(300)
@pytest.mark.plain  # a rate
def test_ten_thousand_lines_a_second_reach_every_follower_once(make_replicas):
    first, second = make_replicas(2, MIN_WORKERS=3)
    session = first.create()
    counts = []
    while not counts or (max(counts) <= 9000 * SECONDS and len(counts) < 5):  # what else goes on may slow the command itself down
        counts.append(lines_that_reach_every_follower_once(first, second, session))
    assert max(counts) > 9000 * SECONDS, f"{counts} lines in {SECONDS} s"


@pytest.mark.timeout(120)
def test_a_killed_replica_loses_nothing(make_replicas):
    # A worker killed while it holds the session's lock, which is likely where the agent is slow, leaves it to its time.
    first, second = make_replicas(2, SESSION_LOCK_TTL_SECONDS=10, SESSION_LOCK_REFRESH_SECONDS=3)
    session = first.create(BUSYBOX)
    job = Exec(session, HALFWAY)
    seen = job.follower(first).in_thread()
    wait_for(seen, "line 5\n")
    first.kill_all()
    seen.thread.join(30)
    let_go(session)  # not before: it would be over already
    rest = eventually(lambda: (lambda f: f if f.status == 200 else None)(job.follower(second, after=seen.seq).follow()), 30)
    assert seen.text() + rest.text() == lines(160)
    first.down(check=False)
    first.up()
