"""Tables of estimates, as Markdown, LaTeX (booktabs) and CSV."""

import csv
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stats.intervals import Estimate, Range


@dataclass(frozen=True)
class Column:
    """A heading in plain text and in LaTeX, and the digits its estimates are shown with."""

    name: str
    heading: str
    latex: str
    digits: int = 2


@dataclass(frozen=True)
class Cell:
    """A text, an estimate or a range over seeds; `bold` marks the best, `of` is the number of seeds of the row."""

    value: str | int | Estimate | Range | None
    bold: bool = False
    of: int | None = None
    aside: str = ""
    """Words after the value, which CSV leaves out."""

    def text(self, digits: int) -> str:
        """Format the value; an en dash if there is none, `(n=…)` if it has fewer seeds than its row."""
        if isinstance(self.value, Estimate):
            return self.value.format(digits) + (f" (n={self.value.n})" if self.fewer else "")
        if isinstance(self.value, Range):
            return self.value.format(digits)
        return "–" if self.value is None else f"{self.value}{self.aside}"

    @property
    def fewer(self) -> bool:
        """True if the estimate has fewer seeds than its row."""
        return isinstance(self.value, Estimate) and self.of is not None and self.value.n < self.of


@dataclass(frozen=True)
class Sheet:
    """Columns, blocks of rows (ruled off from each other), a note, and the keys of the trials used."""

    columns: Sequence[Column]
    blocks: Sequence[Sequence[Sequence[Cell]]]
    note: str
    keys: list[str]

    @property
    def rows(self) -> list[Sequence[Cell]]:
        """The rows of all blocks."""
        return list(itertools.chain.from_iterable(self.blocks))

    def markdown(self) -> str:
        """Format a pipe table with the note below."""
        return f"{self.pipe_table()}\n\n{self.note}\n"

    def pipe_table(self) -> str:
        """Format a pipe table without the note, padded so that it reads well in a terminal."""
        lines = [[column.heading for column in self.columns]]
        for row in self.rows:
            texts = [cell.text(column.digits) for cell, column in zip(row, self.columns, strict=True)]
            lines.append([f"**{text}**" if cell.bold else text for text, cell in zip(texts, row, strict=True)])
        widths = [max(_text_width(line[index]) for line in lines) for index in range(len(self.columns))]
        padded = [f"| {' | '.join(map(_pad_text, line, widths))} |" for line in lines]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([padded[0], rule, *padded[1:]])

    def latex(self) -> str:
        """Format a booktabs tabular with the note as a comment."""
        lines = [f"% {self.note}", rf"\begin{{tabular}}{{{'l' * len(self.columns)}}}", r"\toprule"]
        lines.append(" & ".join(column.latex for column in self.columns) + r" \\")
        for block in self.blocks:
            lines.append(r"\midrule")
            for row in block:
                texts = [_latex_cell(cell, column.digits) for cell, column in zip(row, self.columns, strict=True)]
                lines.append(" & ".join(texts) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])

    def csv(self) -> str:
        """Format one line per row, with six digits.

        An estimate fills the columns `name` and `name_half`; a range `name` (its median), `name_low` and `name_high`.
        """
        suffixes = [_csv_suffixes(cells) for cells in zip(*self.rows, strict=True)]
        names = [column.name for column in self.columns]
        heads = [[f"{name}{end}" for end in ends] for name, ends in zip(names, suffixes, strict=True)]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(itertools.chain(*heads))
        for row in self.rows:
            cells = [_csv_values(cell, len(ends)) for cell, ends in zip(row, suffixes, strict=True)]
            writer.writerow(itertools.chain(*cells))
        return out.getvalue()


def _csv_suffixes(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return the ends of the names of the columns that these cells fill."""
    if any(isinstance(cell.value, Range) for cell in cells):
        return ("", "_low", "_high")
    return ("", "_half") if any(isinstance(cell.value, Estimate) for cell in cells) else ("",)


def _csv_values(cell: Cell, width: int) -> list[Any]:
    """Return the values of a cell, empty texts added up to `width`."""
    value = cell.value
    if isinstance(value, Estimate):
        values = [f"{value.mean:.6g}", "" if value.half is None else f"{value.half:.6g}"]
    elif isinstance(value, Range):
        values = [f"{number:.6g}" for number in (value.median, value.low, value.high)]
    else:
        values = ["" if value is None else str(value)]
    return [*values, *[""] * (width - len(values))]


def _latex_cell(cell: Cell, digits: int) -> str:
    if isinstance(cell.value, Estimate):
        numbers = cell.value.format(digits, r"\pm").replace("−", "-")
        fewer = f" ($n={cell.value.n}$)" if cell.fewer else ""
        return (rf"$\mathbf{{{numbers}}}$" if cell.bold else f"${numbers}$") + fewer
    text = cell.text(digits).replace("–", "--")
    for special in "&%_#":
        text = text.replace(special, "\\" + special)
    for relation in "<>":
        text = text.replace(relation, f"${relation}$")
    return rf"\textbf{{{text}}}" if cell.bold else text


def _text_width(text: str) -> int:
    # q̄ is two code points but one column wide.
    return sum(character != "\N{COMBINING MACRON}" for character in text)


def _pad_text(text: str, width: int) -> str:
    return text + " " * (width - _text_width(text))
