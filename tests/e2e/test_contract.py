"""What a client of the contract may count on beyond the plain cases: values as pydantic reads them, surroundings of commands."""
import base64
import gzip
import json
import os
import socket
import threading

import pytest

from support import BUSYBOX, DEBIAN, MIB, tar
from test_session import faults



def test_the_value_that_was_sent_stands_in_every_fault(shared):
    """Cut when it is long: an answer is not many times its request."""
    long = "é" * 100_000
    body = {"commands": ["a\0b", 5], "cwd": "relative", "stdin": "!", "stdin_encoding": "rot13", "archive": "no base64!", "env": {"A": "x\0"},
            "timeout": -1, "fail_fast": long, "split": [long] * 100}
    found = {tuple(fault["loc"][1:]): fault["input"] for fault in faults(shared.stack.http.post(shared.path, json=body))}
    assert found[("commands", 0)] == "a\0b" and found[("commands", 1)] == 5
    assert found[("env", "A")] == "x\0" and found[("timeout",)] == -1
    for field in ("cwd", "stdin_encoding", "archive"):
        assert found[(field,)] == body[field]
    assert found[("fail_fast",)].startswith("ééé") and found[("fail_fast",)].endswith("…") and len(found[("fail_fast",)]) < 1000
    assert len(found[("split",)]) == 1
    response = shared.stack.http.post(shared.path, json={"commands": [], "stdin": "!", "stdin_encoding": "base64"})
    assert faults(response)[0]["input"] == "!"
    response = shared.stack.http.post(shared.path + "files/", json={"mutations": [{"path": "/repo/a", "content": "?" + long, "mode": -1}]})
    found = {fault["loc"][-1]: fault["input"] for fault in faults(response)}
    assert found["mode"] == -1 and found["content"].startswith("?éé") and len(response.content) < 5000


@pytest.mark.parametrize("fields", [
    {"fail_fast": "true", "split": "off"}, {"fail_fast": 1, "split": 0.0}, {"fail_fast": "Y", "split": "F"},
    {"timeout": "5", "max_output_bytes": "1_000"}, {"timeout": 5.0, "max_output_bytes": " 9.0 "}, {"timeout": True, "max_output_bytes": "+7"},
    {"timeout": None, "max_output_bytes": None, "cwd": None, "stdin": None, "archive": None, "env": None},
])
def test_a_run_takes_what_pydantic_takes(shared, fields):
    assert shared.run("true", **fields)["results"][0]["exit_code"] == 0


@pytest.mark.parametrize("fields", [
    {"fail_fast": "maybe"}, {"fail_fast": 2}, {"fail_fast": 0.5}, {"fail_fast": None}, {"split": {}}, {"timeout": "5.5"}, {"timeout": 5.5},
    {"timeout": "1e1"}, {"timeout": ""}, {"timeout": []}, {"max_output_bytes": False - 1}, {"commands": "true"}, {"commands": {"0": "true"}},
    {"commands": [None]}, {"commands": [True]}, {"env": []}, {"env": {"A": 1}}, {"cwd": 5}, {"stdin": True}, {"archive": 5},
])
def test_a_run_refuses_what_pydantic_refuses(shared, fields):
    response = shared.stack.http.post(shared.path, json={"commands": ["true"], **fields})
    assert faults(response)[0]["loc"][1] == next(iter(fields))


LARGEST = {"A": "a" * 131069, "B": "b" * 131069, "C": ""}


@pytest.mark.parametrize("wrong,place", [({"A": "a" * 131070}, ["A"]), ({"N" * 255: "a" * 130816}, ["N" * 255]),
                                         ({**LARGEST, "C": "c"}, []), ({"N" * 256: ""}, ["N" * 255])])
def test_an_environment_that_is_too_large_is_refused_everywhere(shared, stack, wrong, place):
    for path, field, body in (("/session/", "environment", {"base_image": BUSYBOX}), (shared.path, "env", {"commands": ["true"]}),
                              (shared.path + "exec/", "env", {"command": "true"})):
        found = faults(stack.http.post(path, json={**body, field: wrong}))
        assert [fault["loc"] for fault in found] == [["body", field, *place]]


def test_the_largest_environment_reaches_commands(create):
    session = create(BUSYBOX, environment=LARGEST)
    assert session.out("echo ${#A} ${#B} [${C-unset}]") == "131069 131069 []"
    assert session.out("echo ${#A} ${#B} ${#D}", env={"A": "", "D": "d" * 131069}) == "0 131069 131069"


def test_base64_may_come_in_lines(create):
    """As base64(1) and Python's encodebytes write it."""
    session = create(BUSYBOX)
    content = bytes(range(256)) * 20
    wrapped = base64.encodebytes(content).decode()
    response = session.post_files([{"path": "/repo/f", "content": wrapped.replace("\n", "\r\n"), "mode": "420"}])
    assert response.json() == {"results": [{"path": "/repo/f", "ok": True, "error": None}]}
    assert session.out("wc -c < f; stat -c %a f").split() == [str(len(content)), "644"]
    assert session.out("wc -c", stdin=wrapped, stdin_encoding="base64").strip() == str(len(content))
    archive = base64.encodebytes(gzip.compress(tar({"a": content}))).decode()
    assert session.out("ls; wc -c < a", archive=archive).split() == ["a", str(len(content))]
    assert session.post([], archive=archive[:-3]).status_code == 422


