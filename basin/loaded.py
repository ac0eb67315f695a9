"""Load the trained networks of a trial by its key: `basin.load("results/quickstart", "2d22d463")`."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from basin import stack
from basin.data import Data
from basin.data.dataset import Array
from basin.environment import Machine, Place, default_cache
from basin.errors import UsageError
from basin.files import read_object
from basin.lookup import find_trial, weights_path
from basin.predictor import Normalise, Predictor, check_images
from basin.saved import Inputs, Origin, Saved, load_ensemble
from basin.stack import Params
from basin.trial import Trial, open_data, trial_of_recipe

BATCH = 256
"""Images that are predicted at once."""


@dataclass(frozen=True)
class LoadedData:
    """The dataset of a trial: what it is, and its images once they are asked for."""

    trial: Trial
    inputs: Inputs
    """Image shape, normalisation and classes."""
    source: Path | None
    """Folder or archive of the images; None for built-in or official ones."""
    cache: Path

    @property
    def dataset(self) -> str:
        """Registered name."""
        return str(self.trial.flat()["dataset"])

    @property
    def hash(self) -> str:
        """Hash of the decoded images and labels."""
        return self.trial.data_hash

    @cached_property
    def splits(self) -> Data:
        """The trial's training, validation and test images, decoded on first use.

        Raises UsageError if the source is not there, or has other images.
        """
        machine = Machine(device="cpu")
        return open_data(self.trial, Place(machine=machine, data=self.source, cache=self.cache, runs=self.cache))


@dataclass(frozen=True)
class LoadedEnsemble:
    """A trained ensemble, on the CPU."""

    saved: Saved
    origin: Origin
    trial: Trial
    """How its networks were trained; the evaluation is the default one."""
    row: dict[str, Any]
    """Its row of the table `trials`."""
    data: LoadedData

    @property
    def inputs(self) -> Inputs:
        """Image shape, normalisation and classes."""
        return self.origin.inputs

    @cached_property
    def members(self) -> list[nn.Module]:
        """The networks, in evaluation mode: from images that `normalise` has made to logits."""
        return [self._build_module(params) for params in stack.iterate_networks(self.saved.ensemble.members())]

    @cached_property
    def soup(self) -> nn.Module:
        """The one network of averaged weights, with the BatchNorm statistics that were measured."""
        members = self.saved.ensemble.members()
        count = stack.count_networks(members)
        mean = stack.mix(members, torch.full((1, count), 1 / count, dtype=torch.float64)) if count > 1 else members
        return self._build_module(stack.network_at(mean, 0) | self.saved.soup)

    @cached_property
    def normalise(self) -> Normalise:
        """Pixels to the inputs of the networks."""
        return Normalise(self.inputs)

    @torch.no_grad()
    def predict(self, images: Tensor | Array) -> Float32[Tensor, "N C"]:
        """Class probabilities of the ensemble: the mean of its members'.

        Images are [N, C, H, W] as in the dataset: uint8 from 0 to 255, or floating point from 0 to 1. Raises
        UsageError for other images.
        """
        pixels = torch.as_tensor(np.asarray(images))
        check_images(pixels, self.inputs)
        predictor = self.predictor()
        return torch.cat([predictor(part) for part in pixels.split(BATCH)])

    def predictor(self, *, soup: bool = False) -> Predictor:
        """The ensemble, or its soup, as one module from pixels to class probabilities."""
        return Predictor(self.inputs, [self.soup] if soup else self.members)

    def _build_module(self, params: Params) -> nn.Module:
        module = self.trial.model.build(self.inputs.shape, self.inputs.classes)
        module.load_state_dict(params)
        return module.eval()


def load(
    folder: Path | str, key: str, *, source: Path | str | None = None, cache: Path | str | None = None
) -> LoadedEnsemble:
    """Load a trained ensemble from a sweep's folder by its key, or the beginning of it.

    `source` is the folder or archive of the images, if they have moved; `cache` the folder of decoded datasets. Raises
    UsageError if the key names no trial or several, and if its weights are missing or cannot be used.
    """
    scheme, remote, _ = str(folder).partition("://")
    if remote:
        raise UsageError(f"{scheme}://…: expected a folder; `launch.py fetch` downloads a sweep into one")
    folder = Path(folder).expanduser()
    if not (folder / "tables").is_dir():
        raise UsageError(f"{folder}: expected the folder of a sweep, such as results/quickstart")
    file = find_trial([folder], key)
    row = _read_row(file)
    saved, origin = _read_weights(folder, row)
    try:
        trial = trial_of_recipe(origin.recipe)
    except UsageError as error:
        raise UsageError(f"trial {row['key']} was {error}") from error
    place = Path(source).expanduser() if source else recorded_source(folder)
    data = LoadedData(trial, origin.inputs, place, Path(cache).expanduser() if cache else default_cache())
    return LoadedEnsemble(saved, origin, trial, row, data)


def recorded_source(folder: Path) -> Path | None:
    """Folder or archive of a sweep's images, as its manifest records it; None if it is not there."""
    source = read_object(folder / "sweep.json", "data").get("source")
    return Path(source) if source and Path(source).exists() else None


def _read_row(file: Path) -> dict[str, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise UsageError("reading a trial's row needs pyarrow: install it, or the extra `sweeps`") from None
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            rows: list[dict[str, Any]] = table.read(use_threads=False).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{file}: damaged; rerun the command that started the sweep") from error
    return rows[0]


def _read_weights(folder: Path, row: dict[str, Any]) -> tuple[Saved, Origin]:
    """The networks of a row; raises UsageError saying what to do if they are not there."""
    key = row["key"]
    again = f"`launch.py rerun {key} --keep FOLDER` trains them again, and FOLDER has them then"
    if row.get("status", "done") != "done":
        raise UsageError(f"trial {key} has no networks: it was {row['status']}")
    path = weights_path(folder, str(row.get("ensemble_key") or key))
    if not path.exists():
        raise UsageError(f"trial {key}: its networks {path} were not kept; {again}")
    saved = load_ensemble(path, str(row.get("ensemble_key")))
    if saved is not None and saved.origin is not None:
        return saved, saved.origin
    what = "damaged" if saved is None else "of an earlier version, without recipe, normalisation and classes"
    raise UsageError(f"{path}: {what}; {again}")
