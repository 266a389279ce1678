"""The stack under test: real nginx, sandboxd and dockerd, started and stopped by the scripts that users use."""
import os
import re
import signal

import pytest

from leaks import leaks
from relay import Relay
from stack import Redis, Stack, base_environment, script

STACKS = []
OFFSETS = {}


def pytest_make_parametrize_id(val, argname):
    """No test is named by kilobytes of content."""
    return f"{argname}-of-{len(val)}" if isinstance(val, (str, bytes)) and len(val) > 100 else None


@pytest.fixture(scope="session")
def docker_host():
    """The daemon of DOCKER_HOST, else what scripts/dockerd decides, with the images that the tests use."""
    env = base_environment()
    user = f"e2e-{os.getpid()}"
    if os.environ.get("DOCKER_HOST"):
        env["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
    host = script("dockerd", "start", user, env=env).stdout.strip()
    script("images", "--needed", "test", env={**env, "DOCKER_HOST": host})
    yield host
    script("dockerd", "stop", user, env=env)


@pytest.fixture(scope="session")
def start_stack(docker_host):
    """Start a stack; whoever does ends it with destroy()."""

    def start(redis=None, key=None, **settings):
        if redis:
            settings.setdefault("REDIS_URL", redis.url)
        if key:
            settings["API_KEY"] = key
        stack = Stack(settings.pop("docker_host", docker_host), **settings)
        stack.key = key or stack.key
        stack.http.headers["X-API-Key"] = stack.key
        stack.redis = redis
        STACKS.append(stack)
        try:
            stack.up()
        except BaseException:
            STACKS.remove(stack)
            stack.discard()
            raise
        return stack

    return start


def finish(stack):
    """Take a stack down. Sanitizer reports and crashes count wherever they happened, and so do secrets."""
    bad = re.findall(r"^.*(?:AddressSanitizer|LeakSanitizer|runtime error:|level=critical|stack smashing|how=\"signal (?:6|11)\").*$",
                     stack.log(), re.M)
    leaked = leaks(stack)
    STACKS.remove(stack)
    stack.destroy()
    assert not leaked, f"secrets of {stack.home}: {leaked}"
    assert not bad, f"in the log of {stack.home}: {bad[:5]}"


def finish_whole(stack):
    """The same for one in which nothing is broken on purpose: nothing may have died either."""
    died = stack.events("process died")
    finish(stack)
    assert not died, died


@pytest.fixture(scope="session")
def stack(start_stack):
    """The stack that most tests share."""
    stack = start_stack(REPLICA="e2e")
    yield stack
    finish_whole(stack)


@pytest.fixture
def make_stack(start_stack):
    """make_stack(NAME=value, …): a stack of the test's own; NAME without DAIV_SANDBOX_."""
    made = []

    def make(**settings):
        made.append(start_stack(**settings))
        return made[-1]

    yield make
    for own in reversed(made):
        finish(own)


@pytest.fixture
def make_redis():
    """make_redis(*options): a redis-server of the test's own."""
    made = []

    def make(*options):
        made.append(Redis(*options))
        return made[-1]

    yield make
    for redis in made:
        redis.destroy()


@pytest.fixture
def make_replicas(make_redis, start_stack):
    """make_replicas(n, NAME=value, …): stacks that share a Redis, a key and the daemon; the Redis is stacks[0].redis."""
    made = []

    def make(count=2, redis=None, **settings):
        redis = redis or make_redis()
        for number in range(count):
            made.append(start_stack(redis=redis, key=made[0].key if made else None,
                                    **{"REPLICA": f"replica-{number + 1}", "MIN_WORKERS": 2, **settings}))
        return made[-count:]

    yield make
    for stack in reversed(made):
        finish(stack)


@pytest.fixture
def relay(docker_host):
    """A Relay before the daemon: the docker_host of a stack that the test makes."""
    if not docker_host.startswith("unix://"):
        pytest.fail("this test needs a daemon on a Unix socket")
    relay = Relay(docker_host.removeprefix("unix://"), f"/tmp/sbx-relay-{os.getpid()}.sock")
    yield relay
    try:
        relay.close()
    except OSError:
        pass


@pytest.fixture
def create(stack):
    """create(image, **options): a session that lives as long as the test."""
    mark = len(stack.open_sessions)
    yield stack.create
    stack.close_since(mark)


@pytest.fixture(scope="module")
def shared(stack):
    """One Debian session for the tests of a module that do not mind each other."""
    session = stack.create()
    yield session
    session.close()


def pytest_configure(config):
    # a suite that is told to end (by timeout(1), by CI) takes its stacks down all the same
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_runtest_setup(item):
    for stack in STACKS:
        for path in stack.log_files():
            OFFSETS[path] = path.stat().st_size


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for stack in STACKS:
        for path in stack.log_files():
            text = path.read_bytes()[OFFSETS.get(path, 0):].decode(errors="replace")
            if text.strip():
                report.sections.append((f"{path} during the test", "\n".join(text.splitlines()[-40:])))
