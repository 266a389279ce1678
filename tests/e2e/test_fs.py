"""File operations that the agent does itself: ls, stat, read, grep, glob, write, edit, delete, mkdir, move."""
import base64
import random
import time
import uuid

import pytest

from support import BUSYBOX, DISTROLESS, GONE, HELD, Background, eventually, let_go

pytestmark = pytest.mark.core

CAP = 512000


@pytest.fixture
def session(create):
    return create()


def fs(session, op, **body):
    """The answer of an operation, which is 200 whatever comes of it."""
    response = session.stack.http.post(session.path + f"fs/{op}/", json=body)
    assert response.status_code == 200, f"{response.status_code} {response.text}"
    return response.json()


def good(session, op, **body):
    answer = fs(session, op, **body)
    assert answer["error"] is None, answer
    return answer


def code(session, op, **body):
    answer = fs(session, op, **body)
    assert answer["error"] and answer["error"]["message"], answer
    return answer["error"]["code"]


def write(session, path, content, **fields):
    content = content.encode() if isinstance(content, str) else content
    return fs(session, "write", path=path, content=base64.b64encode(content).decode(), **fields)


def paths(items):
    return [item["path"] for item in items]


# --- ls, stat ---


def test_a_directory_is_listed_in_the_order_of_names(session):
    session.run("mkdir d .hidden; touch b a d/inner 'with space' ünï; ln -s d link; ln -s nowhere dangling; mkfifo pipe")
    assert good(session, "ls", path="/repo") == {"entries": [
        {"path": "/repo/.hidden", "is_dir": True}, {"path": "/repo/a", "is_dir": False}, {"path": "/repo/b", "is_dir": False},
        {"path": "/repo/d", "is_dir": True}, {"path": "/repo/dangling", "is_dir": False}, {"path": "/repo/link", "is_dir": True},
        {"path": "/repo/pipe", "is_dir": False}, {"path": "/repo/with space", "is_dir": False}, {"path": "/repo/ünï", "is_dir": False}],
        "error": None}


def test_both_spellings_are_the_same_directories(session):
    session.write("/repo/a", b"one")
    assert paths(good(session, "ls", path="/workspace/repo")["entries"]) == ["/workspace/repo/a"]
    assert paths(good(session, "ls", path="/workspace/repo//./")["entries"])[0].endswith("/a")
    assert good(session, "read", path="/workspace/repo/a")["content"] == "one"
    assert write(session, "/workspace/skills/s", "two")["ok"] and good(session, "read", path="/skills/s")["content"] == "two"
    assert write(session, "/workspace/tmp/t", "three")["ok"] and session.out("cat /workspace/tmp/t; pwd", cwd="/workspace/tmp") == "three/workspace/tmp"
    assert session.out("pwd -P; cat a", cwd="/workspace/repo") == "/repo\none"
    assert session.files([("/workspace/repo/b", b"x")]) == [{"path": "/workspace/repo/b", "ok": True, "error": None}]
    assert session.out("cat b") == "x"
    entries = {item["path"]: item["is_dir"] for item in good(session, "ls", path="/workspace")["entries"]}
    assert entries == {"/workspace/repo": True, "/workspace/skills": True, "/workspace/tmp": True}


def test_stat_says_what_is_there(session):
    session.run("printf abc > f; chmod 4751 f; mkdir d; ln -s some/where link; touch -d @1700000000.5 f")
    uid = int(session.out("id -u"))
    assert good(session, "stat", path="/repo/f") == {"type": "file", "size": 3, "mode": 0o4751, "mtime": 1700000000.5, "uid": uid,
                                                     "gid": int(session.out("id -g")), "target": None, "error": None}
    link = good(session, "stat", path="/repo/link")
    assert (link["type"], link["target"]) == ("symlink", "some/where")
    assert good(session, "stat", path="/repo/d")["type"] == good(session, "stat", path="/repo")["type"] == "dir"
    assert fs(session, "stat", path="/repo/no")["type"] is None


def has_time(session, when):
    session.run(f"touch -d @{when} old", fail_fast=True)
    assert good(session, "stat", path="/repo/old")["mtime"] == when


def test_times_before_1970_are_negative(session):
    for when in (-1, -86400 * 365 * 50, 0):
        has_time(session, when)


