"""What every case works with: both clients, sessions and containers that are gone when their block ends, archives."""

import contextlib
import functools
import io
import os
import tarfile

from transport import Docker, Service


class Bench:
    def __init__(self, options):
        self.quick, self.image, self.home = options.quick, options.image, options.home
        self.docker_host = options.docker
        self.host, self.port, self.key = options.host, options.port, options.key
        self.runtime, self.label = options.runtime, options.label
        self.service = self.new_service()
        self.docker = Docker(options.docker, options.runtime, options.label)

    def new_service(self):
        return Service(self.host, self.port, self.key)

    def new_docker(self):
        """For another process: a connection is not shared."""
        return Docker(self.docker_host, self.runtime, self.label)

    def count(self, full, quick):
        return quick if self.quick else full

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
