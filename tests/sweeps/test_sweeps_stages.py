"""What is trained once and shared: as much as the trials need, and no more."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_sweep import snapshot, study

from basin.place import Machine, Place
from basin.trial import Outcome, run
from sweeps.search import open_study
from sweeps.stages import make, plan
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
