"""Files as they are: GET with ranges and entity tags, HEAD, PUT, DELETE, and directories as archives."""
import gzip
import hashlib
import io
import random
import subprocess
import tarfile
import time
import uuid

import pytest

from support import BUSYBOX, DISTROLESS, GONE, HELD, MIB, Background, PeakResident, eventually, let_go, member, rss_anon, tar, zstd

pytestmark = pytest.mark.core


@pytest.fixture
def session(create):
    return create()


def url(session, path):
    return session.path + "files" + path


def get(session, path, **headers):
    return session.stack.http.get(url(session, path), headers={name.replace("_", "-"): value for name, value in headers.items()})


def put(session, path, content, **options):
    return session.stack.http.put(url(session, path), content=content, **options)


def members(data, mode="r:"):
    with tarfile.open(fileobj=io.BytesIO(data), mode=mode) as archive:
        return {m.name: (m, archive.extractfile(m).read() if m.isreg() else None) for m in archive.getmembers()}


# --- GET, HEAD ---


@pytest.mark.parametrize("content", [b"", b"x", b"\0\xff\r\n", random.Random(1).randbytes(3 * MIB + 17)])
def test_a_file_comes_as_it_is(session, content):
    session.write("/repo/f", content, 0o640)
    response = get(session, "/repo/f")
    assert response.status_code == 200 and response.content == content
    assert response.headers["content-type"] == "application/octet-stream" and response.headers["content-length"] == str(len(content))
    assert response.headers["accept-ranges"] == "bytes" and response.headers["x-file-mode"] == "0640"
    head = session.stack.http.head(url(session, "/repo/f"))
    assert head.status_code == 200 and head.content == b"" and head.headers["content-length"] == str(len(content))
    assert head.headers["etag"] == response.headers["etag"] and head.headers["last-modified"] == response.headers["last-modified"]


@pytest.mark.runc  # gVisor counts such fractions of seconds backwards
def test_a_file_from_before_1970_keeps_its_time(session):
    session.run("touch -d '1969-12-31 23:59:58.5 UTC' old; touch -d '2300-01-02 UTC' new", fail_fast=True)
    assert get(session, "/repo/old").headers["last-modified"] == "Wed, 31 Dec 1969 23:59:58 GMT"
    found = members(get(session, "/repo").content)
    assert found["old"][0].mtime == -2 and found["new"][0].mtime == 10413878400


def test_both_spellings_and_odd_names(session):
    names = ["with space", "ünï-🦀", "a+b&c=d?e#f", "100%", "..hidden", "quote'\"\\"]
    session.files([(f"/repo/{name}", name.encode()) for name in names])
    for name in names:
        for prefix in ("/repo/", "/workspace/repo/", "//repo//"):
            quoted = "".join("%%%02X" % byte for byte in name.encode())
            assert get(session, prefix + quoted).content == name.encode()
            assert put(session, prefix + quoted, name.encode()).status_code == 204


