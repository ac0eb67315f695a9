"""Traced permutations: as those written by hand, of any module, and none that changes what a network computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basin.errors import UsageError
from basin.models import models
from basin.models.symmetry import Group, Symmetry
from basin.models.tracing import trace_symmetry
from tests.support.aligning import KINDS, SHAPE, network

IMAGES = (4, 3, 32, 32)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A float64 module in which no two units are alike; statistics stay positive."""
    torch.manual_seed(0)
    module = make().double()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point() and tensor.dim():
                tensor += (
                    0.1 * torch.rand(tensor.shape).double() if tensor.dim() == 1 else 0.01 * torch.randn_like(tensor)
                )
    for part in module.modules():
        if isinstance(getattr(part, "p", None), float):
            part.p = 0.0  # dropout and stochastic depth draw
    return module


def random_orders(group: Group, rng: np.random.Generator) -> list[np.ndarray]:
    """For each part, the old unit at each new place."""
    blocks = rng.permutation(group.blocks)
    orders = []
    for part in group.parts:
        length = (part.size or group.size) // group.blocks
        orders.append(np.concatenate([block * length + rng.permutation(length) for block in blocks]))
    return orders


def reordered(state: dict[str, Tensor], symmetry: Symmetry, seed: int) -> dict[str, Tensor]:
    """The tensors with their units in a random order, by plain indexing of NumPy arrays."""
    rng = np.random.default_rng(seed)
    arrays = {name: tensor.detach().numpy().copy() for name, tensor in state.items()}
    for group in symmetry.values():
        for part, order in zip(group.parts, random_orders(group, rng), strict=True):
            for name, axis in part.axes:
                length = arrays[name].shape[axis]
                places = part.places.get((name, axis), tuple((place,) for place in range(length)))
                index = list(range(length))
                for new, unit in enumerate(order):
                    for target, source in zip(places[new], places[unit], strict=True):
                        index[target] = source
                arrays[name] = np.take(arrays[name], index, axis=axis)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@torch.no_grad()
