"""Commands: results, exit codes, output, limits, surroundings, what stays and what does not."""
import base64
import random
import re
import time

import pytest

from exec_kit import Exec
from stack import Call
from support import BUSYBOX, DEBIAN, DISTROLESS, GVISOR, HELD, MIB, Background, eventually, is_held, let_go

pytestmark = pytest.mark.core
RESULT = {"command", "output", "exit_code", "duration_ms", "timed_out", "signal", "truncated", "dropped_bytes", "usage"}


@pytest.fixture(scope="module")
def busybox(stack):
    session = stack.create(BUSYBOX)
    yield session
    session.close()


@pytest.fixture(params=["bash", "sh"])
def any_shell(request, shared, busybox):
    return shared if request.param == "bash" else busybox


def commands_of(session):
    """Processes of a session's container but for its agent."""
    return [p for p in session.stack.docker.processes(session.container) if "/.sandboxd/agent" not in p]


# --- results ---


def test_results_have_the_documented_form(shared):
    answer = shared.run("echo out; echo err >&2; exit 3", "true")
    assert list(answer) == ["results", "patch"] and answer["patch"] is None
    first, second = answer["results"]
    assert set(first) == set(second) >= RESULT
    assert (first["command"], first["output"], first["exit_code"]) == ("echo out; echo err >&2; exit 3", "out\nerr\n", 3)
    assert (second["command"], second["output"], second["exit_code"]) == ("true", "", 0)
    assert (first["timed_out"], first["signal"], first["truncated"], first["dropped_bytes"]) == (False, None, False, 0)
    assert set(first["usage"]) == {"user_ms", "system_ms", "max_rss_bytes"}


def test_usage_and_duration_are_those_of_the_command(shared):
    result = shared.one("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 0.2")
    assert 200 <= result["duration_ms"] < 20000
    assert 10 <= result["usage"]["user_ms"] <= result["duration_ms"]
    assert 500_000 < result["usage"]["max_rss_bytes"] < 100 * MIB


@pytest.mark.parametrize("command,code", [("true", 0), ("false", 1), ("exit 7", 7), ("exit 255", 255), ("no-such-command", 127),
                                          ("/etc/passwd", 126), ("if", 2), ("", 0), ("# nothing", 0)])
def test_exit_codes_are_the_shells(shared, command, code):
    assert shared.one(command)["exit_code"] == code


def test_pipelines_fail_when_a_stage_does(any_shell):
    assert any_shell.one("exit 3 | cat")["exit_code"] == 3
    assert any_shell.one("(exit 3) | (exit 4) | true")["exit_code"] == 4
    assert any_shell.one("echo a | cat")["exit_code"] == 0


@pytest.mark.parametrize("number", [15, 9, 11, 1])
def test_a_signalled_command_has_128_plus_the_signal(any_shell, number):
    result = any_shell.one(f"echo before; kill -{number} $$")
    assert (result["exit_code"], result["signal"], result["output"]) == (128 + number, number, "before\n")


def test_stdout_and_stderr_are_merged_in_exact_order(any_shell):
    output = any_shell.out("for i in $(seq 300); do echo o$i; echo e$i >&2; done")
    assert output.split() == [f"{stream}{i}" for i in range(1, 301) for stream in "oe"]


def test_fail_fast_stops_at_the_first_failure_and_only_then(shared):
    commands = ["true", "exit 2", "echo x"]
    assert [r["exit_code"] for r in shared.run(*commands, fail_fast=True)["results"]] == [0, 2]
    assert [r["exit_code"] for r in shared.run(*commands, fail_fast=False)["results"]] == [0, 2, 0]
    assert [r["exit_code"] for r in shared.run(*commands)["results"]] == [0, 2, 0]


def test_no_commands_give_no_results(shared):
    assert shared.run() == {"results": [], "patch": None}


@pytest.mark.costly
def test_a_thousand_commands_in_one_request(shared):
    results = shared.run(*[f"echo {i}" for i in range(1000)])["results"]
    assert [r["output"] for r in results] == [f"{i}\n" for i in range(1000)]


def test_emoji_and_other_characters_pass_unchanged(any_shell):
    text = "naïve 🦀🏳️‍🌈 ﷽ \u2028 \t end"
    result = any_shell.one(f"printf %s '{text}'")
    assert result["output"] == text and text in result["command"]


