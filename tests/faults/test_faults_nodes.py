"""A machine that is lost in the midst of a sweep, and one that joins."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from disturbed import PATIENT, TWO, arguments, as_undisturbed, launched, until, works_on

from sweeps.store import Store

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
