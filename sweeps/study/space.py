"""The search space, built from the ranges and choices of hyperparameter fields."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from basin.constructions import constructions
from basin.errors import UsageError, one_of
from basin.spec import Field, Value, describe_fields
from basin.training.loop import Training
from sweeps.study.domain import Domain

if TYPE_CHECKING:  # a slow import that stages and trials do not need
    import optuna


@dataclass(frozen=True)
class Space:
    """Constructions to choose from, and names of the fields to search."""

    constructions: tuple[str, ...]
    searched: tuple[str, ...]
    fixed: Mapping[str, Value] = field(default_factory=dict)
    """Fields set by the user."""
    domains: Mapping[str, Domain] = field(default_factory=dict)
    """Searched fields whose range or choices are not those of their definition."""

    def fields(self, construction: str) -> list[Field]:
        """Searched fields of a construction in the order of its definition, then those of the training."""
        candidates = (*describe_fields(constructions.entry(construction)[0]), *describe_fields(Training))
        return [self._drawn_field(f) for f in candidates if self._is_searched(f)]

    def _is_searched(self, candidate: Field) -> bool:
        """Tell whether a field is drawn: it is named, not set, and has values to draw."""
        values = candidate.search or candidate.choices or candidate.name in self.domains
        return bool(values) and candidate.name in self.searched and candidate.name not in self.fixed

    def _drawn_field(self, searched: Field) -> Field:
        """A searched field with the range or choices that are drawn."""
        return self.domains.get(searched.name, Domain.of(searched)).restrict(searched)

    def hyperparameters(self) -> dict[str, Field]:
        """Name → field, for all fields of the constructions in the space."""
        fields: dict[str, Field] = {}
        for name in self.constructions:
            fields |= {f.name: f for f in describe_fields(constructions.entry(name)[0])}
        return fields

    def searchable_names(self) -> list[str]:
        """Names of the fields that can be searched: those with a range or choices."""
        names = [f.name for f in self.hyperparameters().values() if f.search or f.choices]
        return [*names, *(f.name for f in _training_fields())]

    def drawable_fields(self) -> dict[str, Field]:
        """Name → field, for all fields that can be searched with stated values."""
        fields = {**self.hyperparameters(), **{f.name: f for f in describe_fields(Training)}}
        return {name: field for name, field in fields.items() if not field.fixed}

    def searched_training(self) -> list[str]:
        """Names of the searched training fields; with any, trials share no trunks and no teachers."""
        return [f.name for f in describe_fields(Training) if self._is_searched(f)]

    def with_searched(self, stated: Mapping[str, object]) -> "Space":
        """Add fields to search: name → range or choices, None for those of its definition.

        Raises UsageError for a field that cannot be searched, and for values that are none of its.
        """
        domains = dict(self.domains)
        for name, values in stated.items():
            if values is None and name not in self.searchable_names():
                raise self._not_searchable(name)
            if values is not None and name not in self.drawable_fields():
                raise one_of("field to search", name, self.drawable_fields())
            domains.pop(name, None)
            if values is not None:
                domains |= self._stated_domain(name, values)
        return replace(self, searched=tuple(dict.fromkeys((*self.searched, *stated))), domains=domains)

    def _not_searchable(self, name: str) -> UsageError:
        if name in self.drawable_fields():
            return UsageError(f"--search {name}: the field has no search range of its own: give one, as in {name}=A..B")
        return one_of("field to search", name, self.drawable_fields())

    def _stated_domain(self, name: str, values: object) -> dict[str, Domain]:
        """The values to draw of a field; none if its definitions say the same."""
        domain = Domain.parse(self.drawable_fields()[name], values)
        own = [f for c in self.constructions for f in describe_fields(constructions.entry(c)[0]) if f.name == name]
        own += [f for f in describe_fields(Training) if f.name == name]
        return {} if all(Domain.of(f) == domain for f in own) else {name: domain}

    def with_construction(self, construction: str) -> "Space":
        """Restrict the space to one construction."""
        return replace(self, constructions=(construction,))

    def with_fixed(self, values: Mapping[str, Value]) -> "Space":
        """Set some fields, which are no longer searched."""
        return replace(self, fixed={**self.fixed, **values})

    def fixed_for(self, construction: str) -> dict[str, Value]:
        """Set values of the fields that a construction has."""
        names = {f.name for f in describe_fields(constructions.entry(construction)[0])}
        return {name: value for name, value in self.fixed.items() if name in names}

    def draw(self, trial: "optuna.Trial") -> dict[str, Value]:
        """Draw one point of the space."""
        chosen = self.constructions[0]
        if len(self.constructions) > 1:
            chosen = trial.suggest_categorical("construction", self.constructions)
        point: dict[str, Value] = {"construction": chosen}
        for varying in self.fields(chosen):
            point[varying.name] = trial._suggest(varying.name, field_distribution(varying))
        return point

    def farthest_points(self) -> list[dict[str, Value]]:
        """Points with every number at its upper end, which bound what the search needs of shared stages.

        Empty if training fields are searched: then no two configurations share a stage.
        """
        if self.searched_training():
            return []
        points: list[dict[str, Value]] = []
        for name in self.constructions:
            points.extend(self._end_points(name))
        return points

    def _end_points(self, construction: str) -> Iterable[dict[str, Value]]:
        fields = self.fields(construction)
        for values in product(*map(_end_values, fields)):
            point: dict[str, Value] = {"construction": construction}
            yield point | {f.name: value for f, value in zip(fields, values, strict=True)}

    def distributions(self, construction: str) -> "dict[str, optuna.distributions.BaseDistribution]":
        """Optuna distributions of the points with a construction."""
        import optuna

        drawn: dict[str, optuna.distributions.BaseDistribution] = {}
        if len(self.constructions) > 1:
            drawn["construction"] = optuna.distributions.CategoricalDistribution(self.constructions)
        return drawn | {varying.name: field_distribution(varying) for varying in self.fields(construction)}

    def point_of(self, row: Mapping[str, Any]) -> dict[str, Value] | None:
        """Point of a trial's row, with the names of `distributions`; None if it lies outside of the space."""
        name = row["construction"]
        if name not in self.constructions or any(row.get(n) != v for n, v in self.fixed_for(name).items()):
            return None
        point = {varying: row.get(varying) for varying in self.distributions(name)}
        return point if all(_contains(varying, point[varying.name]) for varying in self.fields(name)) else None


