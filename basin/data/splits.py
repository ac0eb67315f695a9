"""Which images train, which decide (validation) and which are only reported (test)."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from basin.data.dataset import Array, Arrays, Dataset
from basin.errors import UsageError
from basin.seeds import generator
from basin.spec import Bounds, check


@dataclass(frozen=True, kw_only=True)
class Split:
    """How many images each split has, and how training images are augmented."""

    train_size: Annotated[int | None, Bounds(1)] = None
    """Training images; a smaller number is a subset of a larger one (none: the dataset's default)."""
    val_size: Annotated[int | None, Bounds(1)] = None
    """Validation images, carved from the official training images (none: the dataset's default)."""
    test_size: Annotated[int | None, Bounds(1)] = None
    """Test images (none: the whole official test split)."""
    split_seed: Annotated[int, Bounds(0)] = 0
    """Seed of the stratified draw of the splits."""
    augment: Literal["default", "none", "crop", "crop+flip", "crop+flip+cutout"] = "default"
    """Augmentation of training images (default: the dataset's own)."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Images:
    """Some of the images of a tensor: on the CPU that tensor is the mapped file that all processes share."""

    images: UInt8[Tensor, "all c h w"]
    labels: Int64[Tensor, " n"]
    index: Int64[Tensor, " n"]
    """Where in `images` the n images of this split are."""

    def __len__(self) -> int:
        return len(self.index)

    def take(self, positions: Int64[Tensor, " b"]) -> tuple[UInt8[Tensor, "b c h w"], Int64[Tensor, " b"]]:
        """The images and labels at `positions` (0 … n−1, on any device) of this split."""
        positions = positions.to(self.index.device, non_blocking=True)
        # index_select copies whole images; indexing by a tensor goes from pixel to pixel, twenty times slower.
        return self.images.index_select(0, self.index[positions]), self.labels[positions]

    def subset(self, positions: Int64[Tensor, " b"]) -> "Images":
        """The images at `positions` of this split, as a split of their own."""
        positions = positions.to(self.index.device)
        return Images(self.images, self.labels[positions], self.index[positions])

    def sample(self, count: int | None) -> "Images":
        """So many of the images, the same ones always, each class with its share; None takes all."""
        if count is None or count >= len(self):
            return self
        chosen = np.sort(stratified_order(self.labels.cpu().numpy(), "sample")[:count])
        return self.subset(torch.from_numpy(chosen))


@dataclass(frozen=True)
class Data:
    """The three splits on one device, and what training images say of normalisation."""

    train: Images
    val: Images
    test: Images
    classes: int
    shape: tuple[int, int, int]
    """Channels, height, width."""
    mean: Float[Tensor, " c"]
    """Mean of the training images per channel, pixel values scaled to 0 … 1."""
    std: Float[Tensor, " c"]
    """Standard deviation likewise, at least one grey level."""
    augment: str
    hash: str
    """Content of the whole dataset, before it was split."""

    def normalise(self, images: UInt8[Tensor, "b c h w"]) -> Float32[Tensor, "b c h w"]:
        """Pixels minus mean, divided by standard deviation."""
        shift, scale = 255 * self.mean[:, None, None], 1 / (255 * self.std[:, None, None])
        return images.float().sub_(shift).mul_(scale)


def prepare(arrays: Arrays, dataset: Dataset, split: Split, *, device: torch.device | str = "cpu") -> Data:
    """The splits of `arrays`: validation first, by `split_seed` alone, then training images from the rest.

    Raises UsageError for a size that exceeds the number of images there are.
    """
    pool, tested = np.asarray(arrays.train_labels), np.asarray(arrays.test_labels)
    val_size = split.val_size or dataset.val_size or max(1, len(pool) // 10)
    _fits("val_size", val_size, len(pool) - 1, f"of {len(pool)} training images, one or more to train on")
    order = stratified_order(pool, split.split_seed, "val")
    val, rest = order[:val_size], np.sort(order[val_size:])
    train_size = split.train_size or dataset.train_size or len(rest)
    _fits("train_size", train_size, len(rest), f"of {len(pool)} training images, {val_size} held out for validation")
    train = rest[stratified_order(pool[rest], split.split_seed, "train")[:train_size]]
    test_size = split.test_size or len(tested)
    _fits("test_size", test_size, len(tested), "in the test split")
    test = stratified_order(tested, split.split_seed, "test")[:test_size]

    training = _images(arrays.train_images, pool, train, device)
    mean, std = _moments(arrays.train_images, train)
    return Data(
        train=training,
        val=_images(arrays.train_images, pool, val, device),
        test=_images(arrays.test_images, tested, test, device),
        classes=len(arrays.classes),
        shape=(arrays.train_images.shape[1], arrays.train_images.shape[2], arrays.train_images.shape[3]),
        mean=mean.to(device),
        std=std.to(device),
        augment=dataset.augment if split.augment == "default" else split.augment,
        hash=arrays.hash,
    )


def stratified_order(labels: Array, *seed: object) -> Array:
    """A seeded order of which every beginning is stratified, and holds every class if it is long enough.

    Image j of the n_c of its class stands at (j + ½)/n_c, the first of every class before all others.
    """
    draw = generator(*seed)
    shuffled = torch.randperm(len(labels), generator=draw).numpy()
    ties = torch.rand(len(labels), generator=draw).numpy()
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, start, count = np.unique(labels[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(start, count)
    place = np.where(rank == 0, -1, (rank + 0.5) / np.repeat(count, count))
    return np.asarray(by_class[np.lexsort((ties, place))])


def _fits(name: str, size: int, most: int, where: str) -> None:
    if size > most:
        raise UsageError(f"{name}={size}: expected at most {max(most, 0)} ({where})")


def _images(images: Array, labels: Array, index: Array, device: torch.device | str) -> Images:
    index = np.sort(index)
    chosen = torch.from_numpy(labels[index]).to(device)
    if torch.device(device).type == "cpu":
        return Images(torch.from_numpy(images), chosen, torch.from_numpy(index))
    return Images(torch.from_numpy(images[index]).to(device), chosen, torch.arange(len(index), device=device))


def _moments(images: Array, index: Array) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    levels, channels = np.arange(256), images.shape[1]
    counts = np.zeros((channels, 256))
    # A histogram of grey levels gives both moments exactly, without a float copy of the images.
    for part in np.array_split(np.sort(index), -(-len(index) // 4096)):
        chunk = images[part]
        counts += [np.bincount(chunk[:, channel].ravel(), minlength=256) for channel in range(channels)]
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ levels
    std = np.sqrt((share * (levels - mean[:, None]) ** 2).sum(axis=1))
    return torch.from_numpy(mean / 255).float(), torch.from_numpy(np.maximum(std, 1) / 255).float()
