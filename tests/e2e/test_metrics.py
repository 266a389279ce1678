"""What the service tells of itself: metrics, the scoreboard, the phases of a request."""
import re
import subprocess

import httpx
import pytest

from conftest import finish
from stack import binary, free_port
from support import ROOT, Background, eventually

SAMPLE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z]+="[^"\\\n]*",?)*)\})? (-?[0-9.e+]+|NaN|\+Inf)$')


@pytest.fixture(scope="module")
def watched(start_stack):
    port = free_port()
    stack = start_stack(METRICS_LISTEN=f"127.0.0.1:{port}", MIN_WORKERS=2)
    stack.metrics_url = f"http://127.0.0.1:{port}/-/metrics/"
    yield stack
    finish(stack)


def get(url, **options):
    """With the patience of the suite's other clients: httpx's own is 5 s."""
    return httpx.get(url, trust_env=False, timeout=60, **options)


def scrape(stack):
    """{(name, frozenset of labels): value}, with the text format's rules checked."""
    response = get(stack.metrics_url)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples, types, family = {}, {}, None
    for text in response.text.splitlines():
        if text.startswith("# HELP "):
            family = text.split()[2]
            assert family not in types
        elif text.startswith("# TYPE "):
            assert text.split()[2] == family
            types[family] = text.split()[3]
        else:
            name, labels, value = SAMPLE.match(text).groups()
            assert name == family or (types[family] == "histogram" and name.removeprefix(family) in ("_bucket", "_sum", "_count"))
            key = (name, frozenset(re.findall(r'([a-z]+)="([^"]*)"', labels or "")))
            assert key not in samples
            samples[key] = float(value)
    return samples


def value(samples, name, **labels):
    return samples.get((name, frozenset(labels.items())), 0)


def test_metrics_count_requests_phases_sessions_and_processes(watched):
    before = scrape(watched)
    session = watched.create()
    session.out("true")
    assert watched.http.get("/secret-path-of-a-client").status_code == 404

    def counted():
        """A request is counted, and its worker idle, a moment after its answer."""
        after = scrape(watched)
        for method, route, code in (("POST", "/session", "200"), ("POST", "/session/{id}", "200"), ("GET", "other", "404")):
            labels = {"method": method, "route": route, "status": code}
            assert value(after, "sandboxd_requests_total", **labels) > value(before, "sandboxd_requests_total", **labels)
        assert value(after, "sandboxd_processes", role="worker", activity="idle") >= 1
        return after

    after = eventually(counted)

    def grew(name, **labels):
        return value(after, name, **labels) - value(before, name, **labels)

    assert grew("sandboxd_requests_total", method="POST", route="/session", status="200") == 1
    assert grew("sandboxd_requests_total", method="POST", route="/session/{id}", status="200") == 1
    assert grew("sandboxd_requests_total", method="GET", route="other", status="404") == 1
    assert grew("sandboxd_request_duration_seconds_count", method="POST", route="/session/{id}") == 1
    assert 0 < grew("sandboxd_request_duration_seconds_sum", method="POST", route="/session") < 60
    assert grew("sandboxd_phase_duration_seconds_count", phase="lock", call="take the lock") >= 1
    assert grew("sandboxd_phase_duration_seconds_count", phase="agent", call="run a command") == 1
    assert grew("sandboxd_sessions", state="ready") == 1
    assert value(after, "sandboxd_store_up") == 1
    assert value(after, "sandboxd_processes", role="worker", activity="idle") >= 1
    assert value(after, "sandboxd_processes", role="janitor", activity="idle") + value(
        after, "sandboxd_processes", role="janitor", activity="busy") == 1
    assert not any("secret-path" in str(key) for key in after)
    session.close()
    assert value(scrape(watched), "sandboxd_sessions", state="ready") == value(before, "sandboxd_sessions", state="ready")


