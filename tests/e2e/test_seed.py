"""Seeding: archives into /repo and /skills, sanitised, once."""
import bz2
import gzip
import io
import json
import lzma
import os
import re
import signal
import socket
import tarfile
import threading
import time

import pytest

from support import MIB, Background, PeakMemory, eventually, member, multipart, open_files, tar, zstd

pytestmark = pytest.mark.core
SEEDED = {"detail": "Session already seeded"}


@pytest.fixture
def session(create):
    return create()


def tree(session, where="/repo"):
    """{path: (type, mode, owner)} of everything below a directory."""
    out = session.out(f"cd {where} && find . -mindepth 1 -printf '%P\\0%y\\0%m\\0%U:%G\\0' | base64 -w0")
    import base64
    fields = base64.b64decode(out).decode().split("\0")[:-1]
    return {fields[i]: tuple(fields[i + 1:i + 4]) for i in range(0, len(fields), 4)}


def refused(response, field="repo_archive"):
    assert response.status_code == 422, f"{response.status_code} {response.text}"
    assert response.json()["detail"].startswith(f"{field} is invalid: "), response.text
    return response.json()["detail"]


# --- what goes where ---


def test_archives_go_to_repo_and_skills(session):
    session.seeded(repo=tar({"a.txt": b"repo", "d/": b"", "d/b": b"deep"}), skills=tar({"s.md": b"skill"}))
    assert session.out("cat /repo/a.txt /repo/d/b /skills/s.md") == "repodeepskill"


def test_either_archive_alone_is_enough(create):
    assert create().seeded(repo=tar({"a": b"1"})).out("ls -A /repo /skills") == "/repo:\na\n\n/skills:"
    assert create().seeded(skills=tar({"a": b"1"})).out("ls -A /repo /skills") == "/repo:\n\n/skills:\na"


@pytest.mark.parametrize("fields", [[], [("other", "x", b"1")], [("repo", "x.tar", tar({"a": b"1"}))]])
def test_neither_archive_is_422(session, fields):
    kind, body = multipart(fields)
    response = session.stack.http.post(session.path + "seed/", content=body, headers={"Content-Type": kind})
    assert response.status_code == 422, response.text
    session.seeded(repo=tar({"a": b"1"}))


@pytest.mark.parametrize("content_type", [None, "application/json", "application/x-www-form-urlencoded"])
def test_a_body_that_is_no_form_is_422(session, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    assert session.stack.http.post(session.path + "seed/", content=b"{}", headers=headers).status_code == 422


def test_other_fields_are_passed_over(session):
    kind, body = multipart([("note", "n", b"x" * 100_000), ("repo_archive", "r", tar({"a": b"1"})), ("more", "m", b"")])
    assert session.stack.http.post(session.path + "seed/", content=body, headers={"Content-Type": kind}).status_code == 204
    assert session.out("cat a") == "1"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd],
                         ids=["plain", "gzip", "bzip2", "xz", "zstd"])
def test_the_compression_is_detected(session, pack):
    session.seeded(repo=pack(tar({"a.txt": b"content\n" * 5000})))
    assert session.out("sort -u a.txt; wc -l < a.txt").split() == ["content", "5000"]


