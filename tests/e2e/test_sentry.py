"""Reports: what arrives at Sentry's endpoint for envelopes, what never does, and what it costs when nobody answers there."""
import http.server
import json
import os
import re
import signal
import socket
import statistics
import threading
import time

import pytest

from support import BUSYBOX, Background, eventually

NEEDLE = "needle-in-a-command"
OUTPUT = "needle-in-an-output"
STDIN = "needle-in-an-input"
VALUE = "needle-in-an-environment"
UNREACHABLE = "127.0.0.1:1/nobody/home:1"


class Sentry:
    """The endpoint for envelopes: answers `status`, and keeps what is posted if that is 200."""

    def __init__(self):
        self.posts = []
        self.status = 200
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status = owner.status
                if status == 200:
                    owner.posts.append((self.path, dict(self.headers), body))
                self.send_response(status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.dsn = f"http://0123456789abcdef@127.0.0.1:{self.server.server_address[1]}/sub/42"

    def items(self, kind):
        """Payloads of all items of a kind; every envelope is checked on the way."""
        found = []
        for _, _, body in list(self.posts):
            head, rest = body.split(b"\n", 1)
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", json.loads(head)["sent_at"])
            while rest:
                item, rest = rest.split(b"\n", 1)
                item = json.loads(item)
                payload, rest = json.loads(rest[:item["length"]]), rest[item["length"] + 1:]
                if "event_id" in payload:
                    assert payload["event_id"] == json.loads(head)["event_id"]
                if item["type"] == kind:
                    found.append(payload)
        return found

    def logs(self, body):
        return [log for payload in self.items("log") for log in payload["items"] if log["body"] == body]

    def everything(self):
        return b"".join(repr(headers).encode() + body for _, headers, body in list(self.posts))

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def attribute(log, name):
    return log["attributes"].get(name, {}).get("value")


def find(items, **tags):
    return [i for i in items if all(i["tags"].get(name) == value for name, value in tags.items())]


@pytest.fixture(scope="module")
def sentry():
    sentry = Sentry()
    yield sentry
    sentry.close()


@pytest.fixture(scope="module")
def watched(start_stack, sentry):
    """A stack that reports everything but what is personal."""
    from conftest import finish
    stack = start_stack(SENTRY_DSN=sentry.dsn, SENTRY_ENABLE_LOGS="true", SENTRY_TRACES_SAMPLE_RATE="1.0",
                        SENTRY_PROFILES_SAMPLE_RATE="1.0", ENVIRONMENT="local", REPLICA="reporter", SWEEP_SECONDS=1)
    yield stack
    finish(stack)


def test_a_502_is_reported_with_route_request_and_stack(watched, sentry):
    response = watched.http.post("/api/v1/session/", json={"base_image": UNREACHABLE, "environment": {"TOKEN": VALUE}})
    assert response.status_code == 502
    request = response.headers["x-request-id"]
    event, = eventually(lambda: find(sentry.items("event"), request_id=request), what="the event")
    assert event["environment"] == "local" and event["release"].startswith("sandboxd@") and event["server_name"] == "reporter"
    assert event["transaction"] == "POST /session" and event["level"] == "error"
    assert event["tags"]["route"] == "/session" and event["tags"]["http.status_code"] == "502" and event["tags"]["role"] == "worker"
    exception, = event["exception"]["values"]
    assert exception["type"] == "upstream" and UNREACHABLE in exception["value"]
    frames = exception["stacktrace"]["frames"]
    functions = [frame["function"] for frame in frames]
    assert "sbx_api_serve" in functions and "sbx_worker_main" in functions
    assert functions.index("sbx_worker_main") < functions.index("sbx_api_serve")  # the outermost comes first
    assert not functions[-1].startswith("sbx_err_") and frames[-1]["in_app"]
    assert re.fullmatch("[0-9a-f]{32}", event["contexts"]["trace"]["trace_id"])
    path, headers, _ = sentry.posts[0]
    assert path == "/sub/api/42/envelope/" and "sentry_key=0123456789abcdef" in headers["X-Sentry-Auth"]


def test_refusals_are_not_reported(watched, sentry):
    ids = [watched.http.post("/api/v1/session/", json={}).headers["x-request-id"],
           watched.http.post("/api/v1/session/00000000-0000-4000-8000-000000000000/", json={"commands": ["x"]}).headers["x-request-id"]]
    for request in ids:  # the timed request comes after the error would have
        eventually(lambda: find(sentry.items("transaction"), request_id=request))
        assert not find(sentry.items("event"), request_id=request)


def test_a_killed_worker_is_reported_with_what_it_was_doing(watched, sentry):
    session = watched.create(BUSYBOX)
    running = Background(session.post, ["touch /tmp/started; sleep 1000"])
    eventually(lambda: watched.docker.command("exec", session.container, "test", "-e", "/tmp/started", check=False).returncode == 0)
    pid = watched.working_pid(session.id)
    os.kill(pid, signal.SIGKILL)
    assert running.result().status_code in (502, 503)
    crash, = eventually(lambda: [e for e in find(sentry.items("event"), session_id=session.id) if e["level"] == "fatal"],
                        what="the crash")
    exception, = crash["exception"]["values"]
    assert exception["value"] == "worker died of signal 9 (SIGKILL)" and exception["mechanism"]["handled"] is False
    assert crash["extra"]["pid"] == pid and crash["tags"]["role"] == "worker"
    assert re.fullmatch(r"[0-9A-Za-z._-]{1,64}", crash["tags"]["request_id"])
    assert "transaction" not in crash and "request" not in crash
    session.close()


def test_a_timed_request_has_its_spans(watched, sentry):
    session = watched.create(BUSYBOX)
    response = session.post([f"echo {NEEDLE} > /dev/null; echo {OUTPUT}"], stdin=STDIN, env={"TOKEN": VALUE})
    assert response.json()["results"][0]["output"] == f"{OUTPUT}\n"
    event, = eventually(lambda: find(sentry.items("transaction"), request_id=response.headers["x-request-id"]))
    assert event["type"] == "transaction" and event["transaction"] == "POST /session/{id}"
    assert event["tags"]["session_id"] == session.id and event["contexts"]["trace"]["status"] == "ok"
    begun, ended = event["start_timestamp"], event["timestamp"]
    assert 0 < ended - begun < 60 and abs(ended - time.time()) < 60
    spans = {f"{span['op']}: {span['description']}": span for span in event["spans"]}
    assert {"lock: take the lock", "docker: attach", "agent: run a command"} <= set(spans)
    assert len({span["span_id"] for span in event["spans"]}) == len(event["spans"])
    for span in event["spans"]:
        assert begun - 1e-4 <= span["start_timestamp"] <= span["timestamp"] <= ended + 1e-4
        assert span["trace_id"] == event["contexts"]["trace"]["trace_id"]
    assert spans["lock: take the lock"]["parent_span_id"] == event["contexts"]["trace"]["span_id"]
    usage = event["measurements"]
    assert usage["cpu_user"]["value"] >= 0 and usage["max_rss"]["value"] > 1e6 and usage["max_rss"]["unit"] == "byte"
    create, = find(sentry.items("transaction"), session_id=session.id, route="/session") or [None]
    assert create is None or create["transaction"] == "POST /session"
    session.close()


def test_log_lines_come_with_level_and_context(watched, sentry):
    session = watched.create(BUSYBOX)
    response = session.post(["true"])
    request = response.headers["x-request-id"]
    log, = eventually(lambda: [l for l in sentry.logs("request") if attribute(l, "request_id") == request])
    assert log["level"] == "info" and log["severity_number"] == 9
    assert attribute(log, "session_id") == session.id and attribute(log, "status") == "200"
    assert attribute(log, "route") == "/session/{id}" and attribute(log, "sentry.environment") == "local"
    event, = eventually(lambda: find(sentry.items("transaction"), request_id=request))
    assert log["trace_id"] == event["contexts"]["trace"]["trace_id"]
    eventually(lambda: sentry.logs("ready") and sentry.logs("session created"))
    session.close()


def test_nothing_secret_or_personal_is_ever_sent(watched, sentry):
    """After the others: in all that has arrived."""
    session = watched.create(BUSYBOX)
    session.run(f"echo {NEEDLE}", f"echo {OUTPUT} >&2; exit 3")
    session.write(f"/repo/{NEEDLE}.txt", OUTPUT.encode())
    assert watched.client(watched.key + "x").post("/api/v1/session/", json={}).status_code == 403
    last = watched.http.post(f"/api/v1/session/?token={NEEDLE}", json={"base_image": NEEDLE + "/%"}).headers["x-request-id"]
    eventually(lambda: find(sentry.items("transaction"), request_id=last))
    eventually(lambda: [l for l in sentry.logs("request") if attribute(l, "request_id") == last])
    arrived = sentry.everything()
    for secret in (watched.key, NEEDLE, OUTPUT, STDIN, VALUE):
        assert secret.encode() not in arrived, secret
    for item in sentry.items("event") + sentry.items("transaction"):
        assert "user" not in item and set(item.get("request", {})) <= {"method"}
    for payload in sentry.items("log"):
        for log in payload["items"]:
            assert not {"remote", "client", "path"} & set(log["attributes"])
    session.close()


def test_personal_data_comes_when_it_is_asked_for(make_stack):
    sentry = Sentry()
    stack = make_stack(SENTRY_DSN=sentry.dsn, SENTRY_SEND_DEFAULT_PII="true", SENTRY_ENABLE_LOGS="true", LOG_LEVEL="WARNING")
    assert stack.post_session(base_image=UNREACHABLE).status_code == 502
    event, = eventually(lambda: sentry.items("event"))
    assert event["user"] == {"ip_address": "127.0.0.1", "username": "default"}
    log, = eventually(lambda: sentry.logs("request"))  # only the failed one: the rest is below the level
    assert attribute(log, "remote") == "127.0.0.1" and attribute(log, "path") == "/api/v1/session/"
    assert not sentry.items("transaction")  # the rate is 0
    assert {log["level"] for payload in sentry.items("log") for log in payload["items"]} <= {"warn", "error", "fatal"}
    sentry.close()


def test_reports_that_could_not_be_sent_come_later(make_stack):
    sentry = Sentry()
    sentry.status = 503
    stack = make_stack(SENTRY_DSN=sentry.dsn)
    request = stack.post_session(base_image=UNREACHABLE).headers["x-request-id"]
    eventually(lambda: stack.events("reports cannot be sent"), what="the log line")
    sentry.status = 200
    eventually(lambda: find(sentry.items("event"), request_id=request), what="the second attempt")
    eventually(lambda: stack.events("reports are sent again"))
    sentry.close()


def medians_of_a_command(*sessions, n=60):
    """The median time of a command in each session, in turns: what slows the machine down slows them all."""
    took = [[] for _ in sessions]
    for _ in range(n):
        for session, mine in zip(sessions, took):
            begun = time.perf_counter()
            session.run("true")
            mine.append(time.perf_counter() - begun)
    return [statistics.median(mine) for mine in took]


def test_a_sentry_that_does_not_answer_slows_nothing(make_stack):
    with socket.socket() as hole:  # connections are made and nothing is ever said
        hole.bind(("127.0.0.1", 0))
        hole.listen(64)
        dsn = f"http://0123456789abcdef@127.0.0.1:{hole.getsockname()[1]}/1"
        plain = make_stack()
        stack = make_stack(SENTRY_DSN=dsn, SENTRY_ENABLE_LOGS="true", SENTRY_TRACES_SAMPLE_RATE="1", SWEEP_SECONDS=1,
                           ORPHAN_GRACE_SECONDS=0)
        quiet, loud = plain.create(BUSYBOX), stack.create(BUSYBOX)
        eventually(lambda: stack.events("reports cannot be sent"))
        pairs = [medians_of_a_command(quiet, loud) for _ in range(3)]
        without, reporting = (min(column) for column in zip(*pairs))
        assert reporting < 1.5 * without + 0.002, pairs
        label = f"sandboxd.instance={stack.instance}"
        stack.docker.command("create", "--label", label, "--label", "sandboxd.created=1", "--label",
                             "sandboxd.session=00000000-0000-4000-8000-000000000001", BUSYBOX, "true")
        begun = time.monotonic()
        eventually(lambda: stack.events("sweep", orphans=1), what="the sweep of a container without a record")
        assert time.monotonic() - begun < 6
        quiet.close()
        loud.close()


def test_a_reload_takes_another_project(make_stack):
    first, second = Sentry(), Sentry()
    stack = make_stack(SENTRY_DSN=first.dsn)
    old = {*stack.children("worker"), *stack.children("janitor")}  # this is who posts
    stack.reload(SENTRY_DSN=second.dsn)
    eventually(lambda: not old & {*stack.children("worker"), *stack.children("janitor")} and len(stack.children("janitor")) == 1)
    request = stack.post_session(base_image=UNREACHABLE).headers["x-request-id"]
    eventually(lambda: find(second.items("event"), request_id=request))
    assert not first.posts
    first.close()
    second.close()
