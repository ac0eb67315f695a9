"""Status of a sweep: its launcher keeps it and writes it to `status.json`, and `launch.py status` reads it."""

import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event, RLock, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from basin.errors import UsageError
from basin.files import Remote, write_atomically
from basin.strict_json import dump_json

if TYPE_CHECKING:
    from sweeps.storage.store import Row
    from sweeps.study.study import Study

FILE = "status.json"
"""Name of the file in a sweep's folder."""
BEAT = 2.0
"""Seconds between two writes of the file; an object store receives every tenth."""
SILENCE = 60.0
"""Seconds without a write after which the launcher counts as lost."""
CLOSING = ("verdicts", "tracking")
"""Phases after the last trial."""

State = Literal["running", "finished", "failed", "stopped", "lost"]


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a worker runs."""

    key: str
    construction: str
    epochs: int
    began: float
    """Unix time of its start in this launch."""
    share: float = 0.0
    """Part of its training that is done, 0 to 1."""


@dataclass(frozen=True)
class BestTrial:
    """The best trial of the search: of those that satisfy every limit if there are any."""

    key: str
    objective: str
    value: float
    feasible: bool


@dataclass(frozen=True, kw_only=True)
class Status:
    """State of a sweep, at one moment of one launch."""

    sweep: str
    host: str
    pid: int
    began: float
    """Unix time at which the launch began."""
    updated: float
    """Unix time of this status."""
    state: State = "running"
    error: str | None = None
    """Error that ended a sweep."""
    phase: str = "start"
    done: int = 0
    """Finished parts of the phase."""
    total: int = 0
    """Parts of the phase."""
    later: int = 0
    """Trials that may follow in later phases."""
    trials: int = 0
    """Trials that this launch finished."""
    trials_began: float | None = None
    """Unix time at which the first trial began."""
    running: dict[str, RunningTrial] = field(default_factory=dict)
    """Key → trial that runs now."""
    failed: dict[str, str] = field(default_factory=dict)
    """Key → error of each failed trial."""
    best: BestTrial | None = None

    def remaining_seconds(self) -> float | None:
        """Seconds until the last trial at the rate of this launch; None before as much as one trial is done.

        Running trials count by the share of their training that is done.
        """
        shares = sum(trial.share for trial in self.running.values())
        begun, left = self.trials + shares, self.total - self.done + self.later - shares
        if begun < 1 or self.trials_began is None or self.state != "running" or self.phase in CLOSING:
            return None
        return max(0.0, (self.updated - self.trials_began) / begun * left)

    def seen_at(self, now: float, silence: float = SILENCE) -> "Status":
        """The same status read at this time: a running launcher that stopped writing is lost."""
        lost = self.state == "running" and now - self.updated > silence
        return replace(self, state="lost") if lost else self

    def to_json(self) -> dict[str, Any]:
        """Every field, and the remaining seconds."""
        return asdict(self) | {"remaining_seconds": self.remaining_seconds()}

    @classmethod
    def from_json(cls, text: bytes | str) -> "Status":
        """Read what `to_json` wrote; raises ValueError for anything else."""
        try:
            facts = json.loads(text)
            facts.pop("remaining_seconds", None)
            running = {key: RunningTrial(**trial) for key, trial in facts.pop("running").items()}
            best = facts.pop("best")
            return cls(running=running, best=BestTrial(**best) if best else None, **facts)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not the status of a sweep: {error}") from error


class Display(Protocol):
    """Shows a status to the user; called from one thread at a time."""

    def show(self, event: str, status: Status, result: "Row | None" = None, words: str = "") -> None:
        """Show an event: phase, trial, part, failed, note, tick (each second or so) or end."""


class StatusKeeper:
    """A listener that keeps the status of a launch, writes it to a file, and shows it.

    Use it as a context manager: the end of the block is the end of the sweep.
    """

    def __init__(self, study: "Study", folder: Path, remote: Remote, display: Display) -> None:
        now = time.time()
        self.status = Status(sweep=folder.name, host=platform.node(), pid=os.getpid(), began=now, updated=now)
        self._study, self._file, self._remote, self._display = study, folder / FILE, remote, display
        self._lock, self._over = RLock(), Event()
        self._thread = Thread(target=self._beat, daemon=True)
        self._ranks: tuple[Any, ...] = ()

    def recall(self, rows: "Iterable[Row]") -> None:
        """Take trials of earlier launches into account for the best one."""
        for row in rows:
            self._compare(row)

    def __enter__(self) -> "StatusKeeper":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.ident is None:  # nothing was to be done
            return
        self._over.set()
        self._thread.join()
        state: State = "finished" if error is None else "failed" if isinstance(error, Exception) else "stopped"
        self._change("end", state=state, error=str(error) if state == "failed" else None, running={})
        self._write()
        self._send()

    def phase(self, name: str, total: int, later: int = 0) -> None:
        """Begin a phase; the first one begins the file."""
        self._change("phase", phase=name, done=0, total=total, later=later)
        if self._thread.ident is None:
            self._write()
            self._thread.start()

    def begin(self, trial: "Row") -> None:
        """Add a running trial."""
        now = time.time()
        one = RunningTrial(trial["key"], trial["construction"], trial["epochs"], now)
        with self._lock:
            first = self.status.trials_began or now
            self._change("begin", running=self.status.running | {one.key: one}, trials_began=first)

    def report(self, result: "Row") -> None:
        """Update the share of a running trial."""
        with self._lock:
            known = self.status.running.get(result.get("key", ""))
            if known:
                moved = replace(known, share=float(result.get("progress", known.share)))
                self._change("report", running=self.status.running | {known.key: moved})

    def advance(self, result: "Row | None" = None) -> None:
        """Complete one part."""
        if result is None or "key" not in result:
            with self._lock:
                self._change("part", done=self.status.done + 1)
        elif result.get("status") == "failed":
            self.fail(str(result["key"]), str(result.get("error", "")))
        else:
            self._finish_trial(result)

    def fail(self, key: str, error: str) -> None:
        """Complete a trial that failed."""
        with self._lock:
            failed, left = self.status.failed | {key: error}, _without(self.status.running, key)
            self._change("failed", words=error, failed=failed, running=left, done=self.status.done + 1)

    def note(self, words: str) -> None:
        """Show a message."""
        with self._lock, suppress(OSError):
            self._display.show("note", self.status, words=words)

    def _finish_trial(self, result: "Row") -> None:
        with self._lock:
            self._compare(result)
            left, now = _without(self.status.running, str(result["key"])), self.status
            self._change("trial", result=result, running=left, done=now.done + 1, trials=now.trials + 1)

    def _compare(self, result: "Row") -> None:
        """Keep the trial if it is the best of the search: feasible first, then by the first objective."""
        objective = self._study.objectives[0]
        if result.get("role") != "search" or result.get("status") != "done" or result.get(objective) is None:
            return
        feasible = all(limit.excess(result) <= 0 for limit in self._study.limits)
        rank = (feasible, self._study.signs[0] * float(result[objective]))
        if not self._ranks or rank > self._ranks:
            self._ranks = rank
            best = BestTrial(str(result["key"]), objective, float(result[objective]), feasible)
            self.status = replace(self.status, best=best)

    def _change(self, event: str, *, result: "Row | None" = None, words: str = "", **fields: Any) -> None:
        with self._lock:
            self.status = replace(self.status, updated=time.time(), **fields)
            with suppress(OSError):  # the terminal or pipe is gone; the sweep goes on
                self._display.show(event, self.status, result, words)

    def _beat(self) -> None:
        count = 0
        while not self._over.wait(BEAT):
            self._change("tick")
            self._write()
            if count % 10 == 0:
                self._send()
            count += 1

    def _write(self) -> None:
        with suppress(OSError):  # a full disk is reported by what must be written
            write_atomically(self._file, dump_json(self.status.to_json(), indent=1))

    def _send(self) -> None:
        with suppress(UsageError, OSError):  # the store may be down: the next beat tries again
            self._remote.send(self._file)


def _without(running: dict[str, RunningTrial], key: str) -> dict[str, RunningTrial]:
    return {name: trial for name, trial in running.items() if name != key}


def read_status(read: Callable[[Path], bytes | None], folder: Path, now: float | None = None) -> Status | None:
    """Read the status of a sweep as of now; None if no launcher wrote one. Raises UsageError if it is damaged."""
    content = read(folder / FILE)
    if content is None:
        return None
    try:
        status = Status.from_json(content)
    except ValueError as error:
        raise UsageError(f"{folder / FILE}: {error}; remove the file, the next launch writes a new one") from None
    return status.seen_at(time.time() if now is None else now)
