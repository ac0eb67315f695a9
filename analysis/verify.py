"""Compare results with published numbers: inside a tolerance band, outside with the likely cause, or not comparable."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from analysis.answers.words import signed
from analysis.data.queries import Configuration, Tables, configurations
from analysis.errors import BadInput, Missing
from stats.intervals import Estimate, mean_interval


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """A published number, the configurations that are comparable with it, and the likely causes of a deviation."""

    what: str
    source: str
    unit: str
    value: float
    low: float
    high: float
    where: Mapping[str, Any]
    least: Mapping[str, float] = field(default_factory=dict)
    metric: str = ""
    minus: str = ""
    """A second metric that is subtracted from the first, seed by seed."""
    at: Mapping[str, Any] = field(default_factory=dict)
    """Instead of a metric: policy and α of the networks on paths whose accuracy is compared."""
    below: str
    above: str
    published: bool = True
    """False for a number of this project that nobody has published."""


@dataclass(frozen=True)
class Verdict:
    """Result of comparing a configuration with a yardstick."""

    yardstick: Yardstick
    word: str
    """inside, outside, or not comparable."""
    measured: str = "–"
    why: str = ""
    keys: tuple[str, ...] = ()

    @property
    def band(self) -> str:
        """The tolerance band with its unit, and the number that it lies around."""
        ends = " to ".join(
            signed(end, _unit_digits(self.yardstick)) for end in (self.yardstick.low, self.yardstick.high)
        )
        whose = "published" if self.yardstick.published else "this project"
        value = signed(self.yardstick.value, _unit_digits(self.yardstick))
        return f"{ends} {self.yardstick.unit} ({whose}: {value})"


@cache
def load_yardsticks() -> tuple[Yardstick, ...]:
    """Return all yardsticks of `yardsticks.toml`."""
    text = (files("analysis") / "yardsticks.toml").read_text(encoding="utf-8")
    return tuple(Yardstick(**entry) for entry in tomllib.loads(text)["yardstick"])


def check_yardsticks(tables: Tables, taken_as: str | None = None) -> list[Verdict]:
    """Compare the results with every yardstick of the same dataset and model.

    `taken_as` names the dataset that a folder of images is a copy of. Raises BadInput if that dataset has no
    yardsticks, or if the results need no such name.
    """
    names = dict.fromkeys(unknown_datasets(tables), taken_as) if taken_as else {}
    if taken_as and (taken_as not in known_datasets() or not names):
        datasets = ", ".join(sorted({dataset for dataset, _ in tables.settings}))
        raise BadInput(
            f"--as {taken_as}: expected one of {', '.join(known_datasets())}, and results of another dataset; "
            f"these are of {datasets}"
        )
    renamed = [replace(c, dataset=names.get(c.dataset) or c.dataset) for c in configurations(tables)]
    verdicts = []
    for yardstick in load_yardsticks():
        near = [c for c in renamed if _configuration_facts(c).items() >= _yardstick_topic(yardstick).items()]
        if near:
            verdicts.append(_judge_yardstick(tables, yardstick, near))
    return [
        _doubt_images(v, taken_as) if taken_as and v.yardstick.where["dataset"] == taken_as else v for v in verdicts
    ]


def known_datasets() -> list[str]:
    """Return the datasets that have yardsticks."""
    return sorted({yardstick.where["dataset"] for yardstick in load_yardsticks()})


def unknown_datasets(tables: Tables) -> list[str]:
    """Return the datasets of the results that have no yardsticks."""
    return sorted({dataset for dataset, _ in tables.settings} - set(known_datasets()))


def _doubt_images(verdict: Verdict, taken_as: str) -> Verdict:
    """Add to an outside verdict that the images may be those of another dataset."""
    more = f" Or the images are not those of {taken_as}, or not all of them."
    return replace(verdict, why=verdict.why + more) if verdict.word == "outside" else verdict


def _yardstick_topic(yardstick: Yardstick) -> dict[str, Any]:
    return {name: yardstick.where[name] for name in ("dataset", "model")}


def _configuration_facts(configuration: Configuration) -> dict[str, Any]:
    model = configuration.model.partition(" (")[0]  # without the norm that tells two models apart
    names = {"dataset": configuration.dataset, "model": model, "construction": configuration.construction}
    return {**configuration.hyperparameters, **names}


def unmet_conditions(yardstick: Yardstick, configuration: Configuration) -> list[str]:
    """List why a configuration is not comparable with the yardstick."""
    facts = _configuration_facts(configuration)
    words = [
        f"{name} is {facts.get(name)}, the reference's {wanted}"
        for name, wanted in yardstick.where.items()
        if facts.get(name) != wanted
    ]
    # A size that is not set is the whole dataset's.
    small = {name: facts[name] for name in yardstick.least if facts.get(name) is not None}
    return words + [
        f"{name} is {value:g}, the reference has {yardstick.least[name]:g} or more"
        for name, value in small.items()
        if value < yardstick.least[name]
    ]


def _judge_yardstick(tables: Tables, yardstick: Yardstick, near: list[Configuration]) -> Verdict:
    able = [configuration for configuration in near if not unmet_conditions(yardstick, configuration)]
    if not able:
        closest = min(near, key=lambda configuration: len(unmet_conditions(yardstick, configuration)))
        return Verdict(yardstick, "not comparable", why="; ".join(unmet_conditions(yardstick, closest)) + ".")
    chosen = max(able, key=lambda configuration: len(configuration.rows))
    try:
        estimate = _measure_yardstick(tables, yardstick, chosen)
    except Missing as missing:
        return Verdict(yardstick, "not comparable", why=f"{missing}.")
    digits = _unit_digits(yardstick)
    measured = f"{estimate.format(digits)} {yardstick.unit}, {estimate.n} seed{'s' if estimate.n > 1 else ''}"
    keys = tuple(chosen.keys)
    if yardstick.low <= estimate.mean <= yardstick.high:
        return Verdict(yardstick, "inside", measured, keys=keys)
    cause = yardstick.below if estimate.mean < yardstick.low else yardstick.above
    near_band = estimate.interval and estimate.interval[1] >= yardstick.low and estimate.interval[0] <= yardstick.high
    noise = " Its interval reaches the band: more seeds would tell." if near_band else ""
    return Verdict(yardstick, "outside", measured, f"Likely: {cause}.{noise}", keys)


def _measure_yardstick(tables: Tables, yardstick: Yardstick, chosen: Configuration) -> Estimate:
    if yardstick.at:
        values = _on_paths(tables, yardstick, chosen)
    else:
        values = chosen.by_seed(tables.column(yardstick.metric, chosen.rows))
    if yardstick.minus:
        less = chosen.by_seed(tables.column(yardstick.minus, chosen.rows))
        values = {seed: values[seed] - less[seed] for seed in values.keys() & less.keys()}
    estimate = mean_interval(values.values())
    if estimate is None:
        raise Missing(f"no trial has {yardstick.metric or 'paths with these statistics'}")
    return estimate


def _on_paths(tables: Tables, yardstick: Yardstick, chosen: Configuration) -> dict[int, float]:
    by_seed = {}
    for row in chosen.rows:
        points = tables.load("paths", [row["key"]]).to_pylist()
        wanted = {"split": tables.split, **yardstick.at}
        values = [point["accuracy"] for point in points if wanted.items() <= point.items()]
        if values:
            by_seed[row["seed"]] = sum(values) / len(values)
    return by_seed


def _unit_digits(yardstick: Yardstick) -> int:
    return 3 if yardstick.unit == "nats" else 1
