"""Training batches: ours, from uint8 on the device, beside torchvision's dataset, transforms and DataLoader."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms  # type: ignore[import-untyped]
from torchvision.datasets import ImageFolder  # type: ignore[import-untyped]

from basin.data import Arrays, Data, Split, batch, datasets, load, prepare, steps_per_epoch
from basin.place import default_cache
from basin.spec import Bounds, check
from benchmarks.machine import describe, measure
from benchmarks.options import Options
from benchmarks.report import Report, compare
from benchmarks.timing import Contestant, interleaved

DATASET = "imagefolder"
OURS = "ours"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is loaded."""

    images: Annotated[int, Bounds(2)] = 5000
    """Training images of an epoch."""
    resolution: Annotated[int, Bounds(8)] = 32
    """Pixels of each side of made-up images."""
    batch_size: Annotated[int, Bounds(1)] = 128
    """Images of a batch."""
    workers: Annotated[int | None, Bounds(0)] = None
    """Processes of the DataLoader (none: one a core)."""

    def __post_init__(self) -> None:
        check(self)


class Pictures(Dataset[tuple[Any, int]]):
    """Images in memory, one at a time as a PIL image, as torchvision's CIFAR10 hands them out."""

    def __init__(self, data: Data, transform: Any) -> None:
        taken = data.train.take(torch.arange(len(data.train)))
        self._images, self._labels = taken[0].cpu().permute(0, 2, 3, 1).numpy(), taken[1].tolist()
        self._transform = transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._transform(Image.fromarray(self._images[index].squeeze())), self._labels[index]


def run(options: Options) -> Report:
    """An epoch of each, normalised, cropped and flipped, on the device."""
    settings = options.settle(Settings())
    facts = describe(options.device)
    workers = int(facts["cores"]) if settings.workers is None else settings.workers
    data = _data(options, settings)
    whole = steps_per_epoch(len(data.train), settings.batch_size) * settings.batch_size
    with _folder(data) as folder:
        sources = {
            "DataLoader, files": ImageFolder(str(folder), _transform(data)),
            "DataLoader, in memory": Pictures(data, _transform(data)),
        }
        loaders = {
            f"{name}, {workers} workers": DataLoader(
                source,
                batch_size=settings.batch_size,
                shuffle=True,
                drop_last=True,
                num_workers=workers,
                persistent_workers=workers > 0,
                pin_memory=options.device.type == "cuda",
            )
            for name, source in sources.items()
        }
        contestants: dict[str, Contestant] = {
            name: lambda loader=loader: _epoch(loader, options.device)  # type: ignore[misc]
            for name, loader in loaders.items()
        }
        epochs = iter(range(1_000_000))
        contestants[OURS] = lambda: _our_epoch(data, settings, next(epochs))
        timings = interleaved(contestants, repeats=options.repeats)
    limit = measure(options.device)
    pixels = int(np.prod(data.shape))
    # At least: a byte read and a float32 written for each pixel.
    limits: Mapping[str, float] = {OURS: 1 / limit.seconds(moved=5 * pixels)}
    reference = next(iter(reversed(loaders)))
    table = compare(f"{whole} images", timings, unit="images", reference=reference, limits=limits)
    return Report("loader", facts, (table,), {"batch size": settings.batch_size, "workers": workers}, limit)


def _data(options: Options, settings: Settings) -> Data:
    dataset = datasets.make(DATASET, resolution=settings.resolution)
    if options.data is None:
        count, draw = settings.images + 2, np.random.default_rng(0)
        images = draw.integers(0, 256, (count, 3, settings.resolution, settings.resolution), np.uint8)
        labels = np.arange(count, dtype=np.int64) % 10
        arrays = Arrays(images, labels, images[:10], labels[:10], tuple("0123456789"))
    else:
        arrays, _ = load(dataset, source=options.data, cache=default_cache())
    split = Split(train_size=settings.images, val_size=1, augment="crop+flip")
    return prepare(arrays, dataset, split, device=options.device)


@contextmanager
def _folder(data: Data) -> Iterator[Path]:
    """The training images as PNG files, a folder a class."""
    with tempfile.TemporaryDirectory() as temporary:
        pictures = Pictures(data, lambda image: image)
        for index in range(len(pictures)):
            image, label = pictures[index]
            path = Path(temporary, str(label), f"{index}.png")
            path.parent.mkdir(exist_ok=True)
            image.save(path)
        yield Path(temporary)


def _transform(data: Data) -> Any:
    _, height, _ = data.shape
    return transforms.Compose(
        [
            transforms.RandomCrop(height, padding=height // 8),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(data.mean.tolist(), data.std.tolist()),
        ]
    )


def _epoch(loader: "DataLoader[Any]", device: torch.device) -> float:
    return sum(len(images.to(device, non_blocking=True)) for images, _ in loader)


def _our_epoch(data: Data, settings: Settings, epoch: int) -> float:
    steps = steps_per_epoch(len(data.train), settings.batch_size)
    first, size = epoch * steps, settings.batch_size
    return sum(len(batch(data, seed=0, member=0, step=s, batch_size=size)[0]) for s in range(first, first + steps))
