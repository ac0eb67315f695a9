"""Samplers by name: those of Optuna that learn, and two whose i-th configuration depends on the seed and i alone."""

import functools
import itertools
import random
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from basin.errors import one_of
from basin.seeds import derive
from basin.spec import Field, Value
from sweeps.space import Space

INDEXED = ("grid", "random")
"""Samplers whose i-th configuration is known before any trial has been run."""
WARM = "warm"
"""User attribute of an Optuna trial that came from another sweep: no trial of this one."""


def sampler(name: str, seed: int, space: Space, asked: int = 0) -> optuna.samplers.BaseSampler:
    """A sampler by name; raises UsageError naming those there are.

    One that draws in sequence would draw the same again after a restart: its seed moves on by what was asked already.
    `gp` models the fields that every construction has, and draws the others at random.
    """
    # `group` and `multivariate` are marked experimental; two objectives over conditional fields need both.
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    on = seed + asked
    made: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=on, multivariate=True, group=True, constant_liar=True),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=on),
        "gp": lambda: optuna.samplers.GPSampler(seed=on, warn_independent_sampling=False),
        "random": lambda: IndexedSampler(Uniform(seed)),
        "grid": lambda: IndexedSampler(Grid(seed, space)),
    }
    if name not in made:
        raise one_of("sampler", name, made)
    return made[name]()


class Uniform:
    """Uniform draws, uniform in the logarithm where a field says so."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def value(self, index: int, name: str, distribution: BaseDistribution, drawn: dict[str, Any]) -> Any:
        """One parameter, from a generator of its own."""
        single = optuna.samplers.RandomSampler(seed=derive(self._seed, index, name) % 2**32)
        nothing: Any = None  # it looks at neither study nor trial
        return single.sample_independent(nothing, nothing, name, distribution)


class Grid:
    """The grid of 2 ends and the middle of every field, then what each halving of the steps adds to it.

    Steps are equal, in the logarithm where a field says so. Constructions take turns; the points that are new at one
    fineness come in an order that the seed shuffles, so that a sweep which ends early has seen all parts of it.
    """

    def __init__(self, seed: int, space: Space) -> None:
        self._seed, self._space = seed, space

    def value(self, index: int, name: str, distribution: BaseDistribution, drawn: dict[str, Any]) -> Any:
        """One parameter of the point of that index."""
        names = self._space.constructions
        if name == "construction":
            return names[index % len(names)]
        construction = str(drawn.get("construction", names[0]))
        return grid_point(self._space, construction, self._seed, index // len(names))[name]


def grid_point(space: Space, construction: str, seed: int, index: int) -> dict[str, Value]:
    """The point of that index; where integers leave a grid no finer one, it starts again."""
    fineness, before = 1, 0
    while new := _new_points(space, construction, seed, fineness):
        if index < before + len(new):
            return new[index - before]
        fineness, before = fineness + 1, before + len(new)
    return grid_point(space, construction, seed, index % before)


def _new_points(space: Space, construction: str, seed: int, fineness: int) -> list[dict[str, Value]]:
    return _shuffled(tuple(space.fields(construction)), construction, seed, fineness)


@functools.lru_cache(maxsize=64)
def _shuffled(fields: tuple[Field, ...], construction: str, seed: int, fineness: int) -> list[dict[str, Value]]:
    """The points of one fineness that the one before does not have."""
    known = set(_points(fields, fineness - 1)) if fineness > 1 else set()
    new = [point for point in _points(fields, fineness) if point not in known]
    random.Random(derive(seed, "grid", construction, fineness)).shuffle(new)
    return [dict(zip((field.name for field in fields), point, strict=True)) for point in new]


def _points(fields: tuple[Field, ...], fineness: int) -> list[tuple[Value, ...]]:
    return list(itertools.product(*(axis(field, 2**fineness) for field in fields)))


def axis(field: Field, steps: int) -> list[Value]:
    """The values of a field at the ends of equal steps over its range; an integer's are rounded, each once."""
    assert field.search is not None
    low, high = field.search.low, field.search.high
    shares = [step / steps for step in range(steps + 1)]
    if field.search.log:
        values = [low * (high / low) ** share for share in shares]
    else:
        values = [low + (high - low) * share for share in shares]
    values[0], values[-1] = low, high
    return list(dict.fromkeys(round(value) if field.kind is int else value for value in values))


class IndexedSampler(optuna.samplers.BaseSampler):
    """Draws that depend on the seed and on how many trials the sweep asked for before, however often it was cut off."""

    def __init__(self, draws: Uniform | Grid) -> None:
        self._draws = draws

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """None: every parameter is drawn by itself."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        """Nothing is drawn together."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        """One parameter of the trial."""
        before = study.get_trials(deepcopy=False)[: trial.number]
        index = sum(WARM not in other.user_attrs for other in before)
        return self._draws.value(index, param_name, param_distribution, trial.params)
