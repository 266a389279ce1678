"""The command line: sandboxd's options, bad settings, and the scripts around it."""
import os
import pathlib
import pwd
import re
import socket
import subprocess
import tempfile

import pytest

from stack import Stack, base_environment, binary, free_port, script
from support import BUSYBOX, ROOT, eventually

MASK = "********"


@pytest.fixture
def sandboxd(stack):
    def run(*args, **settings):
        env = {**base_environment(), **{f"DAIV_SANDBOX_{name}": value for name, value in settings.items()}}
        return subprocess.run([binary(), *args], env=env, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)

    return run


def version():
    return re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]


def test_version_and_help(sandboxd):
    done = sandboxd("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"sandboxd {version()}\n", "")
    done = sandboxd("--help")
    assert done.returncode == 0 and done.stderr == ""
    for option in ("--config", "--check-config", "--print-settings", "--render", "--purge", "--status", "--hash-key", "--version", "--help"):
        assert option in done.stdout


@pytest.mark.parametrize("args", [["--nonsense"], ["serve"], ["--config"]])
def test_bad_usage_exits_64(sandboxd, args):
    done = sandboxd(*args, API_KEY="k")
    assert done.returncode == 64 and done.stderr and done.stdout == ""


def test_check_config_prints_every_setting_with_secrets_masked(sandboxd):
    done = sandboxd("--check-config", API_KEY="the-secret-key", SENTRY_DSN="https://secret@sentry.example/1",
                    REDIS_URL="redis://user:hidden-word@host:6379/0", COMMAND_TIMEOUT="30", PORT="")
    assert done.returncode == 0, done.stderr
    settings = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert settings["DAIV_SANDBOX_API_KEY"] == MASK
    assert settings["DAIV_SANDBOX_SENTRY_DSN"] == MASK and settings["DAIV_SANDBOX_REDIS_URL"] == MASK
    assert "secret" not in done.stdout and "hidden-word" not in done.stdout
    assert float(settings["DAIV_SANDBOX_COMMAND_TIMEOUT"]) == 30
    assert settings["DAIV_SANDBOX_PORT"] == "8000"  # empty counts as unset


def test_the_defaults_are_those_of_the_contract(sandboxd):
    settings = dict(line.split("=", 1) for line in sandboxd("--check-config", API_KEY="k").stdout.splitlines())
    expected = {"API_V1_STR": "/api/v1", "ENVIRONMENT": "production", "SENTRY_DSN": "", "RUNTIME": "runc", "RUN_UID": "1000", "RUN_GID": "1000",
                "COMMAND_TIMEOUT": "0", "REDIS_URL": "", "SESSION_LOCK_TTL_SECONDS": "900", "SESSION_LOCK_WAIT_SECONDS": "1.0",
                "SESSION_LOCK_REFRESH_SECONDS": "30.0", "GIT_IMAGE": "alpine/git:2.52.0", "HOST": "0.0.0.0", "PORT": "8000", "LOG_LEVEL": "INFO"}
    for name, value in expected.items():
        found = settings[f"DAIV_SANDBOX_{name}"]
        assert found == value or float(found) == float(value), name


@pytest.mark.parametrize("name,value", [
    ("API_KEY", " leading-space"), ("API_KEY", "kéy"), ("PORT", "0"), ("PORT", "65536"), ("PORT", "http"), ("RUN_UID", "0"), ("RUN_UID", "-1"),
    ("LOG_LEVEL", "LOUD"), ("API_V1_STR", "api"), ("API_V1_STR", "/a//b"), ("COMMAND_TIMEOUT", "-1"), ("COMMAND_TIMEOUT", "soon"),
    ("REDIS_URL", "http://x"), ("HOST", "no host"), ("SESSION_LOCK_WAIT_SECONDS", "nan"), ("MIN_WORKERS", "0"), ("MAX_BODY_BYTES", "lots"),
    ("GIT_IMAGE", "two words"), ("RUNTIME", "a/b"), ("ENVIRONMENT", "staging"), ("SENTRY_TRACES_SAMPLE_RATE", "2"), ("HOME", "relative")])
@pytest.mark.parametrize("args", [["--check-config"], []])
def test_a_bad_setting_exits_78_with_one_line_that_names_it(sandboxd, args, name, value):
    done = sandboxd(*args, **{"API_KEY": "k", name: value})
    assert done.returncode == 78 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and f"DAIV_SANDBOX_{name}" in done.stderr
    secret = name in ("API_KEY", "REDIS_URL")
    assert (MASK if secret else value) in done.stderr
    assert not secret or value not in done.stderr


def test_a_missing_key_exits_78(sandboxd):
    for settings in ({}, {"API_KEY": ""}):
        done = sandboxd("--check-config", **settings)
        assert done.returncode == 78 and done.stderr.count("\n") == 1 and "DAIV_SANDBOX_API_KEY" in done.stderr


def test_settings_that_contradict_each_other_exit_78(sandboxd):
    for settings in ({"MIN_WORKERS": "9", "MAX_WORKERS": "8"},
                     {"SESSION_LOCK_TTL_SECONDS": "10", "SESSION_LOCK_REFRESH_SECONDS": "10"}):
        done = sandboxd("--check-config", API_KEY="k", **settings)
        assert done.returncode == 78 and done.stderr.count("\n") == 1, settings


def test_a_config_file_stands_behind_the_environment(sandboxd, tmp_path):
    file = tmp_path / "settings"
    file.write_text('# a comment\n\nDAIV_SANDBOX_API_KEY="from the file"\nDAIV_SANDBOX_PORT=1111\nDAIV_SANDBOX_RUN_UID=2222\n')
    done = sandboxd("--config", str(file), "--check-config", PORT="3333")
    settings = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert (settings["DAIV_SANDBOX_PORT"], settings["DAIV_SANDBOX_RUN_UID"]) == ("3333", "2222")
    done = sandboxd("--config", str(tmp_path / "none"), "--check-config", API_KEY="k")
    assert done.returncode == 78 and done.stderr.count("\n") == 1


def test_the_printed_table_names_every_setting(sandboxd):
    done = sandboxd("--print-settings")
    assert done.returncode == 0
    named = re.findall(r"^\| `(\w+)` \|", done.stdout, re.M)
    assert named == [line.split("=")[0] for line in sandboxd("--check-config", API_KEY="k").stdout.splitlines()]


# --- the scripts ---


def test_up_twice_says_that_it_runs_already(stack):
    def lasting():
        """Without the workers, which come and go with the load."""
        return stack.master(), sorted(stack.children("control")), stack.children("janitor")

    before = lasting()
    done = stack.up()
    assert "runs already" in done.stderr and stack.url in done.stderr
    assert lasting() == before
    assert stack.key not in done.stdout + done.stderr


def test_a_second_master_on_the_same_home_refuses(stack):
    done = subprocess.run([binary(), "--config", f"{stack.home}/sandboxd.env"], env=base_environment(), capture_output=True, text=True,
                          timeout=20)
    assert done.returncode == 1
    assert "another sandboxd runs" in done.stderr and stack.home in done.stderr
    eventually(stack.healthy)  # not while dockerd takes its time
    assert (pathlib.Path(stack.home) / "run" / "work.sock").is_socket()


def test_up_names_who_has_the_port(stack):
    env = {**stack.env, "DAIV_SANDBOX_HOME": stack.home + "-other"}
    try:
        done = script("up", env=env, check=False)
        assert done.returncode != 0
        assert str(stack.port) in done.stderr and "nginx" in done.stderr
    finally:
        subprocess.run(["rm", "-rf", stack.home + "-other"], check=True)
    eventually(stack.healthy)  # not while dockerd takes its time


def test_up_with_a_bad_setting_starts_nothing(stack):
    home = stack.home + "-bad"
    env = {**stack.env, "DAIV_SANDBOX_HOME": home, "DAIV_SANDBOX_PORT": str(free_port()), "DAIV_SANDBOX_MIN_WORKERS": "many"}
    try:
        done = script("up", env=env, check=False)
        assert done.returncode != 0 and "DAIV_SANDBOX_MIN_WORKERS" in done.stderr
        assert not subprocess.run(["pgrep", "-f", home + "/"], capture_output=True).stdout
    finally:
        subprocess.run(["rm", "-rf", home], check=True)


def test_a_reload_with_a_bad_setting_changes_nothing(stack):
    config = pathlib.Path(stack.home, "sandboxd.env")
    before = config.read_bytes()
    done = stack.reload(check=False, LOG_LEVEL="LOUD", API_KEY="other")
    assert done.returncode != 0 and "DAIV_SANDBOX_LOG_LEVEL" in done.stderr
    assert config.read_bytes() == before
    assert stack.http.post("/session/", json={}).status_code == 422


@pytest.mark.parametrize("setting, value", [("PORT", "{}"), ("METRICS_LISTEN", "127.0.0.1:{}")])
def test_a_reload_to_a_port_that_is_taken_changes_nothing(stack, setting, value):
    config = pathlib.Path(stack.home, "sandboxd.env")
    before = config.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = stack.reload(check=False, **{setting: value.format(port)}, API_KEY="other")
    assert done.returncode != 0 and f"port {port} is taken" in done.stderr
    assert config.read_bytes() == before
    assert stack.http.post("/session/", json={}).status_code == 422


def test_a_bad_file_at_sighup_keeps_the_old_settings(stack):
    import signal
    config = pathlib.Path(stack.home, "sandboxd.env")
    before = config.read_bytes()
    refused = len(stack.events("reload refused, the old settings stay"))
    try:
        config.write_bytes(before + b'DAIV_SANDBOX_PORT="none"\n')
        os.kill(stack.master(), signal.SIGHUP)
        eventually(lambda: len(stack.events("reload refused, the old settings stay")) == refused + 1)
    finally:
        config.write_bytes(before)
    assert stack.http.post("/session/", json={}).status_code == 422
    eventually(stack.healthy)  # not while dockerd takes its time


@pytest.fixture
def under_systemd(stack, tmp_path):
    """under_systemd(NAME=value, …): the program as its unit starts it; what it tells systemd is to be read from .told."""
    with tempfile.TemporaryDirectory(prefix="sbx-notify-") as where, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(f"{where}/notify")
        told.settimeout(30)
        started = []

        def start(**settings):
            env = {**stack.env, "DAIV_SANDBOX_HOME": str(tmp_path), "NOTIFY_SOCKET": f"{where}/notify",
                   **{f"DAIV_SANDBOX_{name}": value for name, value in settings.items()}}
            started.append(subprocess.Popen([binary()], env=env, stdin=subprocess.DEVNULL))
            assert told.recv(100) == b"READY=1"
            return started[0]

        start.told = told
        yield start
        for process in started:
            process.terminate()
            assert process.wait(30) == 0


def test_systemd_is_told_how_long_a_stop_may_take(under_systemd):
    under_systemd(DRAIN_SECONDS="300").terminate()
    assert under_systemd.told.recv(100) == b"STOPPING=1\nEXTEND_TIMEOUT_USEC=320000000"


def test_files_of_another_user_from_before_are_roots_again(under_systemd, tmp_path):
    state = tmp_path / "state"
    state.mkdir(0o700)
    (state / "left").touch()
    for path in state, state / "left":
        os.chown(path, pwd.getpwnam("sandboxd").pw_uid, -1)
    under_systemd()
    assert {path.stat().st_uid for path in (state, *state.rglob("*"))} == {0}


def test_down_of_what_does_not_run_is_no_error(stack, tmp_path):
    done = script("down", env={**stack.env, "DAIV_SANDBOX_HOME": str(tmp_path / "none")})
    assert "nothing to stop" in done.stderr


def test_sessions_outlive_down_and_up_and_purge_removes_them(make_stack):
    stack = make_stack(MIN_WORKERS=1)
    kept = stack.create(extract_patch=True)
    kept.run("echo kept > file")
    stack.down()
    assert not stack.processes() and stack.docker.exists(kept.container)
    stack.up()
    assert kept.out("cat file") == "kept"
    assert b"+more" in kept.turn("echo more >> file")
    stack.down("--purge")
    assert not stack.docker.containers(f"sandboxd.instance={stack.instance}")
    assert not stack.docker.volumes(f"sandboxd.instance={stack.instance}")
    stack.up()
    assert kept.post(["true"]).status_code == 404


@pytest.fixture
def dockerd():
    """scripts/dockerd with a directory of its own: dockerd(command, user) gives what it prints, dockerd.env what it needs."""
    with tempfile.TemporaryDirectory(prefix="sbx-dockerd-", dir="/var/tmp") as where:
        env = {**base_environment(), "SANDBOXD_DOCKER_DIR": where, "SANDBOXD_DOCKER_OWN": "1",
               "SANDBOXD_DOCKERD_ARGS": "--bridge=none --iptables=false --ip6tables=false"}
        env.pop("DOCKER_HOST", None)
        users = set()

        def run(command, user):
            users.add(user)
            # a network of its own: a daemon without a bridge would take away that of the others
            done = subprocess.run(["unshare", "--net", str(ROOT / "scripts" / "dockerd"), command, user], env=env, capture_output=True,
                                  text=True, timeout=120, stdin=subprocess.DEVNULL)
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        run.env, run.socket = env, pathlib.Path(where, "docker.sock")
        yield run
        for user in users:
            run("stop", user)
        assert not run.socket.exists()


def test_a_daemon_of_ours_stops_with_its_last_user_only(dockerd):
    host = dockerd("start", "first")
    assert dockerd("start", "second") == host == f"unix://{dockerd.socket}"
    dockerd("stop", "second")
    assert dockerd.socket.is_socket()
    dockerd("stop", "first")
    assert not dockerd.socket.exists()


@pytest.mark.plain
def test_sessions_outlive_a_daemon_of_ours_that_goes_down_with_its_last_stack(dockerd, stack):
    own = Stack(f"unix://{dockerd.socket}", MIN_WORKERS=1, RUNTIME="runc")
    own.env |= dockerd.env
    user = f"stack-{own.home}"  # what scripts/up calls itself there
    dockerd("start", user)
    try:
        with subprocess.Popen(["docker", "-H", stack.env["DOCKER_HOST"], "save", BUSYBOX], stdout=subprocess.PIPE) as saved:
            own.docker.command("load", stdin=saved.stdout)
        own.up()
        session = own.create(BUSYBOX)
        assert session.out("echo kept | tee file") == "kept"
        own.down()
        assert not dockerd.socket.exists()
        dockerd("start", user)
        own.up()
        assert session.out("cat file") == "kept"
    finally:
        own.discard()
