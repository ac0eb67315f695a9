"""Every node of a cluster must have the environment of the machine that launched the sweep."""

from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import study

from basin.errors import UsageError
from basin.place import Place
from sweeps.provenance import provenance, same_environment
from sweeps.store import Store
from sweeps.trainable import Worker, trainable

OTHER = {"torch_version": "1.0"}


def test_this_machine_has_what_it_has() -> None:
    same_environment(provenance())


def test_another_version_is_refused() -> None:
    with pytest.raises(UsageError, match=r"has torch 2.*, the sweep was launched with 1\.0: expected one environment"):
        same_environment(provenance() | OTHER)


def test_a_trial_on_such_a_node_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.tune.report", reports.append)
    store = Store(tmp_path / "sweep")
    worker = Worker(study(), store, Place(cache=tmp_path, runs=tmp_path / "runs"), OTHER)
    trainable({"changes": {}, "role": "search"}, worker)
    (report,) = reports
    assert report["status"] == "failed"
    assert "set it up from uv.lock there" in report["error"]
    assert not store.folder.exists()
