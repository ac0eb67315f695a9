"""Processes that are killed, asked to go, or started twice."""

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from basin.environment import Machine, Place
from basin.trial import identify_data, run
from sweeps.execution.signals import GROUP, LAST_WORDS
from sweeps.storage.columns import is_score
from sweeps.storage.store import Store
from sweeps.tracking.run_record import DISTANCES
from tests.support.disturbed import (
    PATIENT,
    TWO,
    alive,
    arguments,
    as_undisturbed,
    descendants,
    hit,
    launched,
    moments,
    nothing_left_over,
    one_run_each,
    trial_processes,
    until,
    works_on,
)
from tests.support.tiny_sweep import launch, study, works

pytestmark = pytest.mark.slow


def changing(store: Store) -> int:
    """Files of stages, checkpoints and results, whose number changes while a sweep runs."""
    return sum(1 for folder in ("../runs", "tables", "scratch") for _ in (store.folder / folder).rglob("*"))


def struck(process: "subprocess.Popen[str]", numbers: list[signal.Signals], seed: int) -> list[signal.Signals]:
    """The signals that a trial's process of a launcher got, one process at a time and at random moments."""
    found: list[signal.Signals] = []
    for number, wait in zip(numbers, moments(len(numbers), 0.4, seed), strict=True):
        while until(lambda: trial_processes(process.pid), process):
            time.sleep(wait)
            if any(hit(pid, number) for pid in trial_processes(process.pid)[:1]):  # else it was going already
                found.append(number)
                break
    return found


def test_trial_processes_are_killed_and_asked_to_go(undisturbed: Store, image_cache: Path, tmp_path: Path) -> None:
    """Such trials are begun again in the same launch, also one whose process is lost between two trials."""
    store, command = works_on(tmp_path), arguments(tmp_path, image_cache, *TWO)
    with launched(*command) as process:
        got = struck(process, [signal.SIGKILL, signal.SIGTERM] * 3, seed=0)
        out, errors = process.communicate(timeout=PATIENT)
    assert process.returncode == 0, out + errors
    assert "Traceback" not in errors, errors
    assert {signal.SIGKILL, signal.SIGTERM} <= set(got)  # a fast machine has finished before the later ones
    as_undisturbed(undisturbed, store)


def test_the_launcher_is_killed(undisturbed: Store, image_cache: Path, tmp_path: Path) -> None:
    store, command, killed = works_on(tmp_path), arguments(tmp_path, image_cache, *TWO), 0
    for wait in moments(3, 1.5, seed=1):
        with launched(*command) as process:
            before = changing(store)
            until(lambda: changing(store) != before, process)  # noqa: B023
            time.sleep(wait)
            killed += process.poll() is None
    assert killed  # a fast machine has finished before the later ones
    works(launch(*command))
    as_undisturbed(undisturbed, store)


def test_with_tpe_there_are_as_many_trials_as_asked_for_and_each_can_be_run_again(
    image_cache: Path, tmp_path: Path
) -> None:
    command = arguments(tmp_path, image_cache, "--sampler", "tpe")
    store = works_on(tmp_path)
    with launched(*command) as process:
        until(lambda: len(store.keys()) > 3, process)
        assert process.poll() is None, process.communicate()
    works(launch(*command))
    rows = store.rows()
    assert sorted(row["role"] for row in rows) == ["fresh"] * 2 + ["reference"] * 2 + ["search"] * 3
    assert len({(row["t"], row["beta"], row["temperature"], row["weight"]) for row in rows}) == 4
    one_run_each(store)
    nothing_left_over(store)
    place = Place(machine=Machine(), cache=image_cache, runs=tmp_path / "again")
    from tests.support.disturbed import CHANGES

    chosen = study(**CHANGES)
    chosen = replace(chosen, base=identify_data(chosen.base, place))
    row = next(row for row in rows if row["role"] == "search")
    names = ("construction", "seed", *(field.name for field in chosen.space.fields("distilled")))
    again = chosen.resolve_trial({name: row[name] for name in names})
    assert again.key == row["key"]
    outcome = run(again, place)
    assert outcome.measured.scores == {
        name: value for name, value in row.items() if (is_score(name) or name in DISTANCES) and value is not None
    }


def test_of_two_launchers_one_is_refused_and_one_is_asked_to_stop(
    undisturbed: Store, image_cache: Path, tmp_path: Path
) -> None:
    store, command = works_on(tmp_path), arguments(tmp_path, image_cache)
    with launched(*command) as first, launched(*command) as second:
        until(lambda: first.poll() is not None or second.poll() is not None)
        refused, works_still = (first, second) if first.poll() is not None else (second, first)
        out, err = refused.communicate()
        assert (refused.returncode, out) == (2, "")
        assert err == "error: sweep 'quickstart' is being run by another launcher; wait, or give --name\n"
        asked_to_stop(works_still, signal.SIGTERM, store)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        with launched(*command) as process:
            asked_to_stop(process, number, store)
    assert "trials run now" in works(launch(*command))
    as_undisturbed(undisturbed, store)


def asked_to_stop(process: "subprocess.Popen[str]", number: signal.Signals, store: Store) -> None:
    """A launcher that has finished one more trial is asked, and goes with all that it started.

    A lost terminal and SLURM tell every process that has not a group of its own.
    """
    before = len(store.keys())
    until(lambda: len(store.keys()) > before, process)
    family = descendants(process.pid)
    if number in GROUP:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, out + err
    assert err == "stopped: rerun the same command to continue\n"
    assert not (store.folder / "tune").exists()
    assert not [path for path in store.folder.rglob(".*") if path.name != ".lock"]
    until(lambda: not set(family) & set(descendants(1)) or not any(map(alive, family)))


def test_processes_of_ray_are_killed(undisturbed: Store, image_cache: Path, tmp_path: Path) -> None:
    """Ray's C++ ends the launcher at once, or when it has waited for a lost GCS, here for five seconds."""
    store, command = works_on(tmp_path), arguments(tmp_path, image_cache)
    for name in ("raylet", "gcs_server"):
        before = len(store.keys())
        with launched(*command, RAY_gcs_rpc_server_reconnect_timeout_s="5") as process:
            assert until(lambda: len(store.keys()) > before and ray_processes(process.pid, name), process)  # noqa: B023
            family = descendants(process.pid)
            assert hit(ray_processes(process.pid, name)[0], signal.SIGKILL)
            _, err = process.communicate(timeout=PATIENT)
        assert process.returncode
        assert LAST_WORDS in err.splitlines(), err
        assert "Traceback" not in err
        until(lambda: not any(map(alive, family)))  # noqa: B023
    works(launch(*command))
    as_undisturbed(undisturbed, store)


def ray_processes(launcher: int, name: str) -> list[int]:
    """The processes of this name that Ray runs for a launcher."""
    return [pid for pid, line in descendants(launcher).items() if Path(line.partition(" ")[0]).name == name]
