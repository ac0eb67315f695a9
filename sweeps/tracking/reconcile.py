"""Reconcile MLflow with the result tables, value by value. What users added to a run stays as it is."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sweeps.storage.integrity import check_files
from sweeps.storage.lock import locked_folder
from sweeps.storage.store import Store
from sweeps.study.manifest import check_imported
from sweeps.tracking.connection import tracking_error
from sweeps.tracking.metric_names import column_of
from sweeps.tracking.run_record import NOTE, RUN_NAME, MetricPoint, RunRecord, make_record, with_columns_as_names
from sweeps.tracking.sql import LIVE, LoggedRun
from sweeps.tracking.sweep_run import close_sweep_run, update_sweep_run
from sweeps.tracking.tracker import BATCH, Tracker, find_open, write_tracked

READERS = 8
"""Trials compared at once: most of a request to a server is network latency."""
DATASET = "dataset"
"""Name of a run's input in a list of what it lacks."""


@dataclass(frozen=True)
class Difference:
    """One way in which MLflow differed from the tables."""

    key: str
    what: str


def reconcile_runs(store: Store, uri: str, *, adopt: bool = False) -> list[Difference]:
    """Make each finished trial have one live run that agrees with its tables; return what differed, by trial.

    A run that contradicts its tables is superseded by a new one, as MLflow cannot change a metric. Raises UsageError if
    the store does not answer, if the sweep is running, or if a file of it is damaged, and OwnerError if the experiment
    or a run belongs to another sweep, unless `adopt` takes them over.
    """
    with locked_folder(store):
        check_imported(store)
        check_files(store)
        try:
            tracker = Tracker.open_experiment(uri, store, adopt=adopt)
            differences = list(_reconciled(tracker, store))
            write_tracked(store, uri)
            return differences
        except Exception as error:
            raise tracking_error(uri, error) from error


def _reconciled(tracker: Tracker, store: Store) -> Iterator[Difference]:
    tracker.retire_set_aside(store)
    unsettled, logged = tracker.unsettled_runs(store), tracker.logged_runs()
    for key, runs in unsettled.items():
        tracker.settle_runs(store, key, runs)
        yield Difference(key, _describe_runs(runs))
    settled = [key for key in store.keys() if key not in unsettled and store.row(key)]  # noqa: SIM118
    with ThreadPoolExecutor(READERS) as pool:
        for comparison in pool.map(lambda key: _compare_run(tracker, store, key, logged[key][0]), settled):
            key = comparison.record.key
            if comparison.contradicting:
                _replace_run(tracker, comparison.record, logged[key][0].run_id)
            elif comparison.missing:
                _complete_run(tracker, comparison, logged[key][0].run_id)
            if comparison.contradicting or comparison.missing:
                yield Difference(key, comparison.summary)
    abandoned = find_open(store, logged)
    tracker.end_open_runs(abandoned, "KILLED")
    for key in abandoned:
        yield Difference(key, "was shown as running; ended as KILLED")
    for key in sorted(logged.keys() - set(store.keys())):
        if not all(run.is_pending for run in logged[key]):
            yield Difference(key, "is in MLflow only; left as it is")
    for name in tracker.update_tags(store):
        yield Difference(name, "was another tag of the experiment, or missing")
    for name in update_sweep_run(tracker, store):
        yield Difference(name, "was another tag of the sweep's run, or missing")
    if status := close_sweep_run(tracker, store):
        yield Difference(store.name, f"was shown as open; ended as {status}")


def _complete_run(tracker: Tracker, comparison: "_Comparison", run_id: str) -> None:
    """Write what a run lacks: its tags and its dataset only, if it lacks nothing else."""
    from mlflow.entities import RunTag

    if not set(comparison.missing) <= {*comparison.tags, DATASET}:
        tracker.write_run(comparison.named, run_id)
    elif DATASET in comparison.missing:
        tracker.log_dataset(comparison.record, run_id)
    tracker.client.log_batch(run_id, tags=[RunTag(*pair) for pair in comparison.tags.items()])


def _replace_run(tracker: Tracker, record: RunRecord, run_id: str) -> None:
    """Replace a run by a new one with the tags, parameters and metrics that users added; the old one is superseded."""
    from mlflow.entities import Metric, Param, RunTag

    old = tracker.client.get_run(run_id).data
    new = tracker.write_run(record, None)
    ours = {*record.tags, "key"}
    tags = [RunTag(*pair) for pair in old.tags.items() if pair[0] not in ours and not _is_automatic(pair[0])]
    params = [Param(*pair) for pair in old.params.items() if pair[0] not in record.params]
    tracker.client.log_batch(new, params=params, tags=tags)
    columns = {column_of(point.name) for point in record.points}
    for name in (name for name in old.metrics if column_of(name) not in columns and not name.startswith(LIVE)):
        history = tracker.client.get_metric_history(run_id, name)
        points = [Metric(name, metric.value, metric.timestamp, metric.step) for metric in history]
        for start in range(0, len(points), BATCH):
            tracker.client.log_batch(new, metrics=points[start : start + BATCH])
    tracker.supersede_run(run_id, new)


