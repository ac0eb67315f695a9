"""The commands that run or plan a study, or download a sweep. Heavy imports wait for a run."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from basin.errors import UsageError
from basin.strict_json import dump_json
from cli.campaigns import write_trials
from cli.ending import ending_announced, next_commands
from cli.options import ADVANCED, RESULTS, LogFormat, StudyOptions, SweepName, check_name, option
from cli.plugins import Plugins, load_plugins
from sweeps.storage.address import show_address
from sweeps.storage.location import remote_message

if TYPE_CHECKING:
    from sweeps.execution.options import Options
    from sweeps.study.study import Study
    from sweeps.sweep import Report


def console() -> Console:
    """Return the console to which commands print: as wide as the terminal, or COLUMNS; 140 for a file."""
    wide = None if "COLUMNS" in os.environ or (sys.stdout and sys.stdout.isatty()) else 140
    return Console(highlight=False, soft_wrap=True, width=wide)


@dataclass(frozen=True, kw_only=True)
class Sweep(StudyOptions):
    """Run a study. Rerun the command to continue it.

    Searches for the best --metric among ensembles in one basin, and runs the
    chosen ones on fresh seeds. Finished trials are not run again. With a searched
    training field (--also lr), trials share no trunks and no teachers.
    --system-metrics logs CPU, memory, disk, network and GPU of the launcher's
    machine to the sweep's MLflow run: two requests every 10 s, a dozen numbers.
    --on-end finds SINGLE_BASIN_SWEEP, SINGLE_BASIN_STATUS (done, failed, stopped)
    and SINGLE_BASIN_RESULTS in its environment, and changes no exit code.
    Example: python launch.py sweep quickstart --trials 40 --set epochs=20
    """

    on_end: Annotated[str | None, option(ADVANCED, "CMD", "Shell command to run when the sweep ends.")] = None
    quiet: Annotated[bool, option(ADVANCED, None, "Print only the result.", "--quiet")] = False
    log_format: Annotated[LogFormat, option(ADVANCED, "NAME", "Progress as text or json lines.")] = "text"

    def __post_init__(self) -> None:
        """Typer makes the command's instance; making it is running it."""
        for name, source in self.named_sources():
            study, options = self.resolve(name, source)
            with ending_announced(self.on_end, name, _describe_results(options)):
                _run_sweep(study, options, quiet=self.quiet, log_format=self.log_format)


def _run_sweep(study: "Study", options: "Options", *, quiet: bool, log_format: LogFormat) -> None:
    from cli.progress import choose_display
    from sweeps.sweep import sweep as run_sweep

    out = console()
    report = run_sweep(study, options, choose_display(out, quiet=quiet, log_format=log_format))
    if log_format == "json":
        print(dump_json({"event": "result"} | _report_facts(report)))
    else:
        _print_report(report, options, out)
    if report.errors or report.untracked:
        raise typer.Exit(1)


def _describe_results(options: "Options") -> str:
    """Address or absolute folder of a sweep's results."""
    if options.mirror:
        return f"{show_address(options.mirror.uri).rstrip('/')}/{options.name}"
    return str((options.storage / options.name).resolve())


def _report_facts(report: "Report") -> dict[str, object]:
    store = report.store
    untracked = str(report.untracked) if report.untracked else None
    facts = {"ran": report.ran, "finished": len(store.keys()), "errors": report.errors, "untracked": untracked}
    return {"sweep": store.name, "folder": str(store.folder)} | facts


def _print_report(report: "Report", options: "Options", out: Console) -> None:
    done, where = len(report.store.keys()), str(report.store.folder)
    if options.mirror:
        where = f"{show_address(options.mirror.uri)} (local copy: {where})"
    out.print(f"sweep {report.store.name}: {report.ran} trials run now, {done} in {where}")
    for error in report.errors:
        out.print(f"a trial failed: {error}")
    if report.errors:
        out.print("rerun the same command to retry the failed trials")
    if report.untracked:
        out.print(f"MLflow does not have every trial: {report.untracked}")
        again = "this command" if options.mirror else f"`launch.py sync {report.store.name}` with the same options"
        out.print(f"no results were lost: rerun {again} to log the missing trials")
    out.print(next_commands(options))


@dataclass(frozen=True, kw_only=True)
class Plan(StudyOptions):
    """Estimate what a sweep will train, and its time, disk and price.

    Takes the options of `sweep`, and writes nothing. Hours and disk come from
    finished trials of the same kind in the storage. --campaign writes the
    references and the grid for `python -m basin campaign` on a machine without
    Ray, instead of an estimate; `launch.py import` brings the outcomes back.
    Example: python launch.py plan quickstart --trials 40 --probe --price 1.2
    """

    rate: Annotated[float | None, option(ADVANCED, "X", "Passes a second of one trial.", least=0.001)] = None
    probe: Annotated[bool, option(ADVANCED, None, "Measure unknown throughput here.", "--probe")] = False
    price: Annotated[float | None, option(ADVANCED, "X", "Price of a machine hour, in any currency.", least=0)] = None
    campaign: Annotated[Path | None, option(ADVANCED, "FILE", "Write the trials for a machine without Ray.")] = None

    def __post_init__(self) -> None:
        """Typer makes the command's instance; making it is running it."""
        if self.campaign:
            write_trials(self, self.campaign.expanduser())
            return
        for name, source in self.named_sources():
            study, options = self.resolve(name, source)
            _print_plan(study, options, rate=self.rate, probe=self.probe, price=self.price)


def _print_plan(study: "Study", options: "Options", *, rate: float | None, probe: bool, price: float | None) -> None:
    from cli.plan_tables import print_plan
    from sweeps.execution.plan import known_throughput, plan_sweep, settle_precision

    if options.mirror:
        raise UsageError(f"--storage {remote_message(Path(options.mirror.uri))}")
    study, precision = settle_precision(study, options)
    console().print(f"precision: {precision}", soft_wrap=False)
    planned = plan_sweep(study, options)
    throughput = known_throughput(planned, options, given=rate, probing=probe)
    print_plan(planned, throughput, options, console(), price)


def fetch(
    name: SweepName,
    storage: Annotated[str, typer.Option(metavar="URI", help="Its object store, e.g. s3://bucket/results.")],
    to: Annotated[Path, typer.Option(metavar="PATH", help="Storage folder to copy it to.")] = RESULTS,
    plugins: Plugins = None,
) -> None:
    """Download a sweep from an object store.

    Logs its runs to the MLflow store in the folder. Rerun to fetch what is new.
    Example: python launch.py fetch quickstart --storage s3://bucket/results
    """
    from sweeps.queries.configurations import write_configurations
    from sweeps.storage.download import download_sweep
    from sweeps.tracking.reconcile import reconcile_runs
    from sweeps.tracking.uri import default_uri

    if "://" not in storage:
        raise UsageError(
            f"--storage {storage}: expected an object store such as s3://bucket/results; a folder needs no download"
        )
    load_plugins(plugins or ())
    to = to.expanduser()
    store = download_sweep(storage, check_name(name), to)
    write_configurations(store)
    reconcile_runs(store, default_uri(to))
    console().print(f"sweep {name}: {len(store.keys())} trials in {store.folder}")