@pytest.mark.runc  # gVisor counts their nanoseconds backwards, -500000000 for half a second
def test_so_are_fractions_of_seconds_before_1970(session):
    for when in (-0.5, -1.25):
        has_time(session, when)


def test_a_hundred_thousand_entries_are_listed(session):
    session.run("mkdir big; cd big; seq -f 'entry-%06.0f' 100000 | xargs touch", fail_fast=True)
    entries = good(session, "ls", path="/repo/big")["entries"]
    assert paths(entries) == [f"/repo/big/entry-{i:06}" for i in range(1, 100001)]


# --- read ---


def test_lines_are_read_from_an_offset_as_many_as_are_wanted(session):
    lines = [f"line {i}" for i in range(5000)]
    session.write("/repo/f", "\n".join(lines).encode() + b"\n")
    assert good(session, "read", path="/repo/f") == {"content": "\n".join(lines[:2000]), "encoding": "utf-8", "total_lines": 5000,
                                                     "end_line": 2000, "truncated": True, "error": None}
    rest = good(session, "read", path="/repo/f", offset=4990, limit=100)
    assert rest == {"content": "\n".join(lines[4990:]), "encoding": "utf-8", "total_lines": 5000, "end_line": 5000, "truncated": False, "error": None}
    one = good(session, "read", path="/repo/f", offset=7, limit=1)
    assert (one["content"], one["end_line"], one["truncated"]) == ("line 7", 8, True)


