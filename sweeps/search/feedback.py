"""Report the results of configurations to Optuna, and the results of earlier sweeps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.search.indexed import WARM
from sweeps.storage.store import Row, Store
from sweeps.study.objectives import capped_merit
from sweeps.study.study import Study


@dataclass(frozen=True)
class Feedback:
    """Reports the ends of a study's configurations.

    COMPLETE: every seed is done with finite objectives; the values are their means. PRUNED: stopped early, with the
    last value of a single objective (Optuna accepts none of several). FAIL: everything else.
    """

    study: Study
    store: Store
    opened: optuna.Study

    def report_number(self, number: int, rows: Sequence[Row]) -> None:
        """Report the end of the Optuna trial with this number, unless it is known."""
        trial = self.opened.get_trials(deepcopy=False)[number]
        if not trial.state.is_finished():
            self.report_end(trial, rows)

    def report_end(self, trial: FrozenTrial, rows: Sequence[Row]) -> None:
        """Report the end of a configuration from the rows of its seeds; an empty row stands for an error."""
        values = mean_objectives(self.study, rows)
        handle = optuna.Trial(self.opened, trial._trial_id)
        handle.set_user_attr("status", joint_status(rows))
        if values is not None:
            excesses = mean_excesses(self.study, rows)
            handle.set_user_attr("feasible", all(excess <= 0 for excess in excesses.values()))
            for name, excess in excesses.items():
                if name not in trial.constraints:
                    handle.set_constraint(name, excess)
            self.opened.tell(trial.number, values)
        elif any(row.get("status") == "stopped" for row in rows):
            self._report_last(handle, next(row for row in rows if row.get("status") == "stopped"))
            self.opened.tell(trial.number, state=TrialState.PRUNED)
        else:
            self.opened.tell(trial.number, state=TrialState.FAIL)

    def _report_last(self, handle: optuna.Trial, row: Row) -> None:
        history = self.store.history(row["key"])
        if len(self.study.objectives) > 1 or not history:
            return
        value = history[-1].get(self.study.objectives[0])
        if value is not None and math.isfinite(value):
            handle.report(value, history[-1]["step"])


def joint_status(rows: Sequence[Row]) -> str:
    """Status of a configuration: that of its first seed that is not done; an empty row stands for an error."""
    return next((row.get("status", "failed") for row in rows if row.get("status") != "done"), "done")


def mean_objectives(study: Study, rows: Sequence[Row]) -> list[float] | None:
    """Mean of each objective over the seeds of a configuration; None unless every seed is done with finite values.

    The mean of q̄ is capped at 0, above which it is no merit; rows keep what was measured.
    """
    if not rows or any(row.get("status") != "done" for row in rows):
        return None
    means = []
    for name in study.objectives:
        values = [row.get(name) for row in rows]
        finite = [float(value) for value in values if value is not None and math.isfinite(value)]
        if len(finite) < len(values):
            return None
        means.append(capped_merit(name, fmean(finite)))
    return means


def mean_excesses(study: Study, rows: Sequence[Row]) -> dict[str, float]:
    """Limit → mean excess over the seeds; the basin constraint comes last."""
    return {str(limit): fmean(limit.excess(row) for row in rows) for limit in study.limits}


def warm_start(opened: optuna.Study, study: Study, source: Store) -> int:
    """Add another sweep's finished trials that lie in the study's space; return how many of them the study has now.

    They become complete Optuna trials with the user attribute `warm`, and count as no trials of this sweep.
    """
    known = {trial.user_attrs.get(WARM) for trial in opened.get_trials(deepcopy=False)}
    count = 0
    for row in source.rows():
        point, values = study.space.point_of(row), mean_objectives(study, [row])
        if point is None or values is None:
            continue
        count += 1
        if row["key"] in known:
            continue
        opened.add_trial(
            optuna.trial.create_trial(
                params=point,
                distributions=study.space.distributions(row["construction"]),
                values=values,
                user_attrs={WARM: row["key"], "from": source.name},
                constraints=mean_excesses(study, [row]),
            )
        )
    return count
