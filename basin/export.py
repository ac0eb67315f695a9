"""Export a trained ensemble, or its soup, for programs without this project: from uint8 images to probabilities.

Every export takes images [N, C, H, W] with grey levels 0 … 255 in batches of any size, and normalises them itself.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from torch.export import Dim

from basin.errors import UsageError
from basin.files import write_atomically
from basin.loaded import LoadedEnsemble
from basin.model_card import write_card
from basin.predictor import Predictor
from basin.saved import Inputs
from stats.intervals import Estimate

BATCH = {"images": {0: Dim("batch")}}
"""The dimension of any size."""


def export_program(ensemble: LoadedEnsemble, path: Path, *, soup: bool = False) -> None:
    """Write a `torch.export` program; `torch.export.load(path).module()` needs PyTorch alone."""
    write_atomically(path, _program_bytes(ensemble.predictor(soup=soup), ensemble.inputs))


def export_onnx(ensemble: LoadedEnsemble, path: Path, *, soup: bool = False) -> None:
    """Write an ONNX model with the input `images` and the output `probabilities`.

    Raises UsageError without the packages of the extra `export`.
    """
    try:
        import onnxscript  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError("--format onnx needs onnx and onnxscript: install the extra `export`") from None
    exported = torch.onnx.export(
        ensemble.predictor(soup=soup),
        (example_images(ensemble.inputs),),
        dynamo=True,
        dynamic_shapes=BATCH,
        input_names=["images"],
        output_names=["probabilities"],
        verbose=False,
    )
    assert exported is not None
    write_atomically(path, exported.model_proto.SerializeToString())


def export_folder(
    ensemble: LoadedEnsemble, folder: Path, numbers: Mapping[str, Estimate], *, soup: bool = False
) -> None:
    """Write weights (safetensors), program, recipe (JSON) and a model card with these numbers into a folder."""
    predictor = ensemble.predictor(soup=soup)
    write_atomically(folder / "model.safetensors", safetensors.torch.save(_plain_weights(predictor)))
    write_atomically(folder / "program.pt2", _program_bytes(predictor, ensemble.inputs))
    write_atomically(folder / "config.json", json.dumps(_describe(ensemble), indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "README.md", write_card(ensemble, numbers, soup=soup))


def example_images(inputs: Inputs) -> Tensor:
    """Two images of the mean colour of the training images, uint8 [2, C, H, W]."""
    colour = (255 * torch.tensor(inputs.mean)).round().to(torch.uint8)
    return colour[None, :, None, None].expand(2, *inputs.shape).contiguous()


def _program_bytes(predictor: Predictor, inputs: Inputs) -> bytes:
    buffer = io.BytesIO()
    with torch.no_grad():
        program = torch.export.export(predictor, (example_images(inputs),), dynamic_shapes=BATCH)
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _plain_weights(predictor: Predictor) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in predictor.state_dict().items()}


def _describe(ensemble: LoadedEnsemble) -> dict[str, object]:
    inputs = ensemble.inputs
    return {
        "recipe": ensemble.origin.recipe,
        "shape": inputs.shape,
        "mean": inputs.mean,
        "std": inputs.std,
        "class_names": inputs.class_names,
    }
