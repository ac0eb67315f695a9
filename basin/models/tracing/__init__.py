"""Permutation symmetries of any module, from a run of it."""

from torch import Tensor, nn

from basin.errors import UsageError
from basin.models.symmetry import WRITE_IT, Symmetry
from basin.models.tracing.groups import GroupFinder
from basin.models.tracing.recorder import record_module


def trace_symmetry(module: nn.Module, example: Tensor) -> Symmetry:
    """The groups of units that can be permuted, from a run on `example` [N, …]; the module does not change.

    Raises UsageError if the module uses an operation without a rule on units, or has no units that can be permuted.
    """
    groups = GroupFinder(record_module(module, example)).find_groups()
    if not groups:
        raise UsageError(f"{type(module).__name__}: no units can be permuted: {WRITE_IT}")
    return groups
