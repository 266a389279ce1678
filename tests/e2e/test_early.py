"""The service's first contract: an archive that comes with a run, and ephemeral sessions."""
import base64
import bz2
import gzip
import hashlib
import json
import lzma
import os
import pathlib
import re
import signal
import statistics
import subprocess
import time

import pytest

from conftest import finish
from stack import Call
from support import BUSYBOX, DEBIAN, GONE, HELD, MIB, Background, eventually, member, tar, zstd

SEED = {"a.txt": b"one\n", "d/b.txt": b"two\n", "d/c.txt": b"three\n"}


def packed(files):
    """The archive field: base64 of a tar.gz."""
    return base64.b64encode(gzip.compress(tar(files))).decode()


def objects(stack, session):
    """Names of everything that Docker has of a session, images included, notes not."""
    label = f"sandboxd.session={session.id}"
    images = stack.docker.get("/images/json", filters=json.dumps({"label": [label]}))
    return sorted([c["Names"][0].lstrip("/") for c in stack.docker.containers(label)] +
                  [v["Name"] for v in stack.docker.volumes(label) if v["Labels"]["sandboxd.role"] not in ("note", "seeded")] +
                  [tag for image in images for tag in image["RepoTags"] or [image["Id"]]])


def standing(session, patch=False):
    """What an ephemeral session has between runs, once it had one."""
    names = [f"sandboxd-{session.id}", f"sandboxd-session:{session.id}"]
    if patch:
        names += [f"sandboxd-{session.id}-{part}" for part in ("patch", "repo", "meta")]
    return sorted(names)


@pytest.fixture
def session(create):
    return create()


@pytest.fixture
def patched(create):
    return create(extract_patch=True)


@pytest.fixture(params=[False, True], ids=["plain", "patch"])
def ephemeral(create, request):
    return create(ephemeral=True, extract_patch=request.param)


@pytest.fixture
def ephemeral_patched(create):
    return create(ephemeral=True, extract_patch=True).seeded(repo=tar(SEED))


# --- starting a session ---


def test_a_session_is_started_with_every_parameter_of_the_table(create, stack):
    session = create(ephemeral=False, extract_patch=True, network_enabled=False, environment={"NAME": "value"},
                     memory_bytes=256 * MIB, cpus=0.5)
    host = stack.docker.inspect(session.container)["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["NetworkMode"]) == (256 * MIB, 500_000_000, "none")
    assert stack.docker.exists(session.helper)
    assert session.out("echo $NAME") == "value"


@pytest.mark.parametrize("value", [None, 2, "perhaps", []])
def test_ephemeral_must_be_a_boolean(stack, value):
    response = stack.post_session(base_image=BUSYBOX, ephemeral=value)
    assert response.status_code == 422
    assert [fault["loc"] for fault in response.json()["detail"]] == [["body", "ephemeral"]]


# --- an archive with a run ---


def test_the_readmes_example_gives_the_readmes_answer(patched):
    archive = packed([member("django-webhooks-master/", mode=0o775), member("django-webhooks-master/setup.py", b"x")])
    answer = patched.run("ls -la", archive=archive, fail_fast=True)
    assert set(answer) == {"results", "patch"} and answer["patch"] is None
    [result] = answer["results"]
    assert (result["command"], result["exit_code"]) == ("ls -la", 0)
    assert re.search(r"^drwxrwxr-x .* django-webhooks-master$", result["output"], re.M)


def test_commands_are_executed_in_the_root_of_the_extracted_directory(session):
    assert session.out("pwd; cat a.txt d/b.txt", archive=packed(SEED)) == "/repo\none\ntwo"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd],
                         ids=["plain", "gzip", "bzip2", "xz", "zstd"])
def test_the_archives_compression_is_detected(session, pack):
    archive = base64.b64encode(pack(tar({"a.txt": b"content\n" * 5000}))).decode()
    assert session.out("sort -u a.txt; wc -l < a.txt", archive=archive).split() == ["content", "5000"]


