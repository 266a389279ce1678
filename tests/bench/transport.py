"""Keep-alive HTTP over TCP or a Unix socket, as plain as can be: clients cost the same on both sides, and little."""

import json
import socket
import time
import urllib.parse

TIMEOUT_S = 600
READ_BYTES = 1 << 18


class Connection:
    """One connection, made when it is needed and again after it broke or was left in the middle of an answer."""

    def __init__(self, address):
        self.address = address
        self.sock = None
        self.clean = False

    def open(self):
        self.shut()
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self.address)
        if family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def shut(self):
        if self.sock:
            self.sock.close()
        self.sock = None

    def exchange(self, *parts):
        """Send a request in these pieces; the answer's status and body."""
        if not self.sock or not self.clean:
            self.open()
        self.clean = False
        for part in parts:
            self.sock.sendall(part)
        return self.answer()

    def answer(self):
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self.more()
        head, rest = data[:end].lower(), data[end + 4:]
        status = int(head[9:12])
        if status == 204 or status == 304:
            self.clean = True
            return status, b""
        at = head.find(b"\r\ncontent-length:")
        if at >= 0:
            body = self.exactly(rest, int(head[at + 17:].split(b"\r\n", 1)[0]))
            self.clean = b"\r\nconnection: close" not in head
        elif b"\r\ntransfer-encoding: chunked" in head:
            body = self.chunks(rest)
            self.clean = b"\r\nconnection: close" not in head
        else:
            body = self.to_end(rest)
        return status, body

    def more(self):
        data = self.sock.recv(READ_BYTES)
        if not data:
            raise RuntimeError(f"{self.address}: the connection ended before the answer did")
        return data

    def exactly(self, have, length):
        if len(have) == length:
            return have
        body = bytearray(length)
        body[:len(have)] = have
        view = memoryview(body)[len(have):]
        while view:
            n = self.sock.recv_into(view)
            if n == 0:
                raise RuntimeError(f"{self.address}: the connection ended {len(view)} bytes before the answer's end")
            view = view[n:]
        return body

    def chunks(self, data):
        body = []
        while True:
            while (end := data.find(b"\r\n")) < 0:
                data += self.more()
            size = int(data[:end].split(b";")[0], 16)
            data = data[end + 2:]
            while len(data) < size + 2:
                data += self.more()
            if size == 0:
                return b"".join(body)
            body.append(data[:size])
            data = data[size + 2:]

    def to_end(self, data):
        parts = [data]
        while part := self.sock.recv(READ_BYTES):
            parts.append(part)
        return b"".join(parts)


def head(method, path, length, kind="application/json", extra=""):
    return (f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {length}\r\n{extra}\r\n").encode()


def checked(method, path, status, content):
    if status >= 300:
        raise RuntimeError(f"{method} {path}: {status} {bytes(content[:300])!r}")
    return content


class Service:
    """The service through nginx."""

    def __init__(self, host, port, key):
        self.address, self.key = (host, port), key
        self.connection = Connection(self.address)

    def request(self, method, path, body=None):
        """The bytes of a request, to be sent as often as wanted."""
        data = b"" if body is None else json.dumps(body).encode()
        return head(method, "/api/v1" + path, len(data), extra=f"X-API-Key: {self.key}\r\n") + data

    def call(self, method, path, body=None):
        status, content = self.connection.exchange(self.request(method, path, body))
        checked(method, path, status, content)
        return json.loads(content) if content else None

    def create(self, image, **options):
        return self.call("POST", "/session/", {"base_image": image, **options})["session_id"]

    def run_request(self, session, commands, **options):
        return self.request("POST", f"/session/{session}/", {"commands": commands, **options})

    def run(self, session, commands, **options):
        return self.call("POST", f"/session/{session}/", {"commands": commands, **options})

    def files(self, session, mutations):
        answer = self.call("POST", f"/session/{session}/files/", {"mutations": mutations})
        if not all(item["ok"] for item in answer["results"]):
            raise RuntimeError(f"files: {answer}")

    def seed(self, session, archive):
        boundary = "sandboxd-bench-boundary"
        first = (f"--{boundary}\r\nContent-Disposition: form-data; name=\"repo_archive\"; filename=\"repo.tar\"\r\n"
                 "Content-Type: application/x-tar\r\n\r\n").encode()
        last = f"\r\n--{boundary}--\r\n".encode()
        path = f"/session/{session}/seed/"
        start = head("POST", "/api/v1" + path, len(first) + len(archive) + len(last),
                     f"multipart/form-data; boundary={boundary}", f"X-API-Key: {self.key}\r\n")
        checked("POST", path, *self.connection.exchange(start + first, archive, last))
        self.connection.clean = False  # the answer may come before nginx has read the last bytes; then it hangs up

    def close(self, session):
        self.call("DELETE", f"/session/{session}/")


class Docker:
    """The Docker Engine API without us: what a service built on it pays at least."""

    def __init__(self, host, runtime="runc", label="sandboxd.bench"):
        kind, _, rest = host.partition("://")
        name, _, port = rest.rpartition(":")
        self.address = rest if kind == "unix" else (name, int(port))
        self.runtime, self.label = runtime, label
        self.connection = Connection(self.address)

    def raw(self, method, path, *body, kind="application/json"):
        start = head(method, "/v1.41" + path, sum(map(len, body)), kind)
        # Small requests in one piece, as the service's are.
        parts = (start, *body) if sum(map(len, body)) > 65536 else (start + b"".join(body),)
        return checked(method, path, *self.connection.exchange(*parts))

    def call(self, method, path, body=None):
        content = self.raw(method, path, *([] if body is None else [json.dumps(body).encode()]))
        return json.loads(content) if content else None

    def create(self, image):
        """Create and start a container like a session's, without anything that makes it one."""
        spec = {"Image": image, "Cmd": ["sleep", "infinity"], "Labels": {self.label: "1"},
                "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "none"}, "Runtime": self.runtime}}
        container = self.call("POST", "/containers/create", spec)["Id"]
        self.raw("POST", f"/containers/{container}/start")
        return container

    def exec(self, container, argv):
        """Create, start with the output read to its end, inspect: one command with its exit code. The output still has
        dockerd's framing."""
        spec = {"Cmd": argv, "AttachStdout": True, "AttachStderr": True}
        ident = self.call("POST", f"/containers/{container}/exec", spec)["Id"]
        output = self.raw("POST", f"/exec/{ident}/start", b'{"Detach":false,"Tty":false}')
        code = self.call("GET", f"/exec/{ident}/json")["ExitCode"]
        if code != 0:
            raise RuntimeError(f"exec {argv}: exit code {code}, {output[:300]!r}")
        return output

    def put_archive(self, container, archive, path="/tmp"):
        self.raw("PUT", f"/containers/{container}/archive?path={path}", archive, kind="application/x-tar")

    def remove(self, container):
        self.raw("DELETE", f"/containers/{container}?force=1&v=1")

    def remove_all(self):
        """What an interrupted run left, of this run's label alone."""
        filters = urllib.parse.quote(json.dumps({"label": [self.label]}))
        for container in self.call("GET", f"/containers/json?all=1&filters={filters}"):
            self.remove(container["Id"])


def clock(function):
    """How long one call takes, in milliseconds."""
    begun = time.perf_counter()
    function()
    return (time.perf_counter() - begun) * 1000
