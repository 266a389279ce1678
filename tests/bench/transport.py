"""Plain keep-alive HTTP over TCP or a Unix socket: the client's own cost stays small and the same on both sides."""

import http.client
import json
import socket
import time


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=120):
        super().__init__("docker", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def _call(connection, method, path, body=None, headers=None, raw=False):
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
    return content if raw else (json.loads(content) if content else None)


class Service:
    """The service through nginx."""

    def __init__(self, host, port, key):
        self.address, self.key = (host, port), key
        self.connection = http.client.HTTPConnection(host, port, timeout=600)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, method, path, body=None, headers=None):
        return _call(self.connection, method, "/api/v1" + path, body, {"X-API-Key": self.key, **(headers or {})})

    def create(self, image, **options):
        return self.call("POST", "/session/", {"base_image": image, **options})["session_id"]

    def run(self, session, commands, **options):
        return self.call("POST", f"/session/{session}/", {"commands": commands, **options})

    def files(self, session, mutations):
        return self.call("POST", f"/session/{session}/files/", {"mutations": mutations})

    def seed(self, session, archive):
        boundary = "bench-boundary"
        head = (f"--{boundary}\r\nContent-Disposition: form-data; name=\"repo_archive\"; filename=\"repo.tar\"\r\n"
                "Content-Type: application/x-tar\r\n\r\n").encode()
        body = head + archive + f"\r\n--{boundary}--\r\n".encode()
        return self.call("POST", f"/session/{session}/seed/", body,
                         {"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def close(self, session):
        return self.call("DELETE", f"/session/{session}/")


class Docker:
    """The Docker Engine API without us: what a service built on it pays at least."""

    def __init__(self, path):
        self.path = path
        self.connection = UnixConnection(path)

    def call(self, method, path, body=None, headers=None, raw=False):
        return _call(self.connection, method, "/v1.41" + path, body, headers, raw)

    def create(self, image):
        spec = {"Image": image, "Cmd": ["sleep", "infinity"], "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "none"}}}
        container = self.call("POST", "/containers/create", spec)["Id"]
        self.call("POST", f"/containers/{container}/start")
        return container

    def exec(self, container, argv):
        """Create, start with the output read to its end, inspect: one command with its exit code."""
        spec = {"Cmd": argv, "AttachStdout": True, "AttachStderr": True}
        ident = self.call("POST", f"/containers/{container}/exec", spec)["Id"]
        connection = UnixConnection(self.path)
        output = _call(connection, "POST", f"/v1.41/exec/{ident}/start", {"Detach": False, "Tty": False}, raw=True)
        connection.close()
        return self.call("GET", f"/exec/{ident}/json")["ExitCode"], output

    def put_archive(self, container, archive, path="/tmp"):
        self.call("PUT", f"/containers/{container}/archive?path={path}", archive, {"Content-Type": "application/x-tar"}, raw=True)

    def remove(self, container):
        self.call("DELETE", f"/containers/{container}?force=1&v=1")


def times(function, count, warm=2):
    """Seconds of each of `count` calls, after `warm` that do not count."""
    for _ in range(warm):
        function()
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        function()
        taken.append(time.perf_counter() - begun)
    return taken
