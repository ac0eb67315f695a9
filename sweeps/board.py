"""What a person sees of a running sweep: bars on a terminal, nothing elsewhere."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sweeps.store import Row


class Board:
    """A bar a phase, and the last finished trial."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[last]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "Board":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def phase(self, name: str, total: int) -> None:
        """A phase with `total` parts begins."""
        self._task = self._progress.add_task(name, total=total, last="")

    def advance(self, result: Row | None = None) -> None:
        """One part is done."""
        assert self._task is not None, "a phase comes first"
        self._progress.update(self._task, advance=1, last=_words(result) if result else "")

    def note(self, words: str) -> None:
        """One line that stays."""
        self._progress.console.print(words)


def _words(result: Row) -> str:
    scores = [f"{name} {result[f'val_{name}']:.2f}" for name in ("accuracy", "q_bar_reset") if f"val_{name}" in result]
    return " · ".join([str(result.get("key", "")), *scores])
