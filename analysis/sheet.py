"""A table of estimates, and its Markdown, LaTeX (booktabs) and CSV texts."""

import csv
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from analysis.statistics import Estimate


@dataclass(frozen=True)
class Column:
    """A heading in plain text and in LaTeX, and the digits its estimates are shown with."""

    name: str
    heading: str
    latex: str
    digits: int = 2
    factor: int = 1
    """What the metric is multiplied with: −1 turns a log-likelihood into an NLL."""
    csv: str = ""
    """Its name in CSV, where it is not `name`."""


@dataclass(frozen=True)
class Cell:
    """A text, or an estimate over seeds; `bold` marks the best, `of` says over how many seeds the row is."""

    value: str | int | Estimate | None
    bold: bool = False
    of: int | None = None

    def times(self, factor: int) -> "Cell":
        """The cell with its estimate multiplied."""
        if isinstance(self.value, Estimate) and factor != 1:
            return replace(self, value=replace(self.value, mean=factor * self.value.mean))
        return self

    def text(self, digits: int) -> str:
        """The value as shown; an en dash where there is none; `(n=…)` where it has fewer seeds than its row."""
        if isinstance(self.value, Estimate):
            return self.value.format(digits) + (f" (n={self.value.n})" if self.fewer else "")
        return "–" if self.value is None else str(self.value)

    @property
    def fewer(self) -> bool:
        """Whether the estimate has fewer seeds than its row."""
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
        return [row for block in self._shown() for row in block]

    def _shown(self) -> list[list[list[Cell]]]:
        factors = [column.factor for column in self.columns]
        return [[[c.times(f) for c, f in zip(row, factors, strict=True)] for row in block] for block in self.blocks]

    def markdown(self) -> str:
        """A pipe table, padded so that it reads in a terminal too."""
        lines = [[column.heading for column in self.columns]]
        for row in self.rows:
            texts = [cell.text(column.digits) for cell, column in zip(row, self.columns, strict=True)]
            lines.append([f"**{text}**" if cell.bold else text for text, cell in zip(texts, row, strict=True)])
        widths = [max(_width(line[index]) for line in lines) for index in range(len(self.columns))]
        padded = [f"| {' | '.join(map(_pad, line, widths))} |" for line in lines]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([padded[0], rule, *padded[1:], "", self.note, ""])

    def latex(self) -> str:
        """A booktabs tabular with the note as a comment."""
        lines = [f"% {self.note}", rf"\begin{{tabular}}{{{'l' * len(self.columns)}}}", r"\toprule"]
        lines.append(" & ".join(column.latex for column in self.columns) + r" \\")
        for block in self._shown():
            lines.append(r"\midrule")
            for row in block:
                texts = [_latex(cell, column.digits) for cell, column in zip(row, self.columns, strict=True)]
                lines.append(" & ".join(texts) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])

    def html(self) -> str:
        """A table element; numbers are set apart by their class, and blocks are bodies of their own."""
        head = "".join(f'<th scope="col">{escape(column.heading)}</th>' for column in self.columns)
        bodies = []
        for block in self._shown():
            rows = []
            for row in block:
                texts = [(cell, escape(cell.text(c.digits))) for cell, c in zip(row, self.columns, strict=True)]
                rows.append("".join(f"<td><b>{t}</b></td>" if cell.bold else f"<td>{t}</td>" for cell, t in texts))
            bodies.append("<tbody>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</tbody>")
        return f"<table><thead><tr>{head}</tr></thead>{''.join(bodies)}</table><p>{escape(self.note)}</p>"

    def csv(self) -> str:
        """One row a construction; an estimate fills two columns, `name` and `name_half`, with six digits."""
        estimated = {i for row in self.rows for i, cell in enumerate(row) if isinstance(cell.value, Estimate)}
        names = [column.csv or column.name for column in self.columns]
        heads = [[name, f"{name}_half"] if i in estimated else [name] for i, name in enumerate(names)]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(itertools.chain(*heads))
        for row in self.rows:
            writer.writerow(itertools.chain(*(_values(cell, i in estimated) for i, cell in enumerate(row))))
        return out.getvalue()


def _values(cell: Cell, estimated: bool) -> list[Any]:
    if isinstance(cell.value, Estimate):
        half = cell.value.half
        return [f"{cell.value.mean:.6g}", "" if half is None else f"{half:.6g}"]
    text = "" if cell.value is None else cell.value
    return [text, ""] if estimated else [text]


def _latex(cell: Cell, digits: int) -> str:
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


def _width(text: str) -> int:
    # q̄ is two code points but one column wide.
    return sum(character != "\N{COMBINING MACRON}" for character in text)


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
