"""What every case works with: both clients, sessions and containers that are gone when their block ends, archives."""

import contextlib
import functools
import io
import os
import re
import tarfile
import time

from transport import Connection, Docker, Service, head

POOLED = 4  # what scripts/bench lets the stack keep


class Bench:
    def __init__(self, options):
        self.quick, self.image, self.home = options.quick, options.image, options.home
        self.docker_host = options.docker
        self.host, self.port, self.key = options.host, options.port, options.key
        self.runtime, self.label = options.runtime, options.label
        self.warm_image = options.warm_image
        host, _, port = options.metrics.rpartition(":")
        self.metrics = Connection((host, int(port)))
        self.service = self.new_service()
        self.docker = Docker(options.docker, options.runtime, options.label)

    def new_service(self):
        return Service(self.host, self.port, self.key)

    def new_docker(self):
        """For another process: a connection is not shared."""
        return Docker(self.docker_host, self.runtime, self.label)

    def count(self, full, quick):
        return quick if self.quick else full

    def metric(self, name):
        """The value of one line of the stack's metrics; 0 where there is no such line yet."""
        _, content = self.metrics.exchange(head("GET", "/-/metrics/", 0))
        self.metrics.shut()  # the next look may be minutes away, and nginx hangs up before that
        found = re.search(rf"^{re.escape(name)} (\S+)$", bytes(content).decode(), re.MULTILINE)
        return float(found[1]) if found else 0

    def wait_for_pool(self):
        """Until the warm pool has all its sessions: the janitor makes none while a figure is taken."""
        deadline = time.monotonic() + 60
        while self.metric('sandboxd_sessions{state="pooled"}') < POOLED:
            if time.monotonic() > deadline:
                raise RuntimeError("the warm pool is not filled")
            time.sleep(0.02)

    @contextlib.contextmanager
    def session(self, **options):
        session = self.service.create(self.image, **options)
        try:
            yield session
        finally:
            self.service.close(session)

    @contextlib.contextmanager
    def sessions(self, count, **options):
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self.session(**options)) for _ in range(count)]

    @contextlib.contextmanager
    def container(self):
        container = self.docker.create(self.image)
        try:
            yield container
        finally:
            self.docker.remove(container)

    @contextlib.contextmanager
    def containers(self, count):
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self.container()) for _ in range(count)]


@functools.lru_cache(maxsize=1)
def tree(files, size, per_directory=50):
    """A tar of a tree of regular files with random content, in directories of so many."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(files):
            info = tarfile.TarInfo(f"dir{number // per_directory:04}/file{number:06}")
            info.size, info.mode = size, 0o644
            tar.addfile(info, io.BytesIO(os.urandom(size)))
    return out.getvalue()


def real_tree(bench, count):
    """A tar of so many regular files as a machine has them: the image's /usr without large files and without what leads out of it,
    again under another name where it is not enough; with the directories, links and modes that belong to it."""
    with bench.container() as container:
        source = io.BytesIO(bench.docker.raw("GET", f"/containers/{container}/archive?path=/usr"))
    out, left, round_ = io.BytesIO(), count, 0
    with tarfile.open(fileobj=source) as usr, tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        members = [m for m in usr if m.isdir() or (m.isreg() and m.size <= 65536) or
                   (m.issym() and "/" not in m.linkname and m.linkname != "..")]
        while left > 0:
            for member in members:
                info = tarfile.TarInfo(f"tree{round_}/{member.name}")
                info.type, info.mode, info.size, info.linkname, info.mtime = (
                    member.type, member.mode & 0o777, member.size, member.linkname, member.mtime)
                tar.addfile(info, usr.extractfile(member) if member.isreg() else None)
                left -= member.isreg()
                if left == 0:
                    break
            round_ += 1
    return out.getvalue()
