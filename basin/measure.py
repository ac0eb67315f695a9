"""Everything that is measured of an ensemble: cheaply on validation while it grows, in full at the end."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from basin import stack
from basin.connectivity.hull import HullPoint, gaps, hull
from basin.connectivity.paths import Point, connectivity, grid, paths
from basin.connectivity.plane import CollinearError, PlanePoint, plane
from basin.connectivity.probe import Probe
from basin.data import Images
from basin.ensemble import Ensemble
from basin.errors import UsageError
from basin.evaluation import predict
from basin.metrics import score
from basin.metrics.calibration import Bin, reliability
from basin.metrics.prediction import member_accuracies, member_nlls
from basin.network import Precision
from basin.policies import Setting
from basin.spec import Bounds, check
from basin.stack import Stack
from basin.task import Task

POLICY_SETS = {"reset": ("reset",), "reset+interp": ("reset", "interp"), "all": ("reset", "interp", "repair")}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How an ensemble is measured."""

    alphas: Annotated[int, Bounds(3)] = 11
    """Points of each linear path, both ends included; odd, so that ½ is one of them."""
    policies: Literal["reset", "reset+interp", "all"] = "reset+interp"
    """What is done about BatchNorm statistics of mixed networks: each policy gives its own connectivity numbers."""
    bn_images: Annotated[int | None, Bounds(1)] = None
    """Training images that re-estimate the BatchNorm statistics of a mixed network; none takes all."""
    hull_points: Annotated[int, Bounds(0)] = 8
    """Random points of the convex hull, beside the centroid."""
    path_images: Annotated[int | None, Bounds(1)] = None
    """Images of each split on which mixed networks, and the ends of their paths, are scored; none takes all."""
    path_precision: Precision = "float32"
    """Arithmetic of mixed networks and of the ends of their paths; members' own scores are always float32."""
    train_images: Annotated[int, Bounds(0)] = 0
    """Training images on which connectivity is measured as well; 0 leaves it out."""
    plane_points: Annotated[int, Bounds(0)] = 0
    """Points along each side of the plane through three networks (21 for figures); 0 leaves it out."""
    ood: str | None = None
    """Another dataset, by name, on whose test images confidence should be lower; needs no labels."""
    predictions: bool = False
    """Whether the members' log-probabilities are kept, so that any metric can be computed later."""
    progress_every: Annotated[int, Bounds(1)] = 5
    """Epochs between two scores on validation while training."""

    def __post_init__(self) -> None:
        check(self)
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
    """What was found of a finished ensemble."""

    scores: dict[str, float] = field(default_factory=dict)
    """Metrics and connectivity, named `SPLIT_METRIC` and `SPLIT_MEASURE_POLICY`."""
    members: list[dict[str, float]] = field(default_factory=list)
    paths: list[Point] = field(default_factory=list)
    hull: list[HullPoint] = field(default_factory=list)
    plane: list[PlanePoint] = field(default_factory=list)
    reliability: list[tuple[str, Bin]] = field(default_factory=list)
    """Split and row of its reliability table."""
    predictions: list[Predictions] = field(default_factory=list)


def validate(task: Task, ensemble: Ensemble, evaluation: Evaluation) -> dict[str, float]:
    """Validation metrics, and the chord excess of the paths' midpoints."""
    members, data = ensemble.members(), task.data
    scores = score(predict(task.network, members, data.val, data), data.val.labels)
    probe = _probe(task, members, evaluation, {"val": data.val})
    named = connectivity(paths(probe, alphas=grid(3)))
    return {f"val_{name}": value for name, value in scores.items()} | {
        name.replace("q_bar", "q_mid"): value for name, value in named.items() if "q_bar" in name
    }


def measure(task: Task, ensemble: Ensemble, evaluation: Evaluation) -> Measured:
    """Final numbers on validation and test: of the ensemble, of its members, and of the mixtures of these."""
    found = Measured()
    _predict(task, ensemble, evaluation, found)
    policies = POLICY_SETS[evaluation.policies] if task.network.batchnorms else ("reset",)
    probe = _probe(task, ensemble.members(), evaluation, _splits(task, evaluation))
    found.paths = list(paths(probe, alphas=grid(evaluation.alphas), policies=policies))
    found.hull = list(hull(probe, points=evaluation.hull_points, policies=policies)) if len(ensemble.coords) > 1 else []
    found.scores |= connectivity(found.paths) | gaps(found.hull)
    drawn = ensemble.around() if evaluation.plane_points else ensemble.vertices
    if evaluation.plane_points and stack.size(drawn) > max(ensemble.anchors):
        around = _probe(task, drawn, evaluation, {"test": task.data.test})
        with suppress(CollinearError):  # with t = 1 the branches are one network: that is a result
            found.plane = list(plane(around, ensemble.anchors, points=evaluation.plane_points, policy="reset"))
    return found


def _predict(task: Task, ensemble: Ensemble, evaluation: Evaluation, found: Measured) -> None:
    found.members = [{"member": k} for k in range(len(ensemble.coords))]
    fit = None
    for split, held in {"val": task.data.val, "test": task.data.test}.items():
        log_probs, labels = predict(task.network, ensemble.members(), held, task.data), held.labels.cpu()
        other = predict(task.network, ensemble.members(), task.other, task.data) if task.other and fit else None
        scores = score(log_probs, labels, final=True, fit=fit, ood=other)
        fit = (log_probs, labels)
        found.scores |= {f"{split}_{name}": value for name, value in scores.items()}
        found.reliability += [(split, row) for row in reliability(log_probs.double(), labels)]
        _describe_members(found.members, split, log_probs.double(), labels)
        if evaluation.predictions:
            found.predictions.append(Predictions(split, log_probs, labels))
            if other is not None:
                found.predictions.append(Predictions("ood", other, torch.full((other.shape[1],), -1)))


def _describe_members(rows: Sequence[dict[str, float]], split: str, log_probs: Tensor, labels: Tensor) -> None:
    accuracies, losses = member_accuracies(log_probs, labels), member_nlls(log_probs, labels)
    for k, row in enumerate(rows):
        row |= {f"{split}_accuracy": float(accuracies[k]), f"{split}_nll": float(losses[k])}


def _probe(task: Task, members: Stack, evaluation: Evaluation, splits: Mapping[str, Images]) -> Probe:
    setting = Setting(task.network, members, task.data, evaluation.bn_images, evaluation.path_precision)
    return Probe(setting, {split: images.sample(evaluation.path_images) for split, images in splits.items()})


def _splits(task: Task, evaluation: Evaluation) -> dict[str, Images]:
    splits = {"val": task.data.val, "test": task.data.test}
    if evaluation.train_images:
        splits["train"] = task.data.train.sample(evaluation.train_images)
    return splits
