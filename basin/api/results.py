"""Results of the library: small frozen objects that print what they hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from basin import stack
from basin.alignment.certificate import Certificate
from basin.alignment.permutation import Permutation
from basin.api.inputs import Given
from basin.connectivity.hull import HullPoint
from basin.connectivity.paths import PathPoint
from basin.connectivity.plane import PlanePoint
from basin.connectivity.probe import Probe
from basin.metrics import all_metrics
from stats.verdicts import Answer, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pyarrow import Table
else:  # the tests look up every annotation
    Axes = Table = Any

Array = NDArray[np.float64]
Interval = tuple[float, float]
SHOWN_OF_ONE = ("accuracy", "nll", "ece", "brier")
SHOWN = (*SHOWN_OF_ONE, "disagreement", "mutual_information", "jensen_gap")
"""Metrics that are printed; the others are in the mapping."""


@dataclass(frozen=True, repr=False)
class Scores(Mapping[str, float]):
    """Metrics by name (`scores.nll` or `scores["nll"]`), with 95 % intervals over images where they are means."""

    values_by_name: Mapping[str, float]
    intervals: Mapping[str, Interval]
    """Ends of the interval of each metric that is a mean over images."""
    count: int = 1
    """Networks of the ensemble."""

    def __getitem__(self, name: str) -> float:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def __getattr__(self, name: str) -> float:
        if name.startswith("__") or name == "values_by_name":  # pickle asks before there are values
            raise AttributeError(name)
        if name not in self.values_by_name:
            raise AttributeError(f"no metric {name!r}: expected one of {', '.join(self.values_by_name)}")
        return self.values_by_name[name]

    def __repr__(self) -> str:
        shown = SHOWN if self.count > 1 else SHOWN_OF_ONE
        return "\n".join(self._line(name) for name in shown)

    def _line(self, name: str) -> str:
        metric = all_metrics()[name]
        unit = f" {metric.unit}" if metric.unit != "1" else ""
        return f"{name:18} {self[name]:8.3f}{unit}{_range(self.intervals.get(name))}"


@dataclass(frozen=True, repr=False)
class PathBarrier:
    """Barrier between two networks: the largest shortfall of the path below (loss: above) the chord, at least 0."""

    accuracy: float
    """In accuracy points."""
    accuracy_interval: Interval
    """95 % interval over images, simultaneous for all α."""
    loss: float
    """In nats."""
    loss_interval: Interval
    policy: str
    """BatchNorm policy."""

    def __repr__(self) -> str:
        accuracy = f"{self.accuracy:.2f} points{_range(self.accuracy_interval, 2)}"
        return f"barrier: accuracy {accuracy}, loss {self.loss:.3g} nats{_range(self.loss_interval, 3, 'g')}"


@dataclass(frozen=True, repr=False, eq=False)
class BarrierMatrix:
    """Barriers of all pairs of K networks under one BatchNorm policy: symmetric, 0 on the diagonal."""

    policy: str
    accuracy: Array
    """[K, K], in accuracy points."""
    accuracy_intervals: Array
    """[K, K, 2], 95 % interval over images of each pair, simultaneous for all α."""
    loss: Array
    """[K, K], in nats."""
    loss_intervals: Array
    """[K, K, 2]."""

    def __getitem__(self, pair: tuple[int, int]) -> PathBarrier:
        intervals = [tuple(some[pair].tolist()) for some in (self.accuracy_intervals, self.loss_intervals)]
        return PathBarrier(float(self.accuracy[pair]), intervals[0], float(self.loss[pair]), intervals[1], self.policy)

    def __repr__(self) -> str:
        lines = [f"barriers, BatchNorm policy {self.policy} (95 % intervals over images, each for one pair and all α)"]
        lines.append("  pair   accuracy points            loss (nats)")
        for i, j in zip(*np.triu_indices(len(self.accuracy), 1), strict=True):
            one = self[int(i), int(j)]
            accuracy = f"{one.accuracy:6.2f}{_range(one.accuracy_interval, 2)}"
            lines.append(f"  {i}–{j}  {accuracy:26} {one.loss:7.3g}{_range(one.loss_interval, 3, 'g')}")
        return "\n".join(lines)


@dataclass(frozen=True, repr=False)
class BasinVerdict:
    """Verdict on whether the networks lie in one basin. The answer is about accuracy along the paths between them."""

    accuracy: Verdict
    """About accuracy along the paths; its margin is in accuracy points."""
    loss: Verdict
    """About the loss along the paths; its margin is in nats."""
    hull: Verdict
    """About accuracy at the centroid and at random points of the convex hull."""
    why: str
    """The answer in one sentence."""

    @property
    def answer(self) -> Answer:
        """yes, no or undecided."""
        return self.accuracy.answer

    def __str__(self) -> str:
        return self.answer

    def __eq__(self, other: object) -> bool:
        return self.answer == other if isinstance(other, str) else self is other

    def __hash__(self) -> int:
        return hash(self.answer)

    def __bool__(self) -> bool:
        return self.answer == "yes"

    def __repr__(self) -> str:
        loss = f"By loss: {self.loss.answer} (margin {self.loss.margin:.3g} nats)"
        hull = f"by accuracy at the centroid and at random points of the convex hull: {self.hull.answer}"
        return f"in one basin: {self.answer}. {self.why} {loss}; {hull}."


@dataclass(frozen=True, repr=False)
class Soup:
    """The centroid of the networks as one network."""

    module: nn.Module
    """BatchNorm statistics are re-estimated where training inputs were given."""
    scores: Scores

    def __getattr__(self, name: str) -> float:
        if name.startswith("__") or name == "scores":
            raise AttributeError(name)
        return getattr(self.scores, name)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"soup: one network\n{self.scores!r}"


@dataclass(frozen=True, repr=False, eq=False)
class Path:
    """Scores along the straight line between two networks."""

    alphas: Array
    """[A], from 0 to 1."""
    accuracy: Array
    """[A], in percent."""
    loss: Array
    """[A], mean negative log-likelihood in nats."""
    barrier: PathBarrier
    policy: str

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw accuracy along the path."""
        from basin.api.drawing import plot_paths

        return plot_paths(self.alphas, self.accuracy[None], self.policy, ax)

    def __repr__(self) -> str:
        low, high = float(self.accuracy.min()), float(self.accuracy.max())
        return f"path of {len(self.alphas)} networks, accuracy {low:.2f} to {high:.2f} %\n{self.barrier!r}"


