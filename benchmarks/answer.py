"""Time to the answer: one study by this system and by the script that a researcher would write.

Example: python -m benchmarks answer --quick

The study is five constructions on three seeds. Both sides train by the same recipe and report the same test scores. The
script (`answer_script.py`) runs one trial after another in float32; each of its trials trains all that it needs.
"""

import importlib.util
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from scipy import stats  # type: ignore[import-untyped]
from torch.nn import functional as F

from basin.data import Data
from basin.environment import Machine, Place
from basin.strict_json import dump_json
from basin.trial import Trial, open_data
from benchmarks.answer_study import (
    CONSTRUCTIONS,
    SCORES,
    Errand,
    Row,
    Settings,
    base_trial,
    parse_rows,
    script_passes,
    system_passes,
)
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.progress import announce, format_seconds, tell_result
from benchmarks.report import Report, markdown_report

QUICK = {
    "train_size": "100",
    "held": "200",
    "epochs": "4",
    "batch_size": "20",
    "lr": "0.05",
    "alphas": "3",
    "hull_points": "1",
}
PROBED = 4
"""Steps of the probe, the first of which does not count."""
PARTS = ("training", "matching", "measuring")


@dataclass
class Side:
    """What one side has reported."""

    wall: float = 0.0
    """Seconds from the start of its process to the end."""
    workers: int = 1
    """Trials at once."""
    rows: list[Row] = field(default_factory=list)
    """One for each trial."""
    phases: dict[str, float] = field(default_factory=dict)
    """Phase → seconds from the start of the process to its begin."""
    stages: float = 0.0
    """Seconds of worker time in shared stages."""

    def take(self, row: Row) -> None:
        """Add a row of the process."""
        if "phase" in row:
            self.phases[row["phase"]] = row["seconds"]
        elif "stages" in row:
            self.stages = row["stages"]
        elif "construction" in row:
            self.rows.append(row)

    def spent(self, part: str) -> float:
        """Seconds that all workers together took for a part of the work, divided by their number."""
        total: float = sum(row[part] for row in self.rows) + (self.stages if part == "training" else 0.0)
        return total / self.workers

    @property
    def outside(self) -> float:
        """Share of the wall time in which workers neither trained nor matched nor measured."""
        return 1 - sum(self.spent(part) for part in PARTS) / self.wall


def run(options: Options) -> Report:
    """Run the script, then the system, each in a fresh process; compare times, work and scores."""
    settings = options.settle(Settings())
    base = base_trial(settings, options.data)
    place = Place(machine=Machine(device="cpu"), data=options.data, runs=Path())
    data = open_data(base, place)  # decoded once, for both sides
    images = len(data.train)
    batch = min(settings.batch_size, images)
    trained = {
        "script": batch * script_passes(base, settings.seeds, images),
        "system": batch * system_passes(base, settings.seeds, images),
    }
    load = os.getloadavg()[0]
    _announce_duration(base, data, options.device, trained)
    system = _system_module(settings)
    facts = describe_machine(options.device)
    workers = settings.workers or (int(facts["cores"]) if options.device.type == "cpu" else 1)
    script = _run_side("script", "benchmarks.answer_script", options, settings, 1)
    ours = _run_side("system", system, options, settings, workers)
    counted = sum(row["images"] for row in script.rows)
    if counted != trained["script"]:
        raise RuntimeError(f"the script trained {counted} member-images instead of {trained['script']}")
    scores = _compare_scores(script, ours)
    sections = (_time_section(script, ours, trained, system), _score_table(scores))
    numbers = {
        "script / system, wall time": script.wall / ours.wall,
        "script / system, member-images": trained["script"] / trained["system"],
        "script / system, training": script.spent("training") / ours.spent("training"),
        "script / system, measuring": script.spent("measuring") / ours.spent("measuring"),
        "system: outside training, matching and measuring (% of the wall time)": 100 * ours.outside,
        "load average before the start": load,
        f"scores that differ beyond their 95 % interval, of {len(scores)} ({0.05 * len(scores):g} by chance)": sum(
            row[-1] == "NO" for row in scores
        ),
        **{f"system: seconds to {name}": seconds for name, seconds in ours.phases.items()},
    }
    return Report("answer", facts, (), numbers, sections=sections)


def _system_module(settings: Settings) -> str:
    """The module that runs the system: a sweep, or trials alone where Ray is not installed."""
    if settings.system != "auto":
        return f"benchmarks.answer_{settings.system}"
    return f"benchmarks.answer_{'sweep' if importlib.util.find_spec('ray') else 'trials'}"


def _announce_duration(base: Trial, data: Data, device: torch.device, trained: Mapping[str, int]) -> None:
    """Time some plain steps, and print how long the script's training will take."""
    network = base.model.build(data.shape, data.classes).to(device).train()
    pixels, labels = data.train.take(torch.arange(min(base.training.batch_size, len(data.train))))
    pixels, labels, seconds = data.normalise(pixels).to(device), labels.to(device), []
    for _ in range(PROBED):
        began = time.perf_counter()
        F.cross_entropy(network(pixels), labels).backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    about = trained["script"] / len(labels) * statistics.median(seconds[1:])
    announce(f"the script trains {trained['script']:,} member-images, the system {trained['system']:,}")
    announce(
        f"by {PROBED - 1} plain steps, the script's steps alone take {format_seconds(about)}; the system takes less"
    )


