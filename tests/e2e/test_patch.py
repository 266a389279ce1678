"""Patches: what a run changed, as a git diff that applies to a copy of the tree."""
import base64
import os
import pathlib
import random
import stat
import subprocess

import pytest

from support import eventually, tar

pytestmark = pytest.mark.core
SEED = {"README.md": b"# hello\n", "src/main.c": b"int main(void)\n{\n    return 0;\n}\n" * 20,
        "src/data.bin": bytes(range(256)) * 8, "docs/long.txt": b"".join(b"line %d\n" % i for i in range(400)),
        "name with space.txt": b"x\n", "ünï-🦀.txt": b"y\n", "empty": b"", "no-newline": b"abc"}


def apply(directory, patch):
    """Apply a patch as the documentation tells clients to."""
    if patch is None:
        return
    done = subprocess.run(["git", "apply", "--whitespace=nowarn", "--reject"], cwd=directory, input=patch, capture_output=True,
                          env={**os.environ, "GIT_CEILING_DIRECTORIES": str(pathlib.Path(directory).parent),
                               "GIT_CONFIG_GLOBAL": "/dev/null"})
    assert done.returncode == 0, f"{done.stderr.decode()}\n{patch[:2000]!r}"


def local_tree(directory):
    """{path: (kind, content)} of what git tracks in a directory: files with their x bit, and symlinks."""
    found = {}
    for base, dirs, files in os.walk(directory):
        dirs[:] = [d for d in dirs if d != ".git"]
        for name in files + [d for d in dirs if os.path.islink(os.path.join(base, d))]:
            path = os.path.join(base, name)
            key = os.path.relpath(path, directory)
            if os.path.islink(path):
                found[key] = ("link", os.readlink(path).encode())
            elif stat.S_ISREG(os.lstat(path).st_mode):
                kind = "program" if os.stat(path).st_mode & 0o100 else "file"
                found[key] = (kind, pathlib.Path(path).read_bytes())
    return found


class Copy:
    """A copy of the seeded tree that the patches of a session are applied to, as a client has it."""

    def __init__(self, session, directory, archive):
        self.session = session
        self.directory = directory
        directory.mkdir()
        subprocess.run(["tar", "-xf", "-", "-C", str(directory)], input=archive, check=True)
        self.check()

    def check(self):
        """Is the copy what the session has?"""
        whole = subprocess.run(["docker", "-H", self.session.stack.docker.host, "cp", f"{self.session.container}:/repo/.", "-"],
                               capture_output=True, check=True).stdout
        other = self.directory.parent / "container"
        subprocess.run(["rm", "-rf", str(other)], check=True)
        other.mkdir()
        subprocess.run(["tar", "-xf", "-", "-C", str(other)], input=whole, check=True)
        mine, theirs = local_tree(self.directory), local_tree(other)
        assert sorted(mine) == sorted(theirs)
        assert mine == theirs

    def turn(self, *commands):
        patch = self.session.turn(*commands, fail_fast=True)
        apply(self.directory, patch)
        self.check()
        return patch

    def write(self, mutations):
        """A batch in the session; the client makes it in its copy itself."""
        assert all(r["ok"] for r in self.session.files(mutations))
        for path, content, mode in mutations:
            local = self.directory / path.removeprefix("/repo/")
            local.parent.mkdir(parents=True, exist_ok=True)
            local.unlink(missing_ok=True)
            local.write_bytes(content)
            local.chmod(mode)
        self.check()


@pytest.fixture
def copy(create, tmp_path):
    archive = tar(SEED)
    return Copy(create(extract_patch=True).seeded(repo=archive), tmp_path / "copy", archive)


@pytest.fixture
def session(create):
    return create(extract_patch=True).seeded(repo=tar(SEED))


# --- what a patch holds ---


def test_no_change_gives_no_patch(session):
    for commands in ([], ["ls -laR"], ["cat README.md", "true"], ["touch README.md"], ["mkdir empty-dir"],
                     ["echo x > f; rm f"], ["echo x > /tmp/outside"]):
        assert session.turn(*commands) is None, commands


