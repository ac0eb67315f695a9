"""A storage that is no folder: files go there whole, in order, and come back once; one launcher holds a sweep."""

import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from threading import Thread

import pytest

from basin.errors import UsageError
from sweeps.storage import compact
from sweeps.storage.download import download_sweep
from sweeps.storage.lock import leased_sweep
from sweeps.storage.object_store import Mirror
from sweeps.storage.store import Store
from tests.support.object_stores import Objects
from tests.support.tiny_sweep import ROOT, environment, put, row_of, study

BIG = 300_000_000
"""Bytes of a file whose upload takes a while."""


def mirror(uri: str, folder: Path) -> Mirror:
    """Of a machine that works in this folder."""
    return Mirror.from_uri(uri).with_folder(folder)


def written(path: Path, content: bytes) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_files_go_there_and_back(uri: str, tmp_path: Path) -> None:
    here, other = tmp_path / "a", tmp_path / "b"
    files = {"x/one.bin": b"1" * 3, "x/y/two.bin": b"", "x/y/three.bin": bytes(range(256)) * 9000}
    mirror(uri, here).send(*(written(here / name, content) for name, content in files.items()))
    second = mirror(uri, other)
    assert {str(path.relative_to(other)): info.size for path, info in second.list_files(other / "x").items()} == {
        name: len(content) for name, content in files.items()
    }
    second.pull_folder(other / "x")
    assert {str(p.relative_to(other)): p.read_bytes() for p in other.rglob("*") if p.is_file()} == files


def test_what_never_changes_is_fetched_once_and_what_changes_anew(uri: str, tmp_path: Path) -> None:
    first, second = mirror(uri, tmp_path / "a"), mirror(uri, tmp_path / "b")
    mine, its = tmp_path / "a" / "x.json", tmp_path / "b" / "x.json"
    first.send(written(mine, b"old"))
    second.fetch(its)
    first.send(written(mine, b"new"))
    second.fetch(its)
    second.pull_folder(its.parent)
    assert its.read_bytes() == b"old"
    second.fetch(its, anew=True)
    assert its.read_bytes() == b"new"
    first.remove(mine)
    first.remove(mine)
    second.fetch(its)
    assert its.read_bytes() == b"new"
    second.fetch(its, anew=True)
    assert not its.exists()


def test_what_is_no_longer_there_is_dropped(uri: str, tmp_path: Path) -> None:
    here = mirror(uri, tmp_path / "a")
    kept, changed, gone = (written(tmp_path / "a" / "x" / name, b"here") for name in ("kept", "changed", "gone"))
    here.send(kept, changed, gone)
    here.remove(gone)
    changed.write_bytes(b"torn")
    changed.write_bytes(b"to")
    here.prune_folder(tmp_path / "a" / "x")
    assert [path.name for path in (tmp_path / "a" / "x").iterdir()] == ["kept"]
    here.remove(tmp_path / "a" / "x")
    assert here.list_files(tmp_path / "a") == {}


def test_the_row_comes_last(uri: str, tmp_path: Path) -> None:
    here, store = mirror(uri, tmp_path / "a"), Store(tmp_path / "a" / "sweep")
    row = row_of(study(), {"construction": "deep", "seed": 0})
    put(store, row)
    files = store.trial_files(row["key"])
    assert files[-1] == store.table_path("trials", row["key"])
    store.table_path("history", row["key"]).unlink()
    with pytest.raises(FileNotFoundError):
        here.send(*files)
    there = here.list_files(store.folder)
    assert store.table_path("members", row["key"]) in there
    assert files[-1] not in there


def test_an_upload_that_is_cut_off_leaves_nothing(objects: Objects, tmp_path: Path) -> None:
    here = mirror(objects.uri(tmp_path.name), tmp_path)
    with written(tmp_path / "big", b"").open("wb") as file:
        file.truncate(BIG)
    program = "import sys, pathlib, sweeps.storage.object_store as m; p = pathlib.Path(sys.argv[2]); "
    program += "m.Mirror.from_uri(sys.argv[1]).with_folder(p.parent).send(p)"
    command = [sys.executable, "-c", program, here.uri, str(tmp_path / "big")]
    with subprocess.Popen(command, cwd=ROOT, env=environment()) as process:
        while not objects.client.list_multipart_uploads(Bucket=objects.bucket).get("Uploads"):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert objects.there(tmp_path.name) == {}
    assert here.list_files(tmp_path) == {}


