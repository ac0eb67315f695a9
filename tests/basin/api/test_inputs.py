"""Invalid input is refused in one line that names it."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import basin
from tests.support.own_networks import Net, digits, trained_networks


class Wrapped(nn.Module):
    """A network that returns something else than logits."""

    def __init__(self, wrap):
        super().__init__()
        self.net = Net()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(self.net(x))


class Scaled(Net):
    """The same weights, another function."""

    def forward(self, x):
        return 2 * super().forward(x) + 1


def three_values():
    (x, y), _ = digits()
    return DataLoader(TensorDataset(x, y, y), batch_size=64)


def wider():
    net = Net()
    net.head = nn.Linear(16, 12)
    return net


def labelled(change):
    _, (x, y) = digits()
    return x, change(y)


CASES = {
    "one network": (lambda: [Net()], {}, "two or more"),
    "not a module": (lambda: [Net(), "net"], {}, "network 1 is str"),
    "other shape": (lambda: [Net(), wider()], {}, r"network 1 has shape \[12, 16\] for head.weight"),
    "other names": (lambda: [Net(), nn.Linear(1, 1)], {}, "network 1 lacks conv1.weight and has weight"),
    "other function": (lambda: [Net(), Scaled()], {}, "computes another function"),
    "dict outputs": (lambda: [Wrapped(lambda z: {"logits": z})] * 2, {}, "returns dict"),
    "logits of one column": (lambda: [Wrapped(lambda z: z[:, :1])] * 2, {}, r"\[8, 1\]"),
    "logits without batch": (lambda: [Wrapped(lambda z: z[0])] * 2, {}, r"logits \[8, C\]"),
    "no training inputs": (trained_networks, {"train": None}, "give train="),
    "labels too large": (trained_networks, {"test": lambda: labelled(lambda y: y + 5)}, "labels from 5 to 14"),
    "negative labels": (trained_networks, {"test": lambda: labelled(lambda y: y - 1)}, "labels from -1"),
    "labels one hot": (trained_networks, {"test": lambda: labelled(lambda y: y[:, None])}, r"\[700, 1\]"),
    "labels are numbers": (trained_networks, {"test": lambda: labelled(lambda y: y / 2)}, "float32"),
    "too few labels": (trained_networks, {"test": lambda: labelled(lambda y: y[1:])}, r"\[699\]"),
    "three values": (trained_networks, {"train": three_values}, "list of 3 values"),
    "empty loader": (trained_networks, {"test": lambda: []}, "test= has no inputs"),
    "a tensor": (trained_networks, {"test": lambda: digits()[1][0]}, "is Tensor"),
    "pixels": (trained_networks, {"test": lambda: (digits()[1][0].byte(), digits()[1][1])}, "uint8"),
    "other inputs": (trained_networks, {"test": lambda: (torch.zeros(9, 3, 8, 8), torch.zeros(9).long())}, "fails on"),
    "unknown policy": (trained_networks, {"policies": lambda: "rest"}, "unknown BatchNorm policy 'rest'"),
    "even grid": (trained_networks, {"points": lambda: 10}, "points=10"),
    "unknown alignment": (trained_networks, {"align": lambda: "magic"}, "unknown alignment 'magic'"),
}


@pytest.mark.parametrize("name", CASES)
def test_invalid_input_is_refused(name):
    build, given, words = CASES[name]
    train, test = digits()
    options = {"train": train, "test": test} | {key: value and value() for key, value in given.items()}
    with pytest.raises(basin.UsageError, match=words) as caught:
        basin.compare(build(), **options)
    assert "\n" not in str(caught.value)


def test_batchnorm_needs_no_training_inputs_if_statistics_are_mixed():
    _, test = digits()
    assert list(basin.compare(trained_networks(2), test=test, policies="interp").barriers) == ["interp"]


def test_networks_on_two_devices_are_refused():
    train, test = digits()
    with pytest.raises(basin.UsageError, match="are on cpu and meta"):
        basin.compare([Net(), Net().to("meta")], train=train, test=test)


def test_batchnorm_without_running_statistics_is_a_plain_layer():
    train, test = digits()
    networks = trained_networks(2)
    for network in networks:
        network.norm1 = nn.BatchNorm2d(8, track_running_stats=False)
    result = basin.compare(networks, train=train, test=test, policies="reset")
    assert result.given.network.batchnorms == ("norm2",)


def test_repair_needs_scales():
    train, test = digits()
    networks = trained_networks(2)
    for network in networks:
        network.norm1 = nn.BatchNorm2d(8, affine=False)
    with pytest.raises(basin.UsageError, match="norm1 has none"):
        basin.compare(networks, train=train, test=test, policies="repair")


class Spectral(nn.Module):
    """An operation that has no rule on units."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 8), nn.Linear(8, 10)

    def forward(self, x):
        return self.last(torch.fft.fft(self.first(x.flatten(1))).real)


