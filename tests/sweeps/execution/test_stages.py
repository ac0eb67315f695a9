"""What is trained once and shared: as much as the trials need, and no more."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from basin.environment import Machine, Place
from basin.trial import identify_data, run
from sweeps.execution.stages import Stage, plan_stages, train_stage
from sweeps.search.journal import open_study
from sweeps.study.catalog import STUDIES, build
from tests.support.tiny_sweep import ROOT, environment, snapshot, study, untimed

IMAGES = 100


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_need_of_a_trial_is_planned(name: str, tmp_path: Path) -> None:
    chosen = build(name, None).with_size(None, "random")
    chosen = chosen.with_size(None, None, 2)
    planned = {stage.key: stage.step for stage in plan_stages(chosen, 0, IMAGES)}
    drawn = open_study(tmp_path / "optuna.journal", chosen, 0)
    points = [chosen.space.draw(drawn.ask()) for _ in range(40)] if chosen.trials else []
    reported = chosen.reported_seeds(0)
    seeded = [{**point, "seed": seed} for point in points for seed in {0, *reported}]
    needed: dict[tuple[str, int], int] = {}
    for point in [*seeded, *(job.changes for job in chosen.owed_jobs(reported))]:
        trial = chosen.resolve_trial(point)
        for member, step in trial.construction.needs(trial.training.steps(IMAGES)).items():
            stage = (trial.recipe_key, member)
            needed[stage] = max(step, needed.get(stage, 0))
    assert all(planned[stage] >= step for stage, step in needed.items() if step)
    assert planned.keys() == {stage for stage, step in needed.items() if step}  # and nothing that nobody needs


def test_only_the_trunk_where_no_teacher_is_needed() -> None:
    one = study(construction="constrained", t="0.25").with_size(None, None, 1)
    assert {(stage.trial.seed, stage.member, stage.step) for stage in plan_stages(one, 0, IMAGES)} == {
        *((1, 0, 4), (1, 1, 4)),  # the reference's, on the fresh seed
        (0, 0, 1),  # the search's trunk
    }
    without = replace(one, references=())
    assert [(stage.trial.seed, stage.member, stage.step) for stage in plan_stages(without, 0, IMAGES)] == [
        (0, 0, 1),
        (1, 0, 1),
    ]
    assert plan_stages(without.with_settings({"t": "0"}), 0, IMAGES) == []


def test_finished_references_and_grids_need_no_stages() -> None:
    """As after `analysis restore`, which brings no checkpoints, and with more seeds than before."""
    chosen = replace(study(construction="constrained", t="0.25"), trials=0).with_size(None, None, 3)
    owed = chosen.owed_jobs(chosen.reported_seeds(0))
    (last,) = [job for job in owed if job.trial.seed == 2]
    assert {stage.trial.seed for stage in plan_stages(chosen, 0, IMAGES)} == {0, 1, 2}
    assert {(stage.trial.seed, stage.member) for stage in plan_stages(chosen, 0, IMAGES, [last])} == {(2, 0), (2, 1)}
    assert plan_stages(chosen, 0, IMAGES, []) == []


def test_no_stage_for_trials_whose_training_is_searched(tmp_path: Path, image_cache: Path) -> None:
    """They train their own trunk and teachers, the same as a stage would."""
    chosen = replace(study(model="mlp", hidden="8", width=None), references=()).search_also(["lr"])
    assert plan_stages(chosen, 0, IMAGES) == []
    point = {"construction": "distilled", "t": 0.5, "seed": 0, "lr": 0.05}
    trial = chosen.resolve_trial(point)
    assert trial.training.lr == 0.05
    place = Place(machine=Machine(device="cpu", threads=1), cache=image_cache, runs=tmp_path / "runs")
    alone = run(trial, place)
    staged = replace(place, runs=tmp_path / "staged")
    fixed = replace(study(model="mlp", hidden="8", width=None, lr="0.05"), references=())
    for stage in plan_stages(fixed, 0, IMAGES):
        train_stage(stage, staged, {})
    shared = run(fixed.resolve_trial({**point, "lr": 0.05}), staged)
    assert alone.measured.scores == shared.measured.scores
    assert alone.trial.key == shared.trial.key


@pytest.mark.parametrize("construction", ["constrained", "distilled", "deep"])
def test_no_stage_is_trained_inside_a_trial(construction: str, tmp_path: Path, image_cache: Path) -> None:
    chosen = study(model="mlp", hidden="8", width=None)
    machine = Machine(device="cpu", threads=torch.get_num_threads())
    place = Place(machine=machine, cache=image_cache, runs=tmp_path / "runs")
    for stage in plan_stages(chosen, 0, IMAGES):
        train_stage(stage, place, {})
    before = snapshot(tmp_path / "runs")
    assert before
    run(chosen.resolve_trial({"construction": construction, "seed": 0}), place)
    assert snapshot(tmp_path / "runs") == before
    for stage in plan_stages(chosen, 0, IMAGES):
        train_stage(stage, place, {})  # again: nothing
    assert snapshot(tmp_path / "runs") == before


def test_a_run_that_diverges_is_left_to_its_trials(tmp_path: Path, image_cache: Path) -> None:
    wild = study(model="mlp", hidden="8", width=None, lr="1e30", momentum="0")
    place = Place(machine=Machine(device="cpu", threads=1), cache=image_cache, runs=tmp_path / "runs")
    for stage in plan_stages(wild, 0, IMAGES):
        train_stage(stage, place, {})
    assert not list((tmp_path / "runs").rglob("step-0000004.safetensors"))


LONG = {"model": "mlp", "hidden": "8", "width": None, "epochs": "300"}
"""Seconds of training: long enough to meet somebody else, or a signal."""
MAKER = """
import os, signal, sys, time
from pathlib import Path