@pytest.mark.parametrize("size", range(6))
def test_archives_of_every_length_of_base64_are_read(session, size):
    data = tar({"a": b"x"}) + b"\0" * size
    archive = base64.b64encode(data).decode()
    assert session.out("cat a", archive=archive) == "x"


def test_a_large_archive_arrives_whole(session):
    content = os.urandom(24 * MIB)
    archive = base64.b64encode(tar({"large": content})).decode()
    assert session.out("sha256sum < large", archive=archive).split()[0] == hashlib.sha256(content).hexdigest()


def test_an_archive_replaces_all_that_was_in_repo(session):
    session.seeded(repo=tar(SEED), skills=tar({"s": b"skill"}))
    session.run("mkdir -p deep/er .hidden && touch deep/er/f .hidden/f .dot '-dash' && chmod 0 deep/er && ln -s / link",
                "echo kept > ~/home-file; echo kept > /tmp/tmp-file")
    assert session.out("find . -mindepth 1", archive=packed({"new": b"1"})) == "./new"
    assert session.out("cat /skills/s ~/home-file /tmp/tmp-file").split() == ["skillkept", "kept"]


def test_links_of_the_old_content_are_removed_and_not_followed(session):
    session.run("mkdir /tmp/outside && touch /tmp/outside/f && ln -s /tmp/outside d && ln -s /tmp/outside/f a.txt")
    assert session.out("cat a.txt d/b.txt; ls /tmp/outside; wc -c < /tmp/outside/f", archive=packed(SEED)) \
        == "one\ntwo\nf\n0"


def test_without_an_archive_commands_see_what_the_calls_before_left(session):
    session.run("echo more >> a.txt", archive=packed(SEED))
    assert session.out("cat a.txt") == "one\nmore"
    assert session.out("cat a.txt", archive=None) == "one\nmore"


def test_an_empty_archive_leaves_repo_empty(session):
    session.run("touch f")
    assert session.out("ls -A", archive=packed({})) == ""


def test_an_archive_without_commands_replaces_the_content(patched):
    patched.run("touch f")
    assert patched.run(archive=packed(SEED)) == {"results": [], "patch": None}
    assert patched.out("find . -type f | sort") == "./a.txt\n./d/b.txt\n./d/c.txt"


def test_commands_go_on_after_a_failure_unless_fail_fast(session):
    commands = ["false", "echo on"]
    assert [r["exit_code"] for r in session.run(*commands, archive=packed(SEED))["results"]] == [1, 0]
    assert [r["exit_code"] for r in session.run(*commands, archive=packed(SEED), fail_fast=True)["results"]] == [1]


def test_the_owner_of_an_archives_files_is_the_sandbox_user(session):
    archive = packed([member("f", b"x", uid=0, gid=0, uname="root", mode=0o4755)])
    assert session.out("stat -c '%u:%g %a' f; echo y >> f", archive=archive) == "1000:1000 755"


# --- its patch ---


def test_the_patch_is_against_the_archive_and_applies_to_any_directory(patched, tmp_path):
    files = {**SEED, "gone": b"gone\n", "bin": bytes(range(256))}
    patch = patched.turn("echo four >> a.txt; rm gone; printf '\\0\\1' > bin; echo new > 'new file'", archive=packed(files))
    assert b"+four" in patch and b"-gone" in patch
    subprocess.run(["tar", "x"], input=tar(files), cwd=tmp_path, check=True)
    (tmp_path / "patch.diff").write_bytes(patch)
    with open(tmp_path / "patch.diff", "rb") as diff:
        subprocess.run(["git", "apply", "--whitespace=nowarn", "--reject"], stdin=diff, cwd=tmp_path, check=True,
                       env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}, capture_output=True)
    assert (tmp_path / "a.txt").read_bytes() == b"one\nfour\n"
    assert (tmp_path / "new file").read_bytes() == b"new\n"
    assert (tmp_path / "bin").read_bytes() == b"\0\1" and not (tmp_path / "gone").exists()


def test_no_change_to_an_archive_gives_no_patch(patched):
    assert patched.turn("cat a.txt", archive=packed(SEED)) is None
    assert patched.turn("true", archive=packed({"other": b"1"})) is None


