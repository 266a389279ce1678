"""Workers and janitor have given up what they do not need."""
import os
import pathlib
import pwd
import re
import stat
import subprocess

from stack import binary
from support import eventually, member, tar


def status(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def serving(stack):
    return stack.children("worker") + stack.children("control") + stack.children("janitor")


def of_each(stack, check):
    """check(pid) of every process that serves. One may have begun just now and not have given up anything yet, or leave meanwhile."""
    def all_pass():
        try:
            for pid in serving(stack):
                check(pid)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return len(serving(stack)) >= 3

    eventually(all_pass)


def test_processes_that_serve_have_no_capability_no_way_to_one_and_a_filter(stack):
    def check(pid):
        fields = status(pid)
        assert fields["Seccomp"] == "2"
        assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        assert fields["NoNewPrivs"] == "1"
        limit = re.search(r"^Max core file size\s+(\S+)\s+(\S+)", pathlib.Path(f"/proc/{pid}/limits").read_text(), re.M)
        assert limit.groups() == ("0", "0")
        assert os.stat(f"/proc/{pid}/fd").st_uid == 0, "not dumpable: nobody of its user looks into it"

    of_each(stack, check)


def test_processes_that_serve_run_as_their_user_in_the_group_of_dockerds_socket(stack):
    path = pathlib.Path(stack.env["DOCKER_HOST"].removeprefix("unix://"))
    user = pwd.getpwnam("sandboxd")
    assert stat.S_IMODE(path.stat().st_mode) & 0o060 == 0o060

    def check(pid):
        fields = status(pid)
        assert set(fields["Uid"].split()) == {str(user.pw_uid)} and set(fields["Gid"].split()) == {str(user.pw_gid)}
        assert set(fields["Groups"].split()) <= {str(user.pw_gid), str(path.stat().st_gid)}

    of_each(stack, check)
    assert status(stack.master())["Uid"].split()[0] == "0"


def test_their_files_are_theirs_alone(stack):
    user = pwd.getpwnam("sandboxd")
    state = pathlib.Path(stack.home, "state")
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for path in [state, *state.rglob("*")]:
        assert path.stat().st_uid == user.pw_uid, path


def test_a_user_that_is_not_there_stops_the_start_with_one_clear_line(stack, tmp_path):
    env = {**stack.env, "DAIV_SANDBOX_HOME": str(tmp_path), "DAIV_SANDBOX_USER": "nobody-at-all"}
    done = subprocess.run([binary()], env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode != 0 and "nobody-at-all: there is no such user" in done.stderr


def test_an_archive_is_read_by_a_process_of_its_own_that_ends_with_it(stack, create):
    session = create()
    session.seeded(tar([member("a.txt", b"x")]))
    assert session.out("cat a.txt") == "x"

    def check(pid):
        assert pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().strip() == ""

    of_each(stack, check)
