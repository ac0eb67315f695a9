"""Folded BatchNorm against the network as it is, and modules in which something cannot be folded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basin import stack
from basin.connectivity.batchnorm import MixingContext
from basin.connectivity.probe import Probe
from basin.models import models
from basin.prediction import predict
from basin.stack import Stack
from basin.training.folding import fold_module
from basin.training.network import Network
from tests.support.tiny_trial import MODELS, fresh, task

SHAPE = (3, 8, 8)


@dataclass(frozen=True)
class Fixed:
    """A model that is one module's class."""

    make: Callable[[], nn.Module]

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        return self.make()


class Plain(nn.Module):
    """A convolution with a bias, a BatchNorm, and one of each without a bias and without weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.second, self.bare = nn.Conv2d(4, 5, 3, bias=False), nn.BatchNorm2d(5, affine=False, eps=0.1)

    def hidden(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.bare(self.second(F.relu(self.hidden(x)))).mean(dim=(2, 3))


class UsedTwice(Plain):
    """The convolution's result goes around the BatchNorm."""

    def hidden(self, x: Tensor) -> Tensor:
        result = self.conv(x)
        return self.norm(result) + result


class ChangedBetween(Plain):
    """The convolution's result is changed in place before the BatchNorm."""

    def hidden(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x).mul_(2.0))


class CalledTwice(Plain):
    """The convolution has a second result, without BatchNorm."""

    def hidden(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) + self.conv(x + 1)


class NormedTwice(Plain):
    """One BatchNorm for two inputs."""

    def hidden(self, x: Tensor) -> Tensor:
        return self.norm(self.norm(self.conv(x)))


class WeightsUsed(Plain):
    """The convolution's weights act elsewhere too."""

    def hidden(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) * self.conv.weight.mean()


class ScaleUsed(Plain):
    """The BatchNorm's weights act elsewhere too."""

    def hidden(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) * self.norm.weight.mean()


class Hooked(Plain):
    """A hook changes the BatchNorm's input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 2,))


class Reparametrised(Plain):
    """The convolution's weights are computed."""

    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.conv)


class Own(Plain):
    """A BatchNorm of the user's own, which does more."""

    class Norm(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input).square()

    def __init__(self) -> None:
        super().__init__()
        self.norm = self.Norm(4)


class NeverEvaluated(Plain):
    """BatchNorm takes each batch's statistics in evaluation too."""

    def train(self, mode: bool = True) -> "NeverEvaluated":
        super().train(mode)
        self.norm.train()
        return self


class Choosing(Plain):
    """What is computed depends on the images."""

    def hidden(self, x: Tensor) -> Tensor:
        result = self.conv(x)
        return self.norm(result) + result if float(x.sum()) > 1e9 else self.norm(result)


def networks(function: Network, count: int = 2) -> Stack:
    """Networks in double precision, whose BatchNorms do something."""
    thetas = stack.stack_networks([function.init(k) for k in range(count)])
    draw = torch.Generator().manual_seed(0)
    for name, tensor in thetas.items():
        if tensor.is_floating_point():
            thetas[name] = torch.rand(tensor.shape, generator=draw, dtype=torch.float64) + 0.5
            if not name.endswith("running_var"):
                thetas[name] -= 1
    return thetas


def folded_names(function: Network, example: Tensor) -> dict[str, str]:
    model = fold_module(function.module.double(), example)
    return dict(model.norms) if model else {}


def check_same(function: Network) -> dict[str, str]:
    """Compare the folded network's logits; return what was folded."""
    images = torch.randn(6, *function.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    function.module.double()
    thetas = networks(function)
    other, fold = function.without_batchnorms(images[:2])
    expected = function.compute_logits(thetas, [images] * 2)
    found = other.compute_logits(fold(thetas), [images] * 2)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    return folded_names(function, images[:2])


def test_every_batchnorm_after_a_convolution_is_folded() -> None:
    function = Network(Fixed(Plain), SHAPE, 5, torch.device("cpu"))
    assert check_same(function) == {"conv": "norm", "second": "bare"}
    folded, _ = function.without_batchnorms(torch.zeros(1))
    for part in folded.module.modules():  # a hook of the run that found them would keep every result
        assert not part._forward_hooks
        assert not part._forward_pre_hooks


@pytest.mark.parametrize(
    "kind",
    [
        UsedTwice,
        ChangedBetween,
        CalledTwice,
        NormedTwice,
        WeightsUsed,
        ScaleUsed,
        Hooked,
        Reparametrised,
        Own,
        NeverEvaluated,
    ],
)
def test_what_acts_elsewhere_too_is_left(kind: Callable[[], nn.Module]) -> None:
    function = Network(Fixed(kind), SHAPE, 5, torch.device("cpu"))
    assert check_same(function) == {"second": "bare"}


def test_a_module_that_looks_at_values_is_left() -> None:
    assert check_same(Network(Fixed(Choosing), SHAPE, 5, torch.device("cpu"))) == {}


@pytest.mark.parametrize("name", ["resnet8", "torchvision:mobilenet_v3_small"])
def test_models_of_the_registry_are_folded_completely(name: str) -> None:
    function = Network(models.make(name), (3, 32, 32), 4, torch.device("cpu"))
    assert set(check_same(function).values()) == set(function.batchnorms)


@pytest.mark.parametrize("kind", ["mlp", "layer"])
def test_without_batchnorm_the_network_is_the_same_object(kind: str, tmp_path: Path, cache: Path) -> None:
    network = task(tmp_path, cache, **MODELS[kind]).network
    other, fold = network.without_batchnorms(torch.zeros(2, *network.shape))
    thetas = fresh(network, 2)
    assert other is network
    assert fold(thetas) is thetas


def test_mixed_networks_are_scored_without_batchnorms_and_members_as_they_are(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    thetas = fresh(work.network, 3)
    probe = Probe(MixingContext(work.network, thetas, work.data), {"val": work.data.val})
    probe.ends("interp")
    calls = []
    original = F.batch_norm
    monkeypatch.setattr(F, "batch_norm", lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs))
    (score,) = probe.mixed(torch.full((1, 3), 1 / 3, dtype=torch.float64), "interp")
    assert not calls
    log_probs = predict(work.network, stack.mix(thetas, torch.full((1, 3), 1 / 3)), work.data.val, work.data)[0]
    assert calls
    expected = F.nll_loss(log_probs.double(), work.data.val.labels)
    assert score["val"].loss == pytest.approx(float(expected), rel=1e-5)
