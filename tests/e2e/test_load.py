"""Many clients at once, and much output: answers stay right, and nothing grows."""
import base64
import hashlib
import os
import random
import subprocess
import threading
import time

import pytest

from conftest import finish
from support import MIB, Background, PeakMemory, eventually, in_parallel, peak_rss, rss_anon

SECONDS = 30


@pytest.fixture(scope="module")
def stack(start_stack):
    stack = start_stack(MIN_WORKERS=8, MAX_WORKERS=24, SESSION_LOCK_WAIT_SECONDS="0.2")
    yield stack
    died = stack.events("process died")
    finish(stack)
    assert not died, died


def fds(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def usage(stack):
    """{pid: (descriptors, private memory)} of all processes."""
    return {pid: (fds(pid), rss_anon(pid)) for role in ("worker", "control", "janitor") for pid in stack.children(role)}


@pytest.mark.timeout(180)
@pytest.mark.memory
def test_64_clients_on_8_sessions_get_200_or_409_and_nothing_grows(stack):
    sessions = [stack.create(extract_patch=i % 2 == 0) for i in range(8)]
    for session in sessions:  # everything that is made once has been made
        in_parallel(lambda _: session.post(["true"]), range(4))
    containers = len(stack.docker.containers(f"sandboxd.instance={stack.instance}"))
    before = usage(stack)
    begun = time.monotonic()
    odd, counts = [], {}
    guard = threading.Lock()

    def client(number):
        rng = random.Random(number)
        with stack.client(stack.key) as http:
            while time.monotonic() < begun + SECONDS or (sum(counts.values()) < 500 and time.monotonic() < begun + 60):
                session = rng.choice(sessions)
                token = f"{number}-{rng.random()}"
                kind = rng.randrange(4)
                if kind < 3:
                    response = http.post(session.path, json={"commands": [f"echo {token}", "exit 3"][:1 + kind % 2]})
                    good = response.status_code == 409 or (response.status_code == 200
                                                           and response.json()["results"][0]["output"] == token + "\n")
                else:
                    mutation = {"path": f"/repo/{number}", "content": "YQ==", "mode": 420}
                    response = http.post(session.path + "files/", json={"mutations": [mutation]})
                    good = response.status_code == 409 or (response.status_code == 200 and response.json()["results"][0]["ok"])
                with guard:
                    counts[response.status_code] = counts.get(response.status_code, 0) + 1
                    if not good:
                        odd.append((response.status_code, response.text[:300]))

    in_parallel(client, range(64))
    assert not odd, (len(odd), odd[:5])
    assert counts.get(200, 0) >= 100, counts  # not only refusals
    assert len(stack.docker.containers(f"sandboxd.instance={stack.instance}")) == containers
    for session in sessions:
        eventually(lambda: session.post(["echo fine"]).status_code == 200)

    def as_before():
        """What a request had is given back a moment after its answer."""
        after = usage(stack)
        survivors = set(before) & set(after)
        assert survivors
        for pid in survivors:
            assert after[pid][0] <= before[pid][0] + 2, f"descriptors of {pid}: {before[pid]} {after[pid]}"
            assert after[pid][1] <= before[pid][1] + 2 * MIB, f"memory of {pid}: {before[pid]} {after[pid]}"
        return True

    eventually(as_before)
    assert len(stack.children("worker")) <= 24
    stack.close_since(0)
    eventually(lambda: not stack.docker.containers(f"sandboxd.instance={stack.instance}"))


@pytest.mark.memory
def test_200_megabytes_of_output_are_cut_in_flat_memory(stack):
    session = stack.create()
    with PeakMemory(stack) as memory:
        result = session.one(f"head -c {200 * MIB} /dev/zero | tr '\\0' x; echo end")
    assert result["exit_code"] == 0 and result["truncated"] is True
    assert result["dropped_bytes"] == 200 * MIB + 4 - 10 * MIB
    assert result["output"].endswith("xend\n") and result["output"].startswith("xxx")
    assert 10 * MIB < len(result["output"]) < 10 * MIB + 200
    assert memory.grown < 2 * MIB
    eventually(lambda: max(rss_anon(pid) for pid in stack.children("worker")) < memory.typical + 4 * MIB)
    session.close()


@pytest.mark.memory
@pytest.mark.parametrize("split", [False, True])
def test_an_answer_of_64_mib_is_made_in_flat_memory(stack, split):
    session = stack.create()
    command = f"head -c {100 * MIB} /dev/zero | tr '\\0' x; echo end; echo error >&2"
    result = session.one(command, split=split, max_output_bytes=64 * MIB)
    assert result["exit_code"] == 0 and result["dropped_bytes"] == 36 * MIB + 4 + 6
    marker = f"\n[... {36 * MIB + 10} bytes of output dropped ...]\n"
    assert result["output"].startswith("x" * 32 * MIB + marker) and len(result["output"]) == 64 * MIB + len(marker)
    if not split:
        assert result["output"].endswith("xend\nerror\n")
    else:  # two pipes have no order between them
        assert "error\n" in result["output"] and result["output"].replace("error\n", "").endswith("xend\n")
        assert result["stderr"] == "error\n" and result["stdout"].endswith("xend\n") and len(result["stdout"]) > 64 * MIB
    assert max(peak_rss(pid) for pid in stack.children("worker")) < 16 * MIB
    session.close()


@pytest.mark.memory
def test_a_patch_of_many_megabytes_is_made_in_flat_memory(stack, tmp_path):
    session = stack.create(extract_patch=True)
    answer = session.run(f"head -c {30 * MIB} /dev/urandom > big; sha256sum < big")
    subprocess.run(["git", "apply"], cwd=tmp_path, input=base64.b64decode(answer["patch"]), check=True,
                   env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)})
    digest = hashlib.sha256((tmp_path / "big").read_bytes()).hexdigest()
    assert answer["results"][0]["output"].split()[0] == digest
    assert max(peak_rss(pid) for pid in stack.children("worker")) < 16 * MIB
    session.close()


def test_a_client_that_reads_slowly_stops_nobody(stack):
    session, other = stack.create(), stack.create()
    with stack.client(stack.key) as http:
        with http.stream("POST", session.path, json={"commands": ["head -c 9000000 /dev/zero | tr '\\0' x"]}) as response:
            assert response.status_code == 200
            begun = time.monotonic()
            for i in range(20):
                assert other.out(f"echo {i}") == str(i)
            assert session.post(["echo free"]).status_code == 200
            assert time.monotonic() - begun < 5
            assert len(response.read()) > 9_000_000
    stack.close_since(0)


def test_sessions_made_and_closed_at_once_leave_nothing(stack):
    label = f"sandboxd.instance={stack.instance}"

    def life(number):
        session = stack.create(extract_patch=number % 2 == 0)
        assert session.out("echo hi") == "hi"
        closed = session.close()
        assert closed.status_code == 204, closed.text

    in_parallel(life, range(8), threads=4)
    eventually(lambda: not stack.docker.containers(label) and not stack.docker.volumes(label), 10)