def test_the_replacement_itself_is_in_no_patch_also_of_a_seeded_session(patched):
    patched.seeded(repo=tar({"seeded": b"1\n", "a.txt": b"older\n"}))
    patched.run("touch left-over")
    patch = patched.turn("echo more >> a.txt", archive=packed(SEED))
    assert re.findall(rb"^diff --git .*$", patch, re.M) == [b"diff --git a/a.txt b/a.txt"]
    assert b"seeded" not in patched.cumulative()


def test_the_next_turn_and_the_cumulative_patch_start_from_the_archive(patched):
    patched.seeded(repo=tar({"seeded": b"1\n"}))
    patched.run("echo more >> a.txt", archive=packed(SEED))
    turn = patched.turn("echo new > new")
    assert re.findall(rb"^diff --git .*$", turn, re.M) == [b"diff --git a/new b/new"]
    assert re.findall(rb"^diff --git a/(.*) b/", patched.cumulative(), re.M) == [b"a.txt", b"new"]


def test_archived_files_are_followed_although_an_ignore_file_names_them(patched):
    archive = packed({".gitignore": b"*.log\n", "kept.log": b"1\n"})
    patch = patched.turn("echo 2 >> kept.log; echo 3 > new.log", archive=archive)
    assert b"a/kept.log" in patch and b"new.log" not in patch


def test_files_posted_after_an_archive_do_not_swallow_its_changes(patched):
    patched.run("echo more >> a.txt", archive=packed(SEED))
    patched.write("/repo/posted", b"posted\n")
    assert patched.turn("true") is None
    assert re.findall(rb"^diff --git a/(.*) b/", patched.cumulative(), re.M) == [b"a.txt", b"posted"]


def test_without_extract_patch_there_is_none(session):
    assert session.run("echo x > new", archive=packed(SEED))["patch"] is None


# --- archives that are refused ---


@pytest.mark.parametrize("data", [b"", b"no archive at all", b"\x1f\x8b" + b"\0" * 30, gzip.compress(tar(SEED))[:-9],
                                  gzip.compress(tar({"../out": b"1"})), gzip.compress(tar({"/etc/passwd": b"1"}))],
                         ids=["empty", "text", "broken gzip", "cut gzip", "dots", "absolute"])
def test_a_bad_archive_is_422_and_changes_nothing(patched, data):
    patched.seeded(repo=tar(SEED))
    patched.run("echo turn > turn")
    response = patched.post(["touch executed"], archive=base64.b64encode(data).decode())
    assert response.status_code == 422, response.text
    assert response.json()["detail"].startswith("archive is invalid: "), response.text
    assert patched.out("find . -type f | sort") == "./a.txt\n./d/b.txt\n./d/c.txt\n./turn"
    assert patched.turn("true") is None
    assert b"+turn" in patched.cumulative()


@pytest.mark.parametrize("text", ["a", "ab", "YWJ-", "YW=j", "YQ==YQ==", "é" * 4, "====",
                                  "A" * 4093 + "=AA", "YQ==" + "A" * 5000])
def test_bad_base64_is_reported_as_a_fault_of_the_field(session, text):
    session.run("touch before")
    response = session.post(["touch executed"], archive=text)
    assert response.status_code == 422, response.text
    [fault] = response.json()["detail"]
    assert (fault["type"], fault["loc"]) == ("base64_decode", ["body", "archive"])
    assert session.out("ls") == "before"


@pytest.mark.parametrize("value", [5, True, [], {}])
def test_an_archive_that_is_no_string_is_reported(session, value):
    [fault] = session.post(["true"], archive=value).json()["detail"]
    assert (fault["type"], fault["loc"], fault["input"]) == ("string_type", ["body", "archive"], value)


def test_bad_base64_is_reported_along_with_other_faults(session):
    response = session.stack.http.post(session.path, json={"commands": "ls", "archive": "?", "fail_fast": "perhaps"})
    assert sorted(fault["loc"][1] for fault in response.json()["detail"]) == ["archive", "commands", "fail_fast"]


