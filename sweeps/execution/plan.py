"""Estimate the cost of a study before it runs: stages, trials, passes and hours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import optuna

from basin.constructions import Spends
from basin.environment import Place
from basin.trial import Trial, identify_data, open_data, overlay
from sweeps.execution.launch_precision import resolve_precision
from sweeps.execution.options import Options
from sweeps.execution.precision import decide_precision, describe_emulation
from sweeps.execution.stages import Stage, plan_stages
from sweeps.execution.throughput import Kind, Throughput, measure_steps, measured_throughput, trial_kind
from sweeps.search.samplers import find_sampler, make_sampler
from sweeps.search.searcher import ask_in_turns
from sweeps.storage.store import Row, Store
from sweeps.study.manifest import needs_remeasuring
from sweeps.study.study import Study

DRAWS = 64
"""Random points whose mean stands for the configurations of a sampler that learns."""
REPEATED = ("replicate", "fresh")
"""Roles of trials that repeat a searched configuration on other seeds."""


@dataclass(frozen=True)
class Planned:
    """A trial of a planned sweep, or a point of the space that represents several."""

    role: str
    trial: Trial
    weight: float = 1.0
    """Trials that this one represents."""
    finished: bool = False

    @property
    def left(self) -> float:
        """Represented trials that are still to be run."""
        return 0.0 if self.finished else self.weight


@dataclass(frozen=True)
class Plan:
    """Stages and trials of a sweep."""

    stages: list[Stage]
    trials: list[Planned]
    counts: Mapping[str, tuple[int, int]]
    """Role → number of trials, and number of finished ones."""
    images: int
    """Training images."""
    test_images: int
    shape: tuple[int, int, int]
    """Channels, height and width of an image."""
    classes: int
    place: Place
    kept: frozenset[str] = frozenset()
    """Keys of stored ensembles, which need only be measured."""

    def count_steps(self, trial: Trial) -> int:
        """Training steps in the budget of a trial."""
        return trial.training.steps(self.images)

    def spent_passes(self, one: Planned) -> Spends:
        """Passes of a trial. A stored ensemble trains none, but its meter still reports those of its training."""
        spends = one.trial.construction.spends(self.count_steps(one.trial))
        return Spends(0, spends.passes) if one.trial.ensemble_key in self.kept else spends

    def trained_passes(self, one: Planned) -> float:
        """Passes that a trial trains itself, including its shared networks if no stage trains them."""
        single = one.trial.construction.needs(self.count_steps(one.trial))
        available = one.trial.recipe_key in self.recipes or one.trial.ensemble_key in self.kept
        return float(self.spent_passes(one).trained + (0 if available else sum(single.values())))

    @cached_property
    def recipes(self) -> frozenset[str]:
        """Recipe keys of the stages."""
        return frozenset(stage.trial.recipe_key for stage in self.stages)

    def missing_passes(self, stage: Stage) -> int:
        """Passes that a stage still has to train."""
        return stage.missing_passes(self.place, self.images)


def settle_precision(study: Study, options: Options) -> tuple[Study, str]:
    """Resolve precision=auto as a launch on this machine would; returns the study, and the precision with its reason.

    Another machine may decide otherwise. Nothing is written.
    """
    place, auto = options.make_place(), study.auto_precision
    store = Store((options.storage / options.name).resolve())
    study, decision = resolve_precision(study, store, lambda trial: decide_precision(trial, place))
    precision = study.base.training.precision
    if decision:
        return study, f"auto, decided at the launch; here it would be {decision}"
    if auto:
        return study, f"{precision}, which the first launch of {options.name} chose"
    warning = describe_emulation(study.base, place)
    return study, f"{precision}, as the study says" + (f"; {warning}" if warning else "")


def plan_sweep(study: Study, options: Options, stages: list[Stage] | None = None) -> Plan:
    """Plan a study, considering what the storage holds; nothing is written. A launch has planned its stages already."""
    place, store = options.make_place(), Store((options.storage / options.name).resolve())
    study = replace(study, base=identify_data(study.base, place))
    data = open_data(study.base, place)
    images = len(data.train)
    rows = {} if needs_remeasuring(store) else {row["key"]: row for row in store.rows()}
    jobs = {job.key: job for job in study.owed_jobs(study.reported_seeds(options.seed))}
    owed = [Planned(job.role, job.trial, finished=key in rows) for key, job in jobs.items()]
    searched = _searched_trials(study, options.seed, rows)
    trials = [*owed, *searched]
    for role in REPEATED:
        trials += _repeated_trials(role, study, searched, rows, options.seed)
    counts = {role: _count_trials(role, study, owed, rows) for role in dict.fromkeys(one.role for one in trials)}
    kept = frozenset(path.stem for path in (store.folder / "weights").glob("*.safetensors"))
    if stages is None:
        stages = plan_stages(study, options.seed, images, [job for key, job in jobs.items() if key not in rows])
    return Plan(stages, trials, counts, images, len(data.test), data.shape, data.classes, place, kept)


def _searched_trials(study: Study, seed: int, rows: Mapping[str, Row]) -> list[Planned]:
    """The configurations of a sampler that draws by number; else random draws that represent them."""
    if not study.trials:
        return []
    finished = sum(row["role"] == "search" for row in rows.values())
    indexed = find_sampler(study.sampler).indexed
    count = study.trials if indexed else DRAWS
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawn = optuna.create_study(
        directions=["maximize"] * len(study.objectives),
        sampler=make_sampler(study.sampler if indexed else "random", seed, study.space),
    )
    asked = (ask_in_turns(drawn, study.space.constructions, number) for number in range(count))
    trials = [study.resolve_trial({**study.space.draw(one), "seed": seed}) for one in asked]
    if indexed:
        return [Planned("search", trial, finished=trial.key in rows) for trial in trials]
    done = [Planned("search", trial, 0.0, finished=True) for trial in trials[:1] if finished]
    return done + [Planned("search", trial, max(0, study.trials - finished) / DRAWS) for trial in trials]


def _repeated_trials(
    role: str, study: Study, searched: Sequence[Planned], rows: Mapping[str, Row], seed: int
) -> list[Planned]:
    """Configurations on further seeds: all on the search seeds, or those to be chosen on fresh seeds."""
    wanted = _count_repetitions(role, study)
    left = max(0, wanted - sum(row["role"] == role for row in rows.values()))
    seeds = range(seed + 1, seed + study.replicates) if role == "replicate" else study.reported_seeds(seed)
    if not wanted:
        return []
    weight, trials = left / len(seeds) / len(searched), []
    for other in seeds:
        plane = study.reported_changes({}, other, first=role == "fresh" and other == seeds[0])
        free = {name: value for name, value in plane.items() if name not in study.pinned}
        trials += [Planned(role, replace(overlay(one.trial, free), seed=other), weight) for one in searched]
    return trials


def _count_repetitions(role: str, study: Study) -> int:
    """Number of trials that repeat a searched configuration in this role."""
    if not study.trials:
        return 0
    fresh = len(study.space.constructions) * study.seeds
    return fresh if role == "fresh" else study.trials * (study.replicates - 1)


def _count_trials(role: str, study: Study, owed: Iterable[Planned], rows: Mapping[str, Row]) -> tuple[int, int]:
    if role in ("reference", "grid"):
        planned = [one for one in owed if one.role == role]
        return len(planned), sum(one.finished for one in planned)
    finished = sum(row["role"] == role for row in rows.values())
    wanted = study.trials if role == "search" else _count_repetitions(role, study)
    return max(wanted, finished), finished


def known_throughput(
    planned: Plan, options: Options, *, given: float | None, probing: bool
) -> dict[Kind, list[Throughput]]:
    """Throughput of each kind of trial: given, fitted to earlier trials, or measured now."""
    kinds = {trial_kind(one.trial): one.trial for one in planned.trials}
    if given:
        return {
            one: [Throughput("any device", given, 0.0, "given; measuring an ensemble comes on top")] for one in kinds
        }
    known = measured_throughput(options.storage, set(kinds))
    for one in kinds.keys() - known.keys() if probing else ():
        known[one] = [measure_steps(kinds[one], planned.place)]
    return known


@dataclass(frozen=True)
class Work:
    """Remaining work of a stage or of trials."""

    kind: Kind
    passes: float
    """Passes still to be trained."""
    trials: float = 0.0


def remaining_work(planned: Plan) -> tuple[list[Work], dict[str, list[Work]]]:
    """Return the remaining work of the stages, and of the trials of each role."""
    stages = [Work(trial_kind(stage.trial), planned.missing_passes(stage)) for stage in planned.stages]
    roles: dict[str, list[Work]] = {role: [] for role in planned.counts}
    for one in planned.trials:
        roles[one.role].append(Work(trial_kind(one.trial), one.left * planned.trained_passes(one), one.left))
    return stages, roles


def estimated_seconds(works: Sequence[Work], known: Mapping[Kind, list[Throughput]]) -> dict[str, float]:
    """Device → seconds with the resources of one trial; devices on which some kind of trial never ran are left out."""
    left = [work for work in works if work.passes or work.trials]
    rates: dict[str, dict[Kind, Throughput]] = {}
    for kind, candidates in known.items():
        for rate in candidates:
            rates.setdefault(rate.device, {})[kind] = rate
    return {
        device: sum(rate[work.kind].seconds(work.passes, work.trials) for work in left)
        for device, rate in rates.items()
        if all(work.kind in rate for work in left)
    }
