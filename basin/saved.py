"""Store a trained ensemble with everything needed to use it, and to measure it again without training.

A safetensors file. Its tensors are the vertices under the names of the network's weights, each with a leading axis over
the vertices, and likewise under `beside/` the networks that the ensemble is drawn with. Tensors under `soup/` are the
re-estimated BatchNorm statistics of the soup. Its notes are texts:

    ensemble_key   name of the networks: the hash of all that acts on their training
    recipe         JSON, all that acts on their training, as `SECTION.FIELD`: its hash is the ensemble_key
    inputs         JSON, what the networks take: image shape, mean and std for normalisation, names of the classes
    stages         JSON, folder of the stages that were used, and their steps by member
    versions       JSON, of this format and of torchvision; those of Python and PyTorch are in `machine`
    coords         JSON, M × K: members as affine combinations of the vertices
    edges          JSON, pairs of vertices that the construction claims to be connected
    anchors        JSON, the three networks that span the plane
    certificates   JSON, one object a member that was aligned
    history        JSON, one object a score while it grew, without its seconds
    growing        JSON, how the scores of the history were measured
    meter          JSON, passes and teachers' passes that were spent
    machine        JSON, what it was trained on
    seconds        JSON: of the trial, of its stages before it, at each score of the history
    checksum       CRC-32 over names, shapes, values and notes

Files of version 1 have no recipe, inputs, stages and versions: they can be measured again, and used as tensors with
`coords`. Files of still earlier versions hold the vertices and a `key`: they can be read as tensors only.
"""

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from basin import stack
from basin.alignment.certificate import Certificate
from basin.ensemble import Ensemble
from basin.journal import Progress, read_progress
from basin.keys import Contents
from basin.measure import Evaluation
from basin.spec import Value, acting_values
from basin.stack import Params
from basin.stages import read_tensors, serialize_tensors
from basin.strict_json import dump_json
from basin.training.objective import Meter

VERSION = 2
"""Version of the file format."""
BESIDE, SOUP = "beside/", "soup/"
AT_THE_END = frozenset(
    {"alphas", "policies", "hull_points", "train_images", "plane_points", "ood", "predictions", "outcome_nll"}
)
"""Fields of the evaluation that say nothing about the scores of a growing ensemble."""


@dataclass(frozen=True)
class Inputs:
    """Inputs and outputs of an ensemble's networks."""

    shape: tuple[int, int, int]
    """Channels, height, width."""
    mean: tuple[float, ...]
    """Mean of the training images per channel, pixel values scaled to 0 … 1."""
    std: tuple[float, ...]
    """Standard deviation likewise."""
    classes: int
    class_names: tuple[str, ...]
    """Their names: the place in the list is the label."""


@dataclass(frozen=True)
class Origin:
    """Origin of an ensemble."""

    recipe: Contents
    """All that acts on its training."""
    inputs: Inputs
    stages: str
    """Folder of the stages that it was built from, in the folder `runs` of a storage."""
    steps: Mapping[int, int]
    """Member → step of its stage."""
    torchvision: str = field(default_factory=lambda: importlib.metadata.version("torchvision"))
    """Version of torchvision, which defines some of the models."""


@dataclass(frozen=True)
class Saved:
    """A finished ensemble and the cost of its training."""

    ensemble: Ensemble
    history: list[Progress]
    growing: dict[str, Value]
    """Evaluation settings under which the scores of the history were measured."""
    meter: Meter
    seconds: float
    stage_seconds: float | None
    machine: dict[str, Value]
    origin: Origin | None = None
    """None for files of version 1."""
    soup: Params = field(default_factory=dict)
    """Re-estimated BatchNorm statistics of the soup."""

    def serves(self, evaluation: Evaluation) -> bool:
        """Return True if a trial with this evaluation would have the same history."""
        return self.growing == growing_settings(evaluation)

    def on(self, device: torch.device) -> "Saved":
        """A copy with its networks on a device."""
        ensemble, others = self.ensemble, self.ensemble.companions
        vertices, others = stack.to_device(ensemble.vertices, device), others and stack.to_device(others, device)
        return replace(self, ensemble=replace(ensemble, vertices=vertices, companions=others))


