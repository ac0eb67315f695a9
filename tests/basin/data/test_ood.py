"""Another dataset's images in the shape of this one's."""

import numpy as np
import pytest
import torch

from basin.data import Arrays, reshape_images


def arrays(count: int, shape: tuple[int, int, int]) -> Arrays:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    labels = np.arange(count) % 3
    return Arrays(images[:1], labels[:1], images, labels, ("a", "b", "c"))


def test_same_shape_keeps_pixels() -> None:
    source = arrays(30, (1, 8, 8))
    found = reshape_images(source, (1, 8, 8), torch.device("cpu"))
    images, _ = found.take(torch.arange(30))
    assert sorted(image.tobytes() for image in images.numpy()) == sorted(i.tobytes() for i in source.test_images)


@pytest.mark.parametrize("factor", [2, 4])
def test_smaller_is_the_mean_of_the_area(factor: int) -> None:
    value = arrays(3, (1, 8, 8))
    small = reshape_images(value, (1, 8 // factor, 8 // factor), torch.device("cpu"))
    same = reshape_images(value, (1, 8, 8), torch.device("cpu"))
    size = 8 // factor
    blocks = same.images.reshape(3, 1, size, factor, size, factor).float().mean(dim=(3, 5))
    assert (small.images.float() - blocks).abs().max() <= 0.5


def test_colour_becomes_grey_and_grey_colour() -> None:
    colour = reshape_images(arrays(3, (3, 4, 4)), (1, 4, 4), torch.device("cpu"))
    whole = reshape_images(arrays(3, (3, 4, 4)), (3, 4, 4), torch.device("cpu"))
    assert (colour.images.float() - whole.images.float().mean(dim=1, keepdim=True)).abs().max() <= 0.5
    grey = reshape_images(arrays(3, (1, 4, 4)), (3, 4, 4), torch.device("cpu"))
    assert torch.equal(grey.images[:, 0], grey.images[:, 2])


def test_enlarged_has_the_shape_and_at_most_two_thousand_images() -> None:
    found = reshape_images(arrays(2100, (1, 4, 4)), (3, 8, 8), torch.device("cpu"))
    assert len(found) == 2000
    assert found.images.shape == (2000, 3, 8, 8)
    again = reshape_images(arrays(2100, (1, 4, 4)), (3, 8, 8), torch.device("cpu"))
    assert torch.equal(found.images, again.images)
