"""Requests as bytes on a socket, so that they can be wrong in every respect; what came back, and a record to send again."""
import base64
import http.client
import json
import shlex
import socket
import time
import types

import httpx

SECONDS_MAX = 60  # of any request; nothing that is sent may take as long
SILENCE = 0.4     # of a stream, after which no more of it is awaited
BYTES_MAX = 1 << 30


class Request:
    """method and target are bytes as sent, headers pairs of bytes."""

    def __init__(self, method, target, headers=(), body=None, chunked=False, cut=None):
        self.method = method
        self.target = target
        self.headers = list(headers)
        self.body = body
        self.chunked = chunked
        self.cut = cut  # bytes of the body that are sent of those announced
        self.made = None

    def wire(self, host, key):
        lines = [self.method + b" " + self.target + b" HTTP/1.1", b"Host: " + host.encode(), b"Connection: close"]
        if key is not None and not any(name.lower() == b"x-api-key" for name, _ in self.headers):
            lines.append(b"X-API-Key: " + key.encode())
        lines += [name + b": " + value for name, value in self.headers]
        body = self.body
        if body is not None and self.chunked:
            lines.append(b"Transfer-Encoding: chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:1], body[1:]) if piece) + b"0\r\n\r\n"
        elif body is not None and not any(name.lower() == b"content-length" for name, _ in self.headers):
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")[:self.cut]

    def record(self):
        return json.dumps({"method": text(self.method), "target": text(self.target), "headers": [[text(n), text(v)] for n, v in self.headers],
                           "body": None if self.body is None else base64.b64encode(self.body).decode(), "chunked": self.chunked,
                           "cut": self.cut, "made": self.made})

    @staticmethod
    def again(line, ids):
        """The request of a record, with the ids of this time."""
        for old, new in ids.items():
            line = line.replace(old, new)
        fields = json.loads(line)
        body = fields["body"] and base64.b64decode(fields["body"])
        for old, new in ids.items():
            body = body and body.replace(old.encode(), new.encode())
        request = Request(fields["method"].encode("latin-1"), fields["target"].encode("latin-1"),
                          [(n.encode("latin-1"), v.encode("latin-1")) for n, v in fields["headers"]],
                          b"" if fields["body"] == "" else body, fields["chunked"], fields["cut"])
        request.made = fields["made"]
        return request

    def curl(self):
        """For a person; a body that is long or no text is only in the record."""
        words = ["curl", "-isS", "--path-as-is", "-X", text(self.method), '-H "X-API-Key: $KEY"']
        words += [f"-H {shlex.quote(text(n) + ': ' + text(v))}" for n, v in self.headers]
        if self.body:
            readable = len(self.body) <= 600 and self.body.isascii() and b"\0" not in self.body
            words.append("--data-binary " + (shlex.quote(self.body.decode()) if readable else f"<{len(self.body)} bytes, see the record>"))
        return " ".join([*words, '"$URL"' + shlex.quote(text(self.target))])


def text(data):
    return data.decode("latin-1")


class Hung(Exception):
    pass


class NoAnswer(Exception):
    """The connection was closed without one."""


def send(url, key, request):
    """The answer as the checks of the suite take it: an httpx.Response with `partial` and `seconds`."""
    host = url.removeprefix("http://")
    name, port = host.split(":")
    begun = time.monotonic()
    with socket.create_connection((name, int(port)), timeout=SECONDS_MAX) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.sendall(request.wire(host, key))
            if request.cut is not None:
                connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # refused before its end; the answer is there all the same
        try:
            raw = http.client.HTTPResponse(connection, method=text(request.method))
            raw.begin()
            content, partial = read(connection, raw, begun)
        except TimeoutError:
            raise Hung(f"no answer within {SECONDS_MAX} s") from None
        except (ConnectionError, http.client.HTTPException) as error:
            raise NoAnswer(repr(error)) from None
    path = text(request.target).split("?")[0]
    shown = types.SimpleNamespace(method=text(request.method), url=types.SimpleNamespace(path=path))
    headers = [(name, value) for name, value in raw.getheaders() if name.lower() not in ("transfer-encoding", "content-encoding")]
    response = httpx.Response(raw.status, headers=headers, content=content)
    response._request = shown
    response.partial = partial
    response.seconds = time.monotonic() - begun
    return response


def read(connection, raw, begun):
    """(content, whether that is not all): of a stream the lines until it is silent."""
    stream = (raw.headers.get("content-type") or "").startswith(("text/event-stream", "application/x-ndjson"))
    if stream:
        connection.settimeout(SILENCE)
    content = b""
    try:
        while piece := raw.read1(1 << 16):
            content += piece
            if time.monotonic() - begun > SECONDS_MAX:
                raise Hung(f"no end within {SECONDS_MAX} s")
            if len(content) > BYTES_MAX or stream and len(content) > 1 << 18:
                break
        else:
            return content, False
    except TimeoutError:
        if not stream:
            raise
    return content[:content.rfind(b"\n") + 1], True
