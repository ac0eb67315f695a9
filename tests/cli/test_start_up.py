"""Commands that only look start without the packages that train, in a process of their own."""

import json

import pytest

from sweeps.storage.store import Store
from tests.support.tiny_sweep import python, works

PROGRAM = """
import json, sys
from cli.app import main

sys.argv = sys.argv[1:]
try:
    main()
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""
TRAINING = {"torch", "torchvision", "ray", "optuna", "mlflow"}
TABLES = {"pyarrow", "pandas", "matplotlib", "sklearn"}
NUMBERS = {"numpy", "scipy", "sqlalchemy"}


def imported(*arguments: str) -> set[str]:
    """Top-level packages in a process after a command of `launch.py`."""
    done = python("-c", PROGRAM, "launch.py", *arguments)
    works(done)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("command", ["--help", "sweep -h", "studies", "gc -h"])
def test_help_and_studies_need_no_numbers(command: str) -> None:
    packages = imported(*command.split())
    assert {"cli", "sweeps", "typer"} <= packages
    assert not packages & (TRAINING | TABLES | NUMBERS)


def test_the_status_needs_no_numbers(finished: Store) -> None:
    packages = imported("status", "quickstart", "--storage", str(finished.folder.parent))
    assert not packages & (TRAINING | TABLES | NUMBERS)


def test_a_trial_is_shown_without_training_and_tracking(kept: Store) -> None:
    packages = imported("show", kept.keys()[0], "--storage", str(kept.folder.parent))
    assert "pyarrow" in packages
    assert not packages & (TRAINING | {"pandas", "matplotlib", "sklearn", "scipy", "sqlalchemy"})


@pytest.mark.parametrize("command", ["best", "best --at-least accuracy=0 --at-most nll=9 --y ece", "ui"])
def test_what_mlflow_s_database_tells_needs_no_training(command: str, finished: Store) -> None:
    name, *options = command.split()
    packages = imported(name, "quickstart", *options, "--storage", str(finished.folder.parent))
    assert "sqlalchemy" in packages
    assert not packages & (TRAINING | TABLES)


def test_the_doctor_starts_before_what_it_checks() -> None:
    loaded = set(works(python("-c", "import sys, cli.doctor; print(*sys.modules)")).split())
    assert "cli.doctor" in loaded
    assert not loaded & (TRAINING | TABLES)
