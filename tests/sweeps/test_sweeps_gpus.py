"""Several trials on one GPU: shares go to Ray as they are given. The GPU is one that Ray is told of, not a real one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from basin.place import Machine
from benchmarks.sweep_overhead import Watch, no_op
from sweeps.options import Options
from sweeps.sweep import place_of, sweep

PAUSE = 20.0
"""Seconds of each trial, asleep: longer than workers take to start one after another."""


@pytest.fixture
def one_gpu() -> Iterator[str]:
    """The address of a cluster of one node with four cores and one GPU, whatever this machine has."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    cluster = Cluster(True, head_node_args={"num_cpus": 4, "num_gpus": 1, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_four_trials_share_a_gpu(one_gpu: str, tmp_path: Path, image_cache: Path) -> None:
    options = Options(
        name="shared",
        storage=tmp_path,
        address=one_gpu,
        cache=image_cache,
        machine=Machine(device="cpu"),
        cpus_per_trial=0.5,
        gpus_per_trial=0.25,
    )
    report = sweep(no_op(4, pause=PAUSE), options, Watch())
    rows = report.store.rows()
    assert len(rows) == 4
    ends = [row["finished_at"].timestamp() for row in rows]
    starts = [end - row["seconds"] for end, row in zip(ends, rows, strict=True)]
    assert max(starts) < min(ends)  # there was a moment in which all four ran


@pytest.mark.parametrize(("gpus", "share"), [(0.0, 1.0), (0.25, 0.25), (1.0, 1.0), (2.0, 1.0)])
def test_a_trial_has_its_share_of_the_memory(gpus: float, share: float, tmp_path: Path) -> None:
    options = Options(name="shared", storage=tmp_path, machine=Machine(), gpus_per_trial=gpus)
    assert place_of(options).gpu_share == share
