"""The study by this system as a sweep: Ray, shared stages, result tables and MLflow. Run by `benchmarks answer`."""

import time
import warnings
from dataclasses import dataclass

from benchmarks.answer_study import (
    CONSTRUCTIONS,
    SCORES,
    Errand,
    base_trial,
    construction_name,
    planned_trials,
    read_errand,
    report_row,
)
from benchmarks.answer_trials import make_place, split_seconds, stage_seconds
from sweeps.execution.options import Options
from sweeps.status import Status
from sweeps.storage.store import Row, Store
from sweeps.study.space import Space
from sweeps.study.study import Study
from sweeps.sweep import sweep


@dataclass
class Watch:
    """A display that reports phases and finished trials."""

    began: float
    """Unix time of the launch."""
    begun: bool = False
    """True if a trial has begun."""

    def show(self, event: str, status: Status, result: Row | None = None, words: str = "") -> None:
        """Report an event."""
        if event == "phase":
            report_row({"phase": status.phase, "total": status.total, "seconds": time.time() - self.began})
        elif event == "part" and status.phase == "stages":
            report_row({"done": "stage"})
        elif event == "begin" and not self.begun:
            self.begun = True
            report_row({"phase": "first trial", "seconds": time.time() - self.began})
        elif event == "trial" and result:
            report_row({"done": f"{result['construction']}, seed {result['seed']}"})


def run_study(errand: Errand) -> None:
    """Run the sweep; then a row for each trial from its tables."""
    warnings.simplefilter("ignore")  # of Ray's and MLflow's dependencies
    settings, base = errand.settings, base_trial(errand.settings, errand.data)
    grid = tuple({"construction": name} for name in CONSTRUCTIONS)
    study = Study(base=base, space=Space(CONSTRUCTIONS, ()), grid=grid, references=(), seeds=settings.seeds)
    place = make_place(errand)
    options = Options(
        name="answer",
        storage=errand.folder,
        data=errand.data,
        machine=place.machine,
        concurrency=settings.workers,
        gpus_per_trial=1 / (settings.workers or 1) if errand.device == "cuda" else 0,
    )
    report = sweep(study, options, Watch(errand.began))
    report_row({"phase": "end", "seconds": time.time() - errand.began})
    if report.errors:
        raise RuntimeError(report.errors[0])
    rows = report.store.rows()
    by_name = {(row["construction"], row["seed"]): row for row in rows}
    trials = planned_trials(base, settings.seeds)
    for trial in trials:
        row = by_name[construction_name(trial), trial.seed]
        grown = _grown_seconds(report.store, row["key"])
        steps = trial.training.steps(base.split.train_size or 0)
        report_row(
            {
                "construction": row["construction"],
                "seed": row["seed"],
                **split_seconds(trial, steps, row["seconds"], grown),
                **{f"test_{name}": row[f"test_{name}"] for name in SCORES},
            }
        )
    report_row({"stages": stage_seconds(trials, place)})


def _grown_seconds(store: Store, key: str) -> float:
    """Seconds until the last score on validation while growing."""
    return float(max(store.table("history", key).column("seconds").to_pylist()))


if __name__ == "__main__":
    run_study(read_errand())
