"""From fields to a search space: what is searched is said where the field is defined."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import optuna

from basin.constructions import constructions
from basin.errors import one_of
from basin.seeds import derive
from basin.spec import Field, Value, describe


@dataclass(frozen=True)
class Space:
    """Constructions to choose from, and the names of the fields that vary; each has its range from its field."""

    constructions: tuple[str, ...]
    searched: tuple[str, ...]
    fixed: Mapping[str, Value] = field(default_factory=dict)
    """Construction fields that the user has set."""

    def fields(self, construction: str) -> list[Field]:
        """The varying fields of one construction, in the order of its definition."""
        own = describe(constructions.entry(construction)[0])
        return [f for f in own if f.name in self.searched and f.name not in self.fixed and f.search]

    def hyperparameters(self) -> dict[str, Field]:
        """Every field of every construction in the space."""
        return {f.name: f for name in self.constructions for f in describe(constructions.entry(name)[0])}

    def only(self, construction: str) -> "Space":
        """The space with one construction."""
        return replace(self, constructions=(construction,))

    def fix(self, values: Mapping[str, Value]) -> "Space":
        """The space with some fields set."""
        return replace(self, fixed={**self.fixed, **values})

    def fixed_for(self, construction: str) -> dict[str, Value]:
        """The set values that this construction has a field for."""
        own = {f.name for f in describe(constructions.entry(construction)[0])}
        return {name: value for name, value in self.fixed.items() if name in own}

    def draw(self, trial: optuna.Trial) -> dict[str, Value]:
        """One point of the space."""
        chosen = self.constructions[0]
        if len(self.constructions) > 1:
            chosen = trial.suggest_categorical("construction", self.constructions)
        point: dict[str, Value] = {"construction": chosen}
        for varying in self.fields(chosen):
            point[varying.name] = _suggest(trial, varying)
        return point

    def farthest(self) -> list[dict[str, Value]]:
        """For each construction the point with every field at its upper end: what it can need at most."""
        return [
            {"construction": name} | {f.name: f.kind(f.search.high) for f in self.fields(name) if f.search}
            for name in self.constructions
        ]


def _suggest(trial: optuna.Trial, varying: Field) -> Value:
    assert varying.search is not None
    low, high, log = varying.search.low, varying.search.high, varying.search.log
    if varying.kind is int:
        return trial.suggest_int(varying.name, int(low), int(high), log=log)
    return trial.suggest_float(varying.name, low, high, log=log)


def sampler(name: str, seed: int, asked: int = 0) -> optuna.samplers.BaseSampler:
    """A sampler by name; raises UsageError naming those there are.

    One that draws in sequence would draw the same again after a restart: its seed moves on by what was asked already.
    """
    # `group` and `multivariate` are marked experimental; two objectives over conditional fields need both.
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    made: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed + asked, multivariate=True, group=True, constant_liar=True),
        "random": lambda: IndexedSampler(seed),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed + asked),
    }
    if name not in made:
        raise one_of("sampler", name, made)
    return made[name]()


class IndexedSampler(optuna.samplers.BaseSampler):
    """Uniform draws that depend on the seed and the trial's number alone, however often a sweep was cut off."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        """None: every parameter is drawn by itself."""
        return {}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        search_space: dict[str, optuna.distributions.BaseDistribution],
    ) -> dict[str, object]:
        """Nothing is drawn together."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: optuna.distributions.BaseDistribution,
    ) -> object:
        """One parameter, from a generator of its own."""
        single = optuna.samplers.RandomSampler(seed=derive(self._seed, trial.number, param_name) % 2**32)
        return single.sample_independent(study, trial, param_name, param_distribution)


def varying_names(params: list[dict[str, str]]) -> list[str]:
    """The searchable fields in which trials differ, in the order of their definition."""
    names = [f.name for cls in constructions.classes() for f in describe(cls) if f.search]
    return [name for name in dict.fromkeys(names) if len({values.get(name) for values in params}) > 1]
