"""File operations of the agent, each one request; what a command in the same session takes is what they are held against."""

import json
import random

from cases_command import files_tar, ours_run
from figure import case, figure
from measure import paired
from transport import clock

WORDS = [word + ending for word in ("alpha", "buffer", "count", "delta", "entry", "field", "group", "handle", "index", "join", "key", "line")
         for ending in ("", "_of", "_new", "s", "_len", "Error")]


def source(rng, lines):
    """Text like a program's: indented words, some punctuation."""
    return "".join(f"{' ' * 4 * rng.randrange(4)}{rng.choice(WORDS)} = {rng.choice(WORDS)}({rng.choice(WORDS)}, {rng.randrange(10000)});\n"
                   for _ in range(lines)).encode()


def tree(files, lines):
    rng = random.Random(1)
    archive = [(f"dir{number // 50:03}/file{number:05}.c", source(rng, lines)) for number in range(files)]
    archive[files // 2] = (archive[files // 2][0], archive[files // 2][1] + b"int the_needle_99 = 1;\n")
    return files_tar(archive)


def operation(bench, session, name, **body):
    """A request that is made up once, and must succeed."""
    request = bench.service.request("POST", f"/session/{session}/fs/{name}/", body)

    def sample():
        def call():
            status, content = bench.service.connection.exchange(request)
            if status != 200 or not content.endswith(b'"error":null}'):
                raise RuntimeError(f"{name}: {status} {bytes(content[:300])!r}")
        return clock(call)
    return sample


def own_time(bench, session, script):
    """What a command takes by itself, without the request around it."""
    request = bench.service.run_request(session, [script])

    def sample():
        _, content = bench.service.connection.exchange(request)
        result = json.loads(content)["results"][0]
        if result["exit_code"] != 0:
            raise RuntimeError(f"{script}: {result}")
        return result["duration_ms"]
    return sample


@case("fs_read_64k", "fs_edit", "fs_ls")
def small(bench):
    rng = random.Random(2)
    text = source(rng, 2000)[:65536]
    with bench.session() as session:
        bench.service.seed(session, files_tar([("read.c", text), ("edit.c", text + b"flip 0\n")] + [(f"many/{i:04}", b"") for i in range(200)]))
        rounds = bench.count(15, 4)

        def figure_of(name, what, sample, script, limit):
            ours, raw = paired(sample, ours_run(bench, session, [script]), rounds, 15, 5, warm=1)
            return figure(name, what, ours, raw, "command", target={"max_ms": limit})
        yield figure_of("fs_read_64k", "read a file of 64 KB", operation(bench, session, "read", path="/repo/read.c", limit=5000), "cat read.c", 4)
        turn = iter(range(1 << 30))

        def edit():
            number = next(turn)
            return operation(bench, session, "edit", path="/repo/edit.c", old=f"flip {number}\n", new=f"flip {number + 1}\n")()
        yield figure_of("fs_edit", "edit a file of 64 KB", edit, "sed -i s/nothing/else/ edit.c", 4)
        yield figure_of("fs_ls", "list a directory of 200 files", operation(bench, session, "ls", path="/repo/many"), "ls many", 4)


@case("fs_grep", "fs_grep_class", "fs_glob")
def large(bench):
    with bench.session() as session:
        bench.service.seed(session, tree(10_000, 60))
        rounds = bench.count(6, 2)
        for name, what, pattern in (("fs_grep", "grep 10,000 files for a word", "the_needle_[0-9]+"),
                                    ("fs_grep_class", "grep 10,000 files for a class of characters", "[a-z]+_[0-9][0-9]+ ")):
            ours, raw = paired(operation(bench, session, "grep", pattern=pattern, path="/repo"),
                               own_time(bench, session, f"grep -rnE '{pattern}' /repo"), rounds, 3, 3, warm=1)
            yield figure(name, what, ours, raw, "grep -rn itself", target={"max_ratio": 1.5})
        ours, raw = paired(operation(bench, session, "glob", pattern="**/*7.c", path="/repo"),
                           own_time(bench, session, "find /repo -name '*7.c'"), rounds, 3, 3, warm=1)
        yield figure("fs_glob", "glob 10,000 files", ours, raw, "find itself")
