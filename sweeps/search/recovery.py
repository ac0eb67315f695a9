"""Recover a search after its launcher was killed: compare the journal with the stored results."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import optuna
from optuna.trial import TrialState

from sweeps.search.feedback import Feedback
from sweeps.search.replicates import search_jobs
from sweeps.search.samplers import find_sampler
from sweeps.storage.store import Row, Store
from sweeps.study.job import Changes, Job
from sweeps.study.study import Study

ASKED = (TrialState.RUNNING, TrialState.FAIL, TrialState.COMPLETE, TrialState.PRUNED)
"""States of Optuna trials that have been asked for."""


class Assignment(NamedTuple):
    """A job to run, and the Optuna trial that waits for its result."""

    job: Job
    number: int | None
    """None where Optuna waits for nothing: the trial was no draw, or its end has been reported."""


@dataclass(frozen=True)
class Recovered:
    """State of a search at the start of a launch."""

    assignments: list[Assignment] = field(default_factory=list)
    """Jobs of the journal that have no result yet."""
    rows: dict[int, list[Row]] = field(default_factory=dict)
    """Number of an unfinished Optuna trial → rows of its seeds that have ended."""


@dataclass(frozen=True)
class Recovery:
    """Reconciles journal and store when a launch begins."""

    study: Study
    store: Store
    seed: int
    feedback: Feedback

    @property
    def opened(self) -> optuna.Study:
        """The Optuna study of the journal."""
        return self.feedback.opened

    def recover_search(self) -> Recovered:
        """Report results that Optuna has not seen; return what is still to be run.

        Trials that failed in an earlier launch, or whose rows are lost, come last: their end is known to Optuna
        already, so they are run for their rows alone.
        """
        self._adopt_rows({trial.user_attrs.get("key") for trial in self.opened.get_trials(deepcopy=False)})
        recovered, lost = Recovered(), list[Assignment]()
        for trial in self.opened.get_trials(deepcopy=False, states=ASKED):
            running = trial.state is TrialState.RUNNING
            if "key" not in trial.user_attrs:
                if not running:
                    continue  # a duplicate, or of another sweep
                changes = self._name_trial(trial)
            else:
                changes = trial.user_attrs["changes"]
            jobs = search_jobs(self.study, self.study.make_job("search", changes), self.seed)
            rows = [self.store.row(job.key) for job in jobs]
            missing = _missing_seeds(jobs, rows)
            if not running:
                lost += [Assignment(job, None) for job in missing]
                continue
            recovered.assignments.extend(Assignment(job, trial.number) for job in missing)
            if rows[0] is not None:
                recovered.rows[trial.number] = [row for row in rows if row]
                if not missing:
                    self.feedback.report_end(trial, recovered.rows[trial.number])
        recovered.assignments.extend(lost)
        return recovered

    def _name_trial(self, frozen: optuna.trial.FrozenTrial) -> Changes:
        """Name a trial whose launcher was killed between asking and naming, and return its changes.

        Drawn from its number, it is the same.
        """
        trial = optuna.Trial(self.opened, frozen._trial_id)
        changes = {**self.study.space.draw(trial), "seed": self.seed}
        trial.set_user_attr("changes", changes)
        trial.set_user_attr("key", self.study.resolve_trial(changes).key)
        return changes

    def _adopt_rows(self, known: Container[str | None]) -> None:
        """Add rows that the journal lacks, all or the last, as running trials whose results are then reported.

        Samplers that draw by number need no rebuilding: they draw the same configurations again.
        """
        if find_sampler(self.study.sampler).indexed:
            return
        rows = [row for row in self.store.rows() if row["role"] == "search" and row["seed"] == self.seed]
        lost = [row for row in rows if row["key"] not in known]
        for row in sorted(lost, key=lambda row: row["finished_at"]):
            point = self.study.space.point_of(row)
            if point is None:
                continue
            changes = {"construction": row["construction"], **point, "seed": self.seed}
            if self.study.resolve_trial(changes).key != row["key"]:
                continue
            self.opened.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.RUNNING,
                    params=point,
                    distributions=self.study.space.distributions(row["construction"]),
                    user_attrs={"changes": changes, "key": row["key"]},
                )
            )


def _missing_seeds(jobs: Sequence[Job], rows: Sequence[Row | None]) -> list[Job]:
    """Seeds of a configuration that are still to be run: the others follow when the first is done."""
    if rows[0] is None:
        return [jobs[0]]
    if rows[0]["status"] != "done":
        return []
    return [job for job, row in zip(jobs, rows, strict=True) if row is None]
