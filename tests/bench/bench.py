"""Measure a running stack against the raw Docker API of its dockerd. Started by scripts/bench."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import cases_command  # noqa: F401 (the order of the table)
import cases_files  # noqa: F401
import cases_session  # noqa: F401
import cases_load  # noqa: F401
import cases_process  # noqa: F401
import machine
import report
from context import Bench
from figure import CASES

ROOT = Path(__file__).resolve().parents[2]


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--home", required=True, help="home of the stack: its pid files, and its key in api-key")
    parser.add_argument("--docker", required=True, help="DOCKER_HOST of the stack")
    parser.add_argument("--image", default="sandboxd/debian:12")
    parser.add_argument("--warm-image", required=True, help="an image of the stack's warm pool: two of it, two with patch")
    parser.add_argument("--metrics", required=True, help="HOST:PORT of the stack's metrics")
    parser.add_argument("--runtime", default="runc")
    parser.add_argument("--label", default=f"sandboxd.bench.{os.getpid()}", help="label of the raw containers")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="NAME,…: these figures")
    parser.add_argument("--out", default=str(ROOT / "build/bench/result.json"))
    chosen = parser.parse_args()
    chosen.key = os.environ.get("DAIV_SANDBOX_API_KEY") or Path(chosen.home, "api-key").read_text().strip()
    return chosen


def wanted(chosen):
    only = [name for name in chosen.only.split(",") if name]
    known = [name for each in CASES for name in each["names"]]
    for name in only:
        if name not in known:
            raise SystemExit(f"bench: there is no figure '{name}'; there are {', '.join(known)}")
    if only:
        return [each for each in CASES if set(only) & set(each["names"])]
    return [each for each in CASES if not (chosen.quick and each["full_only"])]


def stop(number, _frame):
    raise KeyboardInterrupt(signal.Signals(number).name)


def measure(bench, cases):
    figures, begun = [], time.monotonic()
    for each in cases:
        machine.settle()
        for found in each["run"](bench):
            figures.append(found)
            values = "  ".join(report.row(found)[1:5])
            print(f"{time.monotonic() - begun:5.0f} s  {found['name']:18} {values}", file=sys.stderr)
    return figures, time.monotonic() - begun


def main():
    chosen = options()
    cases = wanted(chosen)
    # Also when started in the background of a shell, which has them ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    bench = Bench(chosen)
    machine.settle()
    described, steal = machine.describe(bench.docker, ROOT), machine.Steal()
    if described["load_before"] > described["cores"] / 2:
        print(f"note: the load average is {described['load_before']} already; the figures will be worse than the "
              "machine's best", file=sys.stderr)
    bench.wait_for_pool()
    try:
        figures, took = measure(bench, cases)
    finally:
        bench.new_docker().remove_all()
    described.update(load_after=round(machine.load(), 2), steal_percent=round(steal.percent(), 1),
                     runtime=chosen.runtime)
    result = {"machine": described, "quick": chosen.quick, "took_s": round(took, 1), "figures": figures}
    Path(chosen.out).parent.mkdir(parents=True, exist_ok=True)
    Path(chosen.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(report.table(figures))
    for line in report.details(figures):
        print(f"  {line}")
    print(report.machine_line(described))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt as stopped:
        print(f"bench: stopped by {stopped or 'SIGINT'}", file=sys.stderr)
        sys.exit(130)
