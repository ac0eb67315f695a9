"""A sweep on an S3 server whose launcher is lost with its host, and a server that goes away."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from basin import stages
from sweeps.storage.lock import SILENCE
from sweeps.storage.object_store import Mirror
from sweeps.storage.store import Store
from tests.support.disturbed import (
    PATIENT,
    arguments,
    contents,
    descendants,
    hit,
    launched,
    nothing_left_over,
    one_run_each,
    until,
    works_on,
)
from tests.support.object_stores import Objects, serving
from tests.support.tiny_sweep import launch, same_tables, works

pytestmark = pytest.mark.slow


@pytest.fixture
def objects() -> Iterator[Objects]:
    with serving() as server:
        yield server


def named(objects: Objects, folder: str, ending: str) -> list[str]:
    """Names of what there is of a sweep; nothing is read, for the server is a thread of these tests."""
    return [key for key in objects.keys(f"results/quickstart/{folder}") if key.endswith(ending)]


def checkpoints(objects: Objects) -> dict[str, bytes]:
    """The journals of trials that have a checkpoint there."""
    there = objects.there("results/quickstart/scratch")
    keys = [name.partition("/")[0] for name in there if name.endswith("/state.safetensors")]
    return {key: there[f"{key}/journal.json"] for key in keys if f"{key}/journal.json" in there}


def kept(objects: Objects, journals: dict[str, bytes], folder: Path) -> dict[str, list[float]]:
    """Seconds of the epochs that each checkpoint has; its journal, which is written before it, may know of one more."""
    Mirror.from_uri(objects.uri("results/quickstart/scratch")).with_folder(folder).pull_folder(folder.resolve())
    spent = {
        key: json.loads(stages.read_notes(folder / key / "state.safetensors")["meter"])["passes"] for key in journals
    }
    return {
        key: [row["seconds"] for row in json.loads(journal)["rows"] if row["passes"] <= spent[key]]
        for key, journal in journals.items()
    }


def lost_with_a_checkpoint(objects: Objects, launcher: int) -> bool:
    """End a launcher and all that it started if a trial has a checkpoint; they are held meanwhile.

    A trial is done, and its checkpoint gone, in a second.
    """
    if not named(objects, "scratch", "/state.safetensors"):
        return False
    family = [launcher, *descendants(launcher)]
    for pid in family:
        hit(pid, signal.SIGSTOP)
    time.sleep(0.5)  # the server answers what it was asked
    lost = bool(checkpoints(objects))
    for pid in family:
        hit(pid, signal.SIGKILL if lost else signal.SIGCONT)
    return lost


def test_a_lost_host(undisturbed: Store, objects: Objects, tmp_path: Path) -> None:
    """Another host, which knows the address only, goes on from the checkpoints; then a third reads all."""
    uri = objects.uri("results")
    with launched(*arguments(uri, tmp_path / "first")) as process:
        assert until(lambda: lost_with_a_checkpoint(objects, process.pid), process)
    journals, finished = checkpoints(objects), objects.there("results/quickstart/tables/trials")
    lost = kept(objects, journals, tmp_path / "lost")
    assert lost
    assert all(lost.values())
    began = time.monotonic()
    said = works(launch(*arguments(uri, tmp_path / "second")))
    assert time.monotonic() - began > SILENCE / 2
    every = len(undisturbed.keys())
    assert f"sweep quickstart: {every - len(finished)} trials run now, {every} in " in said
    works(launch("fetch", "quickstart", "--storage", uri, "--to", str(tmp_path / "fetched")))
    store = works_on(tmp_path / "fetched")
    for key, seconds in lost.items():  # these epochs were not run again
        assert [row["seconds"] for row in store.history(key)][: len(seconds)] == seconds
    same_tables(undisturbed.folder, store.folder)
    assert contents(store.folder, "weights/*") == contents(undisturbed.folder, "weights/*")
    assert objects.tensors("results/runs", tmp_path / "runs") == contents(undisturbed.folder.parent / "runs", "*/*/*")
    one_run_each(store)
    nothing_left_over(store)
    assert not checkpoints(objects)


def test_a_storage_that_goes_away(objects: Objects, tmp_path: Path) -> None:
    """Moto keeps what it has while nobody can reach it."""
    command = arguments(objects.uri("results"), tmp_path)
    with launched(*command) as process:
        until(lambda: named(objects, "tables/trials", ".parquet"), process)
        objects.server.stop()
        out, err = process.communicate(timeout=PATIENT)
    assert process.returncode == 2, out + err
    assert err.startswith(f"error: --storage {objects.uri('results')}: "), err
    assert "NETWORK_CONNECTION" in err
    assert err.count("\n") == 1, err
