"""Where a trial runs: nothing here changes what the trial is."""

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch

from basin.engine import EngineName
from basin.errors import UsageError
from basin.files import Nowhere, Remote
from basin.spec import Bounds, Value, check, describe, replace_known


def default_cache() -> Path:
    """The folder of decoded datasets that all trials on a machine share."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "single-basin"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a trial computes on; chosen freely, recorded always."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a CUDA GPU where there is one."""
    threads: Annotated[int, Bounds(1)] = 1
    """CPU threads of one trial; more than one may change the last bits of a result."""
    engine: EngineName = "auto"
    """How an ensemble's networks are run: loop (one after another), threads (side by side on CPU threads), stacked (in
    one call), graphs (recorded, side by side on a GPU); auto takes what a few steps show to be fastest. Another engine
    may change the last bits of a result."""
    compile: bool = False
    """Whether torch.compile fuses the training passes, for which the first step takes a minute or more."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A machine and the folders a trial uses there."""

    machine: Machine = field(default_factory=Machine)
    data: Path | None = None
    """What the user gave as --data; None for built-in or downloaded data."""
    ood_data: Path | None = None
    """Likewise for the dataset of `ood`."""
    cache: Path = field(default_factory=default_cache)
    """Decoded datasets."""
    runs: Path
    """Single runs (trunks and teachers), shared by content."""
    scratch: Path | None = None
    """Checkpoints of the one trial; None keeps none."""
    remote: Remote = field(default_factory=Nowhere)
    """Where single runs and checkpoints lie too."""

    gpu_share: float = 1.0
    """Of a GPU's memory, where several trials run on one."""

    @property
    def torch_device(self) -> torch.device:
        """The device; raises UsageError if a GPU is asked for and not there."""
        there = torch.cuda.is_available()
        if self.machine.device == "cuda" and not there:
            raise UsageError("device=cuda: expected a CUDA GPU, found none; use device=auto or device=cpu")
        return torch.device("cuda" if there and self.machine.device != "cpu" else "cpu")

    def prepare(self) -> None:
        """Set what torch keeps for the whole process."""
        torch.set_num_threads(self.machine.threads)
        torch.backends.cudnn.benchmark = True  # a GPU's libraries try their kernels; the last bits may differ
        if self.gpu_share < 1 and self.torch_device.type == "cuda":
            # Ray only counts shares: without a limit one trial takes the memory that others were promised.
            torch.cuda.set_per_process_memory_fraction(self.gpu_share)

    def describe(self) -> dict[str, Value]:
        """Device, threads and versions for the record."""
        device = self.torch_device
        name = (
            torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
        )
        return {
            "device": device.type,
            "device_name": name,
            "threads": self.machine.threads,
            "host": platform.node(),
            "python_version": platform.python_version(),
            "torch_version": torch.__version__,
        }


def settled(pairs: Iterable[str]) -> tuple[Machine, dict[str, str]]:
    """The `field=value` texts of a command line: the machine that they describe, and the settings of the trial.

    Raises UsageError for a text of another form and for values out of range.
    """
    settings = assignments(pairs)
    own = {field.name for field in describe(Machine)}
    machine: Machine = replace_known(Machine(), {name: value for name, value in settings.items() if name in own})
    return machine, {name: value for name, value in settings.items() if name not in own}


def assignments(pairs: Iterable[str]) -> dict[str, str]:
    """The `field=value` texts of a command line by field; raises UsageError for a text of another form."""
    settings: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"--set {pair}: expected field=value, such as --set epochs=20")
        settings[name] = value
    return settings
