"""Out-of-distribution images: images of another dataset, reshaped to those of the trial's own."""

import torch
import torch.nn.functional as F

from basin.data.dataset import Arrays
from basin.data.splits import Images, stratified_order

MOST = 2000
"""Images taken, at most."""


def reshape_images(arrays: Arrays, shape: tuple[int, int, int], device: torch.device) -> Images:
    """Up to 2,000 of the test images, drawn with a fixed seed, as uint8 of `shape`.

    Height and width by area averaging or bilinear enlarging; grey becomes colour by repetition, colour grey by the
    mean of its channels.
    """
    channels, height, width = shape
    chosen = stratified_order(arrays.test_labels, 0, "elsewhere")[:MOST]
    pixels = torch.from_numpy(arrays.test_images[chosen]).float()
    if pixels.shape[1] != channels:
        pixels = pixels.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    if tuple(pixels.shape[2:]) != (height, width):
        mode = "area" if pixels.shape[2] >= height else "bilinear"
        pixels = F.interpolate(pixels, (height, width), mode=mode)
    images = pixels.round().clamp(0, 255).to(torch.uint8).to(device)
    return Images(
        images, torch.zeros(len(images), dtype=torch.int64, device=device), torch.arange(len(images), device=device)
    )
