"""The form of a study: where a sweep starts, what it searches, and what it runs whatever the search finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from basin.constructions import constructions
from basin.errors import UsageError, one_of
from basin.place import Machine
from basin.spec import describe
from basin.trial import REGISTRIES, Trial, overlay
from sweeps.aims import Constraint, check_scheduler, score, sign
from sweeps.space import Space

Changes = Mapping[str, object]
Config = dict[str, Any]
"""Role and changes of a trial, as Tune hands them out."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A base trial, the space around it, and the trials that are run whatever the search finds."""

    base: Trial
    space: Space
    trials: int = 0
    """Configurations to search."""
    grid: tuple[Changes, ...] = ()
    """Configurations that are run for every seed, in place of a search or beside it."""
    objectives: tuple[str, ...] = ("val_accuracy", "val_q_bar_reset")
    """Two that are both maximised, or one; of the validation split, for the test split is only reported."""
    sampler: str = "tpe"
    replicates: int = 1
    """Seeds of each searched configuration, of whose objectives the sampler is told the mean."""
    constraints: tuple[Constraint, ...] = ()
    """What a chosen configuration has to satisfy on validation."""
    scheduler: str | None = None
    """Which searched trials are stopped early; none."""
    references: tuple[Changes, ...] = ({"construction": "deep"},)
    """Trials to compare with, run for every seed."""
    seeds: int = 3
    """Seeds of the references, and of the configurations chosen from the search."""
    q_bar_floor: float = -2.0
    """Accuracy points: a chosen configuration has at least this q_bar on validation, if any has."""
    pinned: frozenset[str] = frozenset()
    """Fields that the user has set, whatever grid or references say of them."""

    def set(self, changes: Changes) -> "Study":
        """The study with changed base fields; a field that is set is no longer searched.

        Of a grid stay the points of the construction or model that is set. Raises UsageError for a name that neither
        the base nor any searched construction has.
        """
        changes = dict(changes)
        if "seed" in changes:
            raise UsageError(f"--set seed={changes['seed']}: give --seed, from which each trial's seed comes")
        if "construction" in changes:
            chosen = str(changes.pop("construction"))
            constructions.entry(chosen)
            grid = tuple(point for point in self.grid if point.get("construction") == chosen)
            return replace(self, space=self.space.only(chosen), grid=grid).set(changes)
        if "model" in changes:
            self = replace(self, grid=_of_model(self.grid, str(changes["model"])))
        # A new model has other fields, and fields are checked together: first the names, then all values at once.
        base = overlay(self.base, {name: value for name, value in changes.items() if name in REGISTRIES})
        searched, possible = self.space.hyperparameters(), base.settable()
        for name in changes:
            if name not in searched and name not in possible:
                raise one_of("field", name, {*searched, *possible, *(f.name for f in describe(Machine))})
        fixed = {name: searched[name].parse(value) for name, value in changes.items() if name in searched}
        base = overlay(base, {name: value for name, value in changes.items() if name in possible})
        return replace(self, base=base, space=self.space.fix(fixed), pinned=self.pinned | changes.keys())

    def sized(self, trials: int | None, sampler: str | None) -> "Study":
        """The study with another number of configurations or another sampler."""
        return replace(self, trials=trials or self.trials, sampler=sampler or self.sampler)

    def seeking(
        self,
        *,
        metric: str | None = None,
        scheduler: str | None = None,
        replicates: int = 1,
        constraints: Sequence[str] = (),
    ) -> "Study":
        """The study with another aim; raises UsageError for what cannot be an objective, constraint or scheduler."""
        objectives = (score(metric, "--metric"),) if metric else self.objectives
        limits = tuple(Constraint.parse(text) for text in constraints)
        found = replace(self, objectives=objectives, scheduler=scheduler, replicates=replicates, constraints=limits)
        if scheduler:
            check_scheduler(scheduler, found.objectives)
        return found

    @property
    def signs(self) -> tuple[int, ...]:
        """For each objective 1 if more is better, else −1."""
        return tuple(sign(name) for name in self.objectives)

    def feasible(self, row: Mapping[str, Any]) -> bool | None:
        """Whether a row satisfies the constraints; None without any."""
        return all(limit.excess(row) <= 0 for limit in self.constraints) if self.constraints else None

    def varied(self) -> list[str]:
        """The fields in which the points of the grid differ, apart from those that a model of their own brings."""
        names = dict.fromkeys(name for point in self.grid for name in point if "model" not in point or name == "model")
        return [name for name in names if len({str(point.get(name)) for point in self.grid}) > 1]

    def owed(self, seeds: Sequence[int]) -> list[tuple[str, Changes]]:
        """Role and changes of the trials that are run whatever the search finds."""
        roles = [("reference", changes) for changes in self.references] + [("grid", changes) for changes in self.grid]
        return [(role, {**changes, "seed": seed}) for seed in seeds for role, changes in roles]

    def trial(self, changes: Changes) -> Trial:
        """The trial at a point of the space, with the values that the user set."""
        name = str(changes.get("construction", self.space.constructions[0]))
        free = {field: value for field, value in changes.items() if field not in self.pinned}
        return overlay(self.base, {**self.space.fixed_for(name), **free})


def _of_model(grid: tuple[Changes, ...], model: str) -> tuple[Changes, ...]:
    """The points that name this model and bring its settings; if none does, those that leave it to the base."""
    return tuple(point for point in grid if point.get("model") == model) or tuple(
        point for point in grid if "model" not in point
    )
