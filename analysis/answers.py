"""The headline questions, answered in sentences that say no more than the intervals bear."""

from analysis.bootstrap import difference, share_closed
from analysis.equivalent import in_text, worth
from analysis.queries import Configuration, Setting, Tables, best_by_construction, connected, estimate
from analysis.statistics import LEAST_SEEDS, Estimate, Share, over, signed

LINKED = ("swe", "constrained", "permuted", "distilled")
"""Constructions that may be connected, in the order of the sentences."""


def answers(tables: Tables) -> dict[Setting, list[str]]:
    """Sentences per (dataset, model), the strongest answer to each question that the data allow."""
    found = {}
    for setting, by_name in best_by_construction(tables).items():
        lines = [_basin(tables, by_name)]
        if "deep" in by_name:
            lines += [_price(tables, by_name[name], by_name["deep"]) for name in LINKED if name in by_name]
            lines += [line for metric in ("accuracy", "nll") if (line := _closed(tables, by_name, metric))]
            lines += [line for name in ("constrained", "distilled") if (line := _reason(tables, by_name, name))]
        lines += [line for name in LINKED if name in by_name and (line := _worth(tables, by_name[name]))]
        found[setting] = [line for line in lines if line]
    return found


def _basin(tables: Tables, by_name: dict[str, Configuration]) -> str:
    """Which constructions lie in one basin."""
    inside = [name for name in LINKED if name in by_name and connected(tables, by_name[name])]
    outside = [name for name in (*LINKED, "deep") if name in by_name and name not in inside]
    depths = {name: estimate(tables, by_name[name], "q_bar") for name in outside}
    told = [f"{name} (q̄ = {signed(e.mean, 1)} points)" if (e := depths[name]) else name for name in outside]
    parts = []
    if inside:
        parts.append(f"In one basin (worst validation barrier of every seed below 2 points): {_and(inside)}.")
    if told:
        parts.append(f"Not{'' if inside else ' in one basin'}, or not known to be: {_and(told)}.")
    return " ".join(parts)


def _price(tables: Tables, own: Configuration, deep: Configuration) -> str:
    """What an ensemble loses, in accuracy, against the deep ensemble."""
    found = difference(tables, own, deep, "accuracy")
    name = own.construction
    if found is None or found.n < LEAST_SEEDS or found.half is None:
        return (
            f"{name.capitalize()} against deep: not enough seeds (need {LEAST_SEEDS} in common, have {_count(found)})."
        )
    low, high = found.mean - found.half, found.mean + found.half
    ends = f"[{signed(low, 2)}, {signed(high, 2)}]"
    if found.half <= 1e-12:
        every = "as accurate as" if found.mean == 0 else f"{signed(found.mean, 2)} points from"
        return f"{name.capitalize()} is {every} deep, for every one of {found.n} seeds."
    if low <= 0 <= high:
        return (
            f"{name.capitalize()} and deep differ by {signed(found.mean, 2)} points of accuracy {ends}: "
            f"within the noise of {over(found)}."
        )
    direction = "less" if high < 0 else "more"
    near, far = sorted((abs(low), abs(high)))
    size = f"{abs(found.mean):.2f} points [{near:.2f}, {far:.2f}]"
    return f"{name.capitalize()} is {size} {direction} accurate than deep, beyond the noise of {over(found)}."


def _closed(tables: Tables, by_name: dict[str, Configuration], metric: str) -> str:
    """Which share of the gap between constrained and deep distillation closes."""
    if "constrained" not in by_name or "distilled" not in by_name:
        return ""
    words = {"accuracy": "the accuracy gap", "nll": "the NLL gap"}[metric] + " between constrained and deep"
    start, between, end = (by_name[name] for name in ("constrained", "distilled", "deep"))
    found = share_closed(tables, low=start, between=between, high=end, metric=metric)
    if found is None or found.n < LEAST_SEEDS:
        return f"How much of {words} distillation closes: not enough seeds (need {LEAST_SEEDS}, have {_count(found)})."
    better = {"accuracy": 1, "nll": -1}[metric]
    gap = difference(tables, end, start, metric)
    if found.interval is None or found.value is None or gap is None:
        return f"There is no gap to close: {words} is within the noise of {over(found)}."
    if better * gap.mean < 0:
        return f"There is no gap to close: constrained is the better one, beyond the noise of {over(found)}."
    low, high = (signed(100 * end, 0) for end in found.interval)
    ends = f"[{low}, {high}]"
    if found.interval[1] < 0:
        return f"Distillation widens {words}: it closes {signed(100 * found.value, 0)} % {ends} of it ({over(found)})."
    return f"Distillation closes {signed(100 * found.value, 0)} % {ends} of {words} ({over(found)})."


def _reason(tables: Tables, by_name: dict[str, Configuration], name: str) -> str:
    """Where a gap in NLL comes from: members, or what their diversity buys."""
    if name not in by_name:
        return ""
    parts = {m: difference(tables, by_name[name], by_name["deep"], m) for m in ("member_mean_nll", "jensen_gap")}
    members, buys = parts["member_mean_nll"], parts["jensen_gap"]
    if members is None or buys is None or min(members.n, buys.n) < LEAST_SEEDS:
        return ""
    return (
        f"{name.capitalize()} against deep: members are {_more(members, 'worse', 'better')} by "
        f"{_size(members)}, and their diversity buys {_more(buys, 'more', 'less')} by {_size(buys)} nats of NLL."
    )


def _more(found: Estimate, above: str, below: str) -> str:
    return above if found.mean > 0 else below


def _size(found: Estimate) -> str:
    noise = found.half is None or abs(found.mean) <= found.half
    return f"{abs(found.mean):.3f}" + (" (within noise)" if noise else "")


def _worth(tables: Tables, own: Configuration) -> str:
    found = worth(tables, own)
    if found is None:
        return ""
    members = own.hyperparameters.get("members", "its")
    return (
        f"{own.construction.capitalize()}, of {members} members, is worth {in_text(found)} members of a deep ensemble."
    )


def _count(found: Estimate | Share | None) -> int:
    return 0 if found is None else found.n


def _and(names: list[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
