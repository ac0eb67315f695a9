"""Measure an ensemble: cheaply on validation while it grows, in full on validation and test at the end."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from basin import results, stack
from basin.connectivity.batchnorm import HEADLINE, MixingContext, PolicyChoice, chosen_policies
from basin.connectivity.distance import member_distance
from basin.connectivity.hull import HullPoint, hull_gaps, score_hull
from basin.connectivity.pairs import choose_pairs
from basin.connectivity.paths import PathPoint, alpha_grid, score_paths, summarise_paths
from basin.connectivity.plane import CollinearError, PlanePoint, score_plane
from basin.connectivity.probe import Probe
from basin.connectivity.verdicts import hull_bounds, mid_upper, path_bounds
from basin.data import Images
from basin.ensemble import Ensemble
from basin.errors import UsageError
from basin.metrics import all_metrics, score_predictions
from basin.metrics.calibration import Bin, reliability_table
from basin.metrics.prediction import member_accuracies, member_nlls
from basin.prediction import batchnorm_statistics, predict
from basin.results import ImageResults, Size
from basin.spec import Bounds, Checked, Unit
from basin.stack import Params, Stack
from basin.task import Task
from basin.training.loop import DivergedError
from basin.training.network import Precision

SOUP = ("accuracy", "nll", "ece", "brier", "calibrated_log_likelihood")
"""Metrics of the soup: the one network at the centroid of the members."""


UNBOUNDED = ("normalised_disagreement", "kl_pairs")
"""Metrics that are infinite for some sound ensembles."""


@dataclass(frozen=True, kw_only=True)
class Evaluation(Checked):
    """Evaluation settings of a trial."""

    version: ClassVar[int] = 2
    """2: the ends of paths are measured under the same BatchNorm policy as what lies between them."""

    alphas: Annotated[int, Bounds(3), Unit("points")] = 11
    """Points of each linear path, both ends included; odd, so that ½ is one of them."""
    policies: PolicyChoice = "reset+interp"
    """BatchNorm policies of mixed networks; each gives its own connectivity numbers."""
    bn_images: Annotated[int | None, Bounds(1), Unit("images")] = None
    """Training images that re-estimate the BatchNorm statistics of a mixed network; none takes all."""
    hull_points: Annotated[int, Bounds(0), Unit("points")] = 8
    """Random points of the convex hull, in addition to the centroid."""
    pairs: Annotated[int | None, Bounds(1), Unit("pairs")] = None
    """Random pairs of members whose paths are measured, those claimed to be connected first; none takes all."""
    path_images: Annotated[int | None, Bounds(1), Unit("images")] = None
    """Images of each split on which mixed networks, and the ends of their paths, are scored; none takes all."""
    path_precision: Precision = "float32"
    """Arithmetic of mixed networks and of the ends of their paths; members' own scores are always float32."""
    train_images: Annotated[int, Bounds(0), Unit("images")] = 0
    """Training images on which connectivity is measured as well; 0 leaves it out."""
    plane_points: Annotated[int, Bounds(0), Unit("points")] = 0
    """Points along each side of the plane through three networks (21 for figures); 0 leaves it out."""
    ood: str | None = None
    """Out-of-distribution dataset, by name: ensembles should be less confident on its test images. Needs no labels."""
    predictions: bool = False
    """Keep the members' log-probabilities, so that any metric can be computed later."""
    outcome_nll: bool = True
    """Store each image's NLL with its correctness, for verdicts and intervals of the loss."""
    progress_every: Annotated[int, Bounds(1), Unit("epochs")] = 5
    """Epochs between two scores on validation while training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alphas % 2 == 0:
            raise UsageError(f"alphas={self.alphas}: expected an odd number, so that ½ is on the grid")


@dataclass(frozen=True)
class Predictions:
    """Members' log-probabilities on one split."""

    split: str
    """val, test, or ood: the other dataset's images, whose classes are others (label −1)."""
    log_probs: Float[Tensor, "M N C"]
    labels: Tensor


