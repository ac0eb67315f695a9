"""From fields to a search space: what is searched is said where the field is defined."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from basin.constructions import constructions
from basin.spec import Field, Value, describe

if TYPE_CHECKING:  # not imported by the processes of stages and trials, which draw nothing
    import optuna


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

    def draw(self, trial: "optuna.Trial") -> dict[str, Value]:
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

    def distributions(self, construction: str) -> "dict[str, optuna.distributions.BaseDistribution]":
        """What the points with this construction are drawn from."""
        import optuna

        found: dict[str, optuna.distributions.BaseDistribution] = {}
        if len(self.constructions) > 1:
            found["construction"] = optuna.distributions.CategoricalDistribution(self.constructions)
        return found | {varying.name: distribution(varying) for varying in self.fields(construction)}

    def point(self, row: Mapping[str, Any]) -> dict[str, Value] | None:
        """The point of a trial's row, by the names of `distributions`; None if it lies outside."""
        name = row["construction"]
        if name not in self.constructions or any(row.get(n) != v for n, v in self.fixed_for(name).items()):
            return None
        point = {varying: row.get(varying) for varying in self.distributions(name)}
        for varying in self.fields(name):
            value = point[varying.name]
            if value is None or not varying.search or not varying.search.low <= value <= varying.search.high:
                return None
        return point


def _suggest(trial: "optuna.Trial", varying: Field) -> Value:
    import optuna

    over = distribution(varying)
    if isinstance(over, optuna.distributions.IntDistribution):
        return trial.suggest_int(varying.name, over.low, over.high, log=over.log)
    return trial.suggest_float(varying.name, over.low, over.high, log=over.log)


def distribution(varying: Field) -> "optuna.distributions.IntDistribution | optuna.distributions.FloatDistribution":
    """What a field is drawn from."""
    import optuna

    assert varying.search is not None
    low, high, log = varying.search.low, varying.search.high, varying.search.log
    if varying.kind is int:
        return optuna.distributions.IntDistribution(int(low), int(high), log=log)
    return optuna.distributions.FloatDistribution(low, high, log=log)


def varying_names(params: list[dict[str, str]]) -> list[str]:
    """The searchable fields in which trials differ, in the order of their definition."""
    names = [f.name for cls in constructions.classes() for f in describe(cls) if f.search]
    return [name for name in dict.fromkeys(names) if len({values.get(name) for values in params}) > 1]
