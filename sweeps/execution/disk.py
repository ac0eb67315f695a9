"""Estimate the disk that a sweep will fill: from trials of the same kind in the storage, else from parameter counts."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from torch import nn

from basin.stages import kept_steps, state_path
from basin.trial import Trial
from sweeps.execution.plan import Plan, Planned
from sweeps.execution.stages import Stage
from sweeps.execution.throughput import Kind, kind_of_row, trial_kind
from sweeps.storage.store import Row, Store

SAMPLE = 100
"""Trials of a kind whose files are measured, of each sweep."""
FLOAT = 4
"""Bytes of a number."""
SLOTS = {"sgd": 1, "adamw": 2}
"""Optimizer → numbers that a checkpoint stores of each trained weight."""

Group = tuple[Kind, str, int]
"""Kind, construction and members of trials whose files have one size."""


@dataclass(frozen=True)
class Disk:
    """Bytes that the remaining work will write."""

    trials: float
    stages: float
    sampled: int
    """Trials that were measured; 0 if every size comes from the number of parameters."""
    guessed: bool
    """True if some trials' sizes come from the number of parameters: then without their tables."""
    parameters: int
    """Numbers of one network, those of BatchNorm's statistics included, of the largest model."""


def estimate_disk(planned: Plan, storage: Path, *, logged: bool) -> Disk:
    """Estimate the bytes of the remaining trials and stages; `logged` if MLflow keeps a copy of the tables here."""
    left = [one for one in planned.trials if one.left]
    sizes = _measured_sizes(storage, {_group_of(one.trial) for one in left}, logged=logged)
    counts = {one.trial.model: _count_numbers(one.trial, planned) for one in planned.trials}
    trials, guessed = 0.0, False
    for one in left:
        known = sizes.get(_group_of(one.trial))
        guessed |= known is None
        trials += one.left * (fmean(known) if known else _guessed_size(one, counts[one.trial.model][0]))
    stages = sum(_stage_size(stage, planned, *counts[stage.trial.model]) for stage in planned.stages)
    sampled = sum(map(len, sizes.values()))
    return Disk(trials, stages, sampled, guessed, max((total for total, _ in counts.values()), default=0))


def _group_of(trial: Trial) -> Group:
    flat = trial.flat()
    return trial_kind(trial), str(flat["construction"]), trial.construction.members


def _measured_sizes(storage: Path, groups: set[Group], *, logged: bool) -> dict[Group, list[int]]:
    """Bytes of finished trials, group by group."""
    sizes: dict[Group, list[int]] = defaultdict(list)
    kinds = {kind for kind, _, _ in groups}
    for manifest in sorted(storage.glob("*/sweep.json")):
        store, seen = Store(manifest.parent), dict[Group, int]()
        for row in store.rows():
            kind = kind_of_row(row, kinds) if row["status"] == "done" else None
            group = None if kind is None else (kind, str(row["construction"]), int(row["members"]))
            if group in groups and group is not None and seen.get(group, 0) < SAMPLE:
                seen[group] = seen.get(group, 0) + 1
                sizes[group].append(_trial_size(store, row, logged=logged))
    return sizes


def _trial_size(store: Store, row: Row, *, logged: bool) -> int:
    tables = _total_size(store.trial_tables(row["key"]))
    return tables * (2 if logged else 1) + _total_size([store.weights_path(row["ensemble_key"])])


def _total_size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.exists())


def _count_numbers(trial: Trial, planned: Plan) -> tuple[int, int]:
    """Numbers of a network in total, and those that are trained."""
    module: nn.Module = trial.model.build(planned.shape, planned.classes)
    trained = sum(tensor.numel() for tensor in module.parameters())
    return trained + sum(tensor.numel() for tensor in module.buffers()), trained


def _guessed_size(one: Planned, numbers: int) -> float:
    return float(one.trial.construction.members * numbers * FLOAT)


def _stage_size(stage: Stage, planned: Plan, numbers: int, trained: int) -> int:
    """Bytes of the states of a stage that are still to be written."""
    training = stage.trial.training
    folder, steps = planned.place.runs / stage.trial.recipe_key, planned.count_steps(stage.trial)
    kept = {step for step in kept_steps(stage.member, steps) if 0 < step <= stage.step}
    missing = [step for step in kept if not state_path(folder, stage.member, step).exists()]
    return len(missing) * FLOAT * (numbers + SLOTS.get(training.optimizer, 1) * trained)
