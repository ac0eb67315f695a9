"""Measuring against training, in processor time: parts of one mixed network's score, and the share of a full report.

The parts are timed one by one. From them follows what a full report of K = 8 costs under several settings.
"""

import copy
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, get_args

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from basin import stack
from basin.data import Data, Images
from basin.prediction import BATCH, predict_here, reestimate_batchnorm
from basin.spec import Bounds
from basin.training.execution_mode import Way
from basin.training.network import Precision
from benchmarks import ensembles
from benchmarks.ensembles import Ensembles
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.progress import tell_numbers
from benchmarks.report import Report, markdown_report
from benchmarks.timing import Contestant, time_interleaved

QUICK = {"images": "100", "scored": "64", "resolution": "8", "batch_size": "20"}
TRAINING = "training"
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
HULL_POINTS = 8
CHUNK = 64
"""Images that a module is asked at once."""


@dataclass(frozen=True, kw_only=True)
class Settings(ensembles.Settings):
    """Settings of the timed parts."""

    precision: Precision = "bfloat16"
    """Arithmetic of training."""
    scored: Annotated[int, Bounds(1)] = 512
    """Images of a timed part."""
    report_members: Annotated[int, Bounds(2)] = 8
    """Networks of the ensemble that the report is about, K."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A trial of independent networks, and how it is measured under `reset`."""

    name: str
    epochs: int = 10
    train_size: int = 3000
    alphas: int = 11
    pairs: int | None = None
    """Measured pairs; None takes all."""
    hull_points: int = HULL_POINTS
    bn_images: int | None = None
    """Training images of the statistics; None takes all."""
    path_images: int = 2000
    """Images of validation and test together on which mixed networks are scored."""

    def member_images(self, members: int) -> int:
        """Images that training passes through networks."""
        return self.epochs * self.train_size * members

    def networks(self, members: int) -> int:
        """Networks that are scored: inside the paths, their ends, the centroid and points of the hull."""
        pairs = math.comb(members, 2) if self.pairs is None else self.pairs
        return pairs * (self.alphas - 2) + members + self.hull_points + 1

    def share(self, members: int, costs: Mapping[str, float], precision: Precision) -> float:
        """Processor time of the report, in percent of training's, from the costs of the parts."""
        statistics = (self.bn_images or self.train_size) * costs[f"statistics, {precision}"]
        one = statistics + self.path_images * costs[f"scoring, {precision}"] + costs["mixing"]
        return 100 * self.networks(members) * one / (self.member_images(members) * costs[TRAINING])


SMALL = Study(name="cifar10-small", alphas=5, hull_points=4, bn_images=256, path_images=512)
DEFAULTS = Study(name="3,000 images, 10 epochs; every setting at its default")
FULL = Study(name="45,000 images, 200 epochs; defaults", epochs=200, train_size=45_000, path_images=15_000)
STUDIES = (
    DEFAULTS,
    replace(DEFAULTS, name="… bn_images=512", bn_images=512),
    replace(DEFAULTS, name="… bn_images=512, path_images=256", bn_images=512, path_images=512),
    replace(DEFAULTS, name="… and alphas=5", bn_images=512, path_images=512, alphas=5),
    replace(DEFAULTS, name="… and alphas=5, pairs=8", bn_images=512, path_images=512, alphas=5, pairs=8),
    replace(SMALL, name="cifar10-small, bn_images=256", bn_images=256),
    replace(SMALL, name="cifar10-small, bn_images=512", bn_images=512),
    replace(SMALL, name="cifar10-small, bn_images=1024", bn_images=1024),
    FULL,
    replace(FULL, name="… bn_images=2048", bn_images=2048),
)


def run(options: Options) -> Report:
    """Time the parts in turns; report what each costs, their shares of a network's score, and shares of training."""
    settings = options.settle(Settings(model="resnet8", members=2, batch_size=100, images=1000, steps=1))
    made = Ensembles(options, settings)
    timings = time_interleaved(dict(_parts(made, settings)), repeats=options.repeats, clock=time.process_time)
    costs = {name: timing.median / timing.work for name, timing in timings.items()}
    numbers = _score_shares(costs)
    tell_numbers(numbers)
    sections = (_cost_table(costs), _study_table(costs, settings))
    return Report("measuring", describe_machine(options.device), (), numbers, sections=sections)


