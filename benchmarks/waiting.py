"""Waiting at the terminal: whole commands on a finished sweep, in seconds of wall time and of processor time.

Example: python -m benchmarks waiting --set storage=results --set sweep=quickstart
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from basin.spec import Checked
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.report import Report, markdown_report
from sweeps.storage.store import open_store

ROOT = Path(__file__).resolve().parents[1]
LAUNCH = """
import importlib, json, time, warnings
warnings.simplefilter("ignore")
spent, marks = {}, (time.perf_counter(), time.process_time())
def lap(name):
    global marks
    now = time.perf_counter(), time.process_time()
    spent[name], marks = (now[0] - marks[0], now[1] - marks[1]), now
for name in ("cli.app", "torch", "sweeps.sweep", "sweeps.execution.tuner", "mlflow"):
    importlib.import_module(name)
    lap("import " + name)
from sweeps.execution.connection import connect_ray
connect_ray("local")
lap("ray.init")
print(json.dumps(spent))
"""
"""What a sweep's launcher does before it starts a process for its first trial."""


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """The sweep that the commands read."""

    storage: str = "results"
    sweep: str = "quickstart"
    report: bool = True
    """Time `report` too, which writes its files into the sweep's folder."""


def run(options: Options) -> Report:
    """Run each command in turn, as often as asked."""
    settings = options.settle(Settings())
    store = open_store(Path(settings.storage), settings.sweep)
    key = store.keys()[0]
    commands = [["studies"], ["best", settings.sweep], ["show", key], ["status", settings.sweep]]
    commands += [["report", settings.sweep]] if settings.report else []
    spent: dict[str, list[tuple[float, float]]] = {words[0]: [] for words in commands}
    launches = []
    for _ in range(options.repeats):
        launches.append(_time_launch())
        for words in commands:
            where = [] if words == ["studies"] else ["--storage", settings.storage]
            spent[words[0]].append(_time_command([*words, *where]))
    parts = {name: [launch[name] for launch in launches] for name in launches[0]}
    sections = _table("launch.py", spent), _table("launch of a sweep, in the launcher", parts)
    trials = {"trials": float(len(store.keys()))}
    return Report("waiting", describe_machine(options.device), (), trials, sections=sections)


def _table(head: str, spent: dict[str, list[tuple[float, float]]]) -> str:
    rows = []
    for name, rounds in spent.items():
        walls, processors = zip(*rounds, strict=True)
        rows.append([name, f"{median(walls):.2f}", f"{median(processors):.2f}", f"{max(processors):.2f}"])
    return markdown_report([head, "wall s", "processor s", "slowest, processor s"], rows)


def _time_launch() -> dict[str, tuple[float, float]]:
    """Wall and processor seconds of each step of a launch, in a process of its own."""
    command = [sys.executable, "-c", LAUNCH]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    steps: dict[str, tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    return steps


def _time_command(words: list[str]) -> tuple[float, float]:
    """Wall seconds, and user and system seconds, of a command and its children; raises CalledProcessError."""
    began, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, str(ROOT / "launch.py"), *words], capture_output=True, check=True)
    after = os.times()
    processor = sum(after[2:4]) - sum(before[2:4])
    return time.perf_counter() - began, processor
