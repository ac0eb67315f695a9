"""The end of a sweep: a command of the user, and the commands that read the results."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from basin.command_line import say
from cli.options import RESULTS
from sweeps.storage.address import show_address

if TYPE_CHECKING:
    from sweeps.execution.options import Options

SIGNALS = 128
"""Exit codes above this one are those of signals."""


@contextmanager
def ending_announced(command: str | None, name: str, results: str) -> Iterator[None]:
    """Run a shell command after the block, however it ends; the command changes neither error nor exit code.

    It finds the sweep in SINGLE_BASIN_SWEEP, its folder or address in SINGLE_BASIN_RESULTS, and done, failed or
    stopped in SINGLE_BASIN_STATUS. What it prints goes to stderr.
    """
    status = "failed"
    try:
        yield
        status = "done"
    except (SystemExit, KeyboardInterrupt) as ended:
        code = ended.code if isinstance(ended, SystemExit) else SIGNALS + 2
        status = "stopped" if isinstance(code, int) and code > SIGNALS else "failed"
        raise
    finally:
        if command:
            _run_command(command, {"SWEEP": name, "STATUS": status, "RESULTS": results})


def _run_command(command: str, facts: dict[str, str]) -> None:
    environment = os.environ | {f"SINGLE_BASIN_{name}": value for name, value in facts.items()}
    try:
        code = subprocess.run(["sh", "-c", command], env=environment, stdout=2, check=False).returncode
    except OSError as error:
        say(f"--on-end failed: {error.strerror}")
        return
    if code:
        say(f"--on-end failed: `{command}` ended with exit code {code}")


def next_commands(options: "Options") -> str:
    """The commands that read the results of a sweep, as they can be copied."""
    name = options.name
    if options.mirror:
        return f"next: launch.py fetch {name} --storage {show_address(options.mirror.uri)}"
    where = storage_option(options.storage)
    uri = f" --tracking-uri {show_address(options.tracking_uri)}" if options.tracking_uri else ""
    return f"next: launch.py best {name}{where}{uri}, launch.py report {name}{where}"


def storage_option(storage: Path) -> str:
    """The option that names a storage; empty for the default one."""
    return "" if storage == RESULTS else f" --storage {shlex.quote(str(storage))}"
