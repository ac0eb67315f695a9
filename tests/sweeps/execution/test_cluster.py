"""The same sweep on a Ray cluster that is there already: submitted as a job, and driven through Ray's client."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeps.storage.store import Store
from tests.support.tiny_sweep import ROOT, environment, free_ports, same_tables, sweep_arguments, works

pytestmark = pytest.mark.slow
COMMIT = "0123456789abcdef"


@dataclass(frozen=True)
class Cluster:
    """A Ray head on loopback, with a token of its own."""

    gcs: int
    client: int
    dashboard: int
    environment: dict[str, str]

    def run(self, *command: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
        """A command of somebody who knows the token."""
        return subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, text=True, check=False, timeout=400
        )


def program(name: str) -> str:
    """A command of this environment."""
    return str(Path(sys.executable).parent / name)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    gcs, client, dashboard, *agents = free_ports(6)
    names = ("--port", "--ray-client-server-port", "--dashboard-port", "--dashboard-agent-listen-port")
    names += ("--runtime-env-agent-port", "--metrics-export-port")
    ports = [f"{name}={port}" for name, port in zip(names, (gcs, client, dashboard, *agents), strict=True)]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16), "RAY_USAGE_STATS_ENABLED": "0"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**environment(), **token, "PATH": path, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    env["RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S"] = "120"  # beside other tests a client's process starts slowly
    where = ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"]
    command = [program("ray"), "start", "--head", "--block", "--num-cpus=2", *ports, *where]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        there = Cluster(gcs, client, dashboard, env)
        try:
            deadline = time.monotonic() + 120
            while there.run(program("ray"), "job", "list", "--address", f"http://127.0.0.1:{dashboard}").returncode:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline, "Ray does not start"
                time.sleep(1)
            yield there
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def test_a_submitted_job_is_the_same_sweep(
    cluster: Cluster, finished: Store, tmp_path: Path, image_cache: Path
) -> None:
    """From a copy of the code that lies elsewhere on the cluster, without its history; same arguments, same tables."""
    arguments = sweep_arguments(tmp_path, image_cache, "--address", "auto")
    where = ["--address", f"http://127.0.0.1:{cluster.dashboard}", "--working-dir", str(ROOT)]
    variables = f'{{"env_vars": {{"SINGLE_BASIN_COMMIT": "{COMMIT}"}}}}'
    submit = [program("ray"), "job", "submit", *where, "--runtime-env-json", variables, "--"]
    done = cluster.run(*submit, "python", "launch.py", *arguments)
    assert "succeeded" in works(done)
    store = Store(tmp_path / "quickstart")
    same_tables(finished.folder, store.folder)
    assert {row["commit"] for row in store.rows()} == {COMMIT}
    again = works(cluster.run(*submit, "python", "launch.py", *arguments))
    assert f"0 trials run now, {len(store.keys())} in" in " ".join(again.split())


def test_a_sweep_through_rays_client_is_the_same(
    cluster: Cluster, finished: Store, tmp_path: Path, image_cache: Path
) -> None:
    address = f"ray://127.0.0.1:{cluster.client}"
    arguments = sweep_arguments(tmp_path, image_cache, "--address", address, "--concurrency", "2")
    works(cluster.run(sys.executable, "launch.py", *arguments))
    same_tables(finished.folder, tmp_path / "quickstart")


def test_nobody_gets_in_without_the_token(cluster: Cluster) -> None:
    stranger = {**cluster.environment, "RAY_AUTH_TOKEN": "wrong"}
    command = [program("ray"), "job", "list", "--address", f"http://127.0.0.1:{cluster.dashboard}"]
    done = subprocess.run(command, env=stranger, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert "token" in (done.stdout + done.stderr).lower()


def test_the_cluster_listens_on_loopback_only(cluster: Cluster) -> None:
    """What Ray was told to bind: the dashboard with its job server; other ports are checked in the drill."""
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    addresses = {line.split()[1] for line in listening if line.split()[3] == "0A"}
    assert f"0100007F:{cluster.dashboard:04X}" in addresses
    assert f"00000000:{cluster.dashboard:04X}" not in addresses


PLUGIN = '''
from basin.constructions import constructions
from basin.constructions.deep import Deep


@constructions.register("alone")
class Alone(Deep):
    """A deep ensemble of somebody else."""
'''


def test_a_plugin_reaches_the_workers_of_a_cluster(cluster: Cluster, tmp_path: Path, image_cache: Path) -> None:
    """Ray copies the file, which lies on no path of Python, beside the code of the project."""
    (tmp_path / "their_lab.py").write_text(PLUGIN)
    address = f"ray://127.0.0.1:{cluster.client}"
    where = ["--address", address, "--concurrency", "2", "--import", "their_lab.py", "--set", "construction=alone"]
    arguments = sweep_arguments(tmp_path / "results", image_cache, *where, "--trials", "1", "--seeds", "1")
    works(cluster.run(sys.executable, str(ROOT / "launch.py"), *arguments, cwd=tmp_path))
    rows = Store(tmp_path / "results" / "quickstart").rows()
    assert {row["construction"] for row in rows} == {"alone", "deep"}
    assert {row["plugins"].partition("@")[0] for row in rows} == {"their_lab"}
