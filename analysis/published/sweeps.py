"""Published sweeps as tables to ask, each on its own: sweeps differ in recipe, and share no reference."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from analysis.constructions import REFERENCE
from analysis.data.queries import Configuration, Setting, Tables, best_by_construction, read_tables
from analysis.published.files import dataset_names, dataset_notes, list_published, restore, study_summary
from sweeps.storage.roles import REPORTED

HEADLINE = "headline"
"""Name of the sweep that answers the question of the paper at the top of the page."""
ALIGNED = "matching"
"""Hyperparameter that says by what members were aligned."""
ANNEALED = "anneal"
"""Hyperparameter that says for how many steps the learning rate of each snapshot was lowered."""
SYMBOLS = {"temperature": "τ", "weight": "λ", "beta": "β", "t": "t"}
"""Hyperparameter of a construction → its symbol."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """A published sweep."""

    name: str
    tables: Tables
    summary: str = ""
    """What the study file says it is about."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Dataset → what a reader must know of its images."""

    @cached_property
    def cases(self) -> list["Case"]:
        """A case for each dataset and model with results on reported seeds; a searched trial is none."""
        cases = []
        for setting, best in best_by_construction(self.tables).items():
            chosen = {name: c for name, c in best.items() if any(row["role"] in REPORTED for row in c.rows)}
            cases += [Case(self, setting, chosen)] if chosen else []
        return cases


@dataclass(frozen=True, eq=False)
class Case:
    """The chosen configurations of one dataset and model in one sweep, of one recipe."""

    sweep: Sweep
    setting: Setting
    chosen: dict[str, Configuration]
    """Construction → its configuration."""

    @property
    def tables(self) -> Tables:
        """The results of the sweep."""
        return self.sweep.tables

    @property
    def where(self) -> str:
        """Dataset, by the name that its images have in `datasets.toml`, and model."""
        dataset, model = self.setting
        return f"{dataset}, {model}"

    @property
    def recipe(self) -> str:
        """Training images, epochs and members of its ensembles, in words."""
        rows = [row for c in self.chosen.values() for row in c.rows]
        sizes = sorted({row.get("train_size") or 0 for row in rows})
        epochs, members = (sorted({row[name] for row in rows if row.get(name)}) for name in ("epochs", "members"))
        parts = [
            [f"{size:,} training images" if size else "all training images" for size in sizes],
            [f"{number} epochs" for number in epochs],
            [f"K = {number}" for number in members],
        ]
        return ", ".join(" or ".join(part) for part in parts if part)

    @property
    def measured(self) -> str:
        """Images and points that paths and hulls are measured on, in words."""
        rows = [row for c in self.chosen.values() for row in c.rows]
        images, alphas, points = (
            sorted({row[name] for row in rows if row.get(name)}) for name in ("path_images", "alphas", "hull_points")
        )
        parts = [
            [f"{number:,} images" for number in images],
            [f"{number - 2} points between members" for number in alphas],
            [f"{number} random points of the hull" for number in points],
        ]
        return ", ".join(" or ".join(part) for part in parts if part)

    @property
    def words(self) -> str:
        """Sweep, dataset and model, as the start of a line in Markdown."""
        return f"**{self.sweep.name}** ({self.where})"


def hyperparameter_words(configuration: Configuration) -> str:
    """Return the hyperparameters of a construction in words: `β = 1, t = 0.02`; empty if it has none."""
    values = configuration.hyperparameters
    words = [f"{symbol} = {values[name]:.3g}" for name, symbol in SYMBOLS.items() if name in values]
    if ALIGNED in values:
        words.append(f"aligned by {values[ALIGNED]}")
    if ANNEALED in values:
        words.append(f"annealed for {values[ANNEALED]} steps" if values[ANNEALED] else "not annealed")
    return ", ".join(words)


def list_cases(sweeps: Sequence[Sweep]) -> list[Case]:
    """Return a case for each dataset and model of each sweep, the headline's first.

    Sweeps may have the same deep ensembles, and then each result counts once: of a construction that several of them
    have, a case has what the sweep with most constructions chose, and of those the sweep with most trials.
    """
    listed = [case for sweep in sweeps for case in sweep.cases]
    listed.sort(key=lambda case: (case.sweep.name != HEADLINE, case.sweep.name))
    taken: set[tuple[str, str]] = set()
    kept: dict[int, dict[str, Configuration]] = {}
    for case in sorted(listed, key=lambda case: (-len(case.chosen), -len(case.tables.rows))):
        base = _first_ensemble(case)
        kept[id(case)] = {name: c for name, c in case.chosen.items() if (base, name) not in taken}
        if base:
            taken |= {(base, name) for name in case.chosen.keys() - {REFERENCE}}
    return [replace(case, chosen=kept[id(case)]) for case in listed]


def _first_ensemble(case: Case) -> str:
    """Return the key of the deep ensemble with the lowest seed; empty without one."""
    rows = case.chosen[REFERENCE].rows if REFERENCE in case.chosen else []
    return min(((row["seed"], str(row.get("ensemble_key") or "")) for row in rows), default=(0, ""))[1]


@contextmanager
def opened_sweeps(folder: Path) -> Iterator[list[Sweep]]:
    """Read the published sweeps of a folder; they lie in a temporary folder until the end."""
    with TemporaryDirectory(prefix="published-") as storage:
        sweeps, names, notes = [], dataset_names(folder), dataset_notes(folder)
        for published in list_published(folder):
            restore(published, Path(storage, published.name))
            tables = read_tables(Path(storage, published.name), datasets=names)
            sweeps.append(Sweep(published.name, tables, study_summary(published), notes))
        yield sweeps