@pytest.mark.parametrize("size", [100_000, 130_000, 140_000, MIB])
def test_long_commands_run_whole(any_shell, size):
    result = any_shell.one(f"printf begin; : '{'x' * size}'; printf ' end'; exit 5")
    assert (result["output"], result["exit_code"], len(result["command"]) > size) == ("begin end", 5, True)


def test_a_long_script_reads_stdin_and_knows_no_descriptor_of_ours(any_shell):
    command = f": '{'x' * 200_000}'; cat; ls /proc/self/fd | wc -l"
    output = any_shell.out(command, stdin="given ").split()
    assert output[0] == "given" and int(output[1]) <= 4


@pytest.mark.parametrize("field,value", [("commands", None), ("commands", "ls"), ("commands", [5]), ("timeout", -1), ("timeout", "x"),
                                         ("fail_fast", 7), ("cwd", "relative"), ("max_output_bytes", -1), ("env", [1]),
                                         ("env", {"A": 1}), ("stdin", 5), ("commands", ["a\0b"])])
def test_wrong_fields_are_422(shared, field, value):
    response = shared.stack.http.post(shared.path, json={"commands": ["true"], field: value})
    assert response.status_code == 422, response.text
    assert [fault["loc"][:2] for fault in response.json()["detail"]] == [["body", field]]


def test_commands_are_required(shared):
    response = shared.stack.http.post(shared.path, json={})
    assert response.json()["detail"] == [{"type": "missing", "loc": ["body", "commands"], "msg": "Field required", "input": {}}]


# --- output ---


def test_invalid_utf8_becomes_the_replacement_character(any_shell):
    assert any_shell.out(r"printf 'a\377\376b'") == "a\ufffd\ufffdb"


def test_random_bytes_come_out_as_pythons_decoder_has_them(shared):
    noise = random.Random(7).randbytes(30_000) + bytes([0xF0, 0x9F, 0xA6])
    shared.write("/repo/noise", noise)
    assert shared.one("cat /repo/noise")["output"] == noise.decode("utf-8", "replace")


def test_a_character_cut_by_a_pause_is_whole_and_a_broken_one_is_replaced(any_shell):
    result = any_shell.one(r"printf '\342\202'; sleep 0.1; printf '\254'; sleep 0.1; printf '|\342\202'; sleep 0.1; printf '|'")
    assert result["output"] == "\u20ac|\ufffd|"
    assert any_shell.one(r"printf 'x\360\237'")["output"] == "x\ufffd"


def test_a_megabyte_of_three_byte_characters_is_not_torn(shared):
    output = shared.one("yes '€' | head -n 300000 | tr -d '\\n'")["output"]
    assert len(output) == 300_000 and set(output) == {"€"}


def test_nul_bytes_in_output_are_kept(any_shell):
    assert any_shell.one(r"printf 'a\0b\001\033'")["output"] == "a\0b\x01\x1b"


def test_output_over_the_limit_keeps_head_and_tail_with_a_marker(shared):
    result = shared.one("seq 100000", max_output_bytes=1000)
    whole = "".join(f"{i}\n" for i in range(1, 100_001))
    assert result["truncated"] is True and result["exit_code"] == 0
    assert result["dropped_bytes"] == len(whole) - 1000
    head, marker, tail = re.fullmatch(r"(.*?)(\n\[[^\n]*\]\n)(.*)", result["output"], re.S).groups()
    assert whole.startswith(head) and whole.endswith(tail) and len(head) + len(tail) == 1000
    assert str(result["dropped_bytes"]) in marker


def test_output_at_the_limit_is_whole(shared):
    result = shared.one("head -c 1000 /dev/zero | tr '\\0' x", max_output_bytes=1000)
    assert (result["output"], result["truncated"], result["dropped_bytes"]) == ("x" * 1000, False, 0)


def test_no_output_may_be_wanted(shared):
    result = shared.one("echo hidden; exit 4", max_output_bytes=0)
    assert (result["exit_code"], result["truncated"], result["dropped_bytes"]) == (4, True, 7)
    assert "hidden" not in result["output"]


def test_split_gives_each_stream_besides_the_output(shared):
    result = shared.one("echo out; echo err >&2", split=True)
    assert set(result) - set(shared.one("true")) == {"stdout", "stderr"}
    assert (result["stdout"], result["stderr"]) == ("out\n", "err\n")
    assert sorted(result["output"].split()) == ["err", "out"]


# --- time ---


