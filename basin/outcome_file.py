"""Store what a trial measured in one file, without its networks, so that its tables can be written on another machine.

A safetensors file. Its notes are JSON: the trial's key and status, when it ended, the provenance of its process, the
work of this launch, the notes of `basin.saved`, and all measurements but these tensors:

    outcomes/N/FIELD           results by image of the N-th network or ensemble, in half precision as in the table
    predictions/SPLIT/FIELD    log-probabilities in half precision, and labels
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from basin.connectivity.hull import HullPoint
from basin.connectivity.paths import PathPoint
from basin.connectivity.plane import PlanePoint
from basin.files import write_atomically
from basin.measure import Measured, Predictions
from basin.metrics.calibration import Bin
from basin.results import ImageResults, Size
from basin.saved import read_saved, saved_notes
from basin.stages import read_notes, read_tensors, serialize_tensors
from basin.strict_json import dump_json
from basin.trial import Outcome, Trial

MOST = float(np.finfo(np.float16).max)
"""Larger losses are stored as this."""
BY_IMAGE = ("correct", "share", "nll", "calibrated_nll")
"""Fields of `ImageResults` that are arrays over images."""
NOT_FINITE = ("inf", "-inf", "nan")


@dataclass(frozen=True)
class Ended:
    """How a trial ended, without its measurements."""

    key: str
    status: str
    """done or diverged."""
    finished_at: datetime
    facts: dict[str, str]
    """Provenance of its process."""
    seconds: float
    """Wall time of its last launch."""
    passes: int
    """Passes that it trains beside its stages."""


def round_to_half(values: ArrayLike) -> NDArray[np.float16]:
    """Round to half precision; losses too large for it become its largest number."""
    return np.minimum(np.asarray(values, dtype=np.float64), MOST).astype(np.float16)


def write_outcome(path: Path, trial: Trial, outcome: Outcome | None, **ending: Any) -> None:
    """Write a finished trial, or one that diverged (no outcome), atomically.

    `ending` has `facts`, `seconds` and `passes` of `Ended`.
    """
    ended = {"key": trial.key, "finished_at": datetime.now(UTC).isoformat(), "launch": ending}
    notes: dict[str, Any] = {**ended, "status": "done" if outcome else "diverged"}
    tensors: dict[str, Tensor] = {}
    if outcome:
        notes |= saved_notes(outcome.saved) | _measured_notes(outcome.measured)
        notes |= {"epoch": outcome.epoch, "batch": outcome.batch}
        tensors = _measured_tensors(outcome.measured)
    texts = {name: dump_json(value, keep=True, sort_keys=True) for name, value in notes.items()}
    write_atomically(path, serialize_tensors(tensors, texts))


def read_ending(path: Path) -> Ended | None:
    """Read how a trial ended; None if the file is missing or damaged."""
    notes = {name: json.loads(text) for name, text in read_notes(path).items()}
    if not notes:
        return None
    when = datetime.fromisoformat(notes["finished_at"])
    return Ended(notes["key"], notes["status"], when, **notes["launch"])


def read_outcome(path: Path, trial: Trial) -> Outcome | None:
    """Read the outcome of a trial, whose ensemble has no networks; None if it diverged, or if the file is damaged."""
    stored = read_tensors(path)
    if stored is None:
        return None
    tensors, notes = stored[0], {name: json.loads(text) for name, text in stored[1].items()}
    if notes["status"] != "done":
        return None
    saved = read_saved({}, notes)
    assert saved.origin is not None
    return Outcome(
        trial=trial,
        measured=_read_measured(tensors, notes),
        history=saved.history,
        meter=saved.meter,
        seconds=saved.seconds,
        stages=saved.origin.steps,
        stage_folder=saved.origin.stages,
        stage_seconds=saved.stage_seconds,
        machine=saved.machine,
        ensemble=saved.ensemble,
        epoch=notes["epoch"],
        batch=notes["batch"],
        inputs=saved.origin.inputs,
    )


def _measured_notes(measured: Measured) -> dict[str, Any]:
    plain = [{**asdict(one), **dict.fromkeys(BY_IMAGE)} for one in measured.outcomes]
    return {
        "scores": measured.scores,
        "members": measured.members,
        "paths": [asdict(point) for point in measured.paths],
        "hull": [asdict(point) for point in measured.hull],
        "plane": [asdict(point) for point in measured.plane],
        "reliability": [[split, asdict(row)] for split, row in measured.reliability],
        "sizes": [asdict(size) for size in measured.sizes],
        "predictions": [one.split for one in measured.predictions],
        "outcomes": plain,
    }


def _measured_tensors(measured: Measured) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for number, one in enumerate(measured.outcomes):
        for name in BY_IMAGE:
            values = getattr(one, name)
            if values is not None:
                kept = values if values.dtype == np.bool_ else round_to_half(values)
                tensors[f"outcomes/{number}/{name}"] = torch.from_numpy(np.array(kept))
    for kept in measured.predictions:
        tensors[f"predictions/{kept.split}/log_probs"] = kept.log_probs.detach().cpu().half().contiguous()
        tensors[f"predictions/{kept.split}/labels"] = kept.labels.cpu().contiguous()
    return tensors


def _read_measured(tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> Measured:
    return Measured(
        scores=_numbers(notes["scores"]),
        members=[_numbers(row) for row in notes["members"]],
        paths=[PathPoint(**_numbers(row)) for row in notes["paths"]],
        hull=[HullPoint(**_numbers(row)) for row in notes["hull"]],
        plane=[PlanePoint(**_numbers(row)) for row in notes["plane"]],
        reliability=[(split, Bin(**_numbers(row))) for split, row in notes["reliability"]],
        predictions=[_read_predictions(split, tensors) for split in notes["predictions"]],
        outcomes=[_read_results(row, number, tensors) for number, row in enumerate(notes["outcomes"])],
        sizes=[Size(**_numbers(row)) for row in notes["sizes"]],
    )


def _read_predictions(split: str, tensors: Mapping[str, Tensor]) -> Predictions:
    log_probs, labels = (tensors[f"predictions/{split}/{name}"] for name in ("log_probs", "labels"))
    return Predictions(split, log_probs, labels)


def _read_results(row: Mapping[str, Any], number: int, tensors: Mapping[str, Tensor]) -> ImageResults:
    found = {name: tensors.get(f"outcomes/{number}/{name}") for name in BY_IMAGE}
    arrays = {name: None if tensor is None else tensor.numpy() for name, tensor in found.items()}
    weights = None if row["weights"] is None else tuple(row["weights"])
    return ImageResults(**{**row, **arrays, "weights": weights})


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with numbers that are not finite, which JSON has as texts."""
    return {name: float(value) if value in NOT_FINITE else value for name, value in row.items()}
