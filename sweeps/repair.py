"""MLflow compared with the tables number by number, and brought in line with them."""

import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sweeps.database import Known
from sweeps.entry import Entry, Point, entry
from sweeps.lock import locked
from sweeps.store import Store
from sweeps.tracking import Tracker, failed

READERS = 8
"""Trials that are compared at once: a server answers in milliseconds, and most of them are the way there and back."""


@dataclass(frozen=True)
class Difference:
    """One way in which MLflow was not what the tables say."""

    key: str
    what: str


def repair(store: Store, uri: str) -> list[Difference]:
    """Leave one run for each finished trial that says what its tables say; return what differed, by trial.

    A run that contradicts its tables is replaced, for MLflow cannot change a number. Raises UsageError if the store
    does not answer, or the sweep is being run.
    """
    with locked(store):
        try:
            tracker = Tracker.open(uri, store)
            return list(_repaired(tracker, store))
        except Exception as error:
            raise failed(uri, error) from error


def _repaired(tracker: Tracker, store: Store) -> Iterator[Difference]:
    behind, known = tracker.behind(store), tracker.known()
    for key, runs in behind.items():
        tracker.settle(store, key, runs)
        yield Difference(key, _said(runs))
    whole = [key for key in store.keys() if key not in behind and store.row(key)]  # noqa: SIM118
    with ThreadPoolExecutor(READERS) as pool:
        for key, told, found in pool.map(lambda key: _compared(tracker, store, key, known[key][0]), whole):
            if found.contradicts:
                tracker.client.delete_run(known[key][0].run_id)
                tracker.log(told, None)
            elif found.lacks:
                tracker.log(told, known[key][0].run_id)
            if found.contradicts or found.lacks:
                yield Difference(key, found.words)
    for key in sorted(known.keys() - set(store.keys())):
        yield Difference(key, "is in MLflow only; left as it is")


def _said(runs: list[Known]) -> str:
    if len(runs) > 1:
        return f"had {len(runs)} runs"
    if not runs:
        return "was missing"
    return "was of an earlier run of the trial" if runs[0].ended else "was unfinished"


@dataclass(frozen=True)
class _Compared:
    lacks: list[str]
    """What the tables have and the run has not."""
    contradicts: list[str]
    """What the run has otherwise than the tables."""

    @property
    def words(self) -> str:
        parts = [("lacked", self.lacks), ("contradicted", self.contradicts)]
        return "; ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names)


def _compared(tracker: Tracker, store: Store, key: str, run: Known) -> tuple[str, Entry, _Compared]:
    """Of numbers with a history every step is compared, of the others the last value."""
    row = store.row(key)
    assert row is not None, "its row was read before"
    told, found = entry(store, row), tracker.client.get_run(run.run_id)
    counts = Counter(point.name for point in told.points)
    mine = {_comparable(point, whole=counts[point.name] > 1) for point in told.points}
    theirs = {
        _comparable(point, whole=counts[name] > 1)
        for name, last in found.data.metrics.items()
        for point in (_history(tracker, run, name) if counts[name] > 1 else [Point(name, last, 0, 0)])
    }
    params, tags, files = found.data.params, found.data.tags, _files(tracker, run)
    lacks = {
        *(name for name in told.params if name not in params),
        *(name for name, value in told.tags.items() if tags.get(name) != value),
        *(name for name, *_ in mine - theirs),
        *(folder for folder, file in told.files.items() if files.get(f"{folder}/{file.name}") != file.stat().st_size),
    }
    contradicts = {
        *(name for name, value in params.items() if told.params.get(name) != value),
        *(name for name, *_ in theirs - mine),
        *(["status"] if found.info.status != told.status else []),
    }
    return key, told, _Compared(sorted(lacks - contradicts), sorted(contradicts))


def _history(tracker: Tracker, run: Known, name: str) -> list[Point]:
    found = tracker.client.get_metric_history(run.run_id, name)
    return [Point(name, metric.value, metric.timestamp, metric.step) for metric in found]


def _comparable(point: Point, *, whole: bool) -> tuple[str, str, int, int]:
    """As a text, in which NaN equals NaN; MLflow keeps infinity as the largest number there is."""
    value = max(-sys.float_info.max, min(sys.float_info.max, point.value))
    return point.name, repr(value), point.stamp if whole else 0, point.step if whole else 0


def _files(tracker: Tracker, run: Known) -> dict[str, int]:
    """The run's tables and their sizes in bytes."""
    folders = [file.path for file in tracker.client.list_artifacts(run.run_id, "tables") if file.is_dir]
    files = [file for folder in folders for file in tracker.client.list_artifacts(run.run_id, folder)]
    return {file.path: file.file_size or 0 for file in files}
