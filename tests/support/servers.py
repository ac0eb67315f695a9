"""A real MLflow server, and a real PostgreSQL behind it, which can be stopped and started again."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.disturbed import PATIENT
from tests.support.tiny_sweep import environment, free_ports


@dataclass
class Server:
    """`mlflow server` on this machine only."""

    backend: str
    folder: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and do not wait."""
        self.folder.mkdir(parents=True, exist_ok=True)
        store = ["--backend-store-uri", self.backend, "--artifacts-destination", str(self.folder / "artifacts")]
        place = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).parent / "mlflow"), "server", *store, *place],
                cwd=self.folder,
                env=environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                start_new_session=True,
                stdout=log,
                stderr=log,
            )

    def answers(self) -> None:
        """Wait until it does."""
        deadline = time.monotonic() + PATIENT
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
                time.sleep(0.2)

    def stop(self) -> None:
        """Kill it and its workers; nothing is said to those who are connected."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class Postgres:
    """A PostgreSQL cluster of our own on a free port of this machine, in a folder that its user may enter."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="postgres-")))
    port: int = field(default_factory=lambda: free_ports(1)[0])

    @property
    def uri(self) -> str:
        """Its database."""
        return f"postgresql://mlflow@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        """Make and start it."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run(
            "initdb",
            "--username=mlflow",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            str(self.folder / "data"),
        )
        self.start()

    def remove(self) -> None:
        """Stop it, and leave nothing."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start it and wait until it answers."""
        listen = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self._ctl("start", "-w", "-o", listen, "-l", str(self.folder / "log"))

    def stop(self) -> None:
        """As a crash would: connections are cut."""
        self._ctl("stop", "-w", "-m", "immediate")

    def _ctl(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        found = binaries()
        assert found, "no PostgreSQL"
        user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        subprocess.run(
            [str(found / program), *arguments],
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **user,  # type: ignore[call-overload]
        )


def binaries() -> Path | None:
    """The folder of PostgreSQL's programs; Debian does not put them on the path."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def postgres_or_skip() -> None:
    """Skip the test where there is no PostgreSQL; where everything must hold, that is a failure."""
    reason = "no PostgreSQL (`apt-get install postgresql`), or no driver of it (`psycopg[binary]`)"
    user = os.geteuid() != 0 or any(found.pw_name == "postgres" for found in pwd.getpwall())
    if binaries() and user and importlib.util.find_spec("psycopg"):
        return
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