def _is_automatic(tag: str) -> bool:
    """Tell whether MLflow itself, or the tracker, sets a tag."""
    return tag.startswith("mlflow.") and tag != NOTE


def _describe_runs(runs: list[LoggedRun]) -> str:
    if len(runs) > 1:
        return f"had {len(runs)} runs"
    if not runs:
        return "was missing"
    return "was of an earlier run of the trial" if runs[0].is_complete else "was unfinished"


@dataclass(frozen=True)
class _Comparison:
    record: RunRecord
    named: RunRecord
    """The record with the names that the run's version gave to metrics."""
    tags: dict[str, str]
    """Tags that the run lacks."""
    missing: list[str]
    """Names that the tables have and the run lacks, those of tags too."""
    contradicting: list[str]
    """Names whose values differ between run and tables."""

    @property
    def summary(self) -> str:
        parts = [("lacked", self.missing), ("contradicted", self.contradicting)]
        return "; ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names)


Comparable = tuple[str, str, int, int]
"""Name, value as text, time and step of a metric."""


def _compare_run(tracker: Tracker, store: Store, key: str, logged: LoggedRun) -> _Comparison:
    """Compare every step of metrics with a history, and the last value of the others; ignore what users added."""
    row = store.row(key)
    assert row is not None, "its row was read before"
    record, run = make_record(store, row), tracker.client.get_run(logged.run_id)
    named = with_columns_as_names(record) if _has_older_names(record, run.data.metrics) else record
    counts = Counter(point.name for point in named.points)
    expected = {_comparable(point, with_step=counts[point.name] > 1) for point in named.points}
    actual = _logged_points(tracker, logged, run.data.metrics, counts)
    params, files = run.data.params, _artifact_sizes(tracker, logged)
    tags = _lacking_tags(record.tags | tracker.nesting_tags, record, run.data.tags)
    missing = {
        *(name for name in record.params if name not in params),
        *tags,
        *([DATASET] if record.dataset and record.dataset.digest not in _logged_digests(run) else []),
        *(name for name, *_ in expected - actual),
        *(folder for folder, file in record.files.items() if files.get(f"{folder}/{file.name}") != file.stat().st_size),
    }
    contradicting = {
        *(name for name, value in params.items() if name in record.params and record.params[name] != value),
        *(name for name, *_ in actual - expected),
        *(["status"] if run.info.status != record.status else []),
    }
    return _Comparison(record, named, tags, sorted(missing - contradicting), sorted(contradicting))


def _logged_digests(run: Any) -> set[str]:
    return {one.dataset.digest for one in run.inputs.dataset_inputs} if run.inputs else set()


def _has_older_names(record: RunRecord, metrics: Mapping[str, float]) -> bool:
    """Tell whether an older version wrote a run: its metrics have the names of their columns."""
    names = {point.name for point in record.points}
    return names.isdisjoint(metrics) and not {column_of(name) for name in names}.isdisjoint(metrics)


def _lacking_tags(wanted: Mapping[str, str], record: RunRecord, tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that a run should have; one of an older version, named by its key, is labelled too."""
    lacking = {name: value for name, value in wanted.items() if tags.get(name) != value}
    if tags.get(RUN_NAME) == record.key:
        lacking |= {name: value for name, value in record.labels.items() if name == RUN_NAME or name not in tags}
    return lacking


def _logged_points(
    tracker: Tracker, logged: LoggedRun, metrics: Mapping[str, float], counts: Mapping[str, int]
) -> set[Comparable]:
    points: set[Comparable] = set()
    for name, last in metrics.items():
        if not counts[name]:
            continue  # a user's
        if counts[name] > 1:
            history = tracker.client.get_metric_history(logged.run_id, name)
            steps = [MetricPoint(name, metric.value, metric.timestamp, metric.step) for metric in history]
            points |= {_comparable(step, with_step=True) for step in steps}
        else:
            points.add(_comparable(MetricPoint(name, last, 0, 0), with_step=False))
    return points


def _comparable(point: MetricPoint, *, with_step: bool) -> Comparable:
    """Represent a point as text, in which NaN equals NaN; MLflow stores infinity as the largest float."""
    value = max(-sys.float_info.max, min(sys.float_info.max, point.value))
    return point.name, repr(value), point.stamp if with_step else 0, point.step if with_step else 0


def _artifact_sizes(tracker: Tracker, logged: LoggedRun) -> dict[str, int]:
    """Path of each table among the run's artifacts → its size in bytes."""
    sizes = {}
    for folder in tracker.client.list_artifacts(logged.run_id, "tables"):
        for file in tracker.client.list_artifacts(logged.run_id, folder.path) if folder.is_dir else ():
            sizes[file.path] = file.file_size or 0
    return sizes
