"""A node whose Ray stalls, as on NFS while its server restarts, is given up late; one whose Ray died, at once."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.disturbed import until
from tests.support.own_process import in_own_process

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NFS_GRACE = 90
"""Seconds for which a server of NFS 4 that restarts stalls its clients: Linux's default."""
JOINING = 15
"""Seconds in which Ray connects to a new node for its checks, which begin after five. A node that stalled at once was
lost after 29 s: presumably the first connection failed, and then each check without waiting.
"""


def test_a_stalled_node_outlasts_the_restart_of_an_nfs_server_and_a_dead_one_does_not(root: Path) -> None:
    stalled, dead = in_own_process(seconds_until_lost, root, (signal.SIGSTOP, signal.SIGKILL))
    assert stalled > NFS_GRACE
    assert dead < NFS_GRACE / 2


def seconds_until_lost(root: Path, signals: tuple[signal.Signals, ...]) -> list[float]:
    """Seconds until Ray gives up nodes whose raylets got a signal each, with the health checks of environment.sh."""
    import ray
    from ray.cluster_utils import Cluster

    from sweeps.cluster.spot_notice import find_raylets

    program = '. sweeps/cluster/environment.sh; env | sed -n "s/^RAY_health_check/health_check/p"'
    environment = {"PATH": os.environ["PATH"], "HOME": "/"}
    said = subprocess.run(
        ["bash", "-c", program], cwd=root, env=environment, text=True, capture_output=True, check=True
    )
    checks = {name: int(value) for name, _, value in (line.partition("=") for line in said.stdout.split())}
    assert len(checks) == 3
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    cluster = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": checks})
    ray.init(address=cluster.address, log_to_driver=False)
    hit: list[int] = []
    took: dict[str, float] = {}
    try:
        nodes = [cluster.add_node(num_cpus=1).node_id for _ in signals]
        raylets = [raylet.pid for (raylet,) in map(find_raylets, nodes)]
        time.sleep(JOINING)
        began = time.monotonic()
        for pid, number in zip(raylets, signals, strict=True):
            hit.append(pid)
            os.kill(pid, number)

        def all_lost() -> bool:
            lost = set(nodes) - {one["NodeID"] for one in ray.nodes() if one["Alive"]}
            took.update({node: time.monotonic() - began for node in lost - took.keys()})
            return len(took) == len(nodes)

        until(all_lost)
    finally:
        for pid in hit:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGCONT)
        ray.shutdown()
        cluster.shutdown()
    seconds = [took[node] for node in nodes]
    print(f"seconds until a node is lost: {seconds}")  # for docs/cluster.md: pytest -s
    return seconds
