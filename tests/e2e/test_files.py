"""Writing files without a shell: batches of mutations, each with a result of its own."""
import base64
import hashlib
import random
import subprocess

import pytest

from support import MIB, Background, eventually, in_parallel

pytestmark = pytest.mark.core


@pytest.fixture
def session(create):
    return create()


def one(session, path, content=b"x", mode=0o644):
    [result] = session.files([(path, content, mode)])
    assert set(result) == {"path", "ok", "error"} and result["path"] == path
    return result


def listing(session, where="/repo"):
    return session.out(f"cd {where} && find . -mindepth 1 | sort").split("\n")


def test_a_batch_of_64_files_is_written_in_order(session):
    batch = [(f"/repo/d{i % 4}/f{i}", b"content %d" % i, 0o644) for i in range(64)]
    assert session.files(batch) == [{"path": path, "ok": True, "error": None} for path, _, _ in batch]
    assert session.out("cat d3/f63; find . -type f | wc -l") == "content 6364"


def test_of_two_writes_to_one_path_the_last_wins(session):
    assert all(r["ok"] for r in session.files([("/repo/a", b"first"), ("/repo/a", b"last")]))
    assert session.out("cat a") == "last"


@pytest.mark.parametrize("mode", [0, 0o400, 0o644, 0o600, 0o755, 0o777, 0o4755, 0o2755, 0o1777, 0o7777])
def test_the_mode_asked_for_is_the_mode_on_disk(shared, mode):
    shared.write(f"/repo/mode-{mode:o}", b"x", mode)
    assert shared.out(f"stat -c %a /repo/mode-{mode:o}") == f"{mode:o}"


def test_an_existing_file_is_replaced_with_its_new_mode(session):
    session.run("echo old > a; chmod 400 a; ln a old-link; exec 3< a; (sleep 0.3; cat <&3 > reader) &")
    session.write("/repo/a", b"new", 0o755)
    assert session.out("cat a; stat -c %a a").split() == ["new755"]
    assert session.out("cat old-link") == "old"  # a new file took the name; the old one is whole for whoever has it
    eventually(lambda: session.one("cat reader")["output"] == "old\n")


def test_no_temporary_file_is_left(session):
    session.run("mkdir dir")
    session.files([("/repo/a", b"1"), ("/repo/dir", b"2"), ("/repo/dir/b", b"3"), ("/repo/a/impossible", b"4")])
    assert listing(session) == ["./a", "./dir", "./dir/b"]


def test_a_reader_never_sees_half_a_file(session):
    session.write("/repo/a", b"0" * MIB)
    reader = Background(session.stack.docker.command, "exec", session.container, "bash", "-c",
                        "end=$((SECONDS + 3)); while [ $SECONDS -lt $end ]; do [ -e /repo/stop ] && exit 0; "
                        "[ $(tr -d 0 < /repo/a | tr -d 1 | wc -c) = 0 ] && [ $(wc -c < /repo/a) = 1048576 ] || exit 9; "
                        "[ $(fold -w1 < <(head -c1 /repo/a; tail -c1 /repo/a) | sort -u | wc -l) -le 2 ] || exit 8; done", check=False)
    for i in range(20):
        session.write("/repo/a", b"%d" % (i % 2) * MIB)
    session.write("/repo/stop", b"")
    assert reader.result().returncode == 0


def test_missing_parents_are_made_and_all_belongs_to_the_sandbox_user(session):
    session.write("/repo/a/b/c/file", b"x")
    assert set(session.out("stat -c %u:%g a a/b a/b/c a/b/c/file").split()) == {"1000:1000"}
    assert session.out("stat -c %a a") == "755"
    session.run("rm -r a", fail_fast=True)


def test_content_is_bytes(session):
    noise = random.Random(1).randbytes(2 * MIB)
    for name, content in (("noise", noise), ("empty", b""), ("nul", b"a\0b")):
        session.write(f"/repo/{name}", content)
        assert session.out(f"sha256sum < {name}").split()[0] == hashlib.sha256(content).hexdigest()


