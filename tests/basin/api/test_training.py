"""Ensembles of a user's network, trained by every construction, and distillation."""

import numpy as np
import pytest
import torch
from torch import nn

import basin
from basin.constructions import constructions
from tests.support.own_networks import Net, digits, trained_networks

QUICK = {"epochs": 3, "batch_size": 32, "lr": 0.1}


class Labelled(nn.Module):
    """A layer with parameters that cannot be initialised again."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.scale * self.head(x.flatten(1))


@pytest.mark.parametrize("construction", ["deep", "swe", "constrained", "distilled", "permuted"])
def test_every_construction_trains_a_user_s_network(construction):
    train, test = digits()
    network, before = Net(), torch.get_rng_state()
    trained = basin.train(network, train=train, construction=construction, members=2, **QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    assert [type(network) for network in trained.networks] == [Net, Net]
    assert not any(network.training for network in trained.networks)
    assert constructions.name(trained.construction) == construction
    assert trained.training.epochs == 3
    assert trained.passes >= 3 * 4
    result = basin.compare(trained.networks, train=train, test=test, policies="reset")
    if construction == "constrained":
        assert result.barriers["reset"].accuracy[0, 1] < 20


def test_equal_seeds_train_equal_networks_and_t_1_is_one_network():
    train, test = digits()
    first, again = (basin.train(Net, train=train, members=2, t=0.5, seed=4, **QUICK) for _ in range(2))
    torch.testing.assert_close(first.networks[1].state_dict(), again.networks[1].state_dict(), rtol=0, atol=0)
    assert not torch.equal(first.networks[0].head.weight, first.networks[1].head.weight)
    one = basin.train(Net, train=train, members=2, t=1, **QUICK)
    result = basin.compare(one, train=train, test=test)
    assert not result.barriers["reset"].accuracy.any()
    assert result.verdict == "yes"


def test_permuted_ensembles_of_one_s_own_module_are_aligned():
    train, test = digits()
    aligned = basin.train(Net, train=train, construction="permuted", members=2, **QUICK)
    deep = basin.train(Net, train=train, construction="deep", members=2, **QUICK)
    images = test[0][:50]
    for one, other in zip(aligned.networks, deep.networks, strict=True):
        torch.testing.assert_close(one.eval()(images), other.eval()(images), rtol=1e-3, atol=1e-3)
    moved, fixed = (trained.networks[1].conv2.weight for trained in (aligned, deep))
    assert not torch.equal(moved, fixed)


def test_fields_and_modules_are_checked():
    train, _ = digits()
    with pytest.raises(basin.UsageError, match="unknown field of construction deep 'betta'"):
        basin.train(Net, train=train, construction="deep", betta=1)
    with pytest.raises(basin.UsageError, match="unknown construction 'shallow'"):
        basin.train(Net, train=train, construction="shallow")
    with pytest.raises(basin.UsageError, match=r"Labelled.*network=lambda"):
        basin.train(Labelled(), train=train, construction="deep")
    built = basin.train(Labelled, train=train, construction="deep", members=1, epochs=1)
    assert type(built.networks[0]) is Labelled


def test_a_built_in_dataset_is_trained_and_compared(cache):
    data = basin.dataset("digits", cache=cache, train_size=200, val_size=100, test_size=300)
    trained = basin.train(Net, train=data, construction="deep", members=2, **QUICK)
    result = basin.compare(trained.networks, train=data, test=data, policies="reset")
    images = data.normalise(data.test.take(torch.arange(300))[0])
    with torch.no_grad():
        hits = trained.networks[0](images).argmax(dim=1) == data.test.labels
    assert result.members[0].accuracy == pytest.approx(100 * float(hits.double().mean()))


def test_distillation_follows_the_gradient_of_plain_pytorch():
    """One step at a constant rate without momentum is that of a loss written down here."""
    train, _ = digits()
    teachers = [network.eval() for network in trained_networks(2)]
    settings = {"epochs": 1, "batch_size": 128, "lr": 0.1, "momentum": 0, "weight_decay": 0, "warmup": 0}
    recipe = {"student": Plain, "temperature": 3.0, "weight": 0.7, "seed": 1}
    start = basin.distill(teachers, train=train, **recipe, **settings | {"lr": 0})
    student = basin.distill(teachers, train=train, schedule="constant", **recipe, **settings)
    x, y = train
    with torch.no_grad():
        target = torch.stack([(network(x) / 3).softmax(dim=1) for network in teachers]).mean(dim=0)
    logits = start(x)
    soft = nn.functional.kl_div((logits / 3).log_softmax(dim=1), target, reduction="batchmean")
    loss = 0.3 * nn.functional.cross_entropy(logits, y) + 0.7 * 9 * soft
    loss.backward()
    expected = start.layer.weight - 0.1 * start.layer.weight.grad
    np.testing.assert_allclose(student.layer.weight.detach(), expected.detach(), atol=1e-6)


class Plain(nn.Module):
    """One layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        return self.layer(x.flatten(1))


def test_distillation_checks_its_student():
    train, _ = digits()
    with pytest.raises(basin.UsageError, match="labels from 0 to 9"):
        basin.distill(trained_networks(2), train=train, student=lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    with pytest.raises(basin.UsageError, match="weight=2"):
        basin.distill(trained_networks(2), train=train, weight=2)