@pytest.mark.parametrize("fmt", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_dialect_is_read(session, fmt):
    long = "/".join(["directory-with-a-name"] * (5 if fmt == tarfile.USTAR_FORMAT else 12)) + "/file"
    session.seeded(repo=tar([member("a", b"1"), member(long, b"2")], fmt=fmt))
    assert session.out(f"cat a {long}") == "12"


def test_names_keep_their_bytes(session):
    names = ["with space", "ünïcode-🦀", "new\nline", "quote'\"\\", "-dash", "tab\t", "trailing. "]
    session.seeded(repo=tar({name: b"x" for name in names}))
    assert set(tree(session)) == set(names)


def test_an_empty_archive_is_fine(session):
    session.seeded(repo=tar({}))
    assert session.out("ls -A /repo") == ""


def test_seeding_is_one_shot(session):
    session.seeded(repo=tar({"a": b"1"}))
    for archives in ({"repo": tar({"b": b"2"})}, {"skills": tar({"b": b"2"})}):
        response = session.seed(**archives)
        assert (response.status_code, response.json()) == (409, SEEDED)
    assert session.out("ls -A /repo /skills") == "/repo:\na\n\n/skills:"


def test_of_two_seeds_at_once_one_wins(session):
    calls = [Background(session.seed, tar({f"file{i}": b"x" * 200_000})) for i in range(2)]
    assert sorted(call.result().status_code for call in calls) == [204, 409]
    assert len(session.out("ls -A").split()) == 1


def test_commands_and_files_before_the_seed_stay(session):
    session.run("echo early > early")
    session.write("/repo/file", b"file")
    session.seeded(repo=tar({"a": b"1"}))
    assert session.out("ls -A").split() == ["a", "early", "file"]


# --- refusals ---


def test_a_refused_archive_leaves_the_session_seedable_and_empty(session):
    good = member("good", b"x" * 3 * MIB)
    refused(session.seed(repo=tar([good, member("../evil", b"x")])))
    assert session.out("ls -A /repo /skills /") == session.out("ls -A /repo /skills /")
    assert session.out("ls -A /repo /skills") == "/repo:\n\n/skills:"
    refused(session.seed(repo=tar({"fine": b"1"}), skills=b"no archive at all"), "skills_archive")
    assert session.out("ls -A /repo /skills") == "/repo:\n\n/skills:"
    session.seeded(repo=tar([good]))


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "a/..", "..", "/etc/evil", "//evil", "a/../b"])
def test_absolute_names_and_dot_dot_are_422(session, name):
    refused(session.seed(repo=tar([member(name, b"x")])))
    assert session.one("ls /evil /etc/evil /repo/*")["exit_code"] != 0


@pytest.mark.costly
@pytest.mark.parametrize("data", [b"not a tar", b"x" * 100_000, gzip.compress(b"not a tar either"), b"\x1f\x8b\x08\0",
                                  gzip.compress(tar({"a": b"1" * 5000}))[:-20], tar({"a": b"1" * 100_000})[:50_000],
                                  lzma.compress(tar({"a": b"1" * 100_000}))[:-30], b"PK\3\4" + b"\0" * 600],
                         ids=["text", "bytes", "gzip-text", "gzip-head", "gzip-cut", "tar-cut", "xz-cut", "zip"])
def test_what_is_no_whole_archive_is_422(session, data):
    refused(session.seed(repo=data))
    assert session.out("ls -A /repo") == ""
    session.seeded(repo=tar({"a": b"1"}))


@pytest.mark.costly
@pytest.mark.parametrize("content_type,body", [
    ("multipart/form-data", b"--b\r\n\r\n--b--\r\n"),
    ("multipart/form-data; boundary=b", b""),
    ("multipart/form-data; boundary=b", b"no boundary here"),
    ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="repo_archive"\r\n\r\ncut off'),
    ("multipart/form-data; boundary=b", b"--b\r\n" + b"X: y\r\n" * 10000 + b"\r\n\r\n--b--\r\n"),
])
def test_a_broken_form_is_400(session, content_type, body):
    response = session.stack.http.post(session.path + "seed/", content=body, headers={"Content-Type": content_type})
    assert response.status_code == 400, response.text
    assert isinstance(response.json()["detail"], str)
    session.seeded(repo=tar({"a": b"1"}))


# --- sanitising ---


