"""Options of the benchmark command."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from basin.errors import UsageError
from basin.spec import replace_known

Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Command-line options, the same for every benchmark."""

    repeats: int = 5
    """Rounds that are timed."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    data: Path | None = None
    """Real images: a folder or an archive; None for made-up ones."""
    out: Path | None = None
    """File that rows are written to as they are found; None keeps none."""
    changes: Mapping[str, str] = field(default_factory=dict)
    """The texts of `--set field=value`."""

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise UsageError(f"--repeats {self.repeats}: expected 1 or more")
        if self.data is not None and not self.data.exists():
            raise UsageError(f"--data {self.data}: expected a file or a folder, found nothing there")

    def settle(self, settings: Settings) -> Settings:
        """A benchmark's own settings with what `--set` says; raises UsageError for a field it does not have."""
        changed: Settings = replace_known(settings, self.changes)
        return changed
