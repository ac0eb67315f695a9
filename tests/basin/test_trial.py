"""A trial's name, its changes by name, and its run: the same whenever and however often it was cut off."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from basin import stages
from basin.constructions import constructions
from basin.constructions.constrained import Constrained
from basin.constructions.deep import Deep
from basin.constructions.distilled import Distilled
from basin.costs import trial_costs
from basin.data import DataSplit
from basin.data.digits import Digits
from basin.data.imagefolder import ImageFolder
from basin.environment import Machine, Place
from basin.errors import UsageError
from basin.journal import Progress, sealed_text
from basin.measure import Evaluation
from basin.models.mlp import MLP
from basin.models.resnet import ResNet
from basin.spec import replace_known
from basin.training.loop import Training
from basin.trial import Outcome, Trial, identify_data, open_task, overlay, run
from tests.support.tiny_trial import MODELS, place, run_until, same, trial

DEFAULT = Trial(dataset=Digits(), model=MLP(), construction=Deep())

# The name.


def test_defaults_given_are_defaults_left_out() -> None:
    given = Trial(
        seed=0,
        evaluation=Evaluation(alphas=11, bn_images=None, progress_every=5),
        construction=Deep(members=4),
        training=Training(epochs=40, batch_size=50, lr=0.1, momentum=0.9),
        model=MLP(hidden=64, layers=2),
        split=DataSplit(augment="default", split_seed=0),
        dataset=Digits(),
    )
    assert given.key == DEFAULT.key
    assert (
        overlay(DEFAULT, {name: value for name, value in DEFAULT.flat().items() if not name.endswith("_hash")})
        == DEFAULT
    )


def test_equal_numbers_have_one_name() -> None:
    texts = overlay(DEFAULT, {"lr": "1e-1", "epochs": "4e1", "weight_decay": "0.0005", "bn_images": "none"})
    assert texts.key == DEFAULT.key
    assert overlay(DEFAULT, {"lr": 1}).key == overlay(DEFAULT, {"lr": 1.0}).key


def test_the_order_of_changes_does_not_matter() -> None:
    changes = {"construction": "distilled", "beta": 0.5, "model": "resnet8", "width": 0.25, "seed": 2, "t": 0.3}
    backwards = dict(reversed(list(changes.items())))
    assert overlay(DEFAULT, changes) == overlay(DEFAULT, backwards)
    assert overlay(DEFAULT, changes).key == overlay(DEFAULT, backwards).key


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**63),
        "model": st.sampled_from(["mlp", "resnet8", "resnet20"]),
        "construction": st.sampled_from(list(constructions)),
        "members": st.integers(2, 5),
        "lr": st.floats(0, 10) | st.just(0.1),
        "epochs": st.integers(1, 1000) | st.just(40),
        "schedule": st.sampled_from(["cosine", "linear"]),
        "train_size": st.none() | st.integers(1, 5),
        "alphas": st.sampled_from([3, 11, 25]),
        "ood": st.none() | st.sampled_from(["digits", "cifar10"]),
        "predictions": st.booleans(),
    },
)


@given(changes=CHANGES, others=CHANGES, draw=st.data())
def test_a_key_is_a_function_of_the_contents(
    changes: dict[str, object], others: dict[str, object], draw: st.DataObject
) -> None:
    one, other = overlay(DEFAULT, changes), overlay(DEFAULT, others)
    assert (one.key == other.key) == (one.flat() == other.flat())
    assert (one.recipe_key == other.recipe_key) == all(
        getattr(one, section) == getattr(other, section)
        for section in ("dataset", "split", "model", "training", "seed")
    )
    shuffled = draw.draw(st.permutations(list(changes)))
    assert overlay(DEFAULT, {name: str(changes[name]) for name in shuffled}).key == one.key
    settable = {name: value for name, value in one.flat().items() if name in one.settable()}
    assert overlay(other, settable).key == one.key, "whatever it is made from"


def test_every_content_changes_the_name() -> None:
    changes: list[dict[str, object]] = [
        {},
        {"seed": 1},
        {"members": 3},
        {"construction": "constrained"},
        {"construction": "distilled"},
        {"hidden": 8},
        {"model": "resnet8"},
        {"model": "resnet20"},
        {"lr": 0.2},
        {"split_seed": 1},
        {"progress_every": 1},
    ]
    trials = [overlay(DEFAULT, change) for change in changes] + [
        replace(DEFAULT, data_hash="ab"),
        replace(DEFAULT, ood_hash="ab"),
    ]
    assert len({one.key for one in trials}) == len(trials)


def test_stages_are_named_without_construction_and_evaluation() -> None:
    same_runs: list[dict[str, object]] = [{"members": 3}, {"construction": "distilled"}, {"alphas": 25}]
    assert {overlay(DEFAULT, change).recipe_key for change in same_runs} == {DEFAULT.recipe_key}
    others: list[dict[str, object]] = [{"lr": 0.2}, {"hidden": 8}, {"seed": 1}, {"val_size": 100}]
    assert len({overlay(DEFAULT, change).recipe_key for change in others} | {DEFAULT.recipe_key}) == 5


# Changes by name.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"betta": 1}, r"unknown field 'betta': expected one of .*alphas.*batch_size.*seed"),
        ({"beta": 1}, r"unknown field 'beta': expected one of"),
        ({"width": 1}, r"unknown field 'width'"),
        ({"model": "resnet8", "depth": 14}, r"unknown field 'depth'"),
        ({"data_hash": "ab"}, r"unknown field 'data_hash'"),
        ({"ood_hash": "ab"}, r"unknown field 'ood_hash'"),
        (
            {"construction": "deeep"},
            r"unknown construction 'deeep': did you mean 'deep'\? expected one of constrained",
        ),
        ({"model": "vgg"}, r"unknown model 'vgg': expected one of .*mlp"),
        ({"dataset": "svhn"}, r"unknown dataset 'svhn': expected one of .*digits"),
        ({"members": 0}, r"members=0: expected an integer of 1 or more"),
        ({"construction": "constrained", "members": 1}, r"members=1: expected an integer of 2 or more"),
        ({"construction": "constrained", "t": 1.5}, r"t=1\.5: expected a number from 0 to 1"),
        ({"construction": "constrained", "beta": -1}, r"beta=-1: expected a number of 0 or more"),
        (
            {"construction": "constrained", "constraint": "ring"},
            r"constraint=ring: expected one of path, matching, star, simplex, proximal",
        ),
        ({"lr": "fast"}, r"lr=fast: expected a number of 0 or more"),
        ({"lr": "nan"}, r"lr=nan: expected a number"),
        ({"lr": "inf"}, r"lr=inf: expected a number"),
        ({"lr": True}, r"lr=True: expected a number"),
        ({"epochs": 2.5}, r"epochs=2\.5: expected an integer of 1 or more"),
        ({"seed": -1}, r"seed=-1: expected an integer of 0 or more"),
        ({"seed": 1.5}, r"seed=1\.5: expected an integer of 0 or more"),
        ({"seed": "one"}, r"seed=one: expected an integer of 0 or more"),
        ({"alphas": 10}, r"alphas=10: expected an odd number, so that ½ is on the grid"),
        ({"alphas": 1}, r"alphas=1: expected an integer of 3 or more"),
        ({"precision": "float16"}, r"precision=float16: expected one of float32, bfloat16"),
    ],
)
def test_changes_that_mean_nothing_are_errors(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        overlay(DEFAULT, changes)


def test_an_even_grid_is_an_error() -> None:
    with pytest.raises(UsageError, match="alphas=4: expected an odd number"):
        Evaluation(alphas=4)


def test_texts_are_parsed() -> None:
    changed = overlay(DEFAULT, {"seed": "7", "lr": "0.05", "epochs": "3", "val_size": "100", "bn_images": "64"})
    assert (changed.seed, changed.training.lr, changed.training.epochs) == (7, 0.05, 3)
    assert (changed.split.val_size, changed.evaluation.bn_images) == (100, 64)


def test_another_construction_keeps_what_it_shares() -> None:
    first = overlay(DEFAULT, {"construction": "constrained", "members": 3, "beta": 0.3, "constraint": "proximal"})
    second = overlay(first, {"construction": "distilled", "weight": 0.5})
    assert second.construction == Distilled(members=3, beta=0.3, constraint="proximal", weight=0.5)
    assert overlay(second, {"construction": "constrained"}) == first
    assert overlay(second, {"construction": "deep"}).construction == Deep(members=3)


def test_another_model_keeps_what_it_shares() -> None:
    first = overlay(DEFAULT, {"model": "resnet8", "width": 0.25, "norm": "layer"})
    assert overlay(first, {"model": "resnet20"}).model == ResNet(depth=20, width=0.25, norm="layer")
    assert overlay(first, {"model": "mlp"}).model == MLP()


def test_a_value_the_new_construction_cannot_have_may_be_replaced() -> None:
    single = overlay(DEFAULT, {"members": 1})
    with pytest.raises(UsageError, match="members=1: expected an integer of 2 or more"):
        overlay(single, {"construction": "constrained"})
    assert overlay(single, {"construction": "constrained", "members": 2}).construction == Constrained(members=2)


def test_flat_names_every_field() -> None:
    flat = overlay(DEFAULT, {"construction": "distilled", "beta": 0.3}).flat()
    assert (flat["construction"], flat["beta"], flat["t"], flat["dataset"], flat["hidden"]) == (
        "distilled",
        0.3,
        0.1,
        "digits",
        64,
    )
    assert list(flat)[-3:] == ["seed", "data_hash", "ood_hash"]


# The run.


def record(outcome: Outcome) -> dict[str, object]:
    """All of an outcome that does not depend on the clock or the machine, weights apart."""
    return {
        "trial": outcome.trial,
        "scores": outcome.measured.scores,
        "members": outcome.measured.members,
        "history": [(row.index, row.passes, row.scores) for row in outcome.history],
        "paths": outcome.measured.paths,
        "hull": outcome.measured.hull,
        "plane": outcome.measured.plane,
        "reliability": outcome.measured.reliability,
        "meter": outcome.meter,
        "stage_passes": outcome.stage_passes,
    }


TRIALS: dict[str, dict[str, object]] = {
    "deep": {"construction": "deep", "members": 3},
    "constrained": {"construction": "constrained", "members": 2, "t": 0.25},
    "proximal": {"construction": "constrained", "members": 2, "t": 0.0, "constraint": "proximal", "progress_every": 2},
    "one trunk": {"construction": "constrained", "members": 2, "t": 1.0},
    "distilled": {"construction": "distilled", "members": 2, "t": 0.25, "progress_every": 2},
    "batch": {"construction": "constrained", "members": 2, "t": 0.25, **MODELS["batch"]},
    "swe": {"construction": "swe", "members": 3, "start": 0.4, "anneal": 2, "optimizer": "adamw", "lr": 0.01},
}


@pytest.mark.parametrize("name", TRIALS)
def test_a_trial_run_twice_is_the_same(name: str, tmp_path: Path, cache: Path) -> None:
    one = trial(**TRIALS[name])
    first = run(one, place(tmp_path / "a", cache))
    again = run(one, place(tmp_path / "b", cache))
    shared = run(one, place(tmp_path / "a", cache))
    assert record(first) == record(again) == record(shared)
    assert same(first.ensemble.vertices, again.ensemble.vertices)
    assert same(first.ensemble.vertices, shared.ensemble.vertices)


@pytest.mark.parametrize("name", TRIALS)
def test_a_trial_cut_off_anywhere_ends_the_same(name: str, tmp_path: Path, cache: Path) -> None:
    one = trial(epochs=4, **TRIALS[name])
    expected = run(one, place(tmp_path, cache))
    for stop in range(1, len(expected.history) + 1):
        here = place(tmp_path, cache, tmp_path / f"scratch-{stop}")
        assert len(run_until(one, here, reports=stop)) == stop
        resumed = run(one, here)
        assert record(resumed) == record(expected), stop
        assert same(resumed.ensemble.vertices, expected.ensemble.vertices), stop


def test_a_trial_cut_off_again_and_again_ends_the_same(tmp_path: Path, cache: Path) -> None:
    one = trial(epochs=4, **TRIALS["distilled"] | {"progress_every": 1})
    expected = run(one, place(tmp_path, cache))
    here = place(tmp_path, cache, tmp_path / "scratch")
    for _ in range(2):
        run_until(one, here, reports=2)
    for _ in range(2):
        assert record(run(one, here)) == record(expected)


@pytest.mark.parametrize("name", ["constrained", "distilled", "batch"])
def test_a_trial_cut_off_between_journal_and_checkpoint_ends_the_same(name: str, tmp_path: Path, cache: Path) -> None:
    one = trial(epochs=4, **TRIALS[name] | {"progress_every": 1})
    expected = run(one, place(tmp_path, cache))
    # After progress n both are of epoch n − 1: their copies in turn are a journal one epoch ahead.
    here = place(tmp_path, cache, tmp_path / "scratch")

    def keep_copy(report: int) -> None:
        if report > 1:
            shutil.copytree(tmp_path / "scratch", tmp_path / f"copy-{report}")

    run_until(one, here, reports=3, look=keep_copy)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    shutil.copy(tmp_path / "copy-3" / "journal.json", mixed)
    shutil.copy(tmp_path / "copy-2" / "state.safetensors", mixed)
    assert record(run(one, place(tmp_path, cache, mixed))) == record(expected)


@pytest.mark.parametrize("name", TRIALS)
def test_a_trial_cut_off_while_it_was_measured_ends_the_same(name: str, tmp_path: Path, cache: Path) -> None:
    # What is on disk then is what is there when it has ended.
    here = place(tmp_path, cache, tmp_path / "scratch")
    expected = run(trial(**TRIALS[name]), here)
    assert record(run(trial(**TRIALS[name]), here)) == record(expected)


@pytest.mark.parametrize("torn", [False, True])
def test_seconds_go_on_where_a_trial_was_cut_off(torn: bool, tmp_path: Path, cache: Path) -> None:
    one, here = trial(**TRIALS["constrained"]), place(tmp_path, cache, tmp_path / "scratch")
    first, _ = run_until(one, here, reports=2)  # the checkpoint of the first is written now
    journal = tmp_path / "scratch" / "journal.json"
    written = json.loads(journal.read_text())
    assert written["seconds"] >= first.seconds > 0
    journal.write_text(sealed_text(written | {"seconds": 1000.0}))
    if torn:
        (tmp_path / "scratch" / "state.safetensors").write_bytes(b"torn")
    outcome = run(one, here)
    seconds = [row.seconds for row in outcome.history]
    assert seconds == sorted(seconds)
    # What happens again was paid for twice.
    assert [later > 1000 for later in seconds] == [torn, True, True]
    assert seconds[-1] < outcome.seconds < 2000


@pytest.mark.parametrize(("name", "passes"), [("deep", 45), ("constrained", 4), ("distilled", 30), ("swe", 0)])
def test_what_others_trained_is_counted_apart(name: str, passes: int, tmp_path: Path, cache: Path) -> None:
    """Its trunk, teachers or members, each once; a trial that trains them itself has them in its own seconds."""
    one, here = trial(**TRIALS[name]), place(tmp_path, cache)
    first, second = (run(one, here) for _ in range(2))
    assert (first.stage_passes, second.stage_passes) == (passes, passes)
    assert first.stage_seconds == 0
    last = {path.parent: path for path in sorted(tmp_path.rglob("step-*.safetensors"))}
    assert second.stage_seconds == sum(float(stages.read_notes(path)["seconds"]) for path in last.values())
    assert second.stage_seconds <= first.seconds
    assert (second.stage_seconds > 0) == (name != "swe")
    assert trial_costs(second)["stage_seconds"] == second.stage_seconds


def test_seconds_of_older_runs_are_not_known(tmp_path: Path, cache: Path) -> None:
    one, here = trial(**TRIALS["distilled"]), place(tmp_path, cache)
    run(one, here)
    path = max((tmp_path).rglob("member-1/step-*.safetensors"))
    tensors, notes = stages.read_tensors(path) or ({}, {})
    path.write_bytes(stages.serialize_tensors(tensors, {name: notes[name] for name in ("step", "loss")}))
    outcome = run(one, here)
    assert outcome.stage_seconds is None
    assert outcome.stage_passes == 30


def test_a_torn_checkpoint_begins_anew(tmp_path: Path, cache: Path) -> None:
    one, here = trial(**TRIALS["constrained"]), place(tmp_path, cache, tmp_path / "scratch")
    expected = run(one, here)
    (tmp_path / "scratch" / "state.safetensors").write_bytes(b"torn")
    assert record(run(one, here)) == record(expected)


def test_progress_knows_validation_only(tmp_path: Path, cache: Path) -> None:
    rows: list[Progress] = []
    outcome = run(trial(**TRIALS["constrained"]), place(tmp_path, cache), rows.append)
    assert len(rows) == 3
    for row in rows:
        assert all(name.startswith("val_") for name in row.scores)
        assert {"val_accuracy", "val_nll", "val_q_mid_reset"} <= row.scores.keys()
    assert outcome.history == rows
    assert [row.index for row in outcome.history] == [1, 2, 3]


def test_progress_does_not_change_with_the_test_images(tmp_path: Path, cache: Path) -> None:
    histories = []
    for size in (60, 61):
        outcome = run(trial(test_size=size, **TRIALS["constrained"]), place(tmp_path, cache))
        histories.append([row.scores for row in outcome.history])
    assert histories[0] == histories[1]


def test_the_last_ensemble_is_always_scored(tmp_path: Path, cache: Path) -> None:
    for every, indices in ((1, [1, 2, 3]), (2, [2, 3]), (3, [3]), (5, [3])):
        rows: list[Progress] = []
        run(trial(**TRIALS["proximal"] | {"progress_every": every}), place(tmp_path, cache), rows.append)
        assert [row.index for row in rows] == indices


def test_the_record_of_a_trial(tmp_path: Path, cache: Path) -> None:
    outcome = run(trial(**TRIALS["batch"]), place(tmp_path, cache))
    for split in ("val", "test"):
        names = {f"{split}_{name}_{policy}" for name in ("q_bar", "q_min", "barrier") for policy in ("reset", "interp")}
        assert names <= outcome.measured.scores.keys()
        members = [row[f"{split}_accuracy"] for row in outcome.measured.members]
        assert outcome.measured.scores[f"{split}_member_mean_accuracy"] == pytest.approx(sum(members) / 2)
        assert outcome.measured.scores[f"{split}_member_best_accuracy"] == max(members)
    assert [row["member"] for row in outcome.measured.members] == [0, 1]
    assert len(outcome.measured.paths) == 2 * 2 * 1 * 3  # splits, policies, pairs, alphas
    last = outcome.history[-1].scores
    assert {name: last[name] for name in ("val_accuracy", "val_nll")} == {
        name: outcome.measured.scores[name] for name in ("val_accuracy", "val_nll")
    }
    assert last["val_q_mid_reset"] == outcome.measured.scores["val_q_bar_reset"]  # three α: the middle is the interior
    assert outcome.machine["device"] == "cpu"
    assert outcome.seconds > 0


def test_progress_is_measured_as_the_end_is(tmp_path: Path, cache: Path) -> None:
    outcome = run(trial(bn_images=20, **TRIALS["batch"]), place(tmp_path, cache))
    assert outcome.history[-1].scores["val_q_mid_reset"] == outcome.measured.scores["val_q_bar_reset"]


def test_networks_without_batchnorm_have_one_policy(tmp_path: Path, cache: Path) -> None:
    outcome = run(trial(**TRIALS["constrained"]), place(tmp_path, cache))
    assert {point.policy for point in outcome.measured.paths} == {"reset"}


def test_a_single_network_is_a_trial_too(tmp_path: Path, cache: Path) -> None:
    outcome = run(trial(members=1), place(tmp_path, cache))
    assert outcome.measured.paths == []
    assert outcome.measured.scores["test_accuracy"] == outcome.measured.members[0]["test_accuracy"]


# Data and machine.


def test_other_images_than_the_trial_names_are_an_error(tmp_path: Path, cache: Path) -> None:
    named = identify_data(trial(), place(tmp_path, cache))
    assert len(named.data_hash) == 16
    assert run(named, place(tmp_path, cache)).trial == named
    other = replace(named, data_hash="0123456789abcdef")
    with pytest.raises(UsageError, match=f"data: expected content 0123456789abcdef, found {named.data_hash}"):
        run(other, place(tmp_path, cache))


def folders_of_images(parent: Path) -> None:
    """Two folders, a and b, of the same layout and other images."""
    for name in ("a", "b"):
        for split in ("train", "val"):
            for label in ("cat", "dog"):
                folder = parent / name / split / label
                folder.mkdir(parents=True)
                for n in range(8):
                    draw = np.random.default_rng([ord(name), n, len(split)])
                    Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{n}.png")


def test_images_of_two_folders_never_share_stages(tmp_path: Path, cache: Path) -> None:
    folders_of_images(tmp_path)
    base = replace(trial(), dataset=ImageFolder(), split=DataSplit(val_size=4))
    folders = {
        open_task(base, replace(place(tmp_path / "runs", cache), data=tmp_path / name)).stages.folder for name in "ab"
    }
    assert len(folders) == 2
    named = identify_data(base, replace(place(tmp_path / "runs", cache), data=tmp_path / "a"))
    assert tmp_path / "runs" / named.recipe_key in folders


def test_other_images_elsewhere_are_another_trial(tmp_path: Path, cache: Path) -> None:
    folders_of_images(tmp_path)
    plain, asked = trial(), trial(ood="imagefolder")
    here = {name: replace(place(tmp_path / "runs", cache), ood_data=tmp_path / name) for name in "ab"}
    named = {name: identify_data(asked, here[name]) for name in "ab"}
    assert identify_data(plain, here["a"]) == identify_data(plain, here["b"]), "without ood its folder is not looked at"
    assert identify_data(plain, here["a"]).ood_hash is None
    assert len({one.key for one in named.values()} | {identify_data(plain, here["a"]).key}) == 3
    assert named["a"].recipe_key == named["b"].recipe_key == identify_data(plain, here["a"]).recipe_key
    assert run(named["a"], here["a"]).trial == named["a"]
    found, other = named["b"].ood_hash, named["a"].ood_hash
    message = f"ood-data: expected content {other}, found {found}; give the same --ood-data as before"
    with pytest.raises(UsageError, match=message):
        run(named["a"], here["b"])


def test_the_machine_is_not_part_of_the_name(tmp_path: Path, cache: Path) -> None:
    # Neither the trial nor its key knows of a Place.
    here = replace(place(tmp_path, cache), machine=Machine(device="auto", threads=1))
    first = run(trial(), here)
    second = run(trial(), place(tmp_path, cache))
    assert first.trial.key == second.trial.key
    assert here.describe().keys() == {"device", "device_name", "threads", "host", "python_version", "torch_version"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(tmp_path: Path, cache: Path) -> None:
    here = Place(machine=Machine(device="cuda"), runs=tmp_path, cache=cache)
    with pytest.raises(UsageError, match="device=cuda: expected a CUDA GPU, found none; use device=auto or device=cpu"):
        run(trial(), here)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_auto_is_the_cpu_where_there_is_no_gpu(tmp_path: Path) -> None:
    assert Place(runs=tmp_path).torch_device == torch.device("cpu")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threads": 0}, "threads=0: expected an integer of 1 or more"),
        ({"device": "tpu"}, "device=tpu: expected one of auto, cpu, cuda"),
    ],
)
def test_a_machine_is_checked(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace_known(Machine(), fields)
