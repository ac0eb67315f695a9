"""Checks of the environment before a sweep, and of every node of a cluster."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from basin.errors import UsageError
from basin.provenance import collect_provenance
from sweeps.execution.checks import Check, check_cache, check_folder, check_gpus, check_precision, run_checks
from sweeps.storage.address import show_address
from sweeps.tracking.uri import default_uri, sqlite_file

if TYPE_CHECKING:
    from sweeps.storage.object_store import Mirror


def check_all(storage: str, tracking_uri: str | None, address: str, data: list[Path]) -> list[Check]:
    """Run every check; none changes anything. A storage gets some notes meanwhile, if it is shared or no folder."""
    mirror = _open_mirror(storage)
    folder = mirror.folder if mirror else Path(storage).expanduser()
    steps: dict[str, Callable[[], str]] = {
        "packages": _check_packages,
        "gpu": check_gpus,
        "precision": check_precision,
        "storage": lambda: _check_objects(mirror) if mirror else check_folder(folder),
        "cache": check_cache,
        "tracking": lambda: _check_tracking(folder, tracking_uri),
    }
    sources = [path.expanduser().resolve() for path in data]
    found = run_checks([*steps.items(), *(("data", lambda p=path: _check_data(p)) for path in sources)])
    return found + _check_cluster(folder, mirror, address, [path for path in sources if path.exists()])


def _open_mirror(storage: str) -> "Mirror | None":
    """Open the object store of a storage; None for a folder."""
    if "://" not in storage:
        return None
    from sweeps.storage.object_store import Mirror

    return Mirror.from_uri(storage)


def _check_packages() -> str:
    facts = collect_provenance()
    versions = ", ".join(
        f"{name.removesuffix('_version')} {v}" for name, v in facts.items() if name.endswith("_version")
    )
    return f"Python {sys.version.split()[0]}, {versions}"


def _check_objects(mirror: "Mirror") -> str:
    """Write, read and remove an object."""
    from sweeps.storage.notes import NoteBoard

    board = NoteBoard(mirror.folder, mirror)
    board.write_note("doctor", board.name)
    try:
        if board.read_note("doctor") != board.name:
            raise UsageError(f"--storage {board.describe()}: expected to read what was just written")
    finally:
        board.remove()
    return f"{board.describe()}: readable and writable"


def _check_tracking(storage: Path, uri: str | None) -> str:
    uri = uri or default_uri(storage)
    if (file := sqlite_file(uri)) and not file.exists():
        return f"{uri}: will be created"
    from sweeps.tracking.connection import connect_client

    connect_client(uri)
    return f"{show_address(uri)} answers"


def _check_data(path: Path) -> str:
    if not path.exists():
        raise UsageError(f"--data {path}: expected a file or folder on this machine")
    return str(path)


def _check_cluster(storage: Path, mirror: "Mirror | None", address: str, data: list[Path]) -> list[Check]:
    """Check that Ray starts or answers, and every node of a cluster."""
    import ray

    nodes: list[Check] = []

    def check_ray() -> str:
        words = _connect(address)
        if address != "local":
            nodes.extend(_check_nodes(storage, mirror, data))
        return words

    try:
        return run_checks([("ray", check_ray)]) + nodes
    finally:
        ray.shutdown()


def _connect(address: str) -> str:
    import ray

    from sweeps.execution.connection import cause_in_words, connect_ray

    try:
        connect_ray(address)
        resources = ray.cluster_resources()
        return f"{len(ray.nodes())} node(s), {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    except UsageError:
        raise
    except Exception as error:  # Ray has its own exception types, depending on the address
        words = cause_in_words(error)
        raise UsageError(f"{address}: expected a Ray cluster that answers: {words}; see `ray status`") from error


def _check_nodes(storage: Path, mirror: "Mirror | None", data: list[Path]) -> list[Check]:
    from sweeps.execution.node_probe import Expected, check_nodes
    from sweeps.storage.notes import open_board

    sizes = [(path, None if path.is_dir() else path.stat().st_size) for path in data]
    return check_nodes(Expected(collect_provenance(), open_board(storage, mirror), tuple(sizes)))
