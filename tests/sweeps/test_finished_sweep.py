"""A finished sweep: what is in its tables, read by others' tools, and in MLflow, which says the same."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from basin.trial import overlay
from stats.verdicts import bounds
from sweeps.storage.columns import is_score, list_hyperparameters
from sweeps.storage.outcomes import shortfalls
from sweeps.storage.schemas import ALWAYS
from sweeps.storage.store import Row, Store
from sweeps.tracking.metric_names import column_of, metric_name
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.uri import default_uri
from tests.support.tiny_sweep import (
    PROVENANCE,
    ROOT,
    mlflow_runs,
    python,
    snapshot,
    study,
    sweep_arguments,
    tables,
    works,
)
from tests.support.tiny_sweep import launch as launch_command

Runs = dict[str, dict[str, Any]]
COSTS = (
    *("passes", "teacher_passes", "teacher_forwards", "stage_passes"),
    *("member_epochs", "image_passes", "seconds", "stage_seconds"),
)


@pytest.fixture(scope="module")
def runs(finished: Store, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What MLflow has of the sweep."""
    return mlflow_runs(finished.folder.parent, finished.name, tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def by_key(runs: list[dict[str, Any]]) -> Runs:
    return {run["tags"]["key"]: run for run in runs}


def test_references_search_and_fresh_seeds(finished: Store) -> None:
    rows = finished.rows()
    assert all(row["status"] == "done" for row in rows)
    seeds = {role: {row["seed"] for row in rows if row["role"] == role} for role in ("reference", "search", "fresh")}
    assert seeds == {"reference": {1, 2}, "search": {0}, "fresh": {1, 2}}
    searched = [row for row in rows if row["role"] == "search"]
    assert len(searched) == 3
    constructions = {row["construction"] for row in searched}
    assert len(rows) == 2 + 3 + 2 * len(constructions)
    for construction in constructions:
        copies = [row for row in rows if row["role"] == "fresh" and row["construction"] == construction]
        assert {row["seed"] for row in copies} == {1, 2}
        own = [row for row in searched if row["construction"] == construction]
        within = [row for row in own if row["val_basin_upper_reset"] <= 2]
        chosen = min(within, key=lambda row: row["val_nll"]) if within else min(own, key=_upper)
        assert {row["configuration"] for row in copies} == {chosen["configuration"]}
        same = ("t", "beta", "temperature", "weight")
        assert {tuple(row[name] for name in same) for row in copies} == {tuple(chosen[name] for name in same)}


def _upper(row: Row) -> float:
    return float(row["val_basin_upper_reset"])


def test_limits_and_verdicts_of_each_row(finished: Store) -> None:
    for row in finished.rows():
        assert row["margin"] == 2.0
        assert row["feasible"] == (row["val_basin_upper_reset"] <= 2)
        for split in ("val", "test"):
            upper, lower = (row[f"{split}_basin_{end}_reset"] for end in ("upper", "lower"))
            assert row[f"verdict_{split}"] == ("no" if lower > 2 else "yes" if upper < 2 else "undecided")


@pytest.mark.filterwarnings("ignore")
def test_joint_verdicts_are_those_of_the_images(finished: Store) -> None:
    """Over all seeds from the outcomes, kept beside the tables and in MLflow's experiment."""
    held = json.loads((finished.folder / "verdicts.json").read_text())
    rows = [row for row in finished.rows() if row["role"] in ("fresh", "reference")]
    assert sorted(key for keys in held for key in keys.split(",")) == sorted(row["key"] for row in rows)
    told = Tracker.find_experiment(default_uri(finished.folder.parent), finished.name).read_tags()
    for keys, entry in held.items():
        own = sorted((row for row in rows if row["key"] in keys), key=lambda row: row["seed"])
        short = {name: value for name, value in entry.items() if name != "trials"}
        assert json.loads(told[f"verdict.{min(entry['keys'])}"]) == short
        assert entry["chosen"]
        assert entry["seeds"] == [1, 2]
        for split in ("val", "test"):
            found = entry[split]["accuracy"]
            lost = [shortfalls(finished.table("outcomes", row["key"]), split).values for row in own]
            means = np.mean(lost, axis=(0, 1, 3))
            assert found["upper"] > means.max()
            assert found["weakest"]["mean"] >= found["lower"]
            assert found["images"] == 60
            cell = lost[entry["seeds"].index(found["weakest"]["seed"])].mean(axis=2)
            assert found["weakest"]["mean"] in [pytest.approx(value) for value in cell.ravel()]
            limits = bounds(np.stack(lost), worst=100.0)
            assert (found["upper"], found["lower"]) == (limits.upper, limits.lower)


def test_a_row_names_itself(finished: Store) -> None:
    """The key of every row follows from the columns of that row."""
    base = study().base
    settable = base.settable()
    for row in finished.rows():
        changes = {name: row[name] for name in ("dataset", "model", "construction")}
        trial = overlay(base, changes)
        changes |= {name: row[name] for name in trial.settable() & settable if name in row}
        changes |= {name: row[name] for name in trial.settable() - settable if row[name] is not None}
        again = overlay(base, changes)
        again = replace(again, data_hash=row["data_hash"], ood_hash=row["ood_hash"])
        assert again.flat() == {name: row[name] for name in again.flat()}
        assert again.key == row["key"]


def test_tables_belong_together(finished: Store) -> None:
    keys = set(finished.keys())
    found = tables(finished.folder)
    assert set(ALWAYS) <= found.keys()
    for name, table in found.items():
        assert set(table["key"].to_pylist()) <= keys, name
    assert found["members"].num_rows == 2 * len(keys)
    steps = found["history"].select(["key", "step"]).to_pylist()
    assert len({(row["key"], row["step"]) for row in steps}) == len(steps)
    for row in finished.rows():
        points = [p for p in finished.table("paths", row["key"]).to_pylist() if p["alpha"] == 0.5]
        ends = {(p["split"], p["policy"], p["alpha"]): p for p in finished.table("paths", row["key"]).to_pylist()}
        for p in points:
            chord = (
                ends[p["split"], p["policy"], 0.0]["accuracy"] + ends[p["split"], p["policy"], 1.0]["accuracy"]
            ) / 2
            assert row[f"{p['split']}_q_bar_{p['policy']}"] == pytest.approx(p["accuracy"] - chord)  # one inner point
        mean = sum(m["test_accuracy"] for m in finished.table("members", row["key"]).to_pylist()) / 2
        assert row["test_member_mean_accuracy"] == pytest.approx(mean)


def test_nothing_is_left_but_results(finished: Store) -> None:
    names = {path.name for path in finished.folder.iterdir()}
    assert not list((finished.folder / "scratch").glob("*"))
    assert "tune" not in names
    assert not [path for path in finished.folder.rglob(".*") if path.name != ".lock"]
    weights = sorted(path.stem for path in (finished.folder / "weights").glob("*.safetensors"))
    assert weights == sorted(row["ensemble_key"] for row in finished.rows())


OTHERS = """
import json, sys, glob
import duckdb, pandas

folder = sys.argv[1]
con = duckdb.connect()
rows = con.sql(
    f"select key, construction, val_accuracy, test_q_bar_reset, beta from '{folder}/trials/*.parquet' order by key"
).fetchall()
joined = con.sql(
    f"select t.key, avg(m.test_accuracy) from '{folder}/trials/*.parquet' t "
    f"join '{folder}/members/*.parquet' m on t.key = m.key group by t.key order by t.key"
).fetchall()
frame = pandas.concat(pandas.read_parquet(path) for path in sorted(glob.glob(f"{folder}/trials/*.parquet")))
mean = frame.groupby("construction").test_accuracy.mean().to_dict()
assert str(frame.finished_at.dtype).endswith("UTC]"), frame.finished_at.dtype
assert not {"sweeps", "basin", "launch"} & set(sys.modules)
print(json.dumps({"rows": rows, "joined": joined, "mean": mean, "columns": list(frame.columns)}))
"""


def test_duckdb_and_pandas_read_the_tables(finished: Store, tmp_path: Path) -> None:
    program = tmp_path / "others.py"
    program.write_text(OTHERS)
    done = python("-W", "ignore", str(program), str(finished.folder / "tables"), cwd=tmp_path)
    answer = json.loads(works(done))
    names = ("key", "construction", "val_accuracy", "test_q_bar_reset", "beta")
    rows = finished.rows()
    assert answer["rows"] == [[row[name] for name in names] for row in rows]
    for (key, mean), row in zip(answer["joined"], rows, strict=True):
        assert key == row["key"]
        assert mean == pytest.approx(row["test_member_mean_accuracy"])
    deep = [row["test_accuracy"] for row in rows if row["construction"] == "deep"]
    assert answer["mean"]["deep"] == pytest.approx(sum(deep) / 2)
    assert answer["columns"] == list(rows[0])


def test_one_run_a_trial_whose_name_can_be_read(finished: Store, runs: list[dict[str, Any]]) -> None:
    assert sorted(run["tags"]["key"] for run in runs) == finished.keys()
    symbols = {"t": "t", "beta": "β", "temperature": "τ", "weight": "λ"}
    for run in runs:
        params = run["params"]
        varied = [f"{symbols[name]}={float(params[name]):.3g}" for name in symbols if name in params]
        assert run["name"] == f"{' '.join([params['construction'], *varied])} · seed {params['seed']}"
        assert run["status"] == "FINISHED"


def test_every_final_number_is_the_same(finished: Store, by_key: Runs) -> None:
    for row in finished.rows():
        final = {n: v for n, v in row.items() if v is not None and (is_score(n) or n in (*COSTS, "member_distance"))}
        assert {"val_accuracy", "test_accuracy", "test_nll", "val_q_bar_reset", "passes", "seconds"} <= final.keys()
        logged = {column_of(name): value for name, value in by_key[row["key"]]["metrics"].items()}
        assert {name: logged.get(name) for name in final} == final  # bit for bit, through SQLite
        assert all(name in final or name.startswith(("val_", "live_val_", "live_progress")) for name in logged)


def test_parameters_are_the_fields(finished: Store, by_key: Runs) -> None:
    names = {"dataset", "model", "construction", "seed", *(spec.name for spec in list_hyperparameters())}
    for row in finished.rows():
        expected = {name: str(row[name]) for name in names if name in row and row[name] is not None}
        assert by_key[row["key"]]["params"] == expected
        assert expected["train_size"] == "100"
        assert ("beta" in expected) == (row["construction"] != "deep")


def test_provenance_is_tagged(finished: Store, by_key: Runs) -> None:
    tagged = [*PROVENANCE, "torch_version", "ray_version", "python_version", "device", "host", "data_hash", "role"]
    for row in finished.rows():
        tags = by_key[row["key"]]["tags"]
        assert {name: tags.get(name) for name in tagged} == {name: str(row[name]) for name in tagged}
        cloned = (ROOT / ".git").exists()
        assert len(row["commit"]) == (40 if cloned else len("unknown"))
        assert row["dirty"] in (("true", "false") if cloned else ("unknown",))
        assert len(row["data_hash"]) >= 16


def test_every_score_of_the_growing_ensemble_is_logged_with_its_step(finished: Store, by_key: Runs) -> None:
    for row in finished.rows():
        run, history = by_key[row["key"]], finished.table("history", row["key"]).to_pylist()
        assert len(history) == 2
        for name in ("val_accuracy", "val_nll", "val_q_mid_reset"):
            recorded = [(step["step"], step[name]) for step in history if step[name] is not None]
            if row.get(name) is not None:
                recorded.append((3, row[name]))
            logged = sorted((step, value) for step, value, _ in run["history"].get(metric_name(name), []))
            assert logged == recorded
        stamps = [stamp for _, _, stamp in sorted(run["history"]["val/accuracy"])]
        assert stamps == sorted(stamps)
        assert run["start"] <= stamps[0]
        assert stamps[-1] == run["end"]
        assert run["end"] - run["start"] >= 1000 * row["seconds"] - 2  # a run may begin when its launcher hears of it
        assert run["end"] == pytest.approx(1000 * row["finished_at"].timestamp(), abs=1)


def test_artifacts_are_the_tables(finished: Store, by_key: Runs) -> None:
    for key, run in by_key.items():
        own = sorted(path.parent.name for path in finished.folder.glob(f"tables/*/{key}.parquet"))
        assert set(ALWAYS) <= set(own)
        assert run["files"] == [f"tables/{table}/{key}.parquet" for table in own]
        for table in own:
            downloaded = Path(run["downloaded"]) / table / f"{key}.parquet"
            assert downloaded.read_bytes() == finished.table_path(table, key).read_bytes()


@pytest.fixture
def again(finished: Store, tmp_path: Path) -> tuple[str, Store]:
    """A tracking store in which this sweep is not yet, and a copy of its tables."""
    shutil.copy(finished.folder.parent / "mlflow.db", tmp_path / "mlflow.db")
    shutil.copytree(finished.folder / "tables", tmp_path / "again" / "tables")
    return f"sqlite:///{tmp_path / 'mlflow.db'}", Store(tmp_path / "again")


@pytest.mark.filterwarnings("ignore")
def test_logging_again_adds_nothing(again: tuple[str, Store], tmp_path: Path) -> None:
    uri, store = again
    keys = store.keys()
    tracker = Tracker.open_experiment(uri, store)
    assert tracker.log_missing(store, keys[:3]) == 3
    # A launcher killed between making a run and ending it; another killed after the first numbers.
    tracker.client.create_run(tracker.experiment, tags={"key": keys[3]}, run_name=keys[3])
    half = tracker.client.create_run(tracker.experiment, tags={"key": keys[4]}, run_name=keys[4]).info.run_id
    row = store.row(keys[4])
    assert row is not None
    tracker.client.log_param(half, "epochs", row["epochs"])
    assert tracker.log_missing(store) == len(keys) - 3
    whole = mlflow_runs(tmp_path, "again", tmp_path)
    assert sorted(run["tags"]["key"] for run in whole) == keys
    assert {run["status"] for run in whole} == {"FINISHED"}
    for run in whole:
        expected = store.row(run["tags"]["key"])
        assert expected is not None
        assert run["metrics"]["test/accuracy"] == expected["test_accuracy"]
        assert run["tags"]["role"] == expected["role"]
        assert len(run["files"]) == len(list(store.folder.glob(f"tables/*/{expected['key']}.parquet")))
    assert Tracker.open_experiment(uri, store).log_missing(store) == 0
    assert {key: len(runs) for key, runs in tracker.logged_runs().items()} == dict.fromkeys(keys, 1)


@pytest.mark.slow
def test_a_finished_sweep_run_again_does_nothing(finished: Store, image_cache: Path) -> None:
    storage = finished.folder.parent
    kept = ("tables", "weights", "mlartifacts")

    def state() -> dict[str, Any]:
        folders = [storage / "runs", *(finished.folder / name for name in kept)]
        return {str(folder): snapshot(folder) for folder in folders} | {
            "db": (storage / "mlflow.db").stat().st_mtime_ns
        }

    before = state()
    assert all(before.values())
    done = launch_command(*sweep_arguments(storage, image_cache))
    assert works(done).startswith("sweep quickstart: 0 trials run now, ")
    assert state() == before
