"""Holds runs against the literature's numbers: inside a band, outside, or not comparable, and the likely cause."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from analysis.errors import BadInput, Missing
from analysis.queries import Configuration, Tables, configurations
from analysis.statistics import Estimate, mean_interval, signed


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """A published number, the runs that may be held against it, and what a run outside its band suggests."""

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
    """A second metric that is taken from the first, seed by seed."""
    at: Mapping[str, Any] = field(default_factory=dict)
    """In place of a metric: policy and α of the networks on paths whose accuracy is meant."""
    below: str
    above: str


@dataclass(frozen=True)
class Verdict:
    """What a yardstick says of the results."""

    yardstick: Yardstick
    word: str
    """inside, outside, or not comparable."""
    measured: str = "–"
    why: str = ""
    keys: tuple[str, ...] = ()

    @property
    def band(self) -> str:
        """The band with its unit, and the published number."""
        ends = " to ".join(signed(end, _digits(self.yardstick)) for end in (self.yardstick.low, self.yardstick.high))
        return f"{ends} {self.yardstick.unit} (published: {signed(self.yardstick.value, _digits(self.yardstick))})"


@cache
def yardsticks() -> tuple[Yardstick, ...]:
    """All of `yardsticks.toml`."""
    text = (files("analysis") / "yardsticks.toml").read_text(encoding="utf-8")
    return tuple(Yardstick(**entry) for entry in tomllib.loads(text)["yardstick"])


def verdicts(tables: Tables, taken_as: str | None = None) -> list[Verdict]:
    """One for every yardstick about a dataset and model in the results.

    `taken_as` says which dataset's images those without a yardstick are: a folder of images does not tell. Raises
    BadInput for a name that has no yardsticks itself, or where none is needed.
    """
    names = dict.fromkeys(unknown(tables), taken_as) if taken_as else {}
    if taken_as and (taken_as not in known() or not names):
        there = ", ".join(sorted({dataset for dataset, _ in tables.settings}))
        raise BadInput(
            f"--as {taken_as}: expected one of {', '.join(known())}, for results of a dataset that is none of them, "
            f"found {there}"
        )
    own = [replace(c, dataset=names.get(c.dataset) or c.dataset) for c in configurations(tables)]
    found = []
    for yardstick in yardsticks():
        near = [c for c in own if _facts(c).items() >= _topic(yardstick).items()]
        if near:
            found.append(_judge(tables, yardstick, near))
    return [_doubting(v, taken_as) if taken_as and v.yardstick.where["dataset"] == taken_as else v for v in found]


def known() -> list[str]:
    """The datasets that have yardsticks."""
    return sorted({yardstick.where["dataset"] for yardstick in yardsticks()})


def unknown(tables: Tables) -> list[str]:
    """The datasets of the results that have none."""
    return sorted({dataset for dataset, _ in tables.settings} - set(known()))


def _doubting(verdict: Verdict, taken_as: str) -> Verdict:
    """An outside verdict may also mean that the images are not what they were taken for."""
    more = f" Or the images are not those of {taken_as}, or not all of them."
    return replace(verdict, why=verdict.why + more) if verdict.word == "outside" else verdict


def _topic(yardstick: Yardstick) -> dict[str, Any]:
    return {name: yardstick.where[name] for name in ("dataset", "model")}


def _facts(configuration: Configuration) -> dict[str, Any]:
    model = configuration.model.partition(" (")[0]  # without the norm that tells two models apart
    names = {"dataset": configuration.dataset, "model": model, "construction": configuration.construction}
    return {**configuration.hyperparameters, **names}


def unmet(yardstick: Yardstick, configuration: Configuration) -> list[str]:
    """What keeps a configuration from being held against the yardstick, in words."""
    facts = _facts(configuration)
    words = [
        f"{name} is {facts.get(name)}, the yardstick's {wanted}"
        for name, wanted in yardstick.where.items()
        if facts.get(name) != wanted
    ]
    # A size that is not set is the whole dataset's.
    small = {name: facts[name] for name in yardstick.least if facts.get(name) is not None}
    return words + [
        f"{name} is {value:g}, the yardstick has {yardstick.least[name]:g} or more"
        for name, value in small.items()
        if value < yardstick.least[name]
    ]


def _judge(tables: Tables, yardstick: Yardstick, near: list[Configuration]) -> Verdict:
    able = [configuration for configuration in near if not unmet(yardstick, configuration)]
    if not able:
        closest = min(near, key=lambda configuration: len(unmet(yardstick, configuration)))
        return Verdict(yardstick, "not comparable", why="; ".join(unmet(yardstick, closest)) + ".")
    chosen = max(able, key=lambda configuration: len(configuration.rows))
    try:
        found = _measure(tables, yardstick, chosen)
    except Missing as missing:
        return Verdict(yardstick, "not comparable", why=f"{missing}.")
    digits = _digits(yardstick)
    measured = f"{found.format(digits)} {yardstick.unit}, {found.n} seed{'s' if found.n > 1 else ''}"
    keys = tuple(chosen.keys)
    if yardstick.low <= found.mean <= yardstick.high:
        return Verdict(yardstick, "inside", measured, keys=keys)
    cause = yardstick.below if found.mean < yardstick.low else yardstick.above
    near_band = found.interval and found.interval[1] >= yardstick.low and found.interval[0] <= yardstick.high
    noise = " Its interval reaches the band: more seeds would tell." if near_band else ""
    return Verdict(yardstick, "outside", measured, f"Likely: {cause}.{noise}", keys)


def _measure(tables: Tables, yardstick: Yardstick, chosen: Configuration) -> Estimate:
    if yardstick.at:
        values = _on_paths(tables, yardstick, chosen)
    else:
        values = chosen.by_seed(tables.column(yardstick.metric, chosen.rows))
    if yardstick.minus:
        less = chosen.by_seed(tables.column(yardstick.minus, chosen.rows))
        values = {seed: values[seed] - less[seed] for seed in values.keys() & less.keys()}
    found = mean_interval(values.values())
    if found is None:
        raise Missing(f"no trial has {yardstick.metric or 'paths with these statistics'}")
    return found


def _on_paths(tables: Tables, yardstick: Yardstick, chosen: Configuration) -> dict[int, float]:
    found = {}
    for row in chosen.rows:
        points = tables.load("paths", [row["key"]]).to_pylist()
        values = [
            point["accuracy"]
            for point in points
            if point["split"] == tables.split and all(point[name] == value for name, value in yardstick.at.items())
        ]
        if values:
            found[row["seed"]] = sum(values) / len(values)
    return found


def _digits(yardstick: Yardstick) -> int:
    return 3 if yardstick.unit == "nats" else 1
