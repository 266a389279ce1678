"""Sessions: made, seeded, closed."""

from cases_command import ours_run
from context import real_tree, tree
from figure import case, figure
from machine import settle
from measure import paired, summary
from transport import clock

HITS = 'sandboxd_pool_claims_total{outcome="hit"}'


def container_cycle(bench, closings):
    """One raw container made and removed; returns what the making took."""
    made = []
    taken = clock(lambda: made.append(bench.docker.create(bench.image)))
    closings.append(clock(lambda: bench.docker.remove(made[0])))
    return taken


def session_cycle(bench, closings, **options):
    made = []
    taken = clock(lambda: made.append(bench.service.create(bench.image, **options)))
    closings.append(clock(lambda: bench.service.close(made[0])))
    return taken


@case("create", "close")
def create(bench):
    ours_closed, raw_closed = [], []
    ours, raw = paired(lambda: session_cycle(bench, ours_closed), lambda: container_cycle(bench, raw_closed),
                       bench.count(20, 5))
    yield figure("create", "create a session", ours, raw, "create and start", target={"max_ratio": 1.15})
    yield figure("close", "close a session", summary(ours_closed), summary(raw_closed), "remove")


@case("create_patch", "close_patch")
def create_patch(bench):
    ours_closed, raw_closed = [], []
    ours, raw = paired(lambda: session_cycle(bench, ours_closed, extract_patch=True),
                       lambda: container_cycle(bench, raw_closed), bench.count(12, 3))
    yield figure("create_patch", "create a session with patch", ours, raw, "create and start")
    yield figure("close_patch", "close a session with patch", summary(ours_closed), summary(raw_closed), "remove")


def warm_cycle(bench, **options):
    """One session out of the pool, which is full again before anything else is measured."""
    hits, made = bench.metric(HITS), []
    taken = clock(lambda: made.append(bench.service.create(bench.warm_image, **options)))
    bench.service.close(made[0])
    bench.wait_for_pool()
    if bench.metric(HITS) != hits + 1:
        raise RuntimeError("the session did not come from the warm pool")
    return taken


@case("create_warm", "create_warm_patch")
def create_warm(bench):
    for name, what, options in (("create_warm", "create a session from the warm pool", {}),
                                ("create_warm_patch", "the same with patch", {"extract_patch": True})):
        bench.wait_for_pool()
        ours, raw = paired(lambda chosen=options: warm_cycle(bench, **chosen), lambda: container_cycle(bench, []),
                           bench.count(20, 6))
        yield figure(name, what, ours, raw, "create and start", target={"max_ms": 10})


def seeding(bench, archive, **options):
    with bench.session(**options) as session:
        return clock(lambda: bench.service.seed(session, archive))


def putting(bench, archive):
    with bench.container() as container:
        return clock(lambda: bench.docker.put_archive(container, archive))


@case("seed_small", "seed_small_patch")
def seed_small(bench):
    archive = tree(2000, 10000)
    ours, raw = paired(lambda: seeding(bench, archive), lambda: putting(bench, archive), bench.count(6, 2))
    yield figure("seed_small", "seed 20 MB in 2,000 files", ours, raw, "PUT archive", target={"max_ratio": 1})
    if bench.quick:
        return
    ours, raw = paired(lambda: seeding(bench, archive, extract_patch=True), lambda: putting(bench, archive), 4)
    yield figure("seed_small_patch", "the same with patch", ours, raw, "PUT archive")


@case("seed_large")
def seed_large(bench):
    archive = tree(2, 100 * 1000 * 1000)
    ours, raw = paired(lambda: seeding(bench, archive), lambda: putting(bench, archive), bench.count(5, 2))
    yield figure("seed_large", "seed 200 MB in 2 files", ours, raw, "PUT archive", target={"max_ratio": 2})


@case("tree_seed", "tree_patch_100", "tree_patch_1k", "tree_patch", full_only=True)
def tree_of_files(bench):
    """A real tree, and how the patch of a turn that changes nothing grows with it."""
    for name, count in (("tree_patch_100", 100), ("tree_patch_1k", 1000), ("tree_patch", 10_000)):
        archive = real_tree(bench, count)
        if count == 10_000:
            ours, raw = paired(lambda: seeding(bench, archive), lambda: putting(bench, archive), 3)
            yield figure("tree_seed", f"seed a real tree of 10,000 files, {len(archive) / 1e6:.0f} MB", ours, raw, "PUT archive")
        with bench.session() as plain, bench.session(extract_patch=True) as patched:
            for session in (plain, patched):
                bench.service.seed(session, archive)
            settle()
            ours, raw = paired(ours_run(bench, patched, ["true"]), ours_run(bench, plain, ["true"]), 6, 4, 4, warm=1)
        yield figure(name, f"one command over {count:,} unchanged files, with patch", ours, raw, "without patch",
                     cost_ms=ours["p50"] - raw["p50"])
