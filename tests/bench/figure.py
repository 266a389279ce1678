"""A figure: what was measured, its limit, its target; and the list of cases that give figures."""

CASES = []


def case(*names, full_only=False):
    """A function of a Bench that yields figures of these names."""
    def register(function):
        CASES.append({"names": names, "run": function, "full_only": full_only})
        return function
    return register


def figure(name, what, ours, raw=None, raw_what=None, unit="ms", target=None, **extra):
    """ours, raw: summaries. target: max_ms, max_ratio (of the medians), min_per_s, max_mb."""
    found = {"name": name, "what": what, "unit": unit, "ours": ours, "raw": raw, "raw_what": raw_what,
             "ratio": ours["p50"] / raw["p50"] if raw and raw["p50"] else None, "target": target or {}, **extra}
    found["met"] = not faults(found, found["target"]) if target else None
    return found


def single(value):
    """The summary of a figure that is no sample."""
    return {"n": 1, "p50": value, "p90": value, "min": value, "max": value}


def faults(found, limits):
    """Which of the limits the figure exceeds, in words."""
    value, ratio, unit, wrong = found["ours"]["p50"], found["ratio"], found["unit"], []
    for name, limit in limits.items():
        if name in ("max_ms", "max_mb") and value > limit:
            wrong.append(f"{value:.2f} {unit} is more than {limit} {unit}")
        elif name == "min_per_s" and value < limit:
            wrong.append(f"{value:.0f} {unit} is less than {limit} {unit}")
        elif name == "max_ratio" and ratio > limit:
            wrong.append(f"{ratio:.3f} × {found['raw_what']} is more than {limit} ×")
        elif name == "min_ratio" and ratio < limit:
            wrong.append(f"{ratio:.3f} × {found['raw_what']} is less than {limit} ×")
        elif name not in ("max_ms", "max_mb", "min_per_s", "max_ratio", "min_ratio"):
            wrong.append(f"'{name}' is no kind of limit")
    return wrong


def words(limits):
    """The limits as they stand in a table."""
    form = {"max_ms": "≤ {} ms", "max_mb": "≤ {} MB", "min_per_s": "≥ {}/s", "max_ratio": "≤ {} × raw",
            "min_ratio": "≥ {} × raw"}
    return ", ".join(form[name].format(limit) for name, limit in limits.items())
