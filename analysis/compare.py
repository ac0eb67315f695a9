"""Two sweeps side by side, of other labs or other commits: which of their numbers differ beyond noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit  # type: ignore[import-untyped]

from analysis.errors import BadInput
from analysis.queries import EVALUATION, Configuration, Tables, configurations, estimate
from analysis.statistics import Estimate, paired_difference, signed

METRICS = ("accuracy", "member_mean_accuracy", "nll", "ece", "q_bar")
PLACES = frozenset(("data_hash",))
"""What may differ between two labs without being another configuration."""


@dataclass(frozen=True)
class Comparison:
    """A metric of one configuration in both sweeps: second minus first."""

    configuration: Configuration
    metric: str
    first: Estimate
    second: Estimate
    difference: Estimate | None
    """None where one of them has a single seed, and they are not the same."""
    paired: bool
    """Whether the same seeds are compared with each other."""

    @property
    def word(self) -> str:
        """equal, beyond noise, within noise, or not enough seeds."""
        if self.difference is not None and self.difference.mean == 0 and not self.difference.half:
            return "equal"
        if self.difference is None or self.difference.half is None:
            return "not enough seeds"
        return "beyond noise" if abs(self.difference.mean) > self.difference.half else "within noise"


def compare(first: Tables, second: Tables) -> list[Comparison]:
    """Every metric of every configuration that both sweeps have.

    A configuration is the same if dataset, model, construction and all hyperparameters are, apart from how it is
    measured. Raises BadInput if they have none in common.
    """
    theirs = {_identity(c): c for c in sorted(configurations(second), key=lambda c: len(c.rows))}
    found = []
    for mine in configurations(first):
        other = theirs.get(_identity(mine))
        if other is not None:
            found += [c for metric in METRICS if (c := _compare(first, second, (mine, other), metric))]
    if not found:
        raise BadInput(f"{first.folder} and {second.folder} have no configuration in common")
    return found


def _identity(c: Configuration) -> tuple[object, ...]:
    own = {name: value for name, value in c.hyperparameters.items() if name not in EVALUATION | PLACES}
    return c.dataset, c.model, c.construction, *sorted(own.items())


def _compare(
    first: Tables, second: Tables, pair: tuple[Configuration, Configuration], metric: str
) -> Comparison | None:  # fmt: skip
    mine, other = pair
    x, y = estimate(first, mine, metric), estimate(second, other, metric)
    if x is None or y is None:
        return None
    ours, theirs = (c.by_seed(t.column(metric, c.rows)) for t, c in ((first, mine), (second, other)))
    if len(ours.keys() & theirs.keys()) > 1 or (x.n == y.n == 1 and ours.keys() == theirs.keys()):
        return Comparison(mine, metric, x, y, paired_difference(theirs, ours), paired=True)
    return Comparison(mine, metric, x, y, welch(x, y), paired=False)


def welch(x: Estimate, y: Estimate, level: float = 0.95) -> Estimate | None:
    """y − x of different seeds, with the interval of Welch (1947); None if either has one seed."""
    if x.half is None or y.half is None:
        return None
    quantiles = [float(stdtrit(e.n - 1, (1 + level) / 2)) for e in (x, y)]
    a, b = ((e.half or 0.0) ** 2 / q**2 for e, q in zip((x, y), quantiles, strict=True))
    if a + b == 0:
        return Estimate(y.mean - x.mean, 0.0, min(x.n, y.n))
    freedom = (a + b) ** 2 / (a**2 / (x.n - 1) + b**2 / (y.n - 1))
    return Estimate(y.mean - x.mean, float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(a + b), min(x.n, y.n))


def in_text(found: Sequence[Comparison]) -> str:
    """What differs, one line each; then how many comparisons there were and how many chance alone would make differ."""
    counts = {word: sum(c.word == word for c in found) for word in ("equal", "within noise", "beyond noise")}
    few = len(found) - sum(counts.values())
    able = counts["within noise"] + counts["beyond noise"]
    lines = [f"{_name(c)}: {_numbers(c)}" for c in found if c.word == "beyond noise"]
    lines = [f"beyond noise ({counts['beyond noise']}):", *(f"  {line}" for line in lines)] if lines else []
    lines.append(
        f"{len(found)} comparisons: {counts['equal']} equal, {counts['within noise']} within noise, "
        f"{counts['beyond noise']} beyond noise, {few} with too few seeds to tell"
    )
    if able:
        lines.append(f"by chance alone about {0.05 * able:.1f} of {able} would be beyond their 95 % intervals")
    return "\n".join(lines)


def _name(c: Comparison) -> str:
    chosen = c.configuration
    axes = ("t", "beta", "temperature", "weight", "width", "members")
    own = [f"{n}={chosen.hyperparameters[n]:.3g}" for n in axes if n in chosen.hyperparameters]
    return f"{chosen.dataset} · {chosen.model} · {chosen.construction} {' '.join(own)}, {c.metric}"


def _numbers(c: Comparison) -> str:
    digits = 3 if "nll" in c.metric else 2
    assert c.difference is not None
    how = "paired by seed" if c.paired else "other seeds"
    moved = signed(c.difference.mean, digits)
    half = f"{c.difference.half:.{digits}f}"
    return f"{c.first.format(digits)} → {c.second.format(digits)}, difference {moved} ± {half} ({how})"
