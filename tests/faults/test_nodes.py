"""A machine that is lost in the midst of a sweep, one that joins, and one that gives notice."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.cluster import spot_notice
from sweeps.storage.store import Store
from tests.support.disturbed import PATIENT, TWO, arguments, as_undisturbed, descendants, hit, launched, until, works_on
from tests.support.spot_metadata import serving_metadata
from tests.support.tiny_sweep import environment

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SOON = {
    "health_check_initial_delay_ms": 2000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}
"""Ray finds a lost machine in seconds; by default in up to a minute."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A head without room for trials, and one worker; machines that are sets of processes here."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    made = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": SOON}
    )
    yield made
    made.shutdown()


def test_a_worker_is_lost_and_another_joins(
    cluster: object, undisturbed: Store, image_cache: Path, tmp_path: Path
) -> None:
    store = works_on(tmp_path)
    lost = cluster.add_node(num_cpus=1)  # type: ignore[attr-defined]
    address = cluster.address  # type: ignore[attr-defined]
    with launched(*arguments(tmp_path, image_cache, *TWO, "--address", address)) as process:
        until(lambda: list((store.folder / "scratch").glob("*/state.safetensors")), process)
        assert process.poll() is None, process.communicate()
        cluster.remove_node(lost, allow_graceful=False)  # type: ignore[attr-defined]
        before = len(store.keys())
        cluster.add_node(num_cpus=1)  # type: ignore[attr-defined]
        out, err = process.communicate(timeout=PATIENT)
    assert process.returncode == 0, out + err
    assert before < len(store.keys())
    as_undisturbed(undisturbed, store)


def test_a_spot_instance_gives_notice_and_its_trial_goes_on_elsewhere(
    cluster: object, undisturbed: Store, image_cache: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = works_on(tmp_path)
    leaving = cluster.add_node(num_cpus=1)  # type: ignore[attr-defined]
    address = cluster.address  # type: ignore[attr-defined]
    with launched(*arguments(tmp_path, image_cache, *TWO, "--address", address)) as process:
        until(lambda: list((store.folder / "scratch").glob("*/state.safetensors")), process)
        (raylet,) = spot_notice.find_raylets(leaving.node_id)
        until(lambda: trials_of(raylet), process)
        (trial,) = trials_of(raylet)
        assert hit(trial, signal.SIGSTOP)  # else it might be done before the watcher has started
        cluster.add_node(num_cpus=1)  # type: ignore[attr-defined]
        assert "drained: True; trials asked to stop: 1" in give_notice(raylet, tmp_path_factory.mktemp("watcher"))
        assert hit(trial, signal.SIGCONT)
        until(lambda: spot_notice.find_raylets(leaving.node_id) == [], process)
        assert process.poll() is None, process.communicate()
        out, err = process.communicate(timeout=PATIENT)
    assert process.returncode == 0, out + err
    as_undisturbed(undisturbed, store)


def trials_of(raylet: spot_notice.Raylet) -> list[int]:
    """Processes of trials on a node."""
    return [pid for pid, line in descendants(raylet.pid).items() if line.startswith("ray::") and "rainable" in line]


def give_notice(raylet: spot_notice.Raylet, folder: Path) -> str:
    """What the watcher of a node prints, whose metadata service gives notice."""
    with serving_metadata() as service:
        service.notify()
        more = {"SPOT_METADATA_SERVICE": service.address, "SPOT_NODE_ID": raylet.node_id, "TMPDIR": str(folder)}
        command = [sys.executable, "-W", "ignore", spot_notice.__file__]
        done = subprocess.run(command, env=environment() | more, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
