"""Trials that hang, run out of memory, or diverge: in a copy of the project whose construction has faults."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.storage.store import Store
from tests.support.disturbed import arguments, as_undisturbed, launched, nothing_left_over, one_run_each, works_on
from tests.support.tiny_sweep import ROOT, environment

pytestmark = pytest.mark.slow

FAULTY = """


def _faulty(self, task, *, grow=Distilled.grow):
    for index, ensemble in enumerate(grow(self, task)):
        yield ensemble
        if index < 2:
            _meet(ensemble, index)


def _meet(ensemble, index):
    import os
    import signal
    import time
    from pathlib import Path

    import torch

    for file in sorted(Path(os.environ["FAULTS"]).iterdir()) if "FAULTS" in os.environ else []:
        if file.name.startswith("stuck") != (index == 0):
            continue
        try:
            file.unlink()
        except FileNotFoundError:
            continue
        if file.name.startswith("hang"):
            time.sleep(10_000)
        if file.name.startswith("stuck"):
            os.kill(os.getpid(), signal.SIGKILL)
        if file.name.startswith("memory"):
            torch.empty(1 << 60)
        if file.name.startswith("nan"):
            next(iter(ensemble.vertices.values())).mul_(float("nan"))
        return


Distilled.grow = _faulty
"""
"""After its second epoch a trial takes a file away, and what it is named happens; if stuck, after its first."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code in a folder of its own, with the faults."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("basin", "sweeps", "analysis", "cli", "stats"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "launch.py", folder)
    with (folder / "basin" / "constructions" / "distilled.py").open("a", encoding="utf-8") as file:
        file.write(FAULTY)
    return folder


def run(project: Path, *command: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "launch.py", *command],
        cwd=project,
        env=environment() | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def faults(folder: Path, *names: str) -> str:
    """A folder of faults to come."""
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return str(folder)


def test_a_hanging_trial_is_begun_again(project: Path, undisturbed: Store, image_cache: Path, tmp_path: Path) -> None:
    command = arguments(tmp_path / "storage", image_cache, "--deadline", "40")  # no healthy epoch takes so long
    done = run(project, *command, FAULTS=faults(tmp_path / "faults", "hang-1"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list((tmp_path / "faults").iterdir())
    as_undisturbed(undisturbed, works_on(tmp_path / "storage"))


def test_a_trial_without_memory_fails_alone_and_one_that_diverges_is_a_result(
    project: Path, undisturbed: Store, image_cache: Path, tmp_path: Path
) -> None:
    command, store = arguments(tmp_path / "storage", image_cache), works_on(tmp_path / "storage")
    done = run(project, *command, FAULTS=faults(tmp_path / "faults", "memory", "nan"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "a trial failed: out of memory in one training step" in done.stdout
    assert "same command to retry the failed trials" in done.stdout
    assert not list((tmp_path / "faults").iterdir())
    (diverged,) = [row["key"] for row in store.rows() if row["status"] == "diverged"]
    one_run_each(store)
    # What had the best score while two trials were missing may have been run on fresh seeds.
    chosen = {row["key"] for row in undisturbed.rows() if row["role"] != "fresh"}
    expected = scores(undisturbed) | {diverged: None}
    assert {key: score for key, score in scores(store).items() if key in chosen} == {
        key: expected[key] for key in chosen & scores(store).keys()
    }
    # A loss that is not finite would be so again; here it is not, and its row is taken away.
    store.table_path("trials", diverged).unlink()
    done = run(project, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    one_run_each(store)
    nothing_left_over(store)
    assert chosen <= scores(store).keys()
    common = scores(store).keys() & scores(undisturbed).keys()
    assert {key: scores(store)[key] for key in common} == {key: scores(undisturbed)[key] for key in common}


def scores(store: Store) -> dict[str, float | None]:
    """What each trial got on test images."""
    return {row["key"]: row["test_accuracy"] for row in store.rows()}


def test_a_trial_that_gets_nowhere_is_given_up(project: Path, image_cache: Path, tmp_path: Path) -> None:
    """Begun five times at the same place, it fails; the others are done, and the next launch tries again."""
    command = arguments(tmp_path / "storage", image_cache, "--trials", "1")
    names = [f"stuck-{number}" for number in range(6)]  # before the first it was nowhere
    done = run(project, *command, FAULTS=faults(tmp_path / "faults", *names))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "failed 5 times without making progress: worker died or hung" in done.stdout
    store = works_on(tmp_path / "storage")
    assert {row["role"] for row in store.rows()} == {"reference"}
    with launched(*command, cwd=project) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    one_run_each(store)
    nothing_left_over(store)
    assert sorted(row["role"] for row in store.rows()) == ["fresh"] * 2 + ["reference"] * 2 + ["search"]