def test_histograms_add_up(watched):
    samples = scrape(watched)
    for (name, labels), count in samples.items():
        if name.endswith("_count"):
            buckets = sorted((float(dict(l)["le"].replace("+Inf", "inf")), v) for (n, l), v in samples.items()
                             if n == name.replace("_count", "_bucket") and {p for p in l if p[0] != "le"} == set(labels))
            assert buckets[-1] == (float("inf"), count)
            assert [v for _, v in buckets] == sorted(v for _, v in buckets)


def test_the_dashboard_and_the_operators_table_name_what_there_is(watched):
    with_a_sample = {re.sub("_(bucket|sum|count)$", "", name) for name, _ in scrape(watched)}
    text = get(watched.metrics_url).text
    source = (ROOT / "src/base/metrics.c").read_text()
    there = with_a_sample | set(re.findall(r'"(sandboxd_[a-z_]+)"', source))
    assert set(re.findall(r"^# TYPE (\S+) ", text, re.M)) <= there
    for path in ("docs/grafana.json", "docs/operations.md"):
        named = {re.sub("_bucket$", "", name) for name in re.findall(r"\b(sandboxd_[a-z_]+)", (ROOT / path).read_text())}
        assert named and named <= there, path
    missing = there - {re.sub("_bucket$", "", n) for n in re.findall(r"\b(sandboxd_[a-z_]+)", (ROOT / "docs/operations.md").read_text())}
    assert not missing, "not in the table of docs/operations.md"


def test_metrics_are_shown_on_their_own_listener_only(watched):
    assert watched.http.get("/-/metrics/").status_code == 404
    assert watched.http.get("/api/v1/-/metrics").status_code == 404
    base = watched.metrics_url.removesuffix("-/metrics/")
    eventually(lambda: get(base + "-/health/").json() == {"status": "ok"})  # not while dockerd takes its time
    for path in ("", "session/", "api/v1/session/", "-/metrics/x"):
        response = get(base + path, headers={"X-API-Key": watched.key})
        assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})


def test_deaths_of_processes_are_counted(make_stack):
    port = free_port()
    stack = make_stack(METRICS_LISTEN=f"127.0.0.1:{port}")
    stack.metrics_url = f"http://127.0.0.1:{port}/-/metrics/"
    subprocess.run(["kill", "-9", str(stack.children("worker")[0])], check=True)
    eventually(lambda: value(scrape(stack), "sandboxd_process_deaths_total", role="worker", how="signal") == 1)


def test_a_request_tells_in_the_log_where_its_time_went(watched):
    session = watched.create()
    session.out("sleep 0.1")
    line, = eventually(lambda: watched.events("request", session=session.id, method="POST", path=session.path))
    fields = dict(re.findall(r"([a-z_]+)=(\S+)", line))
    assert 100 <= float(fields["agent_ms"]) <= float(fields["ms"])
    assert float(fields["lock_ms"]) > 0 and float(fields["docker_ms"]) > 0 and float(fields["patch_ms"]) == 0
    session.close()


def status(stack, home=None):
    env = {"DAIV_SANDBOX_HOME": home or stack.home, "DAIV_SANDBOX_API_KEY": "k"}
    return subprocess.run([binary(), "--status"], env=env, capture_output=True, text=True, timeout=20)


def test_status_shows_who_works_on_what(watched):
    session = watched.create()
    running = Background(session.post, ["sleep 1000"])
    text = eventually(lambda: (out := status(watched).stdout) and session.id in out and re.search(r"^worker +\d+ +\d+ +1 ", out, re.M) and out)
    assert f"master {watched.master()}, " in text and ", up for " in text
    busy = [line.split() for line in text.splitlines() if session.id in line]
    assert len(busy) == 1 and int(busy[0][0]) in watched.children("worker") and busy[0][1] == "worker"
    assert re.search(r"^worker +\d+ +\d+ +1 +\d+ +\d+$", text, re.M), text
    session.close()
    running.result()


def test_status_without_a_service_says_so(watched, tmp_path):
    done = status(watched, str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "") and str(tmp_path) in done.stderr
