"""Tags of an experiment."""

import json
from pathlib import Path

import pytest

from sweeps.storage.store import Store
from sweeps.tracking.tags import VIEW_TAG, experiment_tags


@pytest.mark.parametrize(("objective", "ascending"), [("val_accuracy", False), ("val_nll", True)])
def test_the_view_of_the_runs_begins_with_the_best(objective: str, ascending: bool, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(json.dumps({"objectives": [objective, "val_q_bar_reset"]}))
    view = json.loads(experiment_tags(Store(tmp_path))[VIEW_TAG])
    assert view["orderByKey"].replace("/", "_") == f"metrics.`{objective}`"  # MLflow shows `/` as a section
    assert view["orderByAsc"] is ascending
    assert view["orderByKey"] in view["selectedColumns"]
    assert len(set(view["selectedColumns"])) == len(view["selectedColumns"])