def growing_settings(evaluation: Evaluation) -> dict[str, Value]:
    """Evaluation settings on which scores of a growing ensemble depend."""
    return {name: value for name, value in acting_values(evaluation).items() if name not in AT_THE_END}


def ensemble_file(saved: Saved, ensemble_key: str) -> bytes:
    """Bytes of an ensemble's file; apart from wall times, equal trainings give equal files."""
    ensemble = saved.ensemble
    others = {f"{BESIDE}{name}": tensor for name, tensor in (ensemble.companions or {}).items()}
    others |= {f"{SOUP}{name}": tensor for name, tensor in saved.soup.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in {**ensemble.vertices, **others}.items()}
    texts = {name: dump_json(value, keep=True, sort_keys=True) for name, value in saved_notes(saved).items()}
    return serialize_tensors(tensors, {**texts, "ensemble_key": ensemble_key})


def saved_notes(saved: Saved) -> dict[str, Any]:
    """All of an ensemble's file that is no tensor, as JSON data."""
    ensemble, history = saved.ensemble, [asdict(row) for row in saved.history]
    times = {"trial": saved.seconds, "stages": saved.stage_seconds, "history": [row.pop("seconds") for row in history]}
    return {
        "coords": ensemble.coords.tolist(),
        "edges": ensemble.edges,
        "anchors": ensemble.anchors,
        "certificates": [asdict(proof) for proof in ensemble.certificates],
        "history": history,
        "growing": saved.growing,
        "meter": asdict(saved.meter),
        "machine": saved.machine,
        "seconds": times,
        **(_origin_notes(saved.origin) if saved.origin else {}),
    }


def _origin_notes(origin: Origin) -> dict[str, object]:
    return {
        "recipe": origin.recipe,
        "inputs": asdict(origin.inputs),
        "stages": {"folder": origin.stages, "steps": {str(member): step for member, step in origin.steps.items()}},
        "versions": {"format": VERSION, "torchvision": origin.torchvision},
    }


def load_ensemble(path: Path, ensemble_key: str) -> Saved | None:
    """Load an ensemble to the CPU; None if the file is missing, damaged, of another key, or of an earlier version."""
    stored = read_tensors(path)
    if stored is None or stored[1].get("ensemble_key") != ensemble_key:
        return None
    notes = {name: json.loads(text) for name, text in stored[1].items() if name != "ensemble_key"}
    return read_saved(stored[0], notes)


def read_saved(tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> Saved:
    """The ensemble of these tensors and notes (`saved_notes`)."""
    seconds = notes["seconds"]
    reports = zip(notes["history"], seconds["history"], strict=True)
    history = [read_progress({**row, "seconds": at}) for row, at in reports]
    return Saved(
        _read_ensemble(tensors, notes),
        history,
        notes["growing"],
        Meter(**notes["meter"]),
        seconds["trial"],
        seconds["stages"],
        notes["machine"],
        _read_origin(notes) if "recipe" in notes else None,
        _tensors_below(SOUP, tensors),
    )


def _read_origin(notes: Mapping[str, Any]) -> Origin:
    known, stages = notes["inputs"], notes["stages"]
    channels, height, width = known["shape"]
    mean, std, names = (tuple(known[name]) for name in ("mean", "std", "class_names"))
    inputs = Inputs((channels, height, width), mean, std, known["classes"], names)
    steps = {int(member): step for member, step in stages["steps"].items()}
    return Origin(notes["recipe"], inputs, stages["folder"], steps, notes["versions"]["torchvision"])


def _tensors_below(prefix: str, tensors: Mapping[str, Tensor]) -> Params:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _read_ensemble(tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> Ensemble:
    first, second, third = notes["anchors"]
    return Ensemble(
        {name: tensor for name, tensor in tensors.items() if not name.startswith((BESIDE, SOUP))},
        torch.tensor(notes["coords"], dtype=torch.float64),
        tuple((i, j) for i, j in notes["edges"]),
        (first, second, third),
        tuple(Certificate(**proof) for proof in notes["certificates"]),
        _tensors_below(BESIDE, tensors) or None,
    )
