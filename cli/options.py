"""The options of the commands."""

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from basin.errors import UsageError
from cli.completion import complete_sampler, complete_study, complete_sweep
from cli.plugins import load_plugins, plugin_option
from cli.study_files import open_study
from sweeps.search.samplers import SAMPLERS
from sweeps.storage.location import remote_message
from sweeps.study.document import Document, is_study_file, read_document

if TYPE_CHECKING:
    from sweeps.execution.options import Options
    from sweeps.study.study import Study

STUDY, SEARCH, RESOURCES, STORAGE, ADVANCED = "Study", "Search", "Resources", "Storage and tracking", "Advanced"
"""Panels of `--help`."""
RESERVED_NAMES = ("runs", "mlflow.db")
"""Names in the storage folder that no sweep may take."""
LONGEST_NAME = 255
"""Bytes of the name of a folder."""
LEAST_SHARE = 1e-4
"""Ray counts resources in ten-thousandths."""
MOST_SEEDS = 1000
Texts = list[str] | None


def _local_folder(storage: Path) -> Path:
    if message := remote_message(storage):
        raise UsageError(f"--storage {message}")
    return storage.expanduser()


Storage = Annotated[Path, typer.Option(metavar="PATH", help="Folder of the sweeps.", callback=_local_folder)]
"""Option of the commands that read a local storage."""
Uri = Annotated[str | None, typer.Option(metavar="URI", help="MLflow store. Default: in the storage.")]
RESULTS = Path("results")
"""Default of `Storage`."""


def sweep_name(given: str | None) -> str | None:
    """Return the name of a sweep; raises UsageError for its folder, which shells complete, with what to give."""
    if given is None or "/" not in given:
        return given
    storage, _, name = given.rstrip("/").rpartition("/")
    usual = not storage or ("://" not in storage and Path(storage).resolve() == RESULTS.resolve())
    where = "" if usual else f" --storage {shlex.quote(storage)}"
    raise UsageError(f"{given}: expected the name of a sweep, not its folder: give {name}{where}")


SweepName = Annotated[
    str,
    typer.Argument(metavar="SWEEP", help="Name of a sweep.", autocompletion=complete_sweep, callback=sweep_name),
]
"""Argument of the commands that read a sweep."""


LogFormat = Literal["text", "json"]
"""Format of the progress of a sweep."""


