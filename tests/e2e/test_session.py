"""Create and delete: what a session is, where it is found, what it is made of."""
import hashlib
import pathlib
import re
import time
import uuid

import pytest

from stack import Call, Session, binary
from support import BUSYBOX, DEBIAN, GONE, GVISOR, MIB, Background, Docker, eventually

pytestmark = pytest.mark.core
BODY = ["body"]


def faults(response):
    """The list of a 422, in an order that does not matter."""
    assert response.status_code == 422, f"{response.status_code} {response.text}"
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["detail"]
    return sorted(response.json()["detail"], key=lambda fault: [str(step) for step in fault["loc"]])


def every_route(sid):
    return [("POST", f"/session/{sid}/", {"json": {"commands": ["true"]}}),
            ("POST", f"/session/{sid}/files/", {"json": {"mutations": [{"path": "/repo/a", "content": "", "mode": 420}]}}),
            ("POST", f"/session/{sid}/seed/", {"files": {"repo_archive": ("a.tar", b"\0" * 1024)}}),
            ("GET", f"/session/{sid}/patch/", {})]


def test_create_answers_with_a_version_4_uuid_and_nothing_else(create, stack):
    response = stack.post_session(base_image=DEBIAN)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["session_id"]
    sid = response.json()["session_id"]
    assert str(uuid.UUID(sid)) == sid and uuid.UUID(sid).version == 4
    [container] = stack.docker.containers(f"sandboxd.session={sid}")
    assert sid.replace("-", "") not in container["Id"]
    assert stack.http.delete(f"/session/{sid}/").status_code == 204


def test_a_session_runs_commands_until_it_is_deleted(create, stack):
    session = create()
    assert session.out("echo hi") == "hi"
    response = session.close()
    assert (response.status_code, response.content) == (204, b"")
    assert not stack.docker.containers(f"sandboxd.session={session.id}")
    for method, path, body in every_route(session.id):
        response = stack.http.request(method, path, **body)
        assert (response.status_code, response.json()) == (404, GONE), (method, path)


@pytest.mark.parametrize("sid", [str(uuid.uuid4()), "nonsense", "0" * 36, "x" * 3000])
def test_a_session_that_never_was_is_404_on_every_route(stack, sid):
    for method, path, body in every_route(sid):
        response = stack.http.request(method, path, **body)
        assert (response.status_code, response.json()) == (404, GONE), (method, path)


def test_delete_is_idempotent(create, stack):
    session = create()
    assert [session.close().status_code for _ in range(3)] == [204, 204, 204]
    assert stack.http.delete(f"/session/{uuid.uuid4()}/").status_code == 204


def test_delete_removes_container_helper_and_volume(create, stack):
    session = create(extract_patch=True)
    label = f"sandboxd.session={session.id}"
    assert len(stack.docker.containers(label)) == 2 and len(stack.docker.volumes(label)) == 2
    assert session.close().status_code == 204
    assert not stack.docker.containers(label) and not stack.docker.volumes(label)


@pytest.mark.parametrize("patch", [False, True])
def test_delete_kills_a_running_command_whose_client_gets_404(create, stack, patch):
    session = create(extract_patch=patch)
    running = Background(session.post, ["sleep 1000"])
    stack.working_pid(session.id)
    begun = time.monotonic()
    assert session.close().status_code == 204
    response = running.result()
    assert (response.status_code, response.json()) == (404, GONE)
    assert time.monotonic() - begun < 5
    assert not stack.docker.containers(f"sandboxd.session={session.id}")


def test_delete_works_when_the_container_was_killed_or_removed_behind_its_back(create, stack):
    killed, removed = create(), create()
    stack.docker.kill(killed.container)
    stack.docker.remove(removed.container)
    for session in killed, removed:
        closed = session.close()
        assert closed.status_code == 204, closed.text
        assert session.post(["true"]).status_code == 404


def test_a_container_removed_behind_its_back_is_404(create, stack):
    session = create()
    stack.docker.remove(session.container)
    response = session.post(["true"])
    assert (response.status_code, response.json()) == (404, GONE)


