"""The commands about campaigns: trials that run on a machine without Ray."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from basin.errors import UsageError
from cli.options import RESULTS, Storage, StudyOptions, check_name
from cli.plugins import Plugins


def write_trials(options: StudyOptions, file: Path) -> None:
    """Write the campaign of a study; raises UsageError for several datasets and for an object store."""
    from sweeps.campaign import write_campaign

    ((name, source), *others) = options.named_sources()
    if others:
        raise UsageError("--campaign: expected one --data, as a file holds the trials of one sweep")
    study, resolved = options.resolve(name, source)
    if resolved.mirror:
        raise UsageError("--campaign: expected a --storage that is a folder")
    count = write_campaign(study, resolved, _arguments(options), file)
    print(f"{count} trials in {file}: run `python -m basin campaign {file.name}` there, then `launch.py import` here")
    if study.trials:
        print(f"the search of {study.trials} configurations is not among them: `launch.py sweep` runs it afterwards")


def _arguments(options: StudyOptions) -> dict[str, Any]:
    """The arguments that state the study, as JSON data."""
    given = {field.name: getattr(options, field.name) for field in fields(StudyOptions)}
    given = {name: value for name, value in given.items() if value is not None and name not in ("storage", "plugins")}
    return given | {name: _texts(given[name]) for name in ("data", "ood_data", "cache") if name in given}


def _texts(paths: list[Path] | Path) -> list[str] | str:
    return [str(path) for path in paths] if isinstance(paths, list) else str(paths)


def _read_arguments(arguments: dict[str, Any], name: str, storage: Path, data: Path | None) -> StudyOptions:
    """The options that were given to `plan`, with another name and storage."""
    read: dict[str, Any] = {name: Path(arguments[name]) for name in ("ood_data", "cache") if name in arguments}
    read["data"] = [data] if data else [Path(one) for one in arguments.get("data", ())] or None
    try:
        return StudyOptions(**{**arguments, **read, "name": name, "storage": str(storage)})
    except TypeError as error:
        raise UsageError(f"the campaign was written by another version of the code ({error}): use that one") from error


def import_outcomes(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of `python -m basin campaign`.")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the sweep. Default: its own.")] = None,
    storage: Storage = RESULTS,
    data: Annotated[Path | None, typer.Option(metavar="PATH", help="Dataset. Default: that of `plan`.")] = None,
    plugins: Plugins = None,
) -> None:
    """Make, or extend, a sweep from the outcomes of a campaign.

    Its trials get the rows that they would have in a sweep, and runs in the
    MLflow store in the storage. Rerun to import what is new; `sweep` with the
    options of `plan` continues the study. Run it where `plan --campaign` ran.
    Example: python launch.py import gpu_headline
    """
    from basin.environment import Machine
    from cli.plugins import load_plugins
    from cli.run import console
    from sweeps.campaign import import_campaign, open_campaign
    from sweeps.tracking.reconcile import reconcile_runs
    from sweeps.tracking.uri import default_uri

    load_plugins(plugins or ())
    campaign = open_campaign(folder.expanduser())
    sweep = check_name(name or campaign.name)
    given = _read_arguments(campaign.content["arguments"], sweep, storage, data and data.expanduser())
    ((_, source),) = given.named_sources()
    study, options = given.resolve(sweep, source)
    options = replace(options, machine=Machine(device="cpu"))  # nothing is trained
    done = import_campaign(study, options, folder.expanduser(), campaign)
    reconcile_runs(done.store, default_uri(storage))
    out = console()
    for note in done.notes:
        out.print(note)
    left = f", {done.missing} of the campaign are missing" if done.missing else ""
    out.print(f"sweep {sweep}: {done.added} trials imported, {done.present} were there{left}; in {done.store.folder}")
    out.print(f"next: launch.py report {sweep}")
