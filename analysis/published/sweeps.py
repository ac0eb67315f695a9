"""Published sweeps as tables to ask, each on its own: sweeps differ in recipe, and share no reference."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from analysis.data.queries import Configuration, Setting, Tables, best_by_construction, read_tables
from analysis.published.files import dataset_names, list_published, restore, study_summary
from sweeps.storage.roles import REPORTED

HEADLINE = "headline"
"""Name of the sweep that answers the question of the paper at the top of the page."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """A published sweep."""

    name: str
    tables: Tables
    summary: str = ""
    """What the study file says it is about."""

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
    def words(self) -> str:
        """Sweep, dataset and model, as the start of a line in Markdown."""
        return f"**{self.sweep.name}** ({self.where})"


def list_cases(sweeps: Sequence[Sweep]) -> list[Case]:
    """Return a case for each dataset and model of each sweep, the headline's first."""
    cases = []
    for sweep in sorted(sweeps, key=lambda sweep: (sweep.name != HEADLINE, sweep.name)):
        cases += sweep.cases
    return cases


@contextmanager
def opened_sweeps(folder: Path) -> Iterator[list[Sweep]]:
    """Read the published sweeps of a folder; they lie in a temporary folder until the end."""
    with TemporaryDirectory(prefix="published-") as storage:
        sweeps, names = [], dataset_names(folder)
        for published in list_published(folder):
            restore(published, Path(storage, published.name))
            tables = read_tables(Path(storage, published.name), datasets=names)
            sweeps.append(Sweep(published.name, tables, study_summary(published)))
        yield sweeps
