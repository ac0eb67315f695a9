"""The deep ensemble with its members' hidden units in a common order: the same predictions, nearer in weight space."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch

from basin import stack
from basin.alignment.activation_matching import IMAGES, ActivationMatching
from basin.alignment.many import Alignment, Reference, align
from basin.alignment.matching import Matcher
from basin.alignment.weight_matching import WeightMatching
from basin.connectivity.paths import barrier_matrix, grid, paths
from basin.connectivity.probe import Probe
from basin.constructions import Spends, constructions
from basin.ensemble import Ensemble, all_pairs
from basin.models.symmetry import symmetry_of
from basin.policies import Setting
from basin.spec import Bounds, check
from basin.stack import Stack
from basin.task import Task


@constructions.register("permuted")
@dataclass(frozen=True, kw_only=True)
class Permuted:
    """A deep ensemble aligned by permutations (Git Re-Basin, Ainsworth 2023); connectivity is what moves."""

    members: Annotated[int, Bounds(1)] = 4
    """Networks in the ensemble, K."""
    matching: Literal["weights", "activations"] = "activations"
    """Whether units are matched by their weights, or by their activations on training images."""
    restarts: Annotated[int, Bounds(1)] = 5
    """Starts of the search for weights' permutations, of which the best is kept; activations need none."""
    reference: Reference = "first"
    """What members are aligned to: member 0, or each to the mean of the others."""

    def __post_init__(self) -> None:
        check(self)

    def needs(self, steps: int) -> dict[int, int]:
        """The deep ensemble's whole runs."""
        return dict.fromkeys(range(self.members), steps)

    def spends(self, steps: int) -> Spends:
        """Those of its single runs."""
        return Spends(0, self.members * steps)

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """The aligned ensemble, once.

        Raises UsageError for a model without a permutation spec, NotEquivalentError for one whose spec is wrong.
        """
        symmetry_of(task.network.module)  # refused before anything is trained
        members = stack.concatenate([task.single(member).thetas for member in range(self.members)])
        aligned = self.align(task, members)
        # The members as they were before stay as vertices, so that one plane can show both.
        vertices = stack.concatenate([aligned.members, members])
        before, after = barriers(task, members), barriers(task, aligned.members)
        certificates = tuple(
            replace(proof, barrier_before=before[proof.member], barrier_after=after[proof.member])
            for proof in aligned.certificates
        )
        coords = torch.eye(self.members, 2 * self.members, dtype=torch.float64)
        anchors = (0, self.members + 1, 1)
        yield Ensemble(vertices, coords, all_pairs(self.members), anchors, certificates)

    def align(self, task: Task, members: Stack) -> Alignment:
        """The members aligned, with their certificates."""
        network, symmetry = task.network, symmetry_of(task.network.module)
        matcher: Matcher = (
            WeightMatching(network, symmetry, self.restarts)
            if self.matching == "weights"
            else ActivationMatching(network, symmetry, task.data)
        )
        return align(network, members, symmetry=symmetry, data=task.data, matcher=matcher, reference=self.reference)


def barriers(task: Task, members: Stack) -> list[float]:
    """Each member's largest barrier to another one, at the midpoints on validation images, in accuracy points.

    BatchNorm statistics are re-estimated on as many training images as activations are matched on.
    """
    probe = Probe(Setting(task.network, members, task.data, IMAGES), {"val": task.data.val})
    matrix = barrier_matrix(paths(probe, alphas=grid(3)), stack.size(members))
    return [float(row.max()) for row in matrix]
