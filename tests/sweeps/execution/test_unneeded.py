"""What no trial needs is listed with its size, and removed on request; everything else in the storage stays."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from basin.errors import UsageError
from cli.sizes import describe_size
from sweeps.execution.unneeded import Kind, find_unneeded, find_unused_stages, remove_unneeded
from sweeps.storage.lock import locked_folder
from sweeps.storage.store import Store
from tests.support.shell import Command
from tests.support.tiny_sweep import put, row_of, snapshot, study

STUDY = replace(study(), base=replace(study().base, data_hash="d" * 16))
URI = "sqlite:////nowhere/mlflow.db"
CHOSEN = {"construction": "constrained", "t": 0.1, "beta": 1.0}
OTHER = {"construction": "constrained", "t": 0.2, "beta": 1.0}
DEEP = {"construction": "deep"}


def write(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def trial(store: Store, changes: dict[str, Any], role: str, size: int) -> str:
    """A finished trial with weights of this size; the key of its ensemble."""
    row = row_of(STUDY, changes, role=role)
    put(store, row)
    write(store.weights_path(row["ensemble_key"]), size)
    return str(row["ensemble_key"])


def stage(storage: Path, changes: dict[str, Any], size: int = 10, name: str | None = None) -> Path:
    """The stage that a trial needs, or another folder with its recipe."""
    needed = STUDY.resolve_trial(changes)
    folder = storage / "runs" / (name or needed.recipe_key)
    write(folder / "member-0" / "step-0000010.safetensors", size)
    (folder / "recipe.json").write_text(json.dumps(needed.recipe))
    return folder


def note(store: Store, state: str = "finished") -> None:
    base = STUDY.base.flat()
    (store.folder / "sweep.json").write_text(json.dumps({"base": {"data_hash": base["data_hash"]}}))
    (store.folder / "status.json").write_text(json.dumps({"state": state}))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A finished sweep: two configurations on the search seed, the chosen one and deep on a fresh seed."""
    store = Store(tmp_path / "mine")
    for changes, role, size in (
        ({**CHOSEN, "seed": 0}, "search", 100),
        ({**OTHER, "seed": 0}, "search", 200),
        ({**CHOSEN, "seed": 1}, "fresh", 400),
        ({**DEEP, "seed": 1}, "reference", 800),
    ):
        trial(store, changes, role, size)
    for seed in (0, 1):
        stage(tmp_path, {**CHOSEN, "seed": seed})
    write(store.folder / "weights" / "my-own.safetensors", 1)
    write(store.folder / "weights" / f"{'0' * 16}.safetensors", 1)  # of no finished trial
    write(store.folder / "scratch" / ("1" * 16) / "checkpoint", 1)  # of an unfinished one
    note(store)
    return store


def found(store: Store) -> dict[Kind, tuple[int, int]]:
    """Kind → number of paths, and bytes."""
    return {one.kind: (len(one.paths), one.size) for one in find_unneeded(store.folder.parent, store.name, URI)}


def test_everything_is_listed_and_nothing_changed(store: Store, tmp_path: Path) -> None:
    write(store.scratch_path(store.keys()[0]) / "checkpoint", 7)
    write(store.folder / "tune" / "state", 5)
    stage(tmp_path, {**CHOSEN, "seed": 7}, 30)  # nobody has seed 7
    old = stage(tmp_path, {**CHOSEN, "seed": 0}, 70, "2" * 16)
    (old / "recipe.json").unlink()  # the first format
    before = snapshot(tmp_path)
    sizes = found(store)
    assert (sizes[Kind.leftovers], sizes[Kind.tables], sizes[Kind.old_stages]) == ((2, 12), (0, 0), (1, 70))
    assert sizes[Kind.unused_stages][0] == 1
    assert sizes[Kind.weights] == (1, 200)
    assert sizes[Kind.chosen_weights] == (3, 1300)
    assert snapshot(tmp_path) == before


