"""Samplers by name. Optuna is imported when one is made, since `--help` lists the names."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from basin.errors import one_of

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from sweeps.study.space import Space

Make = Callable[[int, "Space", int], "BaseSampler"]
"""(seed, space, number of earlier draws) → a sampler.

A sampler that draws in sequence would repeat itself after a restart; it adds the number of earlier draws to its seed.
"""


@dataclass(frozen=True)
class Sampler:
    """A sampler of the registry."""

    make: Make
    indexed: bool
    """True if its i-th configuration is known before any trial is run."""


SAMPLERS: dict[str, Sampler] = {}
"""Every sampler by its name, in the order of the help text."""


def sampler(name: str, *, indexed: bool = False) -> Callable[[Make], Make]:
    """Register a function that makes a sampler."""

    def add(make: Make) -> Make:
        SAMPLERS[name] = Sampler(make, indexed)
        return make

    return add


def make_sampler(name: str, seed: int, space: "Space", asked: int = 0) -> "BaseSampler":
    """Make a sampler by name; raises UsageError if there is no such sampler."""
    from optuna.exceptions import ExperimentalWarning

    chosen = find_sampler(name)
    # `group` and `multivariate` are marked experimental; two objectives over conditional fields need both.
    warnings.simplefilter("ignore", ExperimentalWarning)
    return chosen.make(seed, space, asked)


def find_sampler(name: str) -> Sampler:
    """Return the sampler of this name; raises UsageError if there is none."""
    if name not in SAMPLERS:
        raise one_of("sampler", name, SAMPLERS)
    return SAMPLERS[name]


@sampler("tpe")
def make_tpe(seed: int, space: "Space", asked: int) -> "BaseSampler":
    """Make a tree-structured Parzen estimator."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed + asked, multivariate=True, group=True, constant_liar=True)


@sampler("nsga2")
def make_nsga2(seed: int, space: "Space", asked: int) -> "BaseSampler":
    """Make a genetic algorithm."""
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(seed=seed + asked)


@sampler("gp")
def make_gp(seed: int, space: "Space", asked: int) -> "BaseSampler":
    """Make a Gaussian process over the fields that every construction has; it draws the others at random."""
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed + asked, warn_independent_sampling=False)


@sampler("random", indexed=True)
def make_random(seed: int, space: "Space", asked: int) -> "BaseSampler":
    """Make random draws."""
    from sweeps.search.indexed import IndexedSampler, Uniform

    return IndexedSampler(Uniform(seed))


@sampler("grid", indexed=True)
def make_grid(seed: int, space: "Space", asked: int) -> "BaseSampler":
    """Make a grid that grows finer."""
    from sweeps.search.indexed import Grid, IndexedSampler

    return IndexedSampler(Grid(seed, space))
