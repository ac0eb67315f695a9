"""The command line: run studies and read their results."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from basin.errors import UsageError
from basin.strict_json import dump_json
from cli.campaigns import import_outcomes
from cli.data import data
from cli.ending import storage_option
from cli.error_handling import run_app, run_guarded
from cli.options import RESULTS, Storage, SweepName, Uri, sweep_name
from cli.plain import PlainGroup, PlainTyper
from cli.plugins import Plugins, load_plugins
from cli.reference import columns, fields
from cli.report import compare, report, verify
from cli.run import Plan, Sweep, console, fetch
from cli.status import status
from cli.studies import studies
from cli.trials import export, rerun, show

app = PlainTyper(
    cls=PlainGroup, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)
out = console()


def _print_version(asked: bool) -> None:
    if asked:
        project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
        print(project["name"], project["version"])
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run sweeps over connected ensembles, and read their results.

    Exit codes: 0 done, 1 failed trials or a failed check, 2 an error that you can fix, 3 a bug.
    """


Format = Literal["table", "json", "csv"]
Split = Literal["val", "test"]


@contextmanager
def _sync_advised(storage: Path, name: str) -> Iterator[None]:
    """Advise `sync` if MLflow lacks a sweep that the storage has."""
    from sweeps.tracking.uri import NotLoggedError

    try:
        yield
    except NotLoggedError as error:
        from sweeps.storage.store import Store

        count = len(Store(storage / name).keys())
        if not count:
            raise
        missing = str(error).partition(": ")[0]
        raise UsageError(
            f"{missing}, but {storage / name} has {count} finished trials: "
            f"run `launch.py sync {name}` with the same --storage and --tracking-uri to log them"
        ) from None


# `--help` lists commands in the order of registration, so they are registered in the order of use.
app.command()(studies)
app.command()(fields)
app.command()(columns)
app.command()(data)
app.command(name="plan")(Plan)
app.command(name="sweep")(Sweep)
app.command()(status)


@app.command()
def best(
    name: SweepName,
    x: Annotated[str | None, typer.Option(metavar="METRIC", help="x axis of a front, e.g. q_bar.")] = None,
    y: Annotated[str | None, typer.Option(metavar="METRIC", help="y axis of a front, e.g. accuracy.")] = None,
    at_least: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=X", help="Smallest mean to show. Repeatable.")
    ] = None,
    at_most: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=X", help="Largest mean to show. Repeatable.")
    ] = None,
    split: Annotated[Split, typer.Option(metavar="SPLIT", help="Split to show: val or test.")] = "test",
    output: Annotated[Format, typer.Option("--format", metavar="NAME", help="table, json or csv.")] = "table",
    storage: Storage = RESULTS,
    tracking_uri: Uri = None,
) -> None:
    """Show the chosen configurations, and the best of the search.

    Shows means over fresh seeds for the chosen ones, and validation scores for
    the search, which alone decide. With --x or --y, shows the front of two
    metrics instead. --at-least and --at-most apply to the means that are shown.
    Example: python launch.py best quickstart --at-least q_bar=-1 --at-most nll=1
    """
    from cli.tables import format_csv, print_best
    from sweeps.queries.best import find_best, parse_bound, to_json
    from sweeps.tracking.reader import open_reader
    from sweeps.tracking.uri import default_uri

    bounds = [parse_bound(text, ">=") for text in at_least or ()] + [parse_bound(text, "<=") for text in at_most or ()]
    with _sync_advised(storage, name):
        reader = open_reader(tracking_uri or default_uri(storage), name)
        answer = find_best(reader, x=x, y=y, split=split, bounds=bounds)
    if output == "json":
        print(dump_json(to_json(answer), indent=1))
    elif output == "csv":
        print(format_csv(answer, split), end="")
    else:
        print_best(answer, split, out)
        for group in [*answer.chosen, *answer.listed, *answer.references][:1]:
            out.print(f"next: launch.py show {group.first.key[:8]}{storage_option(storage)}")


for function in (report, verify, compare, show, rerun, export):
    app.command()(function)


@app.command()
def sync(
    name: SweepName,
    storage: Storage = RESULTS,
    tracking_uri: Uri = None,
    adopt: Annotated[bool, typer.Option("--adopt", help="Take over this name from another folder.")] = False,
    plugins: Plugins = None,
) -> None:
    """Reconcile MLflow with a sweep's tables, and list the differences.

    Nothing is deleted: a run that contradicts its tables ends as KILLED.
    Example: python launch.py sync quickstart --tracking-uri http://127.0.0.1:5000
    """
    from sweeps.queries.configurations import write_configurations
    from sweeps.storage.store import open_store
    from sweeps.tracking.reconcile import reconcile_runs
    from sweeps.tracking.uri import default_uri

    load_plugins(plugins or ())
    store = open_store(storage, name)
    write_configurations(store)
    differences = reconcile_runs(store, tracking_uri or default_uri(storage), adopt=adopt)
    for difference in differences:
        out.print(f"{difference.key} {difference.what}")
    out.print(f"sweep {store.name}: {len(store.keys())} trials, MLflow differed in {len(differences)}")


