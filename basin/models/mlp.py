"""A multilayer perceptron, for tests and small data."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

from torch import nn

from basin.models import models
from basin.models.symmetry import Group, Part, Symmetry
from basin.spec import Bounds, Checked, Unit


@models.register("mlp")
@dataclass(frozen=True, kw_only=True)
class MLP(Checked):
    """Fully connected layers with ReLU."""

    version: ClassVar[int] = 1

    hidden: Annotated[int, Bounds(1), Unit("units")] = 64
    """Units of each hidden layer."""
    layers: Annotated[int, Bounds(1), Unit("layers")] = 2
    """Hidden layers."""

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network for images of `shape`."""
        inputs = shape[0] * shape[1] * shape[2]
        widths = [inputs, *[self.hidden] * self.layers]
        blocks = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
        return MLPModule(nn.Flatten(), *blocks, nn.Linear(widths[-1], classes))


class MLPModule(nn.Sequential):
    """Flatten, hidden layers 1, 2, …, and the output layer after them."""

    def symmetry(self) -> Symmetry:
        """One group a hidden layer."""
        groups: Symmetry = {}
        for layer in range(1, len(self) - 1):
            following = f"{layer + 1}.0" if layer + 2 < len(self) else f"{layer + 1}"
            axes = ((f"{layer}.0.weight", 0), (f"{layer}.0.bias", 0), (f"{following}.weight", 1))
            size = len(self.get_parameter(f"{layer}.0.bias"))
            groups[f"hidden{layer}"] = Group(size, (Part(axes, ((f"{layer}", "output"),)),))
        return groups