def test_a_batch_may_be_large(session):
    blocks = [random.Random(i).randbytes(MIB // 2) for i in range(40)]
    assert all(r["ok"] for r in session.files([(f"/repo/{i}", block) for i, block in enumerate(blocks)]))
    sums = session.out("cd /repo; for i in $(seq 0 39); do sha256sum < $i; done").split("\n")
    assert [s.split()[0] for s in sums] == [hashlib.sha256(block).hexdigest() for block in blocks]


def test_odd_names_are_only_names(session):
    names = ["with space", "ünï-🦀", "-rf", "..hidden", "a..b", "...", "$(touch x)", "quote'\"\\", "tab\t", "*", "\x7f"]
    session.files([(f"/repo/{name}", name.encode()) for name in names])
    assert sorted(listing(session)) == sorted("./" + name for name in names)


def test_repeated_slashes_and_dots_mean_nothing(session):
    assert one(session, "/repo//a/./b")["ok"] and one(session, "//repo/c")["ok"] in (True, False)
    assert session.out("cat a/b") == "x"


# --- items that fail ---


@pytest.mark.costly
@pytest.mark.parametrize("path,word", [
    ("relative", "absolute"), ("", "absolute"), ("repo/a", "absolute"), ("/repo/../etc/x", "'..'"), ("/repo/a/..", "'..'"), ("/repo/..", "'..'"),
    ("/repo/a\0b", "NUL"), ("/repo/a\nb", "LF"), ("/repo/a\rb", "CR"), ("/etc/passwd", "under /repo"), ("/repository", "under /repo"),
    ("/", "under /repo"), ("/repo", "/repo itself"), ("/repo/", "/repo itself"), ("/repo//", "/repo itself"), ("/skills/a", "under /repo"),
    ("/repo/dir", "directory"), ("/repo/dir/", "directory"), ("/repo/new/", "directory"),
    ("/repo/out/x", "symlink"), ("/repo/out/deep/x", "symlink"), ("/repo/up/x", "symlink"), ("/repo/" + "n" * 300, "long"),
    ("/repo/" + "d/" * 2500 + "x", "long"), ("/repo/file/below", "directory"),
])
def test_a_bad_item_says_why_and_the_others_are_written(session, path, word):
    session.run("mkdir dir; echo f > file; mkdir /tmp/outside; ln -s /tmp/outside out; ln -s ../tmp/outside up")
    first, bad, last = session.files([("/repo/before", b"1"), (path, b"evil"), ("/repo/after", b"2")])
    assert first == {"path": "/repo/before", "ok": True, "error": None}
    assert last == {"path": "/repo/after", "ok": True, "error": None}
    assert bad["path"] == path and bad["ok"] is False
    assert word.lower() in bad["error"].lower(), bad["error"]
    assert session.out("cat before after; cat file; ls -A /tmp/outside") == "12f"
    assert "new" not in session.out("ls /repo").split()


def test_a_symlink_at_the_end_never_leads_a_write_out(session):
    session.run("echo safe > /tmp/victim; ln -s /tmp/victim link; ln -s /tmp/new dangling; ln -s /etc/passwd passwd")
    session.files([("/repo/link", b"evil"), ("/repo/dangling", b"evil"), ("/repo/passwd", b"evil")])
    assert session.out("cat /tmp/victim; ls /tmp") == "safe\nvictim"
    assert "evil" not in session.out("cat /etc/passwd")


def test_symlinks_that_stay_inside_are_followed(session):
    session.run("mkdir real; ln -s real way; ln -s /repo/real absolute")
    assert one(session, "/repo/way/a")["ok"] and one(session, "/repo/absolute/b")["ok"]
    assert listing(session, "/repo/real") == ["./a", "./b"]


def test_a_path_swapped_for_a_symlink_meanwhile_never_leads_out(session):
    session.run("mkdir /tmp/outside; mkdir a b; ln -s /tmp/outside link")
    session.run("(while :; do mv -T a c; mv -T link a; mv -T a link; mv -T c a; done) > /dev/null 2>&1 &")
    for i in range(100):
        session.files([(f"/repo/a/f{i}-{j}", b"x") for j in range(10)])
    assert session.out("ls -A /tmp/outside") == ""


def test_a_directory_that_the_user_may_not_write_is_an_error(session):
    session.run("mkdir closed; chmod 500 closed")
    result = one(session, "/repo/closed/a")
    assert result["ok"] is False and "permission" in result["error"].lower()
    assert one(session, "/repo/b")["ok"] is True


def test_a_full_disk_is_an_error_of_the_item(create, stack):
    session = create(extract_patch=True)
    [volume] = [v for v in stack.docker.volumes(f"sandboxd.session={session.id}") if v["Labels"]["sandboxd.role"] == "repo"]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,uid=1000,gid=1000", "e2e", volume["Mountpoint"]], check=True)
    try:
        for container in session.container, session.helper:
            stack.docker.kill(container)  # both see the small file system when they are started again
        eventually(lambda: int(session.out("echo $(($(stat -f -c '%b * %S' /repo)))")) < MIB)
        results = session.files([("/repo/a", b"1"), ("/repo/big", b"2" * MIB), ("/repo/b", b"3")])
        assert [r["ok"] for r in results] == [True, False, True]
        assert "space" in results[1]["error"].lower()
        assert session.out("ls -A").split() == ["a", "b"]
    finally:
        session.close()
        subprocess.run(["umount", "-l", volume["Mountpoint"]], check=False)


# --- faults ---


@pytest.mark.parametrize("mutations,loc,kind", [
    ([], ["body", "mutations"], "too_short"),
    ([{"path": "/repo/a", "content": "", "mode": 420}] * 65, ["body", "mutations"], "too_long"),
    ("x", ["body", "mutations"], "list_type"),
    ([5], ["body", "mutations", 0], "model_attributes_type"),
    ([{"content": "", "mode": 420}], ["body", "mutations", 0, "path"], "missing"),
    ([{"path": "/repo/a", "mode": 420}], ["body", "mutations", 0, "content"], "missing"),
    ([{"path": "/repo/a", "content": "", "mode": 0o10000}], ["body", "mutations", 0, "mode"], "less_than_equal"),
    ([{"path": "/repo/a", "content": "", "mode": -1}], ["body", "mutations", 0, "mode"], "greater_than_equal"),
    ([{"path": "/repo/a", "content": "", "mode": "rw"}], ["body", "mutations", 0, "mode"], "int_parsing"),
    ([{"path": 5, "content": "", "mode": 420}], ["body", "mutations", 0, "path"], "string_type"),
    ([{"path": "/repo/a", "content": 5, "mode": 420}], ["body", "mutations", 0, "content"], "string_type"),
])
def test_wrong_mutations_are_422_and_nothing_is_written(shared, mutations, loc, kind):
    response = shared.post_files(mutations)
    assert response.status_code == 422, response.text
    assert [(f["loc"], f["type"]) for f in response.json()["detail"]] == [(loc, kind)]


def test_content_that_is_no_base64_is_422(shared):
    for content in ("***", "YQ=", "YQ", "Y", "YQ==YQ==", "é"):
        response = shared.post_files([{"path": "/repo/base64", "content": content, "mode": 420}])
        assert response.status_code == 422, (content, response.text)
        assert response.json()["detail"][0]["loc"] == ["body", "mutations", 0, "content"]
    assert shared.one("ls /repo/base64")["exit_code"] != 0


def test_every_fault_of_a_batch_is_reported(shared):
    good = {"path": "/repo/never", "content": base64.b64encode(b"x").decode(), "mode": 420}
    response = shared.post_files([good, {"mode": "x"}, {**good, "mode": 99999}])
    assert sorted(map(str, (f["loc"][2:] for f in response.json()["detail"]))) == sorted(
        map(str, ([1, "path"], [1, "content"], [1, "mode"], [2, "mode"])))
    assert shared.one("ls /repo/never")["exit_code"] != 0


def test_batches_of_several_sessions_at_once(create):
    sessions = [create() for _ in range(3)]

    def fill(session):
        for i in range(10):
            assert all(r["ok"] for r in session.files([(f"/repo/{session.id}/{i}-{j}", b"x") for j in range(64)]))
        return session.out("find . -type f | wc -l")

    assert in_parallel(fill, sessions) == ["640"] * 3