def test_links_that_stay_inside_are_kept_and_others_are_not(session):
    link = {"type": tarfile.SYMTYPE}
    session.seeded(repo=tar([
        member("dir/", mode=0o755), member("dir/target", b"t"), member("inside", linkname="dir/target", **link),
        member("dir/up", linkname="../dir/target", **link), member("dangling", linkname="not/there", **link),
        member("out", linkname="../../etc/passwd", **link), member("absolute", linkname="/etc/passwd", **link),
        member("sly", linkname="dir/../../etc", **link), member("after", b"a")]))
    found = tree(session)
    assert set(found) == {"dir", "dir/target", "inside", "dir/up", "dangling", "after"}
    assert {name for name, entry in found.items() if entry[0] == "l"} == {"inside", "dir/up", "dangling"}
    assert session.out("cat inside dir/up") == "tt"


def test_devices_fifos_and_hardlinks_are_skipped(session):
    session.seeded(repo=tar([
        member("a", b"1"), member("hard", type=tarfile.LNKTYPE, linkname="a"),
        member("shadow", type=tarfile.LNKTYPE, linkname="/etc/shadow"), member("fifo", type=tarfile.FIFOTYPE),
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), member("b", b"2")]))
    assert set(tree(session)) == {"a", "b"}
    assert session.stack.events("archive sanitised", session=session.id, skipped="4")


def test_nothing_is_written_through_a_symlink(session):
    link = {"type": tarfile.SYMTYPE}
    session.seeded(repo=tar([
        member("real/", mode=0o755), member("way", linkname="real", **link), member("way/file", b"x"),
        member("final", linkname="real/target", **link), member("final", b"a file now"), member("end", b"")]))
    found = tree(session)
    assert found["way"][0] == "l" and "way/file" not in found and "real/file" not in found
    assert found["final"][0] == "f" and "real/target" not in found and "end" in found


def test_modes_are_widened_and_special_bits_cleared(session):
    session.seeded(repo=tar([
        member("plain", b"", 0o644), member("private", b"", 0o600), member("none", b"", 0o000), member("program", b"", 0o700),
        member("suid", b"", 0o6755), member("sticky", b"", 0o1777), member("readonly", b"", 0o444), member("world", b"", 0o666),
        member("dir/", mode=0o700), member("closed/", mode=0o000), member("closed/file", b"x"), member("tmp/", mode=0o1777)]))
    modes = {name: entry[1] for name, entry in tree(session).items()}
    assert modes == {"plain": "644", "private": "644", "none": "644", "program": "755", "suid": "755", "sticky": "777",
                     "readonly": "644", "world": "666", "dir": "755", "closed": "755", "closed/file": "644", "tmp": "777"}


def test_everything_belongs_to_the_sandbox_user_missing_parents_too(session):
    session.seeded(repo=tar([member("a/b/c/file", b"x", uid=0, gid=0, uname="root"), member("own", b"x", uid=12345, gid=54321)]),
                   skills=tar([member("x/y", b"")]))
    assert {entry[2] for entry in tree(session).values()} == {"1000:1000"}
    assert {entry[2] for entry in tree(session, "/skills").values()} == {"1000:1000"}
    session.run("touch a/b/c/new && rm -r a && stat -c %u:%g /repo | grep 1000:1000", fail_fast=True)
    assert set(tree(session)) == {"own"}


def test_of_duplicate_names_the_last_wins(session):
    session.seeded(repo=tar([member("a", b"first"), member("b", b"b"), member("a", b"last"), member("./c", b"1"), member("c", b"2")]))
    assert session.out("cat a c") == "last2"


@pytest.mark.costly
def test_ten_thousand_small_files_arrive(session):
    session.seeded(repo=gzip.compress(tar({f"d{i % 100}/f{i}": b"%d" % i for i in range(10_000)}), 1))
    assert session.out("find . -type f | wc -l; cat d99/f9999").split() == ["10000", "9999"]


def test_seeding_skills_alone_still_begins_the_patches(create):
    session = create(extract_patch=True).seeded(skills=tar({"s": b"1"}))
    assert b"+new" in session.turn("echo new > file")


