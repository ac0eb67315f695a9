"""The command line: run studies, ask for the best tradeoffs, look at the tracking store."""

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from analysis import commands as reading
from basin.errors import UsageError
from sweeps import commands as running
from sweeps.away import away
from sweeps.stopping import Stopped

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
out = running.console()

Name = Annotated[str, typer.Argument(help="Name of a sweep.")]


def _here(storage: Path) -> Path:
    if words := away(storage):
        raise UsageError(f"--storage {words}")
    return storage


Storage = Annotated[
    Path, typer.Option(help="Folder of sweeps, their shared runs and the embedded MLflow store.", callback=_here)
]
Uri = Annotated[str | None, typer.Option(help="MLflow tracking store. Default: SQLite in the storage folder.")]
RESULTS = Path("results")


class Format(StrEnum):
    """How an answer is printed."""

    table = "table"
    json = "json"
    csv = "csv"


class Split(StrEnum):
    """Whose numbers are shown; the choice is always made on validation."""

    val = "val"
    test = "test"


@app.command()
def studies() -> None:
    """List the studies and what each searches.

    Example: python launch.py studies
    """
    from sweeps.studies import STUDIES, build

    table = Table("study", "trials", "dataset", "model", "searched, or varied in a grid", "what it is")
    for name, function in sorted(STUDIES.items()):
        study = build(name, None)
        flat = study.base.flat()
        varied = ", ".join(study.space.searched or study.varied())
        doc = (function.__doc__ or "").partition("\n")[0]
        count = f"{study.trials} searched" if study.trials else f"{len(study.grid)} × {study.seeds} seeds"
        table.add_row(name, count, str(flat["dataset"]), str(flat["model"]), varied, doc)
    out.print(table)


@app.command()
def best(
    name: Name,
    x: Annotated[str, typer.Option(help="Connectivity, or any metric.")] = "q_bar_reset",
    y: Annotated[str, typer.Option(help="Quality, or any metric.")] = "accuracy",
    split: Annotated[Split, typer.Option(help="Whose numbers are shown; chosen is always on validation.")] = Split.val,
    output: Annotated[Format, typer.Option("--format")] = Format.table,
    storage: Storage = RESULTS,
    tracking_uri: Uri = None,
) -> None:
    """Show the non-dominated trials, the best at given connectivity, and the deep ensemble, from MLflow.

    Example: python launch.py best quickstart --split test --format json
    """
    from sweeps.best import as_json, ask
    from sweeps.reading import open_reader
    from sweeps.show import as_csv, print_best
    from sweeps.tracking import default_uri

    reader = open_reader(tracking_uri or default_uri(storage), name)
    answer = ask(reader, x=x.removeprefix("val_"), y=y.removeprefix("val_"))
    if output is Format.json:
        print(json.dumps(as_json(answer), indent=1))
    elif output is Format.csv:
        print(as_csv(answer, split), end="")
    else:
        print_best(answer, split, out)


@app.command()
def sync(name: Name, storage: Storage = RESULTS, tracking_uri: Uri = None) -> None:
    """Bring MLflow in line with a sweep's tables, and say what differed.

    Example: python launch.py sync quickstart --tracking-uri http://127.0.0.1:5000
    """
    from sweeps.repair import repair
    from sweeps.store import open_store
    from sweeps.tracking import default_uri

    store = open_store(storage, name)
    found = repair(store, tracking_uri or default_uri(storage))
    for difference in found:
        out.print(f"{difference.key} {difference.what}")
    out.print(f"sweep {store.name}: {len(store.keys())} trials, MLflow differed in {len(found)}")


@app.command()
def rescore(
    name: Name,
    metric: Annotated[str, typer.Option(help="A metric, or deep_ensemble_equivalent with --curve.")],
    split: Annotated[Split, typer.Option(help="Whose predictions.")] = Split.test,
    curve: Annotated[str | None, typer.Option(help="Sweep of deep ensembles of many sizes.")] = None,
    resamples: Annotated[int, typer.Option(min=0, help="Of images and seeds; 0 gives no interval.")] = 1000,
    storage: Storage = RESULTS,
) -> None:
    """Compute a metric from kept predictions, or what ensembles are worth, without running a network.

    Trials that differ in their seed only are one line: their mean, and a 95 % bootstrap interval.
    Example: python launch.py rescore quickstart --metric adaptive_ece
    """
    from sweeps.rescore import equivalents
    from sweeps.rescore import rescore as compute
    from sweeps.show import rescored, worths
    from sweeps.store import open_store

    store = open_store(storage, name)
    if metric != "deep_ensemble_equivalent":
        out.print(rescored(metric, compute(store, metric, split=split.value, resamples=resamples)))
    elif curve is None:
        raise UsageError("--metric deep_ensemble_equivalent: expected --curve, a sweep of the study ensemble-size")
    else:
        out.print(worths(equivalents(store, open_store(storage, curve))))


@app.command()
def ui(
    name: Name,
    storage: Storage = RESULTS,
    tracking_uri: Uri = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    start: Annotated[bool, typer.Option(help="Start the server here instead of printing the command.")] = False,
) -> None:
    """Print or start the MLflow page of a sweep, on this machine only.

    Example: python launch.py ui quickstart --start
    """
    from sweeps.database import shown
    from sweeps.reading import open_reader
    from sweeps.tracking import default_uri

    uri = tracking_uri or default_uri(storage)
    page = f"/#/experiments/{open_reader(uri, name).experiment}"
    if uri.startswith("http"):
        out.print(shown(uri.rstrip("/")) + page)
        return
    program = Path(sys.executable).parent / "mlflow"
    command = [str(program), "server", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    out.print(f"http://127.0.0.1:{port}{page}")
    if not start:
        out.print(shown(" ".join(command)))
        return
    os.execv(command[0], command)


@app.command()
def doctor(
    storage: Storage = RESULTS,
    tracking_uri: Uri = None,
    address: Annotated[str, typer.Option(help="Ray cluster: local, auto, or ray://host:10001.")] = "local",
) -> None:
    """Check environment, Ray, GPU, storage and tracking, and say what to do.

    Example: python launch.py doctor
    """
    from sweeps.doctor import check_all

    table = Table("what", "state", "found, and what to do")
    checks = check_all(storage, tracking_uri, address)
    for check in checks:
        table.add_row(check.what, "ok" if check.fine else "mend", check.words)
    out.print(table)
    if not all(check.fine for check in checks):
        raise typer.Exit(2)


for command in (running.sweep, running.plan, running.fetch, reading.report, reading.verify, reading.compare):
    app.command()(command)


def main() -> None:
    """Run a command; what the user can mend is one line and exit code 2."""
    try:
        app()
    except UsageError as problem:
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(2) from None
    except Stopped:
        print("stopped: run the same command again to go on", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
