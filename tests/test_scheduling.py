"""Every test is handed out once, long ones first, what waits beside what computes; and what is listed is there."""

import ast
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.scheduling import LONG, STARTING, WAITING, LongestFirst, make_scheduler, unit_of

DRILL, STALL, *_ = WAITING
HOST, CLUSTER, *_ = STARTING
OBJECTS = "tests/faults/test_objects.py"
NAMES = [
    *(f"tests/stats/test_{letter}.py::test_{number}" for letter in "abcdef" for number in range(3)),
    f"{OBJECTS}::test_a_lost_host",
    f"{OBJECTS}::test_a_storage_that_goes_away",
    *(f"{file}::test_{number}" for file in (DRILL, STALL, CLUSTER) for number in range(2)),
]


class Process:
    """A process that tests, and keeps what it was sent."""

    def __init__(self, number: int) -> None:
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.shutting_down = False
        self.got: list[int] = []

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        self.got += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def handed_out(count: int) -> list[list[str]]:
    """What each of so many processes runs, if every test takes equally long."""
    config: Any = SimpleNamespace(
        getvalue={"dist": "loadfile", "tx": [f"{count}*popen"]}.get, option=SimpleNamespace(loadscopereorder=False)
    )
    scheduler = make_scheduler(config, None)
    assert isinstance(scheduler, LongestFirst)
    processes: list[Any] = [Process(number) for number in range(count)]
    for process in processes:
        scheduler.add_node(process)
        scheduler.add_node_collection(process, NAMES)
    scheduler.schedule()
    done = dict.fromkeys(range(count), 0)
    while any(done[number] < len(process.got) for number, process in enumerate(processes)):
        for number, process in enumerate(processes):
            if done[number] < len(process.got):
                scheduler.mark_test_complete(process, process.got[done[number]])
                done[number] += 1
    assert scheduler.tests_finished
    return [[NAMES[index] for index in process.got] for process in processes]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_each_runs_once_and_a_file_s_tests_one_after_another(count: int) -> None:
    runs = handed_out(count)
    assert sorted(name for names in runs for name in names) == sorted(NAMES)
    for names in runs:
        units = [unit_of(name) for name in names]
        assert len([unit for at, unit in enumerate(units) if units[at - 1 : at] != [unit]]) == len(set(units))


def test_what_waits_is_beside_what_computes_and_long_ones_come_first() -> None:
    waiting, starting, _, short = handed_out(4)
    assert list(dict.fromkeys(map(unit_of, waiting)))[:2] == [DRILL, STALL]
    assert unit_of(starting[0]) == HOST == f"{OBJECTS}::test_a_lost_host"
    assert all(unit_of(name) not in LONG for name in short[:6])
    (alone,) = handed_out(1)
    assert list(dict.fromkeys(map(unit_of, alone)))[:3] == [DRILL, STALL, OBJECTS]
    assert unit_of(alone[-1]) not in LONG


def test_other_ways_of_distribution_stay() -> None:
    config: Any = SimpleNamespace(getvalue={"dist": "load"}.get)
    assert make_scheduler(config, None) is None


def test_all_that_is_listed_is_there(root: Path) -> None:
    for unit in LONG:
        file, _, test = unit.partition("::")
        names = [node.name for node in ast.parse((root / file).read_text()).body if isinstance(node, ast.FunctionDef)]
        assert not test or test.partition("[")[0] in names, unit
