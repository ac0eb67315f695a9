"""Progress of a running sweep: bars on a terminal, lines of text or JSON elsewhere."""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from basin.strict_json import dump_json
from cli.metric_words import metric_words
from cli.options import LogFormat
from sweeps.status import BestTrial, Display, RunningTrial, Status

if TYPE_CHECKING:
    from sweeps.storage.store import Row

INTERVAL = 30.0
"""Seconds after which a line is printed even if no trial has finished."""
MOST = 8
"""Running trials that a terminal lists."""
Part = tuple[int, str]
"""Rank and text of a part of a line; the highest ranks are dropped first where the line is too long."""


class Bars:
    """A bar per phase, the best trial, and the epochs of the running trials, on a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Board(
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task: TaskID | None = None

    def show(self, event: str, status: Status, result: "Row | None" = None, words: str = "") -> None:
        """Add a bar, move it, or print a message."""
        self._progress.below = describe_below(status)
        if event == "note":
            self._progress.console.print(words)
        elif event == "end":
            self._progress.below = [line for line in self._progress.below if line.startswith("best")]
            self._clear_left()
            self._progress.stop()
        elif event == "phase":
            self._clear_left()
            self._progress.start()
            self._task = self._progress.add_task(status.phase, total=status.total, left="")
        elif self._task is not None and event in ("trial", "part", "failed", "tick"):
            self._progress.update(self._task, completed=status.done, left=_describe_left(status))

    def _clear_left(self) -> None:
        """A phase that is over has no time left."""
        if self._task is not None:
            self._progress.update(self._task, left="")


class Board(Progress):
    """Bars, and lines of text below them."""

    below: Sequence[str] = ()

    def get_renderables(self) -> Iterator[RenderableType]:
        """The bars, then the lines, cut at the width of the terminal."""
        yield from super().get_renderables()
        yield from (Text(line, no_wrap=True, overflow="ellipsis") for line in self.below)


def describe_below(status: Status) -> list[str]:
    """Describe the best trial, and how far the running ones are."""
    trials = sorted(status.running.values(), key=lambda trial: trial.began)
    lines = [f"best {describe_best(status.best)}"] if status.best else []
    lines += [f"running {trial.key[:8]} {trial.construction}, {describe_epoch(trial)}" for trial in trials[:MOST]]
    more = len(trials) - MOST
    return [*lines, f"and {more} more running"] if more > 0 else lines


class Lines:
    """A line of text at each finished trial, and at least every half minute."""

    def __init__(self, console: Console) -> None:
        self._console, self._printed = console, time.monotonic()

    def show(self, event: str, status: Status, result: "Row | None" = None, words: str = "") -> None:
        """Print an event that belongs in a log."""
        share = (0, _describe_share(status))
        if event == "note":
            self._print(words)
        elif event == "phase":
            self._print(f"{status.phase}: {status.total} to do")
        elif event == "trial" and result:
            self._print_parts([[share], _trial_parts(result), *_outlook_parts(status)])
        elif event == "failed":
            self._print(f"{share[1]} · failed: {words}")
        elif event == "tick" and time.monotonic() - self._printed > INTERVAL:
            self._print_parts([[share], _running_parts(status), *_outlook_parts(status)])

    def _print_parts(self, groups: Sequence[Sequence[Part]]) -> None:
        self._print(fit_parts(groups, self._console.width - len("00:00:00 ")))

    def _print(self, words: str) -> None:
        self._printed = time.monotonic()
        self._console.print(f"{time.strftime('%H:%M:%S')} {words}", highlight=False)
        self._console.file.flush()


class JsonLines:
    """One line for each event, a JSON object with its name, the status, and the trial's scores."""

    def show(self, event: str, status: Status, result: "Row | None" = None, words: str = "") -> None:
        """Print every event except ticks and reports."""
        if event in ("tick", "report"):
            return
        facts = {"event": event, "status": status.to_json()}
        if result is not None:
            facts["trial"] = {name: value for name, value in result.items() if isinstance(value, str | float | int)}
        if words:
            facts["message"] = words
        print(dump_json(facts), file=sys.stdout, flush=True)


class Quiet:
    """No output."""

    def show(self, event: str, status: Status, result: "Row | None" = None, words: str = "") -> None:
        """Show nothing."""


def choose_display(console: Console, *, quiet: bool, log_format: LogFormat) -> Display:
    """Choose bars on a terminal and lines elsewhere, unless the user asks for JSON or for no progress."""
    if quiet:
        return Quiet()
    if log_format == "json":
        return JsonLines()
    return Bars(console) if console.is_terminal else Lines(console)


def fit_parts(groups: Sequence[Sequence[Part]], width: int) -> str:
    """Join groups of parts in one line of at most this width; parts of the highest numbers are dropped first.

    The parts with 0 stay at any width.
    """
    dropped = sorted({rank for group in groups for rank, _ in group} - {0}, reverse=True)
    for limit in [math.inf, *dropped]:
        kept = [" ".join(text for rank, text in group if rank < limit) for group in groups]
        line = " · ".join(text for text in kept if text)
        if len(line) <= width:
            break
    return line


def _trial_parts(result: "Row") -> list[Part]:
    """Key, construction and main validation scores of a finished trial."""
    parts = [(0, str(result.get("key", ""))[:8]), (4, str(result.get("construction", "")))]
    for rank, name in ((3, "accuracy"), (6, "q_bar_reset")):
        if f"val_{name}" in result:
            parts.append((rank, f"{metric_words(name)} {result[f'val_{name}']:.2f}"))
    return parts


def _running_parts(status: Status) -> list[Part]:
    """Number of running trials, and their epochs."""
    epochs = ", ".join(f"{_epochs_done(trial)}/{trial.epochs}" for trial in status.running.values())
    return [(0, f"{len(status.running)} running"), (5, f"(epochs {epochs})")] if epochs else [(0, "none running")]


def describe_epoch(trial: RunningTrial) -> str:
    """Describe how far a running trial is; after its last epoch it is measured on whole paths."""
    if trial.share >= 1:
        return "measuring"
    return f"epoch {_epochs_done(trial)} of {trial.epochs}"


def _epochs_done(trial: RunningTrial) -> int:
    return round(trial.share * trial.epochs)


def describe_best(best: BestTrial) -> str:
    """The best trial in a few words."""
    words = "" if best.feasible else ", not shown to be in one basin"
    return f"{_describe_score(best)} ({best.key[:8]}{words})"


def _describe_score(best: BestTrial) -> str:
    return f"{metric_words(best.objective.removeprefix('val_')).removesuffix('_reset')} {best.value:.4g}"


def describe_seconds(seconds: float) -> str:
    """Hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))


def _describe_share(status: Status) -> str:
    failed = f", {len(status.failed)} failed" if status.failed else ""
    return f"{status.phase} {status.done}/{status.total}{failed}"


def _describe_left(status: Status) -> str:
    remaining = status.remaining_seconds()
    return "" if remaining is None else f"{describe_seconds(remaining)} left"


def _outlook_parts(status: Status) -> list[list[Part]]:
    """Time left and the best trial so far."""
    best = status.best
    if best is None:
        return [[(1, _describe_left(status) or "no trial done yet")]]
    words = "" if best.feasible else ", not shown to be in one basin"
    shown = [(2, f"best {_describe_score(best)}"), (5, f"({best.key[:8]}{words})")]
    return [[(1, _describe_left(status))], shown]