def test_a_storage_that_cannot_be(objects: Objects, tmp_path: Path) -> None:
    nobody = Mirror.from_uri(
        "s3://nobody/x?region=us-east-1&scheme=http&endpoint_override=" + objects.address
    ).with_folder(tmp_path)
    with (
        pytest.raises(UsageError, match=r"--storage s3://nobody/x.*NO_SUCH_BUCKET"),
        leased_sweep(nobody, Store(tmp_path / "sweep")),
    ):
        pass


def test_one_launcher_at_a_time(uri: str, tmp_path: Path) -> None:
    first, second = (mirror(uri, tmp_path / name) for name in "ab")
    with leased_sweep(first, Store(first.folder / "sweep"), beat=1.1):
        with (
            pytest.raises(UsageError, match="'sweep' is being run by another launcher"),
            leased_sweep(second, Store(second.folder / "sweep"), silence=1e6),  # it does not wait until a lease expires
        ):
            pass
        with leased_sweep(second, Store(second.folder / "other")):
            pass
    with leased_sweep(second, Store(second.folder / "sweep")):
        pass
    assert second.list_files(second.folder) == {}


def test_a_dead_launcher_gives_way(objects: Objects, tmp_path: Path) -> None:
    """And would notice, if it had only slept."""
    here, store = mirror(objects.uri(tmp_path.name), tmp_path), Store(tmp_path / "sweep")
    program = "import sys, time, pathlib, sweeps.storage.lock as k\n"
    program += "import sweeps.storage.object_store as m, sweeps.storage.store as s\n"
    program += "from sweeps.execution.signals import stoppable\np = pathlib.Path(sys.argv[2])\n"
    program += "mirror = m.Mirror.from_uri(sys.argv[1]).with_folder(p.parent)\n"
    program += "with stoppable(), k.leased_sweep(mirror, s.Store(p), beat=0.5):\n"
    program += "    print('held', flush=True)\n    time.sleep(60)"
    command = [sys.executable, "-c", program, here.uri, str(store.folder)]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGSTOP)
        with leased_sweep(here, store, silence=3):
            process.send_signal(signal.SIGCONT)
            assert process.wait(20) == 128 + signal.SIGTERM


def test_of_many_launchers_at_once_no_two_run(objects: Objects, tmp_path: Path) -> None:
    held: list[tuple[float, float]] = []
    refused: list[str] = []

    def launch(number: int) -> None:
        here = mirror(objects.uri(tmp_path.name), tmp_path / str(number))
        try:
            with leased_sweep(here, Store(here.folder / "sweep"), beat=1.1):
                began = time.monotonic()
                time.sleep(6)
                held.append((began, time.monotonic()))
        except UsageError as error:
            refused.append(str(error))

    threads = [Thread(target=launch, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held.sort()
    assert held
    assert len(held) + len(refused) == 4
    assert all(end < begin for (_, end), (begin, _) in pairwise(held))


def test_a_fetched_sweep_is_read_by_its_compact_file(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "WORTH", 2)
    uri = objects.uri(tmp_path.name)
    first, store = mirror(uri, tmp_path / "a"), Store(tmp_path / "a" / "demo")
    for beta in (0.5, 1.5, 2.5):
        put(store, row_of(study(), {"construction": "constrained", "beta": beta, "seed": 0}))
    rows = store.rows()
    written(store.folder / "sweep.json", b"{}")
    first.send(*(path for path in store.folder.rglob("*") if path.is_file()))
    fetched = download_sweep(uri, "demo", tmp_path / "b")
    monkeypatch.setattr(compact, "decode_table", None)
    assert fetched.rows() == rows
