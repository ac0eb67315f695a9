"""The doctor looks at every node of a cluster, through a probe there. The nodes are processes of this machine."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from basin.errors import UsageError
from basin.provenance import collect_provenance
from sweeps.execution import node_probe
from sweeps.execution.checks import Check, check_counted_gpus
from sweeps.execution.node_probe import (
    LAUNCHER,
    MOST_OFFSET,
    Expected,
    NodeProbe,
    check_shared,
    check_source,
    judge_clock,
    measure_offset,
)
from sweeps.storage.notes import NoteBoard, open_board
from sweeps.storage.object_store import Mirror
from tests.support.object_stores import Objects, serving
from tests.support.tiny_sweep import launch


@pytest.fixture
def board(tmp_path: Path) -> NoteBoard:
    """A board with the launcher's note."""
    made = NoteBoard(tmp_path)
    made.write_note(LAUNCHER, LAUNCHER)
    return made


def test_a_node_that_shares_the_storage_leaves_a_note(board: NoteBoard) -> None:
    check_shared(board, "node")
    assert board.read_note("node") == "node"
    board.remove()
    assert list(board.storage.iterdir()) == []


def test_a_node_with_a_folder_of_its_own_is_found(board: NoteBoard, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    elsewhere = NoteBoard(tmp_path / "other", name=board.name)
    with pytest.raises(UsageError, match="sees another folder"):
        check_shared(elsewhere, "node")
    assert list(elsewhere.storage.iterdir()) == []


def test_a_storage_that_cannot_be_written_is_found(board: NoteBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UsageError, match=f"{board.storage}: no space left on device; free some space"):
        check_shared(board, "node")


def test_the_board_of_a_storage_to_come_is_in_the_folder_above(tmp_path: Path) -> None:
    assert open_board(tmp_path / "results" / "deep", None).storage == tmp_path


def test_other_sources_and_versions_fail_the_environment(board: NoteBoard) -> None:
    facts = collect_provenance()
    for changed in ({"sources": "0" * 16}, {"ray_version": "1.0"}):
        (found,) = failed(NodeProbe("node", 0).check_node(Expected(facts | changed, board)))
        assert found.name == "environment"
        assert next(iter(changed.values())) in found.details
    assert failed(NodeProbe("node", 0).check_node(Expected(facts, board))) == []


def test_data_that_a_node_lacks_or_has_in_part_are_found(tmp_path: Path) -> None:
    archive = tmp_path / "images.tar"
    with pytest.raises(UsageError, match="not on this node"):
        check_source(archive, 3)
    archive.write_bytes(b"abc")
    assert check_source(archive, 3)
    with pytest.raises(UsageError, match="3 bytes on this node but 4 bytes"):
        check_source(archive, 4)
    with pytest.raises(UsageError, match="3 bytes on this node but a folder"):
        check_source(archive, None)


def test_gpus_that_ray_counts_and_pytorch_does_not_see_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert check_counted_gpus(0)
    with pytest.raises(UsageError, match="Ray counts 2 GPUs but PyTorch sees 0"):
        check_counted_gpus(2)


def test_the_offset_is_of_the_quickest_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers after 2, 0.5 and 4 seconds, by a clock that is 7 seconds ahead and read half way."""
    clock = iter([0.0, 2.0, 10.0, 10.5, 20.0, 24.0])
    there = iter([1.0 + 7, 10.25 + 7, 22.0 + 7])
    monkeypatch.setattr(node_probe.time, "time", lambda: next(clock))
    assert measure_offset(lambda: next(there), readings=3) == (7.0, 0.25)


@pytest.mark.parametrize(("offset", "doubt", "passed"), [(0, 0, True), (-3, 0, False), (3, 0, False), (3, 1.5, True)])
def test_a_clock_fails_beyond_its_uncertainty(offset: float, doubt: float, passed: bool) -> None:
    found = judge_clock(offset * MOST_OFFSET / 2, doubt * MOST_OFFSET / 2)
    assert found.passed is passed


def failed(checks: list[Check]) -> list[Check]:
    return [check for check in checks if not check.passed]


@pytest.fixture(scope="module")
def objects() -> Iterator[Objects]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def cluster(objects: Objects, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of two nodes that know the object store's credentials.

    The second lacks them, has a file in place of its cache folder, and a GPU that only Ray knows of.
    """
    from ray.cluster_utils import Cluster

    home = tmp_path_factory.mktemp("home")
    (home / "cache").write_text("mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        made = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            faulty = {"XDG_CACHE_HOME": str(home / "cache"), "CUDA_VISIBLE_DEVICES": ""}
            faulty |= {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
            made.add_node(num_cpus=1, num_gpus=1, env_vars=faulty)
            yield made.address
        finally:
            made.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_doctor_probes_every_node(cluster: str, tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(b"abc")
    where = ("--storage", str(tmp_path), "--data", str(tmp_path / "images.tar"), "--address", cluster)
    done = launch("doctor", *where)
    assert done.returncode == 2, done.stdout + done.stderr
    states, details = read_table(done.stdout)
    assert states.pop("cache") == states.pop("ray") == states.pop("storage") == "ok"
    (healthy,) = [name for name, state in states.items() if state == "ok" and re.match(r"[\d.]+-[0-9a-f]{8}$", name)]
    assert "storage shared" in details[healthy]
    assert "images.tar readable" in details[healthy]
    assert re.search(r"clock [+-]0\.\d+ s", details[healthy])
    wrong = {name.partition(": ")[2]: details[name] for name, state in states.items() if state == "FAIL"}
    assert set(wrong) == {"cache", "gpu"}
    assert "Ray counts 1 GPUs but PyTorch sees 0" in wrong["gpu"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.tar"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_doctor_probes_an_object_store_from_every_node(cluster: str, objects: Objects) -> None:
    done = launch("doctor", "--storage", objects.uri("results"), "--address", cluster)
    states, details = read_table(done.stdout)
    assert states["storage"] == "ok"
    assert "readable and writable" in details["storage"]
    assert len([text for text in details.values() if "storage shared" in text]) == 1
    (refused,) = [name for name, state in states.items() if name.endswith(": storage") and state == "FAIL"]
    assert "ACCESS_DENIED" in details[refused].replace(" ", "")
    assert objects.there("results") == {}


def test_an_object_store_that_refuses_is_found(objects: Objects, tmp_path: Path) -> None:
    missing = Mirror.from_uri(objects.uri("results").replace(objects.bucket, "no-such-bucket"), tmp_path)
    with pytest.raises(UsageError, match="no-such-bucket"):
        NoteBoard(missing.folder, missing).write_note(LAUNCHER, LAUNCHER)


def read_table(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """State and details of each check of the doctor's table, whose long lines are wrapped."""
    states: dict[str, str] = {}
    details: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        if "│" not in line:
            continue
        name, state, words = (cell.strip() for cell in line.split("│")[1:4])
        last = name or last
        if name:
            states[name] = state
        details[last] = f"{details.get(last, '')} {words}".strip()
    return states, details