@pytest.mark.parametrize("content,total", [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\n\n", 2), (b"\n\na", 3), ("é€😀\r\n".encode(), 1)])
def test_ends_of_lines(shared, content, total):
    path = f"/repo/ends-{content.hex()}"
    shared.write(path, content)
    answer = good(shared, "read", path=path)
    want = content[:-1] if content.endswith(b"\n") else content
    assert (answer["content"], answer["total_lines"], answer["end_line"], answer["truncated"]) == (want.decode(), total, total, False)


def test_an_offset_behind_the_end_is_invalid(session):
    session.write("/repo/f", b"a\nb\n")
    session.write("/repo/empty", b"")
    assert code(session, "read", path="/repo/f", offset=2) == "invalid_offset"
    assert code(session, "read", path="/repo/empty", offset=1) == "invalid_offset"
    assert good(session, "read", path="/repo/f", offset=1)["content"] == "b"


def test_what_is_read_ends_at_the_cap_with_a_whole_line(session):
    session.write("/repo/f", b"".join(b"%07d\n" % i for i in range(100000)))
    answer = good(session, "read", path="/repo/f", limit=1000000)
    assert (len(answer["content"]), answer["end_line"], answer["total_lines"], answer["truncated"]) == (CAP - 1, CAP // 8, 100000, True)
    follow = good(session, "read", path="/repo/f", offset=answer["end_line"], limit=1)
    assert follow["content"] == "%07d" % (CAP // 8)


def test_one_line_beyond_the_cap_is_cut_between_characters(session):
    session.write("/repo/f", b"x" + "€".encode() * 300000 + b"\nnext")
    answer = good(session, "read", path="/repo/f")
    assert answer["content"].rstrip("€") == "x" and CAP - 3 < len(answer["content"].encode()) <= CAP
    assert (answer["end_line"], answer["total_lines"], answer["truncated"]) == (1, 2, True)
    assert good(session, "read", path="/repo/f", offset=1)["content"] == "next"


@pytest.mark.parametrize("content", [b"\x00", b"\xff\xfe", b"caf\xe9", b"\xc0\xaf", b"\xed\xa0\x80", b"text\x00more", bytes(range(256)) * 100])
def test_what_is_no_text_comes_as_base64(shared, content):
    path = f"/repo/binary-{content[:8].hex()}-{len(content)}"
    shared.write(path, content)
    answer = good(shared, "read", path=path)
    assert answer["encoding"] == "base64" and base64.b64decode(answer["content"], validate=True) == content


def test_the_largest_file_that_is_no_text(session):
    noise = random.Random(1).randbytes(CAP + 1)
    session.write("/repo/fits", noise[:CAP])
    session.write("/repo/large", noise)
    assert base64.b64decode(good(session, "read", path="/repo/fits")["content"]) == noise[:CAP]
    assert fs(session, "read", path="/repo/large")["error"]["code"] == "too_large"


def test_a_huge_file_is_read_in_flat_memory(create):
    session = create(memory_bytes=64 * 1024 * 1024)
    session.run("yes 0123456789 | head -c 300M > f", fail_fast=True)
    answer = good(session, "read", path="/repo/f", offset=1000, limit=3)
    assert (answer["content"], answer["total_lines"]) == ("0123456789\n" * 2 + "0123456789", 300 * 1024 * 1024 // 11 + 1)


def test_nothing_is_waited_for(session):
    session.run("mkfifo pipe; ln -s pipe link; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/repo/sock\")' || true")
    for path in ("/repo/pipe", "/repo/link"):
        started = time.monotonic()
        assert code(session, "read", path=path) == "invalid_path"
        assert code(session, "edit", path=path, old="a", new="b") == "invalid_path"
        assert time.monotonic() - started < 2
    assert good(session, "grep", pattern="x", path="/repo")["matches"] == []


# --- grep ---


def test_matching_lines_come_with_path_and_number(session):
    session.files([("/repo/a.py", b"import os\n\ndef main():\n    return os.getcwd()\n"), ("/repo/sub/b.py", b"x = 1\r\nimport sys"),
                   ("/repo/sub/c.txt", b"import nothing\n"), ("/repo/.git/config", b"import git\n"), ("/repo/bin", b"import\0")])
    assert good(session, "grep", pattern="^import", path="/repo") == {"matches": [
        {"path": "/repo/a.py", "line": 1, "text": "import os"}, {"path": "/repo/sub/b.py", "line": 2, "text": "import sys"},
        {"path": "/repo/sub/c.txt", "line": 1, "text": "import nothing"}], "truncated": False, "error": None}
    assert paths(good(session, "grep", pattern="import", path="/workspace/repo", glob="*.py")["matches"]) == ["/workspace/repo/a.py", "/workspace/repo/sub/b.py"]
    assert paths(good(session, "grep", pattern="import", path="/repo", exclude=["s?b"])["matches"]) == ["/repo/a.py"]
    assert good(session, "grep", pattern="os", path="/repo/a.py")["matches"] == [
        {"path": "/repo/a.py", "line": 1, "text": "import os"}, {"path": "/repo/a.py", "line": 4, "text": "    return os.getcwd()"}]
    assert good(session, "grep", pattern="nothing like it", path="/repo") == {"matches": [], "truncated": False, "error": None}


@pytest.mark.parametrize("pattern", [
    "foo", "foo|bar", "(foo)+", "fo{2}", "fo?", "fo*b", "^foo$", "^$", "[[:digit:]]+", "[^a-z ]", "a.c", r"a\.c", "x+y", "(a|b)c", "colou?r", ".*", "^", r"\bfoo\b",
    r"foo\(", "[]]", "[^]x]", r"\<bar", "a{0}b", "é", "b$", "(foo)(bar)?", "f(o)o", r"\w+ \w+", "o{2,}", "ab|cd|", "x*"])
def test_lines_are_those_of_gnu_grep(shared, pattern):
    shared.write("/repo/lines", b"foo\nbar\nfoobar\nfoo bar\n\nabc\na.c\naxc\nxxy\ncolor colour\nac bc\n12\n] x\nfoo(\n\xc3\xa9t\xc3\xa9\ncd\nb\nABC\n")
    shared.write("/repo/pattern", pattern.encode())
    result = shared.one("LC_ALL=C grep -nE -f pattern lines")
    want = [line.split(":", 1) for line in result["output"].rstrip("\n").split("\n")] if result["exit_code"] == 0 else []
    assert result["exit_code"] in (0, 1), result
    got = good(shared, "grep", pattern=pattern, path="/repo/lines")["matches"]
    assert [[str(match["line"]), match["text"]] for match in got] == want


def test_matches_beyond_two_hundred_are_left_out_and_said_so(session):
    session.write("/repo/a", b"x\n" * 200)
    assert good(session, "grep", pattern="x", path="/repo")["truncated"] is False
    session.write("/repo/b", b"x\n")
    answer = good(session, "grep", pattern="x", path="/repo")
    assert len(answer["matches"]) == 200 and answer["truncated"] is True


@pytest.mark.parametrize("pattern", ["(", "[", "a{2", "*", "a**{", "[[:nope:]]", "(" * 3000, "\\", "a{99999}", "a\nb"])
def test_a_pattern_that_is_none_is_told_or_taken_as_grep_does(shared, pattern):
    error = fs(shared, "grep", pattern=pattern, path="/repo")["error"]
    assert error is None or error["code"] == "invalid_pattern", error
    assert pattern in ("a{2", "*", "a**{") or error


def test_a_hostile_pattern_costs_its_own_process_only(make_stack):
    own = make_stack(FS_TIMEOUT_SECONDS=3)
    session = own.create()
    session.write("/repo/a", b"a" * 5000 + b"\n")
    started = time.monotonic()
    for pattern in ("((a{1,250}){1,250}){1,250}b", "(" * 60000, "(a*)*\\1(b*)*\\2(c|d)*x", "(.*)\\1(.*)\\2(.*)\\3(.*)\\4x"):
        answer = fs(session, "grep", pattern=pattern, path="/repo")
        assert answer["error"] is None or answer["error"]["code"] in ("invalid_pattern", "exec_failed"), answer
    assert time.monotonic() - started < 40
    assert session.out("echo well") == "well"


def test_long_lines_and_large_files_are_searched(session):
    session.run("(yes filler | head -c 3000000; echo; printf 'x%.0s' $(seq 5000); echo needle; yes filler | head -c 3000000; echo; echo end needle) > f")
    answer = good(session, "grep", pattern="needle", path="/repo")
    assert [match["line"] for match in answer["matches"]] == [int(line.split(":")[0]) for line in session.out("grep -n needle f | cut -c1-30").split("\n")]
    assert len(answer["matches"][0]["text"]) == 2000


def test_symlinks_are_not_followed_and_what_cannot_be_read_is_passed_over(session):
    session.run("mkdir d closed; echo word > d/f; ln -s /etc out; ln -s d again; ln -s d/f file-link; echo word > secret; chmod 0 secret closed")
    assert paths(good(session, "grep", pattern="word|root", path="/repo")["matches"]) == ["/repo/d/f"]
    assert paths(good(session, "grep", pattern="word", path="/repo/file-link")["matches"]) == ["/repo/file-link"]


def test_pruned_directories_are_a_setting(make_stack):
    own = make_stack(FS_PRUNE_DIRS="skip,*.tmp")
    session = own.create(BUSYBOX)
    session.files([(f"/repo/{name}/f", b"word") for name in ("skip", "a.tmp", ".git", "in/skip", "in/target")])
    assert paths(good(session, "grep", pattern="word", path="/repo")["matches"]) == ["/repo/.git/f", "/repo/in/target/f"]
    assert paths(good(session, "grep", pattern="word", path="/repo/skip")["matches"]) == ["/repo/skip/f"]


# --- glob ---


TREE = ["a.py", "b.txt", "dir/c.py", "dir/deep/d.py", "dir/deep/e.txt", ".hidden.py", "[x].py", "__pycache__/f.py", "node_modules/g.py"]


@pytest.mark.parametrize("pattern,want", [
    ("*.py", [".hidden.py", "[x].py", "a.py"]), ("**/*.py", [".hidden.py", "[x].py", "a.py", "dir/c.py", "dir/deep/d.py", "node_modules/g.py"]),
    ("dir/*", ["dir/c.py", "dir/deep"]), ("dir/**", ["dir/c.py", "dir/deep", "dir/deep/d.py", "dir/deep/e.txt"]), ("**/deep/*.txt", ["dir/deep/e.txt"]),
    ("?.py", ["a.py"]), ("[ab].*", ["a.py", "b.txt"]), ("[!a].txt", ["b.txt"]), ("[[]x].py", ["[x].py"]), (r"\[x\].py", ["[x].py"]), ("**/deep", ["dir/deep"]),
    ("nothing", []), ("", []), ("*/*/*", ["dir/deep/d.py", "dir/deep/e.txt"]), ("/a.py", ["a.py"]), ("**/**/e.*", ["dir/deep/e.txt"]), ("[a", []),
])
def test_names_are_matched(shared, pattern, want):
    if not hasattr(shared, "globbed"):
        shared.files([(f"/repo/glob/{path}", b"") for path in TREE])
        shared.globbed = True
    answer = good(shared, "glob", pattern=pattern, path="/repo/glob")
    assert sorted(paths(answer["matches"])) == sorted(f"/repo/glob/{path}" for path in want)
    assert {item["path"] for item in answer["matches"] if item["is_dir"]} == {f"/repo/glob/{path}" for path in want if path == "dir/deep"}


def test_excluded_directories_are_not_walked(session):
    session.files([(f"/repo/{path}", b"") for path in TREE])
    assert paths(good(session, "glob", pattern="**/*.py", path="/repo", exclude=["node_*", "deep"])["matches"]) == [
        "/repo/.hidden.py", "/repo/[x].py", "/repo/a.py", "/repo/dir/c.py"]


def test_a_pattern_of_many_stars_comes_to_an_end(session):
    session.write("/repo/" + "a" * 200, b"")
    started = time.monotonic()
    assert good(session, "glob", pattern="*a" * 60 + "b", path="/repo")["matches"] == []
    assert time.monotonic() - started < 5


# --- write, edit ---


def test_a_file_is_written_once(session):
    assert write(session, "/repo/new/dir/f", "one") == {"ok": True, "error": None}
    assert session.out("cat new/dir/f; stat -c ' %a %u:%g' new/dir/f new/dir") == "one 644 1000:1000\n 755 1000:1000"
    again = write(session, "/repo/new/dir/f", "two")
    assert again["ok"] is False and again["error"]["code"] == "already_exists"
    assert session.out("cat new/dir/f; ls -A new/dir") == "onef"
    assert write(session, "/repo/run", b"\0\xff", mode=0o4755)["ok"] and session.out("stat -c %a run") == "4755"
    session.run("ln -s missing dangling")
    assert write(session, "/repo/dangling", "x")["error"]["code"] == "already_exists"


def test_of_many_writes_the_first_wins(session):
    answers = []
    for _ in range(5):
        path = f"/repo/{uuid.uuid4()}"
        answers.append([write(session, path, f"{i}") for i in range(4)])
    assert all([a["ok"] for a in answer] == [True, False, False, False] for answer in answers)


def test_an_edit_replaces_and_keeps_the_mode(session):
    session.run("printf 'one two two\\n' > f; chmod 751 f; ln -s f link")
    assert good(session, "edit", path="/repo/f", old="one", new="1") == {"occurrences": 1, "error": None}
    answer = fs(session, "edit", path="/repo/f", old="two", new="2")
    assert answer["occurrences"] == 0 and answer["error"]["code"] == "multiple_occurrences" and "2" in answer["error"]["message"]
    assert good(session, "edit", path="/repo/link", old="two", new="", replace_all=True)["occurrences"] == 2
    assert session.out("cat f; stat -c %a f; readlink link; ls -A") == "1  \n751\nf\nf\nlink"
    assert code(session, "edit", path="/repo/f", old="three", new="3") == "string_not_found"
    assert code(session, "edit", path="/repo/f", old="", new="3") == "string_not_found"


def test_an_edit_knows_bytes_and_lines(session):
    session.write("/repo/f", "a\nb\nçé\n".encode())
    assert good(session, "edit", path="/repo/f", old="b\nç", new="ü\n\nx")["occurrences"] == 1
    assert session.out("cat f").encode() == "a\nü\n\nxé".encode()
    session.write("/repo/f", b"aaaa")
    assert good(session, "edit", path="/repo/f", old="aa", new="aaa", replace_all=True)["occurrences"] == 2
    assert session.out("cat f") == "aaaaaa"


@pytest.mark.parametrize("content", [b"a\0b", b"\xff", b"ok \xc3("])
def test_only_text_is_edited(shared, content):
    path = f"/repo/edit-{content.hex()}"
    shared.write(path, content)
    assert code(shared, "edit", path=path, old="a", new="b") == "not_a_text_file"


def test_an_edit_needs_the_right_to_write(session):
    session.run("echo a > f; chmod 444 f; mkdir d; echo a > d/f; chmod 555 d")
    assert code(session, "edit", path="/repo/f", old="a", new="b") == "permission_denied"
    assert code(session, "edit", path="/repo/d/f", old="a", new="b") == "permission_denied"
    assert write(session, "/repo/d/new", "x")["error"]["code"] == "permission_denied"
    assert session.out("cat f d/f; ls -A d") == "a\na\nf"


def test_a_file_too_large_is_not_edited(session):
    session.run("yes | head -c 33M > f")
    assert code(session, "edit", path="/repo/f", old="yes", new="no") == "too_large"
    session.run("printf 'x%.0s' $(seq 4000) > g")
    assert code(session, "edit", path="/repo/g", old="x", new="y" * 10000, replace_all=True) == "too_large"
    assert session.out("ls -A; wc -c < g") == "f\ng\n4000"


def test_a_reader_never_sees_half_an_edit(session):
    session.write("/repo/f", b"0" * 500_000)
    session.run("(while [ ! -e stop ]; do [ $(wc -c < f) = 500000 ] || echo torn >> ../repo/torn; done) > /dev/null 2>&1 &")
    for i in range(20):
        good(session, "edit", path="/repo/f", old=str(i % 2), new=str((i + 1) % 2), replace_all=True)
    session.run("touch stop")
    assert session.out("ls -A") == "f\nstop"


# --- delete, mkdir, move ---


def test_what_is_deleted_is_gone(session):
    session.run("mkdir -p d/e; touch f d/e/f; chmod 0 d/e; ln -s d link")
    assert good(session, "delete", path="/repo/f") == {"ok": True, "removed": True, "error": None}
    assert good(session, "delete", path="/repo/f") == {"ok": True, "removed": False, "error": None}
    assert good(session, "delete", path="/repo/no/such/file")["removed"] is False
    assert fs(session, "delete", path="/repo/d") == {"ok": False, "removed": False, "error": {"code": "is_a_directory", "message": "Is a directory: /repo/d"}}
    assert good(session, "delete", path="/repo/link")["removed"] and session.out("ls -A") == "d"
    assert good(session, "delete", path="/repo/d", recursive=True)["removed"] and session.out("ls -A") == ""


def test_directories_are_made(session):
    assert good(session, "mkdir", path="/repo/a/b/c") == {"ok": True, "created": True, "error": None}
    assert good(session, "mkdir", path="/repo/a/b/c")["created"] is False
    assert good(session, "mkdir", path="/repo")["created"] is False
    assert code(session, "mkdir", path="/repo/x/y", parents=False) == "not_found"
    session.write("/repo/f", b"")
    assert code(session, "mkdir", path="/repo/f") == "already_exists"
    assert code(session, "mkdir", path="/repo/f/g") == "not_a_directory"
    assert good(session, "mkdir", path="/repo/private", mode=0o700)["created"] and session.out("stat -c %a private a") == "700\n755"


def test_files_and_directories_are_moved(session):
    session.run("echo a > a; mkdir d; echo b > d/b")
    assert good(session, "move", path="/repo/a", to="/repo/new/place/a") == {"ok": True, "error": None}
    assert good(session, "move", path="/repo/d", to="/repo/e")["ok"] and session.out("cat new/place/a e/b") == "a\nb"
    assert code(session, "move", path="/repo/new/place/a", to="/repo/e/b") == "already_exists"
    assert good(session, "move", path="/repo/new/place/a", to="/repo/e/b", overwrite=True)["ok"] and session.out("cat e/b") == "a"
    assert code(session, "move", path="/repo/e", to="/repo/e/inside") == "invalid_path"
    assert code(session, "move", path="/repo/none", to="/repo/x") == "not_found"
    assert code(session, "move", path="/repo", to="/repo/x") == "invalid_path"


def test_a_file_is_moved_to_another_file_system(create):
    session = create(extract_patch=True)  # /repo is a volume
    session.run("echo a > a; chmod 640 a; mkdir d")
    assert good(session, "move", path="/repo/a", to="/workspace/tmp/a")["ok"]
    assert session.out("ls -A; cat /workspace/tmp/a; stat -c %a /workspace/tmp/a") == "d\na\n640"
    assert code(session, "move", path="/repo/d", to="/workspace/tmp/d") == "exec_failed"


# --- paths ---


@pytest.mark.parametrize("path,want", [
    ("relative", "invalid_path"), ("", "invalid_path"), ("/", "invalid_path"), ("/etc/passwd", "invalid_path"), ("/repo/../etc/passwd", "invalid_path"),
    ("/repository/x", "invalid_path"), ("/repo/a\0b", "invalid_path"), ("/repo/" + "n" * 300, "invalid_path"), ("/repo/" + "d/" * 2500 + "x", "invalid_path"),
    ("/repo/out/passwd", "invalid_path"), ("/repo/up/passwd", "invalid_path"), ("/repo/loop/x", "invalid_path"), ("/proc/1/environ", "invalid_path"),
    ("/repo/no", "not_found"), ("/repo/no/no", "not_found"), ("/repo/file/x", "not_a_directory"), ("/workspace/other/x", "not_found"),
    ("/repo/closed/x", "permission_denied"),
])
def test_a_bad_path_is_an_answer(shared, path, want):
    shared.run("mkdir -p closed; echo f > file; ln -sfn /etc out; ln -sfn ../etc up; ln -sfn loop loop; chmod 0 closed")
    for op, more in (("read", {}), ("stat", {}), ("edit", {"old": "a", "new": "b"}), ("ls", {})):
        assert code(shared, op, path=path, **more) == want, op
    if want == "invalid_path":
        assert code(shared, "delete", path=path) == want
        assert write(shared, path, "x")["error"]["code"] == want
        assert code(shared, "mkdir", path=path) == want


def test_directories_and_files_are_told_apart(session):
    session.run("mkdir d; touch f")
    assert code(session, "read", path="/repo/d") == code(session, "edit", path="/repo/d", old="a", new="b") == "is_a_directory"
    assert code(session, "ls", path="/repo/f") == code(session, "glob", path="/repo/f", pattern="*") == "not_a_directory"
    assert code(session, "grep", path="/repo/none", pattern="x") == "not_found"
    assert code(session, "delete", path="/repo") == code(session, "delete", path="/workspace/skills", recursive=True) == "invalid_path"


def test_symlinks_inside_are_followed(session):
    session.run("mkdir real; echo x > real/f; ln -s real rel; ln -s /repo/real abs; ln -s /workspace/repo/real spelt; ln -s ../repo/real/f up; ln -s /skills s")
    for path in ("rel/f", "abs/f", "spelt/f", "up"):
        assert good(session, "read", path=f"/repo/{path}")["content"] == "x"
    assert write(session, "/repo/s/new", "y")["ok"] and session.out("cat /skills/new") == "y"


def test_a_path_swapped_for_a_symlink_meanwhile_never_leads_out(session):
    session.run("mkdir /tmp/outside; echo secret > /tmp/outside/f; mkdir a; echo inside > a/f; ln -s /tmp/outside link")
    session.run("(while :; do mv -T a c; mv -T link a; mv -T a link; mv -T c a; done) > /dev/null 2>&1 &")
    for i in range(100):
        answer = fs(session, "read", path="/repo/a/f")
        assert answer["content"] in ("inside", None), answer
        write(session, f"/repo/a/new-{i}", "x")
        fs(session, "edit", path="/repo/a/f", old="secret", new="leaked")
        fs(session, "delete", path="/repo/a/f-outside")
    assert session.out("ls -A /tmp/outside; cat /tmp/outside/f") == "f\nsecret"


def test_names_that_are_no_utf8_do_not_break_an_answer(session):
    session.run("mkdir odd; printf 'word\\n' > odd/$(printf 'x\\377y'); printf 'word \\377\\n' > odd/plain")
    assert [name.split("/")[-1] for name in paths(good(session, "ls", path="/repo/odd")["entries"])] == ["plain", "x�y"]
    assert [m["text"] for m in good(session, "grep", pattern="word", path="/repo/odd")["matches"]] == ["word �", "word"]
    assert good(session, "glob", pattern="x*", path="/repo/odd")["matches"]


def test_a_deep_tree_comes_to_an_end(session):
    session.run("mkdir deep; cd deep; perl -e 'for (1 .. 1500) { mkdir \"d\"; chdir \"d\" } open F, \">f\"; print F \"word\"'", fail_fast=True)
    assert good(session, "grep", pattern="word", path="/repo/deep")["error"] is None
    assert good(session, "glob", pattern="**/nothing", path="/repo/deep")["matches"] == []
    assert good(session, "delete", path="/repo/deep", recursive=True)["removed"]


# --- around them ---


def test_an_image_without_a_shell_has_them_all(create):
    session = create(DISTROLESS)
    assert write(session, "/repo/d/f", "one\n")["ok"]
    assert good(session, "read", path="/repo/d/f")["content"] == "one"
    assert good(session, "edit", path="/repo/d/f", old="one", new="two")["occurrences"] == 1
    assert paths(good(session, "grep", pattern="two", path="/repo")["matches"]) == ["/repo/d/f"]
    assert paths(good(session, "glob", pattern="**/f", path="/repo")["matches"]) == ["/repo/d/f"]
    assert paths(good(session, "ls", path="/repo")["entries"]) == ["/repo/d"]
    assert good(session, "stat", path="/workspace/repo/d/f")["size"] == 4
    assert good(session, "move", path="/repo/d/f", to="/repo/g")["ok"] and good(session, "delete", path="/repo/d", recursive=True)["removed"]


def test_a_change_is_a_turn_of_its_own(create):
    session = create(extract_patch=True)
    session.run("printf 'a\\nb\\n' > f; mkdir d")
    assert good(session, "edit", path="/repo/f", old="a", new="1")["occurrences"] == 1
    assert write(session, "/repo/new", "x\n")["ok"]
    assert good(session, "delete", path="/repo/d", recursive=True)["removed"]
    assert good(session, "move", path="/repo/new", to="/repo/moved")["ok"]
    assert session.turn("cat f") is None
    patch = session.turn("echo c >> f")
    assert b"+c" in patch and b"moved" not in patch and b"\n+1" not in patch
    assert all(word in session.cumulative() for word in (b"+1", b"moved", b"+c"))


def test_reading_does_not_touch_the_turn(create):
    session = create(extract_patch=True)
    session.run("echo a > f; (while [ ! -e /tmp/go ]; do sleep 0.01; done; echo late > late) > /dev/null 2>&1 &")
    let_go(session)
    eventually(lambda: good(session, "read", path="/repo/late")["content"] == "late")
    assert len(good(session, "ls", path="/repo")["entries"]) == 2
    good(session, "read", path="/repo/f")
    good(session, "grep", path="/repo", pattern="a")
    assert b"+late" in session.turn("true")  # the next run's patch still has it


def test_an_ephemeral_session_keeps_what_was_changed_outside_of_runs(create):
    session = create(ephemeral=True)
    session.run("echo gone > gone")
    assert write(session, "/repo/kept", "1")["ok"]
    assert session.out("ls -A; echo x >> kept; cat kept") == "kept\n1x"
    assert good(session, "edit", path="/repo/kept", old="1", new="2")["occurrences"] == 1
    assert session.out("cat kept") == "2"
    assert good(session, "ls", path="/repo")["entries"] == [{"path": "/repo/kept", "is_dir": False}]


def test_a_session_that_is_gone(stack):
    for op, body in (("ls", {"path": "/repo"}), ("write", {"path": "/repo/x", "content": ""})):
        response = stack.http.post(f"/session/{uuid.uuid4()}/fs/{op}", json=body)
        assert response.status_code == 404 and response.json() == GONE


def test_a_busy_session_is_told(session):
    slow = Background(session.run, HELD)
    session.stack.working_pid(session.id)
    assert session.stack.http.post(session.path + "fs/ls/", json={"path": "/repo"}).status_code == 409
    let_go(session)
    slow.result()


def test_a_stopped_container_is_started_again(session):
    session.write("/repo/f", b"x")
    session.stack.docker.kill(session.container)
    assert good(session, "read", path="/repo/f")["content"] == "x"


@pytest.mark.parametrize("op,body,loc", [
    ("ls", {}, ["path"]), ("read", {"path": "/repo/f", "offset": -1}, ["offset"]), ("read", {"path": "/repo/f", "limit": 0}, ["limit"]),
    ("read", {"path": 5}, ["path"]), ("grep", {"path": "/repo"}, ["pattern"]), ("grep", {"path": "/repo", "pattern": "a\0"}, ["pattern"]),
    ("grep", {"path": "/repo", "pattern": "a", "exclude": "x"}, ["exclude"]), ("glob", {"path": "/repo", "pattern": "a", "exclude": [5]}, ["exclude", 0]),
    ("write", {"path": "/repo/f"}, ["content"]), ("write", {"path": "/repo/f", "content": "***"}, ["content"]),
    ("write", {"path": "/repo/f", "content": "", "mode": 0o10000}, ["mode"]), ("edit", {"path": "/repo/f", "old": "x"}, ["new"]), ("move", {"path": "/repo/f"}, ["to"]),
])
def test_wrong_requests_are_422(shared, op, body, loc):
    response = shared.stack.http.post(shared.path + f"fs/{op}/", json=body)
    assert response.status_code == 422, response.text
    assert [fault["loc"] for fault in response.json()["detail"]] == [["body", *loc]]


def test_unknown_operations_are_not_found(shared):
    assert shared.stack.http.post(shared.path + "fs/chmod/", json={}).status_code == 404
    assert shared.stack.http.get(shared.path + "fs/ls/").status_code == 405