def test_an_archive_that_unpacks_to_too_much_is_422(make_stack):
    stack = make_stack(MAX_SEED_BYTES=4 * MIB)
    session = stack.create(BUSYBOX)
    response = session.post(["true"], archive=packed({"zeros": b"\0" * (5 * MIB)}))
    assert response.status_code == 422 and response.json()["detail"].startswith("archive is invalid: ")


def test_an_archive_for_a_session_that_never_was_is_404(stack):
    response = stack.http.post("/session/00000000-0000-4000-8000-000000000000/",
                               json={"commands": ["true"], "archive": packed(SEED)})
    assert (response.status_code, response.json()) == (404, GONE)


# --- ephemeral sessions: what does not persist, and what does ---


def test_files_do_not_persist_wherever_they_are(ephemeral):
    ephemeral.seeded(repo=tar(SEED), skills=tar({"s": b"skill"}))
    places = "/repo /repo/d /skills ~ ~/.config ~/.cache /tmp /var/tmp /dev/shm /workspace/tmp"
    assert ephemeral.out(f"for place in {places}; do echo x > $place/mark || exit 1; done; "
                         "echo changed > a.txt; rm d/b.txt; rm -r /skills/s; ls mark; cat a.txt") == "mark\nchanged"
    assert ephemeral.out(f"for place in {places}; do ls -A $place; done | grep mark; cat a.txt d/b.txt /skills/s; "
                         "find / -name mark -user 1000 2>/dev/null; true") == "one\ntwo\nskill"


def test_background_processes_do_not_persist(ephemeral):
    ephemeral.run("sleep 1234 & setsid sleep 1234 >/dev/null 2>&1 </dev/null &")
    assert ephemeral.out("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '[s]leep 1234'; true") == "0"


def test_modes_links_and_removals_do_not_persist(ephemeral):
    ephemeral.seeded(repo=tar([member("f", b"1", mode=0o640), member("d/", mode=0o755), member("d/g", b"2")]))
    before = ephemeral.out("find . -printf '%p %y %m %T@\\n' | grep -v '^[.] ' | sort")
    ephemeral.run("chmod 0 f; rm -r d; ln -s / d; touch -d 2001-01-01 f")
    assert ephemeral.out("find . -printf '%p %y %m %T@\\n' | grep -v '^[.] ' | sort") == before


def test_commands_of_one_run_share_its_state(ephemeral):
    results = ephemeral.run("echo x > f; echo y > ~/g; sleep 60 & echo $! > pid", "cat f ~/g; kill -0 $(cat pid)")["results"]
    assert (results[1]["output"], results[1]["exit_code"]) == ("x\ny\n", 0)


def test_a_session_that_was_never_seeded_starts_empty_each_time(ephemeral):
    assert [ephemeral.out("ls -A; touch f") for _ in range(3)] == ["", "", ""]


def test_options_hold_in_every_run(create):
    session = create(ephemeral=True, environment={"NAME": "a value", "EMPTY": ""}, memory_bytes=64 * MIB, cpus=0.5)
    for _ in range(2):
        assert session.out('printf "%s|%s|" "$NAME" "${EMPTY-unset}"; ls /sys/class/net') == "a value||lo"
    assert session.one("head -c 300000000 /dev/zero | tail -c 299999999 | wc -c")["exit_code"] == 137
    assert session.out("echo alive") == "alive"


def test_runs_are_hardened_like_sessions(create, stack):
    session = create(ephemeral=True, extract_patch=True, memory_bytes=256 * MIB, cpus=1.5, network_enabled=True)
    running = Background(session.run, HELD)
    for part, like in ("run", session.container), ("run-patch", session.helper):
        name = f"sandboxd-{session.id}-{part}"
        run = eventually(lambda: (stack.docker.exists(name) and stack.docker.inspect(name)), 20)
        other = stack.docker.inspect(like)
        for key in ("CapDrop", "CapAdd", "SecurityOpt", "PidsLimit", "Memory", "MemorySwap", "NanoCpus", "NetworkMode",
                    "LogConfig", "Privileged", "Binds", "MaskedPaths", "ReadonlyPaths", "RestartPolicy", "Runtime"):
            assert run["HostConfig"][key] == other["HostConfig"][key], key
        assert run["Config"]["Labels"]["sandboxd.session"] == session.id
        assert run["Config"]["Labels"]["sandboxd.role"] == part
    eventually(lambda: stack.docker.command("exec", f"sandboxd-{session.id}-run", "touch", "/tmp/go", check=False).returncode == 0)
    running.result()


