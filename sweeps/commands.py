"""The commands of `launch.py` that run a study, or say what that would take. Heavy imports wait for a run."""

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from basin.errors import UsageError
from sweeps.away import away

if TYPE_CHECKING:
    from sweeps.options import Options
    from sweeps.study import Study

Arguments = tuple["Study", "Options"]
TAKEN = ("runs", "mlflow.db")
"""What lies in the storage folder beside the sweeps."""


def console() -> Console:
    """Where the commands print."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)


def arguments(
    study: Annotated[str, typer.Argument(help="One of `launch.py studies`.")],
    trials: Annotated[int | None, typer.Option(min=1, help="Configurations to search; more extends.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="field=value, as often as needed.")] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="Folder or archive of the dataset; of several, one sweep each.")
    ] = None,
    ood_data: Annotated[Path | None, typer.Option(help="The same for the dataset of --set ood=NAME.")] = None,
    storage: Annotated[
        str, typer.Option(help="Folder of sweeps, their shared runs and MLflow's store; or s3://…, gs://…")
    ] = "results",
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow. Default: SQLite in the storage folder.")] = None,
    address: Annotated[str, typer.Option(help="Ray cluster: local, auto, or ray://host:10001.")] = "local",
    name: Annotated[str | None, typer.Option(help="Name of the sweep. Default: the study's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="First seed of the trials, and the sampler's.")] = 0,
    sampler: Annotated[str | None, typer.Option(help="tpe, nsga2, gp, random or grid. Default: the study's.")] = None,
    metric: Annotated[str | None, typer.Option(help="One objective, such as val/nll, in place of the study's.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Early stopping: asha (one objective), moasha (two).")] = None,
    replicates: Annotated[int, typer.Option(min=1, help="Seeds of each searched configuration.")] = 1,
    constraint: Annotated[list[str] | None, typer.Option(help="Such as 'q_bar >= -2', as often as needed.")] = None,
    warm_start: Annotated[list[str] | None, typer.Option(help="Sweep whose rows the sampler is told first.")] = None,
    cpus_per_trial: Annotated[float, typer.Option(min=0)] = 1,
    gpus_per_trial: Annotated[float, typer.Option(min=0)] = 0,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Trials at once. Default: what the cluster has.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of decoded datasets. Default: ~/.cache.")] = None,
    deadline: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds in which a trial must finish an epoch, or is begun again.")
    ] = None,
) -> Arguments:
    """The study and how it is run, from the options that every command about a run of a study takes; on one dataset."""
    from basin.place import settled
    from sweeps.mirror import Mirror
    from sweeps.options import Options
    from sweeps.studies import build

    mirror = Mirror.of(storage, cache) if "://" in storage else None
    if mirror and address.startswith("ray://"):
        raise UsageError(f"--address {address}: expected a launcher on a node of the cluster: use `ray job submit`")
    source = data[0] if data else None
    machine, changes = settled(settings or [])
    chosen = build(study, source).set(changes).sized(trials, sampler)
    chosen = chosen.seeking(metric=metric, scheduler=scheduler, replicates=replicates, constraints=constraint or ())
    options = Options(
        name=_folder_name(name or study),
        storage=mirror.folder if mirror else Path(storage),
        mirror=mirror,
        tracking_uri=tracking_uri,
        address=address,
        seed=seed,
        data=source,
        ood_data=ood_data,
        cache=cache,
        machine=machine,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        warm_start=tuple(warm_start or ()),
        deadline=deadline,
        concurrency=concurrency,
    )
    return chosen, options


def by_dataset(given: dict[str, Any]) -> list[dict[str, Any]]:
    """The options for each `--data`; sweeps of several datasets are named after their files too."""
    sources: list[Path] = given["data"] or []
    if len(sources) < 2:
        return [given]
    name = given["name"] or given["study"]
    return [given | {"data": [source], "name": f"{name}-{source.name.partition('.')[0]}"} for source in sources]


def _of_a_study(run: Callable[..., None]) -> Callable[..., None]:
    """A command that takes the options of `arguments`, and after them the keyword-only ones of `run`."""
    common = inspect.signature(arguments).parameters
    more = [p for p in inspect.signature(run).parameters.values() if p.kind is p.KEYWORD_ONLY]

    @functools.wraps(run)
    def command(**given: Any) -> None:
        own = {p.name: given.pop(p.name) for p in more}
        for each in by_dataset(given):
            run(*arguments(**each), **own)

    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in (*common.values(), *more)]
    described: Any = command
    described.__signature__ = inspect.Signature(parameters)
    described.__annotations__ = {p.name: p.annotation for p in parameters}
    del described.__wrapped__  # typer would read the annotations there
    return command


@_of_a_study
def sweep(study: "Study", options: "Options") -> None:
    """Run a study; the same command again continues it, and finished trials are not run again.

    Example: python launch.py sweep quickstart --trials 40 --set epochs=20
    """
    from sweeps.board import Board
    from sweeps.sweep import sweep as run_sweep

    out = console()
    with Board(out) as board:
        report = run_sweep(study, options, board)
    done, where = len(report.store.keys()), str(report.store.folder)
    if options.mirror:
        where = f"{options.mirror.uri}, worked on in {where}"
    out.print(f"sweep {report.store.name}: {report.ran} trials run now, {done} in {where}")
    for error in report.errors:
        out.print(f"a trial failed: {error}")
    if report.errors:
        out.print("run the same command again to try the failed trials once more")
    if report.untracked:
        out.print(f"MLflow does not have every trial: {report.untracked}")
        again = (
            "the same command again"
            if options.mirror
            else f"`launch.py sync {report.store.name}` with the same options"
        )
        out.print(f"nothing is lost: {again} logs what is missing")
    if report.errors or report.untracked:
        raise typer.Exit(1)


@_of_a_study
def plan(
    study: "Study",
    options: "Options",
    *,
    rate: Annotated[
        float | None, typer.Option(min=1e-9, help="Passes a second of one trial, where it is known.")
    ] = None,
    probe: Annotated[bool, typer.Option("--probe", help="Measure some steps here where no rate is known.")] = False,
) -> None:
    """Print what a sweep will train and what that takes, before anything is spent; it has the sweep's options.

    Hours come from the rows of finished trials of the same kind in the storage, by device.
    Example: python launch.py plan quickstart --trials 40 --probe
    """
    from sweeps.plan import plan as look
    from sweeps.plan import rates, show

    if options.mirror:
        raise UsageError(f"--storage {away(Path(options.mirror.uri))}")
    planned = look(study, options)
    show(planned, rates(planned, options, given=rate, probing=probe), options, console())


def fetch(
    name: Annotated[str, typer.Argument(help="Name of a sweep.")],
    storage: Annotated[str, typer.Option(help="Object store of the sweep, as `sweep` was given it: s3://…, gs://…")],
    to: Annotated[Path, typer.Option(help="Storage folder into which it is copied.")] = Path("results"),
) -> None:
    """Copy a sweep from an object store into a folder, and its runs into MLflow's store there; again, what is new.

    Example: python launch.py fetch quickstart --storage s3://bucket/results
    """
    from sweeps.fetching import fetch as copy
    from sweeps.repair import repair
    from sweeps.tracking import default_uri

    if "://" not in storage:
        raise UsageError(
            f"--storage {storage}: expected an address such as s3://bucket/results; a folder needs no copy"
        )
    store = copy(storage, _folder_name(name), to)
    repair(store, default_uri(to))
    console().print(f"sweep {name}: {len(store.keys())} trials in {store.folder}")


def _folder_name(name: str) -> str:
    if not name or name.startswith((".", "-")) or not all(c.isalnum() or c in "._-" for c in name) or name in TAKEN:
        raise UsageError(f"--name {name}: expected letters, digits, '.', '_' and '-', and none of {', '.join(TAKEN)}")
    return name
