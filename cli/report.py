"""The commands that read results. Heavy imports wait until a command runs."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from analysis.errors import BadInput
from cli.completion import complete_sweep
from cli.options import RESULTS, SweepName, Uri
from cli.plugins import Plugins, load_plugins

More = Annotated[
    list[str] | None,
    typer.Option(
        "--with", metavar="SWEEP", help="Another sweep, or its folder. Repeatable.", autocompletion=complete_sweep
    ),
]
Storage = Annotated[Path, typer.Option(metavar="PATH", help="Folder of the sweeps.", callback=Path.expanduser)]
Split = Annotated[Literal["test", "val"], typer.Option(metavar="SPLIT", help="Split to report: test or val.")]
Format = Annotated[str, typer.Option("--format", metavar="FORMATS", help="Formats of the figure files: png,pdf,svg.")]
Margin = Annotated[float | None, typer.Option(min=0.0, metavar="X", help="Accuracy margin. Default: the study's.")]


def report(
    name: SweepName,
    more: More = None,
    split: Split = "test",
    margin: Margin = None,
    storage: Storage = RESULTS,
    formats: Format = "png",
    tracking_uri: Uri = None,
    plugins: Plugins = None,
) -> None:
    """Write every figure and table of a sweep to one HTML page.

    Figures and tables are files too; `--format png,pdf` adds PDF files.
    If MLflow has the sweep, its run gets page, figures and summary.
    Example: python launch.py report quickstart
    """
    from analysis.answers.headline import answer_questions
    from analysis.answers.summary import summary_text
    from analysis.data.results import read_tables, source_names
    from analysis.output.write import parse_formats
    from analysis.report import write_report
    from sweeps.tracking.reader import may_have_sweep
    from sweeps.tracking.uri import default_uri

    gc.disable()  # a figure is many small objects, and the process ends with the report: a tenth of the time
    load_plugins(plugins or ())
    with _one_line():
        wanted = parse_formats(formats)
        folders = [_find_folder(storage, each) for each in (name, *(more or []))]
        tables = read_tables(folders[0], split, folders[1:], margin, source_names(folders))
        page = write_report(tables, formats=wanted)
    print(summary_text(tables))
    size, drawn = f"{page.stat().st_size / 1e6:.1f} MB", ", ".join(wanted).upper()
    papers = "" if "pdf" in wanted else "; PDF files: add --format png,pdf"
    print(f"{page} ({size}); figures ({drawn}) and tables in {page.parent / 'figures'}{papers}")
    uri = tracking_uri or default_uri(storage)
    if may_have_sweep(uri, name):
        alone = split == "test" and not more
        answers = [lines[0] for lines in answer_questions(tables).values() if lines] if alone else []
        _log_report(storage / name, uri, page, "\n\n".join(answers))


def _log_report(folder: Path, uri: str, page: Path, answer: str) -> None:
    """Put a report into MLflow, which takes the imports of PyTorch and MLflow."""
    from sweeps.storage.store import Store
    from sweeps.tracking.report_artifacts import log_report

    print(log_report(Store(folder), uri, page, answer))


def verify(
    name: SweepName,
    more: More = None,
    taken_as: Annotated[
        str | None, typer.Option("--as", metavar="DATASET", help="Dataset that the images are a copy of.")
    ] = None,
    split: Split = "test",
    storage: Storage = RESULTS,
) -> None:
    """Compare a sweep with published results.

    Exit code 1: a result falls outside its tolerance band.
    Example: python launch.py verify cifar10-small --as cifar10
    """
    from analysis.data.queries import read_tables
    from analysis.verify import check_yardsticks, known_datasets, load_yardsticks, unknown_datasets

    with _one_line():
        tables = read_tables(storage / name, split, [_find_folder(storage, other) for other in more or []])
        compared = check_yardsticks(tables, taken_as)
    for verdict in compared:
        print(f"{verdict.word.upper()}: {verdict.yardstick.what}")
        print(f"  runs {verdict.measured}; band {verdict.band}")
        if verdict.why:
            print(f"  {verdict.why}")
        print(f"  source: {verdict.yardstick.source}")
    about = (
        f"{len(compared)} of {len(load_yardsticks())} published references match a dataset and model of these results"
    )
    counts = ", ".join(
        f"{sum(v.word == word for v in compared)} {word}" for word in ("inside", "outside", "not comparable")
    )
    print(f"{about}: {counts}")
    if others := [] if taken_as else unknown_datasets(tables):
        print(
            f"{', '.join(others)}: no published reference. If the images are a copy of {', '.join(known_datasets())}, "
            "say so with --as NAME."
        )
    if any(verdict.word == "outside" for verdict in compared):
        raise typer.Exit(1)


def compare(
    first: Annotated[str, typer.Argument(metavar="FIRST", help="Name of a sweep, or its folder.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Another one, from any lab or commit.")],
    split: Split = "test",
    margin: Margin = None,
    storage: Storage = RESULTS,
) -> None:
    """Compare two sweeps: list verdicts and numbers that differ.

    Numbers are listed where they differ beyond noise.
    Example: python launch.py compare quickstart /elsewhere/results/quickstart
    """
    from analysis.compare import changed_verdicts, in_text
    from analysis.compare import compare as run
    from analysis.data.queries import read_tables

    with _one_line():
        folders = [_find_folder(storage, name) for name in (first, second)]
        old, new = (read_tables(folder, split, margin=margin) for folder in folders)
        comparison, changed = run(old, new), changed_verdicts(old, new)
    print(in_text(comparison, changed))


def _find_folder(storage: Path, name: str) -> Path:
    """Return the folder of a sweep: in the storage or, if it is not there and `name` is a path, that."""
    return Path(name) if "/" in name and not (storage / name).is_dir() else storage / name


@contextmanager
def _one_line() -> Iterator[None]:
    """Print a user's error as one line and exit with code 2."""
    try:
        yield
    except BadInput as problem:
        print(f"error: {problem}", file=sys.stderr)
        raise typer.Exit(2) from None
