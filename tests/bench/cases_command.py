"""Commands, files and outputs in a session that is there already."""

import base64
import io
import itertools
import os
import tarfile

from figure import case, figure
from measure import paired
from transport import clock

TRUE = ["true"]


def ours_run(bench, session, commands, **options):
    """The request is made up once: clients' own costs are not what is measured."""
    request = bench.service.run_request(session, commands, **options)

    def sample():
        def call():
            status, content = bench.service.connection.exchange(request)
            if status != 200 or content.count(b'"exit_code":0,') != len(commands):
                raise RuntimeError(f"run: {status} {bytes(content[:300])!r}")
        return clock(call)
    return sample


def raw_exec(bench, container, times=1, script="true"):
    def sample():
        def call():
            for _ in range(times):
                bench.docker.exec(container, ["sh", "-c", script])
        return clock(call)
    return sample


@case("command")
def command(bench):
    with bench.session() as session, bench.container() as container:
        ours, raw = paired(ours_run(bench, session, TRUE), raw_exec(bench, container), bench.count(20, 6), 20, 4,
                           warm=2)
    yield figure("command", "one command (sh -c true)", ours, raw, "one exec", target={"max_ms": 3, "max_ratio": 0.08})


@case("commands_10")
def commands_10(bench):
    with bench.session() as session, bench.container() as container:
        ours, raw = paired(ours_run(bench, session, TRUE * 10), raw_exec(bench, container, 10), bench.count(8, 2), 8, 1,
                           warm=1)
    yield figure("commands_10", "10 commands in one request", ours, raw, "10 execs", target={"max_ms": 15})


@case("commands_100", full_only=True)
def commands_100(bench):
    with bench.session() as session, bench.container() as container:
        ours, raw = paired(ours_run(bench, session, TRUE * 100), raw_exec(bench, container, 100), 2, 8, 1)
    yield figure("commands_100", "100 commands in one request", ours, raw, "100 execs")


@case("command_patch")
def command_patch(bench):
    """A turn: one command that changes a file of a small repository, and its patch."""
    archive = files_tar([(f"src/file{number}.txt", os.urandom(500).hex().encode()) for number in range(50)])
    turn = iter(range(1 << 30))
    with bench.session(extract_patch=True) as session, bench.container() as container:
        bench.service.seed(session, archive)

        def ours():
            line = f"echo {next(turn)} >> src/file1.txt"
            answer = []
            taken = clock(lambda: answer.append(bench.service.run(session, [line])))
            if not answer[0]["patch"]:
                raise RuntimeError(f"no patch: {answer[0]}")
            return taken
        taken, raw = paired(ours, raw_exec(bench, container, script="echo 1 >> /tmp/file1.txt"), bench.count(15, 4), 8, 2,
                            warm=1)
    yield figure("command_patch", "one command that changes a file, with patch", taken, raw, "one exec, no patch",
                 target={"max_ms": 12})


def files_tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def mutations(directory, count, text):
    return [{"path": f"/repo/{directory}/file{number}", "content": text, "mode": 0o644} for number in range(count)]


@case("file_1", "files_64", "files_64_new")
def files(bench):
    content = os.urandom(1024)
    text = base64.b64encode(content).decode()
    turn = itertools.count()
    with bench.session() as session, bench.container() as container:
        for name, count, what, limit in (("file_1", 1, "write one file of 1 KB", 4),
                                         ("files_64", 64, "write 64 files of 1 KB", 10),
                                         ("files_64_new", 64, "write 64 files of 1 KB that were not there", 10)):
            def directory(new=name.endswith("_new")):
                return f"new{next(turn)}" if new else "src"

            def ours(count=count, directory=directory):
                wanted = mutations(directory(), count, text)
                return clock(lambda: bench.service.files(session, wanted))

            def raw(count=count, directory=directory):
                place = directory()
                archive = files_tar([(f"{place}/file{number}", content) for number in range(count)])
                return clock(lambda: bench.docker.put_archive(container, archive))
            taken = paired(ours, raw, bench.count(15, 4), 10, 4, warm=1)
            yield figure(name, what, *taken, "PUT archive", target={"max_ms": limit})


def output(bench, name, what, size, rounds, each, **options):
    script = f"yes 0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXY | head -c {size} || :"
    with bench.session() as session, bench.container() as container:
        ours, raw = paired(ours_run(bench, session, [script], **options), raw_exec(bench, container, script=script),
                           rounds, each, 1)
    return figure(name, what, ours, raw, "exec")


@case("output_1mb")
def output_1mb(bench):
    yield output(bench, "output_1mb", "1 MB of output", 1000 * 1000, bench.count(10, 3), 3)


@case("output_100mb")
def output_100mb(bench):
    """The largest that a request can ask for is 64 MiB: the head and the tail of the output come back."""
    yield output(bench, "output_100mb", "100 MB of output, 64 MiB of it returned", 100 * 1000 * 1000,
                 bench.count(4, 1), 1, max_output_bytes=64 << 20)
