"""An ensemble as one module: from pixels to class probabilities, for use outside this project."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from basin.errors import UsageError
from basin.saved import Inputs


class Normalise(nn.Module):
    """Pixels to the inputs of the networks: minus mean, divided by standard deviation, as in training."""

    shift: Tensor
    scale: Tensor

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        mean, std = torch.tensor(inputs.mean), torch.tensor(inputs.std)
        self.register_buffer("shift", 255 * mean[:, None, None])
        self.register_buffer("scale", 1 / (255 * std[:, None, None]))

    def forward(self, images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float32[Tensor, "b c h w"]:
        """Grey levels 0 … 255 as uint8, or 0 … 1 as floating point."""
        pixels = images.float() * 255 if images.is_floating_point() else images.float()
        return (pixels - self.shift) * self.scale


class Predictor(nn.Module):
    """The mean of the members' class probabilities."""

    def __init__(self, inputs: Inputs, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.normalise = Normalise(inputs)
        self.members = nn.ModuleList(members)
        self.eval()

    def forward(self, images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float32[Tensor, "b classes"]:
        """Probabilities; images as `Normalise` takes them."""
        pixels = self.normalise(images)
        return torch.stack([member(pixels).softmax(dim=1) for member in self.members]).mean(dim=0)


def check_images(images: Tensor, inputs: Inputs) -> None:
    """Raise UsageError for images of another shape, type or range than `Normalise` takes."""
    channels, height, width = inputs.shape
    if images.dim() != 4 or tuple(images.shape[1:]) != inputs.shape:
        raise UsageError(
            f"images of shape {list(images.shape)}: expected [N, {channels}, {height}, {width}] (channels first)"
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise UsageError(f"images of {images.dtype}: expected uint8 from 0 to 255, or floating point from 0 to 1")
    if images.is_floating_point() and len(images) and not 0 <= images.min() <= images.max() <= 1:
        low, high = float(images.min()), float(images.max())
        raise UsageError(f"floating-point images from {low:g} to {high:g}: expected values from 0 to 1, or uint8")