def test_parts_of_a_file(session):
    content = bytes(range(256)) * 1000
    session.write("/repo/f", content)
    for value, first, last in (("0-0", 0, 0), ("10-19", 10, 19), ("255990-", 255990, 255999), ("-5", 255995, 255999), ("-999999", 0, 255999),
                               ("100-999999999999", 100, 255999), ("0-", 0, 255999)):
        response = get(session, "/repo/f", Range=f"bytes={value}")
        assert response.status_code == 206 and response.content == content[first:last + 1], value
        assert response.headers["content-range"] == f"bytes {first}-{last}/256000"
    for value in ("256000-", "999999999-", "-0"):
        response = get(session, "/repo/f", Range=f"bytes={value}")
        assert response.status_code == 416 and response.headers["content-range"] == "bytes */256000" and response.json()["detail"]
    for value in ("bytes=1-2,5-6", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=5-2", "bytes=" + "9" * 40 + "-"):
        response = get(session, "/repo/f", Range=value)
        assert (response.status_code, response.content) == (200, content) or (value == "bytes=5-2" and response.status_code == 416)


def test_an_unchanged_file_is_not_sent_again(session):
    session.write("/repo/f", b"one")
    tag = get(session, "/repo/f").headers["etag"]
    for value in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        response = get(session, "/repo/f", If_None_Match=value)
        assert response.status_code == 304 and response.content == b"" and response.headers["etag"] == tag
    assert get(session, "/repo/f", If_None_Match='"other"').content == b"one"
    session.run("echo -n two > f")
    response = get(session, "/repo/f", If_None_Match=tag)
    assert response.status_code == 200 and response.content == b"two" and response.headers["etag"] != tag
    assert get(session, "/repo/f", Range="bytes=1-", If_Range=tag).status_code == 200
    response = get(session, "/repo/f", Range="bytes=1-", If_Range=response.headers["etag"])
    assert response.status_code == 206 and response.content == b"wo"


@pytest.mark.parametrize("path,status", [
    ("/repo/none", 404), ("/repo/none/none", 404), ("/repo/file/x", 404), ("/etc/passwd", 422), ("/repo/out/passwd", 422), ("/repo/pipe", 422),
    ("/repo/closed/x", 403), ("/repo/secret", 403), ("/nowhere", 422), ("/repo/%2e%2e/etc/passwd", 422), ("/repo/a%2Fb", 404), ("/repo/a%00b", 400),
])
def test_what_cannot_be_sent(shared, path, status):
    shared.run("mkdir -p closed; echo f > file; ln -sfn /etc out; test -p pipe || mkfifo pipe; echo s > secret; chmod 0 closed secret")
    response = get(shared, path)
    assert response.status_code == status and response.json()["detail"], response.text
    head = shared.stack.http.head(url(shared, path))
    assert head.status_code == status and head.content == b""


def test_a_session_that_is_gone(stack):
    for method in ("GET", "PUT", "DELETE"):
        response = stack.http.request(method, f"/session/{uuid.uuid4()}/files/repo/x")
        assert response.status_code == 404 and response.json() == GONE


# --- PUT, DELETE ---


def test_a_file_is_put_and_replaced(session):
    assert put(session, "/repo/new/dir/f", b"one").status_code == 201
    assert session.out("cat new/dir/f; stat -c ' %a %u:%g' new/dir/f") == "one 644 1000:1000"
    assert put(session, "/repo/new/dir/f?mode=0755", b"two").status_code == 204
    assert put(session, "/repo/new/dir/f", b"three").status_code == 204  # the mode stays
    assert session.out("cat new/dir/f; stat -c ' %a' new/dir/f; ls -A new/dir") == "three 755\nf"
    assert put(session, "/workspace/skills/s", b"", headers={"X-File-Mode": "4711"}).status_code == 201
    assert session.out("stat -c '%a %s' /skills/s") == "4711 0"
    for mode in ("8", "10000", "rw", "-1"):
        assert put(session, f"/repo/f?mode={mode}", b"").status_code == 422


def test_a_large_file_goes_there_and_back_in_flat_memory(session, stack):
    block = random.Random(2).randbytes(MIB)
    digest = hashlib.sha256(block * 200).hexdigest()
    before = max(rss_anon(pid) for pid in stack.children("worker"))
    assert put(session, "/repo/big", (block for _ in range(200))).status_code == 201  # chunked
    assert session.out("sha256sum < big").split()[0] == digest
    got = hashlib.sha256()
    with stack.http.stream("GET", url(session, "/repo/big")) as response:
        for piece in response.iter_bytes():
            got.update(piece)
    assert got.hexdigest() == digest
    assert max(rss_anon(pid) for pid in stack.children("worker")) < before + 8 * MIB


@pytest.mark.parametrize("path,status", [("/repo", 422), ("/repo/dir", 409), ("/repo/dir/", 422), ("/repo/closed/f", 403), ("/etc/f", 422), ("/repo/file/f", 404),
                                         ("/repo/out/f", 422), ("/repo/%2e%2e/f", 422)])
def test_what_cannot_be_put(shared, path, status):
    shared.run("mkdir -p dir; test -d closed || mkdir -m 500 closed; chmod 500 closed; touch file; ln -sfn /tmp out")
    response = put(shared, path, b"x")
    assert response.status_code == status, response.text
    assert shared.out("ls -A dir closed /tmp/f 2>/dev/null || true").split() == ["closed:", "dir:"]


def test_a_client_that_breaks_off_leaves_the_file_as_it_was(session, stack):
    session.write("/repo/f", b"whole")

    def half():
        yield b"x" * MIB
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError):
        put(session, "/repo/f", half())
    eventually(lambda: session.out("cat f; ls -A") == "wholef")  # what had come is taken back when the service notices


def test_a_slow_client_holds_nobody_up(session, stack):
    session.run("head -c 50M /dev/zero > big")

    def slowly():
        for _ in range(20):
            yield b"x" * 1000
            time.sleep(0.1)

    upload = Background(stack.client(stack.key).put, url(session, "/repo/slow"), content=slowly())
    with stack.http.stream("GET", url(session, "/repo/big")) as response:
        next(response.iter_bytes(1000))
        for _ in range(5):
            assert session.out("echo free") == "free"
    assert upload.result().status_code == 201


@pytest.mark.parametrize("method,beyond,status", [("PUT", "?mode=x", 422), ("POST", "", 422), ("PATCH", "", 405)])
def test_a_connection_is_not_promised_after_an_upload_was_refused_early(shared, method, beyond, status):
    """It is closed then: a client that took it for kept would lose its next request."""
    for _ in range(5):
        response = shared.stack.http.request(method, url(shared, "/repo/refused") + beyond, content=iter([b"x" * MIB] * 8))
        assert (response.status_code, response.headers["connection"]) == (status, "close")
        assert get(shared, "/repo/refused").headers["connection"] == "keep-alive"


