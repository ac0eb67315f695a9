"""Stages that this code cannot use are found by their recipe; everything else in the storage stays."""

import json
from pathlib import Path
from typing import Any

import pytest

from basin.constructions import constructions
from basin.data import datasets
from basin.models import models
from basin.models.resnet import ResNet
from basin.trial import Trial
from sweeps.storage.old_stages import find_old_stages


def stage(storage: Path, recipe: dict[str, Any] | None, name: str) -> Path:
    folder = storage / "runs" / name
    (folder / "member-0").mkdir(parents=True)
    (folder / "member-0" / "step-0000010.safetensors").write_bytes(b"weights")
    if recipe is not None:
        (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder


@pytest.fixture
def trial() -> Trial:
    return Trial(dataset=datasets.make("digits"), model=models.make("resnet8"), construction=constructions.make("deep"))


def test_a_stage_of_this_code_stays(tmp_path: Path, trial: Trial) -> None:
    stage(tmp_path, trial.recipe, trial.recipe_key)
    assert find_old_stages(tmp_path / "runs") == []


def test_a_raised_version_makes_the_stages_old(tmp_path: Path, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = stage(tmp_path, trial.recipe, trial.recipe_key)
    monkeypatch.setattr(ResNet, "version", 7, raising=False)
    fresh = stage(tmp_path, trial.recipe, trial.recipe_key)
    assert kept != fresh
    assert find_old_stages(tmp_path / "runs") == [kept]


def test_stages_of_the_first_format_are_old(tmp_path: Path, trial: Trial) -> None:
    without = stage(tmp_path, None, "0" * 16)
    other = stage(tmp_path, {**trial.recipe, "format": 3}, "1" * 16)
    assert find_old_stages(tmp_path / "runs") == [without, other]


def test_what_is_not_known_stays(tmp_path: Path, trial: Trial) -> None:
    stage(tmp_path, {**trial.recipe, "model": "somebody's own"}, "2" * 16)
    damaged = stage(tmp_path, trial.recipe, "3" * 16)
    (damaged / "recipe.json").write_text("{")
    (tmp_path / "runs" / "4444444444444444").mkdir()  # a user's folder
    stage(tmp_path, None, "my-networks")
    assert find_old_stages(tmp_path / "runs") == []
