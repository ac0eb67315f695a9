"""The searcher: hands out trials to Tune, and reports validation scores to Optuna.

Ray's own OptunaSearch is not used: it leaves a trial with a missing or NaN objective running forever, and reports a
stopped trial as complete. The Optuna study lives in a journal file; what Tune keeps is disposable.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from sweeps.search.feedback import Feedback
from sweeps.search.indexed import WARM
from sweeps.search.journal import open_study
from sweeps.search.recovery import Assignment, Recovery
from sweeps.search.replicates import search_jobs
from sweeps.storage.store import Row, Store
from sweeps.study.job import Job
from sweeps.study.study import Study

MOST_REPEATS = 100
"""Known configurations drawn in a row after which the space counts as exhausted."""
RETURNS = 5
"""Times that a job whose process is lost before it begins is handed out again; then its trial fails."""
TURNS = 10
"""First configurations, in which the constructions take turns: as many as TPE draws before it learns."""


def ask_in_turns(opened: optuna.Study, constructions: Sequence[str], asked: int) -> optuna.Trial:
    """Ask for a trial; among the first draws constructions take turns. `asked` is the number of earlier draws."""
    waiting = (TrialState.WAITING,)
    if len(constructions) > 1 and asked < TURNS and not opened.get_trials(deepcopy=False, states=waiting):
        opened.enqueue_trial({"construction": constructions[asked % len(constructions)]})
    return opened.ask()


class ResumableSearch(Searcher):
    """Hands out owed trials first, then new configurations of the Optuna study; nothing that the store has.

    A configuration on several seeds is one Optuna trial: its replicates are handed out when the first seed is done.
    `final_jobs` is called once all of these are done, and returns the remaining trials.
    """

    def __init__(
        self,
        study: Study,
        store: Store,
        owed: Sequence[Job],
        *,
        trials: int,
        seed: int,
        final_jobs: Callable[[], list[Job]] | None = None,
    ) -> None:
        super().__init__()
        self._study, self._store, self._trials, self._seed = study, store, trials, seed
        self._owed, self._final_jobs, self._pending_final = owed, final_jobs, final_jobs
        self._optuna = open_study(store.journal, study, seed)
        self._feedback = Feedback(study, store, self._optuna)
        recovered = Recovery(study, store, seed, self._feedback).recover_search()
        self._waiting = [*(Assignment(job, None) for job in owed), *recovered.assignments]
        self._running: dict[str, Assignment] = {}
        self._returns = Counter[str]()
        self._ended = recovered.rows
        self._keys = {job.key for job in owed}
        # Counted once, then kept up to date: counting for each new trial would be quadratic in the sweep.
        self._asked = self._distinct = self._repeats = 0
        for trial in self._optuna.get_trials(deepcopy=False):
            if trial.state is not TrialState.WAITING and WARM not in trial.user_attrs:
                self._count_draw(trial.user_attrs.get("key"), duplicate=bool(trial.user_attrs.get("duplicate")))

    def _count_draw(self, key: str | None, *, duplicate: bool) -> None:
        """Count a drawn configuration; `_repeats` are the duplicates since the last new one."""
        self._asked += 1
        self._distinct += not duplicate
        self._repeats = self._repeats + 1 if duplicate else 0
        if key:
            self._keys.add(key)

    @property
    def left(self) -> int:
        """Upper bound of the trials still to be handed out, without the final ones."""
        first = sum(number is not None and not self._ended.get(number) for _, number in self._waiting)
        return len(self._waiting) + first * (self._study.replicates - 1) + self._undrawn * self._study.replicates

    @property
    def _undrawn(self) -> int:
        """Configurations still to be drawn."""
        exhausted = self._asked > MOST_REPEATS and self._repeats >= MOST_REPEATS
        return 0 if exhausted else max(0, self._trials - self._distinct)

    def suggest(self, trial_id: str) -> dict[str, Job] | None:
        """Return the next job; None while running trials may lead to more, FINISHED when there is none.

        A running trial leads to its replicates, to the final ones, or to itself if its process is lost.
        """
        if not self._waiting:
            self._draw_configuration()
        if self._pending_final and not self._waiting and not self._running:
            self._waiting = [Assignment(job, None) for job in self._pending_final()]
            self._pending_final = None
        if self._waiting:
            self._running[trial_id] = self._waiting.pop(0)
            return {"job": self._running[trial_id].job}
        return None if self._running else cast(None, Searcher.FINISHED)

    def take_back(self, trial_id: str) -> bool:
        """Hand out the job of a lost trial next, and report nothing to Optuna; return False after too many times."""
        lost = self._running.get(trial_id)
        if lost is None or self._returns[lost.job.key] == RETURNS:
            return False
        self._returns[lost.job.key] += 1
        self._waiting.insert(0, self._running.pop(trial_id))
        return True

    def _draw_configuration(self) -> None:
        """Ask Optuna for a configuration that is new, if the study has any left."""
        for _ in range(MOST_REPEATS):
            if not self._undrawn:
                return
            asked = ask_in_turns(self._optuna, self._study.space.constructions, self._asked)
            job = self._study.make_job("search", {**self._study.space.draw(asked), "seed": self._seed})
            duplicate = job.key in self._keys
            self._count_draw(job.key, duplicate=duplicate)
            asked.set_user_attr("changes", job.changes)
            if not duplicate:
                asked.set_user_attr("key", job.key)
                self._waiting.append(Assignment(job, asked.number))
                return
            asked.set_user_attr("duplicate", True)
            self._optuna.tell(asked, state=TrialState.FAIL)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record the end of a trial; the end of its configuration's last seed is reported to Optuna."""
        job, number = self._running.pop(trial_id, (None, None))
        if job is None or number is None:
            return
        row: Row = {} if error or result is None else dict(result)
        if row and "status" not in row:  # stopped early: the scheduler has written the row
            row = self._store.row(job.key) or {}
        self._record_end(number, row, job)

    def _record_end(self, number: int, row: Row, job: Job) -> None:
        rows = self._ended.setdefault(number, [])
        rows.append(row)
        if len(rows) == 1 and row.get("status") == "done":
            self._waiting += [Assignment(other, number) for other in search_jobs(self._study, job, self._seed)[1:]]
        if row.get("status") != "done" or len(rows) == self._study.replicates:
            self._feedback.report_number(number, rows)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal and the store are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a sweep is continued by running it again."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from journal and store: through Ray's client, Tune runs on the head of the cluster."""
        rebuild = partial(ResumableSearch, trials=self._trials, seed=self._seed, final_jobs=self._final_jobs)
        return rebuild, (self._study, self._store, self._owed)