def test_without_extract_patch_there_is_none(create):
    session = create().seeded(repo=tar(SEED))
    assert session.run("echo x > new")["patch"] is None
    response = session.stack.http.get(session.path + "patch/")
    assert response.status_code == 409 and isinstance(response.json()["detail"], str)


@pytest.mark.costly
@pytest.mark.parametrize("command,words", [
    ("echo more >> README.md", [b"+more"]),
    ("echo new > new.txt", [b"new file mode 100644", b"+new"]),
    ("mkdir -p a/b && echo new > a/b/c", [b"b/a/b/c"]),
    ("rm docs/long.txt", [b"deleted file mode 100644", b"-line 399"]),
    ("mv docs/long.txt docs/moved.txt", [b"rename from docs/long.txt", b"rename to docs/moved.txt", b"similarity index 100%"]),
    ("mkdir x && mv src/main.c x/main.c && echo '//' >> x/main.c", [b"rename from src/main.c", b"rename to x/main.c", b"+//"]),
    ("chmod +x README.md", [b"old mode 100644", b"new mode 100755"]),
    ("head -c 3000 /dev/zero | tr '\\0' '\\377' > src/data.bin", [b"GIT binary patch"]),
    ("head -c 1000 /bin/bash > bin; chmod +x bin", [b"GIT binary patch", b"new file mode 100755"]),
    ("rm src/data.bin", [b"GIT binary patch", b"deleted file mode"]),
    ("ln -s README.md link", [b"new file mode 120000", b"+README.md"]),
    ("ln -s /etc/passwd abs; ln -s nowhere dangling", [b"new file mode 120000", b"+/etc/passwd", b"+nowhere"]),
    ("rm README.md && ln -s src/main.c README.md", [b"deleted file mode 100644", b"new file mode 120000"]),
    ("rm -r src && echo now a file > src", [b"now a file"]),
    (": > nothing; : > src/nothing", [b"new file mode 100644"]),
    ("rm empty", [b"deleted file mode 100644"]),
    ("echo y >> 'name with space.txt'; echo z > 'another one'", [b"+y", b"+z", b"b/another one"]),
    ("echo y >> ünï-🦀.txt; echo z > ß; mv 'name with space.txt' ℝ", [b"+y", b"+z"]),
    ("printf 'a\\r\\nb\\r\\n' > crlf; printf 'trailing  \\n\\t \\n\\n\\n' > white", [b"+a\r\n", b"+trailing  \n"]),
    ("printf more >> no-newline", [b"\\ No newline at end of file"]),
    ("printf 'tab\\tname' > 'a\tb'; echo q > 'a\"b\\c'", [b"tab\tname"]),
    ("echo x > ' lead'; echo y > 'trail '; echo z > -dash", [b"+x", b"+y", b"+z"]),
    ("rm -rf * .[a-z]*", [b"deleted file mode"]),
])
def test_every_kind_of_change_is_in_the_patch_and_applies(copy, command, words):
    patch = copy.turn(command)
    for word in words:
        assert word in patch, patch[:3000]


def test_a_patch_holds_its_own_turn_only(copy):
    assert b"+one" in copy.turn("echo one > a")
    second = copy.turn("echo two > b")
    assert b"+two" in second and b"one" not in second
    assert copy.turn("cat a b") is None
    back = copy.turn("rm a b")
    assert back.count(b"deleted file mode") == 2


def test_commands_of_one_request_make_one_patch_also_when_they_fail_or_time_out(session):
    patch = session.turn("echo one > a", "echo two > b; false")
    assert b"+one" in patch and b"+two" in patch

    def half():
        """A run that was ended after it had written, not before."""
        answer = session.run("echo half >> c; echo written; sleep 1000", timeout=3)
        return "written" in answer["results"][0]["output"] and answer

    assert b"+half" in base64.b64decode(eventually(half, 60)["patch"])