def test_a_timeout_ends_the_command_and_the_run(ephemeral):
    result = ephemeral.one("touch f; echo early; sleep 100", timeout=3)
    assert (result["exit_code"], result["output"].split("\n")[0]) == (124, "early")
    assert ephemeral.out("ls -A") == ""


def test_an_archive_is_for_its_run_only(ephemeral):
    ephemeral.seeded(repo=tar({"seeded": b"1"}))
    assert ephemeral.out("find . -type f | sort", archive=packed(SEED)) == "./a.txt\n./d/b.txt\n./d/c.txt"
    assert ephemeral.out("ls -A") == "seeded"


def test_a_bad_archive_of_an_ephemeral_run_is_422(ephemeral, stack):
    response = ephemeral.post(["true"], archive=base64.b64encode(b"text").decode())
    assert response.status_code == 422 and response.json()["detail"].startswith("archive is invalid: ")
    assert ephemeral.out("ls -A") == ""


def test_a_run_without_commands_is_answered(ephemeral):
    assert ephemeral.run() == {"results": [], "patch": None}
    assert ephemeral.run(archive=packed(SEED)) == {"results": [], "patch": None}


def test_posted_files_are_what_later_runs_start_from(ephemeral):
    assert ephemeral.out("ls -A") == ""
    ephemeral.write("/repo/posted", b"first")
    assert ephemeral.out("cat posted; echo changed > posted") == "first"
    ephemeral.write("/repo/posted", b"second")
    ephemeral.write("/repo/d/other", b" other")
    assert ephemeral.out("cat posted d/other; rm -r d posted") == "second other"
    assert ephemeral.out("cat posted d/other") == "second other"


def test_changes_beside_repo_are_what_later_runs_start_from(ephemeral):
    """With patches /repo is a volume, and the rest is not."""
    def change(operation, **body):
        answer = ephemeral.stack.http.post(f"{ephemeral.path}fs/{operation}/", json=body).json()
        assert answer["error"] is None, answer

    assert ephemeral.out("ls -A /skills") == ""
    change("write", path="/skills/s", content=base64.b64encode(b"skill").decode())
    assert ephemeral.stack.http.put(f"{ephemeral.path}files/skills/t", content=b"put").status_code == 201
    assert ephemeral.out("cat /skills/*") == "skillput"
    change("delete", path="/skills/s")
    assert ephemeral.out("ls -A /skills") == "t"


def test_a_seed_after_a_run_is_what_later_runs_start_from(ephemeral):
    assert ephemeral.out("ls -A /repo /skills") == "/repo:\n\n/skills:"
    ephemeral.seeded(repo=tar(SEED), skills=tar({"s": b"skill"}))
    assert ephemeral.out("cat a.txt /skills/s") == "one\nskill"
    assert ephemeral.seed(repo=tar(SEED)).status_code == 409


def test_runs_of_one_session_at_the_same_time_do_not_see_each_other(ephemeral):
    calls = [Background(ephemeral.post, ["ls -A; touch f; sleep 0.2"]) for _ in range(3)]
    answers = [call.result() for call in calls]
    assert {a.status_code for a in answers} <= {200, 409}
    assert [r["output"] for a in answers if a.status_code == 200 for r in a.json()["results"]].count("") >= 1
    assert not any("f\n" in a.text for a in answers)


# --- their patches ---


def test_each_patch_is_against_the_seed(ephemeral_patched):
    for i in range(3):
        patch = ephemeral_patched.turn(f"echo {i} >> a.txt; rm d/b.txt; echo new > new{i}")
        assert re.findall(rb"^diff --git a/(.*) b/", patch, re.M) == [b"a.txt", b"d/b.txt", b"new%d" % i]
        assert b"+%d\n" % i in patch and b"-two\n" in patch
    assert ephemeral_patched.turn("cat a.txt") is None


