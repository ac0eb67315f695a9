"""Training batches as a function of (seed, member, step): resuming needs no state."""

import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Generator, Tensor
from torch.nn.functional import pad

from basin.data.splits import Data, Images
from basin.seeds import generator


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Whole batches in n images; the incomplete last one is dropped, unless it is the only one."""
    return max(1, n // batch_size)


def batch(
    data: Data, *, seed: int, member: int, step: int, batch_size: int
) -> tuple[Float32[Tensor, "b c h w"], Int64[Tensor, " b"]]:
    """Normalised, augmented training images and their labels at one step of one member."""
    images, labels = batches(data, seed=seed, members=[member], step=step, batch_size=batch_size)
    return images[0], labels[0]


def batches(
    data: Data, *, seed: int, members: Sequence[int], step: int, batch_size: int
) -> tuple[Float32[Tensor, "k b c h w"], Int64[Tensor, "k b"]]:
    """The batches of several members, made at once: on a GPU each operation costs its launch."""
    chosen = [positions(data, seed=seed, member=member, step=step, batch_size=batch_size) for member in members]
    images, labels = data.train.take(torch.cat(chosen))
    draws = [generator(seed, "augment", member, step) for member in members]
    seen = augment(data.normalise(images), data.augment, *draws)
    return seen.unflatten(0, (len(members), -1)), labels.unflatten(0, (len(members), -1))


def positions(data: Data, *, seed: int, member: int, step: int, batch_size: int) -> Int64[Tensor, " b"]:
    """Which training images are in that batch."""
    epoch, place = divmod(step, steps_per_epoch(len(data.train), batch_size))
    return _order(len(data.train), seed, member, epoch)[place * batch_size : (place + 1) * batch_size]


def chunks(images: Images, size: int) -> Iterator[tuple[UInt8[Tensor, "b c h w"], Int64[Tensor, " b"]]]:
    """All images in order, `size` at a time; the last chunk may be smaller."""
    for start in range(0, len(images), size):
        yield images.take(torch.arange(start, min(start + size, len(images))))


def augment(x: Float32[Tensor, "b c h w"], kind: str, *draws: Generator) -> Float32[Tensor, "b c h w"]:
    """Normalised images after the augmentations that `kind` names, joined by `+`.

    Each of the generators draws for an equal part of the images; every draw is made on the CPU.
    """
    for step in kind.split("+"):
        x = {"none": _none, "crop": _crop, "flip": _flip, "cutout": _cutout}[step](x, draws)
    return x


def _drawn(x: Tensor, draws: Sequence[Generator], draw: Callable[[int, Generator], Tensor]) -> Tensor:
    """What each generator draws for its images, joined in their order; the last axis is the images'."""
    return torch.cat([draw(len(x) // len(draws), one) for one in draws], dim=-1)


def _beside(drawn: Tensor, x: Tensor) -> Tensor:
    """On the device of the images, without waiting for what it still has to do."""
    return drawn.to(x.device, non_blocking=True)


# An ensemble's members are trained side by side: each has its permutation here.
@functools.lru_cache(maxsize=64)
def _order(n: int, seed: int, member: int, epoch: int) -> Int64[Tensor, " n"]:
    return torch.randperm(n, generator=generator(seed, "order", member, epoch))


def _none(x: Tensor, draws: Sequence[Generator]) -> Tensor:
    return x


def _crop(x: Tensor, draws: Sequence[Generator]) -> Tensor:
    """A random window of the image padded by an eighth of its height (He 2016: 4 of 32 px).

    Padding after normalisation is padding with the training images' mean colour, as He's mean-subtracted images had.
    """
    n, channels, height, width = x.shape
    border = height // 8
    offsets = _drawn(x, draws, lambda some, draw: torch.randint(0, 2 * border + 1, (2, some), generator=draw))
    top, left = _beside(offsets, x)[:, :, None, None]
    padded = pad(x, (border,) * 4).contiguous()
    # Every run of `width` pixels is a row to choose from: choosing copies whole rows.
    runs = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    planes = torch.arange(n * channels, device=x.device).view(n, channels, 1)
    rows = planes * padded.shape[2] + top + torch.arange(height, device=x.device)
    return runs.index_select(0, (rows * padded.shape[3] + left).flatten()).view(x.shape)


def _flip(x: Tensor, draws: Sequence[Generator]) -> Tensor:
    """Each image mirrored left to right with probability ½."""
    chances = _drawn(x, draws, lambda some, draw: torch.rand(some, generator=draw))
    mirrored = _beside((chances < 0.5).nonzero()[:, 0], x)
    return x.index_copy(0, mirrored, x.index_select(0, mirrored).flip(3))


def _cutout(x: Tensor, draws: Sequence[Generator]) -> Tensor:
    """A square of half the height set to the mean, its centre uniform over the image (DeVries 2017: 16 of 32 px)."""
    height, width = x.shape[2:]
    half = height // 4

    def centre(size: int) -> Tensor:
        drawn = _drawn(x, draws, lambda some, draw: torch.randint(0, size, (some,), generator=draw))
        return _beside(drawn, x)[:, None]

    row, column = centre(height), centre(width)
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    inside_rows = (rows >= row - half) & (rows < row + half)
    inside_columns = (columns >= column - half) & (columns < column + half)
    return x.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0)
