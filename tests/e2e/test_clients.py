"""Several API keys: who a request comes from, what that client sees, how keys are exchanged."""
import hashlib
import subprocess

import pytest

from conftest import finish
from stack import binary
from support import DEBIAN, GONE, Background, eventually, member, tar

KEYS = {"alice": "Alice-Key", "bob": "Bob-Key"}


def line(name, key, limits=""):
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}{':' if limits else ''}{limits}\n"


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "api-keys"
    path.write_text("# who may call\n\n" + "".join(line(name, key) for name, key in KEYS.items()))
    return path


@pytest.fixture(scope="module")
def several(start_stack, keys_file):
    stack = start_stack(API_KEYS_FILE=keys_file)
    yield stack
    finish(stack)


@pytest.fixture(scope="module")
def clients(several):
    made = {name: several.client(key) for name, key in KEYS.items()}
    made["default"] = several.http
    yield made
    for name in KEYS:
        made[name].close()


@pytest.fixture(scope="module")
def alices(clients):
    path = f"/session/{clients['alice'].post('/session/', json={'base_image': DEBIAN, 'extract_patch': True}).json()['session_id']}/"
    yield path
    eventually(lambda: clients["alice"].delete(path).status_code == 204)  # a worker that leaves may know another key yet


def requests_of(path):
    """Every way to reach a session but DELETE."""
    return [("POST", path, {"json": {"commands": ["true"]}}),
            ("POST", path + "files/", {"json": {"mutations": [{"path": "/repo/x", "content": "", "mode": 420}]}}),
            ("POST", path + "seed/", {"files": {"repo_archive": tar([member("a", b"b")])}}),
            ("GET", path + "patch/", {})]


def test_every_client_works_with_its_own_sessions(clients):
    for client in clients.values():
        path = f"/session/{client.post('/session/', json={'base_image': DEBIAN}).json()['session_id']}/"
        assert client.post(path, json={"commands": ["echo hi"]}).json()["results"][0]["output"] == "hi\n"
        assert client.delete(path).status_code == 204


@pytest.mark.parametrize("stranger", ["bob", "default"])
def test_a_session_of_another_client_is_as_none_at_all(clients, alices, stranger):
    for method, path, body in requests_of(alices):
        response = clients[stranger].request(method, path, **body)
        assert (response.status_code, response.json()) == (404, GONE), path
    assert clients[stranger].delete(alices).status_code == 204  # as for one that is gone
    assert clients["alice"].post(alices, json={"commands": ["true"]}).status_code == 200


def test_a_busy_session_of_another_client_does_not_give_itself_away(several, clients):
    path = f"/session/{clients['alice'].post('/session/', json={'base_image': DEBIAN}).json()['session_id']}/"
    running = Background(clients["alice"].post, path, json={"commands": ["sleep 1000"]})
    several.working_pid(path.split("/")[2])
    assert clients["alice"].post(path, json={"commands": ["true"]}).status_code == 409
    assert clients["bob"].post(path, json={"commands": ["true"]}).json() == GONE
    assert clients["alice"].delete(path).status_code == 204
    assert running.result().status_code == 404


def test_the_client_is_named_in_the_log_and_its_key_nowhere(several, clients):
    clients["bob"].get("/session/nothing")
    eventually(lambda: any("client=bob" in event for event in several.events("request")))
    for key in KEYS.values():
        assert all(key not in path.read_text(errors="replace") for path in several.log_files())


def test_keys_are_compared_exactly(several):
    for key in ("alice-key", "Alice-Ke", "Alice-Key2", hashlib.sha256(b"Alice-Key").hexdigest(), "alice"):
        with several.client(key) as client:
            assert (client.post("/session/", json={}).status_code, key) == (403, key)
    with several.client() as nobody:
        assert nobody.post("/session/").json() == {"detail": "API Key header is missing"}


def test_keys_are_exchanged_by_sighup_without_a_refusal(several, clients, keys_file):
    before = keys_file.read_text()

    def status(key):
        with several.client(key) as client:
            return client.post("/session/", json={}).status_code

    def exchange(text):
        """The keys of this file from now on: the workers that know others have left."""
        workers = set(several.children("worker"))
        keys_file.write_text(text)
        several.reload()
        eventually(lambda: not workers & set(several.children("worker")), what="the workers of before to leave")

    exchange(before + line("alice", "Alice-New"))
    eventually(lambda: status("Alice-New") == 422)
    assert status("Alice-Key") == 422
    exchange(before.replace(line("alice", "Alice-Key"), line("alice", "Alice-New")))
    eventually(lambda: status("Alice-Key") == 403)
    assert status("Alice-New") == 422
    keys_file.write_text(before + "nonsense\n")  # refused as a whole: the old keys stay
    several.reload(check=False)
    assert status("Alice-New") == 422
    keys_file.write_text(before)
    several.reload()
    eventually(lambda: status("Alice-Key") == 422)


def test_hash_key_prints_what_the_file_wants(several):
    done = subprocess.run([binary(), "--hash-key"], input="Alice-Key\n", capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, hashlib.sha256(b"Alice-Key").hexdigest() + "\n")
    done = subprocess.run([binary(), "--hash-key"], input="", capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "no key" in done.stderr


def test_a_file_with_a_bad_line_stops_the_start_with_one_clear_line(several, tmp_path):
    path = tmp_path / "keys"
    path.write_text(line("ok", "k") + "broken\n")
    env = {**several.env, "DAIV_SANDBOX_API_KEYS_FILE": str(path)}
    done = subprocess.run([binary(), "--check-config"], env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 78 and f"{path} line 2: " in done.stderr and done.stderr.count("\n") == 1