@dataclass
class Measured:
    """All measurements of a finished ensemble."""

    scores: dict[str, float] = field(default_factory=dict)
    """Metrics and connectivity, named `SPLIT_METRIC`, `SPLIT_soup_METRIC` and `SPLIT_MEASURE_POLICY`; and
    `member_distance`."""
    members: list[dict[str, float]] = field(default_factory=list)
    paths: list[PathPoint] = field(default_factory=list)
    hull: list[HullPoint] = field(default_factory=list)
    plane: list[PlanePoint] = field(default_factory=list)
    reliability: list[tuple[str, Bin]] = field(default_factory=list)
    """Split and row of its reliability table."""
    predictions: list[Predictions] = field(default_factory=list)
    outcomes: list[ImageResults] = field(default_factory=list)
    """Results of each image of validation and test, by network."""
    sizes: list[Size] = field(default_factory=list)
    soup: Params = field(default_factory=dict)
    """Re-estimated BatchNorm statistics of the soup; empty without BatchNorm and for a single member."""


def validate_ensemble(task: Task, ensemble: Ensemble, evaluation: Evaluation) -> dict[str, float]:
    """Score the ensemble on validation, and the midpoints of its paths: mean chord excess, bound of the shortfall."""
    members, data, alphas = ensemble.members(), task.data, alpha_grid(3)
    metrics = score_predictions(predict(task.network, members, data.val, data), data.val.labels)
    probe = _make_probe(task, members, evaluation, {"val": data.val})
    pairs = choose_pairs(ensemble, evaluation.pairs, task.stages.seed)
    named = summarise_paths(score_paths(probe, alphas=alphas, pairs=pairs.measured))
    scores = (
        {f"val_{name}": value for name, value in metrics.items()}
        | {name.replace("q_bar", "q_mid"): value for name, value in named.items() if "q_bar" in name}
        | mid_upper(probe, pairs.judged)
    )
    _check_finite(scores)
    return scores


def measure_ensemble(task: Task, ensemble: Ensemble, evaluation: Evaluation) -> Measured:
    """Final numbers on validation and test: of the ensemble, of its members, and of the mixtures of these."""
    measured = Measured()
    _measure_predictions(task, ensemble, evaluation, measured)
    _measure_soup(task, ensemble.members(), evaluation, measured)
    _measure_mixtures(task, ensemble, evaluation, measured)
    _check_finite(measured.scores)
    drawn = ensemble.around() if evaluation.plane_points else ensemble.vertices
    if evaluation.plane_points and stack.count_networks(drawn) > max(ensemble.anchors):
        around = _make_probe(task, drawn, evaluation, {"test": task.data.test}, per_image=False)
        with suppress(CollinearError):  # with t = 1 the branches are one network: that is a result
            measured.plane = list(
                score_plane(around, ensemble.anchors, points=evaluation.plane_points, policy=HEADLINE)
            )
    return measured


def _check_finite(scores: Mapping[str, float]) -> None:
    """Raise DivergedError for a score that is not finite: finite weights can be too large to compute with."""
    for name, value in scores.items():
        if not math.isfinite(value) and not (value > 0 and name.endswith(UNBOUNDED)):
            raise DivergedError(f"{name} is {value} after training")


