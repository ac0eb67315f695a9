"""Distillation: teachers' logits on a batch, and the loss of a student against its soft targets."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from basin import stack
from basin.data import Data
from basin.stack import Stack
from basin.training.network import Network
from basin.training.objective import Answers, Batch, Inputs, Objective

CHUNK = 256
"""Images per teacher forward, when logits of all training images are stored."""


class Teachers:
    """The members of a deep ensemble as teachers, evaluated in the precision of the training passes."""

    def __init__(self, network: Network, thetas: Stack) -> None:
        self.count = stack.count_networks(thetas)
        """Number of teachers."""
        self._network = network
        self._thetas = thetas
        self._kept: Tensor | None = None

    @torch.no_grad()
    def remember(self, data: Data, batch_size: int) -> int:
        """Evaluate the teachers on all training images: without augmentation these are the same in each epoch.

        Returns the forward-only batches of `batch_size` images that this takes.
        """
        places = torch.arange(len(data.train)).split(CHUNK)
        said = [
            [self._teacher_logits(k, data.normalise(data.train.take(some)[0])) for some in places]
            for k in self._all_teachers()
        ]
        self._kept = torch.stack([torch.cat(chunks) for chunks in said])
        return self.count * -(-len(data.train) // batch_size)

    @torch.no_grad()
    def logits(self, k: int, batch: Batch, answers: Answers) -> Float[Tensor, "batch classes"]:
        """Logits of teacher k on a batch, computed unless they are remembered or in `answers`."""
        if self._kept is not None and batch.positions is not None:
            return self._kept[k].index_select(0, batch.positions)
        if k not in answers.teacher_logits:
            answers.teacher_logits[k] = self._teacher_logits(k, batch.images)
        return answers.teacher_logits[k]

    @torch.no_grad()
    def ask(self, batches: Sequence[Batch], answers: Sequence[Answers], members: slice) -> None:
        """Fill the answers on each batch with the logits of its own teacher, one of `members`, in one call."""
        if self._kept is not None and all(batch.positions is not None for batch in batches):
            return
        images, some = [batch.images for batch in batches], stack.slice_networks(self._thetas, members)
        said = self._network.compute_logits(some, images, precision=self._network.precision, together=True)
        for k, known, logits in zip(self._all_teachers()[members], answers, said, strict=True):
            known.teacher_logits[k] = logits

    def _all_teachers(self) -> range:
        return range(self.count)

    def _teacher_logits(self, k: int, images: Tensor) -> Tensor:
        return self._network(stack.network_at(self._thetas, k), images, precision=self._network.precision)


class Distillation:
    """(1−λ)·CE + λ·τ²·KL(teacher ‖ student) at temperature τ, batch mean (Hinton 2015, section 2).

    Student k learns from teacher k, and a mixed network from the same mixture of the teachers' tempered
    probabilities; with `shared` every network learns from the mean over all teachers.
    """

    def __init__(self, teachers: Teachers, *, temperature: float, weight: float, shared: bool = False) -> None:
        self._teachers = teachers
        self._temperature = temperature
        self._weight = weight
        self._shared = torch.full((teachers.count,), 1 / teachers.count) if shared else None

    def __call__(self, logits: Tensor, batch: Batch, weights: Tensor, answers: Answers) -> Tensor:
        """Mean loss of one network's logits on one batch; teachers' logits are taken from `answers` or added to it."""
        hard = F.cross_entropy(logits, batch.labels)
        if self._weight == 0:
            return hard
        tau = self._temperature
        target = self.target(batch, weights, answers) if answers.target is None else answers.target
        soft = F.kl_div(F.log_softmax(logits / tau, dim=1), target, reduction="batchmean")
        return (1 - self._weight) * hard + self._weight * tau**2 * soft

    def objective(self, inputs: Inputs | None = None) -> Objective:
        """The objective with this loss; at weight 0 the teachers are never evaluated."""
        return Objective(self, inputs=inputs, prepare=self.prepare, target=self.target if self._weight else None)

    def prepare(self, batches: Sequence[Batch], answers: Sequence[Answers], members: slice) -> None:
        """Fill the answers on each member's batch with the logits of its own teacher, in one call."""
        if self._weight and self._shared is None:
            self._teachers.ask(batches, answers, members)

    def target(self, batch: Batch, weights: Float[Tensor, " K"], answers: Answers) -> Float[Tensor, "batch classes"]:
        """Soft targets: the teachers' tempered probabilities, mixed with the network's weights."""
        mixture = weights if self._shared is None else self._shared
        shares = [(k, share) for k, share in enumerate(mixture.tolist()) if share]
        said = [(share, self._teachers.logits(k, batch, answers)) for k, share in shares]
        return torch.stack([share * F.softmax(logits / self._temperature, dim=1) for share, logits in said]).sum(dim=0)
