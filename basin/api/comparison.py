"""Compare networks of one architecture: paths, barriers, hull, verdict, ensemble and soup."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn

from basin import stack
from basin.alignment.align import Alignment
from basin.api.alignment import align_given, average
from basin.api.inputs import Given, Inputs, Networks, States, isolated_draws, open_networks
from basin.api.progress import Progress, choose_progress
from basin.api.results import (
    BarrierMatrix,
    BasinVerdict,
    Comparison,
    Interval,
    Path,
    PathBarrier,
    PlaneGrid,
    Scores,
    Soup,
)
from basin.connectivity.batchnorm import MixingContext
from basin.connectivity.hull import HullPoint, score_hull
from basin.connectivity.paths import PathPoint, alpha_grid, barrier_matrix, score_paths
from basin.connectivity.plane import CollinearError, score_plane
from basin.connectivity.probe import Probe
from basin.connectivity.verdicts import WORST, hull_shortfalls, path_shortfalls
from basin.constructions.permuted import with_barriers
from basin.ensemble import all_pairs
from basin.errors import UsageError
from basin.metrics import all_metrics, score_predictions
from basin.models.symmetry import Symmetry
from basin.prediction import predict
from stats.intervals import estimate
from stats.verdicts import MARGIN, Bounds, Verdict, bounds, decide, loss_margin

SPLIT = "test"


def compare(
    networks: Networks,
    states: States | None = None,
    *,
    test: Inputs,
    train: Inputs | None = None,
    align: str | None = None,
    symmetry: Symmetry | None = None,
    reference: str = "first",
    restarts: int = 5,
    policies: str = "reset+interp",
    points: int = 11,
    hull_points: int = 8,
    margin: float = MARGIN,
    bn_inputs: int | None = None,
    device: torch.device | str | None = None,
    progress: Progress | bool | None = None,
) -> Comparison:
    """Compare two or more networks: do they lie in one basin, and what are they worth together?

    Parameters
    ----------
    networks
        `nn.Module`s of one architecture, inputs → logits [N, C]; or one module, with `states`. Not changed.
    states
        State dicts of the networks, in place of modules.
    test
        Inputs and labels on which everything is measured: a loader of batches (x, y), a map-style dataset, a pair of
        tensors x [N, …] and y [N], or `basin.dataset(…)`. Inputs are what the network sees. They are read once and
        held in memory.
    train
        Likewise, inputs on which BatchNorm statistics are re-estimated and activations compared. Give them without
        augmentation. Not needed by networks without BatchNorm that are not aligned by activations.
    align
        Permute hidden units first, matched by `weights` or `activations`; none leaves the networks as they are.
    symmetry
        Groups of units that can be permuted; none: the module's own `symmetry()`, else traced.
    reference
        Align to network `first`, or each to the `mean` of the others.
    restarts
        Starts of the search for weights' permutations.
    policies
        BatchNorm policies joined by `+`, or `all`: `reset` re-estimates statistics on `train`, `interp` mixes
        them, `repair` matches channel moments. The verdict is under the first.
    points
        Networks on each path, both ends included; odd.
    hull_points
        Random points of the convex hull, beside the centroid.
    margin
        Accuracy points that a path may fall below its chord within one basin.
    bn_inputs
        Training inputs for BatchNorm statistics; none takes all.
    device
        Device to compute on; none takes the networks'.
    progress
        A callback (what, done, total), True or False; none shows a line if stderr is a terminal.

    Returns
    -------
    Comparison
        Barriers, verdict, scores of ensemble and soup. PyTorch's global random state is left as it was.

    Raises
    ------
    UsageError
        For networks of different architectures or on different devices, outputs that are no logits, labels out of
        range, loaders without (x, y), and BatchNorm without `train`.
    NotEquivalentError
        If `symmetry` is wrong: an aligned network would compute another function.
    """
    report = choose_progress(progress)
    given = open_networks(networks, states, train=train, test=test, device=device)
    if stack.count_networks(given.members) < 2:
        raise UsageError("1 network: expected two or more to compare")
    names, alphas = given.policies(policies), _grid(points)
    with isolated_draws(given.network.device):
        aligned = None
        if align:
            report("aligning", 0, 1)
            before = given
            aligned = align_given(given, align, symmetry, restarts, reference)
            given = replace(given, members=aligned.members)
            aligned = _measure_alignment(before, aligned)
            report("aligning", 1, 1)
        probe = _make_probe(given, bn_inputs)
        paths = _score_paths(probe, alphas, names, report)
        hull = list(score_hull(probe, points=hull_points, policies=names))
        return _make_comparison(given, probe, paths, hull, aligned, alphas, names, hull_points, margin)


def barrier(
    a: nn.Module,
    b: nn.Module,
    *,
    test: Inputs,
    train: Inputs | None = None,
    policy: str = "reset",
    points: int = 11,
    device: torch.device | str | None = None,
) -> PathBarrier:
    """The barrier between two networks, in accuracy points and nats, with 95 % intervals over images.

    Parameters, errors and inputs are those of `basin.compare`, under one BatchNorm policy.
    """
    return interpolate(a, b, test=test, train=train, policy=policy, points=points, device=device).barrier


def interpolate(
    a: nn.Module,
    b: nn.Module,
    *,
    test: Inputs,
    train: Inputs | None = None,
    policy: str = "reset",
    points: int = 11,
    device: torch.device | str | None = None,
) -> Path:
    """Accuracy and loss of the networks (1 − α)·a + α·b, for `points` values of α from 0 to 1.

    Parameters, errors and inputs are those of `basin.compare`, under one BatchNorm policy.
    """
    given = open_networks([a, b], None, train=train, test=test, device=device)
    (name,), alphas = _one_policy(given, policy), _grid(points)
    with isolated_draws(given.network.device):
        probe = _make_probe(given, None)
        curve = list(score_paths(probe, alphas=alphas, policies=(name,)))
        matrix = _barrier_matrix(probe, curve, alphas, name)
    accuracy, loss = (np.array([getattr(point, score) for point in curve]) for score in ("accuracy", "loss"))
    return Path(np.array(alphas), accuracy, loss, matrix[0, 1], name)


def plane(
    networks: Networks,
    states: States | None = None,
    *,
    test: Inputs,
    train: Inputs | None = None,
    anchors: Sequence[int] = (0, 1, 2),
    policy: str = "reset",
    points: int = 21,
    device: torch.device | str | None = None,
) -> PlaneGrid:
    """Score a grid of `points` × `points` networks in the plane through three networks (Garipov 2018).

    `anchors` are the numbers of the three; the others are projected. Everything else is as for `basin.compare`, under
    one BatchNorm policy. Raises UsageError for fewer than three networks, and if the three lie on one line.
    """
    given = open_networks(networks, states, train=train, test=test, device=device)
    (name,) = _one_policy(given, policy)
    return score_grid(_make_probe(given, None), anchors, points, name)


def score_grid(probe: Probe, anchors: Sequence[int], points: int, policy: str) -> PlaneGrid:
    """Score the plane through the anchors."""
    count = stack.count_networks(probe.context.members)
    if count < 3:
        raise UsageError(f"{count} networks: a plane needs three")
    if len(set(anchors)) != 3 or not all(0 <= anchor < count for anchor in anchors):
        raise UsageError(f"anchors={list(anchors)}: expected three different networks of 0 to {count - 1}")
    means = replace(probe, per_image=False, _mixers={}, _seen={})
    try:
        with isolated_draws(probe.context.network.device):
            return PlaneGrid(tuple(score_plane(means, anchors, points=points, policy=policy)))
    except CollinearError as error:
        raise UsageError(f"anchors={list(anchors)}: {error}") from None


def _grid(points: int) -> list[float]:
    try:
        return alpha_grid(points)
    except ValueError as error:
        raise UsageError(f"points={points}: {error}") from None


def _one_policy(given: Given, policy: str) -> tuple[str, ...]:
    names = given.policies(policy)
    if len(names) != 1:
        raise UsageError(f"policy={policy}: expected one BatchNorm policy")
    return names


def _make_probe(given: Given, bn_inputs: int | None) -> Probe:
    return Probe(MixingContext(given.network, given.members, given.data, bn_inputs), {SPLIT: given.data.test})


def _measure_alignment(before: Given, aligned: Alignment) -> Alignment:
    """Add barriers before and after, unless BatchNorm statistics cannot be re-estimated."""
    if before.network.batchnorms and not before.trains:
        return aligned
    return replace(aligned, certificates=with_barriers(aligned, before.network, before.members, before.data))


def _score_paths(probe: Probe, alphas: Sequence[float], policies: Sequence[str], report: Progress) -> list[PathPoint]:
    pairs = all_pairs(stack.count_networks(probe.context.members))
    points: list[PathPoint] = []
    for at, policy in enumerate(policies):
        for place, pair in enumerate(pairs, 1):
            points += score_paths(probe, alphas=alphas, policies=(policy,), pairs=[pair])
            report("paths", at * len(pairs) + place, len(policies) * len(pairs))
    return points


def _make_comparison(
    given: Given,
    probe: Probe,
    paths: list[PathPoint],
    hull: list[HullPoint],
    aligned: Alignment | None,
    alphas: Sequence[float],
    policies: Sequence[str],
    hull_points: int,
    margin: float,
) -> Comparison:
    log_probs = predict(given.network, given.members, given.data.test, given.data)
    labels = given.data.test.labels.cpu()
    centre = average(given, policies[0])
    mixed = predict(given.network, stack.stack_networks([centre]), given.data.test, given.data)
    return Comparison(
        barriers={
            name: _barrier_matrix(probe, [point for point in paths if point.policy == name], alphas, name)
            for name in policies
        },
        verdict=_judge(probe, alphas, policies[0], hull_points, margin),
        ensemble=score_networks(log_probs, labels),
        soup=Soup(given.with_weights(centre), score_networks(mixed, labels)),
        members=tuple(score_networks(one[None], labels) for one in log_probs),
        certificates=aligned.certificates if aligned else (),
        permutations=aligned.permutations if aligned else (),
        paths=tuple(paths),
        hull=tuple(hull),
        given=given,
        probe=probe,
    )


def score_networks(log_probs: Tensor, labels: Tensor) -> Scores:
    """Every metric of an ensemble [M, N, C], or of one network, with intervals over images."""
    wide = log_probs.double()
    values = score_predictions(wide, labels, final=True)
    means = {name: metric.per_image for name, metric in all_metrics().items() if name in values and metric.per_image}
    spread = {name: estimate(of(wide, labels).numpy()[None]).interval for name, of in means.items()}
    return Scores(values, {name: ends for name, ends in spread.items() if ends is not None}, len(wide))


def _barrier_matrix(probe: Probe, points: list[PathPoint], alphas: Sequence[float], policy: str) -> BarrierMatrix:
    count = stack.count_networks(probe.context.members)
    intervals = {score: np.zeros((count, count, 2)) for score in ("accuracy", "loss")}
    for i, j in combinations(range(count), 2):
        shortfalls = path_shortfalls(probe, [(i, j)], alphas=alphas, policy=policy)[SPLIT]
        for score, worst in (("accuracy", WORST), ("loss", None)):
            limits = bounds(getattr(shortfalls, score)[None], worst=worst)
            intervals[score][i, j] = intervals[score][j, i] = _clip(limits, worst)
    matrices = [barrier_matrix(points, count, score).numpy() for score in ("accuracy", "loss")]
    return BarrierMatrix(policy, matrices[0], intervals["accuracy"], matrices[1], intervals["loss"])


def _clip(limits: Bounds, worst: float | None) -> Interval:
    """The interval of the weakest point, within what a barrier can be."""
    high = math.inf if worst is None else worst
    return min(max(limits.weakest_low, 0.0), high), min(max(limits.weakest_high, 0.0), high)


def _judge(probe: Probe, alphas: Sequence[float], policy: str, hull_points: int, margin: float) -> BasinVerdict:
    pairs = all_pairs(stack.count_networks(probe.context.members))
    inner = [alpha for alpha in alphas if 0 < alpha < 1]
    paths = path_shortfalls(probe, pairs, alphas=alphas, policy=policy)[SPLIT]
    hull = hull_shortfalls(probe, points=hull_points, policy=policy)[SPLIT]
    accuracy = decide(bounds(paths.accuracy[None], worst=WORST), margin)
    return BasinVerdict(
        accuracy=accuracy,
        loss=decide(bounds(paths.loss[None], worst=None), loss_margin(probe.context.data.classes)),
        hull=decide(bounds(hull.accuracy[None], worst=WORST), margin),
        why=_explain(accuracy, pairs, inner),
    )


def _explain(verdict: Verdict, pairs: Sequence[tuple[int, int]], alphas: Sequence[float]) -> str:
    limits, margin = verdict.bounds, f"the margin of {verdict.margin:g} points"
    _, pair, alpha = limits.weakest
    i, j = pairs[pair]
    if verdict.answer == "no":
        return (
            f"Between networks {i} and {j} accuracy is {limits.weakest_mean:.1f} points below the chord at "
            f"α = {alphas[alpha]:g} (95 % interval for all pairs and α at once {limits.weakest_low:.1f} to "
            f"{limits.weakest_high:.1f}); {margin} is exceeded."
        )
    bound = f"On the average path accuracy is at most {limits.upper:.2f} points below the chord (one-sided 95 % bound)"
    if verdict.answer == "yes":
        return f"{bound}, within {margin}."
    needed = f"about {verdict.needed} test inputs" if verdict.needed else "no number of test inputs"
    low = limits.lower if math.isfinite(limits.lower) else 0.0
    return (
        f"{bound} and at the worst point at least {max(low, 0.0):.1f}: {margin} lies between. "
        f"{needed[0].upper()}{needed[1:]} would be expected to decide."
    )
