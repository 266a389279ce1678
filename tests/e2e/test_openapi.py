"""docs/openapi.yaml holds: it is sound in itself, has the service's routes and fields, and every answer fits its schema."""
import base64
import json
import os
import re
import signal
import uuid

import jsonschema
import pytest

from openapi import DOC, OPERATIONS, check_answer, must_fit, operation, resolve, template_of, validator
from support import BUSYBOX, ROOT, Background, eventually, tar

IDS = [f"{method} {path}" for path, method in OPERATIONS]
JSON_BODIES = [(path, method) for path, method in OPERATIONS
               if "application/json" in DOC["paths"][path][method].get("requestBody", {}).get("content", {})]


def walk(node, place="#"):
    yield place, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from walk(child, f"{place}/{key}")


def body_schema(path, method):
    return operation(path, method)["requestBody"]["content"]["application/json"]["schema"]


def examples_of(media):
    """(place, value) of a media type's examples."""
    if "example" in media:
        yield "example", media["example"]
    for name, example in media.get("examples", {}).items():
        yield name, example["value"]


def fits(schema, value):
    return validator(schema).is_valid(value)


def check_request(response):
    """A JSON body that the document refuses must not be a good one for the service, and the other way round."""
    request = response.request
    path, method = template_of(request.url.path), request.method.lower()
    if (path, method) not in JSON_BODIES or "json" not in request.headers.get("content-type", ""):
        return
    try:
        documented = fits(body_schema(path, method), json.loads(request.content))
    except json.JSONDecodeError:
        documented = False
    faults = response.status_code == 422 and isinstance(response.json()["detail"], list)
    assert not (documented and faults), f"documented as good: {request.content[:300]} {response.text}"
    assert documented or response.status_code >= 400, f"documented as bad: {request.content[:300]}"


def check(response):
    response.read()
    check_answer(response)
    check_request(response)


def checking_client(stack, key):
    """A client that holds every request and every answer against the document."""
    return stack.client(key, event_hooks={"response": [check]})


@pytest.fixture
def http(stack):
    with checking_client(stack, stack.key) as client:
        yield client


# --- the document ---


def test_every_reference_leads_somewhere_and_everything_is_referred_to():
    used = set()
    for place, node in walk(DOC):
        if isinstance(node, dict) and "$ref" in node:
            resolve(node)
            used.add(node["$ref"])
    for kind in ("responses", "schemas", "parameters", "headers"):
        unused = {name for name in DOC["components"][kind] if f"#/components/{kind}/{name}" not in used}
        assert unused <= {"MethodNotAllowed"}, (kind, unused)


def test_every_schema_is_a_schema():
    schemas = [node for place, node in walk(DOC) if place.endswith("/schema")]
    schemas += DOC["components"]["schemas"].values()
    assert len(schemas) > 20
    for schema in schemas:
        jsonschema.Draft202012Validator.check_schema(schema)
        validator(schema).is_valid(None)


def test_operations_are_whole():
    assert DOC["openapi"].startswith("3.1.") and DOC["info"]["title"] == "sandboxd"
    ids = [operation(*op)["operationId"] for op in OPERATIONS]
    assert len(set(ids)) == len(ids)
    for path, method in OPERATIONS:
        op = operation(path, method)
        declared = {resolve(p)["name"] for p in DOC["paths"][path].get("parameters", [])}
        assert set(re.findall(r"\{(\w+)\}", path)) == declared, path
        assert path.endswith(("/", "{path}", "/openapi.json", "/docs")) and op["summary"] and "default" in op["responses"]
        for status, response in op["responses"].items():
            assert resolve(response)["description"], (path, status)
            assert re.fullmatch("[2-5][0-9][0-9]|default", status)


