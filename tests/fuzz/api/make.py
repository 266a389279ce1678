"""Requests for the operations of docs/openapi.yaml."""
import urllib.parse

import values
from client import Request, text
from openapi import OPERATIONS, operation, resolve
from support import member, multipart, tar

# How often an operation is chosen, where that is not once.
WEIGHTS = {"createSession": 1, "closeSession": 0.5, "runCommands": 6, "startExec": 4, "seedSession": 2, "openapi": 0.2, "docs": 0.2,
           "health": 0.3, "version": 0.3}
ODD_HEADERS = (
    (b"X-Request-Id", b"a" * 65), (b"X-Request-Id", b"ok-1.2_3"), (b"X-Request-Id", b"\xff"), (b"Accept", b"text/event-stream"),
    (b"Accept", b"application/x-ndjson"), (b"Accept", b"*/*;q=0, text/event-stream;q=x"), (b"Accept", b"," * 500), (b"Range", b"bytes=0-0"),
    (b"Range", b"bytes=-1"), (b"Range", b"bytes=5-1,9-"), (b"Range", b"bytes=99999999999999999999-"), (b"If-None-Match", b"*"),
    (b"If-Match", b'"x"'), (b"If-Match", b'W/"'), (b"If-Range", b'"'), (b"If-Modified-Since", b"yesterday"), (b"Expect", b"100-continue"),
    (b"Content-Encoding", b"gzip"), (b"Last-Event-ID", b"-1"), (b"Last-Event-ID", b"99999999999999999999"), (b"Idempotency-Key", b""),
    (b"Idempotency-Key", b"k" * 256), (b"X-HTTP-Method-Override", b"DELETE"), (b"Transfer-Encoding", b"gzip, chunked"), (b"Proxy", b"http://x"),
    (b"X" * 300, b"y" * 7000), (b"X-Forwarded-For", b"::1"), (b"X-API-Key", b""), (b"X-API-Key", b"wrong"), (b"Content-Length", b"-1"),
    (b"Content-Length", b"9" * 30), (b"Content-Length", b"0"), (b"Host", b"a b"), (b"bad header", b"x"), (b"Upgrade", b"websocket"), (b"Cookie", b"a=b"))
KINDS = (b"application/json", b"application/json; charset=utf-16", b"text/plain", b"", b"multipart/form-data", b"application/x-www-form-urlencoded",
         b"application/octet-stream", b"application/json\x80", b"x" * 4000, b"multipart/form-data; boundary=" + b"b" * 300, b"application/x-tar")
METHODS = (b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"get", b"G" * 200, b"POST\t")
QUERIES = ("&&&", "?", "%", "%zz", "a" * 9000, "limit=0&limit=1001&limit=", "cursor=x", "label==&label=a%3Db&label=%00", "after=-1", "force=maybe",
           "mode=99999", "format=zip", "recursive=", "=&=", "%ff=%ff", "encoding=base64&encoding=text", "eof=%74rue", ";")


class Made:
    """A request and what must become of it: `good` says that all of it is as the document wants, `plain` that its target
    and method are those of an operation."""

    def __init__(self, path, request, op, session, good, plain, value=None):
        self.path = path  # of the document
        self.request = request
        self.op = op
        self.session = session
        self.good = good
        self.plain = plain
        self.value = value


def archive(rnd):
    """(bytes, whether it may be taken)."""
    sound = tar([member("a", b"hello\n"), member("dir/"), member("dir/b", b"x" * rnd.choice((1, 5000))), member("run", b"#!/bin/sh\n", 0o755)],
                mode=rnd.choice(("w", "w:gz", "w:bz2", "w:xz")))
    how = rnd.randrange(7)
    if how < 3:
        return sound, True
    if how == 3:
        return sound[:rnd.randrange(len(sound))], False
    if how == 4:
        at = rnd.randrange(len(sound))
        return sound[:at] + bytes([rnd.randrange(256)]) + sound[at + 1:], False
    if how == 5:
        return tar([member(rnd.choice(("../x", "/etc/x", "a/../../b", "d/" * 60 + "e", "\xff", ".", "n" * 300)), b"x")]), False
    return rnd.choice((b"", b"\0" * 10240, b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"PK\3\4", b"x" * 600)), False


