"""Replays of a search on recorded trials: a method chooses, and the record answers without training.

A sampler may propose any point. It is given the nearest recorded trial of the same construction that has not run yet,
with that trial's own hyperparameters. One trial runs at a time.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from benchmarks.recorded_trials import RecordedTrials
from sweeps.execution.early_stopping import MIDPOINTS, RUNGS, Rung, Rungs
from sweeps.search.feedback import Feedback, warm_start
from sweeps.search.samplers import make_sampler
from sweeps.search.searcher import ask_in_turns
from sweeps.storage.store import Row, Store
from sweeps.study.objectives import BASIN, early_score

LATE = (2 / 3,)
"""A rung at which the learning rate has fallen, and ranks are nearly those of the end."""
_NOWHERE = Path()
"""A folder that nothing is written to."""


@dataclass(frozen=True)
class End:
    """The end of a trial: its row, and its reports until then."""

    row: Row
    reports: Sequence[Row]


class Chooser(Protocol):
    """Chooses recorded trials one by one."""

    spent: float
    """Member-images spent before the first choice."""

    def choose(self, unused: NDArray[np.bool_]) -> int:
        """Return the number of a trial that has not run yet."""
        ...

    def learn(self, index: int, end: End) -> None:
        """Learn the end of a chosen trial."""
        ...


@dataclass
class Curve:
    """The best feasible value found, against member-images."""

    spent: list[float] = field(default_factory=list)
    """Member-images at the end of each trial; ascending."""
    found: list[float] = field(default_factory=list)
    """Best feasible value among the trials that have ended by then; ∞ while there is none."""

    def best_at(self, budget: float) -> float:
        """The best feasible value of the trials that have ended within the budget; ∞ if there is none."""
        ended = int(np.searchsorted(self.spent, budget, side="right"))
        return self.found[ended - 1] if ended else math.inf

    def cost_of(self, value: float) -> float:
        """Member-images until a value at least as good was found; ∞ if it was not."""
        return next((spent for spent, found in zip(self.spent, self.found, strict=True) if found <= value), math.inf)


def replay(recorded: RecordedTrials, chooser: Chooser, *, rungs: Sequence[float] = (), budget: float) -> Curve:
    """Run a search until the budget is spent or every recorded trial has run.

    The scheduler compares trials at `rungs`, shares of their passes. A stopped trial costs what it had spent at its
    last report, and its scores are no result.
    """
    curve, compared = Curve(), Rungs({share: Rung() for share in rungs}) if rungs else None
    unused = np.ones(len(recorded), dtype=bool)
    spent, best = chooser.spent, math.inf
    while unused.any() and spent < budget:
        index = chooser.choose(unused)
        unused[index] = False
        end, cost = _run_trial(recorded, index, compared)
        spent += cost
        if end.row["status"] == "done":
            best = min(best, float(recorded.values[index]))
        chooser.learn(index, end)
        curve.spent.append(spent)
        curve.found.append(best)
    return curve


def _run_trial(recorded: RecordedTrials, index: int, rungs: Rungs | None) -> tuple[End, float]:
    """The end of a trial, and the member-images that it costs."""
    row, reports = recorded.rows[index], recorded.reports[index]
    if rungs is not None:
        for count, report in enumerate(reports, 1):
            if not rungs.compare(recorded.study, row["key"], report) and report["progress"] < 1:
                stopped = {"key": row["key"], "construction": row["construction"], "status": "stopped"}
                return End(stopped, reports[:count]), recorded.report_cost(index, report)
    return End(row, reports), float(recorded.costs[index])


class Shuffled:
    """The recorded trials in random order: what a random search would have run, since random draws are exchangeable."""

    spent = 0.0

    def __init__(self, recorded: RecordedTrials, seed: int) -> None:
        self._order = np.random.default_rng(seed).permutation(len(recorded)).tolist()

    def choose(self, unused: NDArray[np.bool_]) -> int:
        """Return the next trial of the order."""
        return int(self._order.pop(0))

    def learn(self, index: int, end: End) -> None:
        """Learn nothing."""


@dataclass(frozen=True)
class _ReplayStore(Store):
    """Rows and reports of a replay, in place of a sweep's files."""

    known: dict[str, Row] = field(default_factory=dict)
    reports: dict[str, Sequence[Row]] = field(default_factory=dict)

    def rows(self, columns: Sequence[str] | None = None) -> list[Row]:
        return list(self.known.values())

    def history(self, key: str, columns: Sequence[str] | None = None) -> list[Row]:
        return list(self.reports[key])


