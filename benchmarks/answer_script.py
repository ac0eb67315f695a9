"""The study as a researcher would write it: plain PyTorch and torchvision, float32, one trial after another.

Every trial trains all networks that it needs. Only the matching of hidden units is taken from this project, as it would
be from published code. Run by `python -m benchmarks answer`.
"""

import copy
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.swa_utils import update_bn

from basin import stack
from basin.alignment.activation_matching import ActivationMatching
from basin.alignment.align import align_members
from basin.constructions.constrained import Constrained
from basin.constructions.distilled import Distilled
from basin.constructions.swe import SWE
from basin.data import Data, Images
from basin.environment import Machine, Place
from basin.training.network import Network
from basin.trial import Trial, open_data
from benchmarks.answer_study import (
    Row,
    Settings,
    base_trial,
    construction_name,
    end_on_sigterm,
    planned_trials,
    read_errand,
    report_row,
)
from benchmarks.pictures import Pictures, image_loader, image_transform

CHUNK = 500
"""Images of an evaluation batch."""
Rate = Callable[[int], float]


@dataclass
class Script:
    """The study's data, loader and training loops."""

    base: Trial
    data: Data
    device: torch.device
    images: int = 0
    """Member-images trained so far."""
    _held: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        source = Pictures(self.data, image_transform(self.data))
        loader = image_loader(source, self.base.training.batch_size, os.cpu_count() or 1, self.device)
        self._batches = _endless_batches(loader)
        self.steps = self.base.training.steps(len(self.data.train))

    def run_trial(self, trial: Trial) -> Row:
        """Train and measure one ensemble; seconds of each."""
        torch.manual_seed(trial.seed)
        images, began = self.images, time.perf_counter()
        networks = TRAINERS[construction_name(trial)](self, trial.construction)
        trained = time.perf_counter()
        if construction_name(trial) == "permuted":
            networks = self.align(networks)
        matched = time.perf_counter()
        scores = self.measure(networks)
        self._wait()
        return {
            "construction": construction_name(trial),
            "seed": trial.seed,
            "images": self.images - images,
            "training": trained - began,
            "matching": matched - trained,
            "measuring": time.perf_counter() - matched,
            **scores,
        }

    # Training.

    def fresh(self) -> nn.Module:
        """A network, initialised at random."""
        return self.base.model.build(self.data.shape, self.data.classes).to(self.device).train()

    def optimizer(self, network: nn.Module) -> Optimizer:
        """SGD with Nesterov momentum."""
        how = self.base.training
        return torch.optim.SGD(
            network.parameters(), how.lr, momentum=how.momentum, weight_decay=how.weight_decay, nesterov=True
        )

    def train_alone(self, network: nn.Module, optimizer: Optimizer, steps: range, rate: Rate) -> None:
        """Train one network."""
        for step in steps:
            pixels, labels = self._next_batch()
            _set_rate(optimizer, rate(step))
            optimizer.zero_grad()
            F.cross_entropy(network(pixels), labels).backward()
            optimizer.step()
            self.images += len(labels)
        self._wait()

    def train_deep(self, count: int) -> list[nn.Module]:
        """Independent networks."""
        networks = []
        for _ in range(count):
            network = self.fresh()
            self.train_alone(network, self.optimizer(network), range(self.steps), self._rate)
            networks.append(network)
        return networks

    def train_swe(self, how: SWE) -> list[nn.Module]:
        """Snapshots of one network."""
        network, snapshots, begin = self.fresh(), [], 0
        optimizer, rate = self.optimizer(network), how.rate(self.base.training, self.steps)
        for step in how.snapshots(self.steps):
            self.train_alone(network, optimizer, range(begin, step), rate)
            snapshots.append(copy.deepcopy(network))
            begin = step
        return snapshots

    def train_constrained(self, how: Constrained | Distilled) -> list[nn.Module]:
        """Branches of a trunk, tied by the loss of a random point of their hull; students, if `how` has teachers."""
        if how.constraint != "simplex":
            raise ValueError(f"the script knows the constraint simplex, not {how.constraint}")
        teachers = [network.eval() for network in self.train_deep(how.members)] if isinstance(how, Distilled) else []
        trunk, begin = self.fresh(), round(how.t * self.steps)
        optimizer = self.optimizer(trunk)
        self.train_alone(trunk, optimizer, range(begin), self._rate)
        networks = [copy.deepcopy(trunk) for _ in range(how.members)]
        optimizers = [self.optimizer(network) for network in networks]
        for branch in optimizers:
            branch.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        mixed = copy.deepcopy(trunk)  # its weights are replaced in each step
        for step in range(begin, self.steps):
            for branch in optimizers:
                _set_rate(branch, self._rate(step))
                branch.zero_grad()
            self._tied_step(how, networks, mixed, teachers)
            for branch in optimizers:
                branch.step()
        self._wait()
        return networks

    def _tied_step(
        self, how: Constrained | Distilled, networks: list[nn.Module], mixed: nn.Module, teachers: list[nn.Module]
    ) -> None:
        """Add the gradients of one step, that of K · (mean loss + β · loss of the mixed network) / (1 + β)."""
        count, scale = len(networks), 1 / (1 + how.beta)
        shares = torch.distributions.Dirichlet(torch.ones(count)).sample().tolist()
        seen, soft = int(torch.randint(count, ())), None
        for k, network in enumerate(networks):
            pixels, labels = self._next_batch()
            if teachers:
                soft = _soft_targets(how, teachers[k : k + 1], [1.0], pixels)
            (scale * _loss(how, network(pixels), labels, soft)).backward()
            if k == seen:
                batch = pixels, labels
            self.images += len(labels)
        pixels, labels = batch
        soft = _soft_targets(how, teachers, shares, pixels) if teachers else None
        every = [dict(network.named_parameters()) for network in networks]
        weights = {
            name: sum(share * some[name] for share, some in zip(shares, every, strict=True)) for name in every[0]
        }
        logits = torch.func.functional_call(mixed, weights, (pixels,))
        (scale * how.beta * count * _loss(how, logits, labels, soft)).backward()
        self.images += len(labels)

    # Measuring.

    def align(self, networks: list[nn.Module]) -> list[nn.Module]:
        """Permute every network's units to match those of the first, by published code."""
        place = Network(self.base.model, self.data.shape, self.data.classes, self.device)
        members = stack.stack_networks([stack.of_module(network) for network in networks])
        matcher = ActivationMatching(place, place.symmetry, self.data)
        aligned = align_members(
            place, members, symmetry=place.symmetry, data=self.data, matcher=matcher, reference="first"
        )
        for network, params in zip(networks, stack.iterate_networks(aligned.members), strict=True):
            network.load_state_dict(params)
        self._wait()
        return networks

    @torch.no_grad()
    def measure(self, networks: list[nn.Module]) -> dict[str, float]:
        """Test scores of the ensemble, its members and its soup, and the largest barrier; validation is scored too."""
        evaluation, states = self.base.evaluation, [network.state_dict() for network in networks]
        mixed, count = copy.deepcopy(networks[0]), len(networks)
        held = {"val": self._all_images(self.data.val), "test": self._all_images(self.data.test)}
        few = {
            split: self._all_images(images.sample(evaluation.path_images))
            for split, images in (("val", self.data.val), ("test", self.data.test))
        }
        bn_images, _ = self._all_images(self.data.train.sample(evaluation.bn_images))

        def accuracies(row: Sequence[float], splits: dict[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
            _load_mixture(mixed, states, row)
            update_bn(bn_images.split(128), mixed)
            mixed.eval()
            return {split: _accuracy(_log_probs(mixed, pixels), labels) for split, (pixels, labels) in splits.items()}

        scores: dict[str, float] = {}
        for split, (pixels, labels) in held.items():
            every = torch.stack([_log_probs(network.eval(), pixels) for network in networks])
            scores[f"{split}_accuracy"] = _accuracy(every.logsumexp(dim=0), labels)
            scores[f"{split}_member_mean_accuracy"] = sum(_accuracy(one, labels) for one in every) / count
        soup = accuracies([1 / count] * count, held)
        scores |= {f"{split}_soup_accuracy": value for split, value in soup.items()}
        unit = torch.eye(count).tolist()
        ends = [accuracies(row, few) for row in unit]
        depth = dict.fromkeys(few, 0.0)
        for i, j in combinations(range(count), 2):
            for point in range(1, evaluation.alphas - 1):
                alpha = point / (evaluation.alphas - 1)
                row = [(1 - alpha) * a + alpha * b for a, b in zip(unit[i], unit[j], strict=True)]
                for split, value in accuracies(row, few).items():
                    chord = (1 - alpha) * ends[i][split] + alpha * ends[j][split]
                    depth[split] = max(depth[split], chord - value)
        accuracies([1 / count] * count, few)
        for row in torch.distributions.Dirichlet(torch.ones(count)).sample((evaluation.hull_points,)).tolist():
            accuracies(row, few)
        return scores | {f"{split}_barrier_reset": value for split, value in depth.items()}

    def _all_images(self, images: Images) -> tuple[Tensor, Tensor]:
        pixels, labels = images.take(torch.arange(len(images)))
        return self.data.normalise(pixels), labels

    def _next_batch(self) -> tuple[Tensor, Tensor]:
        pixels, labels = next(self._batches)
        return pixels.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def _rate(self, step: int) -> float:
        return self.base.training.lr_at(step, self.steps)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


TRAINERS: dict[str, Callable[[Script, Any], list[nn.Module]]] = {
    "deep": lambda script, how: script.train_deep(how.members),
    "permuted": lambda script, how: script.train_deep(how.members),
    "constrained": Script.train_constrained,
    "distilled": Script.train_constrained,
    "swe": Script.train_swe,
}


def _endless_batches(loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader


def _set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _loss(how: Constrained | Distilled, logits: Tensor, labels: Tensor, soft: Tensor | None) -> Tensor:
    hard = F.cross_entropy(logits, labels)
    if soft is None or not isinstance(how, Distilled):
        return hard
    tau = how.temperature
    distance = F.kl_div(F.log_softmax(logits / tau, dim=1), soft, reduction="batchmean")
    return (1 - how.weight) * hard + how.weight * tau**2 * distance


@torch.no_grad()
def _soft_targets(
    how: Constrained | Distilled, teachers: list[nn.Module], shares: Sequence[float], pixels: Tensor
) -> Tensor:
    tau = how.temperature if isinstance(how, Distilled) else 1.0
    parts = [share * F.softmax(teacher(pixels) / tau, dim=1) for share, teacher in zip(shares, teachers, strict=True)]
    return torch.stack(parts).sum(dim=0)


def _load_mixture(network: nn.Module, states: Sequence[dict[str, Tensor]], row: Sequence[float]) -> None:
    """Load the weighted sum of networks; counters are those of the first."""
    network.load_state_dict(
        {
            name: sum(share * state[name] for share, state in zip(row, states, strict=True))
            if tensor.is_floating_point()
            else tensor
            for name, tensor in states[0].items()
        }
    )


def _log_probs(network: nn.Module, pixels: Tensor) -> Tensor:
    return torch.cat([F.log_softmax(network(some), dim=1) for some in pixels.split(CHUNK)])


def _accuracy(scores: Tensor, labels: Tensor) -> float:
    """In percent."""
    return float((scores.argmax(dim=1) == labels).double().mean() * 100)


def run_script(settings: Settings, data: Path | None, device: torch.device) -> Iterator[Row]:
    """Run the study; a row for each trial as it ends."""
    torch.backends.cudnn.benchmark = True
    base = base_trial(settings, data)
    place = Place(machine=Machine(device="cuda" if device.type == "cuda" else "cpu"), data=data, runs=Path())
    script = Script(base, replace(open_data(base, place), augment="crop+flip"), device)
    for trial in planned_trials(base, settings.seeds):
        yield script.run_trial(trial)


if __name__ == "__main__":
    end_on_sigterm()
    errand = read_errand()
    torch.set_num_threads(errand.threads)
    for row in run_script(errand.settings, errand.data, torch.device(errand.device)):
        report_row(row)
