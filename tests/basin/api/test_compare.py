"""The library's comparison of a user's networks against plain PyTorch and NumPy."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import basin
from basin.models.tracing import trace_symmetry
from tests.support.own_networks import Net, digits, net_symmetry, trained_networks, trained_states

ALPHAS = np.linspace(0, 1, 11)


@pytest.fixture(scope="module")
def compared():
    train, test = digits()
    return basin.compare(trained_networks(), train=train, test=test, policies="reset+interp")


@torch.no_grad()
def mixed_logits(weights, policy):
    """Logits on the test images of the weighted mean of the networks, in plain PyTorch."""
    (x, _), (images, _) = digits()
    states = trained_states()
    total = {
        name: sum(weight * state[name] for weight, state in zip(weights, states, strict=True)) for name in states[0]
    }
    network = Net()
    network.load_state_dict(total)
    if policy == "reset":
        network.drop.p = 0.0
        for norm in (network.norm1, network.norm2):
            norm.reset_running_stats()
            norm.momentum = None
        network.train()
        network(x)  # 128 images: one batch, whose statistics are the average
    return network.eval()(images).double().log_softmax(dim=1).numpy()


def accuracy_and_loss(log_probs):
    labels = digits()[1][1].numpy()
    rows = np.arange(len(labels))
    return 100 * (log_probs.argmax(axis=1) == labels).mean(), -log_probs[rows, labels].mean()


@pytest.mark.parametrize("policy", ["reset", "interp"])
def test_barriers_are_those_of_plain_pytorch(compared, policy):
    matrix = compared.barriers[policy]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        scores = []
        for alpha in ALPHAS:
            weights = np.zeros(3)
            weights[i], weights[j] = 1 - alpha, alpha
            scores.append(accuracy_and_loss(mixed_logits(weights, policy)))
        accuracy, loss = np.array(scores).T
        chord = (1 - ALPHAS) * accuracy[0] + ALPHAS * accuracy[-1]
        expected = max(0.0, (chord - accuracy).max())
        assert expected > 2
        assert matrix.accuracy[i, j] == pytest.approx(expected, abs=0.15)  # an image of 700
        rise = (loss - (1 - ALPHAS) * loss[0] - ALPHAS * loss[-1]).max()
        assert matrix.loss[j, i] == pytest.approx(max(0.0, rise), abs=1e-3)
        low, high = matrix[i, j].accuracy_interval
        assert low < matrix.accuracy[i, j] < high


def test_soup_is_one_module_with_the_accuracy_of_plain_pytorch(compared):
    accuracy, loss = accuracy_and_loss(mixed_logits(np.full(3, 1 / 3), "reset"))
    assert compared.soup.accuracy == pytest.approx(accuracy, abs=0.15)
    assert compared.soup.nll == pytest.approx(loss, abs=1e-3)
    images, labels = digits()[1]
    with torch.no_grad():
        hits = (compared.soup.module(images).argmax(dim=1) == labels).double().mean()
    assert type(compared.soup.module) is Net
    assert not compared.soup.module.training
    assert 100 * float(hits) == pytest.approx(compared.soup.accuracy, abs=0.15)


def test_ensemble_scores_are_those_of_the_mean_probabilities(compared):
    images, labels = digits()[1]
    with torch.no_grad():
        probs = torch.stack([network.eval()(images).double().softmax(dim=1) for network in trained_networks()])
    mean = probs.mean(dim=0).numpy()
    rows = np.arange(len(labels))
    assert compared.ensemble.nll == pytest.approx(-np.log(mean[rows, labels]).mean(), rel=1e-5)
    assert compared.ensemble.accuracy == pytest.approx(100 * (mean.argmax(axis=1) == labels.numpy()).mean())
    picks = probs.argmax(dim=2).numpy()
    pairs = [(picks[i] != picks[j]).mean() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert compared.ensemble.disagreement == pytest.approx(100 * np.mean(pairs))
    low, high = compared.ensemble.intervals["nll"]
    assert low < compared.ensemble.nll < high
    assert "ece" not in compared.ensemble.intervals


def test_independent_networks_are_in_different_basins(compared):
    assert compared.verdict == "no"
    assert compared.verdict.answer == "no"
    assert "below the chord" in compared.verdict.why
    assert compared.policy == "reset"


def test_equal_networks_are_in_one_basin_with_barrier_zero():
    train, test = digits()
    network = trained_networks(1)[0]
    result = basin.compare([network, copy.deepcopy(network)], train=train, test=test)
    for matrix in result.barriers.values():
        assert not matrix.accuracy.any()
        assert not matrix.loss.any()
    assert result.verdict == "yes"
    assert result.soup.accuracy == result.paths[0].accuracy
    assert basin.barrier(network, network, train=train, test=test).accuracy == 0


def test_modules_loaders_and_state_dicts_give_the_same_result(compared):
    (x, y), (images, labels) = digits()
    loaders = {
        "train": DataLoader(TensorDataset(x, y), batch_size=50),
        "test": DataLoader(TensorDataset(images, labels), batch_size=64),
    }
    other = basin.compare(Net(), trained_states(), policies="reset+interp", **loaders)
    for policy, matrix in compared.barriers.items():
        np.testing.assert_array_equal(matrix.accuracy, other.barriers[policy].accuracy)
    by_dataset = basin.interpolate(*trained_networks(2), train=TensorDataset(x, y), test=TensorDataset(images, labels))
    assert by_dataset.barrier.accuracy == compared.barriers["reset"].accuracy[0, 1]


def test_modules_and_random_state_are_left_as_they_were():
    train, test = digits()
    networks = trained_networks()
    networks[0].conv1.weight.requires_grad_(requires_grad=False)
    networks[1].eval()
    before = [pickle.dumps(network.state_dict()) for network in networks]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = basin.compare(networks, train=train, test=test, policies="reset", align="weights", symmetry=net_symmetry())
    assert [pickle.dumps(network.state_dict()) for network in networks] == before
    assert [network.training for network in networks] == [True, False, True]
    assert not networks[0].conv1.weight.requires_grad
    assert networks[0].conv2.weight.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    second = basin.compare(networks, train=train, test=test, policies="reset", align="weights", symmetry=net_symmetry())
    np.testing.assert_array_equal(first.barriers["reset"].loss, second.barriers["reset"].loss)


@pytest.mark.parametrize("how", ["weights", "activations"])
@pytest.mark.parametrize("spec", ["traced", "given"])
def test_planted_permutations_are_found_and_certified(how, spec):
    train, test = digits()
    network = trained_networks(1)[0]
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    moved = copy.deepcopy(network)
    with torch.no_grad():
        for name, axis in net_symmetry()["conv2"].parts[0].axes:
            tensor = moved.state_dict()[name]
            tensor.copy_(network.state_dict()[name].index_select(axis, order))
    assert basin.barrier(network, moved, train=train, test=test).accuracy > 10
    symmetry = net_symmetry() if spec == "given" else None
    (name,) = [name for name, group in (symmetry or trace_symmetry(network, train[0][:2])).items() if group.size == 16]
    result = basin.compare([network, moved], train=train, test=test, align=how, symmetry=symmetry)
    assert result.barriers["reset"].accuracy[0, 1] == pytest.approx(0, abs=0.5)
    (certificate,) = result.certificates
    assert certificate.error < 1e-9 * certificate.scale
    assert certificate.barrier_before > 10
    assert certificate.barrier_after < 1
    assert torch.equal(order[result.permutations[1][name][0]], torch.arange(16))
    assert torch.equal(result.permutations[0][name][0], torch.arange(16))
    aligned = basin.align(network, moved, train=train, by=how, symmetry=symmetry)
    assert torch.allclose(aligned.module.head.weight, network.head.weight)
    torch.testing.assert_close(result.networks[1].conv2.weight, network.conv2.weight)


def test_permutations_are_traced_through_flatten():
    """A linear layer that reads flattened maps: nothing is written by hand."""
    _, test = digits()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    moved, order = copy.deepcopy(network), torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        moved[0].weight.copy_(network[0].weight[order])
        moved[0].bias.copy_(network[0].bias[order])
        moved[3].weight.copy_(network[3].weight.view(10, 4, 36)[:, order].reshape(10, 144))
    result = basin.compare([network, moved], test=test, align="weights")
    torch.testing.assert_close(result.networks[1].state_dict(), network.state_dict())
    assert result.barriers["reset"].accuracy[0, 1] == 0


def test_soup_function_averages_weights_and_statistics():
    train, test = digits()
    networks = trained_networks(2)
    plain = basin.soup(networks, test=test)
    torch.testing.assert_close(plain.head.weight, (networks[0].head.weight + networks[1].head.weight) / 2)
    means = [network.norm2.running_mean for network in networks]
    torch.testing.assert_close(plain.norm2.running_mean, (means[0] + means[1]) / 2)
    reset = basin.soup(networks, train=train)
    assert not torch.allclose(reset.norm2.running_mean, plain.norm2.running_mean)
    assert plain.head.weight.requires_grad == networks[0].head.weight.requires_grad


def test_inputs_of_any_shape_and_networks_without_batchnorm():
    """Vectors and tokens; no training inputs are needed, and every policy is one."""
    draw = torch.Generator().manual_seed(0)
    vectors, tokens = torch.randn(300, 5, generator=draw), torch.randint(0, 7, (300, 4), generator=draw)
    labels = (vectors[:, 0] > 0).long()
    for x, build in (
        (vectors.double() * 100, lambda: nn.Linear(5, 2).double()),
        (tokens, lambda: nn.Sequential(nn.EmbeddingBag(7, 3), nn.Linear(3, 2))),
    ):
        result = basin.compare([build(), build(), build()], test=(x, labels))
        assert list(result.barriers) == ["reset"]
        assert len(result.members) == 3


def test_plane_holds_the_networks_at_its_corners():
    train, test = digits()
    grid = basin.plane(trained_networks(), train=train, test=test, points=3)
    assert grid.accuracy.shape == grid.loss.shape == (3, 3)
    first = next(point for point in grid.points if point.vertex == 0)
    accuracy, loss = accuracy_and_loss(mixed_logits([1, 0, 0], "reset"))
    assert (first.x, first.y) == pytest.approx((0, 0), abs=1e-9)
    assert first.accuracy == pytest.approx(accuracy, abs=0.15)
    assert first.loss == pytest.approx(loss, abs=1e-3)


def test_plots_are_axes_with_labels(compared):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    ax = compared.plot_paths()
    assert isinstance(ax, Axes)
    assert ax.get_xlabel() == "α"
    given = Figure().add_subplot()
    assert compared.plot_plane(given, points=3) is given
    assert [text.get_text() for text in given.texts] == ["0", "1", "2"]


def test_tables_have_the_columns_of_the_sweeps(compared):
    from sweeps.storage.schemas import SCHEMAS

    tables = compared.to_arrow()
    for name in ("paths", "hull", "certificates"):
        ours, theirs = tables[name].schema, SCHEMAS[name]()
        assert ours.names == theirs.names[1:]
        assert all(ours.field(column).equals(theirs.field(column), check_metadata=True) for column in ours.names)
    assert tables["paths"].num_rows == 2 * 3 * 11
    assert tables["barriers"].num_rows == 2 * 3
    assert tables["barriers"].schema.field("accuracy").metadata[b"unit"] == b"accuracy points"
    soup = [row for row in tables["scores"].to_pylist() if row["network"] == "soup" and row["metric"] == "accuracy"]
    assert [row["value"] for row in soup] == [compared.soup.accuracy]


def test_results_print_what_they_hold(compared):
    text = repr(compared)
    for words in ("in one basin: no", "accuracy points", "0–1", "ensemble", "soup", "reset", "interp"):
        assert words in text
    assert "disagreement" not in repr(compared.soup)
    with pytest.raises(AttributeError, match="accuracy"):
        compared.ensemble.acuracy  # noqa: B018


def test_progress_is_reported_to_a_callback():
    train, test = digits()
    seen = []
    basin.compare(
        trained_networks(), train=train, test=test, policies="reset", progress=lambda *parts: seen.append(parts)
    )
    assert seen[-1] == ("paths", 3, 3)