def test_only_the_kinds_asked_for_are_removed(store: Store, tmp_path: Path) -> None:
    unused, kept = stage(tmp_path, {**CHOSEN, "seed": 7}), stage(tmp_path, {**CHOSEN, "seed": 0})
    lost = row_of(STUDY, {**OTHER, "seed": 0})
    before = snapshot(tmp_path)
    removed = remove_unneeded(tmp_path, "mine", URI, [Kind.weights, Kind.unused_stages])
    assert {one.kind for one in removed} == {Kind.weights, Kind.unused_stages}
    assert next(one.trials for one in removed if one.kind is Kind.weights) == (lost["key"],)
    gone = before.keys() - snapshot(tmp_path).keys()
    assert gone == {
        f"mine/weights/{lost['ensemble_key']}.safetensors",
        f"runs/{unused.name}/recipe.json",
        f"runs/{unused.name}/member-0/step-0000010.safetensors",
    }
    assert kept.exists()
    assert remove_unneeded(tmp_path, "mine", URI, [Kind.weights, Kind.unused_stages]) == []


def test_stages_of_any_sweep_of_the_storage_stay(store: Store, tmp_path: Path) -> None:
    other, folder = Store(tmp_path / "other"), stage(tmp_path, {**CHOSEN, "seed": 7})
    assert find_unused_stages(tmp_path) == [folder]
    trial(other, {**DEEP, "seed": 7}, "reference", 1)
    note(other)
    assert find_unused_stages(tmp_path) == []


@pytest.mark.parametrize("state", ["running", "stopped", "failed"])
def test_an_unfinished_sweep_may_need_every_stage_of_its_data_and_all_its_weights(
    state: str, store: Store, tmp_path: Path
) -> None:
    stage(tmp_path, {**CHOSEN, "seed": 7})
    note(store, state)
    assert find_unused_stages(tmp_path) == []
    assert found(store)[Kind.weights] == (0, 0)
    assert found(store)[Kind.chosen_weights] == (4, 1500)


def test_a_configuration_that_is_no_longer_chosen_keeps_no_weights(store: Store) -> None:
    row = row_of(STUDY, {**CHOSEN, "seed": 1})
    (store.folder / "verdicts.json").write_text(json.dumps({row["key"]: {"chosen": False, "keys": [row["key"]]}}))
    assert found(store)[Kind.weights] == (3, 700)
    assert found(store)[Kind.chosen_weights] == (1, 800)


def test_json_of_another_shape_names_nothing(store: Store, tmp_path: Path) -> None:
    before = found(store)
    (store.folder / "verdicts.json").write_text('{"a": 1, "b": {"chosen": false}}')
    (tmp_path / "other").mkdir()
    (tmp_path / "other/sweep.json").write_text('{"base": 1}')
    assert found(store) == before
    assert find_unused_stages(tmp_path) == []


def test_nothing_is_removed_while_a_sweep_runs(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    other.folder.mkdir()
    note(other)
    stage(tmp_path, {**CHOSEN, "seed": 7})
    before = snapshot(tmp_path)
    with locked_folder(other), pytest.raises(UsageError, match="run by another launcher"):
        remove_unneeded(tmp_path, "mine", URI, [Kind.unused_stages])
    with locked_folder(store), pytest.raises(UsageError, match="run by another launcher"):
        remove_unneeded(tmp_path, "mine", URI, [Kind.weights])
    assert {name for name in before if "lock" not in name} <= snapshot(tmp_path).keys()


def test_gc_says_what_would_be_lost_and_removes_on_request(store: Store, shell: Command, tmp_path: Path) -> None:
    where = ("gc", "mine", "--storage", str(tmp_path), "--weights")
    key = row_of(STUDY, {**OTHER, "seed": 0})["key"]
    dry = " ".join(shell(*where).split())
    assert "Nothing was removed" in dry
    assert "weights of trials that were not chosen 1 200 B --weights --delete" in dry
    assert "weights of chosen trials 3 1.3 kB --all-weights --delete" in dry
    assert f"1 trials could then no longer be exported or measured again without training: {key[:8]}" in dry
    assert "would free 200 B" in dry
    assert len(list((store.folder / "weights").iterdir())) == 6
    assert "removed weights of trials that were not chosen: 1, 200 B" in shell(*where, "--delete")
    assert len(list((store.folder / "weights").iterdir())) == 5
    assert "freed 0 B" in shell(*where, "--delete")


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e7, "25 MB"), (3.2e9, "3.2 GB"), (4e15, "4000 TB")],
)
def test_sizes_in_words(size: float, words: str) -> None:
    assert describe_size(size) == words
