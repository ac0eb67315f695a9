"""Batches are functions of (seed, member, step)."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from basin.data import Data, DataSplit, datasets, image_chunks, split_data, steps_per_epoch, training_batch
from basin.data.batches import augment_images
from basin.seeds import make_generator

DIGITS = datasets.make("digits")
ARRAYS = DIGITS.decode(None, Path())
KINDS = ["none", "crop", "crop+flip", "crop+flip+cutout"]


def data(n: int = 40, kind: str = "crop+flip+cutout", device: str = "cpu") -> Data:
    return split_data(ARRAYS, DIGITS, DataSplit(train_size=n, augment=kind), device=device)  # type: ignore[arg-type]


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 3))
def test_an_epoch_meets_every_image_once(n: int, batch_size: int, epoch: int) -> None:
    plain = data(n, "none")
    steps = steps_per_epoch(n, batch_size)
    seen = [
        training_batch(plain, seed=0, member=0, step=epoch * steps + place, batch_size=batch_size)[0]
        for place in range(steps)
    ]
    x = torch.cat(seen).flatten(1)
    expected = n if n < batch_size else n - n % batch_size
    assert len(x) == expected
    every = plain.normalise(plain.train.take(torch.arange(n))[0]).flatten(1)
    met = (x[:, None] == every[None]).all(2).sum(0)
    assert met.max() == 1
    assert met.sum() == expected


@pytest.mark.parametrize("kind", KINDS)
def test_any_step_comes_back_without_the_steps_before(kind: str) -> None:
    forward = [training_batch(data(kind=kind), seed=3, member=1, step=step, batch_size=16) for step in range(7)]
    for step in reversed(range(7)):
        x, y = training_batch(data(kind=kind), seed=3, member=1, step=step, batch_size=16)
        assert torch.equal(x, forward[step][0])
        assert torch.equal(y, forward[step][1])


def test_seed_member_and_epoch_change_the_order() -> None:
    labels = {
        torch.cat([training_batch(data(), seed=s, member=m, step=2 * e + i, batch_size=20)[1] for i in (0, 1)])
        .numpy()
        .tobytes()
        for s, m, e in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    }
    assert len(labels) == 4


def test_draws_ignore_the_global_seed() -> None:
    torch.manual_seed(1)
    first = training_batch(data(), seed=0, member=0, step=0, batch_size=16)[0]
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(first, training_batch(data(), seed=0, member=0, step=0, batch_size=16)[0])
    assert torch.equal(before, torch.get_rng_state())


def oracle(x: Tensor, kind: str, draw: Generator) -> Tensor:
    """The same augmentations, a pixel at a time."""
    n, _, height, width = x.shape
    for step in kind.split("+"):
        out = torch.zeros_like(x)
        if step == "crop":
            pad = height // 8
            corner = torch.randint(0, 2 * pad + 1, (2, n), generator=draw)
        if step == "flip":
            flipped = torch.rand(n, generator=draw) < 0.5
        if step == "cutout":
            rows, columns = (torch.randint(0, size, (n, 1), generator=draw) for size in (height, width))
        for image in range(n):
            for i in range(height):
                for j in range(width):
                    from_i, from_j = i, j
                    if step == "crop":
                        from_i, from_j = i + int(corner[0, image]) - pad, j + int(corner[1, image]) - pad
                    if step == "flip" and flipped[image]:
                        from_j = width - 1 - j
                    if step == "cutout":
                        down, right = i - int(rows[image]), j - int(columns[image])
                        if -height // 4 <= down < height // 4 and -height // 4 <= right < height // 4:
                            continue
                    if 0 <= from_i < height and 0 <= from_j < width:
                        out[image, :, i, j] = x[image, :, from_i, from_j]
        x = out
    return x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(6, 3, 8, 8), (3, 1, 16, 24)])
def test_augmentation_equals_the_slow_one(kind: str, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=make_generator("pixels"))
    for seed in range(4):
        assert torch.equal(augment_images(x.clone(), kind, make_generator(seed)), oracle(x, kind, make_generator(seed)))


def test_the_layout_in_memory_does_not_matter() -> None:
    x = torch.randn(5, 3, 8, 8, generator=make_generator("pixels"))
    shuffled = x.contiguous(memory_format=torch.channels_last)
    for kind in KINDS:
        assert torch.equal(
            augment_images(shuffled, kind, make_generator(1)), augment_images(x, kind, make_generator(1))
        )
    small = x[:, :, :7, :7]  # too small for a border
    assert torch.equal(augment_images(small, "crop", make_generator(1)), small)


def test_crops_reach_every_offset_and_flips_are_fair() -> None:
    x = torch.arange(64.0).reshape(1, 1, 8, 8).expand(4000, 1, 8, 8)
    centres = augment_images(x, "crop", make_generator(0))[:, 0, 4, 4]
    assert sorted(centres.unique().tolist()) == [27, 28, 29, 35, 36, 37, 43, 44, 45]
    flipped = (augment_images(x, "flip", make_generator(0))[:, 0, 0, 0] == 7).float().mean()
    assert 0.45 < flipped < 0.55


def test_cutout_of_32_pixels_is_16_wide() -> None:
    x = torch.ones(200, 1, 32, 32)
    removed = (augment_images(x, "cutout", make_generator(0)) == 0).sum((1, 2, 3))
    assert removed.max() == 256
    assert removed.min() >= 64


def test_training_images_are_not_changed() -> None:
    before = data().train.images.clone()
    training_batch(data(), seed=0, member=0, step=0, batch_size=40)
    assert torch.equal(before, data().train.images)


def test_chunks_are_all_images_in_order() -> None:
    test = data().test
    sizes = [len(labels) for _, labels in image_chunks(test, 100)]
    assert sizes == [100] * 6 + [97]
    assert torch.equal(torch.cat([images for images, _ in image_chunks(test, 100)]), test.images[test.index])
    assert torch.equal(torch.cat([labels for _, labels in image_chunks(test, 100)]), test.labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_sees_the_same_batches(kind: str) -> None:
    for step in (0, 5):
        (x, y), (there, labels) = (
            training_batch(data(40, kind, device), seed=0, member=2, step=step, batch_size=16)
            for device in ("cpu", "cuda")
        )
        torch.testing.assert_close(there.cpu(), x)
        assert torch.equal(labels.cpu(), y)