def test_objects_in_answers_are_closed():
    """A field that is not described must not pass."""
    for place, node in walk({"paths": DOC["paths"], "components": {"responses": DOC["components"]["responses"]}}):
        if not re.search(r"responses/[^/]+/content/.*/schema$", place):
            continue
        todo = [resolve(node)]
        while todo:
            schema = resolve(todo.pop())
            if "properties" in schema:
                assert schema.get("additionalProperties") is False, place
            todo += list(schema.get("properties", {}).values()) + schema.get("anyOf", [])
            todo += [schema["items"]] if "items" in schema else []


def test_examples_fit_their_schemas():
    count = 0
    for place, node in walk(DOC):
        if not isinstance(node, dict) or "schema" not in node:
            continue
        for name, value in examples_of(node):
            must_fit(node["schema"], value, f"{place}/{name}")
            count += 1
    assert count > 20


def test_documented_answers_show_an_example():
    for path, method in OPERATIONS:
        for status, response in operation(path, method)["responses"].items():
            for media in resolve(response).get("content", {}).values():
                assert list(examples_of(media)), (path, method, status)


# --- against the source ---


def normal(path):
    return re.sub(r"\{\w+\}", "{}", path).rstrip("/")


def test_the_routes_are_those_of_the_service():
    table = re.search(r"ROUTES\[\] = \{(.*?)\n\};", (ROOT / "src" / "api" / "route.c").read_text(), re.S).group(1)
    rows = re.findall(r'\{"(\w+)", "([^"]+)", \w+, (true|false), (\w+)\}', table)
    assert len(rows) == table.count("sbx_handle_")
    served = {(method.lower(), normal(path)): is_open == "true" for method, path, is_open, socket in rows if socket != "SBX_PRIVATE"}
    documented = {(method, normal(path)): operation(path, method).get("security") == [] for path, method in OPERATIONS}
    assert documented == served


def test_the_fields_are_those_that_the_service_reads():
    """By the names in the readers' calls; that each is read is tested against the service below."""
    source = "".join(path.read_text() for path in sorted((ROOT / "src" / "api").glob("*.c")))
    read = set(re.findall(r'sbx_json_(?:string|bool|int|double|array|object)\(\s*faults,\s*\w+,\s*(?:""|prefix),\s*"(\w+)"', source))
    read |= set(re.findall(r'sbx_read_env\(\s*faults,\s*\w+,\s*"(\w+)"', source))
    read |= set(re.findall(r'sbx_read_seconds\(\s*faults,\s*\w+,\s*"(\w+)"', source))
    documented = set()
    for schema in [body_schema(*body) for body in JSON_BODIES] + [DOC["components"]["schemas"]["Mutation"]]:
        documented |= set(resolve(schema)["properties"])
    assert documented == read
    archives = re.search(r"ARCHIVE\[ARCHIVES\] = \{(.*?);", source, re.S).group(1)
    assert set(re.findall(r'\{"(\w+)"', archives)) == set(DOC["components"]["schemas"]["Seed"]["properties"])


# --- against the service ---


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
@pytest.mark.parametrize("path", DOC["paths"])
def test_a_path_has_the_documented_methods_and_no_other(http, prefix, path):
    documented = {method.upper() for p, method in OPERATIONS if p == path}
    concrete = prefix + path.replace("{session_id}", str(uuid.uuid4()))
    for method in {"PATCH", "PUT", "OPTIONS"} - documented:
        response = http.request(method, concrete)
        assert response.status_code == 405, response.text
        assert set(response.headers["allow"].split(", ")) == documented
    for method in documented:
        for way in (concrete, concrete.rstrip("/")):
            assert http.request(method, way).status_code != 405


@pytest.mark.parametrize("path,method", OPERATIONS, ids=IDS)
def test_the_key_is_wanted_where_the_document_says_so(stack, path, method):
    concrete = path.replace("{session_id}", str(uuid.uuid4()))
    is_open = operation(path, method).get("security") == []
    for key in (None, "wrong"):
        with checking_client(stack, key) as client:
            response = client.request(method.upper(), concrete)
        assert (response.status_code != 403) if is_open else (response.status_code == 403)