def test_a_timeout_ends_the_command_keeps_its_output_and_skips_the_rest(create):
    session = create()
    begun = time.monotonic()
    results = session.run("echo first", "echo begun; sleep 1000", "echo never", timeout=3)["results"]
    assert 3 <= time.monotonic() - begun < 6
    assert [r["exit_code"] for r in results] == [0, 124]
    assert re.fullmatch(r"begun\n[^\n]*timed out after 3 s[^\n]*\n?", results[1]["output"], re.I), results[1]
    assert results[1]["timed_out"] is True and results[0]["timed_out"] is False
    eventually(lambda: commands_of(session) == [])
    assert session.out("echo alive") == "alive"


def test_the_timed_out_line_stands_on_a_line_of_its_own(shared):
    def output():
        """Of a command that was ended after it had written, not before."""
        found = shared.one("printf 'no break'; sleep 1000", timeout=3)["output"]
        return "no break" in found and found

    assert re.fullmatch(r"no break\n[^\n]*timed out[^\n]*\n?", eventually(output), re.I)


def test_a_timeout_reaches_children_in_sessions_of_their_own(create):
    session = create()
    begun = time.monotonic()
    assert session.one("setsid sleep 1000 & sleep 1000", timeout=1)["exit_code"] == 124
    assert time.monotonic() - begun < 4
    eventually(lambda: commands_of(session) == [])


@pytest.mark.parametrize("command", [
    "trap '' TERM; while :; do sleep 1; done",
    "(trap '' TERM HUP; setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' &) ; exec >/dev/null; sleep 1000",
    "f() { while :; do (sleep 1000 & sleep 0.01) & sleep 0.01; done; }; f",
])
def test_a_timeout_ends_whatever_resists_it(create, command):
    session = create()
    begun = time.monotonic()
    assert session.one(command, timeout=1)["exit_code"] == 124
    assert time.monotonic() - begun < 8
    eventually(lambda: commands_of(session) == [])


def test_a_timeout_spares_what_earlier_commands_left_running(create):
    session = create()
    session.run("sleep 1234 > /dev/null 2>&1 &")
    session.run("sleep 1000", timeout=1)
    eventually(lambda: commands_of(session) == ["sleep 1234"])


def test_zero_and_null_mean_no_timeout(shared):
    for timeout in (0, None):
        assert shared.one("sleep 1.2; echo done", timeout=timeout)["output"] == "done\n"


def test_a_background_child_does_not_hold_the_answer(any_shell):
    begun = time.monotonic()
    assert any_shell.one("sleep 1000 & echo $!")["exit_code"] == 0
    assert time.monotonic() - begun < 1
    any_shell.run("pkill -x sleep || killall sleep")


CLOSELY = 0.25 if GVISOR else 0.025  # s; --drain of the agent


def test_output_that_follows_the_commands_end_closely_is_there(shared):
    """A machine on which it does not follow closely, by the command's own account, shows nothing: then it is asked again."""
    def closely():
        output = shared.one("rm -f /tmp/told; exec > >(cat; echo tail; echo $EPOCHREALTIME > /tmp/told); echo body; "
                            "echo $EPOCHREALTIME > /tmp/ended")["output"]
        ended, told = map(float, shared.out("until [ -s /tmp/told ]; do sleep 0.01; done; cat /tmp/ended /tmp/told").split())
        if told - ended < CLOSELY and output != "body\ntail\n":
            pytest.fail(f"{output!r} with the last of it {told - ended} s after the end")  # which eventually() does not put up with
        return told - ended < CLOSELY

    eventually(closely)


# --- surroundings ---


def test_commands_begin_in_repo_with_a_writable_home(any_shell):
    assert any_shell.out("pwd") == "/repo"
    assert any_shell.out("echo $HOME") == "/home/daiv-sandbox"
    names = ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"]
    for line in any_shell.out("; ".join(f'touch "${n}/probe-{n}" && echo "${n}"' for n in names)).split("\n"):
        assert line.startswith("/home/daiv-sandbox")
    any_shell.run("touch /repo/x /skills/x && rm /repo/x /skills/x", fail_fast=True)


