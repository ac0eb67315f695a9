"""Every node of a cluster must have the environment of the machine that launched the sweep."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from basin.environment import Place
from basin.errors import UsageError
from basin.provenance import SOURCES, collect_provenance, hash_sources
from sweeps.execution import provenance
from sweeps.execution.provenance import check_environment, local_provenance
from sweeps.execution.worker import Worker, run_job
from sweeps.storage.store import Store
from tests.support.tiny_sweep import ROOT, python, study, sweep_arguments, works

OTHER = {"torch_version": "1.0"}


def test_this_machine_has_what_it_has() -> None:
    check_environment(collect_provenance())


def test_another_version_is_refused() -> None:
    with pytest.raises(UsageError, match=r"has torch 2.*, but the sweep was launched with 1\.0: expected one envir"):
        check_environment(collect_provenance() | OTHER)


def test_a_trial_on_such_a_node_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.tune.report", reports.append)
    store = Store(tmp_path / "sweep")
    worker = Worker(study(), store, Place(cache=tmp_path, runs=tmp_path / "runs"), OTHER)
    run_job({"job": worker.study.make_job("search", {})}, worker)
    (report,) = reports
    assert report["status"] == "failed"
    assert "from uv.lock there" in report["error"]
    assert not store.folder.exists()


def test_the_hash_of_the_sources_is_that_of_the_files(tmp_path: Path) -> None:
    for package in SOURCES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert hash_sources(tmp_path) == hash_sources()
    hash_sources.cache_clear()
    with (tmp_path / "basin" / "trial.py").open("a") as file:
        file.write("\n")
    assert hash_sources(tmp_path) != hash_sources()


def test_other_code_is_refused() -> None:
    with pytest.raises(UsageError, match=r"runs other code, of .*copy the launcher's code there"):
        local_provenance(collect_provenance() | {"sources": "0" * 16})


def test_code_without_a_history_has_the_commit_of_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = {**collect_provenance(), "commit": "c" * 40, "dirty": "false"}
    monkeypatch.setattr(provenance, "collect_provenance", lambda: {**launcher, "commit": "unknown", "dirty": "unknown"})
    assert local_provenance(launcher) == launcher
    monkeypatch.setattr(provenance, "collect_provenance", lambda: {**launcher, "commit": "d" * 40})
    assert local_provenance(launcher)["commit"] == "d" * 40


@pytest.mark.slow
def test_the_working_directory_does_not_decide_which_code_runs(
    finished: Store, image_cache: Path, tmp_path: Path
) -> None:
    """Packages of our names lie there: another checkout's, and a file."""
    storage, other = tmp_path / "storage", tmp_path / "other"
    shutil.copytree(finished.folder.parent, storage)
    (other / "basin").mkdir(parents=True)
    foreign = f"open({str(tmp_path / 'ran')!r}, 'a').write(__file__)\n"
    (other / "basin" / "__init__.py").write_text(foreign)
    (other / "sweeps.py").write_text(foreign)
    store = Store(storage / finished.name)
    key = store.keys()[0]
    store.table_path("trials", key).unlink()
    done = python(str(ROOT / "launch.py"), *sweep_arguments(storage, image_cache), cwd=other)
    said = works(done)
    assert "1 trials run now" in said
    data = "data: digits, 10 classes, 1,100 training and 697 test images (8×8 L), hash 7c2b7eeaea25d5af"
    assert said.splitlines()[0].endswith(data)  # what a sweep reads is the first it says
    assert not (tmp_path / "ran").exists()
    row = store.row(key)
    assert row is not None
    assert row["sources"] == hash_sources()
    assert row["commit"] == collect_provenance()["commit"]
