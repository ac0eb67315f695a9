"""A study: the base trial of a sweep, the space to search, and the trials to run in any case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from basin.constructions import constructions
from basin.environment import Machine
from basin.errors import UsageError, one_of
from basin.keys import hash_contents
from basin.spec import describe_fields
from basin.training.network import Precision
from basin.trial import REGISTRIES, Trial, overlay
from stats.verdicts import MARGIN
from sweeps.study.job import Changes, Job
from sweeps.study.objectives import (
    BASIN,
    Limit,
    capped_merit,
    check_scheduler,
    parse_limits,
    parse_objectives,
    score_sign,
    seed_verdict,
)
from sweeps.study.space import Space

AUTO = "auto"
"""Precision that the launch chooses."""
PRECISIONS = (AUTO, *get_args(Precision))
"""Precisions that a study can state."""


def check_precision(value: object) -> None:
    """Raise UsageError for a precision that no study can state."""
    if value not in PRECISIONS:
        raise UsageError(f"precision={value}: expected one of {', '.join(PRECISIONS)}")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A base trial, the space to search around it, and the trials to run in any case."""

    base: Trial
    space: Space
    trials: int = 0
    """Configurations to search."""
    grid: tuple[Changes, ...] = ()
    """Configurations to run on every reported seed, instead of a search or in addition to it."""
    objectives: tuple[str, ...] = ("val_nll",)
    """One or two validation scores; test scores are only reported."""
    margin: float = MARGIN
    """Accuracy points that paths may lose in one basin; limits the upper confidence bound of chosen configurations."""
    sampler: str = "tpe"
    replicates: int = 1
    """Seeds of each searched configuration; the sampler receives the mean of their objectives."""
    constraints: tuple[Limit, ...] = ()
    """Limits on validation scores, in addition to the basin constraint."""
    scheduler: str | None = None
    """Rule by which searched trials are stopped early; None for no early stopping."""
    references: tuple[Changes, ...] = ({"construction": "deep"},)
    """Trials to compare with, on every reported seed."""
    seeds: int = 3
    """Number of reported seeds: of references, grids and chosen configurations."""
    plane_points: int = 0
    """Points along each side of the plane of each reported configuration, on its first seed; 0 for no plane."""
    pinned: frozenset[str] = frozenset()
    """Fields set by the user, which override grid and references."""
    auto_precision: bool = False
    """Let the launch choose the precision of the base trial, which is float32 until then (precision=auto)."""

    def with_settings(self, changes: Changes) -> "Study":
        """Set fields of the base trial; a set field is no longer searched.

        Setting the construction or model keeps the matching points of the grid. Raises UsageError for a name that
        neither the base nor any searched construction has.
        """
        changes = dict(changes)
        if "seed" in changes:
            raise UsageError(f"--set seed={changes['seed']}: give --seed, the first seed of all trials")
        if "construction" in changes:
            chosen = str(changes.pop("construction"))
            constructions.entry(chosen)
            grid = tuple(point for point in self.grid if point.get("construction") == chosen)
            return replace(self, space=self.space.with_construction(chosen), grid=grid).with_settings(changes)
        auto = changes.get("precision", AUTO if self.auto_precision else None) == AUTO
        if "precision" in changes:
            check_precision(changes["precision"])
            changes |= {"precision": "float32"} if auto else {}
        grid = _grid_of_model(self.grid, str(changes["model"])) if "model" in changes else self.grid
        # A new model has other fields, and fields are checked together: first the classes, then all values at once.
        base = overlay(self.base, {name: value for name, value in changes.items() if name in REGISTRIES})
        searched, possible = self.space.hyperparameters(), base.settable()
        for name in changes:
            if name not in searched and name not in possible:
                raise one_of("field", name, {*searched, *possible, *(f.name for f in describe_fields(Machine))})
        fixed = {name: searched[name].parse(value) for name, value in changes.items() if name in searched}
        base = overlay(base, {name: value for name, value in changes.items() if name in possible})
        training = self.space.searched_training()
        fixed |= {name: base.flat()[name] for name in training if name in changes}
        return replace(
            self,
            base=base,
            space=self.space.with_fixed(fixed),
            grid=grid,
            pinned=self.pinned | changes.keys(),
            auto_precision=auto,
        )

    def with_precision(self, precision: str, path_precision: str | None = None) -> "Study":
        """Resolve precision=auto. Paths are evaluated in float32 too if training is, unless the user set theirs."""
        path_precision = path_precision or ("float32" if precision == "float32" else None)
        changes = {"precision": precision}
        if path_precision and "path_precision" not in self.pinned:
            changes["path_precision"] = path_precision
        return replace(self, base=overlay(self.base, changes), auto_precision=False)

    def with_size(self, trials: int | None, sampler: str | None, seeds: int | None = None) -> "Study":
        """Set the number of configurations, the sampler, and the number of reported seeds; None keeps each."""
        return replace(self, trials=trials or self.trials, sampler=sampler or self.sampler, seeds=seeds or self.seeds)

    def with_aim(
        self,
        *,
        metrics: Sequence[str] = (),
        margin: float | None = None,
        scheduler: str | None = None,
        replicates: int | None = None,
        constraints: Sequence[str] = (),
    ) -> "Study":
        """Set what the search optimises, as far as it is given.

        Raises UsageError for an invalid objective, constraint or scheduler.
        """
        study = replace(
            self,
            objectives=parse_objectives(metrics) or self.objectives,
            margin=self.margin if margin is None else margin,
            scheduler=scheduler or self.scheduler,
            replicates=replicates or self.replicates,
            constraints=parse_limits(constraints) or self.constraints,
        )
        if study.scheduler:
            check_scheduler(study.scheduler, study.objectives)
        return study

    def compared_with(self, names: Sequence[str]) -> "Study":
        """Replace the references by these constructions, if any; raises UsageError for an unknown one."""
        for name in names:
            constructions.entry(name)
        return replace(self, references=tuple({"construction": name} for name in names) or self.references)

    def search_also(self, texts: Sequence[str]) -> "Study":
        """Search further fields, or searched ones over other values: `beta`, `beta=0.01..3 log`, `t=0,0.5,1`.

        Raises UsageError for a field that cannot be searched or has been set.
        """
        stated: dict[str, object] = {}
        for text in texts:
            name, given, values = text.partition("=")
            stated[name] = values if given else None
            if name in self.pinned:
                raise UsageError(f"--search {name}: --set {name}=… fixes this field: give one of the two")
        if stated and not self.trials:
            raise UsageError(f"--search {next(iter(stated))}: this study does not search: give --trials as well")
        return replace(self, space=self.space.with_searched(stated))

    def reported_seeds(self, seed: int) -> range:
        """Seeds of the reported trials: none of the search, so that selection does not favour them."""
        first = seed + self.replicates if self.trials else seed
        return range(first, first + self.seeds)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Limits on a chosen configuration's validation scores; the basin constraint comes last."""
        return (*self.constraints, Limit(BASIN, "<=", self.margin))

    @property
    def signs(self) -> tuple[int, ...]:
        """1 for each objective of which more is better, else −1."""
        return tuple(score_sign(name) for name in self.objectives)

    def oriented_merits(self, values: Sequence[float]) -> tuple[float, ...]:
        """Means of the objectives, oriented so that more is better; q̄ is capped at 0."""
        named = zip(self.signs, self.objectives, values, strict=True)
        return tuple(sign * capped_merit(name, value) for sign, name, value in named)

    def verdict_columns(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Columns that depend on the limits: margin, verdicts of this seed, and feasibility."""
        known = row.get(BASIN) is not None or row.get("members") == 1
        limits = self.limits if known else self.constraints
        return {
            "margin": self.margin,
            **{f"verdict_{split}": seed_verdict(row, split, self.margin) for split in ("val", "test")},
            "feasible": all(limit.excess(row) <= 0 for limit in limits) if limits else None,
        }

    def owed_jobs(self, seeds: Sequence[int]) -> list[Job]:
        """References and grid on these seeds: the trials to run in any case."""
        roles = [("reference", changes) for changes in self.references] + [("grid", changes) for changes in self.grid]
        jobs = []
        for seed in seeds:
            for role, changes in roles:
                jobs.append(self.make_job(role, self.reported_changes(changes, seed, first=seed == seeds[0])))
        return jobs

    def reported_changes(self, changes: Changes, seed: int, *, first: bool) -> Changes:
        """Changes of a reported configuration on a seed; the first seed gets a plane."""
        plane = {"plane_points": self.plane_points} if first and self.plane_points else {}
        return {**changes, **plane, "seed": seed}

    def make_job(self, role: str, changes: Changes) -> Job:
        """Resolve the trial of a role."""
        return Job(role, changes, self.resolve_trial(changes), self.configuration_hash(changes))

    def configuration_hash(self, changes: Changes) -> str:
        """Hash of a trial's contents without seed, plane and version of the evaluation."""
        same = {name: value for name, value in changes.items() if name != "plane_points"}
        apart = ("seed", "evaluation.version")
        return hash_contents(
            {name: value for name, value in self.resolve_trial(same).contents.items() if name not in apart}
        )

    def resolve_trial(self, changes: Changes) -> Trial:
        """Apply changes to the base trial; values set by the user override them."""
        name = str(changes.get("construction", self.space.constructions[0]))
        free = {field: value for field, value in changes.items() if field not in self.pinned}
        return overlay(self.base, {**self.space.fixed_for(name), **free})


def _grid_of_model(grid: tuple[Changes, ...], model: str) -> tuple[Changes, ...]:
    """Points of the grid for this model; if there are none, the points that name no model."""
    named = tuple(point for point in grid if point.get("model") == model)
    return named or tuple(point for point in grid if "model" not in point)