def test_changes_of_background_processes_belong_to_the_turn_that_sees_them(session):
    assert session.turn("(while [ ! -e /tmp/go ]; do sleep 0.01; done; echo late > late; touch /tmp/done) > /dev/null 2>&1 &") is None
    assert b"+late" in session.turn("touch /tmp/go; while [ ! -e /tmp/done ]; do sleep 0.01; done")


def test_a_session_that_was_never_seeded_has_patches_too(create):
    session = create(extract_patch=True)
    assert b"+x" in session.turn("echo x > a")
    assert session.turn("true") is None


@pytest.mark.costly
def test_hundreds_of_files_in_one_turn(copy):
    patch = copy.turn("for i in $(seq 500); do mkdir -p d$((i % 20)); seq $i > d$((i % 20))/f$i; done")
    assert patch.count(b"new file mode") == 500


# --- files batches ---


def test_a_batch_is_a_turn_of_its_own(copy):
    copy.write([("/repo/README.md", b"rewritten\n", 0o644), ("/repo/made/new", b"new\n", 0o755)])
    assert copy.turn("cat README.md") is None
    patch = copy.turn("echo by the run >> README.md")
    assert b"+by the run" in patch and b"new file" not in patch and b"-rewritten" not in patch


def test_a_batch_that_failed_whole_does_not_swallow_changes(session):
    session.run("(while [ ! -e /tmp/go ]; do sleep 0.01; done; echo late > late; touch /tmp/done) > /dev/null 2>&1 &")
    assert session.files([("/etc/x", b"no")])[0]["ok"] is False
    assert b"+late" in session.turn("touch /tmp/go; while [ ! -e /tmp/done ]; do sleep 0.01; done")


# --- everything since the seed ---


def test_the_cumulative_patch_leads_from_the_seed_to_the_present(copy, tmp_path):
    session = copy.session
    assert session.cumulative() is None
    copy.turn("echo one > a; mv docs/long.txt docs/moved.txt")
    copy.write([("/repo/b", b"by a batch\n", 0o644)])
    copy.turn("rm README.md; chmod +x src/main.c")
    patch = session.cumulative()
    assert b"+by a batch" in patch and b"+one" in patch
    fresh = Copy.__new__(Copy)
    fresh.session, fresh.directory = session, tmp_path / "fresh"
    fresh.directory.mkdir()
    subprocess.run(["tar", "-xf", "-", "-C", str(fresh.directory)], input=tar(SEED), check=True)
    apply(fresh.directory, patch)
    fresh.check()


def test_the_cumulative_patch_moves_nothing(session):
    session.run("echo one > a")
    assert session.cumulative() == session.cumulative() is not None
    session.run("(while [ ! -e /tmp/go ]; do sleep 0.01; done; echo late > late; touch /tmp/done) > /dev/null 2>&1 &")
    session.stack.docker.command("exec", session.container, "sh", "-c", "touch /tmp/go; until [ -e /tmp/done ]; do sleep 0.01; done")
    assert b"+late" in session.cumulative()
    assert b"+late" in session.turn("true")


# --- repositories in the tree ---


def test_what_git_keeps_for_itself_is_ignored_at_the_top_and_below(session):
    session.run("git init -q . && git init -q sub && cd sub && echo f > file && git add . && git -c user.name=a -c user.email=b commit -qm c")
    patch = session.turn("echo g > sub/other; echo x > sub/.git/note; echo x > .git/note; mkdir -p deep/.git; echo x > deep/.git/x; echo d > deep/d")
    assert b"b/sub/other" in patch and b"b/deep/d" in patch
    assert b".git/" not in patch and b"Subproject" not in patch and b"160000" not in patch


def test_files_of_a_nested_repository_come_and_go_like_others(copy):
    patch = copy.turn("mkdir lib && cd lib && git init -q . && echo one > file && git add file && git -c user.name=a -c user.email=b commit -qm c")
    assert b"+one" in patch and b"b/lib/file" in patch
    assert b"+two" in copy.turn("echo two >> lib/file; mkdir lib/deep; echo three > lib/deep/f")
    assert b"deleted file mode" in copy.turn("rm -rf lib")


