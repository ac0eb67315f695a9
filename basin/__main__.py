"""`python -m basin`: run one trial from the command line, without Ray, MLflow or Arrow.

Example: python -m basin --construction distilled --set t=0.2
"""

import argparse
import sys
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from basin.command_line import Parser, run_guarded, say
from basin.connectivity.paths import PathPoint, barrier_matrix
from basin.constructions import constructions
from basin.costs import trial_costs
from basin.data import datasets
from basin.environment import parse_settings
from basin.errors import UsageError
from basin.files import write_atomically
from basin.models import models
from basin.plugins import import_plugins
from basin.shared_options import add_shared_options, place_of
from basin.strict_json import dump_json
from basin.system_errors import describe_error, storage_errors_reported
from basin.training.loop import DivergedError
from basin.trial import Outcome, identify_data, overlay, run, trial_of_names


def main(arguments: list[str] | None = None) -> int:
    """Run one trial and print its outcome as JSON, or the trials of a campaign.

    Exit codes are those of `basin.command_line`, 1 for a trial that diverged, or failed in a campaign.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["campaign"]:
        from basin.campaign import run_campaign

        return run_guarded(partial(run_campaign, given[1:]))
    return run_guarded(partial(_run_command, given))


def _run_command(arguments: list[str]) -> int:
    options = _build_parser().parse_args(arguments)
    import_plugins(options.plugins)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        runs = options.runs or Path(temporary)
        try:
            with storage_errors_reported(runs):
                outcome = _run_from_options(options, runs)
        except DivergedError as problem:
            say(f"error: {problem}; try a lower lr")
            return 1
        except OSError as problem:  # no such folder, not a folder, …
            raise UsageError(describe_error(problem.errno, problem.filename or runs)) from problem
    text = dump_json(as_json(outcome), indent=1)
    if options.out:
        write_atomically(options.out, text + "\n")
    else:
        print(text)
    return 0


def _run_from_options(options: argparse.Namespace, runs: Path) -> Outcome:
    machine, changes = parse_settings(options.set)
    place = place_of(options, machine, runs, options.scratch)
    trial = overlay(trial_of_names(vars(options)), changes)
    return run(identify_data(trial, place), place)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON data, without the weights."""
    return {
        "key": outcome.trial.key,
        "trial": outcome.trial.flat(),
        "scores": outcome.measured.scores,
        "cost": trial_costs(outcome),
        "machine": outcome.machine,
        "members": outcome.measured.members,
        "history": [asdict(progress) for progress in outcome.history],
        "barriers": barriers(outcome.measured.paths, len(outcome.measured.members)),
        "paths": [asdict(point) for point in outcome.measured.paths],
        "hull": [asdict(point) for point in outcome.measured.hull],
    }


def barriers(points: list[PathPoint], members: int) -> dict[str, list[list[float]]]:
    """The matrix of all pairs' barriers, in accuracy points, by split and BatchNorm policy."""
    curves: dict[str, list[PathPoint]] = {}
    for point in points:
        curves.setdefault(f"{point.split}_{point.policy}", []).append(point)
    return {name: barrier_matrix(curve, members).tolist() for name, curve in curves.items()}


def _build_parser() -> Parser:
    parser = Parser(
        "python -m basin",
        description="Run one trial and print its outcome as JSON.",
        epilog="`python -m basin campaign FILE` runs many trials: see `python -m basin campaign --help`.",
    )
    parser.add_argument("--dataset", default="digits", help=", ".join(datasets))
    parser.add_argument("--model", default="resnet8", help=", ".join([*models, "torchvision:NAME"]))
    parser.add_argument("--construction", default="deep", help=", ".join(constructions))
    add_shared_options(parser, "override a field, e.g. epochs=20")
    parser.add_argument("--runs", type=Path, help="folder of stages (trunks, teachers) shared with other trials")
    parser.add_argument("--scratch", type=Path, help="checkpoint folder; an interrupted trial continues from it")
    parser.add_argument("--out", type=Path, help="write the outcome here instead of printing it")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
