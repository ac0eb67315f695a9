"""`python -m analysis RESULTS [NAME …]`: figures and tables of a sweep, all or those named, and a summary in words."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from analysis import registry, write
from analysis.errors import BadInput, Missing
from analysis.queries import Tables, read
from analysis.registry import Entry
from analysis.summary import summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 with one line on stderr if the results cannot be read."""
    options = _parser().parse_args(arguments)
    try:
        tables = read(options.results, options.split, [beside(options.results, other) for other in options.more])
        print(build(tables, options.out, options.format, options.names))
    except (BadInput, OSError) as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    return 0


def beside(results: Path, other: str) -> Path:
    """The folder `other`, or the sweep of that name in the same folder as `results`."""
    sibling = results.resolve().parent / other
    return sibling if sibling.is_dir() else Path(other)


def build(tables: Tables, out: Path | None, formats: Sequence[str], names: Sequence[str] = ()) -> str:
    """Writes everything that can be made, or what is named; returns what was written, what not and why, the summary."""
    figures, sheets = chosen(registry.figures(), registry.tables(), names)
    out = out or tables.folder / "figures"
    out.mkdir(parents=True, exist_ok=True)
    lines = [_attempt(e, tables, lambda e=e: write.figure(e, tables, out, formats)) for e in figures]
    lines += [_attempt(e, tables, lambda e=e: write.table(e, tables, out)) for e in sheets]
    if names:
        return "\n".join([f"In {out}:", *lines])
    words = summary(tables)
    (out / "summary.md").write_text(words, encoding="utf-8")
    return "\n".join([words, f"In {out}:", *lines, "  summary.md"])


def chosen(
    figures: Sequence[Entry], sheets: Sequence[Entry], names: Sequence[str]
) -> tuple[list[Entry], list[Entry]]:  # fmt: skip
    """The entries that are named, or all; raises BadInput for a name that is no figure and no table."""
    known = [entry.name for entry in (*figures, *sheets)]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BadInput(f"no figure or table {', '.join(unknown)}: expected some of {', '.join(known)}")
    wanted = set(names or known)
    return [e for e in figures if e.name in wanted], [e for e in sheets if e.name in wanted]


def _attempt(entry: Entry, tables: Tables, action: Callable[[], list[Path]]) -> str:
    try:
        files = action()
    except Missing as missing:
        return f"  not made: {entry.name}: {write.remedy(entry, tables, missing)}"
    suffixes = " ".join(file.suffix[1:] for file in files)
    return f"  {files[0].stem}: {suffixes}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__.replace("`", ""))
    parser.add_argument("results", type=Path, help="folder of one sweep, with tables/trials/KEY.parquet")
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures and tables to make (default: all)")
    parser.add_argument("--with", dest="more", action="append", default=[], metavar="SWEEP", help="read it too")
    parser.add_argument("--format", type=_formats, default=["png", "pdf"], help="of the figures (default png,pdf)")
    parser.add_argument("--out", type=Path, help="default RESULTS/figures")
    parser.add_argument("--split", choices=("test", "val"), default="test", help="reported split (default test)")
    return parser


def _formats(text: str) -> list[str]:
    formats = text.split(",")
    unknown = [name for name in formats if name not in write.FORMATS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected some of {','.join(write.FORMATS)}")
    return formats


if __name__ == "__main__":
    sys.exit(main())
