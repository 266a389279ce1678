"""The HTTP surface: keys, errors in JSON, request ids, limits, health, and that nothing leaks."""
import gzip
import http.client
import json
import os
import pathlib
import re
import socket
import stat
import subprocess
import time
import uuid

import pytest

from support import BUSYBOX, ROOT, Background, all_pids, eventually, tar

MISSING = {"detail": "API Key header is missing"}
WRONG = {"detail": "Invalid API Key"}
SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def raw(stack, request):
    """Send bytes and read one answer: (status, headers, body)."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=20) as s:
        s.sendall(request)
        answer = http.client.HTTPResponse(s, method=request.split(b" ")[0].decode(errors="replace"))
        answer.begin()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def is_json_error(status, headers, body):
    assert headers["content-type"] == "application/json", (status, headers, body)
    answer = json.loads(body)
    assert list(answer) == ["detail"] and answer["detail"], answer
    assert SANE.fullmatch(headers["x-request-id"])
    assert headers["server"] == "nginx"
    return answer["detail"]


# --- keys ---


@pytest.mark.parametrize("method,path", [
    ("POST", "/session/"), ("POST", f"/session/{uuid.uuid4()}/"), ("DELETE", f"/session/{uuid.uuid4()}/"),
    ("POST", f"/session/{uuid.uuid4()}/seed/"), ("POST", f"/session/{uuid.uuid4()}/files/"), ("GET", f"/session/{uuid.uuid4()}/patch/"),
    ("GET", "/unknown")])
@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_every_route_wants_the_key(stack, prefix, method, path):
    for key, detail in ((None, MISSING), ("", MISSING), ("wrong", WRONG), (stack.key.swapcase(), WRONG), (stack.key + "x", WRONG),
                        (stack.key[:-1], WRONG), (f'"{stack.key}"', WRONG), ("~.*", WRONG), ("default", WRONG)):
        with stack.client(key) as client:
            response = client.request(method, prefix + path)
        assert (response.status_code, response.json()) == (403, detail), key
        assert response.headers["content-type"] == "application/json"


def test_the_key_is_read_from_its_header_only(stack):
    with stack.client() as client:
        for headers in ({"Authorization": f"Bearer {stack.key}"}, {"Cookie": f"X-API-Key={stack.key}"}, {"X-API-Keys": stack.key}):
            assert client.post("/session/", headers=headers).status_code == 403
        assert client.post("/session/", headers={"x-api-KEY": stack.key}, json={}).status_code == 422


@pytest.mark.parametrize("key", ["a key with spaces", "~^.*$", 'quote"back\\slash', "$http_host{}", "default", "hostnames", "\\backslash",
                                 "include;", "k" * 512])
def test_odd_keys_work_exactly(make_stack, key):
    stack = make_stack(API_KEY=key, MIN_WORKERS=1, CONTROL_WORKERS=1)
    for other, status in ((key, 422), (key + "x", 403), (key[:-1] or "x", 403), ("anything", 403)):
        with stack.client(other) as client:
            assert client.post("/session/", json={}).status_code == status, other


# --- paths and methods ---


@pytest.mark.parametrize("path", ["/", "/unknown", "/api/v1", "/api/v1/", "/api/v2/session/", "/session/x/y/z", "/api/v1/api/v1/session/",
                                  "/-/nothing", "/-/metrics", "/session/../-/metrics", "//session/x/", "/session//",
                                  f"/session/{uuid.uuid4()}/unknown/", "/%00", "/.sandboxd-error"])
def test_unknown_paths_are_404(stack, path):
    status, headers, body = raw(stack, f"GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {stack.key}\r\n\r\n".encode())
    assert status == (400 if path == "/%00" else 404), body
    is_json_error(status, headers, body)


def test_the_404_of_a_path_is_fastapis(stack):
    assert stack.http.get("/unknown").json() == {"detail": "Not Found"}


@pytest.mark.parametrize("method,path,allow", [
    ("PUT", "/session/", {"GET", "POST"}), ("DELETE", "/session", {"GET", "POST"}),
    ("PUT", f"/session/{uuid.uuid4()}/", {"GET", "PATCH", "POST", "DELETE"}),
    ("OPTIONS", f"/api/v1/session/{uuid.uuid4()}", {"GET", "PATCH", "POST", "DELETE"}),
    ("GET", f"/session/{uuid.uuid4()}/seed/", {"POST"}), ("PUT", f"/session/{uuid.uuid4()}/files/", {"POST"}),
    ("POST", f"/session/{uuid.uuid4()}/patch/", {"GET"}), ("POST", "/-/health/", {"GET"}), ("DELETE", "/api/v1/-/version", {"GET"})])
def test_a_wrong_method_is_405_with_allow(stack, method, path, allow):
    response = stack.http.request(method, path)
    assert (response.status_code, response.json()) == (405, {"detail": "Method Not Allowed"})
    assert {word.strip() for word in response.headers["allow"].split(",")} == allow


# --- errors of nginx's own ---


@pytest.mark.parametrize("request_head,status", [
    (b"GARBAGE\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"POST /session/ HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400),
    (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/3.9\r\nHost: x\r\n\r\n", 505),
    (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
])
def test_errors_of_nginx_are_json_too(stack, request_head, status):
    got, headers, body = raw(stack, request_head)
    assert got == status
    is_json_error(got, headers, body)


def test_every_answer_carries_a_request_id_the_clients_own_when_it_is_sane(stack):
    for key in (stack.key, None):  # answered by a worker, answered by nginx
        with stack.client(key) as client:
            made = {client.get("/unknown").headers["x-request-id"] for _ in range(3)}
            assert len(made) == 3 and all(SANE.fullmatch(m) for m in made)
            for sane in ("abc", "A-b_c.9", "x" * 64):
                response = client.get("/unknown", headers={"X-Request-Id": sane})
                assert response.headers.get_list("x-request-id") == [sane]
            for odd in ("two words", "x" * 300, "semi;colon", "a,b", '"quoted"', "ü".encode(), "<b>"):
                answered = client.get("/unknown", headers={"X-Request-Id": odd}).headers.get_list("x-request-id")
                assert len(answered) == 1 and SANE.fullmatch(answered[0]) and answered[0] != odd


@pytest.mark.parametrize("rid", ["x" * 65, "x" * 128, "a:b", "a/b", "."])
def test_nginx_and_workers_agree_on_which_request_ids_are_sane(stack, rid):
    answers = []
    for key in (stack.key, None):
        with stack.client(key) as client:
            answers.append(client.get("/unknown", headers={"X-Request-Id": rid}).headers["x-request-id"] == rid)
    assert answers[0] == answers[1]


def test_the_request_id_is_in_both_logs(stack):
    rid = f"e2e-{uuid.uuid4()}"
    stack.http.post("/session/", json={}, headers={"X-Request-Id": rid})
    eventually(lambda: stack.events("request", request=rid, status="422"))
    access = pathlib.Path(stack.home, "log", "nginx-access.log")
    eventually(lambda: f"request_id={rid} " in access.read_text())


def test_nothing_tells_the_versions(stack):
    for response in (stack.http.get("/unknown"), stack.http.get("/-/health/"), stack.client().get("/unknown"), stack.http.post("/session/", json={})):
        assert response.headers["server"] == "nginx"
        assert "x-powered-by" not in response.headers
        assert not re.search(r"nginx|sandboxd|fastcgi", response.text, re.I)


# --- bodies ---


@pytest.fixture(scope="module")
def small(start_stack):
    """A stack with small limits."""
    from conftest import finish
    stack = start_stack(MAX_BODY_BYTES="64K", MAX_SEED_BYTES="1M", MAX_SEED_ENTRIES=100, MIN_WORKERS=2, MAX_WORKERS=2)
    yield stack
    finish(stack)


def test_a_body_over_the_limit_is_413_in_json(small):
    session = small.create(BUSYBOX)
    assert session.post(["true # " + "x" * 60_000]).status_code == 200
    response = session.post(["true # " + "x" * 70_000])
    assert response.status_code == 413 and isinstance(response.json()["detail"], str)
    assert SANE.fullmatch(response.headers["x-request-id"])

    def chunks():
        yield b'{"commands":["' + b"x" * 70_000
        yield b'"]}'

    assert small.http.post(session.path, content=chunks()).status_code == 413
    assert session.out("echo alive") == "alive"
    session.close()


def test_a_seed_over_the_limit_is_413_in_json_and_the_session_stays_seedable(small):
    session = small.create(BUSYBOX)
    response = session.seed(repo=tar({"a": b"x" * 3_000_000}))
    assert response.status_code == 413, response.text
    assert isinstance(response.json()["detail"], str)
    assert session.out("ls -A /repo") == ""
    session.seeded(repo=tar({"a": b"1"}))
    session.close()


def test_a_seed_that_unpacks_to_too_much_is_422_and_leaves_nothing(small):
    session = small.create(BUSYBOX)
    for archive in (gzip.compress(tar({"a": bytes(50_000_000)})), tar({f"f{i}": b"" for i in range(101)})):
        response = session.seed(repo=archive)
        assert response.status_code == 422, response.text
        assert response.json()["detail"].startswith("repo_archive is invalid: ")
    assert session.out("ls -A /repo") == ""
    session.seeded(repo=tar({f"f{i}": b"" for i in range(99)}))
    session.close()


def test_a_chunked_json_body_is_taken(shared):
    response = shared.stack.http.post(shared.path, content=iter([b'{"comm', b'ands": ["echo hi"]', b"}"]))
    assert response.json()["results"][0]["output"] == "hi\n"


@pytest.mark.parametrize("body", ['{"commands": [], "commands": ["echo twice"]}', '{"commands": ["\\ud800"]}', '{"commands": [NaN]}',
                                  '{"commands": ' + "[" * 5000 + "]" * 5000 + "}", '{"commands": ["\xff"]}'.encode("latin-1")])
def test_odd_json_is_refused_not_misread(shared, body):
    response = shared.stack.http.post(shared.path, content=body)
    assert response.status_code == 422, response.text


# --- health and version ---


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_health_and_version_need_no_key(stack, prefix):
    with stack.client() as client:
        # 503 while dockerd takes its time
        health = eventually(lambda: (answer := client.get(f"{prefix}/-/health/")).status_code == 200 and answer)
        version = client.get(f"{prefix}/-/version/")
    assert health.json() == {"status": "ok"}
    assert version.status_code == 200 and list(version.json()) == ["version"]
    assert version.json()["version"] == re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    assert health.headers["content-type"] == version.headers["content-type"] == "application/json"


def test_health_answers_while_every_worker_is_busy(small):
    sessions = [small.create(BUSYBOX) for _ in range(2)]
    running = [Background(session.post, ["sleep 1000"]) for session in sessions]
    for session in sessions:  # not only held: a container that is killed before its command runs is started again for it
        eventually(lambda: any("sleep 1000" in line for line in small.docker.processes(session.container)), what="the command to run")
    for _ in range(20):
        begun = time.monotonic()
        assert small.http.get("/-/health/").status_code == 200
        assert small.http.get("/-/version/").status_code == 200
        assert time.monotonic() - begun < 2
    # nobody is there to take a close either, until a command's client leaves
    for session in sessions:
        small.docker.kill(session.container)
    assert all(r.result().status_code in (200, 404, 502, 503) for r in running)
    for session in sessions:
        assert session.close().status_code == 204


def test_a_connection_that_says_nothing_holds_no_worker_for_long(small):
    silent = []
    for _ in range(4):
        s = socket.socket(socket.AF_UNIX)
        s.connect(f"{small.home}/run/work.sock")
        silent.append(s)
    begun = time.monotonic()
    assert small.http.post("/session/", json={}).status_code == 422
    assert time.monotonic() - begun < 6
    for s in silent:
        s.close()


# --- what an operator relies on ---


def test_nginx_accepts_its_configuration(stack):
    done = subprocess.run(["nginx", "-t", "-c", f"{stack.home}/nginx/nginx.conf", "-e", f"{stack.home}/log/nginx-error.log"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and "[warn]" not in done.stderr, done.stderr


def test_the_key_is_in_no_argument_environment_log_or_open_file(stack):
    stack.http.post("/session/", json={})
    stack.client(stack.key.swapcase()).post("/session/")
    stack.http.get("/unknown", params={"q": "x"})
    key = stack.key.encode()
    for pid in all_pids():
        if pid == os.getpid():
            continue
        for name in ("cmdline", "environ"):
            try:
                content = pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:
                continue
            assert key not in content, f"{name} of {pid}"
    held = []
    for path in pathlib.Path(stack.home).rglob("*"):
        if path.is_file() and not path.is_symlink() and key in path.read_bytes():
            held.append(path.name)
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert sorted(held) == ["keys.conf", "sandboxd.env"]
    for log in stack.log_files():
        assert stack.key.swapcase() not in log.read_text(errors="replace")
        assert stat.S_IMODE(log.stat().st_mode) & 0o007 == 0 or stat.S_IMODE(log.parent.stat().st_mode) & 0o007 == 0


def test_the_key_is_not_in_the_containers(shared, stack):
    assert stack.key not in json.dumps(stack.docker.inspect(shared.container))
    assert stack.key not in shared.out("env")


def test_state_and_sockets_are_closed_to_other_users(stack):
    home = pathlib.Path(stack.home)
    assert stat.S_IMODE((home / "state").stat().st_mode) == 0o700
    for name in ("work.sock", "control.sock"):
        assert stat.S_IMODE((home / "run" / name).stat().st_mode) & 0o007 == 0