# --- by the agent, or by dockerd ---

BULK = member("zz-bulk", bytes(40 * MIB))  # makes it an archive for dockerd


def attributes(session, where):
    """What find and sha256sum say of everything below a directory but for BULK."""
    out = session.out(f"cd {where} && find . -mindepth 1 ! -name zz-bulk -printf '%P %y %m %U:%G %T@ %l %n\\n' | sort; "
                      "find . -type f ! -name zz-bulk -exec sha256sum {} + | sort -k 2")
    return out.splitlines()


def extracted_by_dockerd(session, seed):
    """Whether dockerd unpacked an archive in the session's container meanwhile, by its own account. It remembers the last 256
    events of all containers only, so they are taken as they come, up to one of our own: somebody reads a file."""
    http = session.stack.docker.http
    filters = {"container": [session.container], "event": ["extract-to-dir", "archive-path"]}
    with http.stream("GET", "/events", params={"since": f"{time.time():.9f}", "filters": json.dumps(filters)}) as events:
        seed()
        http.get(f"/containers/{session.container}/archive", params={"path": "/etc/passwd"}).raise_for_status()
        seen = ""
        for piece in events.iter_text():
            seen += piece
            if '"archive-path"' in seen:
                return '"extract-to-dir"' in seen
    raise AssertionError(f"dockerd told no more after {seen}")


def intricate():
    link = {"type": tarfile.SYMTYPE}
    deep = "/".join(["directory-with-a-name"] * 12)
    return [member("dir/", mode=0o700, mtime=1_500_000_001), member("dir/file", b"f" * 5000, 0o600, mtime=1_500_000_002),
            member("none", b"n", 0o000), member("readonly", b"r", 0o444, mtime=0), member("program", b"p", 0o711), member("suid", b"s", 0o6755),
            member("closed/", mode=0o000, mtime=1_500_000_003), member("closed/file", b"c", 0o400), member("empty", b""),
            member("implicit/a/b", b"b"), member(deep + "/", mode=0o775), member(deep + "/file", b"long"), member(deep + "/link", linkname="file", **link),
            member("link", linkname="dir/file", mtime=1_500_000_004, **link), member("dangling", linkname="no/" + "long-name/" * 20 + "target", **link),
            member("hard", type=tarfile.LNKTYPE, linkname="dir/file"), member("new\nline", b"1"), member("f\xc3\xbc", b"2"), member("future", b"", mtime=2**32),
            member("was-file", b"file now"), member("was-link", b"no link now"), member("was-dir", b"no directory now"),
            member("becomes-dir/", mode=0o755), member("becomes-dir/x", b"x"), member("link-becomes-dir/", mode=0o755), member("link-becomes-dir/x", b"x"),
            member("kept/", mode=0o770, mtime=1_500_000_005), member("kept/new", b"n"), member("now-link", linkname="dir", **link)]


@pytest.mark.parametrize("target", ["/repo", "/skills"])
def test_a_tree_looks_the_same_whoever_extracts_it(create, target):
    found = []
    for bulk in ([], [BULK]):
        session = create()
        session.run(f"cd {target} && mkdir -p was-dir/deep/er kept ../tmp/elsewhere && chmod 500 was-dir/deep && chmod 711 kept && touch was-dir/deep/er/f; "
                    "echo old > was-file; chmod 0 was-file; ln -s /etc/passwd was-link; echo old > becomes-dir; ln -s /tmp/elsewhere link-becomes-dir; "
                    "echo old > kept/old; touch -d @1400000000 kept/old; echo old > now-link")
        archive = tar(intricate() + bulk)
        assert extracted_by_dockerd(session, lambda: session.seeded(**{target[1:]: archive})) == bool(bulk)
        assert session.out("ls -A /tmp/elsewhere") == ""
        found.append([line for line in attributes(session, target) if not re.match(r"(implicit(/a)?|directory-with-a-name(/directory-with-a-name){0,10}) d ", line)])
    assert found[0] == found[1]
    assert len(found[0]) > 30