@app.command()
def gc(
    name: SweepName,
    storage: Storage = RESULTS,
    tracking_uri: Uri = None,
    stages: Annotated[bool, typer.Option("--stages", help="Also stages that no sweep uses or can use.")] = False,
    weights: Annotated[bool, typer.Option("--weights", help="Also weights of trials that were not chosen.")] = False,
    all_weights: Annotated[bool, typer.Option("--all-weights", help="Also weights of the chosen trials.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Remove these files.")] = False,
) -> None:
    """List files that no trial needs, and remove them with --delete.

    Removes logged tables of superseded runs and checkpoints of finished trials;
    with options also stages in runs/, for all sweeps of the storage, and weights.
    Result tables, unfinished trials and files that you added always stay.
    Example: python launch.py gc quickstart --stages --weights
    """
    from cli.unneeded_tables import chosen_kinds, print_removed, print_unneeded
    from sweeps.execution.unneeded import find_unneeded, remove_unneeded
    from sweeps.tracking.uri import default_uri

    uri, kinds = (
        tracking_uri or default_uri(storage),
        chosen_kinds(stages=stages, weights=weights, all_weights=all_weights),
    )
    if delete:
        print_removed(remove_unneeded(storage, name, uri, kinds), out)
    else:
        print_unneeded(find_unneeded(storage, name, uri), kinds, out)


@app.command()
def rescore(
    name: SweepName,
    metric: Annotated[str, typer.Option(metavar="METRIC", help="Metric, or deep_ensemble_equivalent.")],
    split: Annotated[Split, typer.Option(metavar="SPLIT", help="val or test.")] = "test",
    curve: Annotated[
        str | None,
        typer.Option(metavar="SWEEP", help="Sweep of the study ensemble-size, to compare with.", callback=sweep_name),
    ] = None,
    resamples: Annotated[int, typer.Option(min=0, metavar="N", help="Bootstrap draws; 0: no interval.")] = 1000,
    storage: Storage = RESULTS,
    plugins: Plugins = None,
) -> None:
    """Compute a metric from stored predictions; no model is run.

    Prints one line per configuration: the mean over its seeds, and a 95 %
    interval over images and seeds. With --metric deep_ensemble_equivalent, prints
    the size of the deep ensemble that is as good.
    The trials need --set predictions=true.
    Example: python launch.py rescore NAME --metric adaptive_ece
    """
    from cli.rescore_tables import equivalent_table, metric_table
    from sweeps.queries.rescore import ensemble_equivalents, rescore_metric
    from sweeps.storage.store import open_store

    load_plugins(plugins or ())
    store = open_store(storage, name)
    if metric != "deep_ensemble_equivalent":
        out.print(metric_table(metric, rescore_metric(store, metric, split=split, resamples=resamples)))
    elif curve is None:
        raise UsageError("--metric deep_ensemble_equivalent: expected --curve, a sweep of the study ensemble-size")
    else:
        out.print(equivalent_table(ensemble_equivalents(store, open_store(storage, curve))))


@app.command()
def ui(
    name: SweepName,
    storage: Storage = RESULTS,
    tracking_uri: Uri = None,
    optuna: Annotated[bool, typer.Option("--optuna", help="The search, in optuna-dashboard.")] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="N", help="Default: 5000; --optuna: 8080.")
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="Start the server; Ctrl-C ends it.")] = False,
) -> None:
    """Print the address of a sweep's runs in MLflow, or start the server.

    With --optuna, show its search in optuna-dashboard instead. The server is
    reachable from this machine only.
    Example: python launch.py ui quickstart --start
    """
    from cli.dashboards import mlflow_dashboard, optuna_dashboard, runs_path, serve_dashboard
    from sweeps.storage.address import hide_secrets, show_address
    from sweeps.tracking.reader import open_reader
    from sweeps.tracking.uri import default_uri

    uri = tracking_uri or default_uri(storage)
    if optuna:
        dashboard = optuna_dashboard(storage / name / "optuna.journal", port or 8080)
    else:
        with _sync_advised(storage, name):
            path = runs_path(open_reader(uri, name))
        if uri.startswith("http"):
            out.print(show_address(uri.rstrip("/")) + path)
            return
        dashboard = mlflow_dashboard(uri, path, port or 5000)
    if start:
        serve_dashboard(dashboard, out.print)
    else:
        out.print(dashboard.address)
        out.print(hide_secrets(dashboard.shell_line, uri))


@app.command()
def doctor(
    storage: Annotated[str, typer.Option(metavar="PATH", help="Folder, s3:// or gs:// address.")] = "results",
    tracking_uri: Uri = None,
    address: Annotated[str, typer.Option(metavar="ADDR", help="local, auto or ray://host:port.")] = "local",
    data: Annotated[list[Path] | None, typer.Option(metavar="PATH", help="Dataset to look for. Repeatable.")] = None,
) -> None:
    """Diagnose the environment, and suggest fixes.

    Checks packages, Ray, the GPU, the storage and the tracking store. With an
    --address, also checks each node: code, storage, data, GPU, clock, free disk.
    Example: python launch.py doctor --address auto --storage /shared/results
    """
    from cli.doctor import check_all

    table = Table("check", "state", "details")
    checks = check_all(storage, tracking_uri, address, data or [])
    for check in checks:
        table.add_row(check.name, "ok" if check.passed else "FAIL", check.details)
    out.print(table)
    if not all(check.passed for check in checks):
        raise typer.Exit(2)


app.command()(fetch)
app.command(name="import")(import_outcomes)


def main() -> None:
    """Run a command; exit codes are those of `cli.error_handling`."""
    raise SystemExit(run_guarded(partial(run_app, app)))


if __name__ == "__main__":
    main()
