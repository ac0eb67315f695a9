"""Imports point one way, and basin runs where only PyTorch is."""

import os
import subprocess
import sys
from pathlib import Path

EVERY_MODULE = """
import importlib, pkgutil, sys
import basin

modules = [module.name for module in pkgutil.walk_packages(basin.__path__, "basin.")]
for name in modules:
    if not name.endswith("__main__"):
        importlib.import_module(name)
assert len(modules) > 5, modules
others = {"ray", "optuna", "mlflow", "pyarrow", "pydantic", "beartype", "sweeps", "analysis", "cli", "launch"}
foreign = {name.partition(".")[0] for name in sys.modules} & others
assert not foreign, f"basin imports {sorted(foreign)}"
"""


def _run(*command: str, cwd: Path) -> None:
    # Ours only: what the caller's environment adds to the path or to the warnings is not under test.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_contracts_hold(root: Path) -> None:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    _run(sys.executable, "-c", program, "--no-cache", "--no-logo", cwd=root)


def test_basin_imports_no_orchestration(root: Path) -> None:
    _run(sys.executable, "-c", EVERY_MODULE, cwd=root)
