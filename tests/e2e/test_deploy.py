"""What is installed, and what is run from images: make install, the Dockerfile, docker-compose.yml."""
import os
import pathlib
import secrets
import shutil
import subprocess
import tarfile

import httpx
import pytest

from stack import base_environment, free_port
from support import DEBIAN, ROOT, Docker, eventually

pytestmark = pytest.mark.plain


def run(*argv, check=True, timeout=500, **env):
    done = subprocess.run([str(a) for a in argv], cwd=ROOT, env={**base_environment(), **env}, capture_output=True, text=True,
                          timeout=timeout, stdin=subprocess.DEVNULL)
    assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}"
    return done


def test_make_install_is_complete_and_the_installed_program_checks_its_settings(tmp_path):
    run("make", "install", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    usr = tmp_path / "usr"
    found = {str(p.relative_to(usr)) for p in usr.rglob("*") if p.is_file()}
    wanted = {"sbin/sandboxd", "libexec/sandboxd/sandboxd-agent", "lib/systemd/system/sandboxd.service",
              "lib/systemd/system/sandboxd-nginx.service"}
    wanted |= {f"share/sandboxd/nginx/{p.name}" for p in (ROOT / "nginx").glob("*.in")}
    wanted |= {f"share/doc/sandboxd/{p.name}" for p in (ROOT / "docs").iterdir() if p.is_file()}
    wanted |= {f"share/doc/sandboxd/{name}" for name in ("README.md", "LICENSE", "CHANGELOG.md")}
    assert wanted <= found, wanted - found
    for unit in usr.glob("lib/systemd/system/*"):
        assert "/usr/local" not in unit.read_text(), unit
    done = run(usr / "sbin/sandboxd", "--check-config", DAIV_SANDBOX_API_KEY="k" * 32)
    assert "DAIV_SANDBOX_API_KEY" in done.stdout and "k" * 32 not in done.stdout


def test_make_dist_holds_the_committed_tree():
    made = set(ROOT.glob("sandboxd-*.tar.gz"))
    run("make", "dist")
    archives = sorted(set(ROOT.glob("sandboxd-*.tar.gz")) - made)
    assert len(archives) == 1
    try:
        with tarfile.open(archives[0]) as archive:
            names = {name.split("/", 1)[-1] for name in archive.getnames()}
        assert {"Makefile", "README.md", "src/sandboxd/main.c", "nginx/nginx.conf.in"} <= names
    finally:
        archives[0].unlink()


class Compose:
    """docker-compose.yml with images made from the test's own base."""

    def __init__(self, docker_host, directory):
        self.docker = Docker(docker_host)
        self.port = free_port()
        self.key = secrets.token_hex(16)
        self.project = f"sbxtest{os.getpid()}"
        self.image = f"{self.project}/sandboxd:test"
        self.redis_image = f"{self.project}/redis:test"
        socket = docker_host.removeprefix("unix://")
        key_file = directory / "key"
        key_file.write_text(self.key)
        os.chown(key_file, 10001, 10001)
        key_file.chmod(0o400)
        self.env = {"DOCKER_HOST": docker_host, "DOCKER_BUILDKIT": "0", "BASE": DEBIAN, "SANDBOXD_IMAGE": self.image,
                    "REDIS_IMAGE": self.redis_image, "GIT_IMAGE": DEBIAN, "DOCKER_SOCKET": socket,
                    "DOCKER_GID": str(os.stat(socket).st_gid), "API_KEY_FILE": str(key_file), "FRONT_PORT": str(self.port)}
        recipe = directory / "redis"
        recipe.mkdir()
        (recipe / "Dockerfile").write_text(
            f"FROM {DEBIAN}\nRUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q "
            "--no-install-recommends redis-server\n")
        self.recipe = recipe
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, headers={"X-API-Key": self.key}, timeout=60, trust_env=False)

    def __call__(self, *argv, **options):
        return run("docker-compose", "-p", self.project, *argv, **self.env, **options)

    def up(self):
        run("docker", "build", "-q", "-t", self.image, "--build-arg", f"BASE={DEBIAN}", ".", **self.env)
        run("docker", "build", "-q", "-t", self.redis_image, self.recipe, **self.env)
        self("up", "-d", "--no-build")
        for service in ("sandboxd-1", "sandboxd-2", "front"):
            eventually(lambda: self.health(service) == "healthy", 120, f"{service} to be healthy: {self.logs()}")

    def container(self, service):
        return f"{self.project}_{service}_1"

    def health(self, service):
        return self.docker.inspect(self.container(service))["State"]["Health"]["Status"]

    def logs(self):
        return self("logs", "--no-color", "--tail", "30", check=False).stdout

    def down(self):
        self.http.close()
        instance = run("docker", "exec", self.container("redis"), "redis-cli", "get", "daiv-sandbox:instance", check=False,
                       **self.env).stdout.strip()
        self("down", "-v", "--timeout", "30", check=False)
        if instance:
            label = f"sandboxd.instance={instance}"
            for container in self.docker.containers(label):
                self.docker.http.delete(f"/containers/{container['Id']}", params={"force": "1", "v": "1"})
            for volume in self.docker.volumes(label):
                self.docker.http.delete(f"/volumes/{volume['Name']}", params={"force": "1"})
        for image in self.image, self.redis_image:
            run("docker", "image", "rm", "-f", image, check=False, **self.env)


