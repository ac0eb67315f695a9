"""What an MLflow store holds of a sweep, read by MLflow's own client."""

from typing import Any

from sweeps.tracking.connection import connect_client
from sweeps.tracking.uri import sqlite_file

TRIALS = 2
"""Trials of a copied sweep: each is logged in a fraction of a second."""


def every_run(uri: str, name: str = "quickstart") -> dict[str, Any]:
    """All runs of trials in an experiment by their id, deleted ones too, as MLflow's own client sees them.

    None if there is no such experiment, or no file of this name.
    """
    from mlflow.entities import ViewType

    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return {}
    client = connect_client(uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return {}
    found = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    return {run.info.run_id: run for run in found if run.data.tags.get("role") != "sweep"}


def sweep_runs(uri: str, name: str = "quickstart") -> list[Any]:
    """The runs of a sweep itself that are not deleted, oldest first."""
    client = connect_client(uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], "tags.role = 'sweep'", order_by=["start_time ASC"]))


def live(runs: dict[str, Any]) -> dict[str, str]:
    """Key → id of each run that counts."""
    kept = {i: run for i, run in runs.items() if "superseded_by" not in run.data.tags}
    assert len({run.data.tags["key"] for run in kept.values()}) == len(kept)
    return {run.data.tags["key"]: i for i, run in kept.items()}


def metric_steps(uri: str, key: str, name: str) -> list[int]:
    """Steps of a metric of a trial's live run, in their order; none if there is no such run."""
    runs = live(every_run(uri))
    history = connect_client(uri).get_metric_history(runs[key], name) if key in runs else []
    return sorted(point.step for point in history)