@pytest.mark.parametrize("path,method", JSON_BODIES, ids=[f"{m} {p}" for p, m in JSON_BODIES])
def test_every_documented_field_is_read(http, path, method):
    """A value of a wrong type is a fault at its place, so the field means something to the service."""
    schema = resolve(body_schema(path, method))
    wrong = {name: (5 if "array" in str(resolve(field).get("type")) else []) for name, field in schema["properties"].items()}
    response = http.request(method.upper(), path.replace("{session_id}", str(uuid.uuid4())), json=wrong)
    assert response.status_code == 422, response.text
    assert {fault["loc"][1] for fault in response.json()["detail"]} == set(wrong)


def test_null_is_taken_where_the_document_says_so(http):
    for path, method in JSON_BODIES:
        schema = resolve(body_schema(path, method))
        body = {name: None for name in schema["properties"]}
        response = http.request(method.upper(), path.replace("{session_id}", str(uuid.uuid4())), json=body)
        faults = {fault["loc"][1] for fault in response.json()["detail"]} if response.status_code == 422 else set()
        assert faults == {name for name, field in schema["properties"].items() if not fits(field, None)}, path


@pytest.mark.parametrize("path,name,good,bad", [
    ("/session/", "memory_bytes", [], [6291455, 2**63]), ("/session/", "disk_bytes", [], [1048575, 2**63]),
    ("/session/", "cpus", [], [0, -1]),
    ("/session/", "idle_seconds", [], [0, 315360001]), ("/session/", "ttl_seconds", [], [0, 315360001]),
    ("/session/", "labels", [], [{"": "x"}, {"a=b": "x"}, {"a/b": "x"}, {"a": 1}, {"x" * 64: ""}, {"a": "x" * 256}]),
    ("/session/", "base_image", [], ["", "x" * 501]), ("/session/", "environment", [], [{"": "x"}, {"a=b": "x"}, {"a": 1}]),
    ("/session/{session_id}/", "timeout", [0, 2000000], [-1, 2000001]),
    ("/session/{session_id}/", "max_output_bytes", [0, 67108864], [-1, 67108865]),
    ("/session/{session_id}/", "cwd", ["/", "/" + "x" * 4094], ["", "x", "/" + "x" * 4095]),
    ("/session/{session_id}/", "stdin_encoding", ["text", "base64"], ["", "hex"]),
    ("/session/{session_id}/", "commands", [[], ["x"] * 10000], [["x"] * 10001, [None], ["a\0b"]]),
    ("/session/{session_id}/", "env", [{"n" * 255: ""}, {"N": "x" * 131069}], [{"n" * 256: ""}, {"": ""}, {"N": "x" * 131070}]),
])
def test_documented_limits_are_the_services(http, path, name, good, bad):
    """The client's checks compare both. What is good is asked of a session that is not there."""
    url = path.replace("{session_id}", str(uuid.uuid4()))
    other = {} if name in ("commands", "base_image") else {"commands": []} if "{" in path else {"base_image": "x"}
    for value in good:
        assert http.post(url, json={**other, name: value}).status_code == 404, value
    for value in bad:
        assert not fits(body_schema(path, "post"), {**other, name: value}), value
        assert http.post(url, json={**other, name: value}).status_code == 422, value


@pytest.mark.parametrize("count,good", [(0, False), (1, True), (64, True), (65, False)])
def test_the_documented_number_of_files_is_the_services(http, count, good):
    body = {"mutations": [{"path": "/repo/x", "content": "", "mode": 0o7777}] * count}
    response = http.post(f"/session/{uuid.uuid4()}/files/", json=body)
    assert response.status_code == (404 if good else 422)