class Sampled:
    """One of the project's samplers, with the turns, constraints and reports of a sweep's search.

    With `short` trials it is warm-started by a random sample of the record, each trial only as far as its report of
    epoch `epoch`: its scores there stand for those of a trial of so many epochs, midpoints for whole paths.
    """

    def __init__(self, recorded: RecordedTrials, sampler: str, seed: int, short: int = 0, epoch: int = 0) -> None:
        self._recorded, self._asked = recorded, 0
        self._random = np.random.default_rng(seed)
        study = replace(recorded.study, sampler=sampler)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.opened = optuna.create_study(directions=["maximize" if sign > 0 else "minimize" for sign in study.signs])
        self.opened.sampler = make_sampler(sampler, seed, study.space)
        self._store = _ReplayStore(_NOWHERE)
        self._feedback = Feedback(study, self._store, self.opened)
        self._running: dict[int, FrozenTrial] = {}
        self.spent = self._warm_up(short, epoch) if short else 0.0

    def _warm_up(self, short: int, epoch: int) -> float:
        """Report short trials as an earlier sweep; return the member-images that they cost."""
        recorded, source = self._recorded, _ReplayStore(_NOWHERE)
        spent = 0.0
        for index in self._random.permutation(len(recorded))[:short].tolist():
            row = recorded.rows[index]
            report = next((one for one in recorded.reports[index] if one["step"] == epoch), None)
            if report is None:  # it diverged before
                spent += float(recorded.costs[index])
                continue
            spent += recorded.report_cost(index, report)
            scores = {name: report[early_score(name)] for name in recorded.study.objectives}
            upper = 0.0 if report[MIDPOINTS] is None else report[MIDPOINTS]  # a trunk has no paths yet
            source.known[row["key"]] = {**row, **scores, BASIN: upper, "status": "done"}
        warm_start(self.opened, self._feedback.study, source)
        return spent

    def choose(self, unused: NDArray[np.bool_]) -> int:
        """Ask the sampler, and return the nearest unused trial; another construction's only if none is left."""
        recorded, space = self._recorded, self._recorded.study.space
        asked = ask_in_turns(self.opened, space.constructions, self._asked)
        self._asked += 1
        point = space.draw(asked)
        self.opened.tell(asked.number, state=TrialState.FAIL)  # samplers ignore it: what runs is told in its place
        construction = str(point["construction"])
        index = nearest_trial(recorded, construction, recorded.unit_point(construction, point), unused)
        if index is None:
            index = int(self._random.choice(np.flatnonzero(unused)))
        self._running[index] = self._begin(recorded.rows[index])
        return index

    def _begin(self, row: Row) -> FrozenTrial:
        space = self._recorded.study.space
        self.opened.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=space.point_of(row),
                distributions=space.distributions(row["construction"]),
            )
        )
        return self.opened.get_trials(deepcopy=False)[-1]

    def learn(self, index: int, end: End) -> None:
        """Report the end of a trial to Optuna as a sweep does."""
        self._store.reports[end.row["key"]] = end.reports
        self._feedback.report_end(self._running.pop(index), [end.row])


def nearest_trial(
    recorded: RecordedTrials, construction: str, point: NDArray[np.float64], unused: NDArray[np.bool_]
) -> int | None:
    """The unused trial of a construction nearest to a point of its unit cube; None if none is left."""
    candidates = [i for i in np.flatnonzero(unused).tolist() if recorded.rows[i]["construction"] == construction]
    if not candidates:
        return None
    return min(candidates, key=lambda i: float(np.sum((recorded.points[i] - point) ** 2)))


@dataclass(frozen=True)
class Method:
    """A way to search: a sampler and the rungs of early stopping."""

    make: Callable[[RecordedTrials, int], Chooser]
    """(record, seed) → a chooser."""
    rungs: tuple[float, ...] = ()
    """Shares of a trial's passes at which the scheduler compares it; none without a scheduler."""


def methods(short: int, epoch: int) -> dict[str, Method]:
    """Every method by its name. Warm starts are from `short` trials of `epoch` epochs.

    `asha` is the scheduler of sweeps; `late asha`, with one later rung, is what sweeps do not offer yet.
    """

    def sampled(sampler: str, short: int = 0) -> Callable[[RecordedTrials, int], Chooser]:
        return lambda recorded, seed: Sampled(recorded, sampler, seed, short, epoch)

    return {
        "random": Method(Shuffled),
        "random, nearest": Method(sampled("random")),
        "random, asha": Method(Shuffled, RUNGS),
        "random, late asha": Method(Shuffled, LATE),
        "tpe": Method(sampled("tpe")),
        "tpe, asha": Method(sampled("tpe"), RUNGS),
        "tpe, late asha": Method(sampled("tpe"), LATE),
        "tpe, warm start": Method(sampled("tpe", short)),
        "tpe, asha, warm start": Method(sampled("tpe", short), RUNGS),
    }