@dataclass(frozen=True, repr=False, eq=False)
class PlaneGrid:
    """Scores on a grid in the plane through three networks."""

    points: tuple[PlanePoint, ...]
    """The grid, then every network at its projection."""

    @property
    def x(self) -> Array:
        """Coordinates [n] along the first side, in units of weight."""
        return self._unique("x")

    @property
    def y(self) -> Array:
        """Coordinates [n] orthogonal to it."""
        return self._unique("y")

    @property
    def accuracy(self) -> Array:
        """[n, n] (y, x), in percent."""
        return self._values("accuracy")

    @property
    def loss(self) -> Array:
        """[n, n] (y, x), in nats."""
        return self._values("loss")

    def plot(self, ax: Axes | None = None, score: str = "loss") -> Axes:
        """Draw contours of `loss` or `accuracy`, and the networks."""
        from basin.api.drawing import plot_plane

        return plot_plane(self, score, ax)

    def to_arrow(self) -> Table:
        """The points as a table, with units in the metadata of its columns."""
        from basin.api.tables import make_table, plane_columns

        return make_table(plane_columns(), self.points)

    def __repr__(self) -> str:
        side = len(self.x)
        low, high = float(self.loss.min()), float(self.loss.max())
        return f"plane of {side} × {side} networks, loss {low:.3g} to {high:.3g} nats"

    def _grid(self) -> list[PlanePoint]:
        return sorted((point for point in self.points if point.vertex is None), key=lambda point: (point.y, point.x))

    def _unique(self, axis: str) -> Array:
        return np.unique([round(getattr(point, axis), 9) for point in self._grid()])

    def _values(self, score: str) -> Array:
        values = np.array([getattr(point, score) for point in self._grid()])
        return values.reshape(len(self.y), len(self.x))


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """Result of `basin.compare`: whether networks lie in one basin, and what they are worth together."""

    barriers: Mapping[str, BarrierMatrix]
    """BatchNorm policy → K×K barriers on the test inputs."""
    verdict: BasinVerdict
    """Under the first policy."""
    ensemble: Scores
    """Of the mean of the networks' probabilities."""
    soup: Soup
    members: tuple[Scores, ...]
    """Of each network."""
    certificates: tuple[Certificate, ...]
    """Of each network that alignment may have moved; empty without alignment."""
    permutations: tuple[Permutation, ...]
    """Of each network: group of units → which unit stands at each place; empty without alignment."""
    paths: tuple[PathPoint, ...]
    """Every network of every path, under every policy."""
    hull: tuple[HullPoint, ...]
    """The centroid and random points of the convex hull, under every policy."""
    given: Given = field(repr=False)
    probe: Probe = field(repr=False)
    """Scores further mixtures of the networks, and remembers their results."""

    @property
    def policy(self) -> str:
        """The first BatchNorm policy: that of the verdict and of the plots."""
        return next(iter(self.barriers))

    @cached_property
    def networks(self) -> tuple[nn.Module, ...]:
        """The networks as modules of their own, in evaluation mode; aligned ones if alignment was asked for."""
        return tuple(self.given.with_weights(params) for params in stack.iterate_networks(self.given.members))

    def plot_paths(self, ax: Axes | None = None) -> Axes:
        """Draw accuracy along the path of each pair, under the first policy, and the mean of the pairs."""
        from basin.api.drawing import plot_paths

        curves: dict[tuple[int, int], list[PathPoint]] = {}
        for point in self.paths:
            if point.policy == self.policy:
                curves.setdefault((point.i, point.j), []).append(point)
        accuracy = np.array([[point.accuracy for point in curve] for curve in curves.values()])
        alphas = np.array([point.alpha for point in next(iter(curves.values()))])
        return plot_paths(alphas, accuracy, self.policy if self.given.network.batchnorms else "", ax)

    def plane(self, anchors: Sequence[int] = (0, 1, 2), points: int = 21) -> PlaneGrid:
        """Score a grid of `points` × `points` networks in the plane through three of the networks.

        Raises UsageError for fewer than three networks, and if the three lie on one line.
        """
        from basin.api.comparison import score_grid

        return score_grid(self.probe, anchors, points, self.policy)

    def plot_plane(
        self, ax: Axes | None = None, score: str = "loss", anchors: Sequence[int] = (0, 1, 2), points: int = 21
    ) -> Axes:
        """Score and draw the plane through three networks; raises UsageError as `plane`."""
        return self.plane(anchors, points).plot(ax, score)

    def to_arrow(self) -> dict[str, Table]:
        """The tables `paths`, `hull`, `certificates`, `barriers` and `scores`, with units as metadata of columns."""
        from basin.api.tables import comparison_tables

        return comparison_tables(self)

    def __repr__(self) -> str:
        count, images = stack.count_networks(self.given.members), len(self.given.data.test)
        accuracies = ", ".join(f"{scores.accuracy:.2f}" for scores in self.members)
        parts = [
            f"{count} networks on {images} test inputs; accuracies {accuracies} %",
            repr(self.verdict),
            *map(repr, self.barriers.values()),
            f"ensemble\n{self.ensemble!r}",
            repr(self.soup),
        ]
        if not self.given.network.batchnorms:
            parts.append("no BatchNorm statistics: every policy gives the same")
        if warning := self._chance_warning():
            parts.append(warning)
        if self.certificates:
            largest = max(proof.error / proof.scale if proof.scale else 0.0 for proof in self.certificates)
            parts.append(f"aligned: functions unchanged up to {largest:.1e} of the largest logit")
        return "\n\n".join(parts)

    def _chance_warning(self) -> str:
        """A warning if no network beats the constant answer; one basin is then no achievement."""
        labels = self.given.data.test.labels
        chance = 100 * float(labels.bincount().max()) / len(labels)
        if max(scores.accuracy for scores in self.members) > chance:
            return ""
        return (
            f"no network is better than always answering the commonest class ({chance:.1f} %): check labels and inputs"
        )


def _range(interval: Any, digits: int = 3, form: str = "f") -> str:
    return "" if interval is None else f"  [{interval[0]:.{digits}{form}}, {interval[1]:.{digits}{form}}]"
