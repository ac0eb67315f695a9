"""Networks by name: one file per model, plain `nn.Module`s."""

from typing import Protocol

from torch import nn

from basin.registry import Registry


class Model(Protocol):
    """Builds the network of a model."""

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network for images of `shape` (channels, height, width), freshly initialised from torch's generator."""
        ...


models: Registry[Model] = Registry("model", __name__)
