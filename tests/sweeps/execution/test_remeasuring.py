"""A raised version of the evaluation: kept networks are measured again, and no reader mixes two versions."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from optuna.trial import TrialState
from ray import tune

from basin import stages
from basin.environment import Machine, Place
from basin.files import Nowhere
from basin.measure import Evaluation
from sweeps.execution import remeasuring as earlier
from sweeps.execution.remeasuring import match_manifest, trial_of_row
from sweeps.execution.worker import Worker, run_job
from sweeps.search.journal import open_study
from sweeps.search.searcher import ResumableSearch
from sweeps.storage.download import download_sweep
from sweeps.storage.object_store import Mirror
from sweeps.storage.store import Row, Store, superseded_keys, tables_of_diverged, tables_of_stopped
from tests.support.shell import Command
from tests.support.tiny_sweep import mlflow_runs, put, python, row_of, says, study, sweep_arguments, tables, works
from tests.support.watched import watch_training

SMALL: dict[str, Any] = {"model": "mlp", "hidden": "8", "width": None}
CHANGES = {"construction": "constrained", "t": 0.5, "beta": 1.0, "seed": 0}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "storage" / "demo")
    found.folder.mkdir(parents=True)
    match_manifest(found, study(**SMALL), 0)
    return found


@pytest.fixture
def worker(store: Store, tmp_path: Path, image_cache: Path) -> Worker:
    machine = Machine(device="cpu", threads=torch.get_num_threads())
    return Worker(study(**SMALL), store, Place(machine=machine, cache=image_cache, runs=tmp_path / "runs"), {})


def reported(
    monkeypatch: pytest.MonkeyPatch, worker: Worker, changes: dict[str, Any] = CHANGES, role: str = "search"
) -> list[dict[str, Any]]:
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", reports.append)
    run_job({"job": worker.study.make_job(role, changes)}, worker)
    return reports


def raised(monkeypatch: pytest.MonkeyPatch, store: Store) -> int:
    """The code measures otherwise now, and a launcher takes the sweep up."""
    before = Evaluation.version
    monkeypatch.setattr(Evaluation, "version", before + 1)
    match_manifest(store, study(**SMALL), 0)
    return before


TIMES = {"key", "finished_at"}


def same_row(one: Row, other: Row, *apart: str) -> bool:
    names = one.keys() - TIMES - set(apart)
    return repr({name: one[name] for name in sorted(names)}) == repr({name: other[name] for name in sorted(names)})


def test_a_raised_version_measures_again_and_trains_nothing(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    store = worker.store
    (*_, first) = reported(monkeypatch, worker)
    old, networks = str(first["key"]), {path: path.read_bytes() for path in (store.folder / "weights").iterdir()}
    before, history = store.row(old), store.history(old)
    assert before is not None
    version = raised(monkeypatch, store)
    assert store.keys() == []
    trained = watch_training(monkeypatch)
    (report,) = reported(monkeypatch, worker)  # no score on the way: nothing grows
    assert not trained
    new = str(report["key"])
    after = store.row(new)
    assert after is not None
    assert new == worker.study.resolve_trial(CHANGES).key != old
    assert same_row(before, after), "the same networks, the same numbers and the same costs"
    assert [{**row, "key": old} for row in store.history(new)] == history
    assert {path: path.read_bytes() for path in (store.folder / "weights").iterdir()} == networks
    assert store.keys() == [row["key"] for row in store.rows()] == [new]
    for name, table in tables(store.folder).items():
        assert set(table["key"].to_pylist()) == {new}, name
    aside = Store(store.folder / "earlier" / f"evaluation-{version}")
    assert set(superseded_keys(store)) == set(aside.keys()) == {old}
    assert aside.row(old) == before


def test_other_numbers_of_kept_networks_are_those_of_a_fresh_run(
    monkeypatch: pytest.MonkeyPatch, worker: Worker, tmp_path: Path
) -> None:
    """Two trials of one sweep that differ in how they are measured alone, as two points of a grid."""
    worker = replace(worker, study=study(**SMALL, alphas=None))  # what the user sets holds for every trial
    reported(monkeypatch, worker)
    finer = {**CHANGES, "alphas": 9}
    trained = watch_training(monkeypatch)
    (report,) = reported(monkeypatch, worker, finer, "grid")
    assert not trained
    elsewhere = replace(worker, store=Store(tmp_path / "elsewhere"), place=replace(worker.place, runs=tmp_path / "new"))
    (*_, fresh) = reported(monkeypatch, elsewhere, finer, "grid")
    assert trained
    assert report["key"] == fresh["key"]
    again, whole = (one.store.row(str(report["key"])) for one in (worker, elsewhere))
    assert again is not None
    assert whole is not None
    assert same_row(again, whole, "seconds", "stage_seconds", "sweep")
    one, other = ({**tables(w.store.folder)} for w in (worker, elsewhere))
    for name in ("members", "paths", "hull", "reliability"):
        mine = one[name].filter([key == report["key"] for key in one[name]["key"].to_pylist()])
        assert mine.equals(other[name]), name
    assert len(list((worker.store.folder / "weights").iterdir())) == 1
    assert len(worker.store.keys()) == 2, "both stay: they are two trials"


def test_a_history_measured_otherwise_is_not_taken_over(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    worker = replace(worker, study=study(**SMALL, progress_every=None))
    reported(monkeypatch, worker)
    rarer = {**CHANGES, "progress_every": 2}
    assert worker.study.resolve_trial(CHANGES).evaluation.progress_every != 2
    trained = watch_training(monkeypatch)
    assert len(reported(monkeypatch, worker, rarer, "grid")) == 2  # a score on the way
    assert trained


def test_networks_that_are_damaged_or_gone_are_trained_again(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    (*_, first) = reported(monkeypatch, worker)
    (path,) = (worker.store.folder / "weights").iterdir()
    whole = path.read_bytes()
    trained = watch_training(monkeypatch)
    for content in (whole[:-9], None):
        path.write_bytes(content) if content else path.unlink()
        worker.store.table_path("trials", str(first["key"])).unlink()
        del trained[:]
        reported(monkeypatch, worker)
        assert trained
        assert stages.read_tensors(path) is not None


def test_what_has_no_networks_keeps_its_row(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """It would diverge again, and what was stopped early stays so; their history is what was measured then."""
    chosen = study(**SMALL)
    wild, slow = (chosen.resolve_trial({**CHANGES, "seed": seed}) for seed in (1, 2))
    store.write_tables(wild.key, tables_of_diverged(wild, role="search"))
    reports = [{"step": step, "passes": 4 * step, "seconds": 0.5, "progress": 0.2, "val_nll": 1.5} for step in (1, 2)]
    store.write_tables(slow.key, tables_of_stopped(slow, reports, role="search"))
    put(store, row_of(chosen, CHANGES))
    before = {trial.seed: (trial.key, store.row(trial.key), store.history(trial.key)) for trial in (wild, slow)}
    raised(monkeypatch, store)
    assert store.keys() == sorted({wild.key, slow.key})
    for trial in (wild, slow):
        old, row, history = before[trial.seed]
        assert trial.key != old
        now = store.row(trial.key)
        assert row is not None
        assert now == {**row, "key": trial.key}
        assert store.history(trial.key) == [{**report, "key": trial.key} for report in history]
    assert len(before[2][2]) == 2
    assert set(superseded_keys(store)) == {before[1][0], before[2][0], *keys_of(CHANGES, Evaluation.version - 1)}


def keys_of(changes: dict[str, Any], version: int) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluation, "version", version)
        return [study(**SMALL).resolve_trial(changes).key]


def test_setting_aside_that_was_cut_off_goes_on(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    chosen = study(**SMALL)
    for seed in range(4):
        put(store, row_of(chosen, {**CHANGES, "seed": seed}))
    wild = chosen.resolve_trial({**CHANGES, "seed": 9})
    store.write_tables(wild.key, tables_of_diverged(wild, role="search"))
    before = set(store.keys())
    real, moved = earlier._move_file, []

    def move(*args: Any) -> None:
        if len(moved) == 9:
            raise KeyboardInterrupt
        moved.append(args)
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(earlier, "_move_file", move)
        with pytest.raises(KeyboardInterrupt):
            raised(patch, store)
    assert len(moved) == 9
    assert json.loads((store.folder / "sweep.json").read_text())["versions"]["evaluation"] == Evaluation.version
    raised(monkeypatch, store)
    assert set(superseded_keys(store)) == before
    assert store.keys() == [wild.key]
    left = {path.stem for path in (store.folder / "tables").rglob("*.parquet")}
    assert left == {wild.key}


def test_the_searcher_asks_for_the_same_configurations(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """Under the numbers that they had, and is told their new results."""
    chosen = study(**SMALL)

    def drained(accuracy: float) -> tuple[list[Any], list[Any]]:
        searcher = ResumableSearch(chosen, store, [], trials=3, seed=0)
        configs = []
        for number in range(10):
            config = searcher.suggest(str(number))
            if not isinstance(config, dict):
                break
            configs.append(config)
            scores = {"val_nll": accuracy + number, "val_basin_upper_reset": 1.0}
            put(store, row_of(chosen, config["job"].changes, **scores))
            searcher.on_trial_complete(str(number), {**scores, "status": "done"})
        return configs, open_study(store.journal, chosen, 0).get_trials()

    first, told = drained(50.0)
    assert len(first) == 3
    raised(monkeypatch, store)
    again, anew = drained(80.0)
    assert [config["job"].changes for config in again] == [config["job"].changes for config in first]
    assert [trial.params for trial in anew] == [trial.params for trial in told]
    assert [trial.values for trial in anew] == [[80.0 + number] for number in range(3)]
    assert [trial.state for trial in anew] == [TrialState.COMPLETE] * 3
    assert [trial.user_attrs["key"] for trial in anew] == [config["job"].key for config in again]
    assert not list(store.folder.glob("optuna.again*"))
    assert drained(90.0)[0] == []


def test_duplicates_and_warm_trials_keep_their_places(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    chosen = study(**SMALL)
    opened = open_study(store.journal, chosen, 0)
    for key, attributes in (("a", {"warm": "x"}), (None, {"duplicate": True}), ("c", {})):
        asked = opened.ask()
        changes = {**chosen.space.draw(asked), "seed": 0}
        for name, value in {**attributes, **({"key": key, "changes": changes} if key == "c" else {})}.items():
            asked.set_user_attr(name, value)
        opened.tell(asked, 1.0 if key == "a" else None, state=None if key == "a" else TrialState.FAIL)
    earlier._reset_journal(store, chosen, 0, Nowhere())
    one, two, three = open_study(store.journal, chosen, 0).get_trials()
    assert (one.state, one.values, one.user_attrs) == (TrialState.COMPLETE, [1.0], {"warm": "x"})
    assert (two.state, two.user_attrs) == (TrialState.FAIL, {"duplicate": True})
    assert (three.state, three.user_attrs["key"]) == (
        TrialState.RUNNING,
        chosen.resolve_trial(three.user_attrs["changes"]).key,
    )


@pytest.mark.parametrize("changes", [{"construction": "swe", "spacing": 1}, {"construction": "distilled", "t": 0.25}])
def test_a_row_says_which_trial_it_is_of(changes: dict[str, Any], store: Store) -> None:
    chosen = study(**SMALL)
    trial = replace(chosen.resolve_trial({**changes, "seed": 4}), data_hash="ab", ood_hash="cd")
    store.write_tables(trial.key, tables_of_diverged(trial))
    row = store.row(trial.key)
    assert row is not None
    assert trial_of_row(row, chosen.base) == trial
    assert trial_of_row(row, study().base) == trial, "whatever it is made from"


def test_another_machine_finds_the_networks(monkeypatch: pytest.MonkeyPatch, worker: Worker, tmp_path: Path) -> None:
    """A storage that is no folder: rows move there too, and networks come from there."""
    uri = (tmp_path / "there").as_uri()
    here = Mirror.from_uri(uri).with_folder(tmp_path / "storage")
    first = replace(worker, place=replace(worker.place, remote=here, runs=tmp_path / "storage" / "runs"))
    (*_, before) = reported(monkeypatch, first)
    here.send(worker.store.folder / "sweep.json")
    to = tmp_path / "copy"
    fetched = download_sweep(uri, "demo", to)
    assert fetched.keys() == [before["key"]]
    monkeypatch.setattr(Evaluation, "version", Evaluation.version + 1)
    match_manifest(worker.store, worker.study, 0, here)
    here.send(worker.store.folder / "sweep.json")
    assert not here.list_files(worker.store.folder / "tables")
    other = Store(tmp_path / "second" / "demo")
    place = replace(worker.place, remote=here.with_folder(tmp_path / "second"), runs=tmp_path / "second" / "runs")
    trained = watch_training(monkeypatch)
    (report,) = reported(monkeypatch, replace(worker, store=other, place=place))
    assert not trained
    assert not (tmp_path / "second" / "runs").exists()
    there = {path.name for path in here.list_files(worker.store.folder / "tables" / "trials")}
    assert there == {f"{report['key']}.parquet"}
    assert download_sweep(uri, "demo", to).keys() == [report["key"]]
    assert set(superseded_keys(fetched)) == {before["key"]}
    left = {path.stem for path in (fetched.folder / "tables").rglob("*.parquet")}
    assert left == {report["key"]}


# The whole way, by a copy of the code that measures otherwise.


@pytest.fixture
def code(root: Path, tmp_path: Path) -> Path:
    """The project's code, its evaluation raised, and a training loop that refuses to train."""
    folder = tmp_path / "code"
    for name in ("basin", "sweeps", "analysis", "cli", "stats"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "launch.py", folder)
    edit(
        folder / "basin/measure.py",
        r"version: ClassVar\[int\] = (\d+)",
        lambda m: f"version: ClassVar[int] = {int(m[1]) + 1}",
    )
    with (folder / "basin/training/loop.py").open("a") as file:
        file.write('\n\ndef train(*_, **__):\n    raise AssertionError("trained")\n')
    return folder


