"""The pages that `launch.py ui` shows, of MLflow and of optuna-dashboard, and their servers on this machine."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from basin.errors import UsageError
from sweeps.execution.signals import Stopped, stoppable
from sweeps.tracking.reader import Reader
from sweeps.tracking.tags import VIEW, VIEW_TAG

RUN_LIST = "runs?workflowType=machine_learning"
"""MLflow's list of runs; without the parameter, MLflow 3 opens its page of GenAI traces."""
HOST = "127.0.0.1"
PAUSE = 0.2
"""Seconds between two looks whether a server answers."""
GRACE = 10.0
"""Seconds that a server has to end."""
FOR_ONE = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""MLflow for one person: no processes for jobs, and nothing is reported to its makers."""


@dataclass(frozen=True)
class Dashboard:
    """A page, and the server that shows it."""

    path: str
    """Path of the page."""
    port: int
    command: tuple[str, ...]
    """Program of the server and its arguments."""
    environment: dict[str, str]
    """Variables of the server, in addition to ours."""

    @property
    def address(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self.port}{self.path}"

    @property
    def shell_line(self) -> str:
        """The command that starts the server."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*variables, shlex.join(self.command)])


def runs_path(reader: Reader) -> str:
    """Path of the page of a sweep's runs in MLflow, in the view that the sweep has recorded."""
    view = f"&viewStateShareKey={VIEW}" if VIEW_TAG in reader.read_tags() else ""
    return f"/#/experiments/{reader.experiment}/{RUN_LIST}{view}"


def mlflow_dashboard(uri: str, path: str, port: int) -> Dashboard:
    """A page of MLflow."""
    options = ("--host", HOST, "--port", str(port), "--workers", "1", "--uvicorn-opts", "--log-level warning")
    environment = {"MLFLOW_BACKEND_STORE_URI": uri, **FOR_ONE}  # others see the arguments of a process
    return Dashboard(path, port, (_program("mlflow"), "server", *options), environment)


def optuna_dashboard(journal: Path, port: int) -> Dashboard:
    """The search of a sweep in optuna-dashboard; raises UsageError if there is no journal."""
    if not journal.exists():
        raise UsageError(f"no search in {journal.parent}: expected {journal.name}, which `launch.py sweep` writes")
    command = (_program("optuna-dashboard"), str(journal), "--host", HOST, "--port", str(port), "--quiet")
    return Dashboard(f"/dashboard/studies/{_study_id(journal)}", port, command, {})


def _program(name: str) -> str:
    """A program of this environment; raises UsageError if it is not installed."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise UsageError(f"{name} is not installed beside {sys.executable}: install the packages of uv.lock")
    return str(path)


def _study_id(journal: Path) -> int:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    studies = JournalStorage(JournalFileBackend(str(journal))).get_all_studies()
    if not studies:
        raise UsageError(f"no search in {journal.parent}: {journal.name} is empty")
    return int(studies[0]._study_id)


def serve_dashboard(dashboard: Dashboard, announce: Callable[[str], None]) -> None:
    """Run the server until Ctrl-C or SIGTERM, and announce its page when it answers.

    The server hears no Ctrl-C itself: its processes would print tracebacks. Raises UsageError if it does not start.
    """
    _require_free(dashboard.port)
    program = Path(dashboard.command[0]).name
    announce(f"starting {program}; Ctrl-C ends it")
    with suppress(Stopped), stoppable():
        server = subprocess.Popen(
            dashboard.command, env=os.environ | dashboard.environment, start_new_session=True, stdin=subprocess.DEVNULL
        )
        try:
            while server.poll() is None and not _answers(dashboard.port):
                time.sleep(PAUSE)
            if server.poll() is None:
                announce(dashboard.address)
            code = server.wait()
        finally:
            _end_group(server)
        raise UsageError(f"{program} ended with exit code {code}: see its lines above")


def _require_free(port: int) -> None:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError as error:
            raise UsageError(f"--port {port}: {error.strerror}; give another port") from error


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=PAUSE):
            return True
    except OSError:
        return False


def _end_group(server: "subprocess.Popen[bytes]") -> None:
    """End a server and its processes: those that outlive it or the grace are killed."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(GRACE)
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
