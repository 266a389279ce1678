"""report.py RESULT.json: a result as a table, as Markdown for docs/benchmarks.md, and against the bounds."""

import argparse
import json
import sys
from pathlib import Path

from figure import faults, words

BEGIN, END = "<!-- result: begin (scripts/bench --doc) -->", "<!-- result: end -->"
HEAD = ("figure", "ours p50", "p90", "raw p50", "ours/raw", "target", "met", "raw is")


def number(value, unit):
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}{'' if unit == '/s' else ' '}{unit}"


def ratio_of(found):
    if found["ratio"] is None:
        return ""
    return f"{found['ratio']:.{3 if found['ratio'] < 0.1 else 2}f}"


def row(found):
    unit, ours, raw = found["unit"], found["ours"], found["raw"]
    return (found["what"], number(ours["p50"], unit), number(ours["p90"], unit) if ours["n"] > 1 else "",
            number(raw["p50"], unit) if raw else "", ratio_of(found), words(found["target"]),
            {True: "yes", False: "NO", None: ""}[found["met"]], found["raw_what"] or "")


def table(figures):
    rows = [HEAD, *map(row, figures)]
    widths = [max(len(each[column]) for each in rows) for column in range(len(HEAD))]
    lines = []
    for each in rows:
        cells = [text.ljust(width) if column in (0, 5, 7) else text.rjust(width)
                 for column, (text, width) in enumerate(zip(each, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def details(figures):
    """What a table has no room for."""
    lines = []
    for found in figures:
        what = found["what"]
        if "parts_ms" in found:
            lines.append(f"{what}: " + ", ".join(f"{name} {ms:.3f} ms" for name, ms in found["parts_ms"].items()))
        if "latency_ms" in found:
            latency = found["latency_ms"]
            lines.append(f"{what}: latency p50 {latency['p50']:.2f} ms, p90 {latency['p90']:.2f} ms; the client's own CPU "
                         f"{found['client_cpu_ms']:.3f} ms a command")
        if "cost_ms" in found:
            lines.append(f"{what}: the patch costs {found['cost_ms']:.1f} ms of it")
        if "largest" in found:
            lines.append(f"{what}: median of {found['processes']} processes, largest {found['largest']:.1f} MB, anonymous "
                         f"{found['rss_anon']:.1f} MB")
    return lines


def machine_line(machine):
    return (f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}, kernel "
            f"{machine['kernel']}; dockerd {machine['dockerd']} ({machine['storage']}, cgroup v{machine['cgroup']}), "
            f"containerd {machine['containerd']}, runc {machine['runc']}, runtime {machine['runtime']}, nginx "
            f"{machine['nginx']}; bash -c true on the host, without a container, {machine['spawn_ms']} ms; load average "
            f"{machine['load_before']} before, {machine['load_after']} after, {machine['steal_percent']} % of the CPU time "
            f"taken by the machine's own host; commit {machine['commit']}, {machine['date']}")


def exceeded(figures, bounds):
    """[(name, words)]: bounds that this result exceeds. A figure without a bound is one too: it was forgotten."""
    wrong = []
    for found in figures:
        if found["name"] not in bounds:
            wrong.append((found["name"], "has no bound in bounds.json"))
            continue
        wrong += [(found["name"], text) for text in faults(found, bounds[found["name"]])]
    return wrong


def markdown(result):
    lines = [machine_line(result["machine"]) + ".", "",
             "| " + " | ".join(HEAD) + " |", "| --- | ---: | ---: | ---: | ---: | --- | --- | --- |"]
    lines += ["| " + " | ".join(row(found)) + " |" for found in result["figures"]]
    return "\n".join([*lines, "", *[f"- {line}" for line in details(result["figures"])]])


def write_doc(result, path):
    """Fill the generated section between the markers."""
    text = Path(path).read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path}: the markers of the generated section are missing")
    Path(path).write_text(f"{before}{BEGIN}\n{markdown(result)}\n{END}{after}", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result")
    parser.add_argument("--doc", metavar="FILE", help="fill the generated section of this file")
    parser.add_argument("--check", action="store_true", help="fail when a bound is exceeded")
    chosen = parser.parse_args()
    result = json.loads(Path(chosen.result).read_text(encoding="utf-8"))
    if chosen.doc:
        write_doc(result, chosen.doc)
    if not chosen.check:
        return 0
    wrong = exceeded(result["figures"], json.loads(Path(__file__).with_name("bounds.json").read_text(encoding="utf-8")))
    for name, text in wrong:
        print(f"bound exceeded: {name}: {text}")
    print(f"{len(result['figures'])} figures, {len(wrong)} bounds exceeded")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
