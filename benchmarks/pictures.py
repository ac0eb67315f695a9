"""The images that benchmarks train on, and how a user would load them: torchvision's transforms, torch's DataLoader."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms  # type: ignore[import-untyped]

from basin.data import Arrays, Data, DataSplit, datasets, load_arrays, split_data
from basin.environment import default_cache
from benchmarks.options import Options

HELD = 1000
"""Images of the validation split, and of the test split."""


def make_images(options: Options, count: int, resolution: int) -> Data:
    """`count` training images with labels of ten classes, real ones where the options name some."""
    dataset = datasets.make("imagefolder", resolution=resolution)
    if options.data is None:
        draw, total = np.random.default_rng(0), count + HELD
        pixels = draw.integers(0, 256, (total + HELD, 3, resolution, resolution), np.uint8)
        labels = np.arange(total + HELD, dtype=np.int64) % 10
        classes = tuple("0123456789")
        arrays = Arrays(pixels[:total], labels[:total], pixels[total:], labels[total:], classes)
    else:
        arrays, _ = load_arrays(dataset, source=options.data, cache=default_cache())
    split = DataSplit(train_size=count, val_size=HELD, test_size=HELD, augment="crop+flip")
    return split_data(arrays, dataset, split, device=options.device)


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


def image_transform(data: Data) -> Any:
    """Crop with borders of the mean colour, as ours, flip, normalisation."""
    channels, height, _ = data.shape
    colour = [round(255 * mean) for mean in data.mean.tolist()]
    return transforms.Compose(
        [
            transforms.RandomCrop(height, padding=height // 8, fill=colour[0] if channels == 1 else tuple(colour)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(data.mean.tolist(), data.std.tolist()),
        ]
    )


def image_loader(source: Dataset[Any], batch_size: int, workers: int, device: torch.device) -> "DataLoader[Any]":
    """Shuffled whole batches."""
    return DataLoader(
        source,
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