def test_commands_have_the_sandbox_users_ids_and_no_privileges(any_shell):
    assert any_shell.out("id -u; id -g").split() == ["1000", "1000"]
    status = dict(line.split(":\t", 1) for line in any_shell.out("cat /proc/self/status").splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd"):
        assert int(status[name], 16) == 0, name
    if not GVISOR:  # which does not show these, and filters nothing: the kernel that is attacked is its own
        assert int(status["CapAmb"], 16) == 0 and status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
    assert status["Uid"].split() == ["1000"] * 4 and status["Gid"].split() == ["1000"] * 4


def test_a_setuid_program_gives_nothing(create, stack):
    session = create()
    stack.docker.command("exec", "-u", "0", session.container, "sh", "-c", "cp /usr/bin/id /tmp/id && chmod 6755 /tmp/id")
    assert session.out("/tmp/id -u; /tmp/id -g").split() == ["1000", "1000"]


def test_commands_can_neither_end_nor_look_into_the_agent(any_shell):
    attempts = ["kill -9 1", "kill -TERM 1", "kill -STOP 1", "cat /proc/1/mem", "readlink /proc/1/exe", "echo x > /proc/1/fd/0",
                "echo x > /proc/1/oom_score_adj"]
    if not GVISOR:  # which lets everybody see these; there is no secret in them
        attempts += ["cat /proc/1/environ", "cat /proc/1/maps", "ls -l /proc/1/fd/"]
    for attempt in attempts:
        assert any_shell.one(attempt)["exit_code"] != 0, attempt
    any_shell.one("kill -9 -1")
    assert any_shell.out("echo alive") == "alive"


def test_commands_inherit_no_descriptor(any_shell):
    assert any_shell.out("for fd in /proc/self/fd/*; do echo ${fd##*/}; done").split()[:3] == ["0", "1", "2"]
    opened = any_shell.out("ls -l /proc/$$/fd; :").split("\n")
    assert not [line for line in opened if "->" in line and "pipe:" not in line and "/dev/null" not in line], opened
    assert len([line for line in opened if "pipe:" in line]) == 2, opened


def test_the_environment_is_the_sessions_and_path_is_the_images(create):
    session = create(environment={"FOO": "bar baz", "LANG": "de_DE.UTF-8", "EMPTY": ""})
    for _ in range(2):
        assert session.out('echo "$FOO,$LANG,${EMPTY-none}"') == "bar baz,de_DE.UTF-8,"
        assert session.out("echo $PATH") == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert create(environment={"PATH": "/bin:/x"}).out("echo $PATH") == "/bin:/x"


def test_a_requests_environment_is_for_that_request(create):
    session = create(environment={"FOO": "session", "KEPT": "yes"})
    results = session.run("echo $FOO $KEPT $NEW", "echo $FOO", env={"FOO": "request", "NEW": "one"})["results"]
    assert [r["output"] for r in results] == ["request yes one\n", "request\n"]
    assert session.out("echo $FOO $KEPT $NEW") == "session yes"


def test_a_requests_directory_is_for_that_request(shared):
    assert shared.out("pwd; echo $PWD", cwd="/tmp").split() == ["/tmp", "/tmp"]
    assert shared.out("pwd") == "/repo"
    result = shared.one("echo never", cwd="/no/such")
    assert result["exit_code"] == 126 and "/no/such" in result["output"] and "never" not in result["output"]


def test_stdin_is_empty_unless_given(any_shell):
    assert any_shell.out("cat; echo done") == "done"
    assert any_shell.out("cat", stdin="héllo") == "héllo"
    assert any_shell.run("cat", "cat", stdin="each")["results"][1]["output"] == "each"


def test_stdin_may_be_base64(shared):
    noise = random.Random(3).randbytes(MIB)
    sent = base64.b64encode(noise).decode()
    output = shared.out("base64 -w0", stdin=sent, stdin_encoding="base64")
    assert base64.b64decode(output) == noise


def test_a_command_that_does_not_read_its_stdin_ends_all_the_same(any_shell):
    assert any_shell.one("exit 3", stdin="x" * MIB)["exit_code"] == 3


# --- images ---


def test_an_image_without_bash_works(busybox):
    assert busybox.out("readlink /proc/$$/exe") == "/bin/busybox"
    assert busybox.out("echo a > f; cat f; rm f") == "a"


def test_bash_is_used_where_the_image_has_it(shared):
    assert shared.out("echo ${BASH_VERSION:+bash}; [[ a == a ]] && echo yes").split() == ["bash", "yes"]


def test_an_image_without_a_shell_says_so_and_still_takes_files(create):
    session = create(DISTROLESS)
    session.write("/repo/a", b"content")
    result = session.one("echo hi")
    assert result["exit_code"] == 127 and "no shell" in result["output"]
    assert [r["exit_code"] for r in session.run("true", "true")["results"]] == [127, 127]


# --- what stays ---


def test_the_file_system_persists_and_shell_state_does_not(any_shell):
    any_shell.run("cd /tmp; X=1; export X; f() { :; }; echo kept > /tmp/kept; echo kept > ~/kept")
    assert any_shell.out("cat /tmp/kept ~/kept; pwd; echo \"[$X]\"").split() == ["kept", "kept", "/repo", "[]"]
    results = any_shell.run("cd /; Y=1", "pwd; echo [$Y]")["results"]
    assert results[1]["output"] == "/repo\n[]\n"


def test_a_server_started_in_the_background_answers_later_requests(busybox):
    busybox.run("echo page > /repo/index.html; httpd -f -p 127.0.0.1:8080 -h /repo &")
    eventually(lambda: busybox.one("wget -q -O - http://127.0.0.1:8080/index.html")["output"] == "page\n")
    busybox.run("echo other > /repo/index.html")
    assert busybox.out("wget -q -O - http://127.0.0.1:8080/index.html") == "other"
    busybox.run("killall httpd")


def test_a_background_writer_to_an_old_output_is_not_killed_by_it(shared):
    shared.run("(while :; do echo noise; echo x >> /tmp/ticks; sleep 0.01; done) &")
    before = eventually(lambda: int(shared.out("wc -l < /tmp/ticks")))  # the answer may come before the first of them
    eventually(lambda: int(shared.out("wc -l < /tmp/ticks")) > before + 50)
    shared.run("pkill -f noise; true")


def test_zombies_do_not_pile_up(create):
    session = create()
    session.run("for i in $(seq 50); do (sleep 0.01 &) ; done; sleep 0.2")
    assert eventually(lambda: "defunct" not in str(session.stack.docker.processes(session.container))) is True


def test_the_pids_limit_stops_a_fork_bomb_and_the_session_lives(create):
    session = create()
    session.one("bomb() { bomb | bomb & sleep 1000; }; bomb; sleep 1000", timeout=2)
    assert session.out("echo alive") == "alive"
    eventually(lambda: commands_of(session) == [])


# --- several at once ---


def test_a_busy_session_is_409_after_the_wait(create, stack):
    session = create()
    running = Background(session.post, [f"{HELD}; echo done"])
    stack.working_pid(session.id)
    begun = time.monotonic()
    response = session.post(["true"])
    assert (response.status_code, response.json()) == (409, {"detail": "Session is busy"})
    assert 0.9 <= time.monotonic() - begun < 2 and running.running()
    let_go(session)
    assert running.result().json()["results"][0]["output"] == "done\n"


def test_a_client_that_leaves_ends_its_command_and_frees_the_session(create, stack):
    session = create()
    call = Call(stack, session.path, {"commands": [HELD, "sleep 1000"]})
    is_held(session)
    assert not call.leave()
    eventually(lambda: stack.lock_holder(session.id) is None)
    assert eventually(lambda: session.post(["echo free"]).status_code == 200)
    eventually(lambda: commands_of(session) == [])


def test_a_client_that_leaves_while_its_command_is_ended_ends_nothing_else(create, stack):
    session = create()
    job = Exec(session, "sleep 1000")
    body = {"commands": ["trap 'echo ending' TERM; while :; do sleep 0.1; done"], "timeout": 1}

    def left_in_the_middle():
        """False where the time was over before the command began."""
        with stack.client(stack.key) as http, http.stream("POST", session.path, json=body,
                                                          headers={"Accept": "application/x-ndjson"}) as response:
            return any('"stdout"' in line and "ending" in line for line in response.iter_lines())

    eventually(left_in_the_middle, 60)
    eventually(lambda: stack.lock_holder(session.id) is None)
    assert eventually(lambda: session.post(["echo free"]).status_code == 200)
    assert job.get()["state"] == "running"


def test_sessions_do_not_wait_for_each_other(create, stack):
    slow, quick = create(), create(DEBIAN)
    running = Background(slow.post, ["sleep 1000"])
    stack.working_pid(slow.id)
    for _ in range(20):
        assert quick.out("echo hi") == "hi"
    assert running.running()
    slow.close()
    assert running.result().status_code == 404