def test_changes_of_every_kind_are_in_the_patch(ephemeral_patched, tmp_path):
    patch = ephemeral_patched.turn("mv d e; mkdir d; echo again > d/b.txt; chmod +x a.txt; ln -s a.txt link; "
                                   "printf '\\0\\377' > bin; touch -r a.txt now; echo odd > $'odd\\377name'; rm -rf e/c.txt")
    subprocess.run(["tar", "x"], input=tar(SEED), cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "--whitespace=nowarn"], input=patch, cwd=tmp_path, check=True,
                   env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)})
    top = os.fsencode(tmp_path)
    there = sorted(os.path.relpath(os.path.join(root, name), top)
                   for root, _, names in os.walk(top) for name in names)
    assert there == [b"a.txt", b"bin", b"d/b.txt", b"e/b.txt", b"link", b"now", b"odd\xffname"]
    assert os.access(tmp_path / "a.txt", os.X_OK) and (tmp_path / "d/b.txt").read_bytes() == b"again\n"


def test_an_edit_that_keeps_size_and_time_is_in_the_patch(ephemeral_patched):
    # git compares whole seconds of a file's change time, so what changes in the very second of the seed needs another size or time
    second = int(time.time())
    eventually(lambda: int(time.time()) > second)
    assert b"+ONE" in ephemeral_patched.turn("touch -r a.txt /tmp/t; printf 'ONE\\n' > a.txt; touch -r /tmp/t a.txt")


def test_posted_files_are_in_no_patch_but_in_the_cumulative_one(ephemeral_patched):
    ephemeral_patched.run("echo lost > lost")
    ephemeral_patched.write("/repo/posted", b"posted\n")
    assert ephemeral_patched.turn("cat posted") is None
    assert b"+more" in ephemeral_patched.turn("echo more >> posted")
    assert ephemeral_patched.turn("cat posted") is None
    assert re.findall(rb"^diff --git a/(.*) b/", ephemeral_patched.cumulative(), re.M) == [b"posted"]


def test_the_patch_of_a_run_with_an_archive_is_against_the_archive(ephemeral_patched):
    patch = ephemeral_patched.turn("echo more >> x; echo 2 > y.log", archive=packed({"x": b"x\n", "y.log": b"1\n",
                                                                                      ".gitignore": b"*.log\n"}))
    assert re.findall(rb"^diff --git a/(.*) b/", patch, re.M) == [b"x", b"y.log"]
    assert b"+four" in ephemeral_patched.turn("echo four >> a.txt")
    assert ephemeral_patched.turn("true", archive=packed(SEED)) is None


def test_ignored_files_of_the_seed_are_followed_in_every_run(create):
    session = create(ephemeral=True, extract_patch=True)
    session.seeded(repo=tar({".gitignore": b"*.log\n", "kept.log": b"1\n"}))
    assert b"-1" in session.turn("rm kept.log")
    assert b"+2" in session.turn("echo 2 >> kept.log; echo 3 > new.log")
    assert session.turn("echo 3 > new.log") is None


def test_a_run_sees_nothing_of_the_meta_repository(ephemeral_patched):
    assert ephemeral_patched.one("ls /meta /scratch")["exit_code"] != 0
    assert ephemeral_patched.out("find / -name meta -user 1000 2>/dev/null; true") == ""


# --- nothing is left ---


def test_nothing_but_the_session_is_left_after_a_run(ephemeral, stack):
    ephemeral.run("touch f")
    assert objects(stack, ephemeral) == standing(ephemeral, stack.docker.exists(ephemeral.helper))


def test_nothing_is_left_after_close(create, stack):
    for patch in False, True:
        session = create(ephemeral=True, extract_patch=patch).seeded(repo=tar(SEED))
        session.run("touch f")
        assert objects(stack, session) == standing(session, patch)
        assert session.close().status_code == 204
        assert objects(stack, session) == []
        assert session.post(["true"]).status_code == 404


