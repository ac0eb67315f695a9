"""Training batches: ours, from uint8 on the device, against torchvision's dataset, transforms and DataLoader."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder  # type: ignore[import-untyped]

from basin.data import Data, steps_per_epoch, training_batch
from basin.spec import Bounds, Checked
from benchmarks.machine import describe_machine, measure_limit
from benchmarks.options import Options
from benchmarks.pictures import Pictures, image_loader, image_transform, make_images
from benchmarks.report import Report, compare_timings
from benchmarks.timing import Contestant, time_interleaved

OURS = "ours"


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """Settings of the images."""

    images: Annotated[int, Bounds(2)] = 5000
    """Training images of an epoch."""
    resolution: Annotated[int, Bounds(8)] = 32
    """Pixels of each side of made-up images."""
    batch_size: Annotated[int, Bounds(1)] = 128
    """Images of a batch."""
    workers: Annotated[int | None, Bounds(0)] = None
    """Processes of the DataLoader (none: one a core)."""


def run(options: Options) -> Report:
    """An epoch of each, normalised, cropped and flipped, on the device."""
    settings = options.settle(Settings())
    facts = describe_machine(options.device)
    workers = int(facts["cores"]) if settings.workers is None else settings.workers
    data = make_images(options, settings.images, settings.resolution)
    whole = steps_per_epoch(len(data.train), settings.batch_size) * settings.batch_size
    with _image_folder(data) as folder:
        sources = {
            "DataLoader, files": ImageFolder(str(folder), image_transform(data)),
            "DataLoader, in memory": Pictures(data, image_transform(data)),
        }
        loaders = {
            f"{name}, {workers} workers": image_loader(source, settings.batch_size, workers, options.device)
            for name, source in sources.items()
        }
        contestants: dict[str, Contestant] = {
            name: lambda batches=batches: _load_epoch(batches, options.device)  # type: ignore[misc]
            for name, batches in loaders.items()
        }
        epochs = iter(range(1_000_000))
        contestants[OURS] = lambda: _our_epoch(data, settings, next(epochs))
        timings = time_interleaved(contestants, repeats=options.repeats)
    limit = measure_limit(options.device)
    pixels = int(np.prod(data.shape))
    # At least: a byte read and a float32 written for each pixel.
    limits: Mapping[str, float] = {OURS: 1 / limit.seconds(moved=5 * pixels)}
    reference = next(iter(reversed(loaders)))
    table = compare_timings(f"{whole} images", timings, unit="images", reference=reference, limits=limits)
    return Report("loader", facts, (table,), {"batch size": settings.batch_size, "workers": workers}, limit)


@contextmanager
def _image_folder(data: Data) -> Iterator[Path]:
    """The training images as PNG files, a folder a class."""
    with tempfile.TemporaryDirectory() as temporary:
        pictures = Pictures(data, lambda image: image)
        for index in range(len(pictures)):
            image, label = pictures[index]
            path = Path(temporary, str(label), f"{index}.png")
            path.parent.mkdir(exist_ok=True)
            image.save(path)
        yield Path(temporary)


def _load_epoch(batches: "DataLoader[Any]", device: torch.device) -> float:
    return sum(len(pixels.to(device, non_blocking=True)) for pixels, _ in batches)


def _our_epoch(data: Data, settings: Settings, epoch: int) -> float:
    steps = steps_per_epoch(len(data.train), settings.batch_size)
    first, size = epoch * steps, settings.batch_size
    return sum(
        len(training_batch(data, seed=0, member=0, step=s, batch_size=size)[0]) for s in range(first, first + steps)
    )