sys.path.insert(0, {root!r})
from tests.support.tiny_sweep import study

from basin.environment import Machine, Place
from sweeps.execution.stages import plan_stages, train_stage

runs, cache, go = map(Path, sys.argv[1:4])
last, replaced = int(sys.argv[4]), []


def replace_until_last(path, target, *, replace=Path.replace):
    result = replace(path, target)
    if target.name.startswith("step-"):
        replaced.append(target)
        if len(replaced) == last:
            os.kill(os.getpid(), signal.SIGKILL)
    return result


Path.replace = replace_until_last
place = Place(machine=Machine(device="cpu"), cache=cache, runs=runs)
stages = plan_stages(study(**{changes!r}), 0, {images})
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
for stage in stages:
    train_stage(stage, place, {{}})
"""


class Maker:
    """A process that makes all stages as soon as it is told to; it is killed with its `last` checkpoint, if not 0."""

    def __init__(self, folder: Path, runs: Path, cache: Path, last: int = 0) -> None:
        program, self._go = folder / "maker.py", folder / "go"
        program.write_text(MAKER.format(root=str(ROOT), changes=LONG, images=IMAGES))
        command = [sys.executable, str(program), str(runs), str(cache), str(self._go), str(last)]
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
        train_stage(stage, Place(machine=Machine(device="cpu"), cache=image_cache, runs=runs), {})
    return contents(runs)


def long_stages() -> list[Stage]:
    return plan_stages(study(**LONG), 0, IMAGES)


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
    maker = Maker(tmp_path, runs, image_cache, last=3)
    maker.ready()
    maker.go()
    maker.process.communicate(timeout=200)
    assert maker.process.returncode == -signal.SIGKILL
    there = {name: content for name, content in contents(runs).items() if "/step-" in name}
    assert len(there) == 3 < len(alone)
    for stage in long_stages():
        train_stage(stage, Place(machine=Machine(device="cpu"), cache=image_cache, runs=runs), {})
    after = {name: content for name, content in contents(runs).items() if "/step-" in name or "/recipe." in name}
    assert after == alone


@pytest.mark.parametrize("left", [0, 100, -1])
def test_a_torn_stage_is_made_again(left: int, tmp_path: Path, image_cache: Path) -> None:
    place = Place(machine=Machine(device="cpu"), cache=image_cache, runs=tmp_path / "runs")
    chosen = study(model="mlp", hidden="8", width=None)
    stages = plan_stages(replace(chosen, base=identify_data(chosen.base, place)), 0, IMAGES)
    for stage in stages:
        train_stage(stage, place, {})
    whole = contents(place.runs)
    assert all(stage.missing_passes(place, IMAGES) == 0 for stage in stages)
    for path in place.runs.rglob("step-*"):
        path.write_bytes(path.read_bytes()[:left])
    assert all(stage.missing_passes(place, IMAGES) == stage.step for stage in stages)
    for stage in stages:
        train_stage(stage, place, {})
    assert contents(place.runs) == whole
