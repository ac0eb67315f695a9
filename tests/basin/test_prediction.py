"""Predictions against the module's, BatchNorm statistics against torch's own re-estimation."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from basin import stack
from basin.connectivity.batchnorm import POLICIES, MixingContext
from basin.data import training_batch
from basin.prediction import predict, reestimate_batchnorm
from basin.seeds import make_generator
from basin.task import Task
from tests.support.tiny_trial import MODELS, copy, fresh, module, same, task


def renewed(work: Task, params: stack.Params, count: int | None = None) -> stack.Params:
    """One network after `reset`."""
    return stack.network_at(reestimate_batchnorm(work.network, stack.stack_networks([params]), work.data, count), 0)


def order(work: Task) -> torch.Tensor:
    return torch.randperm(len(work.data.train), generator=make_generator("batchnorm", work.data.hash))


def pictures(work: Task, positions: torch.Tensor) -> torch.Tensor:
    return work.data.normalise(work.data.train.take(positions)[0]).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", MODELS)
def test_predictions_are_the_modules(kind: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    thetas, images = fresh(work.network, 2), work.data.test
    found = predict(work.network, thetas, images, work.data)
    pixels = work.data.normalise(images.take(torch.arange(len(images)))[0])
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    for k in range(2):
        with torch.no_grad():
            logits = module(work, MODELS[kind], stack.network_at(thetas, k)).eval()(pixels)
        assert torch.equal(found[k], F.log_softmax(logits, dim=1))
    torch.testing.assert_close(found.exp().sum(dim=2), torch.ones(2, 60))


def test_predictions_of_many_chunks_keep_the_order(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, test_size=697)
    thetas, images = fresh(work.network, 1), work.data.test
    found = predict(work.network, thetas, images, work.data)
    with torch.no_grad():
        logits = work.network(stack.network_at(thetas, 0), work.data.normalise(images.take(torch.arange(697))[0]))
    torch.testing.assert_close(found[0], F.log_softmax(logits, dim=1))


@pytest.mark.parametrize(("images", "batches"), [(100, 1), (256, 2)])
def test_reset_is_torch_s_update_bn(images: int, batches: int, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, train_size=images, **MODELS["batch"])
    params = work.network.init(0)
    plain = module(work, MODELS["batch"], params)
    update_bn((pictures(work, part) for part in order(work).tensor_split(batches)), plain)
    found = renewed(work, params)
    assert int(found["norm.num_batches_tracked"]) == batches
    assert same(found, dict(plain.state_dict()))


def test_reset_statistics_are_moments_of_the_training_images(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    params = work.network.init(0)
    found = renewed(work, params)
    before = F.conv2d(pictures(work, torch.arange(100)), params["conv.weight"], padding=1).transpose(0, 1).flatten(1)
    torch.testing.assert_close(found["norm.running_mean"], before.mean(dim=1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["norm.running_var"], before.var(dim=1), rtol=1e-4, atol=1e-5)


def test_reset_takes_as_many_images_as_asked(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    params = work.network.init(0)
    plain = module(work, MODELS["batch"], params)
    update_bn([pictures(work, order(work)[:30])], plain)
    assert same(renewed(work, params, 30), dict(plain.state_dict()))


def test_reset_forgets_the_old_statistics_and_leaves_them_alone(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    params = work.network.init(0)
    other = {name: t + 3 if "running" in name else t for name, t in params.items()}
    kept = copy(other)
    assert same(renewed(work, params), renewed(work, other))
    assert same(other, kept)


def test_reset_sees_images_without_augmentation(tmp_path: Path, cache: Path) -> None:
    plain = task(tmp_path, cache, **MODELS["batch"])
    augmented = task(tmp_path, cache, augment="crop", **MODELS["batch"])
    params = plain.network.init(0)
    drawn = [training_batch(work.data, seed=0, member=0, step=0, batch_size=20)[0] for work in (plain, augmented)]
    assert not torch.equal(*drawn)
    first, second = (renewed(work, params) for work in (plain, augmented))
    assert same(first, second)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", ["mlp", "layer", "group"])
def test_networks_without_statistics_need_nothing(kind: str, policy: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    thetas = fresh(work.network, 2)
    rows = torch.tensor([[0.0, 1.0], [0.25, 0.75]], dtype=torch.float64)
    assert same(POLICIES[policy](MixingContext(work.network, thetas, work.data))(rows), stack.mix(thetas, rows))


def test_interp_keeps_the_mixture_of_the_statistics(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS["batch"])
    thetas = stack.join_stacks([work.stages.state(k).thetas for k in range(2)])
    found = POLICIES["interp"](MixingContext(work.network, thetas, work.data))(torch.tensor([[0.25, 0.75]]))
    for name, tensor in thetas.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(found[name][0], 0.25 * tensor[0] + 0.75 * tensor[1])
