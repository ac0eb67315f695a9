"""Export a trained ensemble as an MLflow model from code, and register it."""

import importlib.metadata
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from basin.errors import UsageError
from basin.export import example_images, export_program
from basin.loaded import LoadedEnsemble
from sweeps.storage.address import show_address
from sweeps.tracking.connection import connect_client
from sweeps.tracking.reader import may_have_sweep

CODE = Path(__file__).with_name("served_model.py")
"""The model's code, which MLflow copies."""
REQUIREMENTS = ("mlflow", "numpy", "torch")
"""All packages that the model needs."""


def save_model(ensemble: LoadedEnsemble, folder: Path, *, soup: bool = False) -> None:
    """Write the model into a new folder; `mlflow.pyfunc.load_model` reads it without this project."""
    import mlflow

    with _model_arguments(ensemble, soup) as arguments:
        mlflow.pyfunc.save_model(folder, **arguments)


def register_model(ensemble: LoadedEnsemble, name: str, uri: str, *, soup: bool = False) -> str:
    """Log the model to the experiment of its sweep and register it; return its version.

    Raises UsageError for a tracking store that does not answer, and for one without the sweep, and creates none.
    """
    sweep = str(ensemble.row["sweep"])
    experiment = connect_client(uri).get_experiment_by_name(sweep) if may_have_sweep(uri, sweep) else None
    if experiment is None:
        raise UsageError(
            f"{show_address(uri)} has no experiment {sweep!r}: run `launch.py sync {sweep}` with the same --storage "
            "and --tracking-uri to log it"
        )
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.set_experiment(experiment_id=experiment.experiment_id)
    with _model_arguments(ensemble, soup) as arguments:
        info = mlflow.pyfunc.log_model(name="soup" if soup else "ensemble", registered_model_name=name, **arguments)
    return str(info.registered_model_version)


@contextmanager
def _model_arguments(ensemble: LoadedEnsemble, soup: bool) -> Iterator[dict[str, Any]]:
    """Arguments of `save_model` and `log_model`; their files exist inside the context."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    inputs, row = ensemble.inputs, ensemble.row
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype("uint8"), (-1, *inputs.shape))]),
        Schema([TensorSpec(np.dtype("float32"), (-1, inputs.classes))]),
    )
    logging.getLogger("mlflow").setLevel(logging.ERROR)  # it reports each step
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"  # it would store this project's requirements with the model
    with tempfile.TemporaryDirectory() as temporary:
        program, code = Path(temporary, "program.pt2"), Path(temporary, CODE.name)
        shutil.copy(CODE, code)  # MLflow records the path
        export_program(ensemble, program, soup=soup)
        yield {
            "python_model": str(code),
            "artifacts": {"program": str(program)},
            "signature": signature,
            "input_example": example_images(inputs).numpy(),
            "pip_requirements": [f"{package}=={importlib.metadata.version(package)}" for package in REQUIREMENTS],
            "metadata": {"key": row["key"], "sweep": row.get("sweep"), "classes": list(inputs.class_names)},
        }
