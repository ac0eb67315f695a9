"""Any classifier of torchvision by its own name: `torchvision:resnet18`."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from basin.errors import UsageError, one_of
from basin.models import models
from basin.spec import Checked


@models.register_prefix("torchvision:", "architecture")
@dataclass(frozen=True, kw_only=True)
class TorchVision(Checked):
    """A classifier of torchvision, freshly initialised, for the classes of the data.

    Its dropout and stochastic depth are switched off: they would draw from a generator that a resumed trial does not
    restore. Images of one channel are shown three times; other numbers of channels than 1 and 3 are refused.
    """

    version: ClassVar[int] = 1

    architecture: str
    """Torchvision's name of the classifier."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.architecture not in _classifier_names():
            raise one_of("torchvision model", self.architecture, _classifier_names())

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network for images of `shape`; raises UsageError if it cannot take them."""
        from torchvision.models import get_model  # type: ignore[import-untyped]

        if shape[0] not in (1, 3):
            raise UsageError(f"torchvision:{self.architecture}: expected images of 1 or 3 channels, got {shape[0]}")
        try:
            module: nn.Module = get_model(
                self.architecture, weights=None, num_classes=classes, **self._builder_options(shape)
            )
            if shape[0] == 1:
                module.register_forward_pre_hook(_three_channels)
            _switch_off_chance(module)
            with torch.no_grad():
                module.eval()(torch.zeros(1, *shape))
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = str(error).strip().partition("\n")[0]
            size = " × ".join(map(str, shape))
            raise UsageError(f"torchvision:{self.architecture} cannot take images of {size}: {reason}") from error
        return module.train()

    def _builder_options(self, shape: tuple[int, int, int]) -> dict[str, Any]:
        if self.architecture.startswith("vit_"):
            return {"image_size": shape[1]}
        if self.architecture == "maxvit_t":
            return {"input_size": shape[1:]}
        if self.architecture in ("googlenet", "inception_v3"):
            return {"aux_logits": False, "init_weights": True}
        return {}


def _classifier_names() -> list[str]:
    import torchvision.models  # type: ignore[import-untyped]

    return list(torchvision.models.list_models(module=torchvision.models))


def _three_channels(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
    return (inputs[0].expand(-1, 3, -1, -1),)


def _switch_off_chance(module: nn.Module) -> None:
    from torchvision.ops import StochasticDepth  # type: ignore[import-untyped]

    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd | StochasticDepth):
            part.p = 0.0
