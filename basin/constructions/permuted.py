"""The deep ensemble with aligned hidden units: the same predictions, closer in weight space."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch

from basin import stack
from basin.alignment.activation_matching import IMAGES, ActivationMatching
from basin.alignment.align import Alignment, Reference, align_members
from basin.alignment.certificate import Certificate, certify_symmetry
from basin.alignment.matching import Matcher
from basin.alignment.weight_matching import WeightMatching
from basin.connectivity.batchnorm import MixingContext
from basin.connectivity.paths import alpha_grid, barrier_matrix, score_paths
from basin.connectivity.probe import Probe
from basin.constructions import constructions
from basin.constructions.deep import Deep
from basin.data import Data
from basin.ensemble import Ensemble, all_pairs
from basin.spec import Bounds, Unit
from basin.stack import Stack
from basin.task import Task
from basin.training.network import Network


@constructions.register("permuted")
@dataclass(frozen=True, kw_only=True)
class Permuted(Deep):
    """A deep ensemble aligned by permutations (Git Re-Basin, Ainsworth 2023); connectivity is what moves."""

    version: ClassVar[int] = 1

    matching: Literal["weights", "activations"] = "activations"
    """Match units by their weights, or by their activations on training images."""
    restarts: Annotated[int, Bounds(1), Unit("starts")] = 5
    """Starts of the search for weights' permutations, of which the best is kept; activations need none."""
    reference: Reference = "first"
    """Target of the alignment: member 0, or each to the mean of the others."""

    def grow(self, task: Task) -> Iterator[Ensemble]:
        """The aligned ensemble, once.

        Raises UsageError for a model whose permutations cannot be traced or observed, NotEquivalentError for one whose
        spec is wrong, both before anything is trained.
        """
        self._make_matcher(task)
        certify_symmetry(task.network, task.data)
        members = stack.join_stacks([task.single(member).thetas for member in range(self.members)])
        aligned = self.align(task, members)
        # The members as they were before stay as vertices, so that one plane can show both.
        vertices = stack.join_stacks([aligned.members, members])
        certificates = with_barriers(aligned, task.network, members, task.data)
        coords = torch.eye(self.members, 2 * self.members, dtype=torch.float64)
        anchors = (0, self.members + 1, 1)
        yield Ensemble(vertices, coords, all_pairs(self.members), anchors, certificates)

    def align(self, task: Task, members: Stack) -> Alignment:
        """The members aligned, with their certificates."""
        network, matcher = task.network, self._make_matcher(task)
        return align_members(
            network, members, symmetry=network.symmetry, data=task.data, matcher=matcher, reference=self.reference
        )

    def _make_matcher(self, task: Task) -> Matcher:
        if self.matching == "weights":
            return WeightMatching(task.network, task.network.symmetry, self.restarts)
        return ActivationMatching(task.network, task.network.symmetry, task.data)


def with_barriers(aligned: Alignment, network: Network, members: Stack, data: Data) -> tuple[Certificate, ...]:
    """The certificates with each member's barrier before and after the alignment."""
    before, after = (member_barriers(network, some, data) for some in (members, aligned.members))
    return tuple(
        replace(proof, barrier_before=before[proof.member], barrier_after=after[proof.member])
        for proof in aligned.certificates
    )


def member_barriers(network: Network, members: Stack, data: Data) -> list[float]:
    """Each member's largest barrier to another one, at the midpoints on validation images, in accuracy points.

    BatchNorm statistics of midpoints and members are re-estimated on as many training images as activations are
    matched on.
    """
    probe = Probe(MixingContext(network, members, data, IMAGES), {"val": data.val}, per_image=False)
    matrix = barrier_matrix(score_paths(probe, alphas=alpha_grid(3)), stack.count_networks(members))
    return [float(row.max()) for row in matrix]