@pytest.fixture(scope="module")
def compose(docker_host, tmp_path_factory):
    assert docker_host.startswith("unix://") and shutil.which("docker-compose")
    made = Compose(docker_host, tmp_path_factory.mktemp("compose"))
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.mark.costly
@pytest.mark.timeout(560)
def test_two_replicas_from_images_serve_one_session_and_outlive_one_of_them(compose):
    made = compose.http.post("/api/v1/session/", json={"base_image": DEBIAN, "extract_patch": True})
    assert made.status_code == 200, made.text
    path = f"/api/v1/session/{made.json()['session_id']}/"

    def command(text):
        return compose.http.post(path, json={"commands": [text]})

    for number in range(20):
        answer = command(f"echo {number} >> list; wc -l < list")
        assert answer.status_code == 200 and int(answer.json()["results"][0]["output"]) == number + 1, answer.text
    # not root, and nothing but the socket's group
    state = compose.docker.inspect(compose.container("sandboxd-1"))
    assert state["Config"]["User"] == "sandboxd" and state["HostConfig"]["CapDrop"] == ["ALL"]
    run("docker", "kill", "-s", "KILL", compose.container("sandboxd-1"), **compose.env)
    answer = command("wc -l < list")
    assert answer.status_code == 200 and answer.json()["results"][0]["output"].strip() == "20", answer.text
    assert compose.http.delete(path).status_code == 204
    run("docker", "start", compose.container("sandboxd-1"), **compose.env)
    eventually(lambda: compose.health("sandboxd-1") == "healthy", 120, "the replica to be healthy again")


@pytest.mark.costly
@pytest.mark.timeout(300)
def test_a_replica_ends_with_its_nginx_and_is_stopped_without_a_kill(compose):
    name = compose.container("sandboxd-2")
    begun = compose.docker.inspect(name)["State"]["StartedAt"]
    # this shell may be ended with the container before it ends by itself
    run("docker", "exec", name, "sh", "-c", "kill -9 $(cat /var/lib/sandboxd/run/nginx.pid)", check=False, **compose.env)
    eventually(lambda: compose.docker.inspect(name)["State"]["StartedAt"] != begun, 60, "the restart policy to act")
    eventually(lambda: compose.health("sandboxd-2") == "healthy", 120, "the replica to be healthy again")
    run("docker", "stop", "-t", "30", name, **compose.env)
    assert compose.docker.inspect(name)["State"]["ExitCode"] == 0
    run("docker", "start", name, **compose.env)
