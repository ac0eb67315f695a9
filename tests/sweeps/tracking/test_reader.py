"""What SQL says of a tracking store is what MLflow's client says of it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from basin.errors import UsageError
from cli import doctor
from sweeps.queries.best import find_best
from sweeps.storage.address import is_database
from sweeps.storage.store import Store
from sweeps.tracking.connection import connect_client
from sweeps.tracking.reader import ClientReader, Reader, Run, may_have_sweep, open_reader
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.uri import NotLoggedError, default_uri

pytestmark = pytest.mark.filterwarnings("ignore")


def test_reading_creates_no_store(tmp_path: Path) -> None:
    uri = default_uri(tmp_path)
    assert not may_have_sweep(uri, "demo")
    for read in (Tracker.find_experiment, open_reader):
        with pytest.raises(NotLoggedError, match="no MLflow store at"):
            read(uri, "demo")
    assert "will be created" in doctor._check_tracking(tmp_path / "results", uri)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with runs of every state, written by MLflow's client."""
    uri = default_uri(tmp_path_factory.mktemp("tracking"))
    client = connect_client(uri)
    experiments = {name: client.create_experiment(name) for name in ("demo", "other")}

    def run(key: str | None, start: int, *, status: str = "FINISHED", experiment: str = "demo", x: float = 1) -> str:
        tags = {"role": "search", "configuration": f"{key}0", "verdict_val": "no"} | ({"key": key} if key else {})
        made: str = client.create_run(experiments[experiment], start_time=start, tags=tags).info.run_id
        client.log_param(made, "construction", "deep")
        client.log_param(made, "t", start / 10)
        for step in range(3):
            client.log_metric(made, "val_accuracy", x + step, step=step)
        client.log_metric(made, "val_q_bar_reset", -x)
        client.log_metric(made, "test_nll", math.nan)
        client.set_terminated(made, status)
        return made

    run("b", 3, x=2.5)
    run("a", 2)
    run("c", 1, status="FAILED")
    run("d", 4, status="RUNNING")
    run(None, 5)
    run("e", 6, experiment="other")
    client.delete_run(run("f", 7))
    client.set_experiment_tag(experiments["demo"], "verdict.a", '{"chosen": true}')
    return uri


def both(uri: str, name: str) -> list[Reader]:
    return [open_reader(uri, name), ClientReader(Tracker.find_experiment(uri, name))]


def plain(runs: list[Run]) -> list[str]:
    """Runs as texts, for NaN is not equal to itself."""
    return [repr(replace(run, params=sorted_(run.params), metrics=sorted_(run.metrics))) for run in runs]


def sorted_(values: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(values.items()))


def test_whole_runs_are_the_same(uri: str) -> None:
    sql, client = (reader.finished_runs() for reader in both(uri, "demo"))
    assert [run.key for run in sql] == ["a", "b"]
    assert sql[1].metrics["val_accuracy"] == 4.5
    assert math.isnan(sql[0].metrics["test_nll"])
    assert plain(sql) == plain(client)
    assert [(run.configuration, run.tags) for run in sql] == [(f"{key}0", {"verdict_val": "no"}) for key in "ab"]


def test_the_experiments_own_tags_are_the_same(uri: str) -> None:
    sql, client = (reader.read_tags() for reader in both(uri, "demo"))
    assert sql == client
    assert sql["verdict.a"] == '{"chosen": true}'
    assert "verdict.a" not in open_reader(uri, "other").read_tags()


def test_options_of_an_address_are_no_part_of_the_file(uri: str, tmp_path: Path) -> None:
    assert plain(open_reader(f"{uri}?timeout=5", "demo").finished_runs()) == plain(
        open_reader(uri, "demo").finished_runs()
    )
    with pytest.raises(UsageError, match="no MLflow store at sqlite:"):
        open_reader(f"sqlite:///{tmp_path / 'absent.db'}?timeout=5", "demo")


def test_only_what_is_asked_for(uri: str) -> None:
    sql, client = both(uri, "demo")
    narrow = sql.finished_runs({"val_accuracy", "val_nobody_has_it", "test_nll"})
    assert [run.metrics["val_accuracy"] for run in narrow] == [3.0, 4.5]
    assert all(run.metrics.keys() == {"val_accuracy", "test_nll"} for run in narrow)
    assert all(math.isnan(run.metrics["test_nll"]) for run in narrow)
    assert [run.params for run in narrow] == [{}, {}]
    assert [run.construction for run in narrow] == ["deep", "deep"]
    assert plain(sql.complete_runs(narrow[:1])) == plain(client.finished_runs()[:1])
    assert plain(client.complete_runs(client.finished_runs())) == plain(sql.finished_runs())


def test_a_finished_sweep_reads_the_same(finished: Store) -> None:
    uri = default_uri(finished.folder.parent)
    sql, client = both(uri, finished.name)
    assert sql.experiment == client.experiment
    mine, theirs = sql.finished_runs(), client.finished_runs()
    assert len(mine) == len(finished.keys())
    assert mine == theirs
    assert sql.read_tags() == client.read_tags()
    for x, y in (("q_bar_reset", "accuracy"), ("disagreement", "nll"), (None, None)):
        assert find_best(sql, x=x, y=y) == find_best(client, x=x, y=y)
    assert find_best(sql).listed[0].first.params["t"]
    assert all(group.verdicts["test"]["accuracy"]["answer"] for group in find_best(sql).chosen)


def test_metrics_that_nobody_has_are_named_with_those_there_are(uri: str) -> None:
    for reader in both(uri, "demo"):
        with pytest.raises(UsageError, match=r"no searched trial has nll and accuracy: expected some of accuracy"):
            find_best(reader, x="nll", y="accuracy")


def test_a_sweep_without_finished_trials(uri: str, tmp_path: Path) -> None:
    for reader in both(uri, "Default"):
        with pytest.raises(UsageError, match="MLflow has no finished trial of this sweep"):
            find_best(reader, x="q_bar_reset", y="accuracy")


def test_what_cannot_be_read(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no sweep 'nope' in sqlite:.*: expected one of demo, other"):
        open_reader(uri, "nope")
    with pytest.raises(UsageError, match=r"no sweep 'nope' in sqlite:.*: expected one of demo, other"):
        Tracker.find_experiment(uri, "nope")
    with pytest.raises(UsageError, match="no MLflow store at sqlite:"):
        open_reader(f"sqlite:///{tmp_path / 'absent.db'}", "demo")
    (tmp_path / "empty.db").touch()
    with pytest.raises(UsageError, match="the database has no tables of MLflow"):
        open_reader(f"sqlite:///{tmp_path / 'empty.db'}", "demo")
    answers = "expected an MLflow tracking store that answers, got "
    for bad in ("postgresql://127.0.0.1:9/mlflow", "mysql+nodriver://x/y"):
        with pytest.raises(UsageError, match=answers):
            open_reader(bad, "demo")
    assert (tmp_path / "empty.db").stat().st_size == 0


def test_which_stores_are_databases() -> None:
    found = {uri: is_database(uri) for uri in ("sqlite:///a", "postgresql+psycopg://h/d", "http://h", "databricks")}
    assert found == {"sqlite:///a": True, "postgresql+psycopg://h/d": True, "http://h": False, "databricks": False}
