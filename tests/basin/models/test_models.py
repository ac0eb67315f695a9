"""One contract for every registered model: it is a function of its weights and of nothing else."""

import pytest
import torch

from basin import stack
from basin.alignment.permutation import permute_network, random_permutation
from basin.models import models
from basin.seeds import make_generator
from basin.stack import Params
from basin.training.network import Network
from tests.support.tiny_trial import same

NAMES = [*models, "torchvision:shufflenet_v2_x0_5"]
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)]
"""Of every dataset's images."""
SHAPE = (3, 32, 32)


def network(name: str, shape: tuple[int, int, int] = SHAPE) -> Network:
    return Network(models.make(name), shape, 7, torch.device("cpu"))


def images(count: int, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    return torch.randn(count, *shape, generator=make_generator("images", count))


def wide(params: Params) -> Params:
    return {name: tensor.double() if tensor.is_floating_point() else tensor.clone() for name, tensor in params.items()}


@pytest.mark.parametrize("name", NAMES)
def test_its_name_makes_it(name: str) -> None:
    assert models.name(models.make(name)) == name
    assert models.make(name) == models.make(name)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", list(models))
def test_it_takes_the_images_of_every_dataset(name: str, shape: tuple[int, int, int]) -> None:
    function = network(name, shape)
    logits = function(function.init(0), images(2, shape))
    assert (logits.shape, logits.dtype) == ((2, 7), torch.float32)
    assert bool(logits.isfinite().all())
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_function_of_its_weights(name: str) -> None:
    function, other = network(name), network(name)
    params, batch = function.init(0, "member", 1), images(4)
    assert same(other.init(0, "member", 1), params)
    assert not same(other.init(0, "member", 2), params)
    before = torch.get_rng_state()
    first = function(wide(params), batch.double())
    assert torch.equal(other(wide(params), batch.double()), first)
    for train in (False, True):
        again = [function(wide(params), batch.double(), train=train) for _ in range(2)]
        assert torch.equal(*again), "a training pass drew something"
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.allclose(function(wide(other.init(0, "member", 2)), batch.double()), first)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_s_logits_are_its_own(name: str) -> None:
    function = network(name)
    params, batch = wide(function.init(0)), images(5).double()
    alone = torch.cat([function(params, image[None]) for image in batch])
    torch.testing.assert_close(alone, function(params, batch), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_trained_and_every_buffer_is_batchnorm_s(name: str) -> None:
    function = network(name)
    params = function.init(0)
    weights = {key: params[key].requires_grad_() for key in function.weights}
    loss = torch.nn.functional.cross_entropy(function(params, images(6), train=True), torch.arange(6))
    gradients = torch.autograd.grad(loss, list(weights.values()))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert sum(bool(gradient.any()) for gradient in gradients) > 0.9 * len(gradients)
    assert {key.rpartition(".")[0] for key in params.keys() - weights.keys()} == set(function.batchnorms)


@pytest.mark.parametrize("name", NAMES)
def test_a_stack_of_it_is_mixed(name: str) -> None:
    function = network(name)
    thetas = stack.stack_networks([function.init(seed) for seed in range(2)])
    middle = stack.network_at(stack.mix(thetas, torch.full((1, 2), 0.5)), 0)
    assert middle.keys() == thetas.keys()
    assert all(tensor.dtype == thetas[key].dtype for key, tensor in middle.items())
    assert bool(function(middle, images(2)).isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_its_permutations_change_nothing(name: str) -> None:
    function = network(name)
    symmetry, params = function.symmetry, wide(function.init(0))
    moved = permute_network(params, symmetry, random_permutation(symmetry, make_generator("units")))
    assert not same(moved, params)
    with torch.no_grad():
        expected, found = (function(each, images(4).double()) for each in (params, moved))
    assert float((found - expected).abs().max()) < 1e-12 * float(expected.abs().max())


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16, 32])
def test_resnet20_has_its_size_at_every_width(width: int) -> None:
    with torch.device("meta"):
        module = models.make("resnet20", width=width).build((3, 32, 32), 10)
    w = 16 * width
    size = 27 * w + 2 * w  # the first convolution and its norm
    for inputs, outputs in ((w, w), (w, 2 * w), (2 * w, 4 * w)):
        size += 9 * (inputs * outputs + 5 * outputs**2) + 6 * 2 * outputs  # three blocks of two convolutions and norms
        size += (inputs * outputs + 2 * outputs) * (inputs != outputs)  # the projection and its norm
    size += 4 * w * 10 + 10
    assert sum(tensor.numel() for tensor in module.parameters()) == size
    assert width > 1 or size == 269_722 + 2_752  # He 2016 with zero padding, and two projections
