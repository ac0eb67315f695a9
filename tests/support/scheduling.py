"""Which test runs when, where several processes test: long ones first, and those that wait beside those that compute.

A file's tests run in one process, one after another; a test that is listed below runs apart from its file.
"""

from collections.abc import Iterable
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

WAITING = {
    "tests/drill/test_drill.py": 330,
    "tests/cluster/test_stall.py": 150,
    "tests/faults/test_objects.py": 120,
    "tests/faults/test_processes.py::test_processes_of_ray_are_killed": 130,
    "tests/faults/test_tracking.py::test_a_server_that_is_down_at_start_and_half_way_for_a_minute": 110,
    "tests/faults/test_tracking.py": 80,
    "tests/faults/test_trials.py::test_a_hanging_trial_is_begun_again": 70,
    "tests/faults/test_trials.py::test_a_trial_that_gets_nowhere_is_given_up": 62,
    "tests/faults/test_nodes.py": 60,
}
"""Seconds of what leaves the processors to others for most of its time."""
STARTING = {
    "tests/faults/test_objects.py::test_a_lost_host": 160,
    "tests/sweeps/execution/test_cluster.py": 140,
    "tests/analysis/test_large.py": 130,
    "tests/faults/test_processes.py::test_the_launcher_is_killed": 90,
    "tests/faults/test_tracking.py::test_the_launcher_is_killed_while_mlflow_shows_its_trial": 126,
    "tests/sweeps/storage/test_sweep_on_objects.py": 125,
    "tests/faults/test_processes.py::test_of_two_launchers_one_is_refused_and_one_is_asked_to_stop": 112,
    "tests/sweeps/execution/test_early_stopping.py": 110,
    "tests/faults/test_files.py": 110,
    "tests/test_docs.py": 100,
    "tests/sweeps/execution/test_remeasuring.py": 100,
    "tests/faults/test_processes.py": 95,
    "tests/sweeps/test_campaign.py": 80,
    "tests/sweeps/tracking/test_model_export.py": 70,
    "tests/sweeps/test_permissions.py": 66,
    "tests/sweeps/test_sweeps_together.py": 62,
    "tests/sweeps/test_published_sweep.py": 60,
    "tests/sweeps/execution/test_gpus.py": 60,
    "tests/faults/test_trials.py": 56,
    "tests/cli/test_plugins.py": 50,
    "tests/cli/test_bad_input.py": 40,
    "tests/sweeps/execution/test_connection.py": 30,
}
"""Seconds of what starts whole sweeps or other programs: it needs half a processor, or all."""
LONG = WAITING | STARTING
"""What takes half a minute or more with two processes on two cores. A file counts without its tests that are listed."""
TURNS = ("waiting", "starting", "starting", "short")
"""What the first, second … process takes while there is any; together this keeps two cores busy."""


def unit_of(name: str) -> str:
    """What a test runs with: itself alone if it is listed, else its file."""
    return name if name in LONG else name.partition("::")[0]


def kind_of(unit: str) -> str:
    """One of `TURNS`."""
    return "waiting" if unit in WAITING else "starting" if unit in STARTING else "short"


def next_unit(units: Iterable[str], process: int) -> str:
    """The longest of a process's kind, or of all if there is none left; short ones in the order of their collection."""
    mine = TURNS[process % len(TURNS)]
    return max(units, key=lambda unit: (kind_of(unit) == mine, LONG.get(unit, 0)))


class LongestFirst(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out units by `next_unit`."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        self.workqueue.move_to_end(next_unit(self.workqueue, self.nodes.index(node)), last=False)
        super()._assign_work_unit(node)


def make_scheduler(config: pytest.Config, log: Any) -> LongestFirst | None:
    """The scheduler of a run whose files stay together (`--dist loadfile`); None for every other."""
    return LongestFirst(config, log) if config.getvalue("dist") == "loadfile" else None
