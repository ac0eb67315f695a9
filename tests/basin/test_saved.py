"""Trained networks are kept with all that measuring needs: measured again, they give the numbers of a fresh run."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from basin import saved, stages
from basin.costs import trial_costs
from basin.measure import Evaluation
from basin.saved import AT_THE_END, ensemble_file, load_ensemble
from basin.spec import describe_fields
from basin.trial import Outcome, Trial, measure_again, run
from tests.support.tiny_trial import MODELS, place, same, trial
from tests.support.watched import watch_training

KINDS: dict[str, dict[str, object]] = {
    "deep": {"construction": "deep"},
    "constrained": {"construction": "constrained", "t": 0.4, **MODELS["batch"]},
    "swe": {"construction": "swe"},
    "permuted": {"construction": "permuted", "matching": "weights", "restarts": 1},
    "distilled": {"construction": "distilled", "t": 0.2},
    "star": {"construction": "constrained", "members": 3, "constraint": "star"},
}


def finish(one: Trial, folder: Path, cache: Path) -> Outcome:
    return run(one, place(folder, cache))


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def outcome(kind: str, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Outcome:
    return finish(trial(**KINDS[kind]), tmp_path_factory.mktemp("runs"), cache)


@pytest.fixture
def file(outcome: Outcome, tmp_path: Path) -> Path:
    path = tmp_path / "kept.safetensors"
    path.write_bytes(ensemble_file(outcome.saved, outcome.trial.ensemble_key))
    return path


def test_what_is_read_is_what_was_written(kind: str, outcome: Outcome, file: Path) -> None:
    found = load_ensemble(file, outcome.trial.ensemble_key)
    assert found is not None
    mine, theirs = outcome.ensemble, found.ensemble
    assert same(theirs.vertices, mine.vertices)
    assert torch.equal(theirs.coords, mine.coords)
    assert theirs.coords.dtype == mine.coords.dtype
    assert (theirs.edges, theirs.anchors, theirs.certificates) == (mine.edges, mine.anchors, mine.certificates)
    assert (theirs.companions is None) == (mine.companions is None)
    assert mine.companions is None or (theirs.companions is not None and same(theirs.companions, mine.companions))
    assert same(found.soup, outcome.measured.soup)
    assert bool(found.soup) == (kind == "constrained"), "only ResNets have BatchNorm here"
    apart = replace(found, ensemble=mine, soup=outcome.saved.soup)
    assert apart == outcome.saved
    assert ensemble_file(found, outcome.trial.ensemble_key) == file.read_bytes()


def test_measured_again_gives_the_numbers_of_a_fresh_run(
    kind: str, outcome: Outcome, file: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another grid, all that is optional, and no training pass."""
    more = {"alphas": 5, "hull_points": 3, "plane_points": 3, "train_images": 20, "policies": "all"}
    other = trial(**{**KINDS[kind], **more})
    assert other.key != outcome.trial.key
    assert other.ensemble_key == outcome.trial.ensemble_key
    fresh = finish(other, tmp_path / "fresh", cache)
    kept = load_ensemble(file, other.ensemble_key)
    assert kept is not None
    assert kept.serves(other.evaluation)
    trained = watch_training(monkeypatch)
    again = measure_again(other, place(tmp_path / "none", cache), kept)
    assert not trained
    assert not (tmp_path / "none").exists(), "no stage is looked for"
    assert not differences(again, fresh)
    assert (again.seconds, again.stage_seconds, again.meter) == (outcome.seconds, outcome.stage_seconds, outcome.meter)
    assert trial_costs(again) == trial_costs(outcome)
    assert again.history == outcome.history


def differences(one: Outcome, other: Outcome) -> list[str]:
    """The parts in which two outcomes differ, times apart."""
    found = []
    for name in ("scores", "members", "paths", "hull", "plane", "reliability"):
        mine, theirs = getattr(one.measured, name), getattr(other.measured, name)
        if not theirs and name not in ("hull", "plane"):
            found.append(f"{name} is empty")
        if repr(mine) != repr(theirs):  # NaN is NaN
            found.append(name)
    if [replace(row, seconds=0) for row in one.history] != [replace(row, seconds=0) for row in other.history]:
        found.append("history")
    if asdict(one.meter) != asdict(other.meter) or one.stage_passes != other.stage_passes:
        found.append("costs")
    return found


def test_a_history_measured_otherwise_serves_no_other_trial(outcome: Outcome) -> None:
    evaluation = outcome.trial.evaluation
    assert outcome.saved.serves(replace(evaluation, alphas=25, predictions=True))
    for name, value in {"progress_every": 2, "bn_images": 10, "path_images": 10, "path_precision": "bfloat16"}.items():
        assert not outcome.saved.serves(replace(evaluation, **{name: value})), name


def test_fields_that_act_at_the_end_are_ones_that_no_history_depends_on(tmp_path: Path, cache: Path) -> None:
    """Every field of the evaluation changed that is said not to act while an ensemble grows."""
    changes: dict[str, object] = {
        "alphas": 7,
        "policies": "reset",
        "hull_points": 1,
        "train_images": 10,
        "plane_points": 2,
        "predictions": True,
    }
    left = {field.name for field in describe_fields(Evaluation)} & AT_THE_END - changes.keys()
    assert left <= {"ood", "pairs", "outcome_nll"}
    one = finish(trial(construction="constrained"), tmp_path, cache)
    other = finish(trial(construction="constrained", **changes), tmp_path, cache)
    assert [row.scores for row in one.history] == [row.scores for row in other.history]


def test_files_of_other_networks_and_older_ones_are_not_measured(outcome: Outcome, file: Path, tmp_path: Path) -> None:
    key = outcome.trial.ensemble_key
    assert load_ensemble(tmp_path / "absent", key) is None
    assert load_ensemble(file, "0123456789abcdef") is None
    old = tmp_path / "old.safetensors"
    save_file({name: t.contiguous() for name, t in outcome.ensemble.vertices.items()}, old, {"key": key})
    assert load_ensemble(old, key) is None
    found = stages.read_tensors(old)
    assert found is not None, "an older file's tensors can be read"
    assert same(found[0], outcome.ensemble.vertices)
    changed = bytearray(file.read_bytes())
    changed[-3] ^= 1
    file.write_bytes(bytes(changed))
    assert load_ensemble(file, key) is None


def test_files_of_version_1_are_measured_again(outcome: Outcome, file: Path, tmp_path: Path, cache: Path) -> None:
    """They have no recipe, inputs, stages, versions, and no statistics of the soup."""
    stored = stages.read_tensors(file)
    assert stored is not None
    tensors = {name: tensor for name, tensor in stored[0].items() if not name.startswith(saved.SOUP)}
    younger = ("recipe", "inputs", "stages", "versions")
    notes = {name: text for name, text in stored[1].items() if name not in younger}
    file.write_bytes(stages.serialize_tensors(tensors, notes))
    found = load_ensemble(file, outcome.trial.ensemble_key)
    assert found is not None
    assert found.origin is None
    assert not differences(measure_again(outcome.trial, place(tmp_path / "none", cache), found), outcome)


def test_notes_are_those_that_the_format_names(outcome: Outcome, file: Path) -> None:
    found = stages.read_tensors(file)
    assert found is not None
    documented = {line.split()[0] for line in str(saved.__doc__).splitlines() if line.startswith("    ")}
    assert {*found[1], "checksum"} == documented
    assert json.loads(found[1]["seconds"])["trial"] == outcome.seconds
