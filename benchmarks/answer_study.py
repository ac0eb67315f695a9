"""The study of the benchmark `answer`: its recipe, and the rows that each side reports."""

import json
import multiprocessing
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

from basin.constructions import constructions
from basin.data import DataSplit, datasets
from basin.measure import Evaluation
from basin.models import models
from basin.spec import Bounds, Checked
from basin.training.loop import Training
from basin.training.network import Precision
from basin.trial import Trial, overlay

CONSTRUCTIONS = ("deep", "constrained", "distilled", "swe", "permuted")
SCORES = ("accuracy", "member_mean_accuracy", "soup_accuracy", "barrier_reset")
"""Test scores that both sides report."""
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """Size of the study; the recipe is the same on both sides."""

    model: str = "resnet8"
    width: Annotated[float, Bounds(0.125, 64)] = 1.0
    """Multiplier of the channels."""
    members: Annotated[int, Bounds(2)] = 3
    """Networks of each ensemble, K."""
    seeds: Annotated[int, Bounds(2)] = 3
    """Seeds of each construction."""
    train_size: Annotated[int | None, Bounds(10)] = None
    """Training images (none: 1500, of digits 300)."""
    held: Annotated[int | None, Bounds(10)] = None
    """Validation images, and test images (none: 1000, of digits 400)."""
    epochs: Annotated[int, Bounds(1)] = 6
    """Epochs of each member."""
    batch_size: Annotated[int, Bounds(1)] = 100
    """Images of one network's batch."""
    lr: Annotated[float, Bounds(0)] = 0.2
    """Peak learning rate."""
    precision: Precision = "bfloat16"
    """Arithmetic of the system's training and paths; the script is float32."""
    alphas: Annotated[int, Bounds(3)] = 11
    """Points of each path."""
    hull_points: Annotated[int, Bounds(0)] = 8
    """Random points of the hull, in addition to the centroid."""
    bn_images: Annotated[int, Bounds(1)] = 256
    """Training images that BatchNorm statistics are estimated from."""
    path_images: Annotated[int, Bounds(1)] = 256
    """Images of each split that mixed networks are scored on."""
    system: Literal["auto", "sweep", "trials"] = "auto"
    """How the system runs the study: a sweep, or its trials and stages in processes of their own where Ray is not
    installed (auto: a sweep if Ray is)."""
    workers: Annotated[int | None, Bounds(1)] = None
    """Trials that run at once (none: one a core, on a GPU one)."""


def base_trial(settings: Settings, data: Path | None) -> Trial:
    """The deep ensemble; the other trials have its recipe."""
    photographs = data is not None
    held = settings.held or (1000 if photographs else 400)
    return Trial(
        dataset=datasets.make("imagefolder", resolution=32) if photographs else datasets.make("digits"),
        model=models.make(settings.model, width=settings.width),
        construction=constructions.make("deep", members=settings.members),
        split=DataSplit(
            train_size=settings.train_size or (1500 if photographs else 300),
            val_size=held,
            test_size=held,
            augment="crop+flip",
        ),
        training=Training(
            epochs=settings.epochs, batch_size=settings.batch_size, lr=settings.lr, precision=settings.precision
        ),
        evaluation=Evaluation(
            alphas=settings.alphas,
            hull_points=settings.hull_points,
            policies="reset",
            bn_images=settings.bn_images,
            path_images=settings.path_images,
            path_precision=settings.precision,
            progress_every=1000,
        ),
    )


def planned_trials(base: Trial, seeds: int) -> list[Trial]:
    """Every construction on every seed."""
    return [overlay(base, {"construction": name, "seed": seed}) for seed in range(seeds) for name in CONSTRUCTIONS]


def construction_name(trial: Trial) -> str:
    """The registered name of a trial's construction."""
    return constructions.name(trial.construction)


def script_passes(base: Trial, seeds: int, images: int) -> int:
    """Passes of the script: every trial trains all that it needs, its teachers too."""
    steps = base.training.steps(images)
    total = 0
    for trial in planned_trials(base, seeds):
        total += trial.construction.spends(steps).passes
        if construction_name(trial) == "distilled":
            total += trial.construction.members * steps  # its teachers
    return total


def system_passes(base: Trial, seeds: int, images: int) -> int:
    """Passes of the system: every stage of a seed once, and what the trials train themselves."""
    steps, total = base.training.steps(images), 0
    stages: dict[tuple[int, int], int] = {}
    for trial in planned_trials(base, seeds):
        total += trial.construction.spends(steps).trained
        for member, step in trial.construction.needs(steps).items():
            stages[trial.seed, member] = max(step, stages.get((trial.seed, member), 0))
    return total + sum(stages.values())


@dataclass(frozen=True)
class Errand:
    """What the process of one side is started with."""

    settings: Settings
    data: Path | None
    device: Literal["cpu", "cuda"]
    threads: int
    """Threads of the script; a trial of the system has one."""
    folder: Path
    """Folder for the side's files."""
    began: float
    """Unix time at which the process was started."""

    def as_json(self) -> str:
        """One argument of a command line."""
        return json.dumps(asdict(self), default=str, allow_nan=False)


def read_errand() -> Errand:
    """The errand in this process's only argument."""
    (_, text) = sys.argv
    values = json.loads(text)
    data = Path(values["data"]) if values["data"] else None
    settings = Settings(**values["settings"])
    return Errand(settings, data, values["device"], values["threads"], Path(values["folder"]), values["began"])


def end_on_sigterm() -> None:
    """Leave Ctrl-C to the benchmark, which ends this process by SIGTERM; then its own processes end too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_all)


def _end_all(number: int, frame: FrameType | None) -> None:
    for process in multiprocessing.active_children():
        process.terminate()
    raise SystemExit(128 + number)


def report_row(row: Row) -> None:
    """Hand a row to the benchmark."""
    print(json.dumps(row, allow_nan=False), flush=True)


def parse_rows(lines: Iterator[str]) -> Iterator[Row]:
    """The rows among the lines that a side's process prints."""
    for line in lines:
        if line.startswith("{"):
            yield json.loads(line)