# --- commands ---


def test_a_command_of_many_lines_is_one_script(shared):
    result = shared.one("a=1\n\nif [ $a = 1 ]; then\n  echo yes # no\nfi\ncat <<'END'\nhere $a\nEND\n")
    assert (result["output"], result["exit_code"]) == ("yes\nhere $a\n", 0)


def test_a_command_with_nul_is_refused_and_none_of_the_request_runs(shared):
    response = shared.post(["touch /repo/ran", "echo a\0b"])
    assert [fault["loc"] for fault in faults(response)] == [["body", "commands", 1]]
    assert shared.one("ls /repo/ran")["exit_code"] != 0


def test_binary_output_is_an_answer_that_any_json_reader_takes(shared):
    response = shared.post(["head -c 100000 /dev/urandom", "printf 'a\\000b\\033[0m\\177\\200'"])
    assert response.status_code == 200
    results = json.loads(response.content.decode("utf-8", "strict"))["results"]
    assert len(results[0]["output"]) > 30_000 and results[1]["output"] == "a\0b\x1b[0m\x7f\ufffd"


def test_a_thousand_commands_with_fail_fast_stop_at_the_first_failure(shared):
    results = shared.run(*["true"] * 500, "exit 3", *["true"] * 499, fail_fast=True)["results"]
    assert len(results) == 501 and results[-1]["exit_code"] == 3


def test_the_images_own_path_and_variables_are_there(create, stack):
    name = f"sandboxd-e2e/own-path-{os.getpid()}:1"  # other runs of this test may use the same daemon
    source = stack.docker.command("create", BUSYBOX, "true").stdout.strip()
    try:
        stack.docker.command("commit", "--change", "ENV PATH=/opt/tools:/bin:/usr/bin", "--change", "ENV FROM_IMAGE=yes", source, name)
        session = create(name, environment={"FROM_SESSION": "too"})
        assert session.out("echo $PATH $FROM_IMAGE $FROM_SESSION") == "/opt/tools:/bin:/usr/bin yes too"
        session.close()
    finally:
        stack.docker.remove(source)
        stack.docker.command("rmi", name, check=False)


@pytest.mark.parametrize("image", [BUSYBOX, DEBIAN])
def test_home_is_there_for_a_uid_that_the_image_does_not_know(make_stack, image):
    stack = make_stack(RUN_UID=54321, RUN_GID=43210, MIN_WORKERS=1)
    session = stack.create(image)
    assert session.out("id -u; id -g; grep -c 54321 /etc/passwd || :").split() == ["54321", "43210", "0"]
    variables = ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"]
    for line in session.out("; ".join(f'mkdir -p "${name}/a/b" && echo x > "${name}/a/b/c" && echo "${name}"' for name in variables)).split():
        assert line.startswith("/home/daiv-sandbox")
    session.run("touch /repo/x /skills/x", fail_fast=True)
    session.write("/repo/file", b"x")
    session.seeded(repo=tar({"seeded": b"1"}))
    assert session.out("stat -c %u:%g /repo /skills /repo/file /repo/seeded /repo/x").split() == ["54321:43210"] * 5
    session.close()


# --- limits and the network ---


def test_cpus_limit_what_a_command_takes(create):
    session = create(BUSYBOX, cpus=0.25)
    result = session.one("i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done")
    assert result["exit_code"] == 0
    used = result["usage"]["user_ms"] + result["usage"]["system_ms"]
    assert result["duration_ms"] > 2 * used, result


def test_memory_that_runs_out_is_told_apart_and_the_session_survives(create):
    session = create(BUSYBOX, memory_bytes=64 * MIB)
    results = session.run("tail -c 300000000 /dev/zero | wc -c", "echo next")["results"]
    assert (results[0]["exit_code"], results[0]["oom_killed"], results[1]["output"]) == (137, True, "next\n")
    assert not results[1]["oom_killed"]


class Resolver:
    """A DNS server on an address of this host: every name is 10.1.2.3."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.asked = b""
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            while True:
                query, client = self.socket.recvfrom(512)
                self.asked += query
                end = query.index(b"\0", 12) + 5
                is_a = query[end - 4:end - 2] == b"\0\1"
                answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x0a\1\2\3" if is_a else b""
                self.socket.sendto(query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0" + query[12:end] + answer, client)
        except OSError:
            return

    def close(self):
        self.socket.close()


@pytest.mark.plain  # it answers on the one port that there is for names
@pytest.mark.runc
def test_names_are_resolved_with_a_network_and_not_without(create, stack):
    gateway = stack.docker.get("/networks/bridge")["IPAM"]["Config"][0]["Gateway"]
    ask = "nslookup {}.example " + gateway
    resolver = Resolver(gateway)
    try:
        connected = create(BUSYBOX, network_enabled=True)
        assert "10.1.2.3" in connected.out(ask.format("connected"), timeout=20)
        assert connected.out("grep -c '^nameserver' /etc/resolv.conf") != "0"
        alone = create(BUSYBOX)
        assert alone.one(ask.format("alone"), timeout=20)["exit_code"] != 0
        assert alone.one("nslookup alone.example", timeout=20)["exit_code"] != 0
        assert b"connected" in resolver.asked and b"alone" not in resolver.asked
    finally:
        resolver.close()
