"""Execs as the tests see them: start, follow, talk to."""
import json
import threading

import httpx

from support import eventually


class Follower:
    """What a stream has sent. A client of its own, so that it can be left at any time."""

    def __init__(self, http, url, after=None, form="sse", headers=None, **params):
        self.events = []
        self.http, self.url, self.form = http, url, form
        self.params = {**({} if after is None else {"after": after}), **params}
        self.headers = {"Accept": "application/x-ndjson" if form == "ndjson" else "text/event-stream", **(headers or {})}
        self.keepalives = 0
        self.status = None
        self.left = False
        self.broke = False

    def lines(self):
        with self.http.stream("GET", self.url, params=self.params, headers=self.headers, timeout=90) as response:
            self.status = response.status_code
            if response.status_code != 200:
                response.read()
                self.text = response.text
                return
            kept = b""
            for piece in response.iter_raw():
                *whole, kept = (kept + piece).split(b"\n")
                for line in whole:
                    yield line.decode()
                if self.left:
                    return

    def take(self, line):
        """The event of a line; None for the lines around it."""
        if self.form == "ndjson":
            event = json.loads(line)
            if event["event"] == "keepalive":
                self.keepalives += 1
                return None
            return event
        if line.startswith(":"):
            self.keepalives += 1
        field, _, value = line.partition(": ")
        if field == "id":
            self.id = int(value)
        if field == "event":
            self.name = value
        if field != "data":
            return None
        event = json.loads(value)
        assert event["event"] == self.name
        assert event.get("seq", self.id) == self.id
        return event

    def follow(self, until=None):
        """Take events to the end of the stream, or until a condition holds; returns self."""
        self.id = None
        try:
            for line in self.lines():
                event = self.take(line)
                if event:
                    self.events.append(event)
                    if until and until(self):
                        self.left = True
                        break
        except httpx.TransportError:
            self.broke = True
        return self

    def in_thread(self, until=None):
        self.thread = threading.Thread(target=self.follow, args=(until,), daemon=True)
        self.thread.start()
        return self

    def join(self, timeout=60):
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "the stream has not ended"
        return self

    @property
    def seq(self):
        """What to come back with."""
        return max((event["seq"] for event in self.events if "seq" in event), default=0)

    def text(self, *names):
        names = names or ("stdout", "stderr")
        return "".join(event["data"] for event in self.events if event["event"] in names)

    def names(self):
        return [event["event"] for event in self.events]

    @property
    def exit(self):
        assert self.events and self.events[-1]["event"] == "exit", self.events[-3:]
        return self.events[-1]


class Exec:
    """One exec of a session."""

    def __init__(self, session, command=None, **fields):
        self.session = session
        body = {**({"command": command} if command is not None else {}), **fields}
        response = session.stack.http.post(session.path + "exec/", json=body)
        assert response.status_code == 201, f"{response.status_code} {response.text}"
        self.started = response.json()
        self.id = self.started["exec_id"]
        self.path = f"{session.path}exec/{self.id}/"

    def http(self, stack=None):
        stack = stack or self.session.stack
        return stack.client(stack.key)

    def get(self):
        response = self.session.stack.http.get(self.path)
        assert response.status_code == 200, f"{response.status_code} {response.text}"
        return response.json()

    def post(self, what, **options):
        return self.session.stack.http.post(self.path + what + "/", **options)

    def stdin(self, data, eof=False):
        response = self.post("stdin", content=data if isinstance(data, bytes) else data.encode(),
                             headers={"Content-Type": "application/octet-stream"}, params={"eof": "true"} if eof else None)
        assert response.status_code == 200, response.text
        return response.json()

    def signal(self, name):
        response = self.post("signal", json={"signal": name})
        assert response.status_code == 204, response.text

    def cancel(self, **params):
        response = self.session.stack.http.delete(self.path, params=params)
        assert response.status_code == 204, response.text

    def follower(self, stack=None, **options):
        return Follower(self.http(stack), self.path + "stream/", **options)

    def follow(self, **options):
        return self.follower(**options).follow()

    def ended(self, timeout=20):
        return eventually(lambda: (lambda state: state if state["state"] == "finished" else None)(self.get()), timeout,
                          f"the end of {self.started['command']}")


def wait_for(follower, text, timeout=20):
    """Until the stream has shown a text."""
    eventually(lambda: text in follower.text(), timeout, f"{text!r} in {follower.text()[-500:]!r}")
