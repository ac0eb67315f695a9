"""Choose the embedded task: deep against connected ensembles on candidate tasks, validation only.

The rule, written down before any test image, but after validation scores of three seeds, had been looked at: of the
tasks whose constrained trial takes at most `share` times the processor time of the fastest one, the quickstart takes
the one with the largest |difference| / half width. The difference is the validation accuracy of the deep minus that of
the constrained ensemble, paired by seed; the half width is that of its 95 % Student-t interval. The limit was 10
seconds until a slower machine took longer for every task; the ratio replaced it before the rule was first applied.
"""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

from basin.constructions import constructions
from basin.data import datasets
from basin.environment import Machine, Place
from basin.models import models
from basin.spec import Bounds, Checked
from basin.trial import Trial, overlay
from basin.trial import run as run_trial
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.progress import paced, tell_result
from benchmarks.report import Report

VIT = {"model": "vit", "patch": 2, "dim": 32, "blocks": 2, "heads": 2, "optimizer": "adamw", "weight_decay": 0.05}
TASKS: dict[str, Mapping[str, object]] = {
    "ResNet8 ×0.5, 300 images": {"width": 0.5, "train_size": 300, "epochs": 30, "batch_size": 50},
    "ResNet8 ×0.5, 200 images": {"width": 0.5, "train_size": 200, "epochs": 40, "batch_size": 50},
    "ResNet8 ×0.5, 100 images": {"width": 0.5, "train_size": 100, "epochs": 60, "batch_size": 25},
    "ViT, 300 images": {**VIT, "lr": 1e-3, "train_size": 300, "epochs": 30, "batch_size": 50},
    "ViT, 300 images, longer": {**VIT, "lr": 3e-3, "train_size": 300, "epochs": 60, "batch_size": 50},
}
"""Candidates, all on scikit-learn's digits."""
EVALUATION = {"policies": "reset", "alphas": 7, "progress_every": 1000}
"""Evaluation settings of a trial, as in the quickstart."""
COMPARED = ("deep", "constrained", "distilled", "swe")


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """Number of seeds, and the budget of a trial."""

    seeds: Annotated[int, Bounds(2)] = 5
    """Seeds of each ensemble, from 100 on."""
    share: Annotated[float, Bounds(1)] = 1.25
    """Processor time of a task's median constrained trial, in that of the fastest task."""


def run(options: Options) -> Report:
    """Validation accuracy of each construction and task, the difference deep − constrained, and the task chosen."""
    settings = options.settle(Settings())
    numbers: dict[str, float] = {}
    ratios: dict[str, float] = {}
    costs: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for task in paced(TASKS, "tasks"):
            scores, seconds = _measure_constructions(TASKS[task], settings.seeds, Path(folder))
            tell_result(f"{task}: a constrained trial", f"{seconds:.1f} s")
            numbers |= {f"{task}: {name}, validation accuracy (%)": float(scores[name].mean()) for name in COMPARED}
            difference, half = _paired_interval(scores["deep"] - scores["constrained"])
            tell_result(f"{task}: deep − constrained (points)", f"{difference:.2f} ± {half:.2f}")
            numbers |= {f"{task}: deep − constrained (points)": difference, f"{task}: ± (95 % t)": half}
            numbers[f"{task}: seconds of a constrained trial"] = costs[task] = seconds
            ratios[task] = abs(difference) / half
    affordable = [task for task in TASKS if costs[task] <= settings.share * min(costs.values())]
    chosen = max(affordable, key=lambda task: ratios[task])
    for task, ratio in ratios.items():
        outcome = "chosen" if task == chosen else "affordable" if task in affordable else "too slow"
        numbers[f"{task}: |difference| / half width ({outcome})"] = ratio
    return Report("embedded-task", describe_machine(options.device), (), numbers)


def _measure_constructions(
    changes: Mapping[str, object], seeds: int, runs: Path
) -> tuple[dict[str, np.ndarray], float]:
    """Validation accuracies [seeds] of each construction, and the median constrained trial in processor seconds."""
    base = Trial(dataset=datasets.make("digits"), model=models.make("resnet8"), construction=constructions.make("deep"))
    place = Place(machine=Machine(device="cpu"), runs=runs)
    scores: dict[str, list[float]] = {name: [] for name in COMPARED}
    seconds = []
    for seed in range(100, 100 + seeds):
        for name in COMPARED:
            began = time.process_time()
            trial = overlay(base, {**changes, **EVALUATION, "construction": name, "seed": seed})
            outcome = run_trial(trial, place)
            scores[name].append(outcome.measured.scores["val_accuracy"])
            if name == "constrained":
                seconds.append(time.process_time() - began)
    return {name: np.array(values) for name, values in scores.items()}, float(np.median(seconds))


def _paired_interval(differences: np.ndarray) -> tuple[float, float]:
    count = len(differences)
    half = stdtrit(count - 1, 0.975) * differences.std(ddof=1) / np.sqrt(count)
    return float(differences.mean()), float(half)