def test_concurrent_deletes_all_succeed(create):
    session = create(extract_patch=True)
    calls = [Background(session.close) for _ in range(4)]
    assert [call.result().status_code for call in calls] == [204] * 4


@pytest.mark.costly
@pytest.mark.parametrize("prefix", ["", "/api/v1"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_path_stands_under_both_prefixes_with_and_without_slash(stack, prefix, slash):
    http = stack.http
    response = http.post(f"{prefix}/session{slash}", json={"base_image": BUSYBOX, "extract_patch": True})
    assert response.status_code == 200, response.text
    base = f"{prefix}/session/{response.json()['session_id']}"
    mutation = {"path": "/repo/a", "content": "YQ==", "mode": 0o644}
    try:
        answers = [http.post(f"{base}/seed{slash}", files={"repo_archive": ("a.tar", b"\0" * 1024)}),
                   http.post(f"{base}/files{slash}", json={"mutations": [mutation]}),
                   http.post(f"{base}{slash}", json={"commands": ["cat a"]}),
                   http.get(f"{base}/patch{slash}"), http.get(f"{prefix}/-/version{slash}")]
    finally:
        closed = http.delete(f"{base}{slash}")
    assert [a.status_code for a in answers] + [closed.status_code] == [204, 200, 200, 200, 200, 204]
    eventually(lambda: http.get(f"{prefix}/-/health{slash}").status_code == 200)  # 503 while dockerd takes its time


# --- options ---


def test_options_become_limits_of_the_container(create, stack):
    session = create(memory_bytes=64 * MIB, cpus=0.5, environment={"A": "b c", "EMPTY": ""})
    host = stack.docker.inspect(session.container)["HostConfig"]
    assert host["Memory"] == 64 * MIB
    assert host["MemorySwap"] == 64 * MIB  # no swap on top
    assert host["NanoCpus"] == 500_000_000
    assert session.out('printf "%s|%s" "$A" "${EMPTY-unset}"') == "b c|"


def test_optional_fields_may_be_null(create, stack):
    host = stack.docker.inspect(create(memory_bytes=None, cpus=None, environment=None).container)["HostConfig"]
    assert (host["Memory"], host["NanoCpus"]) == (0, 0)


def test_a_command_that_needs_too_much_memory_is_killed_and_the_session_lives(create):
    session = create(memory_bytes=64 * MIB)
    result = session.one("head -c 300000000 /dev/zero | tail -c 299999999 | wc -c")
    assert result["exit_code"] == 137
    assert result["oom_killed"] or GVISOR  # whose sandbox has no counter for it
    assert not session.one("exit 137")["oom_killed"]
    assert session.out("echo alive") == "alive"


INTERFACES = "sed -n 's/^ *\\(.*\\):.*/\\1/p' /proc/net/dev"


def test_there_is_no_network_unless_asked_for(create, stack):
    session = create()
    assert stack.docker.inspect(session.container)["HostConfig"]["NetworkMode"] == "none"
    assert session.out(INTERFACES) == "lo"


@pytest.mark.runc
def test_there_is_a_network_when_asked_for(create, stack):
    session = create(network_enabled=True)
    assert stack.docker.inspect(session.container)["HostConfig"]["NetworkMode"] == "bridge"
    assert "eth0" in session.out(INTERFACES).split()


@pytest.mark.runc
def test_the_patch_helper_never_has_a_network(create, stack):
    session = create(extract_patch=True, network_enabled=True)
    assert stack.docker.inspect(session.helper)["HostConfig"]["NetworkMode"] == "none"


def test_docker_objects_carry_labels(create, stack):
    before = time.time() * 1000
    session = create(extract_patch=True)
    label = f"sandboxd.session={session.id}"
    labelled = stack.docker.containers(label) + stack.docker.volumes(label)
    assert sorted(o["Labels"]["sandboxd.role"] for o in labelled) == ["note", "patch", "repo", "session"]
    for labels in (o["Labels"] for o in labelled):
        assert labels["sandboxd.instance"] == stack.instance
        assert labels["sandboxd.replica"] == "e2e"
        assert before - 1000 <= int(labels["sandboxd.created"]) <= time.time() * 1000 + 1000


def test_containers_are_hardened(create, stack):
    session = create(extract_patch=True)
    for name in session.container, session.helper:
        inspected = stack.docker.inspect(name)
        host = inspected["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert {cap.replace("CAP_", "") for cap in host["CapAdd"]} == {"SETUID", "SETGID", "SETPCAP", "KILL", "CHOWN"}
        assert host["SecurityOpt"] == ["no-new-privileges"]
        if GVISOR:  # the limit is its own kernel's; the cgroup's counts threads of the sandbox
            assert [(u["Name"], u["Hard"]) for u in host["Ulimits"]] == [("nproc", 512)] and host["PidsLimit"] > 1024
        else:
            assert host["PidsLimit"] == 512 and not host["Ulimits"]
        assert host["LogConfig"]["Type"] == "none"
        assert host["RestartPolicy"]["Name"] in ("no", "")
        assert not host["Privileged"] and not host["AutoRemove"] and not host["PublishAllPorts"]
        assert not host["Binds"] and not host["Devices"] and host["PidMode"] == "" and host["IpcMode"] != "host"
        assert "/proc/kcore" in host["MaskedPaths"] and "/proc/sys" in host["ReadonlyPaths"]
        for mount in inspected["Mounts"]:
            writable = mount["Destination"] == "/repo" and name == session.container
            assert mount["Type"] == "volume" and mount["RW"] == writable, mount


def test_the_agent_of_a_session_is_pid_1_and_its_directory_is_read_only(create):
    session = create()
    assert session.out("tr '\\0' ' ' < /proc/1/cmdline").startswith("/.sandboxd/agent")
    assert session.one("echo x > /.sandboxd/agent")["exit_code"] != 0
    assert session.one("touch /.sandboxd/x")["exit_code"] != 0


def test_repo_and_skills_start_empty(create):
    assert create().out("ls -A /repo /skills") == "/repo:\n\n/skills:"


# --- faults ---


def test_a_missing_field_is_reported_as_fastapi_does(stack):
    assert stack.http.post("/session/", json={}).json() == {
        "detail": [{"type": "missing", "loc": ["body", "base_image"], "msg": "Field required", "input": {}}]}
    body = {"cpus": 1}
    assert faults(stack.http.post("/session/", json=body))[0]["input"] == body


@pytest.mark.parametrize("field,value,fault", [
    ("base_image", 5, {"type": "string_type", "msg": "Input should be a valid string"}),
    ("base_image", None, {"type": "string_type", "msg": "Input should be a valid string"}),
    ("base_image", "", {"type": "string_too_short", "msg": "String should have at least 1 character",
                        "ctx": {"min_length": 1}}),
    ("extract_patch", [], {"type": "bool_type", "msg": "Input should be a valid boolean"}),
    ("extract_patch", None, {"type": "bool_type", "msg": "Input should be a valid boolean"}),
    ("network_enabled", "maybe", {"type": "bool_parsing",
                                  "msg": "Input should be a valid boolean, unable to interpret input"}),
    ("environment", "A=b", {"type": "dict_type", "msg": "Input should be a valid dictionary"}),
    ("memory_bytes", "much", {"type": "int_parsing",
                              "msg": "Input should be a valid integer, unable to parse string as an integer"}),
    ("memory_bytes", 1.5, {"type": "int_from_float",
                           "msg": "Input should be a valid integer, got a number with a fractional part"}),
    ("memory_bytes", 6 * MIB - 1, {"type": "greater_than_equal",
                                   "msg": f"Input should be greater than or equal to {6 * MIB}",
                                   "ctx": {"ge": 6 * MIB}}),
    ("cpus", 0, {"type": "greater_than", "msg": "Input should be greater than 0", "ctx": {"gt": 0}}),
    ("cpus", -1, {"type": "greater_than", "msg": "Input should be greater than 0", "ctx": {"gt": 0}}),
    ("cpus", {}, {"type": "float_type", "msg": "Input should be a valid number"}),
])
def test_a_wrong_value_is_reported_as_fastapi_does(stack, field, value, fault):
    response = stack.http.post("/session/", json={"base_image": BUSYBOX, field: value})
    assert faults(response) == [{**fault, "loc": ["body", field], "input": value}]


def test_every_fault_is_reported_not_only_the_first(stack):
    body = {"extract_patch": [], "network_enabled": "maybe", "environment": {"A": 1, "B": "fine", "C": None},
            "memory_bytes": "x", "cpus": 0}
    found = faults(stack.http.post("/session/", json=body))
    assert [f["loc"][1:] for f in found] == [
        ["base_image"], ["cpus"], ["environment", "A"], ["environment", "C"], ["extract_patch"], ["memory_bytes"],
        ["network_enabled"]]
    assert [f["type"] for f in found] == ["missing", "greater_than", "string_type", "string_type", "bool_type",
                                          "int_parsing", "bool_parsing"]


def test_values_are_read_as_leniently_as_pydantic_does(create, stack):
    session = create(memory_bytes=str(64 * MIB), cpus="0.5", extract_patch="yes", network_enabled=0, unknown_field=[1])
    host = stack.docker.inspect(session.container)["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["NetworkMode"]) == (64 * MIB, 500_000_000, "none")
    assert stack.docker.exists(session.helper)


@pytest.mark.parametrize("body", ["[]", '"text"', "5"])
def test_a_body_that_is_no_object_is_reported_as_fastapi_does(stack, body):
    response = stack.http.post("/session/", content=body, headers={"Content-Type": "application/json"})
    [fault] = faults(response)
    assert (fault["type"], fault["loc"]) == ("model_attributes_type", BODY)
    assert fault["msg"] == "Input should be a valid dictionary or object to extract fields from"


def test_an_empty_body_is_a_missing_one(stack):
    response = stack.http.post("/session/", headers={"Content-Type": "application/json"})
    assert faults(response) == [{"type": "missing", "loc": BODY, "msg": "Field required", "input": None}]


@pytest.mark.parametrize("body", ["{", '{"base_image": nope}', '{"base_image": "a"} x', '{"a":1,}', "{'a': 1}", "\0"])
def test_a_body_that_is_no_json_is_reported_as_fastapi_does(stack, body):
    response = stack.http.post("/session/", content=body, headers={"Content-Type": "application/json"})
    [fault] = faults(response)
    assert fault["type"] == "json_invalid"
    assert fault["loc"][0] == "body" and isinstance(fault["loc"][1], int) and len(fault["loc"]) == 2
    assert fault["msg"] == "JSON decode error"
    assert fault["input"] == {} and isinstance(fault["ctx"]["error"], str)


@pytest.mark.parametrize("image", ["UPPER/case", "two words", ":tag", "a:b:c/d", "x@sha256:123", "-a", "a//b", "a:" + "t" * 129,
                                   "../etc", "a\nb", "a?b=c"])
def test_an_invalid_reference_is_422_naming_it(stack, image):
    response = stack.post_session(base_image=image)
    assert response.status_code == 422, response.text
    detail = response.json()["detail"]
    assert isinstance(detail, str) and "image" in detail
    assert image.split("\n")[0][:50] in detail


def test_an_option_that_dockerd_refuses_is_422_and_leaves_nothing(stack):
    before = len(stack.docker.containers(f"sandboxd.instance={stack.instance}"))
    response = stack.post_session(base_image=BUSYBOX, cpus=100000)
    assert response.status_code == 422, response.text
    assert eventually(lambda: len(stack.docker.containers(f"sandboxd.instance={stack.instance}")) == before)


@pytest.mark.parametrize("extract_patch", [False, True])
def test_a_limit_of_the_disk_is_kept_or_refused(stack, extract_patch):
    label = f"sandboxd.instance={stack.instance}"
    before = len(stack.docker.containers(label))
    response = stack.post_session(base_image=DEBIAN, extract_patch=extract_patch, disk_bytes=50 * MIB)
    if response.status_code == 200:  # overlay2 on xfs with pquota
        session = Session(stack, response.json()["session_id"])
        for path in "/repo/full", "/tmp/full":
            result = session.one(f"head -c {100 * MIB} /dev/zero > {path}; stat -c %s {path}")
            assert "No space left" in result["output"] or "quota" in result["output"]
            assert int(result["output"].split()[-1]) <= 50 * MIB
        assert session.close().status_code == 204
    else:
        assert response.status_code == 422, response.text
        assert response.json()["detail"].startswith("this host cannot limit the disk of a session (disk_bytes): ")
    assert eventually(lambda: len(stack.docker.containers(label)) == before)


def test_a_limit_of_the_disk_for_all_is_kept_or_refused(make_stack):
    stack = make_stack(DISK_BYTES="50M")
    response = stack.post_session(base_image=BUSYBOX)
    if response.status_code != 200:
        assert response.status_code == 502, response.text
        assert "(DAIV_SANDBOX_DISK_BYTES): " in response.json()["detail"]
        assert stack.post_session(base_image=BUSYBOX, disk_bytes=10 * MIB).status_code == 422
    more = stack.post_session(base_image=BUSYBOX, disk_bytes=51 * MIB)
    assert more.status_code == 422 and more.json()["detail"][0]["type"] == "less_than_equal"
    nobody = stack.post_session(base_image=BUSYBOX, ephemeral=True, extract_patch=True)
    assert nobody.status_code == 422 and "cannot be limited" in nobody.json()["detail"]


def test_a_create_whose_client_leaves_does_not_leave_a_session(stack):
    label = f"sandboxd.instance={stack.instance}"
    before = {c["Id"] for c in stack.docker.containers(label)}

    def made():
        return {c["Id"] for c in stack.docker.containers(label)} - before

    for _ in range(5):  # until it is left before its end, which only the service knows: an answer may be on its way
        request = uuid.uuid4().hex
        call = Call(stack, "/session/", {"base_image": DEBIAN, "extract_patch": True}, f"*/*\r\nX-Request-Id: {request}")
        eventually(made, what="a half-made session")
        call.leave()
        line, = eventually(lambda mine=request: stack.events("request", request=mine), what="the create to end")
        if " status=499 " in line:
            break
        before |= made()
    assert " status=499 " in line
    eventually(lambda: not made())


@pytest.fixture
def new_agent(docker_host, tmp_path):
    """An agent that this dockerd does not have yet. Before make_stack: its volume goes when its stacks are gone."""
    agent = tmp_path / "agent"
    agent.write_bytes(pathlib.Path(binary()).with_name("sandboxd-agent").read_bytes() + uuid.uuid4().bytes)
    yield agent
    volume = f"sandboxd-agent-{hashlib.sha256(agent.read_bytes()).hexdigest()[:16]}"
    eventually(lambda: Docker(docker_host).command("volume", "rm", "-f", volume, check=False).returncode == 0)


@pytest.mark.parametrize("patch", [False, True])
def test_an_agent_whose_installation_is_taken_away_is_installed_again(new_agent, relay, make_stack, patch):
    stack = make_stack(docker_host=f"unix://{relay.path}", AGENT=new_agent, MIN_WORKERS=2)
    relay.keep_back(b"create?name=sandboxd-install-")
    creating = Background(stack.create, extract_patch=patch)
    try:
        assert relay.reached.wait(30)
        carrier = re.search(rb"name=([\w-]+)", relay.kept)[1].decode()
        eventually(lambda: stack.docker.exists(carrier))  # later than dockerd lists it
        stack.docker.remove(carrier)  # as docker container prune does
    finally:
        relay.free.set()
    session = creating.result()
    assert session.out("echo hi | tee f") == "hi"
    assert not patch or b"+hi" in session.cumulative()
    session.close()
