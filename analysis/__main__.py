"""`python -m analysis RESULTS`: every registered figure and table, and a summary in words."""

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
        print(build(read(options.results, options.split), options.out, options.format))
    except (BadInput, OSError) as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    return 0


def build(tables: Tables, out: Path | None, formats: Sequence[str]) -> str:
    """Writes everything that can be made; returns what was written, what was not and why, and the summary."""
    out = out or tables.folder / "figures"
    out.mkdir(parents=True, exist_ok=True)
    lines = [_attempt(e, tables, lambda e=e: write.figure(e, tables, out, formats)) for e in registry.figures()]
    lines += [_attempt(e, tables, lambda e=e: write.table(e, tables, out)) for e in registry.tables()]
    words = summary(tables)
    (out / "summary.md").write_text(words, encoding="utf-8")
    return "\n".join([words, f"In {out}:", *lines, "  summary.md"])


def _attempt(entry: Entry, tables: Tables, action: Callable[[], list[Path]]) -> str:
    try:
        files = action()
    except Missing as missing:
        command = entry.needs.format(sweep=tables.folder.resolve().name)
        return f"  not made: {entry.name}: {missing}; to make the data: {command}"
    suffixes = " ".join(file.suffix[1:] for file in files)
    return f"  {files[0].stem}: {suffixes}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__.replace("`", ""))
    parser.add_argument("results", type=Path, help="folder of one sweep, with tables/trials/KEY.parquet")
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