def test_a_session_from_its_creation_to_its_end(http):
    """Every field, every call, with the document's own examples where there are some."""
    media = operation("/session/", "post")["requestBody"]["content"]["application/json"]
    for name, example in examples_of(media):
        response = http.post("/api/v1/session/", json=example)
        assert response.status_code == 200, (name, response.text)
        path = f"/api/v1/session/{response.json()['session_id']}/"
        if name == "least":
            assert http.delete(path).status_code == 204
    assert http.post(path + "seed/", files={"repo_archive": ("r", tar({"a": b"1\n"})), "skills_archive": ("s", tar({"b": b"2"}))}).status_code == 204
    for name, example in examples_of(operation("/session/{session_id}/", "post")["requestBody"]["content"]["application/json"]):
        response = http.post(path, json=example)
        assert response.status_code == 200, (name, response.text)
    assert [result["stdout"] for result in response.json()["results"]] == ["hello", ""]
    assert response.json()["results"][1]["stderr"] == "test\n"
    answer = http.post(path, json={"commands": ["echo 2 >> a", "kill -9 $$", "yes | head -c 9999"], "max_output_bytes": 100}).json()
    assert [r["exit_code"] for r in answer["results"]] in ([0, 137, 141], [0, 137, 0])
    assert answer["results"][1]["signal"] == 9 and answer["results"][2]["truncated"]
    late = http.post(path, json={"commands": ["sleep 99", "never"], "timeout": 3}).json()["results"]
    assert [(r["exit_code"], r["timed_out"]) for r in late] == [(124, True)]
    assert b"+2" in base64.b64decode(answer["patch"])
    for _, example in examples_of(operation("/session/{session_id}/files/", "post")["requestBody"]["content"]["application/json"]):
        assert http.post(path + "files/", json=example).json()["results"][0]["ok"]
    response = http.post(path + "files/", json={"mutations": [{"path": p, "content": "", "mode": 0} for p in ("/etc/x", "x", "/repo", "/repo/../x")]})
    assert [item["ok"] for item in response.json()["results"]] == [False] * 4
    archive = base64.b64encode(tar({"c": b"3"})).decode()
    assert http.post(path, json={"commands": ["ls"], "archive": archive}).json()["results"][0]["output"] == "c\n"
    assert http.get(path + "patch/").status_code == 200
    assert http.get(path).status_code == 204
    assert http.get(path, headers={"Accept": "application/json"}).json()["seeded"]
    for _, example in examples_of(operation("/session/{session_id}/", "patch")["requestBody"]["content"]["application/json"]):
        assert http.patch(path, json=example).json()["labels"] == example["labels"]
    assert http.get("/session/", params={"limit": 1}).json()["sessions"]
    assert http.delete(path, params={"force": "true"}).status_code == 204
    assert http.delete(path).status_code == 204
    for method, rest in (("post", ""), ("post", "files/"), ("post", "seed/"), ("get", "patch/"), ("get", "files/repo/x"), ("put", "files/repo/x")):
        body = {"": {"commands": []}, "files/": {"mutations": [{"path": "/repo/x", "content": ""}]}}.get(rest)
        assert http.request(method, path + rest, json=body).status_code == 404


def test_an_ephemeral_session(http, create):
    path = create(BUSYBOX, ephemeral=True, extract_patch=True).path
    for _ in range(2):
        answer = http.post(path, json={"commands": ["ls; echo x > x"]}).json()
        assert answer["results"][0]["output"] == "" and answer["patch"]


