"""The ten questions of the page of results: each a title, what it needs, and a function of the published sweeps.

Questions choose rows by dataset, model, construction and role: a new sweep adds its lines without new code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analysis.published.questions import (
    architectures,
    connectivity_cost,
    distillation,
    equivalents,
    gap_parts,
    hull,
    permutations,
    policies,
    soup,
    trunk,
)
from analysis.published.sweeps import Sweep


@dataclass(frozen=True)
class Question:
    """A question of the page."""

    title: str
    needs: str
    """The study that would answer it, in words after `it needs`."""
    answer: Callable[[Sequence[Sweep]], list[str]]
    """Paragraphs, lists and tables in Markdown; none where nothing is measured."""
    figures: Sequence[str] = ()
    """Names of the report's figures that show it."""


QUESTIONS = [
    Question(module.TITLE, module.NEEDS, module.answer, getattr(module, "FIGURES", ()))
    for module in (
        connectivity_cost,
        distillation,
        permutations,
        trunk,
        architectures,
        gap_parts,
        hull,
        soup,
        equivalents,
        policies,
    )
]
"""Questions in the order of the page."""
