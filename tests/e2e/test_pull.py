"""Images that are missing: pulled once, unknown, behind a registry that is down or wants to know who asks."""
import base64
import json
import pathlib
import subprocess
import time

import pytest

from stack import base_environment, binary, free_port, script
from support import BUSYBOX, eventually, in_parallel


class Registry:
    def __init__(self, directory, docker):
        self.directory = str(directory)
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.docker = docker
        self.count = 0

    def start(self):
        script("registry", "start", self.directory, str(self.port), env=base_environment())

    def stop(self):
        script("registry", "stop", self.directory, env=base_environment())

    def publish(self, image=BUSYBOX):
        """A reference that is in the registry and not in the daemon."""
        self.count += 1
        name = f"{self.host}/e2e/image{self.count}:v1"
        self.docker.command("tag", image, name)
        self.docker.command("push", name)
        self.forget(name)
        return name

    def lock(self, user, password):
        """From now on the registry lets in nobody else."""
        self.stop()
        hashed = subprocess.run(["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, "$2b$05$" + "sandboxd" * 2 + "sandbo"],
                                capture_output=True, text=True, check=True).stdout
        pathlib.Path(self.directory, "htpasswd").write_text(f"{user}:{hashed}\n")
        self.start()

    def forget(self, name):
        self.docker.command("rmi", name, check=False)

    def present(self):
        return self.docker.command("images", "-q", "--filter", f"reference={self.host}/*/*").stdout.split()


@pytest.fixture(scope="module")
def registry(stack, tmp_path_factory):
    registry = Registry(tmp_path_factory.mktemp("registry"), stack.docker)
    registry.start()
    yield registry
    registry.stop()
    for number in range(1, registry.count + 1):
        registry.forget(f"{registry.host}/e2e/image{number}:v1")


def test_a_missing_image_is_pulled(registry, create, stack):
    image = registry.publish()
    assert create(image).out("echo pulled") == "pulled"
    assert len(stack.events("pull started", subject=image)) == 1
    assert len(stack.events("pull finished", subject=image)) == 1
    assert stack.events("pull progress", subject=image)
    begun = time.monotonic()
    assert create(image).out("echo again") == "again"
    assert len(stack.events("pull started", subject=image)) == 1 and time.monotonic() - begun < 5


def test_parallel_creates_of_a_missing_image_share_one_pull(registry, create, stack):
    image = registry.publish()
    sessions = in_parallel(lambda _: create(image), range(10))
    assert len({s.id for s in sessions}) == 10
    assert [s.out("echo hi") for s in sessions] == ["hi"] * 10
    assert len(stack.events("pull started", subject=image)) == 1


def test_a_digest_can_be_pulled(registry, create, stack):
    image = registry.publish()
    stack.docker.command("pull", image)
    digest = stack.docker.command("inspect", "-f", "{{index .RepoDigests 0}}", image).stdout.strip()
    registry.forget(image)
    registry.forget(digest)
    assert create(digest).out("echo digest") == "digest"
    registry.forget(digest)


@pytest.mark.parametrize("name", ["e2e/nothing:v1", "e2e/image1:nothing", "e2e/nothing"])
def test_an_image_that_the_registry_does_not_know_is_422_naming_it(registry, stack, name):
    registry.publish()
    image = f"{registry.host}/{name}"
    before = len(stack.docker.containers(f"sandboxd.instance={stack.instance}"))
    response = stack.post_session(base_image=image, extract_patch=True)
    assert response.status_code == 422, response.text
    assert image in response.json()["detail"]
    assert len(stack.docker.containers(f"sandboxd.instance={stack.instance}")) == before


def test_a_registry_that_is_down_is_502_and_leaves_nothing(registry, stack, create):
    image = registry.publish()
    registry.stop()
    try:
        before = len(stack.docker.containers(f"sandboxd.instance={stack.instance}"))
        response = stack.post_session(base_image=image)
        assert response.status_code == 502, response.text
        assert image in response.json()["detail"]
        assert "retry-after" in response.headers
        assert len(stack.docker.containers(f"sandboxd.instance={stack.instance}")) == before
    finally:
        registry.start()
    assert create(image).out("echo back") == "back"  # the same request, later
    assert len(stack.events("pull failed", subject=image)) == 1


def test_the_local_image_is_used_while_its_registry_is_down(registry, create, stack):
    image = registry.publish()
    stack.docker.command("pull", image)
    registry.stop()
    try:
        assert create(image).out("echo local") == "local"
        assert not stack.events("pull started", subject=image)
    finally:
        registry.start()


def test_a_missing_git_image_is_pulled_too(registry, make_stack):
    image = registry.publish()  # no git in it, which only a patch would find out
    stack = make_stack(GIT_IMAGE=image, MIN_WORKERS=1)
    session = stack.create(extract_patch=True)
    assert stack.docker.inspect(session.helper)["Config"]["Image"] == image
    assert len(stack.events("pull started", subject=image)) == 1


def test_an_unknown_git_image_is_told_apart_from_the_clients_image(registry, make_stack):
    stack = make_stack(GIT_IMAGE=f"{registry.host}/e2e/no-git:v1", MIN_WORKERS=1)
    response = stack.post_session(base_image=BUSYBOX, extract_patch=True)
    assert response.status_code >= 500, response.text  # the operator's mistake, not the client's
    assert stack.post_session(base_image=BUSYBOX).status_code == 200


# --- private registries ---

USER, PASSWORD = "keeper", "pass:word/+?~ é"


@pytest.fixture(scope="module")
def private(stack, tmp_path_factory):
    """A registry that wants to know who asks, with images in it that the daemon has not."""
    registry = Registry(tmp_path_factory.mktemp("private"), stack.docker)
    registry.start()
    registry.images = [registry.publish() for _ in range(4)]
    registry.lock(USER, PASSWORD)
    yield registry
    registry.stop()
    for image in registry.images:
        registry.forget(image)


def auth(user=USER, password=PASSWORD):
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def docker_config(tmp_path):
    """docker_config({key: entry}, …): the path of a Docker config.json."""
    path = tmp_path / "config.json"

    def write(auths, **others):
        path.write_text(json.dumps({"auths": auths, **others}))
        path.chmod(0o600)
        return str(path)

    return write


def no_secrets_in(stack, *texts):
    for text in (stack.log(), *texts):
        assert PASSWORD not in text and auth()["auth"] not in text


def test_the_credentials_of_a_docker_config_pull_from_a_private_registry(private, make_stack, docker_config):
    """In every form that docker itself takes, and taken anew by a reload."""
    host = private.host
    ways = [({host: auth()}, private.images[0]),
            ({f"http://{host}/v1/": {"username": USER, "password": PASSWORD}}, private.images[1]),
            ({"other.example": auth(password="wrong"), host: auth(password=PASSWORD + "\0\0")}, private.images[2])]
    stack = make_stack(DOCKER_CONFIG=docker_config(ways[0][0]), MIN_WORKERS=1)
    for number, (auths, image) in enumerate(ways):
        if number:
            docker_config(auths)
            stack.reload()
            eventually(lambda: len(stack.events("settings reloaded")) == number, what="the reload")
            eventually(lambda: not [pid for pid in workers if pid in stack.children("worker")], what="the old workers left")
        workers = stack.children("worker")
        session = stack.create(image)
        assert session.out("echo private") == "private"
        session.close()
        private.forget(image)
    image = private.images[0]
    sessions = in_parallel(lambda _: stack.create(image), range(10))
    assert len({s.id for s in sessions}) == 10
    assert len(stack.events("pull started", subject=image)) == 2  # the first way's, and one for all of these
    for session in sessions:
        session.close()
    no_secrets_in(stack, stack.docker.command("inspect", image).stdout)


def test_a_private_registry_without_the_right_credentials_is_422_naming_the_image(private, stack, make_stack, docker_config):
    image = private.images[3]
    own = make_stack(DOCKER_CONFIG=docker_config({private.host: auth(password="wrong")}), MIN_WORKERS=1)
    for each in (stack, own):
        before = len(each.docker.containers(f"sandboxd.instance={each.instance}"))
        response = each.post_session(base_image=image)
        assert response.status_code == 422, response.text
        assert image in response.json()["detail"]
        assert auth(password="wrong")["auth"] not in response.text + each.log()
        assert len(each.events("pull failed", subject=image)) == 1
        assert len(each.docker.containers(f"sandboxd.instance={each.instance}")) == before


def test_credentials_that_cannot_be_read_are_told_before_anything_starts(docker_config, tmp_path):
    def start(path, *args):
        env = {**base_environment(), "DAIV_SANDBOX_API_KEY": "k", "DAIV_SANDBOX_HOME": str(tmp_path / "home"),
               "DAIV_SANDBOX_DOCKER_CONFIG": str(path)}
        return subprocess.run([binary(), *args], env=env, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)

    broken = tmp_path / "broken.json"
    broken.write_text('{"auths": {"host": {"auth": "c2VjcmV0"')
    for path in (tmp_path / "missing.json", tmp_path, broken, docker_config({"host": {"auth": "c2VjcmV0"}}), docker_config([])):
        for args in ([], ["--check-config"]):
            done = start(path, *args)
            assert done.returncode == 78, (path, done.stderr)
            assert "DAIV_SANDBOX_DOCKER_CONFIG" in done.stderr and str(path) in done.stderr and done.stderr.count("\n") == 1
            assert "c2VjcmV0" not in done.stdout + done.stderr
    assert not (tmp_path / "home").exists()
    good = docker_config({"host": auth()}, credsStore="desktop")
    done = start(good, "--check-config")
    assert done.returncode == 0 and "credential helpers, which are not run" in done.stderr
    assert f"DAIV_SANDBOX_DOCKER_CONFIG={good}\n" in done.stdout and auth()["auth"] not in done.stdout + done.stderr


def test_a_reload_with_bad_credentials_keeps_the_old_ones(private, make_stack, docker_config):
    path = docker_config({private.host: auth()}, credHelpers={"gcr.io": "gcloud"})
    stack = make_stack(DOCKER_CONFIG=path, MIN_WORKERS=1)
    assert stack.events("credential helpers are not run, only auths count")
    pathlib.Path(path).write_text("{")
    assert stack.reload(check=False).returncode != 0
    image = private.images[1]
    private.forget(image)
    stack.create(image).close()
