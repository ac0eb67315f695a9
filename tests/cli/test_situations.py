"""Situations of public bug reports: a long TMPDIR of a batch system, a warm start from nothing, one CPU of many."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from sweeps.storage.store import Store
from sweeps.study.manifest import write_manifest
from tests.support.shell import Command, run_here
from tests.support.tiny_sweep import ROOT, environment, put, row_of, study, sweep_arguments

LONG = "job" * 40
"""Name of a folder in which the paths of Ray's sockets are longer than the system allows."""
NOBODY = ("--address", "127.0.0.1:1")
"""Cluster that does not answer: the launch ends where trials would begin."""
NOTHING = "none of its finished trials lies in the space of this search"


@pytest.mark.slow
def test_a_tmpdir_that_is_too_long_for_sockets(tmp_path: Path, image_cache: Path) -> None:
    (tmp_path / LONG).mkdir()
    done = subprocess.run(
        [sys.executable, "launch.py", *sweep_arguments(tmp_path / "storage", image_cache)],
        cwd=ROOT,
        env=environment() | {"TMPDIR": str(tmp_path / LONG)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: TMPDIR is too long for Ray's sockets: set RAY_TMPDIR to")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "storage").exists()


@pytest.mark.parametrize("source", ["empty", "runs", "nowhere"])
def test_a_warm_start_from_what_is_no_sweep(source: str, refused: Command, tmp_path: Path, image_cache: Path) -> None:
    storage = tmp_path / "storage"
    for name in ("empty", "runs"):
        (storage / name).mkdir(parents=True)
    line = refused(*sweep_arguments(storage, image_cache, "--name", "new", "--warm-start", source, *NOBODY))
    assert f"sweep '{source}' has no sweep.json" in line or f"no sweep '{source}' in {storage}" in line
    assert not (storage / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("t", "fits"), [(0.5, True), (0.1, False)])
def test_a_warm_start_from_which_nothing_fits_is_said(t: float, fits: bool, tmp_path: Path, image_cache: Path) -> None:
    storage = tmp_path / "storage"
    earlier, chosen = Store(storage / "earlier"), study()
    earlier.folder.mkdir(parents=True)
    write_manifest(earlier, chosen, 0)
    put(earlier, row_of(chosen, {"construction": "constrained", "t": t, "beta": 1.0, "seed": 0}))
    command = sweep_arguments(storage, image_cache, "--name", "new", "--warm-start", "earlier", *NOBODY)
    code, out, err = run_here(*command, "--set", "t=0.5", "--sampler", "tpe")
    assert code == 2, out + err
    assert "127.0.0.1:1" in err
    assert (f"--warm-start earlier: {NOTHING}" in out + err) == (not fits)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a CPU")
def test_ray_counts_the_cpus_that_the_process_is_bound_to(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "launch.py", "doctor", "--storage", str(tmp_path)],
        cwd=ROOT,
        env=environment() | {"COLUMNS": "300"},
        preexec_fn=partial(os.sched_setaffinity, 0, {min(os.sched_getaffinity(0))}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 node(s), 1 CPUs" in done.stdout, done.stdout + done.stderr