def test_the_place_of_uploads_has_no_name_outside(shared):
    response = shared.stack.http.put("/.sandboxd-upload", content=b"x")
    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})


def test_a_file_beyond_the_limit_is_refused(make_stack):
    own = make_stack(MAX_FILE_BYTES="1M")
    session = own.create(BUSYBOX)
    assert put(session, "/repo/fits", b"x" * MIB).status_code == 201
    assert put(session, "/repo/large", b"x" * (MIB + 1)).status_code == 413
    assert put(session, "/repo/chunked", iter([b"x" * MIB, b"x"])).status_code == 413
    session.run("cat fits fits > twice")
    assert get(session, "/repo/twice").status_code == 413
    assert get(session, "/repo/twice", Range="bytes=0-9").content == b"x" * 10
    assert session.out("ls -A") == "fits\ntwice"


@pytest.mark.runc
def test_a_change_that_a_process_of_the_session_holds_up_ends_by_its_time(make_stack):
    session = make_stack(FS_TIMEOUT_SECONDS=1).create()
    session.run(f"setsid sh -c 'trap \"\" HUP; {HELD}; while :; do kill -STOP -1; done' > /dev/null 2>&1 &")
    let_go(session)  # not before: the shell that started it would be stopped too

    def held_up():
        response = put(session, "/repo/f", b"x" * MIB)
        assert response.status_code in (201, 204) or "took longer than it may" in response.json()["detail"], response.text
        return response.status_code >= 400
    eventually(held_up, 60)
    assert session.close().status_code == 204


def test_files_and_directories_are_deleted(session):
    session.run("mkdir -p d/e; touch f d/f")
    http = session.stack.http
    assert http.delete(url(session, "/repo/f")).status_code == 204
    assert http.delete(url(session, "/repo/f")).status_code == 404
    assert http.delete(url(session, "/repo/d")).status_code == 409
    assert http.delete(url(session, "/repo/d?recursive=true")).status_code == 204
    assert http.delete(url(session, "/repo?recursive=true")).status_code == 422
    assert session.out("ls -A") == ""


def test_a_put_is_a_turn_of_its_own(create):
    session = create(extract_patch=True)
    assert put(session, "/repo/f", b"a\n").status_code == 201
    patch = session.turn("echo b >> f")
    assert b"\n+b" in patch and b"\n+a" not in patch and b"\n+a" in session.cumulative()
    assert session.stack.http.delete(url(session, "/repo/f")).status_code == 204
    assert session.turn("true") is None


def test_an_image_without_a_shell(create):
    session = create(DISTROLESS)
    assert put(session, "/repo/d/f", b"x").status_code == 201
    assert get(session, "/repo/d/f").content == b"x" and list(members(get(session, "/repo").content)) == ["d", "d/f"]


# --- directories ---


def test_a_directory_comes_as_an_archive(session):
    long = "/".join(["long-name-of-a-directory"] * 9)
    session.run(f"mkdir -p {long} empty; echo deep > {long}/f; printf run > run; chmod 750 run; touch -d @1700000000 run; ln -s run link; "
                f"ln -s {long} way; mkfifo pipe; ln run hard; echo no > secret; chmod 0 secret; mkdir .git; touch .git/x 'ü ä'")
    response = get(session, "/repo/")
    assert response.status_code == 200 and response.headers["content-type"] == "application/x-tar"
    assert response.headers["x-skipped-entries"] == "2"  # the FIFO and the secret
    found = members(response.content)
    assert found["run"][1] == found["hard"][1] == b"run" and found["run"][0].mode == 0o750 and found["run"][0].mtime == 1700000000
    assert found["link"][0].linkname == "run" and found["way"][0].linkname == long and found[f"{long}/f"][1] == b"deep\n"
    assert found["empty"][0].isdir() and found["run"][0].uid == 1000
    assert {"pipe", "secret"}.isdisjoint(found) and {".git/x", "ü ä"} <= set(found)
    head = session.stack.http.head(url(session, "/repo"))
    assert head.status_code == 200 and head.headers["content-type"] == "application/x-tar" and head.content == b""


@pytest.mark.parametrize("query,accept,kind", [("?format=tar", "*/*", "application/x-tar"), ("?format=tar.gz", "*/*", "application/gzip"),
                                               ("?format=tar.zst", "*/*", "application/zstd"), ("", "application/gzip", "application/gzip"),
                                               ("", "application/zstd", "application/zstd")])
