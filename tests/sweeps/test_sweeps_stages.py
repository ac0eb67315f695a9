"""What is trained once and shared: as much as the trials need, and no more."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_sweep import ROOT, environment, snapshot, study, untimed

from basin.place import Machine, Place
from basin.trial import Outcome, identify, run
from sweeps.search import open_study
from sweeps.stages import Stage, make, plan
from sweeps.studies import STUDIES, build

IMAGES = 100


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_need_of_a_trial_is_planned(name: str, tmp_path: Path) -> None:
    chosen = build(name, None).sized(None, "random")
    planned = {stage.key: stage.step for stage in plan(chosen, [0, 1], IMAGES)}
    drawn = open_study(tmp_path / "optuna.journal", chosen, 0)
    points = [chosen.space.draw(drawn.ask()) for _ in range(40)] if chosen.trials else []
    seeded = [{**point, "seed": seed} for point in points for seed in (0, 1)]
    needed: dict[tuple[str, int], int] = {}
    for point in [*seeded, *(changes for _, changes in chosen.owed([0, 1]))]:
        trial = chosen.trial(point)
        for member, step in trial.construction.needs(trial.training.steps(IMAGES)).items():
            stage = (trial.recipe_key, member)
            needed[stage] = max(step, needed.get(stage, 0))
    assert all(planned[stage] >= step for stage, step in needed.items() if step)
    assert planned.keys() == {stage for stage, step in needed.items() if step}  # and nothing that nobody needs


def test_only_the_trunk_where_no_teacher_is_needed() -> None:
    alone = plan(study(construction="constrained", t="0.25"), [0], IMAGES)
    assert {(stage.member, stage.step) for stage in alone} == {(0, 4), (1, 4)}  # the reference
    without = replace(study(construction="constrained", t="0.25"), references=())
    assert [(stage.member, stage.step) for stage in plan(without, [0], IMAGES)] == [(0, 1)]
    assert plan(without.set({"t": "0"}), [0], IMAGES) == []


@pytest.mark.parametrize("construction", ["constrained", "distilled", "deep"])
def test_no_single_run_is_trained_inside_a_trial(construction: str, tmp_path: Path, image_cache: Path) -> None:
    chosen = study(model="mlp", hidden="8", width=None)
    machine = Machine(device="cpu", threads=torch.get_num_threads())
    place = Place(machine=machine, cache=image_cache, runs=tmp_path / "runs")
    for stage in plan(chosen, [0], IMAGES):
        make(stage, place)
    before = snapshot(tmp_path / "runs")
    assert before
    *_, outcome = run(chosen.trial({"construction": construction, "seed": 0}), place)
    assert isinstance(outcome, Outcome)
    assert snapshot(tmp_path / "runs") == before
    for stage in plan(chosen, [0], IMAGES):
        make(stage, place)  # again: nothing
    assert snapshot(tmp_path / "runs") == before


def test_a_run_that_diverges_is_left_to_its_trials(tmp_path: Path, image_cache: Path) -> None:
    wild = study(model="mlp", hidden="8", width=None, lr="1e30", momentum="0")
    place = Place(machine=Machine(device="cpu", threads=1), cache=image_cache, runs=tmp_path / "runs")
    for stage in plan(wild, [0], IMAGES):
        make(stage, place)
    assert not list((tmp_path / "runs").rglob("step-0000004.safetensors"))


LONG = {"model": "mlp", "hidden": "8", "width": None, "epochs": "300"}
"""Seconds of training: long enough to meet somebody else, or a signal."""
MAKER = """
import sys, time
from pathlib import Path

sys.path[:0] = {paths!r}
from tiny_sweep import study

from basin.place import Machine, Place
from sweeps.stages import make, plan

runs, cache, go = map(Path, sys.argv[1:])
place = Place(machine=Machine(device="cpu"), cache=cache, runs=runs)
stages = plan(study(**{changes!r}), [0], {images})
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
for stage in stages:
    make(stage, place)
"""


class Maker:
    """A process that makes all stages as soon as it is told to."""

    def __init__(self, folder: Path, runs: Path, cache: Path) -> None:
        paths = [str(ROOT), str(ROOT / "tests" / "sweeps")]
        program, self._go = folder / "maker.py", folder / "go"
        program.write_text(MAKER.format(paths=paths, changes=LONG, images=IMAGES))
        command = [sys.executable, str(program), str(runs), str(cache), str(self._go)]
        self.process = subprocess.Popen(
            command, env=environment(), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ready(self) -> None:
        """Wait until it only waits for the word."""
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n", self.process.communicate()

    def go(self) -> None:
        self._go.touch()

    def ends(self) -> None:
        _, errors = self.process.communicate(timeout=200)
        assert self.process.returncode == 0, errors


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, image_cache: Path) -> dict[str, bytes]:
    """Every file of the stages, made by one who was not disturbed."""
    runs = tmp_path_factory.mktemp("alone")
    for stage in long_stages():
        make(stage, Place(machine=Machine(device="cpu"), cache=image_cache, runs=runs))
    return contents(runs)


def long_stages() -> list[Stage]:
    return plan(study(**LONG), [0], IMAGES)


def contents(runs: Path) -> dict[str, bytes]:
    return {str(path.relative_to(runs)): untimed(path) for path in sorted(runs.rglob("*")) if path.is_file()}


def test_two_makers_at_once_do_no_harm(alone: dict[str, bytes], tmp_path: Path, image_cache: Path) -> None:
    runs = tmp_path / "runs"
    makers = [Maker(tmp_path, runs, image_cache) for _ in range(2)]
    for maker in makers:
        maker.ready()
    makers[0].go()  # the word to both
    for maker in makers:
        maker.ends()
    assert contents(runs) == alone  # bit for bit, and no file that is half of one


def test_a_maker_killed_half_way_is_replaced(alone: dict[str, bytes], tmp_path: Path, image_cache: Path) -> None:
    runs = tmp_path / "runs"
    maker = Maker(tmp_path, runs, image_cache)
    maker.ready()
    maker.go()
    deadline = time.monotonic() + 60
    while len(list(runs.rglob("step-*"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    maker.process.send_signal(signal.SIGKILL)
    maker.process.communicate()
    there = {name: content for name, content in contents(runs).items() if "/step-" in name}
    assert 3 <= len(there) < len(alone)
    for stage in long_stages():
        make(stage, Place(machine=Machine(device="cpu"), cache=image_cache, runs=runs))
    after = {name: content for name, content in contents(runs).items() if "/step-" in name}
    assert after == alone


@pytest.mark.parametrize("left", [0, 100, -1])
def test_a_torn_stage_is_made_again(left: int, tmp_path: Path, image_cache: Path) -> None:
    place = Place(machine=Machine(device="cpu"), cache=image_cache, runs=tmp_path / "runs")
    chosen = study(model="mlp", hidden="8", width=None)
    stages = plan(replace(chosen, base=identify(chosen.base, place)), [0], IMAGES)
    for stage in stages:
        make(stage, place)
    whole = contents(place.runs)
    assert all(stage.left(place, IMAGES) == 0 for stage in stages)
    for path in place.runs.rglob("step-*"):
        path.write_bytes(path.read_bytes()[:left])
    assert all(stage.left(place, IMAGES) == stage.step for stage in stages)
    for stage in stages:
        make(stage, place)
    assert contents(place.runs) == whole