def outputs(
    module: nn.Module, state: dict[str, Tensor], images: Tensor, *, train: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """What the module returns with these tensors, and its tensors afterwards."""
    own = {name: tensor.clone() for name, tensor in state.items()}
    result = torch.func.functional_call(module.train(train), own, (images,), tie_weights=False)
    parts = [result] if isinstance(result, Tensor) else [part for part in result if part is not None]
    return torch.cat(parts), own


def assert_preserved(module: nn.Module, symmetry: Symmetry, images: Tensor) -> None:
    """The permuted network returns the same; a training pass leaves the permuted statistics."""
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    moved = reordered(state, symmetry, seed=1)
    for group in symmetry.values():
        for part in group.parts:
            if (part.size or group.size) > 4:  # else the random order may be the old one
                assert all(not torch.equal(moved[name], state[name]) for name, _ in part.axes)
    for train in (False, True):
        before, left = outputs(module, state, images, train=train)
        after, statistics = outputs(module, moved, images, train=train)
        scale = float(before.abs().max())
        assert 0 < scale < float("inf")
        assert float((before - after).abs().max()) < 1e-9 * scale, f"train={train}"
        expected = reordered(left, symmetry, seed=1)
        for name, _ in module.named_buffers():
            torch.testing.assert_close(statistics[name], expected[name], rtol=1e-9, atol=1e-9)


def simple(symmetry: Symmetry) -> set[Any]:
    """Names and orders do not count, nor does it whether unblocked parts are in one group."""
    groups = set()
    for group in symmetry.values():
        parts = [(frozenset(part.axes), tuple(sorted(part.places.items())), part.size) for part in group.parts]
        together = [frozenset(parts)] if group.blocks > 1 else [frozenset([part]) for part in parts]
        groups |= {(group.size, group.blocks, one) for one in together}
    return groups


@pytest.mark.parametrize("kind", KINDS)
def test_traced_groups_are_the_written_ones(kind: str) -> None:
    function, written = network(kind)
    assert simple(trace_symmetry(function.module, torch.zeros(2, *SHAPE))) == simple(written)


@pytest.mark.parametrize("kind", KINDS)
def test_traced_units_can_be_observed(kind: str) -> None:
    function, _ = network(kind)
    symmetry = trace_symmetry(function.module, torch.zeros(2, *SHAPE))
    assert all(part.readings for group in symmetry.values() for part in group.parts)


def test_tracing_leaves_the_module_and_the_generator_alone() -> None:
    module = models.make("resnet8").build(SHAPE, 10).eval()
    before, generator = {n: t.clone() for n, t in module.state_dict().items()}, torch.get_rng_state()
    trace_symmetry(module, torch.zeros(1, *SHAPE))
    assert not module.training
    assert not any(part._forward_hooks for part in module.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


QUICK = ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"]
LARGE = ["resnet50", "mobilenet_v2", "densenet121", "efficientnet_b0", "googlenet", "convnext_tiny", "regnet_y_400mf"]
LARGE += ["resnext50_32x4d", "vgg11_bn", "vit_b_16", "swin_t"]
GROUPS = {"resnet18": 12, "vgg11_bn": 9, "densenet121": 120, "vit_b_16": 25, "swin_t": 28, "mobilenet_v3_small": 27}
"""Some known numbers: a stream a stage and a group a block; a group a layer; a stream, an MLP and heads a block."""


def narrowed(module: nn.Module) -> nn.Module:
    """VGG with one narrow layer in its classifier instead of 120 million weights."""
    if type(module).__name__ == "VGG":
        module.classifier = nn.Sequential(nn.Linear(512 * 49, 32), nn.ReLU(), nn.Linear(32, 10))
    return module


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_torchvision_s_networks_are_traced(name: str) -> None:
    from torchvision.models import get_model

    options: dict[str, Any] = {"image_size": 32} if name == "vit_b_16" else {}
    options |= {"init_weights": False} if name == "googlenet" else {}
    module = seeded(lambda: narrowed(get_model(name, weights=None, num_classes=10, **options)))
    symmetry = trace_symmetry(module, torch.zeros(2, *IMAGES[1:], dtype=torch.float64))
    assert len(symmetry) == GROUPS.get(name, len(symmetry))
    moved = {axis[0] for group in symmetry.values() for part in group.parts for axis in part.axes}
    assert len(moved) > 0.9 * sum(tensor.dim() > 0 for tensor in module.state_dict().values())
    assert_preserved(module, symmetry, torch.randn(IMAGES, dtype=torch.float64))


class LeNet(nn.Module):
    """Convolutions, then linear layers on channels × positions."""

    def __init__(self, *, channels_last: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 8, 5)
        self.fc1, self.fc2 = nn.Linear(8 * 25, 12), nn.Linear(12, 10)
        self.channels_last = channels_last

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.max_pool2d(F.relu(self.conv1(images)), 2)
        hidden = F.max_pool2d(F.relu(self.conv2(hidden)), 2)
        hidden = hidden.permute(0, 2, 3, 1) if self.channels_last else hidden
        return self.fc2(torch.tanh(self.fc1(hidden.flatten(1))))


class Gated(nn.Module):
    """Two halves of a layer, of which one scales the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(27, 16), nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        value, gate = self.first(F.adaptive_avg_pool2d(images, 3).flatten(1)).chunk(2, dim=1)
        return self.last(value * gate.sigmoid())


class Halves(nn.Module):
    """Two halves of a layer with functions of their own, then side by side again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(27, 16), nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        first, second = self.first(F.adaptive_avg_pool2d(images, 3).flatten(1)).chunk(2, dim=1)
        return self.last(torch.cat([first.relu(), second.tanh()], 1))


class Grouped(nn.Module):
    """Convolutions in groups, forwards and transposed, and a depthwise one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 12, 3),
            nn.Conv2d(12, 8, 3, groups=4),
            nn.GroupNorm(4, 8),
            nn.ConvTranspose2d(8, 6, 3, bias=False),
            nn.Conv2d(6, 12, 3, groups=6),
            nn.Conv2d(12, 8, 1),
            nn.ConvTranspose2d(8, 8, 3, groups=2),
            nn.Flatten(2),
        )
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.layers(images).mean(2))


class Stream(nn.Module):
    """Layers that read the stream that they write to; one is used twice and known by two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix = nn.Linear(27, 9), nn.Linear(9, 9)
        self.again, self.head = self.mix, nn.Linear(9, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.stem(F.adaptive_avg_pool2d(images, 3).flatten(1))
        for layer in (self.mix, self.again):
            hidden = hidden + layer(hidden).relu()
        return self.head(hidden)


class Unusual(nn.Module):
    """Unused weights, a weight used twice, an in-place write, a fixed buffer, and a part for training only."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(5, 5)
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 10)
        self.auxiliary = nn.Linear(8, 10)
        self.code, self.decode = nn.Linear(8, 6, bias=False), nn.Parameter(torch.zeros(8))
        self.register_buffer("scale", torch.ones(8, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.stem(images) * self.scale
        hidden[:, :, 0] = hidden[:, :, 1] * 2
        pooled = torch.cat([hidden.amax((2, 3)), hidden.std((2, 3))]).view(2, -1, 8).mean(0)
        pooled = pooled + F.linear(self.code(pooled).relu(), self.code.weight.t(), self.decode)
        return self.head(pooled) + (self.auxiliary(pooled) if self.training else 0)


class Attention(nn.Module):
    """Tokens with a class token, positions, packed projections and a scale for each head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 8, stride=8)
        self.token = nn.Parameter(torch.zeros(1, 1, 12))
        self.positions = nn.Embedding(17, 12)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 12)
        self.temperature = nn.Parameter(torch.ones(3, 1, 1))
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], 1) + self.positions(torch.arange(17))
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        q, k, v = self.qkv(tokens).unflatten(2, (3, 3, 4)).permute(2, 0, 3, 1, 4)
        scores = (q @ k.mT * self.temperature).softmax(-1)
        tokens = tokens + self.out((scores @ v).transpose(1, 2).flatten(2))
        return self.head(self.norm(tokens)[:, 0])


