"""The precision of a sweep: decided once, where its trials run, and the same for all of them ever after."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from basin.environment import Machine, Place
from basin.errors import UsageError
from basin.keys import hash_contents
from basin.trial import describe_data, overlay
from sweeps.execution import launch_precision, precision
from sweeps.execution.launch_precision import decide_at_launch, resolve_precision
from sweeps.execution.options import Options
from sweeps.execution.plan import settle_precision
from sweeps.execution.precision import (
    Decision,
    decide_precision,
    describe_bfloat16,
    describe_emulation,
    find_bfloat16,
    measure_precisions,
)
from sweeps.execution.session import open_session
from sweeps.storage.store import Store
from sweeps.study.catalog import build
from sweeps.study.document import read_document
from sweeps.study.manifest import update_manifest
from sweeps.study.study import Study
from sweeps.study.study_file import study_from_document
from sweeps.sweep import _claimed_folder
from tests.support.tiny_sweep import study

CPU = torch.device("cpu")


@pytest.fixture
def place(tmp_path: Path, image_cache: Path) -> Place:
    return Place(machine=Machine(device="cpu"), runs=tmp_path / "runs", cache=image_cache)


@pytest.fixture
def options(tmp_path: Path, image_cache: Path) -> Options:
    return Options(name="sweep", storage=tmp_path, cache=image_cache, machine=Machine(device="cpu"))


@pytest.fixture
def instructions(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Instructions of this CPU, to be changed; none at first."""
    listed: dict[str, bool] = {"avx512_f": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: listed)
    return listed


@pytest.fixture
def auto() -> Study:
    return study(precision="auto", path_precision=None)


def never(*_: object) -> Decision:
    raise AssertionError("measured although nothing was to be decided")


def choose(name: str) -> Decision:
    return Decision("bfloat16" if name == "bfloat16" else "float32", "told so", {"gain": 2.0})


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "bf16"])
def test_bfloat16_instructions_are_recognised(name: str, instructions: dict[str, bool]) -> None:
    assert find_bfloat16(CPU) is None
    assert "emulates" in describe_bfloat16(CPU)
    instructions[name] = True
    assert find_bfloat16(CPU) == name
    assert "emulates" not in describe_bfloat16(CPU)


def test_without_instructions_nothing_is_measured(
    instructions: dict[str, bool], auto: Study, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "measure_precisions", never)
    decision = decide_precision(auto.base, place)
    assert (decision.precision, decision.measured) == ("float32", {})
    assert "emulates" in decision.reason