def test_the_sessions_own_image_outlives_it(create, stack):
    create(ephemeral=True).run("true")
    stack.close_since(len(stack.open_sessions) - 1)
    assert stack.docker.http.get(f"/images/{DEBIAN}/json").status_code == 200


@pytest.mark.parametrize("patch", [False, True])
@pytest.mark.parametrize("moment", ["in the command", "at once", 0.1, 0.4])
def test_close_ends_a_run_whenever_it_comes(create, stack, patch, moment):
    session = create(ephemeral=True, extract_patch=patch).seeded(repo=tar(SEED))
    running = Background(session.post, ["sleep 1000"])
    stack.working_pid(session.id)
    if moment == "in the command":
        eventually(lambda: any("sleep 1000" in p for p in stack.docker.processes(f"sandboxd-{session.id}-run")), 30)
    elif moment != "at once":
        time.sleep(moment)
    assert session.close().status_code == 204
    response = running.result(60)
    assert (response.status_code, response.json()) == (404, GONE)
    assert eventually(lambda: objects(stack, session) == [], 20)


def test_a_client_that_leaves_ends_the_run(ephemeral, stack):
    call = Call(stack, ephemeral.path, {"commands": ["touch f; sleep 1000"]})
    eventually(lambda: any("sleep 1000" in p for p in stack.docker.processes(f"sandboxd-{ephemeral.id}-run")), 30)
    assert not call.leave()
    eventually(lambda: not any("-run" in name for name in objects(stack, ephemeral)) and not stack.lock_holder(ephemeral.id))
    assert ephemeral.out("ls -A") == ""


def test_a_client_that_leaves_while_the_image_is_made_finds_it_made_later(relay, make_stack):
    stack = make_stack(docker_host=f"unix://{relay.path}", MIN_WORKERS=2)
    session = stack.create(ephemeral=True).seeded(repo=tar({"large": os.urandom(64 * MIB)}))
    relay.keep_back(b"/commit?")
    call = Call(stack, session.path, {"commands": ["sleep 1000"]})
    try:
        assert relay.reached.wait(30)
        assert not call.leave()
        access = pathlib.Path(stack.home, "log", "nginx-access.log")
        eventually(lambda: " status=499 " in access.read_text(), what="nginx to close the worker's connection")
        assert stack.lock_holder(session.id) and f"sandboxd-session:{session.id}" not in objects(stack, session)
    finally:
        relay.free.set()
    eventually(lambda: not stack.lock_holder(session.id), 40)
    assert objects(stack, session) == standing(session)
    begun = stack.docker.get(f"/images/sandboxd-session:{session.id}/json")["Id"]
    assert session.out("wc -c < large") == str(64 * MIB)
    assert stack.docker.get(f"/images/sandboxd-session:{session.id}/json")["Id"] == begun


@pytest.fixture(scope="module")
def fragile(start_stack):
    """A stack in which processes are killed. Its janitor may be in the sessions, and stand still there."""
    stack = start_stack(SWEEP_SECONDS=1, ORPHAN_GRACE_SECONDS=1, SESSION_LOCK_WAIT_SECONDS=30)
    yield stack
    finish(stack)


@pytest.mark.parametrize("patch", [False, True])
def test_the_janitor_removes_the_run_of_a_worker_that_was_killed(fragile, patch):
    session = fragile.create(ephemeral=True, extract_patch=patch).seeded(repo=tar(SEED))
    running = Background(session.post, ["echo dirty > a.txt; touch dirty; sleep 1000"])
    run = f"sandboxd-{session.id}-run"
    eventually(lambda: any("sleep 1000" in p for p in fragile.docker.processes(run)), 30)
    os.kill(fragile.working_pid(session.id), signal.SIGKILL)
    assert running.result().status_code == 503
    eventually(lambda: objects(fragile, session) == standing(session, patch), 20)
    eventually(lambda: session.out("ls -A; cat a.txt") == "a.txt\nd\none")  # the janitor may have its lock a moment longer
    assert not patch or session.turn("cat a.txt") is None
    session.close()
    eventually(lambda: objects(fragile, session) == [])