def test_a_nested_repository_may_have_any_name(copy):
    for name in "-name", "-delete", "( !", "it's":
        patch = copy.turn(f'mkdir ./"{name}" && cd ./"{name}" && git init -q . && echo one > file && git add file && '
                          "git -c user.name=a -c user.email=b commit -qm c")
        assert f"b/{name}/file".encode() in patch and b"160000" not in patch


def test_a_seeded_nested_repository_keeps_its_files(create, tmp_path):
    repository = tmp_path / "made"
    repository.mkdir()
    subprocess.run("git init -q . && git init -q vendor && cd vendor && echo v > v && git add v && "
                   "git -c user.name=a -c user.email=b commit -qm c && echo top > ../top", shell=True, cwd=repository, check=True)
    archive = subprocess.run(["tar", "-cf", "-", "-C", str(repository), "."], capture_output=True, check=True).stdout
    copy = Copy(create(extract_patch=True).seeded(repo=archive), tmp_path / "copy", archive)
    assert copy.turn("git -C vendor status") is None
    assert b"+w" in copy.turn("echo w >> vendor/v")


def test_seeded_files_are_followed_although_an_ignore_file_names_them(create):
    session = create(extract_patch=True).seeded(repo=tar({".gitignore": b"*.log\nbuild/\n", "kept.log": b"1\n", "build/out": b"1\n"}))
    patch = session.turn("echo 2 >> kept.log; echo 2 >> build/out; echo 3 > fresh.log")
    assert b"b/kept.log" in patch and b"b/build/out" in patch and b"fresh.log" not in patch


def test_an_unreadable_file_does_not_hide_the_others(session):
    assert b"+seen" in session.turn("echo hidden > hidden; chmod 000 hidden; mkfifo fifo; echo seen > seen")


# --- hostile trees ---


HOSTILE = r"""
git init -q .
printf '%s\n' '[core]' 'fsmonitor = "touch /tmp/pwned /meta/pwned"' 'hooksPath = /repo/hooks' 'sshCommand = touch /tmp/pwned' \
  'pager = touch /tmp/pwned' 'attributesFile = /repo/.gitattributes' '[filter "evil"]' 'clean = touch /tmp/pwned /meta/pwned; cat' \
  'smudge = touch /tmp/pwned; cat' 'required = true' '[diff "evil"]' 'textconv = touch /tmp/pwned; cat' \
  'command = touch /tmp/pwned' '[include]' 'path = /repo/evil.config' > .git/config
cp .git/config evil.config; cp .git/config .gitconfig; mkdir -p .config/git && cp .git/config .config/git/config
mkdir -p hooks .git/hooks
for h in pre-commit post-index-change post-checkout fsmonitor-watchman reference-transaction; do
  printf '#!/bin/sh\ntouch /tmp/pwned /meta/pwned\n' > hooks/$h; chmod +x hooks/$h; cp hooks/$h .git/hooks/$h
done
printf '* filter=evil diff=evil merge=evil text eol=crlf ident working-tree-encoding=UTF-16\n*.bin !diff -text\n' > .gitattributes
cp .gitattributes .git/info/attributes
printf '[submodule "x"]\n\tpath = x\n\turl = ext::touch /tmp/pwned\n' > .gitmodules
printf '$Id$ and a line\n' > file.txt
"""


def test_a_hostile_tree_makes_git_run_nothing_and_its_files_come_out_unchanged(copy):
    patch = copy.turn(HOSTILE)
    assert b"+$Id$ and a line\n" in patch and b"\r\n" not in patch
    copy.turn("echo more >> file.txt; printf 'a\\r\\nb\\n' > mixed.txt; head -c 100 /bin/bash > x.bin")
    copy.write([("/repo/file.txt", b"by a batch\r\n", 0o644)])
    copy.session.cumulative()
    found = copy.session.stack.docker.command("exec", copy.session.helper, "sh", "-c", "ls /tmp/pwned /meta/pwned; ls /meta", check=False)
    assert "No such file" in found.stderr and "pwned" not in found.stdout
    assert copy.session.one("ls /tmp/pwned")["exit_code"] != 0


