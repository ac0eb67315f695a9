"""The commands of `launch.py` that read results: what they take and what they print. Heavy imports wait for a run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from analysis.errors import BadInput

Name = Annotated[str, typer.Argument(help="Name of a sweep.")]
More = Annotated[list[str] | None, typer.Option("--with", help="Another sweep to read together with it.")]
Storage = Annotated[Path, typer.Option(help="Folder of the sweeps.")]
Split = Annotated[Literal["test", "val"], typer.Option(help="Whose numbers are shown; chosen is always on validation.")]
RESULTS = Path("results")


def report(name: Name, more: More = None, split: Split = "test", storage: Storage = RESULTS) -> None:
    """Draw every figure and table of a sweep, and write them into one HTML page that needs no server.

    Example: python launch.py report quickstart
    """
    from analysis.queries import read
    from analysis.report import write
    from analysis.summary import summary

    with _one_line():
        tables = read(storage / name, split, [storage / other for other in more or []])
        page = write(tables)
    print(summary(tables))
    print(f"{page} ({page.stat().st_size / 1e6:.1f} MB); figures and tables in {page.parent / 'figures'}")


def verify(
    name: Name,
    more: More = None,
    taken_as: Annotated[str | None, typer.Option("--as", help="Dataset that a folder of images is a copy of.")] = None,
    split: Split = "test",
    storage: Storage = RESULTS,
) -> None:
    """Hold a sweep's runs against numbers of the literature; exit code 1 if one is outside its band.

    Example: python launch.py verify cifar10-small --as cifar10
    """
    from analysis.queries import read
    from analysis.verify import known, unknown, verdicts, yardsticks

    with _one_line():
        tables = read(storage / name, split, [storage / other for other in more or []])
        found = verdicts(tables, taken_as)
    for verdict in found:
        print(f"{verdict.word.upper()}: {verdict.yardstick.what}")
        print(f"  runs {verdict.measured}; band {verdict.band}")
        if verdict.why:
            print(f"  {verdict.why}")
        print(f"  source: {verdict.yardstick.source}")
    about = f"{len(found)} of {len(yardsticks())} yardsticks are about a dataset and model of these results"
    counts = ", ".join(
        f"{sum(v.word == word for v in found)} {word}" for word in ("inside", "outside", "not comparable")
    )
    print(f"{about}: {counts}")
    if others := [] if taken_as else unknown(tables):
        print(
            f"{', '.join(others)}: no yardsticks; a copy of {', '.join(known())} can be held against its own: --as NAME"
        )
    if any(verdict.word == "outside" for verdict in found):
        raise typer.Exit(1)


def compare(
    first: Annotated[str, typer.Argument(help="Name of a sweep, or its folder.")],
    second: Annotated[str, typer.Argument(help="Another, from this or another lab or commit.")],
    split: Split = "test",
    storage: Storage = RESULTS,
) -> None:
    """Say which numbers of two sweeps differ beyond noise, configuration by configuration.

    Example: python launch.py compare quickstart /elsewhere/results/quickstart
    """
    from analysis.compare import compare as run
    from analysis.compare import in_text
    from analysis.queries import read

    with _one_line():
        sides = [read(storage / n if (storage / n).is_dir() else Path(n), split) for n in (first, second)]
        found = run(*sides)
    print(in_text(found))


@contextmanager
def _one_line() -> Iterator[None]:
    """What the user can mend is one line and exit code 2."""
    try:
        yield
    except BadInput as problem:
        print(f"error: {problem}", file=sys.stderr)
        raise typer.Exit(2) from None
