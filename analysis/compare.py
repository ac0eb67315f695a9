"""Compare two sweeps of different labs or commits: metrics that differ beyond noise, and verdicts that differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from analysis.answers.differences import estimate_values, same_images
from analysis.answers.verdicts import find_verdict, verdict_word
from analysis.answers.words import enough_seeds, signed
from analysis.data.outcomes import By
from analysis.data.queries import Configuration, Tables, configurations, estimate_metric, image_values, rows_of
from analysis.errors import BadInput
from stats.intervals import Estimate, mean_interval, welch

METRICS = ("accuracy", "member_mean_accuracy", "nll", "ece", "soup_accuracy", "q_bar")
BY: tuple[By, ...] = ("accuracy", "loss")


@dataclass(frozen=True)
class Comparison:
    """A metric of one configuration in both sweeps: second minus first."""

    configuration: Configuration
    metric: str
    first: Estimate
    second: Estimate
    difference: Estimate | None
    """None if one has a single seed and the seeds differ. Stated from three seeds on."""
    paired: bool
    """True if differences are taken seed by seed."""

    @property
    def word(self) -> str:
        """equal, beyond noise, within noise, or not enough seeds."""
        if self.difference is not None and self.difference.mean == 0 and not self.difference.half:
            return "equal"
        if self.difference is None or self.difference.half is None or not enough_seeds(self.difference):
            return "not enough seeds"
        return "beyond noise" if abs(self.difference.mean) > self.difference.half else "within noise"


@dataclass(frozen=True)
class Change:
    """A verdict that differs between the sweeps."""

    configuration: Configuration
    by: By
    first: str
    second: str


def compare(first: Tables, second: Tables) -> list[Comparison]:
    """Compare every metric of every configuration that both sweeps have.

    Configurations match if they agree in dataset, model, construction and all hyperparameters but those of the
    evaluation. Raises BadInput if none match.
    """
    comparisons = []
    for pair, metric in product(_common_configurations(first, second), METRICS):
        if comparison := _compare_metric(first, second, pair, metric):
            comparisons.append(comparison)
    if not comparisons:
        raise BadInput(
            f"{first.folder} and {second.folder} have no configuration in common: compare sweeps "
            "of the same dataset, model, construction and hyperparameters"
        )
    return comparisons


def changed_verdicts(first: Tables, second: Tables) -> list[Change]:
    """Return the verdicts by accuracy and by loss that differ between two sweeps which both have them."""
    changes = []
    for mine, other in _common_configurations(first, second):
        for by in BY:
            verdicts = find_verdict(first, mine, by), find_verdict(second, other, by)
            if None not in verdicts and verdict_word(verdicts[0]) != verdict_word(verdicts[1]):
                changes.append(Change(mine, by, verdict_word(verdicts[0]), verdict_word(verdicts[1])))
    return changes


def _common_configurations(first: Tables, second: Tables) -> list[tuple[Configuration, Configuration]]:
    theirs = {_identity_of(c): c for c in sorted(configurations(second), key=lambda c: len(c.rows))}
    return [(c, theirs[_identity_of(c)]) for c in configurations(first) if _identity_of(c) in theirs]


def _identity_of(c: Configuration) -> tuple[object, ...]:
    return c.dataset, c.model, c.construction, *sorted(c.defining.items())


def _compare_metric(
    first: Tables, second: Tables, pair: tuple[Configuration, Configuration], metric: str
) -> Comparison | None:  # fmt: skip
    mine, other = pair
    x, y = estimate_metric(first, mine, metric), estimate_metric(second, other, metric)
    if x is None or y is None:
        return None
    ours, theirs = (c.by_seed(t.column(metric, c.rows)) for t, c in ((first, mine), (second, other)))
    common = sorted(ours.keys() & theirs.keys())
    if len(common) > 1 or (x.n == y.n == 1 and common):
        values = np.array([[theirs[seed] - ours[seed]] for seed in common])
        return Comparison(
            mine, metric, x, y, estimate_values(_per_image(first, second, pair, metric, common, values)), True
        )
    first_alone, second_alone = mean_interval(ours.values()), mean_interval(theirs.values())
    difference = welch(first_alone, second_alone) if first_alone and second_alone else None
    return Comparison(mine, metric, x, y, difference, paired=False)


def _per_image(
    first: Tables, second: Tables, pair: tuple[Configuration, Configuration], metric: str, seeds: list[int],
    otherwise: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return the differences [seeds, images] where both sweeps keep outcomes of the same images, else `otherwise`."""
    hashes = {row.get("data_hash") for row in rows_of(pair)}
    kept = [image_values(tables, c.rows, metric) for tables, c in zip((first, second), pair, strict=True)]
    if len(hashes) > 1 or None in hashes or not same_images(kept, seeds):
        return otherwise
    return np.array([kept[1][seed] - kept[0][seed] for seed in seeds])


def in_text(comparisons: Sequence[Comparison], changed: Sequence[Change] = ()) -> str:
    """List the differences, then count all comparisons and those expected to differ by chance."""
    counts = {word: sum(c.word == word for c in comparisons) for word in ("equal", "within noise", "beyond noise")}
    few = len(comparisons) - sum(counts.values())
    able = counts["within noise"] + counts["beyond noise"]
    lines = [f"{_comparison_title(c)}: {_comparison_numbers(c)}" for c in comparisons if c.word == "beyond noise"]
    lines = [f"beyond noise ({counts['beyond noise']}):", *(f"  {line}" for line in lines)] if lines else []
    lines += [f"verdicts that differ ({len(changed)}):"] if changed else []
    lines += [f"  {_title_of(c.configuration)}, one basin by {c.by}: {c.first} → {c.second}" for c in changed]
    lines.append(
        f"{len(comparisons)} comparisons: {counts['equal']} equal, {counts['within noise']} within noise, "
        f"{counts['beyond noise']} beyond noise, {few} with too few seeds to tell"
    )
    if able:
        lines.append(f"at the 5 % level about {0.05 * able:.1f} of {able} comparisons would differ by chance")
    return "\n".join(lines)


def _comparison_title(c: Comparison) -> str:
    return f"{_title_of(c.configuration)}, {c.metric}"


def _title_of(chosen: Configuration) -> str:
    axes = ("t", "beta", "temperature", "weight", "width", "members")
    parts = [f"{n}={chosen.hyperparameters[n]:.3g}" for n in axes if n in chosen.hyperparameters]
    return f"{chosen.dataset} · {chosen.model} · {chosen.construction} {' '.join(parts)}"


def _comparison_numbers(c: Comparison) -> str:
    digits = 3 if "nll" in c.metric else 2
    assert c.difference is not None
    how = "paired by seed" if c.paired else "other seeds"
    moved = signed(c.difference.mean, digits)
    half = f"{c.difference.half:.{digits}f}"
    return f"{c.first.format(digits)} → {c.second.format(digits)}, difference {moved} ± {half} ({how})"