def option(
    panel: str,
    metavar: str | None,
    words: str,
    *flags: str,
    least: float | None = None,
    values: Callable[[str], list[str]] | None = None,
) -> Any:
    """Make an option in a panel of `--help`; give `flags` if it is not named like its field.

    `values` completes the value in a shell.
    """
    return typer.Option(*flags, metavar=metavar, rich_help_panel=panel, min=least, help=words, autocompletion=values)


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """The arguments of `sweep` and `plan`: Typer reads each field as an option."""

    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="Study of `launch.py studies`, or a study file.", autocompletion=complete_study
        ),
    ]

    settings: Annotated[Texts, option(STUDY, "FIELD=VALUE", "Override a field. Repeatable.", "--set")] = None
    data: Annotated[list[Path] | None, option(STUDY, "PATH", "Dataset file or folder. Repeatable.")] = None
    ood_data: Annotated[Path | None, option(STUDY, "PATH", "File or folder for --set ood=NAME.")] = None
    schedule: Annotated[str | None, option(STUDY, "NAME", "short, or full (200 epochs).")] = None
    plugins: Annotated[Texts, plugin_option(STUDY)] = None
    reference: Annotated[Texts, option(STUDY, "NAME", "Construction to compare with. Repeatable.")] = None
    seed: Annotated[int, option(STUDY, "N", "First seed.", least=0)] = 0
    seeds: Annotated[int | None, option(STUDY, "N", "Seeds to report; raise it to extend.", least=1)] = None

    trials: Annotated[int | None, option(SEARCH, "N", "Configurations; raise it to extend.", least=1)] = None
    metric: Annotated[Texts, option(SEARCH, "NAME", "Objective (default nll); twice: a pair.")] = None
    margin: Annotated[float | None, option(SEARCH, "X", "Accuracy loss allowed in one basin (points).", least=0)] = None
    constraint: Annotated[Texts, option(SEARCH, "LIMIT", "Limit such as 'ece <= 5'. Repeatable.")] = None
    also: Annotated[Texts, option(SEARCH, "FIELD", "Search this field too. Repeatable.")] = None
    search: Annotated[Texts, option(SEARCH, "RANGE", "'beta=0.1..3 log' or t=0,0.5. Repeatable.")] = None
    sampler: Annotated[str | None, option(SEARCH, "NAME", ", ".join(SAMPLERS), values=complete_sampler)] = None
    scheduler: Annotated[str | None, option(SEARCH, "NAME", "asha (one metric) or moasha (two).")] = None
    replicates: Annotated[int | None, option(SEARCH, "N", "Seeds per configuration.", least=1)] = None
    warm_start: Annotated[Texts, option(SEARCH, "SWEEP", "Learn from this sweep first. Repeatable.")] = None

    cpus_per_trial: Annotated[float, option(RESOURCES, "X", "CPUs of each trial.", least=0)] = 1
    gpus_per_trial: Annotated[float, option(RESOURCES, "X", "GPUs of each trial.", least=0)] = 0
    concurrency: Annotated[int | None, option(RESOURCES, "N", "Trials at once. Default: all that fit.", least=1)] = None
    address: Annotated[str, option(RESOURCES, "ADDR", "local, auto or ray://host:port.")] = "local"

    name: Annotated[str | None, option(STORAGE, "NAME", "Name of the sweep. Default: the study's.")] = None
    storage: Annotated[str, option(STORAGE, "PATH", "Folder, s3:// or gs:// address.")] = "results"
    tracking_uri: Annotated[str | None, option(STORAGE, "URI", "MLflow store. Default: SQLite in the storage.")] = None

    adopt: Annotated[bool, option(STORAGE, None, "Take over this name in MLflow.", "--adopt")] = False
    system_metrics: Annotated[bool, option(STORAGE, None, "Log this machine's load to MLflow.", "--system-metrics")] = (
        False
    )

    cache: Annotated[Path | None, option(ADVANCED, "PATH", "Decoded datasets. Default: ~/.cache.")] = None
    deadline: Annotated[
        float | None, option(ADVANCED, "X", "Restart a trial after X s without an epoch.", least=0.1)
    ] = None

    @cached_property
    def document(self) -> Document | None:
        """The study file; None for a built-in study."""
        return read_document(Path(self.study).expanduser()) if is_study_file(self.study) else None

    def named_sources(self) -> list[tuple[str, Path | None]]:
        """Name and dataset of each sweep; with several datasets, the names contain their file names."""
        sources = [source.expanduser() for source in self.data or []]
        name = self.study if self.name is None else check_name(self.name)
        if self.document:
            stated = self.document.path("data")
            sources = sources or ([stated] if stated else [])
            name = self.name or check_name(self.document.file.stem)
        if len(sources) < 2:
            return [(name, sources[0] if sources else None)]
        named: dict[str, Path] = {}
        for source in sources:
            sweep = f"{name}-{source.name.partition('.')[0]}"
            if sweep in named:
                raise UsageError(
                    f"--data {named[sweep]} and {source}: both sweeps would be named {sweep!r}; "
                    "run them one by one, each with its own --name"
                )
            named[sweep] = source
        return list(named.items())

    def resolve(self, name: str, source: Path | None) -> tuple["Study", "Options"]:
        """Return the study on one dataset and the options of its run; raises UsageError for invalid values."""
        from basin.environment import parse_settings
        from sweeps.execution.options import Options
        from sweeps.storage.object_store import Mirror

        self._check_numbers()
        load_plugins(self.plugins or ())
        cache = self.cache and self.cache.expanduser()
        mirror = Mirror.from_uri(self.storage, cache) if "://" in self.storage else None
        if mirror and self.address.startswith("ray://"):
            raise UsageError(
                f"--address {self.address} cannot be combined with an object store: "
                "submit with `ray job submit` instead"
            )
        other = self.ood_data or (self.document.path("ood_data") if self.document else None)
        machine, changes = parse_settings(self.settings or [])
        study = self._make_study(source, changes)
        options = Options(
            name=check_name(name),
            storage=mirror.folder if mirror else Path(self.storage).expanduser(),
            mirror=mirror,
            tracking_uri=self.tracking_uri,
            adopt=self.adopt,
            system_metrics=self.system_metrics,
            address=self.address,
            seed=self.seed,
            data=source,
            ood_data=other and other.expanduser(),
            cache=cache,
            machine=machine,
            cpus_per_trial=self.cpus_per_trial,
            gpus_per_trial=self.gpus_per_trial,
            warm_start=tuple(self.warm_start or ()),
            deadline=self.deadline,
            concurrency=self.concurrency,
        )
        return study, options

    def _make_study(self, source: Path | None, changes: Mapping[str, str]) -> "Study":
        study = open_study(self.study, self.document, source, self.schedule)
        study = study.with_settings(changes).with_size(self.trials, self.sampler, self.seeds)
        study = study.search_also([*(self.also or ()), *(self.search or ())]).compared_with(self.reference or ())
        return study.with_aim(
            metrics=self.metric or (),
            margin=self.margin,
            scheduler=self.scheduler,
            replicates=self.replicates,
            constraints=self.constraint or (),
        )

    def _check_numbers(self) -> None:
        """Raise UsageError for numbers that Ray or the random generators do not accept."""
        for option, amount in (("--cpus-per-trial", self.cpus_per_trial), ("--gpus-per-trial", self.gpus_per_trial)):
            if not (amount == 0 or LEAST_SHARE <= amount < math.inf):
                raise UsageError(f"{option} {amount:g}: expected 0, or a finite number of {LEAST_SHARE:g} or more")
        if not self.cpus_per_trial and not self.gpus_per_trial:
            raise UsageError("--cpus-per-trial 0: expected more than 0, or a --gpus-per-trial above 0")
        if self.gpus_per_trial > 1 and self.gpus_per_trial % 1:
            raise UsageError(f"--gpus-per-trial {self.gpus_per_trial:g}: expected a whole number, or less than 1")
        highest = 2**32 - (self.replicates or 1) - (self.seeds or MOST_SEEDS)
        if self.seed >= highest:
            raise UsageError(f"--seed {self.seed}: expected less than {highest}")
        if self.margin is not None and not math.isfinite(self.margin):
            raise UsageError(f"--margin {self.margin}: expected a finite number of accuracy points")


def check_name(name: str) -> str:
    """Return a name that can be a sweep's folder; raises UsageError for any other."""
    plain = all(c.isalnum() or c in "._-" for c in name)
    if not name or name.startswith((".", "-")) or not plain or name in RESERVED_NAMES:
        reserved = ", ".join(RESERVED_NAMES)
        shown = name or "''"
        raise UsageError(f"--name {shown}: expected letters, digits, '.', '_' and '-', and none of {reserved}")
    if len(name.encode()) > LONGEST_NAME:
        raise UsageError(f"--name {name[:20]}…: expected at most {LONGEST_NAME} bytes, got {len(name.encode())}")
    return name
