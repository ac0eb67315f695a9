"""The run of a sweep in MLflow, under which the runs of its trials are nested.

It has no key, so it counts as no trial. It is looked up by its tags before it is created, is running while trials run,
and ends with the sweep, or as KILLED if the launcher is stopped.
"""

import time
from typing import TYPE_CHECKING, Any

from basin.files import read_object
from sweeps.storage.store import Row, Store
from sweeps.tracking.patience import repeated
from sweeps.tracking.report_artifacts import note_tags
from sweeps.tracking.run_record import CONTENT, PROGRAM, RUN_NAME, source_tags, trial_times
from sweeps.tracking.sql import SUPERSEDED, SWEEP_ROLE

if TYPE_CHECKING:
    from sweeps.tracking.tracker import Tracker

PARENT = "mlflow.parentRunId"
"""Tag by which MLflow nests a run."""
OPEN = ("RUNNING", "SCHEDULED")
"""Status of a sweep's run that has not ended."""


def open_sweep_run(tracker: "Tracker", store: Store) -> str:
    """Return the id of the sweep's run, which is created if there is none; of several one stays live."""
    found = _find_runs(tracker)
    if not found:
        return repeated(tracker.is_passing, lambda: _create_run(tracker, store))
    kept, *others = (str(run.info.run_id) for run in found)
    for other in others:
        tracker.supersede_run(other, kept)
    return kept


def find_sweep_run(tracker: "Tracker") -> Any | None:
    """Return the run of the sweep as MLflow has it; None if there is none."""
    return next(iter(_find_runs(tracker)), None)


def end_sweep_run(tracker: "Tracker", store: Store) -> None:
    """End the run of a sweep that its launcher has completed."""
    rows = store.rows(CONTENT)
    update_sweep_run(tracker, store)
    status = "FINISHED" if any(row["status"] == "done" for row in rows) else "FAILED"
    tracker.client.set_terminated(tracker.parent, status, _begin_and_end(rows)[1])


def update_sweep_run(tracker: "Tracker", store: Store) -> list[str]:
    """Set what differs in the tags of the sweep's run; return the names of these tags."""
    from mlflow.entities import RunTag

    wanted, current = _sweep_tags(store), tracker.client.get_run(tracker.parent).data.tags
    changed = [name for name, value in wanted.items() if current.get(name) != value]
    if changed:
        tracker.client.log_batch(tracker.parent, tags=[RunTag(name, wanted[name]) for name in changed])
    return changed


def close_sweep_run(tracker: "Tracker", store: Store) -> str | None:
    """End the run of a sweep that no launcher runs, if it is open; return its status if that changed."""
    before, rows = tracker.client.get_run(tracker.parent).info.status, store.rows(CONTENT)
    status = _left_status(store, rows)
    if before not in OPEN or status == before:
        return None
    tracker.client.set_terminated(tracker.parent, status, _begin_and_end(rows)[1])
    return status


def _left_status(store: Store, rows: list[Row]) -> str:
    """Status of the run of a sweep whose launcher has ended: by the sweep's own status, if there is one."""
    if not rows:
        return "SCHEDULED"
    state = read_object(store.folder / "status.json").get("state", "finished")
    return {"finished": "FINISHED", "failed": "FAILED"}.get(state, "KILLED")


def _find_runs(tracker: "Tracker") -> list[Any]:
    """Runs of the sweep that are neither deleted nor superseded, oldest first."""
    found = tracker.client.search_runs(
        [tracker.experiment], f"tags.role = '{SWEEP_ROLE}'", order_by=["attributes.start_time ASC"]
    )
    return [run for run in found if SUPERSEDED not in run.data.tags]


def _create_run(tracker: "Tracker", store: Store) -> str:
    """Create the sweep's run, unless a lost response did."""
    if earlier := _find_runs(tracker):
        return str(earlier[0].info.run_id)
    rows = store.rows(CONTENT)
    (began, ended), status = _begin_and_end(rows), _left_status(store, rows)
    tags = tracker.creation_tags | _sweep_tags(store) | {RUN_NAME: store.name}
    tags |= note_tags(f"No report yet: `{PROGRAM} report {store.name}` adds its answer and figures.")
    run_id = str(tracker.client.create_run(tracker.experiment, start_time=began, tags=tags).info.run_id)
    if status in OPEN:
        tracker.client.update_run(run_id, status=status)
    else:
        tracker.client.set_terminated(run_id, status, ended)
    return run_id


def _sweep_tags(store: Store) -> dict[str, str]:
    """Tags of a sweep's run; the commit is that of its latest trial."""
    latest = max(store.rows(("finished_at", "commit")), key=lambda row: row["finished_at"], default={})
    return {"role": SWEEP_ROLE, "sweep": store.name} | source_tags(latest)


def _begin_and_end(rows: list[Row]) -> tuple[int, int]:
    """Start of the first trial and end of the last in milliseconds since 1970; now if none has finished."""
    now = int(1000 * time.time())
    times = [trial_times(row) for row in rows]
    return min((began for began, _ in times), default=now), max((ended for _, ended in times), default=now)
