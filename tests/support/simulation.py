"""Simulate how often verdicts are wrong. Run `python -m tests.support.simulation` for the table of decision 10.

The population of images is known here, and with it the true dip, so that wrong answers can be counted.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri  # type: ignore[import-untyped]

from stats.verdicts import MARGIN, Bounds, bounds, decide

Array = NDArray[np.float64]
ALPHAS = np.arange(1, 10) / 10
RESAMPLES = 200


@dataclass(frozen=True)
class Alike:
    """Fractions of the variance of a network's latent score that it shares with others; the rest is its own."""

    difficulty: float
    """Fraction shared by all networks: the difficulty of the image."""
    trunk: float
    """Fraction shared by the networks of one seed, which branch from one network."""


CONNECTED = Alike(difficulty=0.70, trunk=0.25)
"""Like branches of a ResNet8 on digits that part after 5 % of the budget (accuracy 94 %). Standard deviations over
images of one cell, its mean over pairs, and over pairs and 3 seeds: 10.9, 5.3, 3.0 points; measured: 10.3, 6.0, 3.5.
"""
APART = Alike(difficulty=0.50, trunk=0.10)
"""Members that differ more: 18.2, 8.8, 5.0 points."""


@dataclass(frozen=True)
class World:
    """Ensembles whose accuracy along every path is known."""

    accuracy: float
    """Accuracy of every member, in percent."""
    dip: float
    """Loss of every path at its midpoint, in accuracy points; 4α(1−α) times that elsewhere."""
    images: int
    seeds: int = 3
    members: int = 4
    alike: Alike | None = CONNECTED
    """None: one-sided flips. All paths lose the same few images, so that averaging over pairs and seeds gains nothing.
    """

    def draw(self, rng: np.random.Generator) -> Array:
        """Draw shortfalls [seeds, pairs, alphas, images] on fresh images.

        A network is right on an image where its latent score (standard normal) is below the quantile of its accuracy.
        The score of a network on a path mixes those of its ends, with noise of its own that keeps the variance at 1.
        """
        pairs = list(combinations(range(self.members), 2))
        if self.alike is None:
            lost = 100.0 * (rng.random(self.images) < self.dip / 100)
            return np.broadcast_to(lost, (self.seeds, len(pairs), len(ALPHAS), self.images))
        left, right = (np.array(side) for side in zip(*pairs, strict=True))
        seen = rng.normal(size=self.images) * math.sqrt(self.alike.difficulty)
        trunk = rng.normal(size=(self.seeds, 1, self.images)) * math.sqrt(self.alike.trunk)
        noise = rng.normal(size=(self.seeds, self.members, self.images))
        halfway = rng.normal(size=(self.seeds, len(pairs), self.images))
        weight = math.sqrt(1 - self.alike.difficulty - self.alike.trunk)
        right_ends = 100.0 * (seen + trunk + weight * noise < ndtri(self.accuracy / 100))
        cells = np.empty((self.seeds, len(pairs), len(ALPHAS), self.images))
        for place, alpha in enumerate(ALPHAS):
            mixed = (
                (1 - alpha) * noise[:, left] + alpha * noise[:, right] + math.sqrt(2 * alpha * (1 - alpha)) * halfway
            )
            bar = ndtri((self.accuracy - 4 * alpha * (1 - alpha) * self.dip) / 100)
            reached = 100.0 * (seen + trunk + weight * mixed < bar)
            cells[:, :, place] = (1 - alpha) * right_ends[:, left] + alpha * right_ends[:, right] - reached
        return cells


@dataclass(frozen=True)
class Rates:
    """Shares of repetitions, and the expected worst cell."""

    yes: float
    no: float
    old: float
    """Fraction that the old rule calls connected: no cell's mean reaches the margin."""
    worst: float
    """Mean over repetitions of the largest shortfall of a cell, in accuracy points."""


def rates(world: World, repetitions: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Rates:
    """Count the answers over repetitions, each on fresh images."""
    rng = np.random.default_rng([seed, world.images, round(100 * world.accuracy), round(100 * world.dip)])
    answers, worst = [], []
    for repetition in range(repetitions):
        cells = world.draw(rng)
        limits: Bounds = bounds(cells, worst=100.0, resamples=resamples, seed=repetition)
        answers.append(decide(limits, MARGIN).answer)
        worst.append(float(cells.mean(axis=3).max()))
    yes, no = (answers.count(word) / repetitions for word in ("yes", "no"))
    return Rates(yes, no, sum(value < MARGIN for value in worst) / repetitions, sum(worst) / repetitions)


def table(repetitions: int, sizes: Sequence[int] = (256, 600, 2000)) -> Iterator[str]:
    """Yield the lines of a Markdown table, a line as soon as it is known."""
    yield "| members | accuracy (%) | true dip | images | seeds | yes (%) | no (%) | old rule (%) | worst cell |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, world in _simulated_worlds():
        for images in sizes:
            counted = rates(replace(world, images=images), repetitions)
            shares = f"{100 * counted.yes:.1f} | {100 * counted.no:.1f} | {100 * counted.old:.1f}"
            start = f"| {name} | {world.accuracy:g} | {world.dip:g} | {images} | {world.seeds} "
            yield f"{start}| {shares} | {counted.worst:.1f} |"


def _simulated_worlds() -> Iterator[tuple[str, World]]:
    for name, alike in (("connected", CONNECTED), ("apart", APART)):
        for accuracy, dip, seeds in product((53.0, 95.0), (0.0, 1.0, 2.0, 3.0, 5.0), (1, 3)):
            yield name, World(accuracy, dip, 0, seeds, alike=alike)
    for dip in (1.0, 2.0, 3.0):
        yield "one-sided flips", World(95.0, dip, 0, 1, alike=None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Simulate the error rates of verdicts; prints a Markdown table.")
    parser.add_argument("--repetitions", type=int, default=1000, help="Draws of each line.")
    for line in table(parser.parse_args().repetitions):
        print(line, flush=True)