@pytest.mark.parametrize(("gain", "chosen"), [(0.9, "float32"), (1.14, "float32"), (1.16, "bfloat16"), (2, "bfloat16")])
def test_bfloat16_must_be_clearly_faster(
    gain: float, chosen: str, instructions: dict[str, bool], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    instructions["amx_bf16"] = True
    monkeypatch.setattr(precision, "measure_precisions", lambda *_: {"gain": gain})
    decision = decide_precision(study().base, place)
    assert decision.precision == chosen
    assert decision.measured["gain"] == gain


def test_load_that_hits_both_does_not_decide(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 takes 3 s a step and bfloat16 2 s; in some rounds both take ten times as long, in some only one does."""
    spent = iter([9.0, 9.0, 9.0, 9.0, 3.0, 2.0, 30.0, 20.0, 3.0, 2.0, 3.0, 20.0, 30.0, 20.0, 3.0, 2.0, 3.0, 2.0])
    monkeypatch.setattr(precision, "_seconds_per_step", lambda *_: next(spent))
    measured = measure_precisions(study().base, place)
    assert measured["gain"] == pytest.approx(1.5)


def test_both_precisions_are_trained_and_nothing_is_kept(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    train = precision.train

    def noted(network: object, *arguments: object, **more: object) -> Iterator[object]:
        trained.append(network.precision)  # type: ignore[attr-defined]
        return train(network, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(precision, "train", noted)
    monkeypatch.setattr(precision, "ROUND_SECONDS", 0.0)
    measured = measure_precisions(study(lr="1e30", momentum="0").base, place)  # which diverges
    assert trained == ["float32", "bfloat16"]
    assert min(measured.values()) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_trials_have_the_key_of_what_auto_became(name: str, auto: Study, tmp_path: Path) -> None:
    resolved, _ = resolve_precision(auto, Store(tmp_path / "none"), lambda _: choose(name))
    told = study(precision=name)
    assert [job.key for job in resolved.owed_jobs([1])] == [job.key for job in told.owed_jobs([1])]
    contents = resolved.owed_jobs([1])[0].trial.contents
    assert "auto" not in contents.values()
    assert hash_contents(contents) == resolved.owed_jobs([1])[0].key


def test_a_study_that_states_a_precision_keeps_it(tmp_path: Path) -> None:
    for stated in ("float32", "bfloat16"):
        fixed = build("cifar10-small", None).with_settings({"precision": stated})
        assert resolve_precision(fixed, Store(tmp_path), never) == (fixed, None)
        assert fixed.base.training.precision == stated
        assert fixed.with_settings({"precision": "auto"}).auto_precision
    assert build("cifar10-small", None).with_settings({"epochs": "3"}).auto_precision
    assert build("cifar10-small", None).with_settings({"construction": "swe"}).auto_precision
    assert not build("quickstart", None).auto_precision
    with pytest.raises(UsageError, match="precision=half"):
        build("cifar10-small", None).with_settings({"precision": "half"})


def test_paths_follow_the_training() -> None:
    """Where bfloat16 is emulated, paths in bfloat16 would be slow too; what the user set stays."""
    small = build("cifar10-small", None)

    def paths(chosen: Study) -> str:
        return chosen.base.evaluation.path_precision

    assert paths(small.with_precision("bfloat16")) == "bfloat16"
    assert paths(small.with_precision("float32")) == "float32"
    assert paths(small.with_settings({"path_precision": "bfloat16"}).with_precision("float32")) == "bfloat16"
    assert paths(study(precision="auto").with_precision("bfloat16")) == "float32"


def test_a_study_file_says_auto(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    text = 'constructions = ["swe"]\ntrials = 1\n[base]\ndataset = "digits"\nmodel = "mlp"\n'
    file.write_text(text)
    assert not study_from_document(read_document(file), None).auto_precision
    file.write_text(text + 'precision = "auto"\n')
    assert study_from_document(read_document(file), None).auto_precision
    file.write_text(text + 'precision = "half"\n')
    with pytest.raises(UsageError, match=r"mine.toml:6: precision=half: expected one of auto, float32, bf"):
        study_from_document(read_document(file), None)


def test_the_first_launch_decides_for_all(
    auto: Study, options: Options, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = Store(options.storage / "sweep"), describe_data(auto.base, place)

    def launch(chosen: Study, size: int) -> tuple[Study, str]:
        with _claimed_folder(store, chosen.with_size(None, None, size), options, data, print) as (found, notes):
            return found, " ".join(notes)

    monkeypatch.setattr(launch_precision, "decide_precision", lambda *_: choose("bfloat16"))
    first, notes = launch(auto, 2)
    assert first.base.training.precision == "bfloat16"
    assert "auto became bfloat16 (told so)" in notes
    monkeypatch.setattr(launch_precision, "decide_precision", never)
    again, notes = launch(auto, 3)  # the manifest is written anew
    assert [job.key for job in again.owed_jobs([1])] == [job.key for job in first.owed_jobs([1])]
    assert notes == ""
    manifest = json.loads((store.folder / "sweep.json").read_text())
    assert manifest["base"]["precision"] == "bfloat16"
    assert manifest["probe"] == {"precision": "bfloat16", "reason": "told so", "gain": 2.0}
    assert "auto" not in manifest["base"].values()
    launch(study(precision="bfloat16"), 3)
    with pytest.raises(UsageError, match="precision"):
        launch(study(precision="float32"), 3)


def test_a_measurement_is_announced_before_it_begins(
    auto: Study, options: Options, place: Place, instructions: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def decide(*_: object) -> Decision:
        said.append("decided")
        return choose("float32")

    monkeypatch.setattr(launch_precision, "decide_precision", decide)
    decide_at_launch(auto.base, place, options, said.append)
    assert said == ["decided"]  # without bfloat16 instructions nothing is measured
    instructions["avx512_bf16"] = True
    decide_at_launch(auto.base, place, options, said.append)
    assert said[1:] == ["precision=auto: measuring float32 and bfloat16 where the trials will run", "decided"]


def test_a_probe_that_fails_leaves_no_folder(
    auto: Study, options: Options, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Decision:
        raise UsageError("the node has no data")

    monkeypatch.setattr(launch_precision, "decide_precision", fail)
    store, data = Store(options.storage / "sweep"), describe_data(auto.base, place)
    with pytest.raises(UsageError, match="no data"), _claimed_folder(store, auto, options, data, print):
        pass
    assert not store.folder.exists()


def test_a_manifest_of_before_gives_its_precisions(tmp_path: Path) -> None:
    """Sweeps of the time when the study fixed bfloat16, or of a user who set float32 for the training alone."""
    for number, stated in enumerate(("bfloat16", "float32")):
        store = Store(tmp_path / str(number))
        store.folder.mkdir()
        before = study(precision=stated, path_precision="bfloat16")
        update_manifest(store, before, 0)
        resolved, decision = resolve_precision(study(precision="auto"), store, never)
        assert decision is None
        assert resolved.base == before.base


def test_plan_says_what_it_would_be(
    auto: Study, options: Options, instructions: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "decided at the launch; here it would be float32" in settle_precision(auto, options)[1]
    told, words = settle_precision(study(precision="bfloat16"), options)
    assert "emulates" in words
    assert told.base.training.precision == "bfloat16"
    assert settle_precision(study(), options)[1] == "float32, as the study says"
    (options.storage / "sweep").mkdir()
    update_manifest(Store(options.storage / "sweep"), told, 0)
    assert settle_precision(auto, options)[1] == "bfloat16, which the first launch of sweep chose"


def test_only_emulated_bfloat16_is_warned_of(instructions: dict[str, bool], place: Place) -> None:
    base = study().base
    assert describe_emulation(base, place) is None
    for name in ("precision", "path_precision"):
        warning = describe_emulation(overlay(base, {name: "bfloat16"}), place)
        assert warning is not None
        assert warning.startswith(f"--set {name}=bfloat16: this CPU emulates")
    instructions["avx512_bf16"] = True
    assert describe_emulation(overlay(base, {"precision": "bfloat16"}), place) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_node_decides_for_its_cluster(
    auto: Study, options: Options, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher's machine is not asked: in Ray's task nothing is patched."""
    monkeypatch.setattr(launch_precision, "_trials_run_here", lambda *_: False)
    monkeypatch.setattr(launch_precision, "decide_precision", never)
    here = find_bfloat16(CPU)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with open_session(options):
        monkeypatch.setattr(launch_precision, "open_session", lambda _: nullcontext())
        said: list[str] = []
        decision = decide_at_launch(auto.base, place, options, said.append)
        assert "precision=auto: measuring" in said[0]
        assert bool(decision.measured) is (here is not None)
        lost = replace(place, data=options.storage / "none")
        with pytest.raises(UsageError, match=r"could not be measured on a node.*none"):
            decide_at_launch(overlay(auto.base, {"dataset": "cifar10"}), lost, options, print)
