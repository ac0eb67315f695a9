"""Several trials on one GPU: shares go to Ray as they are given. The GPU is one that Ray is told of, not a real one."""

import os
from pathlib import Path

import pytest

from basin.environment import Machine
from sweeps.execution.options import Options
from sweeps.execution.tuner import describe_unassigned_gpus
from tests.support.own_process import in_own_process


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_four_trials_share_a_gpu(tmp_path: Path, image_cache: Path) -> None:
    """Each trial waits for the three others, so the sweep succeeds only if all four run at once."""
    assert in_own_process(finished_on_a_gpu, tmp_path, image_cache) == 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_sweep_says_that_its_trials_ask_for_no_gpu(tmp_path: Path, image_cache: Path) -> None:
    notes = in_own_process(notes_on_a_gpu, tmp_path, image_cache)
    (warning,) = [note for note in notes if "--gpus-per-trial 0" in note]
    assert "1 GPUs" in warning
    assert "\n" not in warning


def notes_on_a_gpu(folder: Path, image_cache: Path) -> list[str]:
    """What is said when a sweep starts on a node of which Ray counts a GPU, and no trial asks for one."""
    from ray.cluster_utils import Cluster

    from benchmarks.sweep_overhead import Watch, no_op
    from sweeps.sweep import sweep

    class Heard(Watch):
        def show(self, event: str, status: object, result: object = None, words: str = "") -> None:
            notes.append(words)

    notes: list[str] = []
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    cluster = Cluster(True, head_node_args={"num_cpus": 2, "num_gpus": 1, "include_dashboard": False})
    try:
        place = {"storage": folder, "address": cluster.address, "cache": image_cache}
        sweep(no_op(2), Options(name="unassigned", machine=Machine(), **place), Heard())
    finally:
        cluster.shutdown()
    return notes


@pytest.mark.parametrize(
    ("resources", "gpus", "device", "warned"),
    [
        ({"CPU": 8.0, "GPU": 4.0}, 0.0, "auto", True),
        ({"CPU": 8.0, "GPU": 4.0}, 0.0, "cuda", True),
        ({"CPU": 8.0, "GPU": 4.0}, 0.25, "auto", False),
        ({"CPU": 8.0, "GPU": 4.0}, 0.0, "cpu", False),
        ({"CPU": 8.0}, 0.0, "auto", False),
    ],
)
def test_gpus_that_no_trial_asks_for(
    resources: dict[str, float], gpus: float, device: str, warned: bool, tmp_path: Path
) -> None:
    machine = Machine(device=device)  # type: ignore[arg-type]
    options = Options(name="unassigned", storage=tmp_path, machine=machine, gpus_per_trial=gpus)
    words = describe_unassigned_gpus(resources, options, 8)
    assert (words is not None) is warned
    if words:
        assert "4 GPUs" in words
        assert "up to 8 trials" in words


def finished_on_a_gpu(folder: Path, image_cache: Path) -> int:
    """Sweep on a cluster of one node with four cores and one GPU, whatever this machine has."""
    from ray.cluster_utils import Cluster

    from benchmarks.sweep_overhead import Watch
    from sweeps.sweep import sweep
    from tests.support.meeting import meeting_study

    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    (folder / "place").mkdir()
    cluster = Cluster(True, head_node_args={"num_cpus": 4, "num_gpus": 1, "include_dashboard": False})
    options = Options(
        name="shared",
        storage=folder,
        address=cluster.address,
        cache=image_cache,
        machine=Machine(device="cpu"),
        cpus_per_trial=0.5,
        gpus_per_trial=0.25,
    )
    try:
        report = sweep(meeting_study(4, folder / "place"), options, Watch())
    finally:
        cluster.shutdown()
    assert report.errors == []
    return len([row for row in report.store.rows() if row["role"] == "search"])


@pytest.mark.parametrize(("gpus", "share"), [(0.0, 1.0), (0.25, 0.25), (1.0, 1.0), (2.0, 1.0)])
def test_a_trial_has_its_share_of_the_memory(gpus: float, share: float, tmp_path: Path) -> None:
    options = Options(name="shared", storage=tmp_path, machine=Machine(), gpus_per_trial=gpus)
    assert options.make_place().gpu_share == share
