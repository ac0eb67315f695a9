"""An environment in which packages cannot be imported, as on a machine that lacks them."""

from collections.abc import Sequence
from pathlib import Path

from tests.support.tiny_sweep import environment

ORCHESTRATION = ("ray", "mlflow", "optuna", "pyarrow")
PROGRAM = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages}:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def blocked_environment(folder: Path, packages: Sequence[str] = ORCHESTRATION) -> dict[str, str]:
    """The environment of a process in which these packages cannot be imported; writes into the folder."""
    (folder / "sitecustomize.py").write_text(PROGRAM.format(packages=set(packages)))
    return environment() | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
