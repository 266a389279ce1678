"""Requests of every kind to every operation of docs/openapi.yaml, by a seed: make fuzz-api FUZZ_API_SECONDS=600 FUZZ_API_SEED=1.

Every answer must be one that the document has, no process may die, nothing may hang, and afterwards the service is as good as new.
What a run has sent is below build/fuzz/api; FUZZ_API_REPLAY=FILE sends such a record again."""
import collections
import os
import pathlib
import random
import time

import pytest

import client
import make
import model
import oracle
from conftest import finish
from openapi import OPERATIONS, operation
from support import ROOT, eventually

SECONDS = float(os.environ.get("FUZZ_API_SECONDS") or 60)
SEED = int(os.environ.get("FUZZ_API_SEED") or random.SystemRandom().randrange(10 ** 6))
REPLAY = os.environ.get("FUZZ_API_REPLAY")
RECORDS = ROOT / "build" / "fuzz" / "api"
SHOWN = 12    # requests of a failure's session that are shown
CHECK_EVERY = 100
# Small, so that a fuzzer gets over them.
LIMITS = {"MAX_BODY_BYTES": "2M", "MAX_SEED_BYTES": "8M", "MAX_FILE_BYTES": "4M", "MAX_SEED_ENTRIES": 100, "MIN_WORKERS": 3, "MAX_WORKERS": 8,
          "WORKER_REQUESTS": 300, "FS_TIMEOUT_SECONDS": 20, "COMMAND_TIMEOUT": 10,
          "STREAM_KEEPALIVE_SECONDS": 0.2}
KNOWN = "what it was\n"
SECRET = "content-that-no-log-may-show"

pytestmark = pytest.mark.timeout(SECONDS + 240)


@pytest.fixture
def fuzzed(start_stack):
    """A stack with a session that the fuzzer knows nothing of."""
    dsn = f"sentry-{SEED}-of-nobody"
    stack = start_stack(REPLICA="fuzz", SENTRY_DSN=f"http://{dsn}@127.0.0.1:1/1", **LIMITS)
    stack.secrets = {"dsn": dsn, "content": SECRET}
    stack.known = stack.create()
    stack.known.write("/repo/known", KNOWN.encode())
    stack.known.write("/repo/secret", SECRET.encode())
    yield stack
    finish(stack)


class Run:
    def __init__(self, stack):
        self.stack = stack
        self.sent = []
        self.counts = collections.Counter()
        self.reached = collections.defaultdict(collections.Counter)
        self.slowest = (0, "")
        RECORDS.mkdir(parents=True, exist_ok=True)
        self.file = (RECORDS / f"seed-{SEED}.jsonl").open("w")

    def one(self, request):
        self.sent.append(request)
        try:
            response = client.send(self.stack.url, self.stack.key, request)
            self.slowest = max(self.slowest, (response.seconds, request.curl()[:200]))
            if request.method == b"POST" and response.status_code == 200 and response.content.startswith(b'{"session_id"'):
                request.made = response.json()["session_id"]
            return response
        finally:
            self.file.write(request.record() + "\n")

    def story(self, made, error):
        """The requests that led there: those of the session, as curl commands."""
        sid = (made.session.id if made.session else "").encode()
        of_it = [r for r in self.sent[:-1] if sid and (sid in r.target or r.made and r.made.encode() == sid)]
        self.file.flush()
        return "\n".join([*(r.curl()[:500] for r in of_it[-SHOWN:]), self.sent[-1].curl(), str(error),
                          f"seed {SEED}, request {len(self.sent)}; all of them: FUZZ_API_REPLAY={self.file.name}"])

    def sound(self):
        """Nothing has died, and the service answers."""
        died = self.stack.events("process died")
        assert not died, died
        assert "AddressSanitizer" not in self.stack.log() and "runtime error:" not in self.stack.log()
        eventually(lambda: self.stack.http.get("/-/health/").json() == {"status": "ok"})  # dockerd may stand still longer than it waits
        assert self.stack.known.out("cat known") == KNOWN.strip()


def follow(known, made, response):
    """Bring the model up to date."""
    request, session, status = made.request, made.session, response.status_code
    if request.made and all(s.id != request.made for s in known.sessions):
        known.sessions.append(model.Session(request.made, made.value or {"ttl_seconds": 1}))
    if not session or session.closed:
        return
    name = made.op["operationId"]
    if name == "closeSession" and status == 204 and request.method == b"DELETE":
        known.close(session)
    elif status in (200, 204) and not made.plain:
        session.mortal = True  # what was asked is not certain
    elif name == "seedSession" and status == 204:
        session.seeded = True
    elif name == "changeSession" and status == 200:
        session.mortal = True
    elif name == "startExec" and status == 201:
        session.execs = [*session.execs, response.json()["exec_id"]][-6:]
    elif status == 404 and made.plain and session.mortal and "Session not found" in response.text:
        known.close(session)


def fuzz(run, seconds):
    rnd = random.Random(SEED)
    known = model.Model(rnd)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        made = make.choose(rnd, known)
        try:
            response = run.one(made.request)
            run.counts[response.status_code] += 1
            if made.plain:
                run.reached[made.op["operationId"]][response.status_code // 100] += 1
            oracle.check(made, response)
            follow(known, made, response)
            if len(run.sent) % CHECK_EVERY == 0 or response.status_code == 503:
                run.sound()
        except client.NoAnswer as error:
            run.counts["no answer"] += 1
            if made.plain:
                pytest.fail(run.story(made, error), pytrace=False)
        except (AssertionError, client.Hung, ValueError) as error:
            pytest.fail(run.story(made, error), pytrace=False)


def again(run, path):
    """Send a record again; what was made then is what is made now."""
    ids = {}
    for line in pathlib.Path(path).read_text().splitlines():
        request = client.Request.again(line, ids)
        then, request.made = request.made, None
        try:
            response = run.one(request)
            run.counts[response.status_code] += 1
            print(response.status_code, request.curl()[:300])
        except client.NoAnswer as error:
            print(error, request.curl()[:300])
        if then and request.made:
            ids[then] = request.made
        run.sound()


def test_no_request_gets_an_answer_that_is_not_documented_or_leaves_a_trace(fuzzed):
    print(f"\nfuzzing the API: FUZZ_API_SEED={SEED} FUZZ_API_SECONDS={SECONDS:g}")
    run = Run(fuzzed)
    again(run, REPLAY) if REPLAY else fuzz(run, SECONDS)
    run.file.close()
    print(f"{len(run.sent)} requests: " + ", ".join(f"{status} {n}" for status, n in sorted(run.counts.items(), key=str)))
    print(f"slowest: {run.slowest[0]:.1f} s {run.slowest[1]}")
    run.sound()
    # every session can be closed, and takes all it had along
    while sids := [s["session_id"] for s in fuzzed.http.get("/session/?limit=1000").json()["sessions"] if s["session_id"] != fuzzed.known.id]:
        for sid in sids:
            assert fuzzed.http.delete(f"/session/{sid}/").status_code == 204
    mine = f"sandboxd.instance={fuzzed.instance}"
    eventually(lambda: {c["Names"][0] for c in fuzzed.docker.containers(mine)} == {f"/{fuzzed.known.container}"}, 20, "only the known session is left")
    run.sound()
    assert fuzzed.known.close().status_code == 204
    if not REPLAY and len(run.sent) > 4000:
        missed = [operation(*op)["operationId"] for op in OPERATIONS if 2 not in run.reached[operation(*op)["operationId"]]]
        assert not missed, f"operations that never succeeded: {missed}"
