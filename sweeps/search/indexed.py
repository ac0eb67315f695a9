"""Samplers whose i-th configuration depends only on the seed and i: a grid, and random draws."""

import functools
import itertools
import random
from bisect import bisect_left
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from basin.seeds import derive_seed
from basin.spec import Field, Value
from sweeps.study.space import Space

WARM = "warm"
"""User attribute of Optuna trials that came from another sweep."""


class Uniform:
    """Uniform draws, log-uniform where a field says so."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def draw_value(self, index: int, name: str, distribution: BaseDistribution, drawn: dict[str, Any]) -> Any:
        """Draw one parameter, from its own generator."""
        single = optuna.samplers.RandomSampler(seed=derive_seed(self._seed, index, name) % 2**32)
        unused: Any = None  # RandomSampler uses neither study nor trial
        return single.sample_independent(unused, unused, name, distribution)


class Grid:
    """A grid of the ends and the middle of every field; each further level halves the steps and adds new points.

    Steps are equal, in the logarithm where a field says so. Constructions take turns. The seed shuffles the points of
    a level, so that a sweep that ends early has covered all parts of the space.
    """

    def __init__(self, seed: int, space: Space) -> None:
        self._seed, self._space = seed, space

    def draw_value(self, index: int, name: str, distribution: BaseDistribution, drawn: dict[str, Any]) -> Any:
        """Return one parameter of the point with this index."""
        names = self._space.constructions
        if name == "construction":
            return names[index % len(names)]
        construction = str(drawn.get("construction", names[0]))
        return grid_point(self._space, construction, self._seed, index // len(names))[name]


def grid_point(space: Space, construction: str, seed: int, index: int) -> dict[str, Value]:
    """Return the point with this index; an exhausted grid of integers starts again."""
    level, before = 1, 0
    while new := _new_points(space, construction, seed, level):
        if index < before + len(new):
            return new[index - before]
        level, before = level + 1, before + len(new)
    return grid_point(space, construction, seed, index % before)


def _new_points(space: Space, construction: str, seed: int, level: int) -> list[dict[str, Value]]:
    return _shuffled_points(tuple(space.fields(construction)), construction, seed, level)


@functools.lru_cache(maxsize=64)
def _shuffled_points(fields: tuple[Field, ...], construction: str, seed: int, level: int) -> list[dict[str, Value]]:
    """Points of a level that the level before does not have."""
    known = set(_grid_points(fields, level - 1)) if level > 1 else set()
    new = [point for point in _grid_points(fields, level) if point not in known]
    random.Random(derive_seed(seed, "grid", construction, level)).shuffle(new)
    return [dict(zip((field.name for field in fields), point, strict=True)) for point in new]


def _grid_points(fields: tuple[Field, ...], level: int) -> list[tuple[Value, ...]]:
    return list(itertools.product(*(axis_values(field, 2**level) for field in fields)))


def axis_values(field: Field, steps: int) -> list[Value]:
    """Values of a field at equal steps over its range, with integers rounded and without duplicates; or its choices."""
    if field.choices:
        return list(field.choices)
    assert field.search is not None
    low, high = field.search.low, field.search.high
    shares = [step / steps for step in range(steps + 1)]
    if field.search.log:
        values = [low * (high / low) ** share for share in shares]
    else:
        values = [low + (high - low) * share for share in shares]
    values[0], values[-1] = low, high
    return list(dict.fromkeys(round(value) if field.kind is int else value for value in values))


class IndexedSampler(optuna.samplers.RandomSampler):
    """Draws that depend only on the seed and on the number of earlier trials: a restart changes nothing."""

    def __init__(self, draws: Uniform | Grid) -> None:
        super().__init__()
        self._draws = draws
        self._counted = 0
        """Trials from the first on that have been looked at."""
        self._warm: list[int] = []
        """Numbers of those among them that came from another sweep; ascending."""

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        """Draw one parameter of the trial."""
        if trial.number > self._counted:  # once a trial, not for each parameter
            self._count_trials(study, trial.number)
        index = trial.number - bisect_left(self._warm, trial.number)
        return self._draws.draw_value(index, param_name, param_distribution, trial.params)

    def _count_trials(self, study: optuna.Study, end: int) -> None:
        """Note which trials before this number came from another sweep: they are added whole, and do not change."""
        new = study.get_trials(deepcopy=False)[self._counted : end]
        self._warm += [other.number for other in new if WARM in other.user_attrs]
        self._counted = end
