"""Where secrets of a stack must not be: its logs and files, what its processes show, the memory that they share."""
import pathlib
import re

from support import proc_text

# The files that hold some of them by design; nobody but their owner may read those.
KEPT = {"sandboxd.env*": {"key", "dsn", "redis"}, "keys.conf": {"key"}, "sessions.db*": {"environment"}}
SHORTEST = 12  # of a secret that cannot be there by chance
CHUNK = 8 << 20


def kept(path):
    """Names of the secrets that a file may hold."""
    if path.stat().st_mode & 0o077:
        return set()
    return set().union(*(names for pattern, names in KEPT.items() if path.match(pattern)))


def in_file(path, secrets):
    """Names of the secrets in a file of any size."""
    found = set()
    overlap = max(map(len, secrets.values()))
    with path.open("rb") as file:
        tail = b""
        while piece := file.read(CHUNK):
            tail += piece
            found |= {name for name, secret in secrets.items() if secret in tail}
            tail = tail[-overlap:]
    return found


def in_shared_memory(pid, secrets):
    """Names of the secrets in memory that a process shares with others: scoreboard and metrics."""
    found = set()
    for line in proc_text(pid, "maps").splitlines():
        where = re.match(r"([0-9a-f]+)-([0-9a-f]+) r..s ", line)
        if not where:
            continue
        begin, end = (int(n, 16) for n in where.groups())
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(begin)
            content = memory.read(end - begin)
        found |= {name for name, secret in secrets.items() if secret in content}
    return found


def leaks(stack, **more):
    """(place, secret's name) of all that is found of the stack's key and of `more`."""
    secrets = {name: secret.encode() for name, secret in {"key": stack.key, **stack.secrets, **more}.items() if len(secret) >= SHORTEST}
    if not secrets:
        return []
    found = []
    for path in sorted(pathlib.Path(stack.home).rglob("*")):
        try:
            if path.is_file() and not path.is_symlink():
                found += [(str(path), name) for name in in_file(path, secrets) - kept(path)]
        except FileNotFoundError:
            continue  # gone meanwhile
    for pid in {*stack.processes(), *stack.nginx_pids()}:
        for place in ("cmdline", "environ"):
            found += [(f"{place} of {proc_text(pid, 'comm').strip()}", name) for name, secret in secrets.items()
                      if secret.decode() in proc_text(pid, place)]
        try:
            found += [(f"shared memory of {proc_text(pid, 'comm').strip()}", name) for name in in_shared_memory(pid, secrets)]
        except (OSError, ProcessLookupError):
            continue  # it ends
    return found