def _measure_mixtures(task: Task, ensemble: Ensemble, evaluation: Evaluation, measured: Measured) -> None:
    """Measure the paths and the hull of two members or more."""
    if len(ensemble.coords) < 2:
        return
    policies = chosen_policies(evaluation.policies, task.network)
    probe = _make_probe(task, ensemble.members(), evaluation, _measured_splits(task, evaluation))
    pairs = choose_pairs(ensemble, evaluation.pairs, task.stages.seed)
    alphas, points = alpha_grid(evaluation.alphas), evaluation.hull_points
    measured.paths = list(score_paths(probe, alphas=alphas, policies=policies, pairs=pairs.measured))
    measured.hull = list(score_hull(probe, points=points, policies=policies))
    measured.scores |= summarise_paths(measured.paths) | hull_gaps(measured.hull)
    measured.scores["member_distance"] = member_distance(ensemble.members(), task.network.weights)
    measured.scores |= path_bounds(probe, pairs.judged, alphas=alphas, policies=policies)
    measured.scores |= hull_bounds(probe, points=points, policies=policies)
    measured.outcomes += results.of_mixtures(probe, pairs, alphas=alphas, points=points, splits=("val", "test"))


def _measure_soup(task: Task, members: Stack, evaluation: Evaluation, measured: Measured) -> None:
    """Score the centroid as one network, on all images; of a single member that is the member itself."""
    count = stack.count_networks(members)
    if count > 1:
        network = task.network
        context = MixingContext(network, members, task.data, evaluation.bn_images, way=network.engine.evaluation())
        members = context.reset(stack.mix(members, torch.full((1, count), 1 / count, dtype=torch.float64)))
        measured.soup = batchnorm_statistics(network, stack.network_at(members, 0))
    for split, held in {"val": task.data.val, "test": task.data.test}.items():
        log_probs, labels = predict(task.network, members, held, task.data).double(), held.labels.cpu()
        measured.scores |= {f"{split}_soup_{name}": all_metrics()[name].compute(log_probs, labels) for name in SOUP}
        measured.outcomes.append(results.of_soup(split, log_probs, labels, count))


def _measure_predictions(task: Task, ensemble: Ensemble, evaluation: Evaluation, measured: Measured) -> None:
    measured.members = [{"member": k} for k in range(len(ensemble.coords))]
    fit = None
    for split, held in {"val": task.data.val, "test": task.data.test}.items():
        log_probs, labels = predict(task.network, ensemble.members(), held, task.data), held.labels.cpu()
        other = predict(task.network, ensemble.members(), task.other, task.data) if task.other and fit else None
        scores = score_predictions(log_probs, labels, final=True, fit=fit, ood=other)
        fit = (log_probs, labels)
        measured.scores |= {f"{split}_{name}": value for name, value in scores.items()}
        measured.reliability += [(split, row) for row in reliability_table(log_probs.double(), labels)]
        _describe_members(measured.members, split, log_probs.double(), labels)
        measured.outcomes += results.of_members(split, log_probs.double(), labels)
        sized = list(results.of_sizes(split, log_probs.double(), labels))
        measured.outcomes += sized
        measured.sizes += results.summarise_sizes(sized, len(log_probs))
        if evaluation.predictions:
            measured.predictions.append(Predictions(split, log_probs, labels))
            if other is not None:
                measured.predictions.append(Predictions("ood", other, torch.full((other.shape[1],), -1)))


def _describe_members(rows: Sequence[dict[str, float]], split: str, log_probs: Tensor, labels: Tensor) -> None:
    accuracies, losses = member_accuracies(log_probs, labels), member_nlls(log_probs, labels)
    for k, row in enumerate(rows):
        row |= {f"{split}_accuracy": float(accuracies[k]), f"{split}_nll": float(losses[k])}


def _make_probe(
    task: Task, members: Stack, evaluation: Evaluation, splits: Mapping[str, Images], *, per_image: bool = True
) -> Probe:
    context = MixingContext(task.network, members, task.data, evaluation.bn_images, evaluation.path_precision)
    sampled = {split: images.sample(evaluation.path_images) for split, images in splits.items()}
    return Probe(context, sampled, per_image=per_image)


def _measured_splits(task: Task, evaluation: Evaluation) -> dict[str, Images]:
    splits = {"val": task.data.val, "test": task.data.test}
    if evaluation.train_images:
        splits["train"] = task.data.train.sample(evaluation.train_images)
    return splits
