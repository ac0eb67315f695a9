"""Several trials on one GPU: shares go to Ray as they are given. The GPU is one that Ray is told of, not a real one."""

import os
from pathlib import Path
from typing import Any

import pytest

from basin.environment import Machine
from sweeps.execution.options import Options
from sweeps.execution.tuner import describe_unassigned_gpus
from tests.support.own_process import in_own_process


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_four_trials_share_a_gpu_and_a_sweep_says_that_its_trials_ask_for_none(
    tmp_path: Path, image_cache: Path
) -> None:
    """Each of the four waits for the three others, so their sweep succeeds only if all run at once."""
    finished, notes = in_own_process(swept_on_a_gpu, tmp_path, image_cache)
    assert finished == 4
    (warning,) = [note for note in notes if "--gpus-per-trial 0" in note]
    assert "1 GPUs" in warning
    assert "\n" not in warning


def swept_on_a_gpu(folder: Path, image_cache: Path) -> tuple[int, list[str]]:
    """Trials that share the GPU that Ray counts, whatever this machine has; and notes of a sweep that asks for none."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    cluster = Cluster(True, head_node_args={"num_cpus": 4, "num_gpus": 1, "include_dashboard": False})
    place: dict[str, Any] = {"storage": folder, "address": cluster.address, "cache": image_cache}
    try:
        return finished_with_shares(folder, place), notes_without_shares(place)
    finally:
        cluster.shutdown()


def finished_with_shares(folder: Path, place: dict[str, Any]) -> int:
    """How many of four trials end that wait for each other."""
    from benchmarks.sweep_overhead import Watch
    from sweeps.sweep import sweep
    from tests.support.meeting import meeting_study

    (folder / "place").mkdir()
    shares = {"machine": Machine(device="cpu"), "cpus_per_trial": 0.5, "gpus_per_trial": 0.25}
    report = sweep(meeting_study(4, folder / "place"), Options(name="shared", **place, **shares), Watch())
    assert report.errors == []
    return len([row for row in report.store.rows() if row["role"] == "search"])


def notes_without_shares(place: dict[str, Any]) -> list[str]:
    """What is said when a sweep starts whose trials ask for no GPU."""
    from benchmarks.sweep_overhead import Watch, no_op
    from sweeps.sweep import sweep

    class Heard(Watch):
        def show(self, event: str, status: object, result: object = None, words: str = "") -> None:
            notes.append(words)

    notes: list[str] = []
    sweep(no_op(2), Options(name="unassigned", machine=Machine(), **place), Heard())
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


@pytest.mark.parametrize(("gpus", "share"), [(0.0, 1.0), (0.25, 0.25), (1.0, 1.0), (2.0, 1.0)])
def test_a_trial_has_its_share_of_the_memory(gpus: float, share: float, tmp_path: Path) -> None:
    options = Options(name="shared", storage=tmp_path, machine=Machine(), gpus_per_trial=gpus)
    assert options.make_place().gpu_share == share