def test_file_operations(http, create):
    path = create(BUSYBOX, extract_patch=True).path
    http.post(path, json={"commands": ["mkdir a; echo import x > setup.py; ln -s setup.py link; printf '\\000' > binary"]})
    for op in ("write", "edit", "move", "ls", "stat", "read", "grep", "glob", "delete", "mkdir"):
        where = f"/session/{{session_id}}/fs/{op}/"
        [(_, example)] = examples_of(operation(where, "post")["requestBody"]["content"]["application/json"])
        answer = http.post(path + f"fs/{op}/", json=example).json()
        assert answer["error"] is None, (op, answer)
        bad = {name: "relative" if name in ("path", "to") else value for name, value in example.items()}
        assert http.post(path + f"fs/{op}/", json=bad).json()["error"]["code"] == "invalid_path"
    assert http.post(path + "fs/stat/", json={"path": "/repo/link"}).json()["target"] == "setup.py"
    assert http.post(path + "fs/read/", json={"path": "/repo/binary"}).json()["encoding"] == "base64"
    assert http.post(path + "fs/read/", json={"path": "/repo/setup.py", "offset": 5}).json()["error"]["code"] == "invalid_offset"


def test_raw_files(http, create):
    path = create(BUSYBOX).path + "files/repo/"
    assert http.put(path + "d/f", content=b"text").status_code == 201
    assert http.put(path + "d/f?mode=755", content=b"text").status_code == 204
    etag = http.get(path + "d/f").headers["etag"]
    for headers, status in (({"Range": "bytes=1-2"}, 206), ({"Range": "bytes=9-"}, 416), ({"If-None-Match": etag}, 304)):
        assert http.get(path + "d/f", headers=headers).status_code == status
    for kind in ("tar", "tar.gz", "tar.zst"):
        assert http.get(path + f"d?format={kind}").status_code == 200
    assert http.head(path + "d/f").status_code == http.head(path + "d").status_code == 200
    assert http.head(path + "none").status_code == http.get(path + "none").status_code == 404
    assert http.put(path + "d", content=b"").status_code == http.delete(path + "d").status_code == 409
    assert http.get(path + "d?format=zip").status_code == http.put(path + "d/f?mode=9", content=b"").status_code == 422
    assert http.delete(path + "d?recursive=true").status_code == 204


def test_an_exec_from_its_start_to_its_end(http, create):
    path = create().path
    media = operation("/session/{session_id}/exec/", "post")["requestBody"]["content"]["application/json"]
    for _, example in examples_of(media):
        assert http.post(path + "exec/", json=example).status_code == 201
    body = {"command": "read x; cat >/dev/null; yes | head -c 200000; echo $x >&2", "stdin_open": True, "buffer_bytes": 65536}
    one = f"{path}exec/{http.post(path + 'exec/', json=body).json()['exec_id']}/"
    for _, example in examples_of(operation("/session/{session_id}/exec/{exec_id}/stdin/", "post")["requestBody"]["content"]["application/json"]):
        assert http.post(one + "stdin/", json=example).status_code == 200
    assert http.post(one + "stdin/", json={"encoding": "hex"}).status_code == 422
    eventually(lambda: http.get(one).json()["state"] == "finished")
    assert http.post(one + "stdin/", content=b"x").status_code == 409
    assert http.post(one + "signal/", json={"signal": "INT"}).status_code == 409
    assert http.post(one + "resize/", json={"rows": 1, "columns": 1}).status_code == 409
    for accept in ("text/event-stream", "application/x-ndjson"):
        stream = http.get(one + "stream/", headers={"Accept": accept}).text
        assert all(name in stream for name in ("dropped", "stdout", "stderr", "exit"))
    assert http.get(one + "stream/", params={"after": 200_003}).status_code == 204
    assert http.get(one + "stream/", params={"after": 200_004}).status_code == 422
    assert http.get(path + "exec/").status_code == 200
    assert http.delete(one, params={"forget": "true"}).status_code == 204
    for method, rest in (("get", ""), ("get", "stream/"), ("delete", "")):
        assert http.request(method, one + rest).status_code == 404
    for accept in ("text/event-stream", "application/x-ndjson"):
        stream = http.post(path, json={"commands": ["echo a; echo b >&2"], "split": True}, headers={"Accept": accept}).text
        assert all(name in stream for name in ("command", "stdout", "stderr", "exit", "done"))


