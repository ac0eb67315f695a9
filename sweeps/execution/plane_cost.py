"""Estimate what the planes of a sweep cost: networks on a grid that are scored, not trained."""

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from basin.trial import Trial
from sweeps.execution.plan import Plan

FORWARDS = 3
"""Forwards that take as long as a pass, or less long: batches of evaluation are larger."""


@dataclass(frozen=True)
class PlaneCost:
    """The planes that are still to be scored."""

    planes: float
    networks: float
    """Networks on all their grids."""
    images: float
    """Images that these networks predict, with those of which BatchNorm statistics are estimated again."""
    passes: float
    """Training passes that take about as long, or longer."""


def estimate_planes(planned: Plan) -> PlaneCost:
    """Estimate the cost of the remaining planes, also of ensembles that turn out to have none: members on one line."""
    left = [(one.left, one.trial) for one in planned.trials if one.left and one.trial.evaluation.plane_points]
    estimated = {trial.model: _has_statistics(trial, planned) for _, trial in left}
    planes = networks = images = passes = 0.0
    for count, trial in left:
        grid = trial.evaluation.plane_points**2
        seen = _least(trial.evaluation.path_images, planned.test_images)
        if estimated[trial.model]:
            seen += _least(trial.evaluation.bn_images, planned.images)
        planes += count
        networks += count * grid
        images += count * grid * seen
        passes += count * grid * seen / trial.training.batch_size / FORWARDS
    return PlaneCost(planes, networks, images, passes)


def _least(chosen: int | None, all_images: int) -> int:
    return all_images if chosen is None else min(chosen, all_images)


def _has_statistics(trial: Trial, planned: Plan) -> bool:
    module: nn.Module = trial.model.build(planned.shape, planned.classes)
    return any(isinstance(part, _BatchNorm) and part.running_mean is not None for part in module.modules())
