"""The machine and folders of a trial; nothing here is part of the trial's key."""

import ctypes
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import torch

from basin.errors import UsageError
from basin.files import Nowhere, Remote
from basin.spec import Bounds, Checked, Unit, Value, describe_fields, replace_known
from basin.training.execution_mode import EngineName

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of glibc's `mallopt`."""
LARGEST_REUSED = 32 * 2**20
"""Bytes from which an allocation is mapped on its own; glibc accepts no more."""
MOST_KEPT = 2**31 - 1
"""Free bytes at the end of the heap from which glibc returns them."""


def default_cache() -> Path:
    """The folder of decoded datasets that all trials on a machine share."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "single-basin"


@dataclass(frozen=True, kw_only=True)
class Machine(Checked):
    """The hardware settings of a trial; recorded, but not part of its key."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a CUDA GPU where there is one."""
    threads: Annotated[int, Bounds(1), Unit("threads")] = 1
    """CPU threads of one trial; more than one may change the last bits of a result."""
    engine: EngineName = "auto"
    """Execution mode of an ensemble's networks: loop (one after another), threads (side by side on CPU threads),
    stacked (in one call), graphs (CUDA graphs, side by side on a GPU); auto times a few steps and takes the fastest.
    Another engine may change the last bits of a result."""
    compile: bool = False
    """Fuse the training passes with torch.compile, for which the first step takes a minute or more."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A machine and the folders a trial uses there."""

    machine: Machine = field(default_factory=Machine)
    data: Path | None = None
    """Folder or archive given as --data; None for built-in or downloaded data."""
    ood_data: Path | None = None
    """Folder or archive of the out-of-distribution dataset."""
    cache: Path = field(default_factory=default_cache)
    """Folder of decoded datasets."""
    runs: Path
    """Folder of the stages (trunks and teachers), shared by content."""
    scratch: Path | None = None
    """Checkpoint folder of the trial; None keeps no checkpoint."""
    remote: Remote = field(default_factory=Nowhere)
    """Remote storage of stages and checkpoints."""

    gpu_share: float = 1.0
    """Fraction of the GPU's memory that the trial may use."""

    @property
    def torch_device(self) -> torch.device:
        """The device; raises UsageError if a GPU is asked for and not there."""
        has_gpu = torch.cuda.is_available()
        if self.machine.device == "cuda" and not has_gpu:
            raise UsageError("device=cuda: expected a CUDA GPU, found none; use device=auto or device=cpu")
        return torch.device("cuda" if has_gpu and self.machine.device != "cpu" else "cpu")

    def prepare(self) -> None:
        """Apply the settings that torch and the C library keep per process."""
        keep_freed_memory()
        torch.set_num_threads(self.machine.threads)
        torch.backends.cudnn.benchmark = True  # a GPU's libraries try their kernels; the last bits may differ
        if self.gpu_share < 1 and self.torch_device.type == "cuda":
            # Ray only counts shares: without a limit one trial could take the memory assigned to others.
            torch.cuda.set_per_process_memory_fraction(self.gpu_share)

    def describe(self) -> dict[str, Value]:
        """Device, threads and versions, to be stored with the results."""
        device = self.torch_device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
        return {
            "device": device.type,
            "device_name": name,
            "threads": self.machine.threads,
            "host": platform.node(),
            "python_version": platform.python_version(),
            "torch_version": torch.__version__,
        }


def keep_freed_memory() -> None:
    """Let glibc reuse freed memory instead of returning it to the system, which would clear its pages for each step.

    A step in float32 allocates and frees about 200 MB. All threads share one heap, as those of others are always
    returned. The process needs no more memory than at its peak before. Without glibc nothing happens.
    """
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_ARENA_MAX, 1)
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_REUSED)
        library.mallopt(M_TRIM_THRESHOLD, MOST_KEPT)


@cache
def cpu_name() -> str:
    """Model of the processor, on which the last bits of a result may depend; the architecture if it is not known."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def parse_settings(pairs: Iterable[str]) -> tuple[Machine, dict[str, str]]:
    """Split the `field=value` texts of a command line into the machine and the settings of the trial.

    Raises UsageError for a text of another form and for values out of range.
    """
    settings = parse_assignments(pairs)
    machine_fields = {field.name for field in describe_fields(Machine)}
    machine: Machine = replace_known(
        Machine(), {name: value for name, value in settings.items() if name in machine_fields}
    )
    return machine, {name: value for name, value in settings.items() if name not in machine_fields}


def parse_assignments(pairs: Iterable[str]) -> dict[str, str]:
    """Parse the `field=value` texts of a command line. Raises UsageError for a text of another form."""
    settings: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"--set {pair}: expected field=value, such as --set epochs=20")
        settings[name] = value
    return settings