def test_what_the_user_may_not_write_is_seeded_by_dockerd(create, stack):
    session = create()
    roots = tar([member("roots/", mode=0o755), member("roots/old", b"old", 0o600)])
    assert stack.docker.http.put(f"/containers/{session.container}/archive", params={"path": "/repo"}, content=roots).status_code == 200
    session.seeded(repo=tar({"roots/new": b"new", "roots/old": b"mine", "other": b"other"}))
    assert session.out("cat roots/new roots/old other; stat -c ' %u %a' roots/old") == "newmineother 1000 644"


@pytest.mark.runc  # gVisor's own memory counts as the session's: the command that looks may be one too many
def test_a_seed_that_meets_the_sessions_memory_limit_is_whole(create):
    session = create(memory_bytes=32 * MIB)
    session.seeded(repo=tar({f"d{i % 7}/f{i}": b"%d" % i * 4000 for i in range(3000)}))
    assert session.out("find . -type f | wc -l") == "3000"


# --- clients that are slow, big or gone ---


class Upload:
    """A seed request on a bare socket, so that the test has each byte of the archive in its hand."""

    HEAD = b'--b\r\nContent-Disposition: form-data; name="repo_archive"; filename="a"\r\n\r\n'
    TAIL = b"\r\n--b--\r\n"

    def __init__(self, session, archive_size):
        self.socket = socket.create_connection(("127.0.0.1", session.stack.port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send((f"POST {session.path}seed/ HTTP/1.1\r\nHost: sandbox\r\nX-API-Key: {session.stack.key}\r\n"
                   "Content-Type: multipart/form-data; boundary=b\r\n"
                   f"Content-Length: {len(self.HEAD) + archive_size + len(self.TAIL)}\r\n\r\n").encode() + self.HEAD)

    def send(self, data):
        self.socket.sendall(data)

    def status(self):
        return int(self.socket.makefile("rb").readline().split()[1])

    def close(self):
        self.socket.close()


def spool_files(stack):
    """Descriptors of workers that stand for unlinked spool files."""
    found = []
    for pid in stack.children("worker"):
        found += [file for file in open_files(pid) if "/state/spool/" in file]
    return found


def test_a_client_that_leaves_in_the_middle_leaves_an_unseeded_session(session):
    archive = tar({"a": b"1" * 5 * MIB})
    upload = Upload(session, len(archive))
    upload.send(archive[:3 * MIB])
    eventually(lambda: spool_files(session.stack), what="an upload that has begun")
    upload.close()
    eventually(lambda: not spool_files(session.stack))
    assert session.out("ls -A /repo") == ""
    session.seeded(repo=tar({"b": b"2"}))
    assert session.out("ls -A") == "b"


def allow(session, cpus):
    session.stack.docker.command("update", "--cpus", str(cpus), session.container)


def extractor(session):
    """The process that extracts a seed in the session, stopped; from then on nothing has to last."""
    agent = session.stack.docker.inspect(session.container)["State"]["Pid"]

    def stopped():
        with open(f"/proc/{agent}/task/{agent}/children", encoding="ascii") as text:
            found = [int(pid) for pid in text.read().split()]
        try:
            for pid in found:
                os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:
            return None
        return found and found[0]

    pid = eventually(stopped, what="an extraction that has begun")
    allow(session, 1)
    return pid


@pytest.fixture
def leisurely(create):
    """A session in which an extraction lasts for longer than anybody stands still, so that it can be caught."""
    session = create(cpus=1)
    allow(session, 0.01)
    return session


MANY = {f"d{i % 50}/f{i}": b"x" * 1000 for i in range(4000)}


@pytest.mark.runc
def test_a_client_that_leaves_during_the_extraction_leaves_an_empty_unseeded_session(leisurely):
    session = leisurely
    archive = tar(MANY)
    upload = Upload(session, len(archive))
    Background(lambda: upload.send(archive + upload.TAIL)).result()
    extractor(session)
    upload.close()
    eventually(lambda: session.stack.events("request", session=session.id, path=f"{session.path}seed/"))
    assert session.out("ls -A /repo") == ""
    assert not session.stack.events("a failed seed could not be taken back")
    session.seeded(repo=tar({"b": b"2"}))
    assert session.out("ls -A") == "b"


@pytest.mark.runc
def test_an_extraction_that_is_killed_is_done_by_dockerd(leisurely):
    session = leisurely
    seed = Background(session.seed, tar(MANY))
    os.kill(extractor(session), signal.SIGKILL)
    assert seed.result().status_code == 204
    assert session.out("find . -type f | wc -l") == "4000"


def test_a_slow_uploader_blocks_nobody(session, create, stack):
    archive = tar({"slow": b"1" * 2000})
    upload = Upload(session, len(archive))
    stop = threading.Event()

    def dribble():
        at = 0
        while not stop.wait(0.1):
            upload.send(archive[at:at + 1])
            at += 1
        upload.send(archive[at:] + upload.TAIL)
        return upload.status()

    slow = Background(dribble)
    eventually(lambda: spool_files(stack), what="an upload that has begun")
    begun = time.monotonic()
    eventually(lambda: stack.http.get("/-/health/").status_code == 200)  # 503 while dockerd takes its time
    assert stack.docker.inspect(session.container)["State"]["Running"]
    assert create().out("echo other") == "other"
    for i in range(10):
        assert session.out(f"echo {i}") == str(i)
    session.write("/repo/meanwhile", b"x")
    assert slow.running() and time.monotonic() - begun < 5  # the upload is not over for minutes
    stop.set()
    assert slow.result() == 204
    assert session.out("ls -A; wc -c < slow").split() == ["meanwhile", "slow", "2000"]
    upload.close()


def test_a_session_closed_during_the_upload_is_404_for_the_uploader(session, stack):
    archive = tar({"a": b"1" * 5000})
    upload = Upload(session, len(archive))
    upload.send(archive[:3000])
    eventually(lambda: spool_files(stack), what="an upload that has begun")
    assert session.close().status_code == 204
    upload.send(archive[3000:] + upload.TAIL)
    assert upload.status() == 404
    upload.close()


@pytest.mark.costly
@pytest.mark.memory
@pytest.mark.timeout(240)
def test_a_gigabyte_is_seeded_in_flat_memory(session, stack):
    size = 1 << 30
    info, _ = member("zeros")
    info.size = size
    head = info.tobuf(tarfile.PAX_FORMAT)
    kind, frame = multipart([("repo_archive", "big.tar", b"@@")])
    before, after = frame.split(b"@@")

    def body():
        yield before + head
        zeros = bytes(MIB)
        for _ in range(size // MIB):
            yield zeros
        yield bytes(1024) + after

    length = len(before) + len(head) + size + 1024 + len(after)
    with PeakMemory(stack) as memory:
        response = stack.http.post(session.path + "seed/", content=body(), timeout=200,
                                   headers={"Content-Type": kind, "Content-Length": str(length)})
    assert response.status_code == 204, response.text
    assert session.out("stat -c %s zeros") == str(size)
    assert memory.grown < 16 * MIB


def test_chunked_uploads_work(session):
    archive = io.BytesIO(tar({"a": b"1" * 300_000}))
    kind, frame = multipart([("repo_archive", "a.tar", b"@@")])
    before, after = frame.split(b"@@")

    def body():
        yield before
        yield from iter(lambda: archive.read(7001), b"")
        yield after

    response = session.stack.http.post(session.path + "seed/", content=body(), headers={"Content-Type": kind})
    assert response.status_code == 204, response.text
    assert session.out("wc -c < a") == "300000"
