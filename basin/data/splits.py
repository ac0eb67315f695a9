"""Training, validation and test splits of a dataset."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from basin.data.dataset import Array, Arrays, Dataset
from basin.errors import UsageError
from basin.seeds import make_generator
from basin.spec import Bounds, Checked, Unit


@dataclass(frozen=True, kw_only=True)
class DataSplit(Checked):
    """Sizes of the splits, and augmentation of the training images."""

    version: ClassVar[int] = 1

    train_size: Annotated[int | None, Bounds(1), Unit("images")] = None
    """Training images; a smaller number is a subset of a larger one (none: the dataset's default)."""
    val_size: Annotated[int | None, Bounds(1), Unit("images")] = None
    """Validation images, carved from the official training images (none: the dataset's default)."""
    test_size: Annotated[int | None, Bounds(1), Unit("images")] = None
    """Test images (none: the whole official test split)."""
    split_seed: Annotated[int, Bounds(0)] = 0
    """Seed of the stratified draw of the splits."""
    augment: Literal["default", "none", "crop", "crop+flip", "crop+flip+cutout"] = "default"
    """Augmentation of training images (default: the dataset's own)."""


@dataclass(frozen=True)
class Images:
    """Some of the images of a tensor: on the CPU that tensor is the mapped file that all processes share."""

    images: Shaped[Tensor, "all *shape"]
    """Pixels as uint8 [all, c, h, w], or inputs of networks as they see them, of any other type."""
    labels: Int64[Tensor, " n"]
    index: Int64[Tensor, " n"]
    """Positions in `images` of the n images of this split."""

    def __len__(self) -> int:
        return len(self.index)

    def take(self, positions: Int64[Tensor, " b"]) -> tuple[Shaped[Tensor, "b *shape"], Int64[Tensor, " b"]]:
        """The images and labels at `positions` (0 … n−1, on any device) of this split."""
        positions = positions.to(self.index.device, non_blocking=True)
        # index_select copies whole images; indexing by a tensor goes from pixel to pixel, twenty times slower.
        return self.images.index_select(0, self.index[positions]), self.labels[positions]

    def subset(self, positions: Int64[Tensor, " b"]) -> "Images":
        """The images at `positions` of this split, as a split of their own."""
        positions = positions.to(self.index.device)
        return Images(self.images, self.labels[positions], self.index[positions])

    def sample(self, count: int | None) -> "Images":
        """A fixed, stratified subset of `count` images; None takes all."""
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
    """Channels, height, width; (1, n, 1) for inputs of n numbers that are no images."""
    mean: Float[Tensor, " c"]
    """Mean of the training images per channel, pixel values scaled to 0 … 1."""
    std: Float[Tensor, " c"]
    """Standard deviation likewise, at least one grey level."""
    augment: str
    hash: str
    """Content of the whole dataset, before it was split."""
    class_names: tuple[str, ...] = ()

    def normalise(self, images: Shaped[Tensor, "b *shape"]) -> Shaped[Tensor, "b *shape"]:
        """Pixels (uint8) minus mean, divided by standard deviation, as float32; other inputs as they are."""
        if images.dtype != torch.uint8:
            return images
        shift, scale = 255 * self.mean[:, None, None], 1 / (255 * self.std[:, None, None])
        return images.float().sub_(shift).mul_(scale)


def split_data(arrays: Arrays, dataset: Dataset, split: DataSplit, *, device: torch.device | str = "cpu") -> Data:
    """The splits of `arrays`: validation first, by `split_seed` alone, then training images from the rest.

    Raises UsageError for a size that exceeds the number of images there are, for fewer than two classes, and if
    validation takes all images of a class.
    """
    pool, tested = np.asarray(arrays.train_labels), np.asarray(arrays.test_labels)
    _check_class_number(arrays, pool)
    train_size, val_size, test_size = split_sizes(dataset, split, len(pool), len(tested))
    _check_size("val_size", val_size, len(pool) - 1, f"of {len(pool)} training images, one or more to train on")
    order = stratified_order(pool, split.split_seed, "val")
    val, rest = order[:val_size], np.sort(order[val_size:])
    _check_classes_kept(arrays, pool, rest, val_size)
    _check_size(
        "train_size", train_size, len(rest), f"of {len(pool)} training images, {val_size} held out for validation"
    )
    train = rest[stratified_order(pool[rest], split.split_seed, "train")[:train_size]]
    _check_size("test_size", test_size, len(tested), "in the test split")
    test = stratified_order(tested, split.split_seed, "test")[:test_size]

    training = _split_images(arrays.train_images, pool, train, device)
    mean, std = _channel_moments(arrays.train_images, train)
    return Data(
        train=training,
        val=_split_images(arrays.train_images, pool, val, device),
        test=_split_images(arrays.test_images, tested, test, device),
        classes=len(arrays.classes),
        shape=(arrays.train_images.shape[1], arrays.train_images.shape[2], arrays.train_images.shape[3]),
        mean=mean.to(device),
        std=std.to(device),
        augment=dataset.augment if split.augment == "default" else split.augment,
        hash=arrays.hash,
        class_names=arrays.classes,
    )


def stratified_order(labels: Array, *seed: object) -> Array:
    """A seeded order of which every beginning is stratified, and holds every class if it is long enough.

    Image j of the n_c of its class stands at (j + ½)/n_c, the first of every class before all others.
    """
    draw = make_generator(*seed)
    shuffled = torch.randperm(len(labels), generator=draw).numpy()
    ties = torch.rand(len(labels), generator=draw).numpy()
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, start, count = np.unique(labels[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(start, count)
    place = np.where(rank == 0, -1, (rank + 0.5) / np.repeat(count, count))
    return np.asarray(by_class[np.lexsort((ties, place))])


def _check_size(name: str, size: int, most: int, where: str) -> None:
    if size > most:
        raise UsageError(f"{name}={size}: expected at most {max(most, 0)} ({where})")


def split_sizes(dataset: Dataset | type[Dataset], split: DataSplit, training: int, tested: int) -> tuple[int, int, int]:
    """Numbers of training, validation and test images, of so many official training and test images; unchecked."""
    val_size = split.val_size or dataset.val_size or max(1, training // 10)
    train_size = split.train_size or dataset.train_size or training - val_size
    return train_size, val_size, split.test_size or tested


def _check_class_number(arrays: Arrays, labels: Array) -> None:
    present = np.unique(labels)
    if len(present) < 2:
        raise UsageError(
            f"all {len(labels)} training images are of class {arrays.classes[present[0]]}: expected two classes or more"
        )


def _check_classes_kept(arrays: Arrays, pool: Array, rest: Array, val_size: int) -> None:
    """Raise UsageError for a class of which no image is left to train on."""
    lost = sorted(set(np.unique(pool)) - set(np.unique(pool[rest])))
    if lost:
        counts = [f"{arrays.classes[label]} ({(pool == label).sum()})" for label in lost[:4]]
        raise UsageError(
            f"val_size={val_size} takes all training images of {len(lost)} classes: {', '.join(counts)}"
            f"{', …' if len(lost) > 4 else ''}: add images, remove the class, or lower val_size"
        )


def _split_images(images: Array, labels: Array, index: Array, device: torch.device | str) -> Images:
    index = np.sort(index)
    chosen = torch.from_numpy(labels[index]).to(device)
    if torch.device(device).type == "cpu":
        return Images(torch.from_numpy(images), chosen, torch.from_numpy(index))
    return Images(torch.from_numpy(images[index]).to(device), chosen, torch.arange(len(index), device=device))


def _channel_moments(images: Array, index: Array) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
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