def test_alignment_of_what_cannot_be_traced_is_refused():
    train, test = digits()
    with pytest.raises(basin.UsageError, match=r"^Spectral: .*fft.*symmetry\(\)"):
        basin.compare([Spectral(), Spectral()], train=train, test=test, align="weights")


def test_planes_need_three_networks_that_span_one():
    train, test = digits()
    networks = trained_networks()
    with pytest.raises(basin.UsageError, match="a plane needs three"):
        basin.plane(networks[:2], train=train, test=test)
    with pytest.raises(basin.UsageError, match="not on one line"):
        basin.plane([networks[0], networks[0], networks[1]], train=train, test=test)
    with pytest.raises(basin.UsageError, match="anchors"):
        basin.plane(networks, train=train, test=test, anchors=(0, 1, 3))


def test_low_precision_networks_are_compared_in_float32():
    train, test = digits()
    networks = [network.bfloat16() for network in trained_networks(2)]
    result = basin.compare(networks, train=train, test=test, policies="reset")
    assert result.soup.module.head.weight.dtype == torch.float32
    assert networks[0].head.weight.dtype == torch.bfloat16


def with_bias(network, value):
    with torch.no_grad():
        network.head.bias.fill_(value)
    return network


class Softmaxed(Net):
    def forward(self, x):
        return super().forward(x).softmax(1)


class Noisy(Net):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x))


def test_networks_and_inputs_without_meaning_are_refused():
    train, test = digits()
    networks = trained_networks(2)
    with pytest.raises(basin.UsageError, match=r"network 1 has weights that are not finite: head\.bias"):
        basin.compare([networks[0], with_bias(trained_networks(1)[0], float("nan"))], train=train, test=test)
    spoilt = test[0].clone()
    spoilt[5, 0, 3, 3] = float("inf")
    with pytest.raises(basin.UsageError, match="test=: input 5 is not finite"):
        basin.compare(networks, train=train, test=(spoilt, test[1]))
    with pytest.raises(basin.UsageError, match="returns probabilities: expected logits"):
        basin.compare([Softmaxed(), Softmaxed()], train=train, test=test)
    with pytest.raises(basin.UsageError, match="draws random numbers in evaluation mode"):
        basin.compare([Noisy(), Noisy()], train=train, test=test)
    states = [{f"module.{name}": tensor for name, tensor in network.state_dict().items()} for network in networks]
    with pytest.raises(basin.UsageError, match=r"network 0 lacks conv1\.weight and has module\.conv1\.weight"):
        basin.compare(Net(), states, train=train, test=test)


def test_networks_at_chance_are_named_and_a_verdict_is_true_only_for_yes():
    train, (images, labels) = digits()
    networks = trained_networks(2)
    found = basin.compare(networks, train=train, test=(images, (labels + 1) % 10))
    assert "no network is better than always answering the commonest class" in repr(found)
    usual = basin.compare(networks, train=train, test=(images, labels))
    assert "commonest class" not in repr(usual)
    assert bool(usual.verdict) == (usual.verdict == "yes")
    assert not basin.compare(trained_networks(3), train=train, test=(images, labels)).verdict
