"""Networks of a user: plain PyTorch, trained by a plain loop, with nothing of this project."""

import functools

import torch
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from torch import Tensor, nn

from basin.models.symmetry import Group, Part, Symmetry

Pair = tuple[Tensor, Tensor]


class Net(nn.Module):
    """A small convolutional network with BatchNorm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(16)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 1, 8, 8] → logits [N, 10]."""
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        return self.head(self.drop(x.mean(dim=(2, 3))))  # type: ignore[no-any-return]


def net_symmetry() -> Symmetry:
    """Groups of units of `Net`, written by hand."""

    def group(size: int, conv: str, norm: str, then: str) -> Group:
        names = (f"{conv}.weight", f"{conv}.bias", *(f"{norm}.{leaf}" for leaf in LEAVES))
        return Group(size, (Part((*((name, 0) for name in names), (f"{then}.weight", 1)), ((norm, "output"),)),))

    return {"conv1": group(8, "conv1", "norm1", "conv2"), "conv2": group(16, "conv2", "norm2", "head")}


LEAVES = ("weight", "bias", "running_mean", "running_var")


@functools.cache
def digits() -> tuple[Pair, Pair]:
    """Training (128) and test (700) images of digits, standardised: the range is no range of pixels."""
    x, y = load_digits(return_X_y=True)
    images = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8).sub(4.9).div(6.0)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], torch.tensor(y)[order]
    return (images[:128], labels[:128]), (images[1000:1700], labels[1000:1700])


@functools.cache
def trained_states(count: int = 3) -> tuple[dict[str, Tensor], ...]:
    """State dicts of `count` networks, trained from different seeds; do not change them."""
    return tuple(_train(seed).state_dict() for seed in range(count))


def trained_networks(count: int = 3) -> list[Net]:
    """Fresh modules with these weights, in training mode."""
    networks = []
    for state in trained_states(count):
        network = Net()
        network.load_state_dict(state)
        networks.append(network)
    return networks


def _train(seed: int) -> Net:
    (x, y), _ = digits()
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        network = Net()
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        for _ in range(60):
            for batch in torch.randperm(len(y)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
                optimizer.step()
    return network
