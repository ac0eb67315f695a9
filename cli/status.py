"""The command that shows the state of a sweep."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from basin.errors import UsageError
from basin.strict_json import dump_json
from cli.options import SweepName, check_name
from cli.run import console

if TYPE_CHECKING:
    from sweeps.status import Status


def status(
    name: SweepName,
    storage: Annotated[str, typer.Option(metavar="PATH", help="Folder, s3:// or gs:// address.")] = "results",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the state of a sweep, from any machine that sees its storage.

    Prints phase, finished and running trials, failures, time left, best trial.
    Example: python launch.py status quickstart
    """
    remote = "://" in storage
    found = _read_remote(storage, check_name(name)) if remote else _read_local(Path(storage).expanduser(), name)
    if as_json:
        print(dump_json(found.to_json(), indent=1))
    else:
        for line in describe_status(found, time.time()):
            console().print(line)


def _read_local(storage: Path, name: str) -> "Status":
    from sweeps.status import read_status

    found = read_status(lambda path: path.read_bytes() if path.exists() else None, storage / name)
    if found is None:
        from sweeps.storage.store import open_store

        store = open_store(storage, name)
        raise UsageError(
            f"{store.folder} has {len(store.keys())} finished trials but no status.json: it was restored, or run by an "
            "earlier version; rerun the command that started the sweep"
        )
    return found


def _read_remote(uri: str, name: str) -> "Status":
    from sweeps.status import read_status
    from sweeps.storage.address import show_address
    from sweeps.storage.object_store import Mirror

    mirror = Mirror.from_uri(uri)
    found = read_status(mirror.read_file, mirror.folder / name)
    if found is None:
        raise UsageError(f"{show_address(uri)} has no status.json of a sweep {name!r}: check the name and the address")
    return found


def describe_status(status: "Status", now: float) -> list[str]:
    """Describe the status in lines of text, as of this Unix time."""
    from cli.progress import describe_best, describe_epoch, describe_seconds

    where = f"{status.host} (process {status.pid})"
    ended = {
        "running": f"running on {where}",
        "finished": "finished",
        "stopped": "stopped by a signal: rerun the same command to continue",
        "failed": f"failed: {status.error}",
        "lost": f"lost: its launcher on {where} no longer renews its status; rerun the same command to continue",
    }[status.state]
    ago = describe_seconds(max(0.0, now - status.updated))
    spent = describe_seconds(status.updated - status.began)
    lines = [f"sweep {status.sweep}: {ended}", f"updated {ago} ago, {spent} after the launch"]
    lines.append(f"phase {status.phase}: {status.done} of {status.total} done; {status.trials} trials in this launch")
    if (remaining := status.remaining_seconds()) is not None:
        lines.append(f"time left: {describe_seconds(remaining)}")
    if status.best:
        lines.append(f"best so far: {describe_best(status.best)}")
    for trial in status.running.values():
        spent = describe_seconds(max(0.0, status.updated - trial.began))
        lines.append(f"running: {trial.key[:8]} {trial.construction}, {describe_epoch(trial)}, {spent}")
    lines += [f"failed: {key[:8]} {error}" for key, error in status.failed.items()]
    return lines