def test_an_archive_is_packed_as_asked_for(shared, query, accept, kind):
    shared.write("/repo/packed/f", b"text " * 100_000)
    response = get(shared, "/repo/packed" + query, Accept=accept)
    assert response.status_code == 200 and response.headers["content-type"] == kind
    data = response.content
    if kind == "application/gzip":
        data = gzip.decompress(data)
    elif kind == "application/zstd":
        data = subprocess.run(["zstd", "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout
    assert members(data)["f"][1] == b"text " * 100_000
    assert kind == "application/x-tar" or len(response.content) < 20_000
    assert get(shared, "/repo/packed?format=zip").status_code == 422


def test_an_archive_of_a_directory_that_changes_is_whole(session):
    session.run("(for i in $(seq 100000); do [ -e stop ] && exit; printf 'x%.0s' $(seq $((RANDOM % 3000))) > f; rm -rf d; mkdir d; touch d/$i; done) > /dev/null 2>&1 &")
    for _ in range(20):
        assert members(get(session, "/repo").content) is not None
    session.run("touch stop")


def extract(session, path, data):
    return session.stack.http.post(url(session, path), content=data)


@pytest.mark.memory
def test_a_large_archive_or_file_is_never_all_in_a_workers_memory(session, stack):
    data = bytes(100 * MIB)
    with PeakResident(stack) as memory:
        assert put(session, "/repo/file", data).status_code == 201
        assert extract(session, "/repo", tar({"member": data})).json() == {"entries": 1}
    assert session.out("stat -c %s file member").split() == [str(100 * MIB)] * 2
    assert memory.grown < 8 * MIB


def test_an_archive_is_extracted_at_any_time(session):
    session.seeded(repo=tar({"old": b"old", "kept": b"kept", "d/f": b"f"}))
    long = "/".join(["long-name-of-a-directory"] * 9) + "/f"
    response = extract(session, "/repo", tar([member("old", b"new", 0o750), member("d/", mode=0o755), member("d/g", b"g"), member(long, b"deep"),
                                              member("empty/", mode=0o700), member("link", type=tarfile.SYMTYPE, linkname="d/g"),
                                              member("far", type=tarfile.SYMTYPE, linkname="/".join(["long-name-of-a-directory"] * 9))]))
    assert response.status_code == 200 and response.json()["entries"] >= 7, response.text
    assert session.out("cat old kept d/f d/g link far/f; stat -c ' %a %u %Y' old; stat -c %a empty") == "newkeptfggdeep 755 1000 1700000000\n755"
    assert extract(session, "/workspace/skills/new/place", zstd(tar({"s": b"s"}))).json() == {"entries": 1}
    assert session.out("cat /skills/new/place/s") == "s"
    assert extract(session, "/repo/", gzip.compress(tar({}))).json() == {"entries": 0}


@pytest.mark.parametrize("data,path,status", [
    (b"junk", "/repo", 422), (b"", "/repo", 422), (tar({"../out": b""}), "/repo", 422), (tar({"/abs": b""}), "/repo", 422), (tar({"x": b""}), "/etc", 422),
    (tar({"x": b""}), "/repo/file", 404), (tar({"dir": b""}), "/repo", 409), (tar({"file/x": b""}), "/repo", 404), (tar({"x": b""}), "/repo/closed", 403),
    (tar({"x": b""}), "/repo/out", 422), (tar({"out/x": b""}), "/repo", 422), (tar({"x": b""}), "/repo/%2e%2e", 422)])
def test_what_cannot_be_extracted(shared, data, path, status):
    shared.run("mkdir -p dir /tmp/outside; test -d closed || mkdir -m 500 closed; touch file; ln -sfn /tmp/outside out")
    response = extract(shared, path, data)
    assert response.status_code == status, response.text
    assert shared.out("ls -A /tmp/outside dir closed | tr -d '\\n'") == "/tmp/outside:closed:dir:"


def test_what_is_dangerous_is_left_out(session):
    response = extract(session, "/repo", tar([member("good", b"x", 0o6777), member("pipe", type=tarfile.FIFOTYPE), member("hard", type=tarfile.LNKTYPE, linkname="good"),
                                              member("out", type=tarfile.SYMTYPE, linkname="/etc")]))
    assert response.json() == {"entries": 1}
    assert session.out("ls -A; stat -c %a good") == "good\n777"


def test_an_extraction_is_a_turn_of_its_own_and_needs_no_shell(create):
    session = create(extract_patch=True)
    assert extract(session, "/repo", tar({"f": b"a\n"})).status_code == 200
    patch = session.turn("echo b >> f")
    assert b"\n+b" in patch and b"\n+a" not in patch and b"\n+a" in session.cumulative()
    bare = create(DISTROLESS)
    assert extract(bare, "/repo", tar({"d/f": b"x"})).status_code == 200 and get(bare, "/repo/d/f").content == b"x"
