"""What Optuna is told: the end of a configuration, exactly, and what earlier sweeps know of the space."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.samplers import WARM
from sweeps.store import Row, Store
from sweeps.study import Study


@dataclass(frozen=True)
class Telling:
    """One study's ends of trials.

    COMPLETE: every seed is done with finite objectives; the values are their means. PRUNED: it was stopped early, with
    the last value of a single objective; Optuna takes none of several. FAIL: everything else.
    """

    study: Study
    store: Store
    opened: optuna.Study

    def tell(self, trial: FrozenTrial, rows: Sequence[Row]) -> None:
        """The end of a configuration whose seeds have these rows; an empty row is an error."""
        values = means(self.study, rows)
        handle = optuna.Trial(self.opened, trial._trial_id)
        if values is not None:
            for name, excess in excesses(self.study, rows).items():
                if name not in trial.constraints:
                    handle.set_constraint(name, excess)
            self.opened.tell(trial.number, values)
        elif any(row.get("status") == "stopped" for row in rows):
            self._report(handle, next(row for row in rows if row.get("status") == "stopped"))
            self.opened.tell(trial.number, state=TrialState.PRUNED)
        else:
            self.opened.tell(trial.number, state=TrialState.FAIL)

    def _report(self, handle: optuna.Trial, row: Row) -> None:
        history = self.store.history(row["key"])
        if len(self.study.objectives) > 1 or not history:
            return
        value = history[-1].get(self.study.objectives[0])
        if value is not None and math.isfinite(value):
            handle.report(value, history[-1]["step"])


def means(study: Study, rows: Sequence[Row]) -> list[float] | None:
    """Each objective's mean over the seeds of a configuration; None unless every seed is done and has it, finite."""
    if not rows or any(row.get("status") != "done" for row in rows):
        return None
    found = [[row.get(name) for row in rows] for name in study.objectives]
    if any(value is None or not math.isfinite(value) for values in found for value in values):
        return None
    return [fmean(float(value) for value in values if value is not None) for values in found]


def excesses(study: Study, rows: Sequence[Row]) -> dict[str, float]:
    """For each constraint how far the seeds are beyond it, in the mean."""
    return {str(limit): fmean(limit.excess(row) for row in rows) for limit in study.constraints}


def warm_start(opened: optuna.Study, study: Study, source: Store) -> int:
    """Tell a study the finished trials of another sweep that lie in its space, each once; return how many are new.

    They are complete Optuna trials under the user attribute `warm`, and no trials of this sweep.
    """
    known = {trial.user_attrs.get(WARM) for trial in opened.get_trials(deepcopy=False)}
    count = 0
    for row in source.rows():
        point, values = study.space.point(row), means(study, [row])
        if point is None or values is None or row["key"] in known:
            continue
        opened.add_trial(
            optuna.trial.create_trial(
                params=point,
                distributions=study.space.distributions(row["construction"]),
                values=values,
                user_attrs={WARM: row["key"], "from": source.name},
                constraints=excesses(study, [row]),
            )
        )
        count += 1
    return count
