"""One client: a process that works in sessions of its own and keeps a model of what was acknowledged."""
import base64
import collections
import os
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import time

import httpx

from support import DEBIAN, all_pids, proc_text, tar

RETRYABLE = (409, 429, 502, 503, 504)
SEED = {"seeded": b"seeded\n", "dir/other": b"other\n"}


def end_shims(container):
    """What docs/operations.md has for a container that dockerd was starting when it was killed: it cannot start that any more."""
    for pid in all_pids():
        if proc_text(pid, "comm").startswith("containerd-shim") and container in proc_text(pid, "cmdline"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Wrong(Exception):
    """The service answered what it must not."""


class Model:
    """A session: for each file the contents that it may have, and the numbers appended to its log."""

    def __init__(self, sid, patch):
        self.path = f"/api/v1/session/{sid}/"
        self.id = sid
        self.patch = patch
        self.files = {name: {content} for name, content in SEED.items()}
        self.log = []  # (number, acknowledged)
        self.seeded = False


class Client:
    def __init__(self, urls, key, seed):
        self.random = random.Random(seed)
        self.urls = urls
        self.http = httpx.Client(headers={"X-API-Key": key}, timeout=120, trust_env=False)
        self.sessions = []
        self.closed = []
        self.counts = collections.Counter()
        self.lost_creates = 0
        self.number = 0
        self.slowest = 0.0
        self.last = ""  # what the service or the transport said last

    # --- requests ---

    def ask(self, method, path, allowed=(200, 204), **options):
        """A definite answer, or None when the service said that a retry is worth it, or was not there."""
        begun = time.monotonic()
        try:
            response = self.http.request(method, self.random.choice(self.urls) + path, **options)
        except httpx.TransportError as error:
            self.counts[type(error).__name__] += 1
            self.last = repr(error)
            return None
        finally:
            self.slowest = max(self.slowest, time.monotonic() - begun)
        self.counts[f"{method} {response.status_code}"] += 1
        self.last = f"{response.status_code} {response.text[:300]}"
        if response.status_code in allowed:
            return response
        if response.status_code in RETRYABLE:
            if not response.json().get("detail"):
                raise Wrong(f"{method} {path}: {response.status_code} without a detail")
            stuck = re.search(r"task ([0-9a-f]{64}): already exists", response.text)
            if stuck:
                self.counts["containers that dockerd cannot start"] += 1
                end_shims(stuck[1])
            return None
        raise Wrong(f"{method} {path}: {response.status_code} {response.text[:300]}")

    def insist(self, *arguments, seconds=60, **options):
        """The definite answer of a request that may be repeated."""
        deadline = time.monotonic() + seconds
        while (answer := self.ask(*arguments, **options)) is None:
            if time.monotonic() > deadline:
                raise Wrong(f"{arguments}: no definite answer within {seconds} s, at last {self.last}")
            time.sleep(0.2)
        return answer

    def run(self, session, command, insist=False):
        ask = self.insist if insist else self.ask
        answer = ask("POST", session.path, json={"commands": [command]})
        if answer is None:
            return None
        result = answer.json()["results"][0]
        if result["exit_code"] != 0:
            raise Wrong(f"{command!r} in {session.id}: {result}")
        return result["output"]

    # --- steps ---

    def create(self):
        patch = self.random.random() < 0.4
        answer = self.ask("POST", "/api/v1/session/", json={"base_image": DEBIAN, "extract_patch": patch})
        if answer is None:
            self.lost_creates += 1
            return
        self.sessions.append(Model(answer.json()["session_id"], patch))

    def seed(self, session):
        # 409 may be a busy session, or an earlier seed whose answer was lost.
        if self.ask("POST", session.path + "seed/", files={"repo_archive": ("a.tar", tar(SEED))}) is not None:
            session.seeded = True
            return
        known = self.run(session, "cat seeded dir/other 2>/dev/null || true", insist=True)
        session.seeded = known == "seeded\nother\n"

    def write(self, session):
        self.number += 1
        name, content = f"file{self.random.randrange(4)}", f"{self.number}\n".encode() * self.random.choice((1, 10000))
        answer = self.ask("POST", session.path + "files/", json={"mutations": [
            {"path": f"/repo/{name}", "content": base64.b64encode(content).decode(), "mode": 0o644}]})
        if answer is None:
            session.files[name] = session.files.get(name, {None}) | {content}
        elif answer.json()["results"][0]["ok"]:
            session.files[name] = {content}
        else:
            raise Wrong(f"write of {name} in {session.id}: {answer.text}")

    def append(self, session):
        self.number += 1
        session.log.append((self.number, False))
        if self.run(session, f"echo {self.number} >> log") is not None:
            session.log[-1] = (self.number, True)

    def look(self, session, insist=False):
        """What a read shows must be what was acknowledged, and may be what got no answer."""
        for name in sorted(session.files):
            text = self.run(session, f"cat {name} 2>/dev/null || echo absent", insist)
            if text is None:
                return
            content = None if text == "absent\n" else text.encode()
            if content not in session.files[name]:
                raise Wrong(f"{name} of {session.id} holds {text[:40]!r} ({len(text)} bytes), acknowledged was "
                            f"{[c and (len(c), c[:20]) for c in session.files[name]]}")
        text = self.run(session, "cat log 2>/dev/null || true", insist)
        if text is not None:
            self.check_log(session, [int(n) for n in text.split()])

    def check_log(self, session, found):
        known = [n for n, _ in session.log]
        acknowledged = {n for n, sure in session.log if sure}
        if found != sorted(set(found)) or not set(found) <= set(known) or not acknowledged <= set(found):
            raise Wrong(f"log of {session.id}: found {found}, appended {session.log}")

    def compare_patch(self, session):
        """The whole patch, applied to the seed, is the session's tree."""
        answer = self.insist("GET", session.path + "patch/")
        patch = answer.json()["patch"]
        listing = self.run(session, "find . -type f -not -path './.git/*' -exec sha256sum {} + | sort -k2", insist=True)
        with tempfile.TemporaryDirectory() as copy:
            for name, content in (SEED if session.seeded else {}).items():
                path = pathlib.Path(copy, name)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
            if patch:
                done = subprocess.run(["git", "apply", "--whitespace=nowarn", "-"], cwd=copy, capture_output=True,
                                      input=base64.b64decode(patch))
                if done.returncode:
                    raise Wrong(f"the patch of {session.id} does not apply: {done.stderr[:300]}")
            mine = subprocess.run("find . -type f -exec sha256sum {} + | sort -k2", shell=True, cwd=copy,
                                  capture_output=True, text=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}).stdout
        if sorted(mine.split("\n")) != sorted(listing.split("\n")):
            raise Wrong(f"the patch of {session.id} gives another tree:\n{mine}\nthan the session has:\n{listing}")

    def close(self, session):
        self.sessions.remove(session)
        self.closed.append(session)
        self.insist("DELETE", session.path)
        gone = self.ask("POST", session.path, allowed=(404,), json={"commands": ["true"]})
        if gone is not None and gone.json() != {"detail": "Session not found or already closed"}:
            raise Wrong(f"a closed session answers {gone.text[:200]}")

    # --- life ---

    def step(self):
        unseeded = [s for s in self.sessions if not s.seeded]
        if unseeded:
            self.seed(unseeded[0])
        elif not self.sessions or (len(self.sessions) < 3 and self.random.random() < 0.05):
            self.create()
        else:
            session = self.random.choice(self.sessions)
            what = self.random.choices((self.write, self.append, self.look, self.compare_patch, self.close),
                                       (30, 40, 15, 3 if session.patch else 0, 3))[0]
            what(session)

    def finish(self):
        """When all is well again: everything that was acknowledged is there."""
        for session in list(self.sessions):
            if session.seeded:
                self.look(session, insist=True)
                if session.patch:
                    self.compare_patch(session)
            self.close(session)


def work(urls, key, seed, stop, settled, results):
    """A client's process: steps until told to stop, then, when everything runs again, the reckoning."""
    client = Client(urls, key, seed)
    wrong = None
    try:
        while not stop.is_set():
            client.step()
            if not client.sessions:
                stop.wait(0.1)
        settled.wait()
        client.finish()
    except Exception as error:  # pylint: disable=broad-except
        wrong = f"client {seed} at {time.strftime('%T')}: {type(error).__name__}: {error}"
    results.put({"wrong": wrong, "counts": dict(client.counts), "lost": client.lost_creates, "slowest": client.slowest,
                 "closed": [s.id for s in client.closed]})
