"""Residual networks for small images (He 2016, section 4.2: the CIFAR form)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basin.models import models
from basin.models.symmetry import Axis, Group, Part, Reading, Symmetry, norm_axes, norm_blocks
from basin.spec import Bounds, Checked, Unit

Norm = Literal["batch", "layer", "group"]


@models.register("resnet8", depth=8)
@models.register("resnet20", depth=20)
@dataclass(frozen=True, kw_only=True)
class ResNet(Checked):
    """6n+2 layers: three stages of n basic blocks with 16, 32, 64 channels times `width`.

    The shortcut where the shape changes is a projection (option B): zero padding would fix the order of the channels
    and so make alignment by permutation impossible.
    """

    version: ClassVar[int] = 1

    depth: Annotated[int, Bounds(8), Unit("layers")]
    """Layers with weights, 6n+2."""
    width: Annotated[float, Bounds(0.125, 64)] = 1.0
    """Multiplier of the 16, 32, 64 channels."""
    norm: Norm = "batch"
    """Normalisation after each convolution; `layer` is GroupNorm with one group, `group` with 8 channels a group,
    or the next larger number that divides the width."""
    shortcut: Literal["1x1", "3x3"] = "1x1"
    """Kernel of the projection shortcut."""

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network for images of `shape`; He initialisation of the convolutions."""
        return ResNetModule(self, shape[0], classes)


class ResNetModule(nn.Module):
    """The residual network itself."""

    def __init__(self, spec: ResNet, channels: int, classes: int) -> None:
        super().__init__()
        widths = [max(1, round(base * spec.width)) for base in (16, 32, 64)]
        self.conv = _square_convolution(channels, widths[0])
        self.norm = _make_norm(spec.norm, widths[0])
        blocks: list[nn.Module] = []
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for index in range((spec.depth - 2) // 6):
                blocks.append(Block(spec, inputs, width, stride=2 if stage and not index else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits [batch, classes]."""
        hidden = F.relu(self.norm(self.conv(images)))
        return torch.as_tensor(self.head(self.blocks(hidden).mean(dim=(2, 3))))

    def symmetry(self) -> Symmetry:
        """A group for the residual stream of each stage, and one within each block.

        A projection shortcut writes to the stream of its own stage and reads that of the stage before.
        """
        groups: Symmetry = {}
        norm: nn.Module = self.norm
        axes: list[Axis] = [("conv.weight", 0), *norm_axes("norm", self.norm)]
        readings: list[Reading] = [("blocks.0", "input")]
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            name = f"blocks.{index}"
            axes.append((f"{name}.conv1.weight", 1))
            if isinstance(block.shortcut, nn.Sequential):
                axes.append((f"{name}.shortcut.0.weight", 1))
                groups[f"stream to {name}"] = _channel_group(norm, axes, readings)
                norm = block.shortcut[1]
                axes = [(f"{name}.shortcut.0.weight", 0), *norm_axes(f"{name}.shortcut.1", norm)]
                readings = []
            axes += [(f"{name}.conv2.weight", 0), *norm_axes(f"{name}.norm2", block.norm2)]
            readings.append((name, "output"))
            groups[f"{name}.inner"] = block.inner(name)
        axes.append(("head.weight", 1))
        groups["stream to head"] = _channel_group(norm, axes, readings)
        return groups


class Block(nn.Module):
    """Two 3×3 convolutions and the way around them."""

    def __init__(self, spec: ResNet, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _square_convolution(inputs, width, stride=stride)
        self.norm1 = _make_norm(spec.norm, width)
        self.conv2 = _square_convolution(width, width)
        self.norm2 = _make_norm(spec.norm, width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            kernel = 1 if spec.shortcut == "1x1" else 3
            self.shortcut = nn.Sequential(
                _square_convolution(inputs, width, stride=stride, kernel=kernel), _make_norm(spec.norm, width)
            )

    def forward(self, hidden: Tensor) -> Tensor:
        """The block's output, ReLU applied after the sum."""
        inner = F.relu(self.norm1(self.conv1(hidden)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(hidden))

    def inner(self, name: str) -> Group:
        """The channels between the two convolutions of the block called `name`."""
        axes = ((f"{name}.conv1.weight", 0), *norm_axes(f"{name}.norm1", self.norm1), (f"{name}.conv2.weight", 1))
        return _channel_group(self.norm1, axes, [(f"{name}.conv2", "input")])


def _channel_group(norm: nn.Module, axes: Iterable[Axis], readings: Iterable[Reading]) -> Group:
    return Group(len(norm.state_dict()["weight"]), (Part(tuple(axes), tuple(readings)),), norm_blocks(norm))


def _square_convolution(inputs: int, outputs: int, *, stride: int = 1, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)


def _make_norm(norm: Norm, width: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(width)
    groups = 1 if norm == "layer" else next(g for g in range(max(1, width // 8), 0, -1) if width % g == 0)
    return nn.GroupNorm(groups, width)