def test_errors_of_a_busy_session(stack, http, create):
    path = create(BUSYBOX).path
    slow = Background(stack.client(stack.key).post, path, json={"commands": ["sleep 1000"]})
    stack.working_pid(path.split("/")[4])
    assert http.post(path, json={"commands": []}).status_code == 409
    assert http.post(path + "files/", json={"mutations": [{"path": "/repo/x", "content": ""}]}).status_code == 409
    assert http.get(path + "patch/").status_code == 409
    assert http.delete(path).status_code == 204
    assert slow.result().status_code == 404


def test_errors_of_a_session(http, create):
    path = create(BUSYBOX).path
    assert http.get(path + "patch/").json()["detail"] == "Session was created without extract_patch"
    form = {"Content-Type": "multipart/form-data"}
    assert http.post(path + "seed/", content=b"junk", headers=form).status_code == 400
    assert http.post(path + "seed/", files={"repo_archive": ("r", b"junk")}).status_code == 422
    assert http.post(path + "seed/", files={"other": ("r", b"junk")}).status_code == 422
    assert http.post(path + "seed/", files={"repo_archive": ("r", tar({"a": b""}))}).status_code == 204
    assert http.post(path + "seed/", files={"repo_archive": ("r", tar({"a": b""}))}).status_code == 409
    assert http.post(path, json={"commands": [], "archive": "aGVsbG8="}).status_code == 422
    assert http.post(path, content=b"{", headers={"Content-Type": "application/json"}).status_code == 422


@pytest.mark.parametrize("body,status", [
    ({"base_image": "A B"}, 422), ({"base_image": BUSYBOX, "cpus": 100000}, 422), ({"base_image": "127.0.0.1:1/no:1"}, 502), ({}, 422)])
def test_errors_of_a_create(http, body, status):
    assert http.post("/session/", json=body).status_code == status


def test_health_version_and_what_is_not_there(stack):
    for key in (stack.key, None):
        with checking_client(stack, key) as client:
            eventually(lambda ask=client.get: ask("/-/health/").status_code == 200)  # 503 while dockerd takes its time
            assert client.get("/-/version/").status_code == 200
            assert client.get("/unknown").status_code == (404 if key else 403)


def test_limits_and_a_worker_that_dies(make_stack):
    own = make_stack(MAX_BODY_BYTES="64K", MAX_SEED_BYTES="64K", MIN_WORKERS=1)
    session = own.create(BUSYBOX)
    http = checking_client(own, own.key)
    assert http.post(session.path, json={"commands": ["x" * 70_000]}).status_code == 413
    assert http.post("/session/", json={"base_image": "x" * 70_000}).status_code == 413
    files = {"mutations": [{"path": "/repo/x", "content": "A" * 80_000}]}
    assert http.post(session.path + "files/", json=files).status_code == 413
    seed = {"repo_archive": ("r", tar({"a": bytes(2_000_000)}))}
    assert http.post(session.path + "seed/", files=seed).status_code == 413
    running = Background(http.post, session.path, json={"commands": ["sleep 30"]})
    os.kill(own.working_pid(session.id), signal.SIGKILL)
    assert running.result().status_code == 503
    eventually(own.healthy)
    assert http.delete(session.path).status_code == 204


# --- served ---


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_the_document_is_served_as_it_is_written(stack, prefix):
    response = stack.client().get(f"{prefix}/openapi.json")
    assert response.status_code == 200 and response.headers["content-type"] == "application/json"
    assert response.json() == json.loads(json.dumps(DOC)), "run scripts/openapi-json"


@pytest.mark.parametrize("path", ["/api/v1/docs", "/api/v1/docs/", "/docs"])
def test_the_page_needs_nothing_from_elsewhere(stack, path):
    response = stack.client().get(path)
    assert response.status_code == 200 and response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!openapi\.json)|https?://|@import|url\(", response.text)
    assert "openapi.json" in response.text