def test_the_session_can_neither_see_nor_touch_the_meta_repository(session, stack):
    assert session.one("ls /meta")["exit_code"] != 0
    assert stack.docker.command("exec", "-u", "0", session.helper, "touch", "/repo/x", check=False).returncode != 0


def test_environment_of_the_session_is_not_the_helpers(create):
    session = create(extract_patch=True, environment={"GIT_DIR": "/repo/evil", "GIT_EXTERNAL_DIFF": "touch /tmp/pwned"})
    session.seeded(repo=tar(SEED))
    assert b"+x" in session.turn("echo x > a")


# --- many random turns ---


def random_turn(rng, number):
    """Shell commands that edit at random; every name from a small set, so that edits meet each other."""
    names = ["a", "b.txt", "dir/c", "dir/sub/d", "e e", "é", "dir2/f", "g.bin"]
    lines = []
    for _ in range(rng.randint(1, 6)):
        name, other = (f"'{n}'" for n in rng.sample(names, 2))
        free = f"[ -d {name} ] || {{ mkdir -p \"$(dirname {name})\" && rm -f {name};"
        lines.append(rng.choice([
            f"{free} seq {rng.randint(1, 300)} > {name}; }}",
            f"{free} head -c {rng.randint(1, 5000)} /bin/bash > {name}; }}",
            f"{free} : > {name}; }}",
            f"{free} ln -s {rng.choice(names).split()[0]} {name}; }}",
            f"[ -L {name} ] || [ ! -f {name} ] || echo 'turn {number}' >> {name}",
            f"[ -L {name} ] || [ ! -f {name} ] || sed -i '2d' {name}",
            f"[ -L {name} ] || [ ! -f {name} ] || chmod {rng.choice(['+x', '-x'])} {name}",
            f"[ ! -e {name} ] || [ -d {name} ] || {{ mkdir -p \"$(dirname {other})\" && rm -f {other} && mv {name} {other}; }}",
            f"rm -rf {name}",
            f"rm -rf {rng.choice(['dir', 'dir2', 'dir/sub'])}",
            f"[ -d \"$(dirname {name})\" ] && cp -r dir {name}-copy 2> /dev/null; rm -rf {name}-copy/sub",
        ]))
    return "cd /repo\n" + "\n".join(f"{line} || true" for line in lines)


@pytest.mark.parametrize("seed", [0] + [pytest.param(seed, marks=pytest.mark.costly) for seed in (1, 2)])
def test_patches_of_random_turns_applied_in_order_give_the_tree(copy, seed):
    rng = random.Random(seed)
    for number in range(12):
        if rng.random() < 0.2:
            copy.write([(f"/repo/batch/{rng.randint(0, 5)}", rng.randbytes(rng.randint(0, 500)), rng.choice([0o644, 0o755]))])
        else:
            copy.turn(random_turn(rng, number))


def test_in_a_large_tree_every_kind_of_change_is_noticed_and_none_made_up(create):
    session = create(extract_patch=True)
    session.seeded(tar({".gitignore": b"*.log\n", **{f"d{i % 50}/f{i}": b"%d\n" % i for i in range(3000)}}))
    assert session.turn("true") is None
    assert session.turn("touch d1/f1; chmod 644 d2/f2; echo x > d3/new.log; mkdir d3/empty") is None
    for command, line in (("echo 11 > d1/f1", b"+11"), ("echo new > d49/new", b"+new"), ("rm d7/f7", b"deleted file mode"),
                          ("chmod +x d8/f8", b"new mode 100755"), ("ln -s f9 d9/link", b"new file mode 120000"),
                          ("mv d10/f10 d10/renamed", b"rename to d10/renamed")):
        assert line in session.turn(command), command
        assert session.turn("true") is None, command
        assert session.turn("true") is None, command