OWN: dict[str, tuple[Callable[[], nn.Module], list[tuple[int, int]]]] = {
    "lenet": (LeNet, [(6, 1), (8, 1), (12, 1)]),
    "lenet-last": (lambda: LeNet(channels_last=True), [(6, 1), (8, 1), (12, 1)]),
    "gated": (Gated, [(8, 1)]),
    "halves": (Halves, [(8, 1), (8, 1)]),
    "grouped": (Grouped, [(8, 2), (8, 4), (12, 6)]),
    "stream": (Stream, [(9, 1)]),
    "unusual": (Unusual, [(6, 1), (8, 1)]),
    "attention": (Attention, [(12, 1), (12, 3), (12, 3)]),
}


@pytest.mark.parametrize("kind", OWN)
def test_a_module_of_one_s_own_is_traced(kind: str) -> None:
    make, expected = OWN[kind]
    module = seeded(make)
    symmetry = trace_symmetry(module, torch.zeros(IMAGES, dtype=torch.float64))
    assert sorted((group.size, group.blocks) for group in symmetry.values()) == expected
    assert_preserved(module, symmetry, torch.randn(IMAGES, dtype=torch.float64))


def test_the_places_of_a_channel_in_a_flattened_axis() -> None:
    expected = {False: lambda c, p: 25 * c + p, True: lambda c, p: 8 * p + c}
    for channels_last, place in expected.items():
        symmetry = trace_symmetry(LeNet(channels_last=channels_last), torch.zeros(IMAGES))
        (part,) = symmetry["conv2.weight"].parts
        assert part.places == {("fc1.weight", 1): tuple(tuple(place(c, p) for p in range(25)) for c in range(8))}
        assert set(part.axes) == {("conv2.weight", 0), ("conv2.bias", 0), ("fc1.weight", 1)}


def test_a_tensor_with_two_names_is_permuted_under_both() -> None:
    (group,) = trace_symmetry(Stream(), torch.zeros(IMAGES)).values()
    assert group.meets_itself()
    assert {("mix.weight", 0), ("mix.weight", 1), ("again.weight", 0), ("again.weight", 1)} <= set(group.parts[0].axes)


class Sorted(nn.Sequential):
    """Operations without a rule on units."""

    def forward(self, images: Tensor) -> Tensor:
        hidden = self[0](images.mean((2, 3)))
        return self[1](torch.fft.fft(hidden).real)


class Written(nn.Sequential):
    """Units are written into a part of a tensor that holds none."""

    def forward(self, images: Tensor) -> Tensor:
        room = torch.zeros(len(images), 10)
        room[:, 1:9] = self[0](images.mean((2, 3)))
        return self[1](room[:, 1:9])


@pytest.mark.parametrize(("make", "words"), [(Sorted, "fft"), (Written, "copy_")])
def test_what_cannot_be_traced_is_refused_by_name(make: type[nn.Sequential], words: str) -> None:
    module = nn.Sequential(make(nn.Linear(3, 8), nn.Linear(8, 10)))
    with pytest.raises(
        UsageError, match=rf"^0 \({make.__name__}\): .*{words}.*symmetry\(\).*docs/extending\.md"
    ) as caught:
        trace_symmetry(module, torch.zeros(IMAGES))
    assert "\n" not in str(caught.value)


def test_a_module_without_units_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^Sequential: no units can be permuted"):
        trace_symmetry(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), torch.zeros(2, *SHAPE))


def test_observed_units_are_in_the_order_of_the_group() -> None:
    from torchvision.models import resnet18

    for module in (seeded(lambda: resnet18(num_classes=10)), seeded(LeNet)):
        symmetry = trace_symmetry(module, torch.zeros(IMAGES, dtype=torch.float64))
        state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        images = torch.randn(IMAGES, dtype=torch.float64)
        before, after = (observed(module, s, symmetry, images) for s in (state, reordered(state, symmetry, 1)))
        rng = np.random.default_rng(1)
        for group in symmetry.values():
            for part, order in zip(group.parts, random_orders(group, rng), strict=True):
                assert part.readings
                for reading in part.readings:
                    axis = 1 if before[reading].dim() == 4 else -1
                    expected = before[reading].index_select(axis, torch.from_numpy(order))
                    torch.testing.assert_close(after[reading], expected, rtol=1e-9, atol=1e-9)


def observed(module: nn.Module, state: dict[str, Tensor], symmetry: Symmetry, images: Tensor) -> dict[Any, Tensor]:
    """What the readings of a spec see."""
    seen: dict[Any, Tensor] = {}
    handles = []
    for name, side in {r for group in symmetry.values() for part in group.parts for r in part.readings}:

        def take(_: nn.Module, inputs: Any, output: Any, key: Any = (name, side)) -> None:
            seen[key] = (inputs[0] if key[1] == "input" else output).clone()

        handles.append(module.get_submodule(name).register_forward_hook(take))
    outputs(module, state, images, train=False)
    for handle in handles:
        handle.remove()
    return seen
