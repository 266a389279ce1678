"""scripts/demo does what README.md promises, and scripts/down takes all of it away."""
import os
import secrets
import shutil
import subprocess
import tempfile
import time

import pytest

from stack import base_environment, free_port
from support import ROOT

pytestmark = pytest.mark.plain


@pytest.fixture(scope="module")
def demo(docker_host):
    """The demo on a home and port of its own: run() gives its output and how long it took."""
    home = tempfile.mkdtemp(prefix="sbx-demo-", dir="/tmp")
    os.chmod(home, 0o755)
    env = {**base_environment(), "DOCKER_HOST": docker_host, "DAIV_SANDBOX_HOME": home, "DAIV_SANDBOX_PORT": str(free_port()),
           "DAIV_SANDBOX_REPLICA": "demo-" + secrets.token_hex(4)}

    def run(name="demo", *args):
        begun = time.monotonic()
        done = subprocess.run([ROOT / "scripts" / name, *args], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=110)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr, time.monotonic() - begun

    run.home = home
    yield run
    run("down", "--purge")
    shutil.rmtree(home, ignore_errors=True)


def test_it_shows_a_whole_session_as_curl_commands_with_their_answers(demo):
    output, _ = demo()
    for part in ["$ curl", "/session/", "/seed/", "make BUILD=", "(exit code 0)", "diff --git", "-X DELETE", "< 204"]:
        assert part in output, f"{part!r} is missing:\n{output}"
    assert any(f"(exit code {code})" in output for code in (1, 2)), "no failing command is shown"


def test_the_second_time_it_takes_less_than_ten_seconds(demo):
    demo()
    _, seconds = demo()
    assert seconds < 10


def test_the_key_is_kept_in_a_file_that_only_root_reads_and_is_not_shown(demo):
    output, _ = demo()
    path = os.path.join(demo.home, "api-key")
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert open(path).read().strip() not in output


def test_down_leaves_nothing_running(demo):
    demo()
    demo("down", "--purge")
    left = subprocess.run(["pgrep", "-af", demo.home], capture_output=True, text=True).stdout.splitlines()
    assert [line for line in left if "pytest" not in line] == []
