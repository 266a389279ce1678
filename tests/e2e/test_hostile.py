"""Archives that are made to do harm: refused whole, or what is good in them and nothing else. By Python's tarfile and by hand."""
import bz2
import gzip
import lzma
import tarfile
import time

import pytest

from support import BUSYBOX, MIB, PeakMemory, eventually, member, multipart, tar, zstd

GIB = 1024 * MIB
BLOCK = 512
ENDING = bytes(2 * BLOCK)
LINK = {"type": tarfile.SYMTYPE}
EMPTY = "/repo:\n\n/skills:"


# --- archives by hand ---


def block(name="file", size=0, kind=b"0", link="", fields=()):
    """One header block; fields are (offset, bytes) that replace what tarfile wrote, before the checksum."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mode = size, kind, link, 0o644
    data = bytearray(info.tobuf(tarfile.GNU_FORMAT)[-BLOCK:])
    for at, value in fields:
        data[at:at + len(value)] = value
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    return bytes(data)


def padded(data):
    return data + bytes(-len(data) % BLOCK)


def whole(*parts):
    return b"".join(parts) + ENDING


def pax(records, kind=b"x"):
    """A pax header; records are (key, value) in bytes."""
    def record(key, value):
        rest = len(key) + len(value) + 3
        n = rest + len(str(rest + len(str(rest))))
        return b"%d %s=%s\n" % (n, key, value)

    body = b"".join(record(*pair) for pair in records)
    return block("pax", len(body), kind) + padded(body)


def number(value):
    return b"%011o\0" % value


def old_sparse(name, real, pieces, data):
    """The old GNU form: the map is in the header."""
    fields = [(483, number(real))]
    for i, (offset, length) in enumerate(pieces):
        fields += [(386 + 24 * i, number(offset)), (398 + 24 * i, number(length))]
    return block(name, len(data), b"S", fields=fields) + padded(data)


def pax_sparse(name, real, pieces, data):
    """GNU sparse 1.0: the map is before the data."""
    text = padded(b"".join(b"%d\n" % n for n in [len(pieces)] + [n for piece in pieces for n in piece]))
    head = pax([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", name.encode()),
                (b"GNU.sparse.realsize", b"%d" % real)])
    return head + block("GNUSparseFile.0/" + name, len(text) + len(data)) + text + padded(data)


def long_name(name, kind=b"L"):
    return block("././@LongLink", len(name) + 1, kind) + padded(name + b"\0")


GOOD = block("good", 4) + padded(b"good")

REFUSED = {
    "pax path that leads out": whole(GOOD, pax([(b"path", b"../../evil")]), block("harmless", 1), padded(b"x")),
    "pax path that is absolute": whole(GOOD, pax([(b"path", b"/etc/evil")]), block("harmless", 1), padded(b"x")),
    "pax path twice, the last leads out": whole(pax([(b"path", b"fine"), (b"path", b"../evil")]), block("harmless")),
    "pax path that is empty": whole(pax([(b"path", b"")]), block("../evil", 1), padded(b"x")),
    "long name that leads out": whole(GOOD, long_name(b"a/" * 80 + b"../" * 81 + b"evil"), block("harmless", 1), padded(b"x")),
    "name that fills its field": whole(block("x", 1, fields=[(0, b"../" + b"e" * 97)]), padded(b"x")),
    "prefix that leads out": whole(block("x", 1, fields=[(257, b"ustar\x0000"), (345, b"../../etc")]), padded(b"x")),
    "directory that leads out": whole(block("../evil/", kind=b"5")),
    "pax header of 8 MiB": whole(pax([(b"comment", b"x" * 8 * MIB)]), GOOD),
    "pax header of a million records": whole(pax([(b"k%d" % i, b"v") for i in range(500_000)]), GOOD),
    "pax header that says it is endless": block("pax", 8 * 1024 ** 3 - 1, b"x") + b"11 path=a/b" * 1000,
    "pax header in a circle of global ones": whole(*[pax([(b"comment", b"x" * 60_000)], b"g") for _ in range(100)], GOOD),
    "long name of 8 MiB": whole(long_name(b"n" * 8 * MIB), GOOD),
    "long link of 8 MiB": whole(long_name(b"n" * 8 * MIB, b"K"), block("link", kind=b"2")),
    "name of 5000 bytes": whole(long_name(b"n" * 5000), block("x")),
    "component of 300 bytes": whole(long_name(b"d/" + b"n" * 300), block("x")),
    "deep nesting": whole(long_name(b"d/" * 101 + b"f"), block("x")),
    "size beyond the data": block("big", 1 << 30) + bytes(100 * BLOCK),
    "size of 8 EiB": block("big", 0, fields=[(124, b"\x80\0\0\0\x7f" + b"\xff" * 7)]) + bytes(100 * BLOCK),
    "size that is negative": block("big", 0, fields=[(124, b"\xff" * 12)]) + bytes(100 * BLOCK),
    "size of 9 EiB in pax": whole(pax([(b"size", b"9223372036854775808")]), block("x")),
    "old sparse file of 8 TiB": whole(old_sparse("s", 0o77777777777, [(0, 512)], b"x" * 512)),
    "sparse file of 1 PiB": whole(pax_sparse("s", 1 << 50, [(0, 512)], b"x" * 512)),
    "sparse name that leads out": whole(pax_sparse("../evil", 512, [(0, 512)], b"x" * 512)),
    "sparse map of 400,000 entries": whole(pax_sparse("s", 1 << 40, [(i * 1024, 1) for i in range(400_000)], b"x" * 400_000)),
    "checksum that is wrong": whole(GOOD, block("bad")[:-1] + b"x"),
    "good archive with a bad end": whole(GOOD)[:-1024] + b"\xff" * 1024,
}


@pytest.fixture(scope="module")
def victim(stack):
    """A session that is never seeded: every refusal leaves it as it was."""
    session = stack.create(BUSYBOX)
    yield session
    assert session.out("ls -A /repo /skills") == EMPTY
    session.seeded(repo=tar({"a": b"1"}))
    session.close()


def post(session, parts, **fields):
    """Seed with a repo_archive that is made while it is sent."""
    kind, frame = multipart([("repo_archive", "a", b"@@")])
    before, after = frame.split(b"@@")

    def body():
        yield before
        yield from parts
        yield after

    return session.stack.http.post(session.path + "seed/", content=body(), headers={"Content-Type": kind}, **fields)


def refused(session, response, field="repo_archive"):
    assert response.status_code == 422, f"{response.status_code} {response.text}"
    assert response.json()["detail"].startswith(f"{field} is invalid: "), response.text
    assert session.out("ls -A /repo /skills; ls -d /evil /etc/evil /repo/../evil 2>/dev/null || :") == EMPTY


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_archive_is_refused_whole(victim, name):
    begun = time.monotonic()
    refused(victim, victim.seed(repo=REFUSED[name]))
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd], ids=["plain", "gzip", "bzip2", "xz", "zstd"])
def test_an_archive_that_is_cut_anywhere_is_refused(victim, pack):
    archive = whole(block("first", 700), padded(b"1" * 700), pax([(b"path", b"second")]), block("x", 5), padded(b"22222"))
    packed = pack(archive)
    if pack is bytes:  # in headers, contents, padding, a pax header; without its end it is as good as cut
        cuts = [1, 100, 511, 512, 513, 1024, 1500, 1536, 1600, 2048, 2060, 2560, 2600, len(archive) - 1024, len(archive) - 600]
        cuts = [cut for cut in cuts if cut not in (1536, len(archive) - 1024, len(archive) - 600)]
    else:
        cuts = sorted({1, 2, 4, 5, 8, 12, 20, len(packed) // 2, len(packed) - 20, len(packed) - 8, len(packed) - 4, len(packed) - 1})
    for cut in cuts:
        response = victim.seed(repo=packed[:cut])
        assert response.status_code == 422, (cut, len(packed), response.status_code, response.text)
    refused(victim, victim.seed(repo=b""))


@pytest.mark.parametrize("bad", ["repo", "skills"])
def test_of_two_archives_one_bad_one_refuses_both(victim, bad):
    archives = {"repo": tar({"r": b"1"}), "skills": tar({"s": b"1"})}
    archives[bad] = REFUSED["pax path that leads out"]
    refused(victim, victim.seed(**archives), f"{bad}_archive")


def test_what_is_good_in_a_hostile_archive_arrives_and_nothing_else(create, stack):
    session = create()
    deep = "/".join(["d"] * 99) + "/f"
    session.seeded(repo=whole(
        GOOD,
        block("way", kind=b"2", link="way2"), block("way2", kind=b"2", link="."), block("way/x", 1), padded(b"x"),  # a chain of links
        block("etc", kind=b"2", link="/etc"), block("etc/passwd", 4), padded(b"evil"),
        block("up", kind=b"2", link=".."), block("up/evil", 4), padded(b"evil"),
        block("loop", kind=b"2", link="loop"), block("loop/x", 1), padded(b"x"),
        block("hard", kind=b"1", link="good"), block("hard2", kind=b"1", link="/etc/passwd"),
        block("char", kind=b"3", fields=[(329, b"0000001\0"), (337, b"0000003\0")]), block("disk", kind=b"4"), block("fifo", kind=b"6"),
        block("odd", kind=b"Z", fields=[(257, b"ustar\x0000")]),
        block("good", 6), padded(b"better"),  # the last of a name wins
        block("dir/", kind=b"5"), block("dir/a", 1), padded(b"a"), block("dir", kind=b"2", link="good"),  # no link over a full directory
        pax([(b"path", b"renamed")]), block("../evil", 1), padded(b"r"),  # the pax name counts, and is harmless
        pax([(b"SCHILY.xattr.security.capability", b"\1\0\0\2\xff"), (b"uid", b"0"), (b"gid", b"0"), (b"mode", b"06777")]),
        block("caps", 1), padded(b"c"),
        block("n\xff\xfe", 1, fields=[(0, b"name-\xff\xfe")]), padded(b"n"),
        long_name(deep.encode()), block("x", 4), padded(b"deep"),
        old_sparse("old-sparse", MIB, [(4096, 512), (MIB, 0)], b"o" * 512), pax_sparse("sparse", MIB, [(8192, 512), (MIB, 0)], b"p" * 512),
    ))
    assert session.out("ls -A -I 'name-*'").split() == ["caps", "d", "dir", "etc", "good", "loop", "odd", "old-sparse", "renamed", "sparse",
                                                        "up", "way", "way2"]
    assert session.out("find . -maxdepth 2 -name evil -o -name passwd | sort; find . -type l | sort").split() \
        == ["./etc/passwd", "./up/evil", "./loop", "./way", "./way2"]  # where a link out was skipped, a directory is made
    assert session.out("cat good renamed caps name-*; cat " + deep) == "betterrcndeep"
    assert session.out("cat dir/a; [ ! -e x ] && [ ! -e evil ] && [ ! -e /evil ] && grep -c root /etc/passwd") == "a1"
    assert session.out("stat -c %s old-sparse sparse; tr -d '\\0' < old-sparse | wc -c; head -c 8704 sparse | tail -c 512 | tr -d p | wc -c") \
        .split() == [str(MIB), str(MIB), "512", "0"]
    assert session.out("stat -c '%u %a' caps; ls name-* | od -An -tx1 | tr -d ' '") == "1000 644\n6e616d652dfffe0a"
    assert session.out("find / -xdev -name evil -not -path '/repo/*' -not -path '/proc/*' 2>/dev/null || :") == ""
    assert len(stack.events("archive sanitised", session=session.id, skipped="10")) == 1


def test_a_global_pax_header_names_nothing(create):
    session = create(BUSYBOX)
    response = session.seed(repo=whole(pax([(b"path", b"../evil"), (b"uid", b"0")], b"g"), GOOD))
    assert response.status_code in (204, 422), response.text
    assert session.out("ls -d /evil /repo/evil 2>/dev/null; ls -A /repo | grep -vx good; stat -c %u /repo") == "1000"


# --- much out of little ---


def zeros_header(size):
    return block("zeros", 0, fields=[(124, b"\x80\0\0\0" + size.to_bytes(8, "big"))])


def zeros_gzip(size):
    """A tar with a file of zeros, as gzip members of a MiB each; nothing of it is ever whole in memory."""
    yield gzip.compress(zeros_header(size))
    piece = gzip.compress(bytes(MIB))
    for _ in range(size // MIB):
        yield piece
    yield gzip.compress(ENDING)


def zeros_bzip2(size):
    yield bz2.compress(zeros_header(size))
    piece = bz2.compress(bytes(8 * MIB))
    for _ in range(size // (8 * MIB)):
        yield piece
    yield bz2.compress(ENDING)


def zeros_xz(size):
    yield lzma.compress(zeros_header(size), preset=0)
    piece = lzma.compress(bytes(8 * MIB), preset=0)
    for _ in range(size // (8 * MIB)):
        yield piece
    yield lzma.compress(ENDING, preset=0)


def zeros_zstd(size):
    """One frame; each block of 128 KiB is one byte and how often it stands there."""
    head = zeros_header(size)
    yield b"\x28\xb5\x2f\xfd\x00\x38" + (len(head) << 3).to_bytes(3, "little") + head
    run = (131072 << 3 | 2).to_bytes(3, "little") + b"\0"
    for _ in range(size // MIB):
        yield run * 8
    yield (len(ENDING) << 3 | 1).to_bytes(3, "little") + ENDING


@pytest.fixture(scope="module")
def lowered(start_stack):
    from conftest import finish
    stack = start_stack(MAX_SEED_BYTES="32M", MIN_WORKERS=2, MAX_WORKERS=2)
    yield stack
    finish(stack)


BOMBS = pytest.mark.parametrize("zeros", [zeros_gzip, zeros_bzip2, zeros_xz, zeros_zstd], ids=["gzip", "bzip2", "xz", "zstd"])


@BOMBS
@pytest.mark.memory
def test_a_bomb_stops_at_the_limit_in_flat_memory(lowered, zeros):
    session = lowered.create(BUSYBOX)
    begun = time.monotonic()
    with PeakMemory(lowered) as memory:
        response = post(session, zeros(4 * GIB))
    refused(session, response)
    assert time.monotonic() - begun < 15
    assert memory.grown < 32 * MIB
    session.seeded(repo=b"".join(zeros(16 * MIB)) if zeros is zeros_gzip else tar({"a": b"1"}))
    session.close()


def files_of_zeros(count):
    """Not one large file, whose size is in its header, but many."""
    piece = gzip.compress(block("zeros", 8 * MIB) + bytes(8 * MIB))
    yield from (piece for _ in range(count))
    yield gzip.compress(ENDING)


@pytest.mark.memory
def test_many_files_are_counted_together(lowered):
    session = lowered.create(BUSYBOX)
    with PeakMemory(lowered) as memory:
        response = post(session, files_of_zeros(512))
    refused(session, response)
    assert memory.grown < 32 * MIB
    session.seeded(repo=b"".join(files_of_zeros(3)))
    session.close()


@BOMBS
@pytest.mark.memory
def test_more_than_four_gigabytes_of_zeros_are_refused_by_the_default_limits_too(victim, stack, zeros):
    with PeakMemory(stack) as memory:
        response = post(victim, zeros(5 * GIB), timeout=110)
    refused(victim, response)
    assert memory.grown < 32 * MIB


@pytest.mark.memory
@pytest.mark.timeout(240)
def test_a_hundred_thousand_tiny_files_arrive_in_little_memory(create, stack):
    session = create()

    def parts():
        packer_input = []
        for i in range(100_000):
            packer_input.append(block(f"d{i % 1000}/f{i}", 6) + padded(b"%06d" % i))
            if len(packer_input) == 1000:
                yield gzip.compress(b"".join(packer_input), 1)
                packer_input.clear()
        yield gzip.compress(ENDING)

    with PeakMemory(stack) as memory:
        response = post(session, parts(), timeout=200)
    assert response.status_code == 204, response.text
    assert memory.grown < 64 * MIB
    assert session.out("find . -type f | wc -l; cat d999/f99999").split() == ["100000", "099999"]


def test_a_connection_is_not_promised_after_an_archive_was_refused_early(victim):
    """It is closed then: a client that took it for kept would lose its next request."""
    for _ in range(20):
        response = victim.seed(repo=REFUSED["sparse map of 400,000 entries"])
        assert (response.status_code, response.headers["connection"]) == (422, "close")
        assert victim.out("echo next") == "next"


def test_nothing_of_all_this_stays(victim, stack):
    """Workers hold no spool file of a refused archive, and serve on."""
    from test_seed import spool_files
    victim.seed(repo=REFUSED["sparse file of 1 PiB"])
    eventually(lambda: not spool_files(stack))  # let go of when the answer is out
    assert victim.out("echo alive") == "alive"