def searchable_fields() -> dict[str, Field]:
    """Return every field that can be searched, by name: those of the constructions, then those of the training."""
    fields: dict[str, Field] = {}
    for cls in constructions.classes():
        fields |= {f.name: f for f in describe_fields(cls) if f.search or f.choices}
    return fields | {f.name: f for f in _training_fields()}


def _training_fields() -> list[Field]:
    """Training fields that can be searched."""
    return [f for f in describe_fields(Training) if f.search]


def _end_values(varying: Field) -> tuple[Value, ...]:
    """All choices, or the upper end of the range."""
    if varying.choices:
        return varying.choices
    assert varying.search is not None
    high: Value = varying.kind(varying.search.high)
    return (high,)


def _contains(varying: Field, value: Any) -> bool:
    if varying.choices:
        return value in varying.choices
    return value is not None and varying.search is not None and varying.search.low <= value <= varying.search.high


def field_distribution(varying: Field) -> "optuna.distributions.BaseDistribution":
    """Make the Optuna distribution of a field: its choices, or its range."""
    import optuna

    if varying.choices:
        return optuna.distributions.CategoricalDistribution(varying.choices)
    assert varying.search is not None
    low, high, log = varying.search.low, varying.search.high, varying.search.log
    if varying.kind is int:
        return optuna.distributions.IntDistribution(int(low), int(high), log=log)
    return optuna.distributions.FloatDistribution(low, high, log=log)
