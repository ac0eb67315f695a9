"""Pictures of the page: figures of the report, each from the first sweep that has its data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from analysis.errors import Missing
from analysis.output import style
from analysis.output.registry import figure_entries
from analysis.published.sweeps import HEADLINE, Sweep

DPI = 110


@dataclass(frozen=True)
class Picture:
    """A figure, its file relative to the page, and its words."""

    file: str
    title: str
    figure: Figure
    what: str = ""
    """How to read it; empty if its title says so."""

    def markdown(self) -> str:
        """Return the image and how to read it."""
        image = f"![{self.title}]({self.file})"
        return f"{image}\n\n*{self.title}.* {self.what}" if self.what else image

    def save(self, docs: Path) -> Path:
        """Write the file; it says nothing about when or where it was written."""
        file = docs / self.file
        file.parent.mkdir(parents=True, exist_ok=True)
        style.fix_layout(self.figure)
        self.figure.savefig(file, dpi=DPI, metadata={})
        return file


def draw_pictures(names: Sequence[str], sweeps: Sequence[Sweep]) -> list[Picture]:
    """Draw figures by their names, each from the first sweep that has its data; none where no sweep has it."""
    entries = {entry.name: entry for entry in figure_entries()}
    pictures = []
    for name in names:
        for sweep in sorted(sweeps, key=lambda sweep: (sweep.name != HEADLINE, sweep.name)):
            try:
                figure = entries[name].make(sweep.tables).figure  # type: ignore[union-attr]  # a figure's, not a table's
            except Missing:
                continue
            file = f"results/{name.replace('_', '-')}.png"
            pictures.append(Picture(file, f"{entries[name].title} ({sweep.name})", figure, entries[name].what))
            break
    return pictures