def _parts(made: Ensembles, settings: Settings) -> Iterator[tuple[str, Contestant]]:
    network, data, way = made.network("loop", settings.precision), made.data, Way()
    members, images = made.stack(network), data.train.sample(settings.scored)
    one = stack.slice_networks(members, slice(0, 1))
    plain = copy.deepcopy(network.module).eval().requires_grad_(False)
    plain.load_state_dict(stack.network_at(members, 0))
    modules = {"module": plain, "module, BatchNorm folded": fold_batchnorms(plain)}
    yield TRAINING, made.ours(network)
    for precision in PRECISIONS:

        def estimate(precision: Precision = precision) -> float:
            reestimate_batchnorm(network, one, data, len(images), way=way, precision=precision)
            return len(images)

        def score(precision: Precision = precision) -> float:
            predict_here(network, one, images, data, way=way, precision=precision)
            return len(images)

        yield f"statistics, {precision}", estimate
        yield f"scoring, {precision}", score
        for name, module in modules.items():

            def ask(module: nn.Module = module, precision: Precision = precision) -> float:
                _ask_module(module, images, data, precision)
                return len(images)

            yield f"{name}, {precision}", ask

    def take() -> float:
        for places in torch.arange(len(images)).split(BATCH):
            data.normalise(images.take(places)[0])
        return len(images)

    def mix() -> float:
        weights = torch.full((10, settings.members), 1 / settings.members, dtype=torch.float64)
        for row in weights.split(1):
            stack.mix(members, row)
        return len(weights)

    yield "loading and normalising", take
    yield "mixing", mix


def fold_batchnorms(module: nn.Module) -> nn.Module:
    """Return a copy of a ResNet that evaluates, each BatchNorm folded into the convolution defined just before it."""
    folded = copy.deepcopy(module)
    for (before, convolution), (name, norm) in pairwise(list(folded.named_modules())):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            folded.set_submodule(before, fuse_conv_bn_eval(convolution, norm))
            folded.set_submodule(name, nn.Identity())
    return folded


@torch.no_grad()
def _ask_module(module: nn.Module, images: Images, data: Data, precision: Precision) -> None:
    """Ask a PyTorch module, as `predict_here` asks a stack: in small chunks, channels last."""
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    with half:
        for places in torch.arange(len(images)).split(CHUNK):
            module(data.normalise(images.take(places)[0]).contiguous(memory_format=torch.channels_last))


def _score_shares(costs: Mapping[str, float]) -> dict[str, float]:
    """Return what folding BatchNorm would save, and what two policies could share of a network's score, in percent."""
    numbers = {}
    for precision in PRECISIONS:
        saved = 1 - costs[f"module, BatchNorm folded, {precision}"] / costs[f"module, {precision}"]
        numbers[f"saved by folding, {precision}, % of scoring"] = 100 * saved
        network = 256 * costs[f"statistics, {precision}"] + 2 * 512 * costs[f"scoring, {precision}"]
        network += 2 * costs["mixing"]
        shared = costs["mixing"] + 512 * costs["loading and normalising"]
        numbers[f"shared by reset+interp at 256 + 512 images, {precision}, %"] = 100 * shared / network
    return numbers


def _cost_table(costs: Mapping[str, float]) -> str:
    rows = [
        [name, f"{1e6 * cost:.4g}", "" if name == "mixing" else f"{cost / costs[TRAINING]:.2f}"]
        for name, cost in costs.items()
    ]
    heads = ["part", "µs an image (mixing: a network)", "× a training step's image"]
    return markdown_report(heads, rows)


def _study_table(costs: Mapping[str, float], settings: Settings) -> str:
    members, rows = settings.report_members, []
    heads = ["settings", "networks", *PRECISIONS]
    for study in STUDIES:
        shares = [study.share(members, costs, precision) for precision in PRECISIONS]
        rows.append([study.name, str(study.networks(members)), *(f"{share:.1f} %" for share in shares)])
    title = f"**{settings.model}, K = {members}: a full report under `reset`, in percent of training K networks alone**"
    return f"{title}\n\n{markdown_report(heads, rows)}"
