"""What MLflow has of a sweep beside its trials' numbers: its dataset, its report, and the load of the machine."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.storage.store import Store
from sweeps.tracking import system_metrics
from sweeps.tracking.connection import connect_client
from sweeps.tracking.dataset_inputs import describe_dataset
from sweeps.tracking.reader import may_have_sweep
from sweeps.tracking.reconcile import reconcile_runs
from sweeps.tracking.report_artifacts import log_report
from sweeps.tracking.run_record import read_manifest
from sweeps.tracking.uploader import Uploader
from tests.support.disturbed import until
from tests.support.tiny_sweep import SETTINGS, free_ports
from tests.support.tracked import every_run, sweep_runs
from tests.sweeps.tracking.test_live_runs import running

pytestmark = pytest.mark.filterwarnings("ignore")


def test_each_run_has_the_dataset_once(copied: Callable[[str], Store], uri: str) -> None:
    store = copied("a")
    reconcile_runs(store, uri)
    client = connect_client(uri)
    (again, *_) = every_run(uri)
    row = store.rows()[0]
    dataset = describe_dataset(read_manifest(store))
    assert dataset is not None
    for run_id in every_run(uri):
        (held,) = client.get_run(run_id).inputs.dataset_inputs
        assert {tag.key: tag.value for tag in held.tags} == {"mlflow.data.context": "training"}
        assert (held.dataset.name, held.dataset.digest) == ("digits", row["data_hash"])
        sizes = {f"{split}_images": int(SETTINGS[f"{split}_size"]) for split in ("train", "val", "test")}
        assert json.loads(held.dataset.profile) == {"classes": 10} | sizes
        assert json.loads(held.dataset.source) == {"tags": {"dataset": "digits"}}
    client.update_run(again, status="RUNNING")  # a launcher was killed before it ended the run
    assert len(reconcile_runs(store, uri)) == 1
    assert len(client.get_run(again).inputs.dataset_inputs) == 1
    assert reconcile_runs(store, uri) == []


def test_a_sweep_that_does_not_record_its_images_has_no_dataset() -> None:
    assert describe_dataset({}) is None
    assert describe_dataset({"base": {"train_size": 1}}) is None


def make_report(store: Store, words: str) -> Path:
    figures = store.folder / "figures"
    figures.mkdir(exist_ok=True)
    for name in ("paths.png", "paths.pdf", "summary.md"):
        (figures / name).write_text(words)
    page = store.folder / "report.html"
    page.write_text(words)
    return page


def test_a_report_is_put_in_place_of_the_one_before(copied: Callable[[str], Store], uri: str, tmp_path: Path) -> None:
    store, client = copied("a"), connect_client(uri)
    assert not may_have_sweep(uri, store.name)
    reconcile_runs(store, uri)
    assert may_have_sweep(uri, store.name)
    (before,) = sweep_runs(uri)
    assert "launch.py report" in before.data.tags["mlflow.note.content"]
    for words in ("first", "second"):
        assert "MLflow has this report too" in log_report(store, uri, make_report(store, words), f"{words} answer")
        (parent,) = sweep_runs(uri)
        experiment = client.get_experiment(parent.info.experiment_id)
        assert parent.data.tags["mlflow.note.content"] == f"{words} answer"
        assert experiment.tags["mlflow.note.content"] == f"{words} answer"
        found = {
            file.path
            for folder in ("report", "report/figures")
            for file in client.list_artifacts(parent.info.run_id, folder)
        }
        assert found == {"report/report.html", "report/summary.md", "report/figures", "report/figures/paths.png"}
        shown = client.download_artifacts(parent.info.run_id, "report/figures/paths.png", str(tmp_path))
        assert Path(shown).read_text() == words
    client.set_tag(parent.info.run_id, "mlflow.note.content", "for the paper")
    log_report(store, uri, make_report(store, "third"), "third answer")
    assert sweep_runs(uri)[0].data.tags["mlflow.note.content"] == "for the paper"
    assert client.get_experiment(parent.info.experiment_id).tags["mlflow.note.content"] == "third answer"
    assert reconcile_runs(store, uri) == []


def test_a_report_of_a_sweep_that_mlflow_does_not_answer_for(copied: Callable[[str], Store], uri: str) -> None:
    a, b = copied("a"), copied("b")
    away = f"http://127.0.0.1:{free_ports(1)[0]}"
    line = log_report(a, away, make_report(a, "x"), "x")
    assert "MLflow does not have this report" in line
    assert len(line.splitlines()) == 1
    reconcile_runs(a, uri)
    (b.folder / "sweep.json").write_text('{"identity": "ffff"}')
    assert "launch.py sync quickstart" in log_report(b, uri, make_report(b, "x"), "x")  # another sweep of this name
    assert sweep_runs(uri)[0].data.tags["mlflow.note.content"] != "x"


def test_the_load_of_the_machine_is_logged_while_trials_run(
    copied: Callable[[str], Store], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_metrics, "INTERVAL", 0.01)
    store = copied("a")
    with running(store, store.keys()[0]) as facts:
        uploader = Uploader(uri, store, system_metrics=True)
        uploader.begin_trial(facts)
        uploader.wait_until_open()
        until(lambda: "system/cpu_utilization_percentage" in sweep_runs(uri)[0].data.metrics)
    uploader.add_trial(facts["key"])
    assert uploader.finish() is None
    assert sweep_runs(uri)[0].info.status == "FINISHED"
    assert not [name for run in every_run(uri).values() for name in run.data.metrics if name.startswith("system/")]
