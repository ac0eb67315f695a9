"""Training batches as a function of (seed, member, step): resuming needs no state."""

import functools
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float32, Int64, Shaped
from torch import Generator, Tensor
from torch.nn.functional import pad

from basin.data.splits import Data, Images
from basin.seeds import make_generator


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Number of whole batches in n images; an incomplete last batch is dropped, unless it is the only one."""
    return max(1, n // batch_size)


def training_batch(
    data: Data, *, seed: int, member: int, step: int, batch_size: int
) -> tuple[Shaped[Tensor, "b *shape"], Int64[Tensor, " b"]]:
    """Normalised, augmented training images and their labels at one step of one member."""
    drawn = draw_batches(data, seed=seed, members=[member], step=step, batch_size=batch_size)
    return drawn_batches(data, drawn.to(data.mean.device, non_blocking=True))


def draw_batches(
    data: Data, *, seed: int, members: Sequence[int], step: int, batch_size: int
) -> Int64[Tensor, "rows k_times_b"]:
    """Draw several members' batches on the CPU: which images, and how each is augmented.

    They are drawn together because on a GPU each operation costs a launch.
    """
    chosen = [batch_positions(data, seed=seed, member=member, step=step, batch_size=batch_size) for member in members]
    generators = [make_generator(seed, "augment", member, step) for member in members]
    rows = [torch.cat(chosen)[None]]
    rows += [_draw_augmentation(kind, data.shape, len(chosen[0]), generators) for kind in _split_kinds(data.augment)]
    return torch.cat(rows)


def drawn_batches(data: Data, drawn: Int64[Tensor, "rows n"]) -> tuple[Shaped[Tensor, "n *shape"], Int64[Tensor, " n"]]:
    """Normalised, augmented images and their labels, as drawn."""
    images, labels = data.train.take(drawn[0])
    return _apply_augmentations(data.normalise(images), data.augment, drawn[1:]), labels


def batch_positions(data: Data, *, seed: int, member: int, step: int, batch_size: int) -> Int64[Tensor, " b"]:
    """Positions of the training images in one batch."""
    epoch, place = divmod(step, steps_per_epoch(len(data.train), batch_size))
    return _epoch_order(len(data.train), seed, member, epoch)[place * batch_size : (place + 1) * batch_size]


def image_chunks(images: Images, size: int) -> Iterator[tuple[Shaped[Tensor, "b *shape"], Int64[Tensor, " b"]]]:
    """All images in order, `size` at a time; the last chunk may be smaller."""
    for start in range(0, len(images), size):
        yield images.take(torch.arange(start, min(start + size, len(images))))


def augment_images(x: Float32[Tensor, "b c h w"], kind: str, draw: Generator) -> Float32[Tensor, "b c h w"]:
    """Normalised images after the augmentations that `kind` names, joined by `+`; every draw is made on the CPU."""
    rows = [_draw_augmentation(one, x.shape[1:], len(x), [draw]) for one in _split_kinds(kind)]
    return _apply_augmentations(x, kind, torch.cat([*rows, torch.zeros(0, len(x), dtype=torch.long)]).to(x.device))


def _split_kinds(kind: str) -> list[str]:
    return [] if kind == "none" else kind.split("+")


def _draw_augmentation(
    kind: str, shape: Sequence[int], count: int, generators: Sequence[Generator]
) -> Int64[Tensor, "rows n"]:
    """Random numbers of one augmentation for `count` images of each generator."""
    return torch.cat([DRAWS[kind](shape, count, generator) for generator in generators], dim=1)


def _apply_augmentations(x: Tensor, kind: str, drawn: Int64[Tensor, "rows n"]) -> Tensor:
    for one in _split_kinds(kind):
        rows = ROWS[one]
        x, drawn = AUGMENTATIONS[one](x, drawn[:rows]), drawn[rows:]
    return x


# An ensemble's members are trained side by side: each has its permutation here.
@functools.lru_cache(maxsize=64)
def _epoch_order(n: int, seed: int, member: int, epoch: int) -> Int64[Tensor, " n"]:
    return torch.randperm(n, generator=make_generator(seed, "order", member, epoch))


def _crop_draw(shape: Sequence[int], count: int, draw: Generator) -> Tensor:
    return torch.randint(0, 2 * (shape[1] // 8) + 1, (2, count), generator=draw)


def _crop_images(x: Tensor, drawn: Tensor) -> Tensor:
    """A random window of the image padded by an eighth of its height (He 2016: 4 of 32 px).

    Padding after normalisation is padding with the training images' mean colour, as He's mean-subtracted images had.
    """
    n, channels, height, width = x.shape
    top, left = drawn[:, :, None, None]
    padded = pad(x, (height // 8,) * 4).contiguous()
    # Every run of `width` pixels is a row to choose from: choosing copies whole rows.
    runs = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    planes = torch.arange(n * channels, device=x.device).view(n, channels, 1)
    rows = planes * padded.shape[2] + top + torch.arange(height, device=x.device)
    return runs.index_select(0, (rows * padded.shape[3] + left).flatten()).view(x.shape)


def _flip_draw(shape: Sequence[int], count: int, draw: Generator) -> Tensor:
    return (torch.rand(count, generator=draw) < 0.5).long()[None]


def _flip_images(x: Tensor, drawn: Tensor) -> Tensor:
    """Each image mirrored left to right with probability ½."""
    if x.is_cuda:  # how many there are is not known there without waiting
        return torch.where(drawn[0].bool()[:, None, None, None], x.flip(3), x)
    mirrored = drawn[0].nonzero()[:, 0]
    return x.index_copy(0, mirrored, x.index_select(0, mirrored).flip(3))


def _cutout_draw(shape: Sequence[int], count: int, draw: Generator) -> Tensor:
    return torch.stack([torch.randint(0, size, (count,), generator=draw) for size in shape[1:]])


def _cut_out(x: Tensor, drawn: Tensor) -> Tensor:
    """A square of half the height set to the mean, its centre uniform over the image (DeVries 2017: 16 of 32 px)."""
    height, width = x.shape[2:]
    half = height // 4
    row, column = drawn[:, :, None]
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    inside_rows = (rows >= row - half) & (rows < row + half)
    inside_columns = (columns >= column - half) & (columns < column + half)
    return x.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0)


DRAWS = {"crop": _crop_draw, "flip": _flip_draw, "cutout": _cutout_draw}
AUGMENTATIONS = {"crop": _crop_images, "flip": _flip_images, "cutout": _cut_out}
ROWS = {"crop": 2, "flip": 1, "cutout": 2}
"""Rows of random numbers per augmentation."""
