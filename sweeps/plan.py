"""What a study will cost, said before anything is spent: its stages, its trials, their passes and hours."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import optuna
from rich.console import Console
from rich.table import Table

from basin.constructions import Spends
from basin.place import Place
from basin.trial import Trial, identify, open_data
from sweeps import stages
from sweeps.options import Options
from sweeps.rates import Kind, Rate, kind, measured, probe
from sweeps.samplers import INDEXED, sampler
from sweeps.search import TURNS
from sweeps.stages import Stage
from sweeps.store import Row, Store
from sweeps.study import Changes, Study
from sweeps.sweep import place_of

DRAWS = 64
"""Points of the space whose mean stands for those that a sampler will choose when it has seen results."""


@dataclass(frozen=True)
class Planned:
    """A trial that a sweep will run, or a point of the space that stands for some."""

    role: str
    trial: Trial
    weight: float = 1.0
    """Trials that this one stands for."""
    there: bool = False

    @property
    def left(self) -> float:
        """Trials that are still to be run."""
        return 0.0 if self.there else self.weight


@dataclass(frozen=True)
class Plan:
    """The graph of a sweep: single runs, and the trials that are built from them."""

    stages: list[Stage]
    trials: list[Planned]
    counts: Mapping[str, tuple[int, int]]
    """Role → trials in all, and those that are there."""
    images: int
    place: Place

    def steps(self, trial: Trial) -> int:
        """Of its budget."""
        return trial.training.steps(self.images)

    def spends(self, one: Planned) -> Spends:
        """The passes of a trial."""
        return one.trial.construction.spends(self.steps(one.trial))

    @property
    def kinds(self) -> dict[Kind, Trial]:
        """Every kind of trial, with one that is of it."""
        return {kind(one.trial): one.trial for one in self.trials}

    def missing(self, stage: Stage) -> int:
        """Passes until a stage is there."""
        return stage.left(self.place, self.images)


def plan(study: Study, options: Options) -> Plan:
    """The graph of a study as it stands in a storage; nothing is written there."""
    place, store = place_of(options), Store((options.storage / options.name).resolve())
    study = replace(study, base=identify(study.base, place))
    images = len(open_data(study.base, place).train)
    seeds = [options.seed + index for index in range(study.seeds)]
    rows = {row["key"]: row for row in store.rows()}
    owed = [Planned(role, study.trial(changes)) for role, changes in study.owed(seeds)]
    owed = [replace(one, there=one.trial.key in rows) for one in {one.trial.key: one for one in owed}.values()]
    searched = _searched(study, options.seed, rows)
    again = _replicates(study, searched, rows, options.seed)
    trials = [*owed, *searched, *again]
    counts = {role: _count(role, study, owed, rows) for role in dict.fromkeys(one.role for one in trials)}
    return Plan(stages.plan(study, seeds, images), trials, counts, images, place)


def _searched(study: Study, seed: int, rows: Mapping[str, Row]) -> list[Planned]:
    """The configurations themselves where they depend on seed and number alone, else draws that stand for them."""
    if not study.trials:
        return []
    there = sum(row["role"] == "search" for row in rows.values())
    indexed = study.sampler in INDEXED
    count = study.trials if indexed else DRAWS
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawn = optuna.create_study(
        directions=["maximize"] * len(study.objectives),
        sampler=sampler(study.sampler if indexed else "random", seed, study.space),
    )
    names = study.space.constructions
    points: list[Changes] = []
    for number in range(count):
        if len(names) > 1 and number < TURNS:
            drawn.enqueue_trial({"construction": names[number % len(names)]})
        points.append({**study.space.draw(drawn.ask()), "seed": seed})
    trials = [study.trial(point) for point in points]
    if indexed:
        return [Planned("search", trial, there=trial.key in rows) for trial in trials]
    done = [Planned("search", trial, 0.0, there=True) for trial in trials[:1] if there]
    return done + [Planned("search", trial, max(0, study.trials - there) / DRAWS) for trial in trials]


def _replicates(study: Study, searched: Sequence[Planned], rows: Mapping[str, Row], seed: int) -> list[Planned]:
    """Every configuration on its other seeds, and the chosen ones, whichever they will be, on those that are left."""
    wanted = _other_seeds(study)
    left = max(0, wanted - sum(row["role"] == "replicate" for row in rows.values()))
    found = []
    for other in range(1, max(study.seeds, study.replicates)):
        count = study.trials if other < study.replicates else len(study.space.constructions)
        for one in searched:
            weight = count / len(searched) * left / wanted
            found.append(Planned("replicate", replace(one.trial, seed=seed + other), weight))
    return found


def _other_seeds(study: Study) -> int:
    """Trials that repeat a searched configuration."""
    chosen = len(study.space.constructions) * max(0, study.seeds - study.replicates)
    return study.trials * (study.replicates - 1) + chosen if study.trials else 0


def _count(role: str, study: Study, owed: Iterable[Planned], rows: Mapping[str, Row]) -> tuple[int, int]:
    if role in ("reference", "grid"):
        own = [one for one in owed if one.role == role]
        return len(own), sum(one.there for one in own)
    there = sum(row["role"] == role for row in rows.values())
    wanted = study.trials if role == "search" else _other_seeds(study)
    return max(wanted, there), there


def _construction(trial: Trial) -> str:
    return str(trial.flat()["construction"])


def rates(planned: Plan, options: Options, *, given: float | None, probing: bool) -> dict[Kind, list[Rate]]:
    """For each kind of trial what is known of its speed: given, measured by earlier trials, or probed now."""
    kinds = planned.kinds
    if given:
        return {one: [Rate("any device", given, 0.0, "given; measuring an ensemble comes on top")] for one in kinds}
    known = measured(options.storage, set(kinds))
    for one in kinds.keys() - known.keys() if probing else ():
        known[one] = [probe(kinds[one], planned.place)]
    return known


@dataclass(frozen=True)
class Work:
    """What is left to do of a stage or of trials."""

    kind: Kind
    own: float
    """Passes that are trained anew."""
    trials: float = 0.0


def show(planned: Plan, known: Mapping[Kind, list[Rate]], options: Options, console: Console) -> None:
    """Print the graph, what is there, what is left, and how long it takes as far as that is known."""
    single = [Work(kind(stage.trial), planned.missing(stage)) for stage in planned.stages]
    roles: dict[str, list[Work]] = {role: [] for role in planned.counts}
    for one in planned.trials:
        roles[one.role].append(Work(kind(one.trial), one.left * planned.spends(one).own, one.left))
    every = [*single, *(work for some in roles.values() for work in some)]
    counted = sum(one.left * planned.spends(one).passes for one in planned.trials)
    console.print(_stages(planned))
    console.print(_trials(planned, roles))
    console.print(
        f"to train: {_passes(single)} passes in stages and {_passes(every) - _passes(single)} in trials, "
        f"whose meters will count {counted:.0f} with what they share"
    )
    _hours(every, known, options, console)


def _passes(works: Iterable[Work]) -> int:
    return round(sum(work.own for work in works))


def _stages(planned: Plan) -> Table:
    """One line for each folder of single runs, and the trials that are built from them."""
    title = "Stages: single runs that trials share, trained once"
    table = Table("runs/", "model", "seed", "member → step", "there", "passes left", "for", title=title)
    table.title_justify = "left"
    users: dict[str, Counter[str]] = defaultdict(Counter)
    for one in planned.trials:
        if any(one.trial.construction.needs(planned.steps(one.trial)).values()):
            users[one.trial.recipe_key][one.role] += 1
    groups: dict[str, list[Stage]] = defaultdict(list)
    for stage in planned.stages:
        groups[stage.trial.recipe_key].append(stage)
    for recipe, own in groups.items():
        flat, left = own[0].trial.flat(), [planned.missing(stage) for stage in own]
        runs = ", ".join(f"{stage.member} → {stage.step}" for stage in own)
        there = f"{sum(not missing for missing in left)} of {len(own)}"
        table.add_row(
            recipe, str(flat["model"]), str(flat["seed"]), runs, there, str(sum(left)), ", ".join(users[recipe])
        )
    return table


def _trials(planned: Plan, roles: Mapping[str, list[Work]]) -> Table:
    table = Table("trials", "construction", "in all", "there", "left", "passes left", title="Trials")
    table.title_justify = "left"
    for role, works in roles.items():
        names = dict.fromkeys(_construction(one.trial) for one in planned.trials if one.role == role)
        count, there = planned.counts[role]
        table.add_row(role, ", ".join(names), str(count), str(there), str(count - there), str(_passes(works)))
    return table


def _hours(works: Sequence[Work], known: Mapping[Kind, list[Rate]], options: Options, console: Console) -> None:
    left = [work for work in works if work.own or work.trials]
    rates = {rate: None for work in left for rate in known.get(work.kind, ())}
    for rate in rates:
        beside = f" and {rate.beside:.3g} s of a trial beside training" if rate.beside else ""
        console.print(f"rate on {rate.device}: {rate.passes:.4g} passes/s{beside} ({rate.source})")
    for device in dict.fromkeys(rate.device for rate in rates):
        on = {one: rate for one, some in known.items() for rate in some if rate.device == device}
        if all(work.kind in on for work in left):
            hours = sum(on[work.kind].seconds(work.own, work.trials) for work in left) / 3600
            parts = [f"{hours * options.cpus_per_trial:.3g} core-hours"] if options.cpus_per_trial else []
            parts += [f"{hours * options.gpus_per_trial:.3g} GPU-hours"] if options.gpus_per_trial else []
            console.print(f"estimate on {device}: {hours:.3g} hours of one trial's resources, {', '.join(parts)}")
    unknown = {str(dict(work.kind)["model"]) for work in left if work.kind not in known}
    if unknown:
        console.print(
            f"no rate is known of {', '.join(sorted(unknown))} trained so: --probe measures some steps here, "
            "--rate gives passes a second"
        )
