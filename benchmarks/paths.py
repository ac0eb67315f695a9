"""Scoring mixed networks: ours against one at a time in float32, and the cost of a full report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Annotated

import torch
from torch.optim.swa_utils import update_bn

from basin import stack
from basin.connectivity.batchnorm import MixingContext
from basin.connectivity.hull import score_hull
from basin.connectivity.paths import PathPoint, alpha_grid, score_paths
from basin.connectivity.probe import Probe
from basin.data import image_chunks
from basin.spec import Bounds
from basin.stack import Stack
from basin.training.constraints import tie_members
from basin.training.network import Network, Precision
from basin.training.objective import Objective
from benchmarks import ensembles
from benchmarks.ensembles import Ensembles
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.report import Report, compare_timings
from benchmarks.timing import Contestant, Timing, time_interleaved

REFERENCE = "one at a time, float32"
REPORT = "full report"
STEP = "constrained step"
QUICK = ensembles.QUICK | {"alphas": "3", "hull_points": "1", "bn_images": "20", "path_images": "20", "epochs": "1"}


@dataclass(frozen=True, kw_only=True)
class Settings(ensembles.Settings):
    """Settings of the scored paths."""

    alphas: Annotated[int, Bounds(3)] = 11
    """Points of each path."""
    hull_points: Annotated[int, Bounds(0)] = 32
    """Random points of the hull in the full report, in addition to the centroid."""
    bn_images: Annotated[int, Bounds(1)] = 256
    """Training images that BatchNorm statistics are estimated from."""
    path_images: Annotated[int, Bounds(1)] = 256
    """Images of each split that mixed networks are scored on."""
    epochs: Annotated[int, Bounds(1)] = 10
    """Epochs of the training that the full report is compared with; its training images are `images`."""


def run(options: Options) -> Report:
    """Score one path of 11 points on two splits; then compare all paths, centroid and hull with training."""
    settings = options.settle(Settings(batch_size=100, images=3000, steps=1))
    made = Ensembles(options, settings)
    plain, fast = made.network("auto", "float32"), made.network("auto", "bfloat16")
    members = made.stack(fast)
    curves: dict[str, list[float]] = {}
    contestants: dict[str, Contestant] = {
        REFERENCE: lambda: _keep_curve(curves, REFERENCE, _by_hand(plain, made, members)),
        "ours, float32": lambda: _keep_curve(
            curves, "ours, float32", _score_path(_make_probe(plain, made, members, "float32"), made)
        ),
        "ours, bfloat16": lambda: _keep_curve(
            curves, "ours, bfloat16", _score_path(_make_probe(fast, made, members, "bfloat16"), made)
        ),
    }
    timings = time_interleaved(contestants, repeats=options.repeats)
    step = made.ours(fast, tie_members(Objective(), constraint="path", beta=1.0))
    parts = time_interleaved(
        {REPORT: lambda: _score_report(_make_probe(fast, made, members, "bfloat16"), settings), STEP: step},
        repeats=options.repeats,
    )
    numbers = _curve_differences(curves) | {"full report / its trial's training": _report_share(parts, settings)}
    title = f"{settings.model}, one path of {settings.alphas} points on 2 × {settings.path_images} images"
    tables = (
        compare_timings(title, timings, unit="points", reference=REFERENCE),
        compare_timings(
            f"K = {settings.members}: report of every path and the hull", parts, unit="networks", reference=REPORT
        ),
    )
    return Report("paths", describe_machine(options.device), tables, numbers)


def _make_probe(network: Network, made: Ensembles, members: Stack, precision: Precision) -> Probe:
    settings: Settings = made.settings  # type: ignore[assignment]
    held = {"val": made.data.val.sample(settings.path_images), "test": made.data.test.sample(settings.path_images)}
    return Probe(MixingContext(network, members, made.data, settings.bn_images, precision), held)


def _score_path(probe: Probe, made: Ensembles) -> list[PathPoint]:
    settings: Settings = made.settings  # type: ignore[assignment]
    two = stack.slice_networks(probe.context.members, slice(0, 2))
    path_probe = replace(probe, context=replace(probe.context, members=two))
    return list(score_paths(path_probe, alphas=alpha_grid(settings.alphas)))


def _score_report(probe: Probe, settings: Settings) -> float:
    every = list(score_paths(probe, alphas=alpha_grid(settings.alphas)))
    every += list(score_hull(probe, points=settings.hull_points, policies=("reset",)))  # type: ignore[arg-type]
    pairs = math.comb(settings.members, 2)
    return pairs * (settings.alphas - 2) + settings.hull_points + 1


@torch.no_grad()
def _by_hand(network: Network, made: Ensembles, members: Stack) -> list[PathPoint]:
    """Weights mixed tensor by tensor, statistics by torch's `update_bn`, every point alone, ends included."""
    settings: Settings = made.settings  # type: ignore[assignment]
    data, module = made.data, network.fresh_module("benchmark", 0).to(made.device)
    bn_images = data.train.sample(settings.bn_images)
    held = {"val": data.val.sample(settings.path_images), "test": data.test.sample(settings.path_images)}
    points = []
    for alpha in alpha_grid(settings.alphas):
        ends = [stack.network_at(members, k) for k in range(2)]
        mixed = {name: (1 - alpha) * ends[0][name] + alpha * ends[1][name] for name in ends[0]}
        module.load_state_dict(mixed)
        update_bn((data.normalise(pixels) for pixels, _ in image_chunks(bn_images, 128)), module, device=made.device)
        module.eval()
        for split, images in held.items():
            said = [(module(data.normalise(pixels)), labels) for pixels, labels in image_chunks(images, 128)]
            logits, labels = (torch.cat(parts) for parts in zip(*said, strict=True))
            accuracy = float((logits.argmax(dim=1) == labels).double().mean() * 100)
            loss = float(torch.nn.functional.cross_entropy(logits, labels))
            points.append(PathPoint(split, "reset", 0, 1, alpha, accuracy, loss))
    return points


def _keep_curve(curves: dict[str, list[float]], name: str, points: Sequence[PathPoint]) -> float:
    inner = sorted((p.split, p.alpha, p.loss) for p in points if 0 < p.alpha < 1)
    curves[name] = [loss for _, _, loss in inner]
    return len(points) / 2


def _curve_differences(curves: dict[str, list[float]]) -> dict[str, float]:
    """Largest difference of a point's loss: batches differ (128 in order here, seeded there), precision too."""
    return {
        f"nats between {one} and {two}, at most": max(abs(a - b) for a, b in zip(curves[one], curves[two], strict=True))
        for one, two in combinations(curves, 2)
    }


def _report_share(parts: dict[str, Timing], settings: Settings) -> float:
    steps = settings.epochs * (settings.images // settings.batch_size)
    seconds = parts[STEP].median / settings.steps * steps
    return parts[REPORT].median / seconds
