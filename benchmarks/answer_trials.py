"""The study by this system without Ray: its stages and trials, in processes that share the stages.

For machines that have neither Ray nor MLflow nor Optuna. Run by `python -m benchmarks answer`.
"""

import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from basin.environment import Machine, Place
from basin.trial import Trial, open_task, run
from basin.work import Done, Pool, Work, plan_work
from benchmarks.answer_study import (
    SCORES,
    Errand,
    Row,
    base_trial,
    construction_name,
    end_on_sigterm,
    planned_trials,
    read_errand,
    report_row,
)


def make_place(errand: Errand) -> Place:
    """One thread for each trial."""
    return Place(machine=Machine(device=errand.device), data=errand.data, runs=errand.folder / "runs")


def stage_seconds(trials: Iterable[Trial], place: Place) -> float:
    """Wall seconds that training the stages of these trials took, each once."""
    total = 0.0
    for trial in trials:
        if construction_name(trial) == "deep":  # its stages are those of every other one
            stages = open_task(trial, place).stages
            total += stages.seconds(trial.construction.needs(stages.steps)) or 0.0
    return total


def split_seconds(trial: Trial, steps: int, seconds: float, grown: float) -> dict[str, float]:
    """Seconds of a trial that took `grown` until its ensemble was trained and scored on validation."""
    trained = trial.construction.spends(steps).trained > 0
    return {
        "training": grown if trained else 0.0,
        "matching": 0.0 if trained else grown,
        "measuring": seconds - grown,
    }


def run_trial(work: Work, place: Place) -> Row:
    """Run a trial whose stages are stored."""
    trial = work.trial
    outcome = run(trial, place)
    steps = trial.training.steps(outcome.epoch * outcome.batch)
    return {
        "construction": construction_name(trial),
        "seed": trial.seed,
        **split_seconds(trial, steps, outcome.seconds, outcome.history[-1].seconds),
        **{f"test_{name}": outcome.measured.scores[f"test_{name}"] for name in SCORES},
    }


def report_work(done: Done) -> None:
    """Hand a finished stage or trial to the benchmark; raises RuntimeError if it failed."""
    if done.error:
        raise RuntimeError(done.error)
    report_row(done.result or {"done": "stage"})


def run_study(errand: Errand, workers: int) -> None:
    """Run the trials and the stages that they share, so many at once."""
    place, settings = make_place(errand), errand.settings
    trials = planned_trials(base_trial(settings, errand.data), settings.seeds)
    report_row({"phase": "launch", "seconds": time.time() - errand.began})
    # The longest first, so that no worker waits for the other at the end.
    by_length = sorted(trials, key=lambda trial: -trial.construction.spends(100).trained)
    Pool(place, partial(run_trial, place=place), workers).run(plan_work(by_length, place), report_work)
    deep = [trial for trial in trials if construction_name(trial) == "deep"]
    report_row({"stages": stage_seconds(deep, replace(place, machine=Machine(device="cpu")))})


if __name__ == "__main__":
    end_on_sigterm()
    given = read_errand()
    run_study(given, given.settings.workers or 1)
