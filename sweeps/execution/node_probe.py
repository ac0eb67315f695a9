"""Check every node of a Ray cluster: an actor on each, which sees what trials there would see."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from basin.errors import UsageError
from sweeps.execution.checks import Check, check_cache, check_counted_gpus, check_folder, check_precision, run_checks
from sweeps.execution.provenance import check_environment
from sweeps.storage.notes import NoteBoard

LAUNCHER = "launcher"
"""Author of the note that every node must see."""
HEAD = "node:__internal_head__"
"""Resource by which Ray marks the head."""
NODE_PATIENCE = 180.0
"""Seconds in which every node must have answered."""
MOST_OFFSET = 2.0
"""Seconds that a node's clock may differ from the head's: rows and runs store the times of nodes."""
CLOCK_READINGS = 5


@dataclass(frozen=True)
class Expected:
    """What a node is compared with."""

    facts: Mapping[str, str]
    """The launcher's provenance."""
    board: NoteBoard
    """Board with the launcher's note."""
    data: tuple[tuple[Path, int | None], ...] = ()
    """Path of each dataset and its size in bytes, None for a folder."""


class NodeProbe:
    """Runs the checks of one node."""

    def __init__(self, name: str, gpus: float) -> None:
        self._name = name
        self._gpus = gpus

    def read_clock(self) -> float:
        """Seconds since 1970 by the node's clock."""
        return time.time()

    def check_node(self, expected: Expected) -> list[Check]:
        """Check what trials of this node would use."""
        return run_checks(
            [
                ("environment", lambda: _check_same_environment(expected.facts)),
                ("storage", lambda: check_shared(expected.board, self._name)),
                *(("data", lambda p=path, s=size: check_source(p, s)) for path, size in expected.data),
                ("gpu", lambda: check_counted_gpus(self._gpus)),
                ("precision", check_precision),
                ("cache", check_cache),
                ("disk", lambda: check_folder(Path(tempfile.gettempdir()))),
            ]
        )


def _check_same_environment(facts: Mapping[str, str]) -> str:
    check_environment(facts)
    return f"sources {facts['sources']}"


def check_shared(board: NoteBoard, name: str) -> str:
    """Read the launcher's note and leave one; raises UsageError if this node has another storage."""
    if board.read_note(LAUNCHER) is None:
        raise UsageError(f"--storage {board.describe()}: this node sees another folder: mount the launcher's there")
    board.write_note(name, name)
    return "storage shared"


def check_source(path: Path, size: int | None) -> str:
    """Check that a dataset is here, readable and as large as the launcher's; `size` is None for a folder."""
    if not path.exists():
        raise UsageError(f"--data {path}: not on this node: copy it there, or put it on shared storage")
    if not os.access(path, os.R_OK):
        raise UsageError(f"--data {path}: not readable on this node: change its permissions")
    found = None if path.is_dir() else path.stat().st_size
    if found != size:
        raise UsageError(
            f"--data {path}: {_size_words(found)} on this node but {_size_words(size)} on the launcher's: copy it again"
        )
    return f"{path.name} readable"


def _size_words(size: int | None) -> str:
    return "a folder" if size is None else f"{size} bytes"


def measure_offset(read: Callable[[], float], readings: int = CLOCK_READINGS) -> tuple[float, float]:
    """Seconds by which another clock is ahead of this one, and its uncertainty: half of the shortest round trip."""
    best = (0.0, float("inf"))
    for _ in range(readings):
        sent = time.time()
        there = read()
        back = time.time()
        best = min(best, (there - (sent + back) / 2, (back - sent) / 2), key=lambda reading: reading[1])
    return best


def judge_clock(offset: float, uncertainty: float) -> Check:
    """Compare a node's clock with the head's; both numbers are seconds."""
    words = f"clock {offset:+.3f} s"
    if abs(offset) - uncertainty <= MOST_OFFSET:
        return Check("clock", True, words)
    return Check("clock", False, f"{words} against the head's, at most {MOST_OFFSET:g} s expected: set up NTP there")


def check_nodes(expected: Expected, patience: float = NODE_PATIENCE) -> list[Check]:
    """Check every node of the connected cluster: a line for a node in order, otherwise one for each failed check."""
    expected.board.write_note(LAUNCHER, LAUNCHER)
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        names = _name_nodes(nodes)
        probes = {name: _start_probe(name, node) for name, node in zip(names, nodes, strict=True)}
        checks = _collect_checks(probes, expected, patience)
        head = next((name for name, node in zip(names, nodes, strict=True) if HEAD in node["Resources"]), None)
        checks = _add_clocks(probes, checks, head)
        for name, found in checks.items():
            if any(check.name == "storage" and check.passed for check in found):
                found.append(_check_received(expected.board, name))
    finally:
        expected.board.remove()
    return [line for name, found in checks.items() for line in _summarize(name, found)]


def _name_nodes(nodes: list[dict[str, Any]]) -> list[str]:
    """Address of each node, with the start of its id where several have one address."""
    counts = Counter(node["NodeManagerAddress"] for node in nodes)
    return [
        address if counts[address := node["NodeManagerAddress"]] == 1 else f"{address}-{node['NodeID'][:8]}"
        for node in nodes
    ]


def _start_probe(name: str, node: dict[str, Any]) -> Any:
    here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    actor = ray.remote(num_cpus=0, max_restarts=0)(NodeProbe)
    return actor.options(scheduling_strategy=here).remote(name, node["Resources"].get("GPU", 0))


def _collect_checks(probes: Mapping[str, Any], expected: Expected, patience: float) -> dict[str, list[Check]]:
    """Checks of each node; one that does not answer in `patience` seconds has one failed check."""
    answers = {name: probe.check_node.remote(expected) for name, probe in probes.items()}
    end = time.monotonic() + patience
    found = {}
    for name, answer in answers.items():
        try:
            found[name] = ray.get(answer, timeout=max(0.0, end - time.monotonic()))
        except ray.exceptions.GetTimeoutError:
            found[name] = [Check("ray", False, f"no answer within {patience:g} s: see `ray status` and its logs")]
        except Exception as error:  # Ray has its own exception types, and those of the node
            words = (str(error).strip() or type(error).__name__).splitlines()[-1]
            found[name] = [Check("ray", False, f"cannot run code: {words}")]
    return found


def _add_clocks(
    probes: Mapping[str, Any], checks: Mapping[str, list[Check]], head: str | None
) -> dict[str, list[Check]]:
    """Add the offset against the head's clock to the checks of each node that answered."""
    offsets = {}
    for name, found in checks.items():
        if all(check.name != "ray" for check in found):
            offsets[name] = measure_offset(lambda name=name: ray.get(probes[name].read_clock.remote()))  # type: ignore[misc]
    start, doubt = offsets.get(head or "", (0.0, 0.0))
    clocks = {name: judge_clock(offset - start, own + doubt) for name, (offset, own) in offsets.items()}
    return {name: [*found, *([clocks[name]] if name in clocks else [])] for name, found in checks.items()}


def _check_received(board: NoteBoard, name: str) -> Check:
    """Check that the launcher sees the note of a node that says it wrote one."""
    if board.read_note(name) == name:
        return Check("storage", True, "seen by the launcher")
    return Check("storage", False, f"{board.describe()}: the launcher does not see the file of this node")


def _summarize(name: str, checks: list[Check]) -> list[Check]:
    failed = [Check(f"{name}: {check.name}", False, check.details) for check in checks if not check.passed]
    return failed or [Check(name, True, ", ".join(check.details for check in checks))]
