"""One trial from the command line, without Ray, MLflow or Arrow.

Example: python -m basin --construction distilled --set t=0.2
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from basin.connectivity.paths import Point, barrier_matrix
from basin.constructions import constructions
from basin.data import datasets
from basin.errors import UsageError
from basin.files import write_atomically
from basin.models import models
from basin.place import Place, default_cache, settled
from basin.training import DivergedError
from basin.trial import Outcome, Trial, identify, overlay, run


def main(arguments: list[str] | None = None) -> int:
    """Run one trial and print its outcome as JSON; exit code 2 for what the user can mend, 1 if training diverges."""
    options = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            outcome = _run(options, Path(temporary))
    except UsageError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    except DivergedError as problem:
        print(f"error: {problem}; try a lower lr", file=sys.stderr)
        return 1
    text = json.dumps(as_json(outcome), indent=1)
    if options.out:
        write_atomically(options.out, text + "\n")
    else:
        print(text)
    return 0


def _run(options: argparse.Namespace, temporary: Path) -> Outcome:
    machine, changes = settled(options.set)
    place = Place(
        machine=machine,
        data=options.data,
        ood_data=options.ood_data,
        cache=options.cache,
        runs=options.runs or temporary,
        scratch=options.scratch,
    )
    trial = Trial(
        dataset=datasets.make(options.dataset),
        model=models.make(options.model),
        construction=constructions.make(options.construction),
    )
    trial = overlay(trial, changes)
    *_, outcome = run(identify(trial, place), place)
    assert isinstance(outcome, Outcome), "a trial ends with its outcome"
    return outcome


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as plain data, without the weights."""
    return {
        "key": outcome.trial.key,
        "trial": outcome.trial.flat(),
        "scores": outcome.measured.scores,
        "cost": outcome.cost,
        "machine": outcome.machine,
        "members": outcome.measured.members,
        "history": [asdict(progress) for progress in outcome.history],
        "barriers": barriers(outcome.measured.paths, len(outcome.measured.members)),
        "paths": [asdict(point) for point in outcome.measured.paths],
        "hull": [asdict(point) for point in outcome.measured.hull],
    }


def barriers(points: list[Point], members: int) -> dict[str, list[list[float]]]:
    """The matrix of all pairs' barriers, in accuracy points, by split and BatchNorm policy."""
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(f"{point.split}_{point.policy}", []).append(point)
    return {name: barrier_matrix(own, members).tolist() for name, own in found.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m basin", description="Run one trial and print its outcome as JSON.")
    parser.add_argument("--dataset", default="digits", help=", ".join(datasets))
    parser.add_argument("--model", default="resnet8", help=", ".join([*models, "torchvision:NAME"]))
    parser.add_argument("--construction", default="deep", help=", ".join(constructions))
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="as often as needed")
    parser.add_argument("--data", type=Path, help="folder or archive of the dataset")
    parser.add_argument("--ood-data", type=Path, help="the same for the dataset of ood=NAME")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder of decoded datasets")
    parser.add_argument("--runs", type=Path, help="folder that keeps trunks and teachers for other trials")
    parser.add_argument("--scratch", type=Path, help="folder of the checkpoint from which a cut-off trial goes on")
    parser.add_argument("--out", type=Path, help="write the outcome here instead of printing it")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