def edit(file: Path, pattern: str, to: Any) -> None:
    text, count = re.subn(pattern, to, file.read_text())
    assert count == 1
    file.write_text(text)


@pytest.fixture
def storage(finished: Store, tmp_path: Path) -> Path:
    """A copy of a finished sweep's storage; the tracking store's files would lie where the copied ones do."""
    storage = tmp_path / "storage"
    shutil.copytree(finished.folder.parent, storage, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    (storage / "quickstart" / "tracked.json").unlink()
    return storage


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_finished_sweep_is_measured_again_from_end_to_end(
    finished: Store, storage: Path, code: Path, image_cache: Path, tmp_path: Path, shell: Command, refused: Command
) -> None:
    store, before = Store(storage / "quickstart"), {row["ensemble_key"]: row for row in finished.rows()}
    arguments = sweep_arguments(storage, image_cache)
    shell("sync", "quickstart", "--storage", str(storage))
    assert f"{len(before)} trials run now, {len(before)} in " in works(python("launch.py", *arguments, cwd=code))
    rows = store.rows()
    assert {row["ensemble_key"] for row in rows} == before.keys()
    assert not {row["key"] for row in rows} & set(finished.keys())
    for row in rows:
        assert same_row(before[row["ensemble_key"]], row, "commit", "dirty", "sources")
    assert set(superseded_keys(store)) == set(finished.keys())
    known = mlflow_runs(storage, "quickstart", tmp_path)
    assert sorted(run["tags"]["key"] for run in known) == store.keys()
    again = works(python("launch.py", *arguments, cwd=code))
    assert f"0 trials run now, {len(before)} in " in again
    best = works(python("launch.py", "best", "quickstart", "--storage", str(storage), cwd=code))
    assert any(key[:8] in best for key in store.keys())  # noqa: SIM118
    assert not any(key[:8] in best for key in finished.keys())  # noqa: SIM118
    # The code of before would mix what it measures into rows that mean something else.
    words = refused(*arguments)
    assert "the version of evaluation was" in words
    assert "another --name" in words


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_default_changed_in_the_code_meets_no_old_result(
    storage: Path, root: Path, code: Path, image_cache: Path
) -> None:
    """As in a project whose author edits `momentum` between two sweeps of one storage."""
    for name in ("measure.py", "training/loop.py"):
        shutil.copy(root / "basin" / name, code / "basin" / name)
    edit(code / "basin/training/loop.py", r"(momentum: .* = )0\.9", r"\g<1>0.5")
    arguments = sweep_arguments(storage, image_cache)
    says(python("launch.py", *arguments, cwd=code), "momentum=0.9, got momentum=0.5", "another --name")
    recipes = {path.parent.name for path in (storage / "runs").glob("*/recipe.json")}
    works(python("launch.py", *arguments, "--name", "other", cwd=code))
    found = {path.parent.name: json.loads(path.read_text()) for path in (storage / "runs").glob("*/recipe.json")}
    fresh = {name: recipe["training.momentum"] for name, recipe in found.items() if name not in recipes}
    assert len(fresh) == len(recipes), "every trunk and teacher is trained anew"
    assert set(fresh.values()) == {0.5}
    old, new = Store(storage / "quickstart"), Store(storage / "other")
    assert not set(old.keys()) & set(new.keys())
    assert {row["momentum"] for row in old.rows()} == {0.9}
    assert {row["momentum"] for row in new.rows()} == {0.5}


@pytest.mark.filterwarnings("ignore")
def test_a_sweep_of_the_first_format_is_read_and_not_continued(
    storage: Path, shell: Command, refused: Command, image_cache: Path
) -> None:
    """Its definition says no format, its rows name no networks, and these lie under the trials' keys."""
    store = Store(storage / "quickstart")
    for row in store.rows():
        for path in store.trial_tables(row["key"]):  # none had a checksum
            table = pyarrow.parquet.read_table(path)
            first = table.drop_columns(["ensemble_key"]) if path.parent.name == "trials" else table
            pyarrow.parquet.write_table(first, path)
        store.weights_path(row["ensemble_key"]).rename(store.weights_path(row["key"]))
    held = store.folder / "sweep.json"
    known = json.loads(held.read_text())
    for name in ("format", "defaults", "ranges", "versions"):
        del known[name]
    held.write_text(json.dumps(known))
    where = ("--storage", str(storage))
    assert "quickstart" in shell("sync", "quickstart", *where)
    best = shell("best", "quickstart", *where)
    assert any(key[:8] in best for key in store.keys())  # noqa: SIM118
    assert len(store.rows()) == len(store.keys())
    before = held.read_bytes()
    words = refused(*sweep_arguments(storage, image_cache))
    assert "made by an earlier version with other trial keys" in words
    assert "another --name" in words
    warm = sweep_arguments(storage, image_cache, "--name", "warm", "--warm-start", "quickstart")
    assert "made by an earlier version" in refused(*warm)
    assert held.read_bytes() == before
