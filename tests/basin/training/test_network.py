"""A network as a function, against the plain module."""

from pathlib import Path

import pytest
import torch

from basin.models.resnet import ResNet
from basin.training.network import Network
from tests.support.tiny_trial import MODELS, copy, module, same, task, trial

SHAPE, CPU = (1, 8, 8), torch.device("cpu")


def network(kind: str, precision: str = "float32") -> Network:
    return Network(trial(**MODELS[kind]).model, SHAPE, 10, CPU, precision)


@pytest.mark.parametrize("kind", MODELS)
def test_initial_weights_depend_on_the_seed_only(kind: str) -> None:
    torch.manual_seed(1)
    first = network(kind).init(0, "member", 3)
    torch.manual_seed(2)
    again = network(kind)
    torch.rand(5)
    assert same(again.init(0, "member", 3), first)
    assert not same(again.init(0, "member", 4), first)
    assert not same(again.init(1, "member", 3), first)


def test_initialising_leaves_the_global_generator_alone() -> None:
    function = network("batch")
    before = torch.get_rng_state()
    function.init(0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_a_call_is_the_module_s(kind: str, train: bool, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    params, images = work.network.init(0), torch.randn(7, *SHAPE)
    plain = module(work, MODELS[kind], params).train(train)
    found = work.network(params, images, train=train)
    assert torch.equal(found, plain(images.contiguous(memory_format=torch.channels_last)))
    # BatchNorm's running statistics too.
    assert same(params, dict(plain.state_dict()))


def test_running_statistics_are_updated_in_the_weights_given_only() -> None:
    function = network("batch")
    params, other = function.init(0), function.init(1)
    before, own = copy(other), copy(dict(function.module.state_dict()))
    function(params, torch.randn(7, *SHAPE), train=True)
    assert int(params["norm.num_batches_tracked"]) == 1
    assert float(params["norm.running_mean"].abs().sum()) > 0
    assert same(other, before)
    assert same(dict(function.module.state_dict()), own)


def test_evaluation_changes_nothing() -> None:
    function = network("batch")
    params = function.init(0)
    before = copy(params)
    function(params, torch.randn(7, *SHAPE))
    assert same(params, before)


def test_weights_are_the_trained_tensors() -> None:
    function = network("batch")
    params = function.init(0)
    buffers = set(params) - set(function.weights)
    assert {name.rpartition(".")[2] for name in buffers} == {"running_mean", "running_var", "num_batches_tracked"}
    assert {name.rpartition(".")[0] for name in buffers} == set(function.batchnorms)
    assert network("layer").batchnorms == ()


def test_bfloat16_is_for_training_passes_only() -> None:
    plain, mixed = network("batch"), network("batch", "bfloat16")
    params, images = plain.init(0), torch.randn(7, *SHAPE)
    assert torch.equal(mixed(params, images), plain(params, images))
    full, half = plain(copy(params), images, train=True), mixed(copy(params), images, train=True)
    assert half.dtype == torch.float32
    assert torch.equal(half, half.bfloat16().float())
    assert not torch.equal(half, full)
    torch.testing.assert_close(half, full, rtol=0.1, atol=0.1)


def test_float64_weights_give_float64_logits() -> None:
    function = network("mlp")
    wide = {name: tensor.double() for name, tensor in function.init(0).items()}
    assert function(wide, torch.randn(7, *SHAPE, dtype=torch.float64)).dtype == torch.float64


def test_momentum_is_for_one_call_only() -> None:
    function = network("batch")
    params, images = function.init(0), torch.randn(7, *SHAPE)
    other = copy(params)
    function(params, images, train=True, momentum=1.0)
    convolved = torch.nn.functional.conv2d(images, other["conv.weight"], padding=1)
    torch.testing.assert_close(params["norm.running_mean"], convolved.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-6)
    after = copy(other)
    function(after, images, train=True)
    network("batch")(other, images, train=True)
    assert same(after, other)


def test_evaluation_is_in_float32_unless_asked_otherwise() -> None:
    function = network("batch", "bfloat16")
    params, images = function.init(0), torch.randn(7, *SHAPE)
    half = function(params, images, precision="bfloat16")
    assert torch.equal(half, half.bfloat16().float())
    assert not torch.equal(half, function(params, images))
    torch.testing.assert_close(half, function(params, images), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("width", [0.125, 0.7, 1.0, 1.3, 1.6, 4.0])
@pytest.mark.parametrize("norm", ["batch", "layer", "group"])
def test_every_width_can_be_built(width: float, norm: str) -> None:
    spec = ResNet(depth=8, width=width, norm=norm)
    function = Network(spec, SHAPE, 10, CPU)
    assert function(function.init(0), torch.randn(2, *SHAPE)).shape == (2, 10)


@pytest.mark.parametrize(("depth", "layers"), [(8, 7), (20, 19)])
def test_depth_counts_the_layers_on_the_way(depth: int, layers: int) -> None:
    params = Network(ResNet(depth=depth, shortcut="3x3"), (3, 8, 8), 10, CPU).init(0)
    convolutions = [name for name, tensor in params.items() if tensor.dim() == 4 and "shortcut" not in name]
    assert len(convolutions) == layers
    assert [tensor.shape[2:] for name, tensor in params.items() if "shortcut.0" in name] == [(3, 3), (3, 3)]


def test_resnet20_has_its_published_size() -> None:
    # He 2016, table 6: 0.27M parameters with free shortcuts; two 1×1 projections and their norms add 2,560 + 192.
    function = Network(ResNet(depth=20), (3, 32, 32), 10, CPU)
    params = function.init(0)
    assert sum(params[name].numel() for name in function.weights) == 269_722 + 2_560 + 192
