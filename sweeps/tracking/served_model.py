"""Code of an exported MLflow model. MLflow copies this file into the model, so it imports nothing of this project."""

from typing import Any

import mlflow
import numpy as np
import torch

BATCH = 256
"""Images that are predicted at once."""


class ExportedEnsemble(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Class probabilities, float32 [N, classes], of uint8 images [N, C, H, W]."""

    _skip_type_hint_validation = True  # MLflow has no hint for tensors: the model's signature describes them

    def load_context(self, context: Any) -> None:
        """Load the program that is stored beside this file."""
        self._program = torch.export.load(context.artifacts["program"]).module()

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Predict in batches."""
        images = torch.from_numpy(np.ascontiguousarray(model_input, dtype=np.uint8))
        with torch.no_grad():
            parts = [self._program(part) for part in images.split(BATCH)]
        return torch.cat(parts).numpy()


mlflow.models.set_model(ExportedEnsemble())
