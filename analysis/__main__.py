"""`python -m analysis RESULTS [NAME …]`: write figures and tables of a sweep, all or those named, and a summary.

`python -m analysis publish` writes a sweep into results/published, `restore` its folder from there, `results` the page
of results, and `power` the seeds that a difference needs; each has --help.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from analysis.answers.summary import summary_text
from analysis.data.results import Tables, read_tables, source_names
from analysis.errors import BadInput, Missing
from analysis.output import registry, write
from analysis.output.registry import Entry
from analysis.published import command
from basin.command_line import Parser, run_guarded
from basin.errors import UsageError
from basin.plugins import import_plugins
from basin.system_errors import describe_error


def main(arguments: Sequence[str] | None = None) -> int:
    """Write figures and tables; exit codes are those of `basin.command_line`."""
    return run_guarded(partial(_run_command, arguments))


def _run_command(arguments: Sequence[str] | None) -> None:
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given and given[0] in command.COMMANDS:
        _run_published(given)
        return
    options = _build_parser().parse_args(arguments)
    import_plugins(options.plugins)
    try:
        more = [sibling_folder(options.results, other) for other in options.more]
        names = source_names([options.results, *more])
        tables = read_tables(options.results, options.split, more, options.margin, names)
        words = write_everything(tables, options.out, options.format, options.names)
    except BadInput as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(describe_error(error.errno, error.filename or options.out or options.results)) from error
    print(words)


def _run_published(arguments: Sequence[str]) -> None:
    try:
        print(command.run(arguments))
    except BadInput as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(describe_error(error.errno, error.filename or "results")) from error


def sibling_folder(results: Path, other: str) -> Path:
    """Return the sweep `other` in the same folder as `results`, or the folder `other`."""
    sibling = results.resolve().parent / other
    return sibling if sibling.is_dir() else Path(other)


def write_everything(tables: Tables, out: Path | None, formats: Sequence[str], names: Sequence[str] = ()) -> str:
    """Write everything that has its data, or the named entries; return a list of what was written and the summary."""
    figures, sheets = select_entries(registry.figure_entries(), registry.table_entries(), names)
    out = out or tables.folder / "figures"
    out.mkdir(parents=True, exist_ok=True)
    lines = [_try_entry(entry, tables, partial(write.write_figure, entry, tables, out, formats)) for entry in figures]
    lines += [_try_entry(entry, tables, partial(write.write_table, entry, tables, out)) for entry in sheets]
    if names:
        return "\n".join([f"In {out}:", *lines])
    words = summary_text(tables)
    (out / "summary.md").write_text(words, encoding="utf-8")
    return "\n".join([words, f"In {out}:", *lines, "  summary.md"])


def select_entries(
    figures: Sequence[Entry], sheets: Sequence[Entry], names: Sequence[str]
) -> tuple[list[Entry], list[Entry]]:  # fmt: skip
    """Return the named entries, or all. Raises BadInput for an unknown name."""
    known = [entry.name for entry in (*figures, *sheets)]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BadInput(f"no figure or table {', '.join(unknown)}: expected some of {', '.join(known)}")
    wanted = set(names or known)
    return [e for e in figures if e.name in wanted], [e for e in sheets if e.name in wanted]


def _try_entry(entry: Entry, tables: Tables, action: Callable[[], list[Path]]) -> str:
    try:
        files = action()
    except Missing as missing:
        return f"  not made: {entry.name}: {write.missing_words(entry, tables, missing)}"
    suffixes = " ".join(file.suffix[1:] for file in files)
    return f"  {files[0].stem}: {suffixes}"


def _build_parser() -> Parser:
    parser = Parser(
        prog="python -m analysis",
        description=__doc__.replace("`", ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path, help="folder of one sweep, with tables/trials/KEY.parquet")
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures and tables to make (default: all)")
    parser.add_argument(
        "--with", dest="more", action="append", default=[], metavar="SWEEP", help="another results folder; repeatable"
    )
    parser.add_argument(
        "--format", type=_parse_formats, default=["png", "pdf"], help="formats of the figures (default png,pdf)"
    )
    parser.add_argument("--out", type=Path, help="output folder (default RESULTS/figures)")
    parser.add_argument("--split", choices=("test", "val"), default="test", help="reported split (default test)")
    parser.add_argument(
        "--import", dest="plugins", action="append", default=[], metavar="MODULE", help="own figure; repeatable"
    )
    parser.add_argument("--margin", type=float, help="margin of the verdicts in accuracy points (default: the study's)")
    return parser


def _parse_formats(text: str) -> list[str]:
    try:
        return write.parse_formats(text)
    except BadInput as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


if __name__ == "__main__":
    raise SystemExit(main())