def body_of(rnd, op, form):
    """(content type, body, good, the value of a JSON body)."""
    content = op["requestBody"]["content"]
    kind = rnd.choice(sorted(content))
    schema = content[kind].get("schema", {})
    if kind == "application/json":
        value = values.fitting(rnd, schema)
        if form == "good":
            return kind, values.dumped(value), True, value
        if form == "near":
            value = values.wrong(rnd, schema, value)
            return kind, values.dumped(value), False, value
        return kind, values.rubbish(rnd, values.dumped(value)), False, None
    if kind == "multipart/form-data":
        parts = [(name, "a.tar", archive(rnd)) for name in rnd.choice((["repo_archive"], ["skills_archive"], ["repo_archive", "skills_archive"]))]
        good = all(sound for _, _, (_, sound) in parts)
        kind, body = multipart([(name, file, data) for name, file, (data, _) in parts])
        if form == "good":
            return kind, body, good, None
        if form == "near":
            again = multipart([(n, f, d) for n, f, (d, _) in rnd.choice((parts * 2, [], parts + [("extra", "", (b"x" * 70000, True))]))])
            return *again, False, None
        at = rnd.randrange(len(body))
        return kind, rnd.choice((body[:at], body[:at] + b"\r\n--e2e-boundary\r\n" + body[at:], body.replace(b"\r\n", b"\n"),
                                 body.replace(b"name=", b"nam"), body.replace(b"\r\n\r\n", b"\r\n" * 9000, 1))), False, None
    body, _ = archive(rnd)
    return kind, rnd.choice((body, *values.CONTENTS, b"z" * 300000)), form == "good", None


def query_of(rnd, op, form):
    """Good values for some of the parameters; something odd where it need not be good."""
    words = []
    for parameter in map(resolve, op.get("parameters", [])):
        if parameter["in"] == "query" and rnd.random() < 0.4:
            schema = parameter["schema"]
            if parameter["name"] in ("label", "mode", "cursor"):
                value = {"label": "a=b", "mode": "755", "cursor": "00000000-0000-4000-8000-000000000000"}[parameter["name"]]
            else:
                value = values.good(rnd, schema)
            words.append(f"{parameter['name']}={urllib.parse.quote(str(value))}")
    if form != "good" and rnd.random() < 0.3:
        words.append(rnd.choice(QUERIES))
    return "?" + "&".join(words) if words else ""


def odd_path(rnd, path):
    return rnd.choice((path.rstrip("/") + "//", path.replace("session", "SESSION"), path + "x", "/." + path, path.replace("/session", "/x/../session"),
                       path.replace("s", "%73"), path + "%00", path + "%2f..", "//" + path, path + "#f", "*", "http://other" + path, path[:-2],
                       path + ";a=b", path + "\x80", path + "/" * 3000, path + "%"))


def make(rnd, model, op_path, method):
    op = operation(op_path, method)
    form = rnd.choices(("good", "near", "rubbish"), (5, 4, 2))[0]
    sid, session = model.session_id("{exec_id}" in op_path) if "{session_id}" in op_path else (None, None)
    path = op_path
    if sid is not None:
        path = path.replace("{session_id}", sid).replace("{exec_id}", model.exec_id(session))
    known = True
    if "{path}" in path:
        good = rnd.random() < 0.7
        known = good
        name = rnd.choice(values.PATHS if good else values.BAD_PATHS)
        path = path.replace("{path}", urllib.parse.quote(name.encode("utf-8", "surrogatepass")).lstrip("/"))
    headers, body, fine, value = [], None, form == "good" and known, None
    if "requestBody" in op:
        kind, body, fine_body, value = body_of(rnd, op, form)
        if op["operationId"] == "startExec" and form == "good" and rnd.random() < 0.5:  # one that stays, for the calls on it
            value = {"command": "cat", "stdin_open": True, "tty": rnd.random() < 0.5}
            body = values.dumped(value)
        fine = fine and fine_body
        if form == "near" and rnd.random() < 0.15:
            kind = text(rnd.choice(KINDS))
        headers.append((b"Content-Type", kind.encode("latin-1")))
    elif form == "rubbish":
        body = rnd.choice(values.CONTENTS)
    if op["operationId"] == "createSession" and rnd.random() < 0.2:
        headers.append((b"Idempotency-Key", rnd.choice((b"one", b"two"))))
    plain = sid is None or session is not None or (len(sid) == 36 and "/" not in sid)
    plain = plain and (known or "{path}" not in op_path)
    target = rnd.choice(("/api/v1", "/api/v1", "")) + path
    sent = method.upper().encode()
    if form != "good":
        if rnd.random() < 0.25:
            headers.append(rnd.choice(ODD_HEADERS))
            plain = False
        dice = rnd.random()
        if dice < 0.04:
            target, plain = odd_path(rnd, target), False
        elif dice < 0.08:
            sent, plain = rnd.choice(METHODS), False
    target += query_of(rnd, op, form)
    request = Request(sent, target.encode("latin-1", "replace").replace(b" ", b"%20").replace(b"\n", b"%0a"), headers, body)
    if body and form != "good":
        dice = rnd.random()
        if dice < 0.05:
            request.cut, plain = rnd.randrange(len(body)), False
        elif dice < 0.12:
            request.chunked = True
    elif body and rnd.random() < 0.1:
        request.chunked = True
    return Made(op_path, request, op, session, fine, plain, value)


def choose(rnd, model):
    """A request: often for a session that was made, as long as there are a few."""
    if len(model.alive()) < 3:
        return make(rnd, model, "/session/", "post")
    weights = [WEIGHTS.get(operation(*one)["operationId"], 1) if one != ("/session/", "post") or len(model.alive()) < 5 else 0.1 for one in OPERATIONS]
    return make(rnd, model, *rnd.choices(OPERATIONS, weights)[0])
