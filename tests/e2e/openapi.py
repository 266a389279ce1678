"""docs/openapi.yaml as the suite uses it: every answer that a test gets must be as it says."""
import copy
import json
import re

import jsonschema
import yaml

from support import ROOT

DOC = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
OPERATIONS = [(path, method) for path, item in DOC["paths"].items() for method in METHODS if method in item]


def resolve(node):
    """What a reference stands for; anything else as it is. What stands beside a reference counts for nothing here."""
    while isinstance(node, dict) and "$ref" in node:
        ref = node["$ref"]
        assert ref.startswith("#/"), ref
        node = DOC
        for step in ref[2:].split("/"):
            node = node[step]
    return node


def operation(path, method):
    return DOC["paths"][path][method]


VALIDATORS = {}


def validator(schema):
    """A schema of the document, which may refer to others of it."""
    key = json.dumps(schema, sort_keys=True, default=str)
    if key not in VALIDATORS:
        whole = {**copy.deepcopy(schema), "components": DOC["components"]}
        VALIDATORS[key] = jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker())
    return VALIDATORS[key]


def must_fit(schema, value, what):
    errors = [f"{list(e.absolute_path)}: {e.message[:300]}" for e in validator(schema).iter_errors(value)]
    assert not errors, f"{what}: {errors}"


def template_of(url_path):
    """The path of the document that a request's path is."""
    bare = url_path.removeprefix("/api/v1").rstrip("/")
    for path in DOC["paths"]:
        pattern = re.sub(r"\{\w+\}", "[^/]+", path.rstrip("/").replace("{path}", ".+"))
        if re.fullmatch(pattern, bare):
            return path
    return None


# what it answers by itself, on any path
OF_NGINX = (400, 403, 404, 405, 408, 411, 413, 414, 421, 429, 431, 500, 501, 503, 504, 505)


def check_answer(response):
    """One answer of the service against what the document says of it."""
    request = response.request
    path = template_of(request.url.path)
    method = request.method.lower()
    what = f"{request.method} {request.url.path}: {response.status_code} {response.text[:500]}"
    if path is None:
        expected = DOC["components"]["responses"]["OfNginx"]  # any path: 403 or 404
    elif method not in DOC["paths"][path]:
        expected = DOC["components"]["responses"]["MethodNotAllowed"]
        assert response.status_code in (403, 405), what
    else:
        responses = operation(path, method)["responses"]
        expected = responses.get(str(response.status_code)) or (response.status_code in OF_NGINX and responses.get("default"))
        assert expected, f"undocumented status of {what}"
    expected = resolve(expected)
    for name, header in expected.get("headers", {}).items():
        header = resolve(header)
        if header.get("required"):
            assert name in response.headers, f"{name} is missing: {what}"
        if name in response.headers:
            must_fit(header["schema"], response.headers[name], f"{name} of {what}")
    assert ("Retry-After" in response.headers) == ("Retry-After" in expected.get("headers", {})), what
    if "content" not in expected:
        assert response.content == b"", what
        return
    kind = response.headers["content-type"].split(";")[0]
    assert kind in expected["content"], what
    schema = expected["content"][kind]["schema"]
    if kind == "application/json":
        must_fit(schema, response.json(), what)
    if kind in ("text/event-stream", "application/x-ndjson"):
        start = "data: " if kind == "text/event-stream" else "{"
        for line in response.text.splitlines():
            if line.startswith(start):
                must_fit(schema, json.loads(line.removeprefix("data: ")), what)
