"""Processor seconds of the parts of a report: `python -m benchmarks.report_parts RESULTS [FORMATS]`."""

import gc
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from basin.strict_json import dump_json


class Laps:
    """Processor seconds by part; those of a part within another count for the inner one alone."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {"start of Python": time.process_time()}
        self._inner: list[float] = []

    def timed(self, part: str | Callable[..., str], call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call` with its time added to `part`, a name or a function of the arguments."""

        def wrapped(*values: Any, **named: Any) -> Any:
            began = time.process_time()
            self._inner.append(0.0)
            try:
                return call(*values, **named)
            finally:
                took = time.process_time() - began
                name = part if isinstance(part, str) else part(*values, **named)
                self.spent[name] = self.spent.get(name, 0.0) + took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took

        return wrapped


def measure_parts(folder: Path, formats: list[str]) -> dict[str, float]:
    """Write a report as `launch.py report` does; return the processor seconds of each part, slowest first."""
    laps = Laps()
    gc.disable()  # as the command does
    laps.timed("imports", _import_everything)()
    from matplotlib.figure import Figure

    from analysis.answers.summary import summary_text
    from analysis.data.queries import read_tables
    from analysis.output import style, write
    from analysis.report import build, lead

    def format_of(_: Figure, file: Any, **named: Any) -> str:
        return f"figures: {named.get('format') or Path(file).suffix[1:]}"

    for owner, name, part in (
        (write, "draw_figure", lambda entry, _: f"figures: make {entry.name}"),
        (style, "fix_layout", "figures: layout"),
        (Figure, "savefig", format_of),
        (style, "rasterise", "figures: pixels"),
        (write, "imsave", "figures: png"),
        (lead, "encode_pixels", "figures: webp"),
        (lead, "lead_pictures", "figures: make those of the answer"),
        (build, "_make_table", "tables"),
        (build, "summary_text", "summary"),
        (build, "_page_text", "page"),
    ):
        setattr(owner, name, laps.timed(part, getattr(owner, name)))
    tables = laps.timed("read", read_tables)(folder)
    laps.timed("rest", build.write_report)(tables, formats=formats)
    laps.timed("summary", summary_text)(tables)
    return dict(sorted(laps.spent.items(), key=lambda item: -item[1]))


def _import_everything() -> None:
    for name in ("cli.app", "analysis.report", "sweeps.tracking.reader", "matplotlib.backends.backend_agg"):
        importlib.import_module(name)


if __name__ == "__main__":
    print(dump_json(measure_parts(Path(sys.argv[1]), (sys.argv[2:] or ["png"])[0].split(",")), indent=1))