def _run_side(name: str, module: str, options: Options, settings: Settings, workers: int) -> Side:
    """Run one side in a process of its own, and print what it reports."""
    side, began = Side(workers=workers), time.perf_counter()
    announce(f"{name}: python -m {module}")
    with tempfile.TemporaryDirectory() as folder:
        device: Literal["cpu", "cuda"] = "cuda" if options.device.type == "cuda" else "cpu"
        data = options.data.resolve() if options.data else None
        given = Settings(**{**vars(settings), "workers": workers}) if name == "system" else settings
        errand = Errand(given, data, device, torch.get_num_threads(), Path(folder), time.time())
        command = [sys.executable, "-m", module, errand.as_json()]
        root = Path(__file__).resolve().parents[1]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
        try:
            for row in parse_rows(_lines(process)):
                side.take(row)
                _tell_row(name, row)
                if options.out:
                    with options.out.open("a") as file:
                        file.write(dump_json({"side": name, **row}) + "\n")
        except BaseException:
            process.terminate()
            raise
        finally:
            code = process.wait()
        side.wall = time.perf_counter() - began
    if code or len(side.rows) != settings.seeds * len(CONSTRUCTIONS):
        raise RuntimeError(f"the {name} ended with exit code {code} after {len(side.rows)} trials")
    tell_result(f"{name}: wall time", f"{side.wall:.1f} s")
    return side


def _lines(process: "subprocess.Popen[str]") -> Iterator[str]:
    assert process.stdout is not None
    return iter(process.stdout)


def _tell_row(name: str, row: Row) -> None:
    if "construction" in row:
        seconds = sum(row[part] for part in PARTS)
        words = f"{row['test_accuracy']:.1f} %, barrier {row['test_barrier_reset']:.1f} points, {seconds:.1f} s"
        tell_result(f"{name}, {row['construction']}, seed {row['seed']}", words)
    elif "phase" in row:
        tell_result(f"{name}: seconds to {row['phase']}", f"{row['seconds']:.1f}")
    elif "done" in row:
        announce(f"{name}: {row['done']} done")


def _time_section(script: Side, ours: Side, trained: Mapping[str, int], module: str) -> str:
    """Wall time, and what each saving brought."""
    cost = {"script": script.spent("training"), "system": ours.spent("training")}
    per_image = {name: 1e3 * cost[name] / trained[name] for name in cost}
    rows = [
        _line("wall time (s)", script.wall, ours.wall),
        _line("member-images trained: shared stages", trained["script"], trained["system"]),
        _line("training a member-image (ms): engine, trials at once", per_image["script"], per_image["system"]),
        *(_line(f"{part} (s)", script.spent(part), ours.spent(part)) for part in PARTS),
        [
            "outside training, matching and measuring (% of the wall time)",
            f"{100 * script.outside:.1f}",
            f"{100 * ours.outside:.1f}",
            "",
        ],
    ]
    how = f"{ours.workers} trials at once by {module.removeprefix('benchmarks.')}; seconds of its parts are divided by"
    title = f"**Time to the answer** (system: {how} {ours.workers}; early stopping does not apply to a grid)"
    return f"{title}\n\n{markdown_report(['', 'script', 'system', 'script / system'], rows)}"


def _line(name: str, script: float, system: float) -> list[str]:
    ratio = f"{script / system:.2f}" if system else ""
    return [name, f"{script:.4g}", f"{system:.4g}", ratio]


def _compare_scores(script: Side, ours: Side) -> list[list[str]]:
    """Test scores of both sides by construction, and whether they agree: their difference is within seed noise."""
    rows = []
    for name in CONSTRUCTIONS:
        for score in SCORES:
            pair = [
                [row[f"test_{score}"] for row in side.rows if row["construction"] == name] for side in (script, ours)
            ]
            low, high = welch_interval(*pair)
            agrees = "yes" if low <= 0 <= high else "NO"
            rows.append([name, score, *map(_spread, pair), f"[{low:.1f}, {high:.1f}]", agrees])
    return rows


def _score_table(rows: Sequence[Sequence[str]]) -> str:
    heads = ["construction", "test score", "script", "system", "script − system, 95 %", "agree"]
    title = "**Scores: mean over seeds ± standard deviation; Welch's interval of the difference**"
    return f"{title}\n\n{markdown_report(heads, rows)}"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"


def welch_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the difference of two means, with unequal variances (Welch 1947)."""
    difference = statistics.fmean(first) - statistics.fmean(second)
    parts = [statistics.variance(values) / len(values) for values in (first, second)]
    if not sum(parts):
        return difference, difference
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)
    )
    reach = float(stats.t.ppf(0.975, freedom)) * math.sqrt(sum(parts))
    return difference - reach, difference + reach
