"""Files that are torn or changed, and storage that is full."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.storage.integrity import STALE_AFTER, remove_damaged_rows, remove_leftovers
from sweeps.storage.store import Store
from tests.support.disturbed import arguments, as_undisturbed, hit, launched, trial_processes, until, works_on
from tests.support.shell import Command
from tests.support.tiny_sweep import SETTINGS, launch, python, works

pytestmark = pytest.mark.slow


def flip(path: Path, share: float = 0.5) -> None:
    """Change the bits of one byte."""
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 0xFF
    path.write_bytes(bytes(content))


def cut(path: Path, share: float = 0.5) -> None:
    """Truncate a file."""
    os.truncate(path, int(share * path.stat().st_size))


@pytest.fixture
def store(undisturbed: Store, tmp_path: Path) -> Store:
    """A whole sweep, to be damaged: with the tracking store, and the runs that it shares."""
    shutil.copytree(undisturbed.folder.parent, tmp_path / "storage")
    shutil.rmtree(tmp_path / "storage" / "quickstart" / "compact", ignore_errors=True)
    return works_on(tmp_path / "storage")


def test_damaged_results_are_made_again(undisturbed: Store, store: Store, image_cache: Path) -> None:
    """The sampler draws by number: what the journal has lost is drawn again, and the rows that are whole are found."""
    searched = [row["key"] for row in store.rows() if row["role"] == "search"]
    other = [row["key"] for row in store.rows() if row["role"] != "search"]
    (networks,) = [path for path in store.trial_files(other[0]) if path.suffix == ".safetensors"]
    cut(store.table_path("trials", searched[0]))
    flip(store.table_path("history", searched[1]))
    flip(networks, 0.9)
    store.table_path("paths", other[1]).unlink()
    store.table_path("members", other[2]).write_bytes(b"")
    for number, path in enumerate(sorted((store.folder.parent / "runs").glob("*/member-*/step-*.safetensors"))):
        (cut, flip)[number % 2](path)
    journal = store.folder / "optuna.journal"
    content = journal.read_bytes()
    middle = content.index(b"\n", len(content) // 2)
    journal.write_bytes(content[:middle] + b"\x00\xff{" + content[middle:])
    (store.folder / "optuna.journal.lock").symlink_to("optuna.journal")
    cut(store.folder / "tracked.json")
    damaged = arguments(store.folder.parent, image_cache)
    said = works(launch(*damaged))
    assert "5 trials have damaged files" in said
    assert f"sweep quickstart: 5 trials run now, {len(undisturbed.keys())} in" in said
    aside = store.folder / "optuna.journal.damaged"
    assert b"\xff" in aside.read_bytes()
    aside.unlink()
    as_undisturbed(undisturbed, store)


def test_damaged_checkpoints_and_a_damaged_image_cache(undisturbed: Store, image_cache: Path, tmp_path: Path) -> None:
    store, cache = works_on(tmp_path / "storage"), tmp_path / "cache"
    shutil.copytree(image_cache, cache)
    command = arguments(tmp_path / "storage", cache)
    draw, damaged = random.Random(3), 0
    for _ in range(2):
        with launched(*command) as process:
            until(lambda: list((store.folder / "scratch").glob("*/state.safetensors")), process)
            for pid in trial_processes(process.pid):  # they would finish their trials, and tidy up
                hit(pid, signal.SIGKILL)
        time.sleep(2)  # Ray notices that its launcher is gone
        for path in (store.folder / "scratch").glob("*/*"):
            draw.choice((cut, flip))(path, draw.random())
            damaged += 1
        journal = store.folder / "optuna.journal"
        journal.write_bytes(journal.read_bytes()[:-7])  # as a full disk or a power cut leaves it
    assert damaged
    flip(next(cache.glob("digits-*/train_images.npy")))
    works(launch(*command))
    as_undisturbed(undisturbed, store)


def test_a_damaged_definition_is_said(store: Store, image_cache: Path, refused: Command) -> None:
    cut(store.folder / "sweep.json")
    words = refused(*arguments(store.folder.parent, image_cache))
    assert "sweep.json: expected JSON, found a damaged file" in words


def test_a_file_is_looked_at_once(store: Store) -> None:
    assert remove_damaged_rows(store) == []
    notes = json.loads((store.folder / "compact" / "checked.json").read_text())
    assert len(notes) == len([*store.folder.glob("tables/*/*"), *store.folder.glob("weights/*")])
    key, networks = store.keys()[0], store.trial_files(store.keys()[0])[0]
    assert networks.parent.name == "weights"
    flip(networks, 0.9)
    assert remove_damaged_rows(store) == [key]
    assert remove_damaged_rows(store) == []
    assert store.row(key) is None


def test_what_killed_processes_left_is_removed(store: Store) -> None:
    runs = store.folder.parent / "runs"
    folder = next(runs.glob("*/member-0"))
    old, new = (folder / f".step-1.safetensors.{name}" for name in ("old", "new"))
    tables = runs.parent / ".mlflow.db.old"
    half, other = store.folder / "weights" / ".x.safetensors.abc", store.folder / "tables" / "trials" / ".x.parquet.y"
    scratch = store.folder / "scratch" / store.keys()[0] / "state.safetensors"
    for path in (old, tables, new, half, other, scratch):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    for path in (old, tables):
        os.utime(path, (0, time.time() - STALE_AFTER - 1))
    remove_leftovers(store, runs)
    assert new.exists()
    assert not any(path.exists() for path in (old, tables, half, other, scratch))
    assert (store.folder / ".lock").exists()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB: twice what the sweep and its temporary files take."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=False)
    if done.returncode:
        pytest.skip("this machine does not let root mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_storage(undisturbed: Store, image_cache: Path, tmp_path: Path, small: Path) -> None:
    """Stages, checkpoints, tables, Optuna's and Tune's files: whatever meets the end of the disk says so in a line."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    command = arguments(small, image_cache, "--tracking-uri", uri)
    ballast = small / "ballast"
    for left in (20_000, 150_000):
        ballast.write_bytes(b"")
        ballast.write_bytes(b"\0" * (shutil.disk_usage(small).free - left))
        done = launch(*command)
        assert done.returncode in (1, 2), done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        assert "no space left on device" in (done.stdout + done.stderr).lower()
    ballast.unlink()
    works(launch(*command))
    as_undisturbed(undisturbed, works_on(small), uri)


def test_a_full_disk_below_a_single_trial(image_cache: Path, small: Path, tmp_path: Path) -> None:
    """Stages, checkpoints and the outcome of `python -m basin`; its `--runs` once ended in a traceback."""
    pairs = {**SETTINGS, "epochs": "4"}.items()
    settings = [part for name, value in pairs for part in ("--set", f"{name}={value}")]
    command = ["-m", "basin", "--construction", "distilled", *settings, "--cache", str(image_cache)]
    ballast = small / "ballast"
    for option, name, left in (("--runs", "runs", 0), ("--runs", "runs", 40_000), ("--scratch", "scratch", 40_000)):
        ballast.write_bytes(b"")
        ballast.write_bytes(b"\0" * (shutil.disk_usage(small).free - left))
        done = python(*command, option, str(small / name))
        assert done.returncode == 2, done.stdout + done.stderr
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert "no space left on device; free some space" in done.stderr
        assert done.stderr.count("\n") == 1
    ballast.unlink()
    assert json.loads(works(python(*command, "--runs", str(small / "runs"), "--scratch", str(small / "scratch"))))
