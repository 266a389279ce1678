"""Images that are missing: pulled once, unknown, or behind a registry that is down."""
import time

import pytest

from stack import base_environment, free_port, script
from support import BUSYBOX, in_parallel


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
    begun = time.monotonic()
    assert create(image).out("echo again") == "again"
    assert len(stack.events("pull started", subject=image)) == 1 and time.monotonic() - begun < 5


def test_parallel_creates_of_a_missing_image_share_one_pull(registry, create, stack):
    image = registry.publish()
    sessions = in_parallel(lambda _: create(image), range(6))
    assert len({s.id for s in sessions}) == 6
    assert [s.out("echo hi") for s in sessions] == ["hi"] * 6
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
