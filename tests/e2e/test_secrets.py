"""Secrets are in no log, argument, environment, shared memory, file or error text; and the search for them finds what is there."""
import base64
import json
import mmap
import os
import secrets
import signal
import subprocess
import types

import pytest

from leaks import leaks
from support import eventually

NOWHERE = "127.0.0.1:1/private/image:1"


def fake(home, *pids):
    """What the search takes for a stack."""
    return types.SimpleNamespace(home=str(home), key="Key-" + secrets.token_hex(8), secrets={}, processes=lambda: pids, nginx_pids=list)


def test_the_search_finds_a_secret_in_a_log(tmp_path):
    stack = fake(tmp_path)
    assert not leaks(stack)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "sandboxd.log").write_bytes(b"x" * (8 << 20) + stack.key.encode()[:5])
    assert not leaks(stack)
    with (tmp_path / "log" / "sandboxd.log").open("ab") as log:  # across two pieces of reading
        log.write(stack.key.encode()[5:])
    assert leaks(stack) == [(str(tmp_path / "log" / "sandboxd.log"), "key")]


def test_the_search_takes_exception_at_a_file_of_secrets_that_others_may_read(tmp_path):
    stack = fake(tmp_path)
    path = tmp_path / "keys.conf"
    path.write_text(stack.key)
    path.chmod(0o600)
    assert not leaks(stack) and leaks(stack, token=stack.key) == [(str(path), "token")]
    path.chmod(0o640)
    assert leaks(stack) == [(str(path), "key")]


def test_the_search_finds_a_secret_in_a_process(tmp_path):
    stack = fake(tmp_path)
    for argv, env, place in (["sleep", "60"], {"A": stack.key}, "environ"), (["sh", "-c", "sleep 60; :", stack.key], {}, "cmdline"):
        with subprocess.Popen(argv, env={"PATH": os.environ["PATH"], **env}, start_new_session=True) as process:
            stack.processes = lambda pid=process.pid: [pid]
            eventually(lambda: [where.split()[0] for where, _ in leaks(stack)] == [place])
            os.killpg(process.pid, signal.SIGKILL)


def test_the_search_finds_a_secret_in_shared_memory(tmp_path):
    stack = fake(tmp_path, os.getpid())
    with mmap.mmap(-1, 8192) as memory:
        assert not leaks(stack)
        memory[5000:5000 + len(stack.key)] = stack.key.encode()
        assert [(where.split()[0], name) for where, name in leaks(stack)] == [("shared", "key")]


@pytest.fixture
def guarded(make_redis, make_stack, tmp_path):
    """A stack with a secret of every kind, that writes all the log it can."""
    mine = {name: f"{name}-{secrets.token_hex(8)}" for name in ("dsn", "redis", "registry", "environment", "stdin", "content", "command", "header")}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {"127.0.0.1:1": {"auth": base64.b64encode(f"user:{mine['registry']}".encode()).decode()}}}))
    config.chmod(0o600)
    redis = make_redis("--requirepass", mine["redis"])
    stack = make_stack(REDIS_URL=f"redis://:{mine['redis']}@127.0.0.1:{redis.port}", SENTRY_DSN=f"http://{mine['dsn']}@127.0.0.1:1/1",
                       SENTRY_ENABLE_LOGS="true", DOCKER_CONFIG=str(config), LOG_LEVEL="DEBUG", MIN_WORKERS=2)
    stack.secrets = {**mine, "registry in base64": base64.b64encode(f"user:{mine['registry']}".encode()).decode().rstrip("=")}
    stack.guarded_by = redis
    return stack


def test_nothing_tells_a_secret_whatever_goes_wrong(guarded):
    mine = guarded.secrets
    errors = []

    def fails(response, *statuses):
        assert response.status_code in statuses, f"{response.status_code} {response.text}"
        errors.append(response.text)

    session = guarded.create(environment={"TOKEN": mine["environment"]}, extract_patch=True)
    assert session.out("echo $TOKEN") == mine["environment"]
    assert session.out("cat", stdin=mine["stdin"]) == mine["stdin"]
    session.write("/repo/file", mine["content"].encode())
    assert mine["content"] in base64.b64decode(session.run(f"cat file; : {mine['command']}")["patch"] or b"").decode() + session.out("cat file")
    assert session.one(f"echo {mine['command']} >&2; exit 3", env={"T": mine["environment"]})["exit_code"] == 3
    started = guarded.http.post(session.path + "exec/", json={"command": f"cat; : {mine['command']}", "stdin": mine["stdin"], "env": {"T": mine["environment"]}})
    assert started.status_code == 201
    edit = {"path": "/repo/file", "old": mine["content"] + "x", "new": mine["content"]}
    assert guarded.http.post(session.path + "fs/edit/", json=edit).json()["error"]["code"] == "string_not_found"
    # clients that are wrong: what they sent comes back to them, and goes nowhere else
    bad = guarded.http.post(session.path, content=b'{"commands": ["' + mine["command"].encode() + b'"], "stdin": "' + mine["stdin"].encode() + b'"')
    assert bad.status_code == 422
    assert guarded.http.post(session.path, json={"commands": [mine["command"]], "env": {"T": [mine["environment"]]}}).status_code == 422
    fails(guarded.client(guarded.key + "x").get("/session/"), 403)
    fails(guarded.client(mine["header"]).get("/session/", headers={"Authorization": mine["header"], "Cookie": mine["header"]}), 403)
    fails(guarded.http.get("/unknown/", headers={"Authorization": mine["header"]}), 404)
    # what is behind the service is wrong
    fails(guarded.http.post("/session/", json={"base_image": NOWHERE, "environment": {"T": mine["environment"]}}), 502)
    os.kill(guarded.children("worker")[0], signal.SIGKILL)
    eventually(lambda: guarded.events("process died"))
    guarded.guarded_by.stop()
    fails(guarded.http.post(session.path, json={"commands": [mine["command"]]}), 503)
    fails(guarded.http.get("/-/health/"), 503)
    guarded.guarded_by.start("--requirepass", "another password")
    fails(guarded.http.get("/session/"), 503)
    guarded.guarded_by.stop()
    guarded.guarded_by.start()
    eventually(lambda: guarded.http.get("/-/health/").status_code == 200, 20)
    text = "\n".join(errors)
    assert not [name for name, secret in {"key": guarded.key, **mine}.items() if secret in text], text
    eventually(lambda: guarded.events("request", status=503))
    assert not leaks(guarded)
