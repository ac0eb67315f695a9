"""Learning from the members of a deep ensemble: their answers, and the loss that measures a student against them."""

import threading
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from basin import stack
from basin.data import Data
from basin.network import Network
from basin.objective import Batch, Inputs, Meter, Objective
from basin.stack import Stack

CHUNK = 256
"""Images that one teacher answers at once, where its answers are kept."""


class Teachers:
    """The members of a deep ensemble, asked for their logits in the arithmetic of the training passes."""

    def __init__(self, network: Network, thetas: Stack, meter: Meter) -> None:
        self.count = stack.size(thetas)
        """How many they are."""
        self._network = network
        self._thetas = thetas
        self._meter = meter
        self._kept: Tensor | None = None
        self._lock = threading.Lock()

    @torch.no_grad()
    def remember(self, data: Data, batch_size: int) -> None:
        """Ask for all training images at once: without augmentation they are the same in each epoch."""
        places = torch.arange(len(data.train)).split(CHUNK)
        said = [[self._answer(k, data.normalise(data.train.take(some)[0])) for some in places] for k in self._all()]
        self._kept = torch.stack([torch.cat(own) for own in said])
        self._meter.teacher_forwards += self.count * -(-len(data.train) // batch_size)

    @torch.no_grad()
    def logits(self, k: int, batch: Batch) -> Float[Tensor, "batch classes"]:
        """What teacher k says of a batch; what it has said already is not computed again."""
        if self._kept is not None and batch.positions is not None:
            return self._kept[k].index_select(0, batch.positions)
        if k not in batch.teacher_logits:
            batch.teacher_logits[k] = self._answer(k, batch.images)
            self._spent(1)
        return batch.teacher_logits[k]

    @torch.no_grad()
    def ask(self, batches: Sequence[Batch], members: slice) -> None:
        """What teachers `members` say of a batch each, in one call."""
        if self._kept is not None and all(batch.positions is not None for batch in batches):
            return
        images, some = [batch.images for batch in batches], stack.part(self._thetas, members)
        said = self._network.each(some, images, precision=self._network.precision, together=True)
        for k, batch, logits in zip(self._all()[members], batches, said, strict=True):
            batch.teacher_logits[k] = logits
        self._spent(len(batches))

    def _all(self) -> range:
        return range(self.count)

    def _answer(self, k: int, images: Tensor) -> Tensor:
        return self._network(stack.row(self._thetas, k), images, precision=self._network.precision)

    def _spent(self, batches: int) -> None:
        with self._lock:  # members ask from threads of their own
            self._meter.teacher_forwards += batches


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

    def __call__(self, logits: Tensor, batch: Batch, weights: Tensor) -> Tensor:
        """The loss of one network's logits on one batch."""
        hard = F.cross_entropy(logits, batch.labels)
        if self._weight == 0:
            return hard
        tau = self._temperature
        target = self.target(batch, weights) if batch.target is None else batch.target
        soft = F.kl_div(F.log_softmax(logits / tau, dim=1), target, reduction="batchmean")
        return (1 - self._weight) * hard + self._weight * tau**2 * soft

    def objective(self, inputs: Inputs | None = None) -> Objective:
        """The objective with this loss; without weight on the teachers they are never asked."""
        return Objective(self, inputs=inputs, prepare=self.prepare, target=self.target if self._weight else None)

    def prepare(self, batches: Sequence[Batch], members: slice) -> None:
        """What each member's own teacher says of its batch, in one call."""
        if self._weight and self._shared is None:
            self._teachers.ask(batches, members)

    def target(self, batch: Batch, weights: Float[Tensor, " K"]) -> Float[Tensor, "batch classes"]:
        """The teachers' tempered probabilities, mixed as the network is."""
        mixture = weights if self._shared is None else self._shared
        shares = [(k, share) for k, share in enumerate(mixture.tolist()) if share]
        said = [share * F.softmax(self._teachers.logits(k, batch) / self._temperature, dim=1) for k, share in shares]
        return torch.stack(said).sum(dim=0)