@pytest.mark.parametrize("delay", [0, 0.05, 0.15, 0.3, 0.6])
def test_a_worker_killed_at_any_moment_of_a_run_spoils_nothing(fragile, delay):
    session = fragile.create(ephemeral=True, extract_patch=True).seeded(repo=tar(SEED))
    running = Background(session.post, ["echo dirty > a.txt; touch dirty; sleep 0.2"])
    pid = fragile.working_pid(session.id)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    running.result()
    # At once: the next run clears up for itself, or finds the janitor at it, which a busy session's 409 tells.
    eventually(lambda: session.out("ls -A; cat a.txt") == "a.txt\nd\none", 20)
    eventually(lambda: objects(fragile, session)[:3] and not any("-run" in name for name in objects(fragile, session)), 20)
    eventually(lambda: session.write("/repo/posted", b"1") or True, 20)
    eventually(lambda: session.out("ls -A") == "a.txt\nd\nposted", 20)
    session.close()
    # A commit that outlived its worker has no name; it goes with the next sweep that finds no session.
    eventually(lambda: objects(fragile, session) == [], 20)


def test_the_janitor_leaves_a_living_run_alone(fragile):
    session = fragile.create(ephemeral=True, extract_patch=True)
    assert session.out("for i in 1 2 3 4; do echo $i > f$i; sleep 1; done; cat f1 f2 f3 f4") == "1\n2\n3\n4"
    session.close()


def test_an_image_without_a_session_is_swept(fragile):
    label = ["LABEL sandboxd.session=11111111-1111-4111-8111-111111111111", "sandboxd.role=image", "sandboxd.created=1",
             f"sandboxd.instance={fragile.instance}"]
    name = f"sandboxd-e2e-{os.getpid()}"
    fragile.docker.command("create", "--name", name, BUSYBOX, "true")
    image = fragile.docker.command("commit", "-c", " ".join(label), name).stdout.strip()
    fragile.docker.remove(name)
    assert eventually(lambda: fragile.docker.http.get(f"/images/{image}/json").status_code == 404, 20)


# --- what it costs ---


def medians_ms(what, times=7):
    """{name: median time} of functions by name, called in turns: what slows the machine down slows all of them."""
    took = {name: [] for name in what}
    for _ in range(times):
        for name, fn in what.items():
            begun = time.perf_counter()
            fn()
            took[name].append((time.perf_counter() - begun) * 1000)
    return {name: statistics.median(each) for name, each in took.items()}


@pytest.mark.plain  # it measures
def test_what_an_ephemeral_run_costs(create, stack, capsys):
    http = stack.docker.http
    body = {"Image": DEBIAN, "Cmd": ["sleep", "100"], "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "none"}}}
    name = f"sandboxd-e2e-raw-{os.getpid()}"

    def raw():
        http.post("/containers/create", params={"name": name}, json=body).raise_for_status()
        http.post(f"/containers/{name}/start").raise_for_status()
        http.delete(f"/containers/{name}", params={"force": "1", "v": "1"}).raise_for_status()

    files = {f"d{i % 50}/f{i}": os.urandom(5000) for i in range(2000)}
    plain, patched, large = create(ephemeral=True), create(ephemeral=True, extract_patch=True), \
        create(ephemeral=True, extract_patch=True).seeded(repo=tar(files))
    for session in plain, patched, large:
        session.run("true")
    costs = medians_ms({"raw": raw, "without a patch": lambda: plain.run("true"), "with a patch": lambda: patched.run("echo x > f"),
                        "with a patch of 2,000 files": lambda: large.run("echo x > d1/f1")})
    raw_ms = costs.pop("raw")
    with capsys.disabled():
        print(f"\nraw create+start+remove {raw_ms:.0f} ms; an ephemeral run: " +
              ", ".join(f"{what} {ms:.0f} ms ({ms / raw_ms:.2f} x)" for what, ms in costs.items()))
    assert costs["without a patch"] < 3 * raw_ms + 50
    # Whatever is in the repository, none of it is copied.
    assert costs["with a patch of 2,000 files"] < 2 * costs["with a patch"] + 100
