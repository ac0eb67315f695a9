"""What a sweep's folder holds: one study, which may grow, made by code that means one thing by its values."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from basin.constructions.constrained import Constrained
from basin.constructions.distilled import Distilled
from basin.data import DataSplit
from basin.data.digits import Digits
from basin.errors import UsageError
from basin.measure import Evaluation
from basin.models.resnet import ResNet
from basin.spec import Field, Since
from basin.training.loop import Training
from sweeps.execution.remeasuring import match_manifest
from sweeps.storage.store import Store
from sweeps.study import manifest as definitions
from sweeps.study.catalog import build
from sweeps.study.manifest import DATA, check_comparable, define_study, record_part, record_varied, update_manifest
from sweeps.study.study import Study
from tests.support.tiny_sweep import study


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "demo").mkdir()
    return Store(tmp_path / "demo")


def written(store: Store) -> Any:
    return json.loads((store.folder / "sweep.json").read_text())


def write(store: Store, held: Any) -> None:
    (store.folder / "sweep.json").write_text(json.dumps(held))


def test_the_same_study_goes_on(store: Store) -> None:
    update_manifest(store, study(), 0)
    first = written(store)
    update_manifest(store, study(), 0)
    update_manifest(store, study().with_size(50, None), 0)
    assert written(store) == first


def test_classes_and_counts_are_stored_and_not_compared(store: Store) -> None:
    facts = {"dataset": "digits", "hash": "h", "classes": ["0"], "images": {"0": {"train": 3, "test": 1}}}
    update_manifest(store, study(), 0)
    before = written(store)
    record_part(store, DATA, facts)
    assert written(store) == before | {"data": facts}
    update_manifest(store, study(), 0)
    assert written(store)["data"] == facts
    record_part(store, DATA, {**facts, "classes": ["zero"]})
    assert written(store)["data"]["classes"] == ["zero"]
    update_manifest(store, study(), 0)


def added_later(monkeypatch: pytest.MonkeyPatch, cls: type, name: str, value: Any) -> None:
    """As if the code had learned the field after the sweep's file was written, with this value as the first."""
    real = definitions.describe_fields

    def described(asked: type) -> tuple[Field, ...]:
        later = Since(value)
        return tuple(replace(f, since=later) if asked is cls and f.name == name else f for f in real(asked))

    monkeypatch.setattr(definitions, "describe_fields", described)


LATER: list[tuple[type, str, Any]] = [
    (Training, "optimizer", "sgd"),
    (ResNet, "norm", "batch"),
    (Evaluation, "hull_points", 8),
    (Evaluation, "ood", None),
]


@pytest.mark.parametrize(("cls", "name", "value"), LATER)
def test_a_field_that_is_newer_than_the_sweep_is_at_its_first_value(
    cls: type, name: str, value: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = define_study(study(), 0)
    del older["base"][name]
    write(store, older)
    with pytest.raises(UsageError, match=f"has {name}=None, got {name}="):
        update_manifest(store, study(), 0)  # not introduced: its keys are other keys
    added_later(monkeypatch, cls, name, value)
    update_manifest(store, study(), 0)
    assert name in written(store)["base"]


@pytest.mark.parametrize(
    ("cls", "name", "first", "value", "words"),
    [
        (Training, "optimizer", "sgd", "adamw", 'optimizer="sgd", got optimizer="adamw"'),
        (ResNet, "norm", "batch", "layer", 'norm="batch", got norm="la'),
        (Evaluation, "alphas", 11, "3", "alphas=11, got alphas=3"),
    ],
)
def test_a_newer_field_that_is_not_at_its_first_value_is_refused(
    cls: type, name: str, first: Any, value: str, words: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = define_study(study(**{name: value}), 0)
    del older["base"][name]
    write(store, older)
    added_later(monkeypatch, cls, name, first)
    with pytest.raises(UsageError, match=f"sweep 'demo' has {words}"):
        update_manifest(store, study(**{name: value}), 0)
    assert written(store) == older


@pytest.mark.parametrize(("cls", "name", "value"), [(Constrained, "draws", 3), (Distilled, "mixup_alpha", 0.5)])
def test_a_changed_default_of_a_searched_construction_is_refused(
    cls: type, name: str, value: Any, store: Store, edited: Callable[[type, str, Any], None]
) -> None:
    update_manifest(store, study(), 0)
    field = f"{cls.__name__.lower()}.{name}"
    old = written(store)["defaults"][field]
    edited(cls, name, value)
    words = rf"made by other code: the default of {field} was {old} and is {value} now, .* another --name"
    with pytest.raises(UsageError, match=words):
        update_manifest(store, study(), 0)
    with pytest.raises(UsageError, match=words):
        update_manifest(store, study().with_size(9, None), 0)


def test_a_default_that_the_user_has_set_may_change(store: Store, edited: Callable[[type, str, Any], None]) -> None:
    update_manifest(store, study(draws="2"), 0)
    edited(Constrained, "draws", 3)
    edited(Distilled, "draws", 3)
    update_manifest(store, study(draws="2"), 0)


def test_a_changed_default_of_the_base_is_refused(store: Store, edited: Callable[[type, str, Any], None]) -> None:
    update_manifest(store, study(), 0)
    edited(Training, "momentum", 0.5)
    with pytest.raises(UsageError, match=r"has momentum=0\.9, got momentum=0\.5"):
        update_manifest(store, replace(study(), base=replace(study().base, training=Training(epochs=2))), 0)


def test_a_field_of_a_searched_construction_needs_a_first_value(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    older = define_study(study(), 0)
    del older["defaults"]["constrained.draws"]
    write(store, older)
    with pytest.raises(UsageError, match=r"the default of constrained\.draws was nothing and is 1 now"):
        update_manifest(store, study(), 0)
    added_later(monkeypatch, Constrained, "draws", 2)
    with pytest.raises(UsageError, match=r"the default of constrained\.draws was 2 and is 1 now"):
        update_manifest(store, study(), 0)
    monkeypatch.undo()
    added_later(monkeypatch, Constrained, "draws", 1)
    update_manifest(store, study(), 0)


def test_another_range_is_refused(store: Store) -> None:
    older = define_study(study(), 0)
    older["ranges"]["constrained.beta"] = [0.5, 2, False]
    write(store, older)
    with pytest.raises(UsageError, match=r"the search range of constrained\.beta was \[0\.5,2,false\] and is \["):
        update_manifest(store, study(), 0)


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (Training, "training"),
        (DataSplit, "split"),
        (ResNet, "resnet8"),
        (Digits, "digits"),
        (Constrained, "constrained"),
    ],
)
def test_a_raised_version_is_refused(cls: type, name: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    update_manifest(store, study(), 0)
    before = written(store)
    old = before["versions"][name]
    monkeypatch.setattr(cls, "version", old + 1)
    with pytest.raises(UsageError, match=f"made by other code: the version of {name} was {old} and is {old + 1} now"):
        update_manifest(store, study(), 0)
    assert written(store) == before


def test_a_raised_version_of_the_evaluation_goes_on_and_a_lowered_one_does_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_manifest(store, study(), 0)
    before, old = written(store), Evaluation.version
    monkeypatch.setattr(Evaluation, "version", old + 1)
    match_manifest(store, study(), 0)
    after = written(store)
    assert after["versions"].pop("evaluation") == before["versions"].pop("evaluation") + 1
    assert after == before
    monkeypatch.setattr(Evaluation, "version", old)
    with pytest.raises(UsageError, match=f"the version of evaluation was {old + 1} and is {old} now"):
        update_manifest(store, study(), 0)


@pytest.mark.parametrize(("made", "when"), [(None, "an earlier"), (1, "an earlier"), (3, "a later")])
def test_another_format_is_read_and_not_continued(made: int | None, when: str, store: Store) -> None:
    older = {**define_study(study(), 0), "format": made}
    if made is None:
        del older["format"]
    write(store, older)
    words = f"made by {when} version with other trial keys.*not continued; give an"
    with pytest.raises(UsageError, match=words):
        update_manifest(store, study(), 0)
    with pytest.raises(UsageError, match=words):
        check_comparable(store.folder, study(), 0)
    assert written(store) == older


def test_only_results_that_mean_the_same_warm_a_search(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"sweep 'demo' has no sweep\.json"):
        check_comparable(store.folder, study(), 0)
    update_manifest(store, study(), 0)
    check_comparable(store.folder, study(epochs="3", lr="0.5"), 7)
    old = Evaluation.version
    monkeypatch.setattr(Evaluation, "version", old + 1)
    with pytest.raises(UsageError, match=f"the version of evaluation was {old} and is {old + 1} now"):
        check_comparable(store.folder, study(), 0)


def test_a_value_that_comes_with_a_name_has_no_default(store: Store) -> None:
    older = define_study(study(), 0)
    del older["base"]["depth"]
    write(store, older)
    with pytest.raises(UsageError, match="has depth=None, got depth=8: give the same settings"):
        update_manifest(store, study(), 0)


def test_a_sweep_without_a_list_of_its_grid_goes_on(store: Store) -> None:
    older = define_study(study(), 0)
    del older["owed"]
    write(store, older)
    update_manifest(store, study(), 0)
    assert len(written(store)["owed"]) == 2  # the deep ensembles of two seeds


def test_two_grids_do_not_share_a_folder(store: Store) -> None:
    first, second = build("time-parameter", None), build("constraint", None).with_size(None, None, 3)
    assert {**define_study(first, 0), "owed": 0} == {**define_study(second, 0), "owed": 0}
    update_manifest(store, first, 0)
    # Nine t and two β on three seeds; where t is 0, 0.05 or 0.2 the other grid has the trial too.
    gone = 3 * (9 - 3) * 2
    with pytest.raises(UsageError, match=rf"^sweep 'demo' has {gone} grid or reference trials that this study"):
        update_manifest(store, second, 0)
    assert written(store)["owed"] == define_study(first, 0)["owed"]


def test_reported_seeds_may_grow_and_not_shrink(store: Store) -> None:
    update_manifest(store, study(), 0)
    assert len(written(store)["owed"]) == 2
    update_manifest(store, study().with_size(None, None, 4), 0)
    assert (written(store)["seeds"], len(written(store)["owed"])) == (4, 4)
    with pytest.raises(UsageError, match="sweep 'demo' has seeds=4, got seeds=3"):
        update_manifest(store, study().with_size(None, None, 3), 0)


def test_searched_choices_are_part_of_the_definition(store: Store) -> None:
    update_manifest(store, study().search_also(["constraint"]), 0)
    with pytest.raises(UsageError, match="sweep 'demo' has searched="):
        update_manifest(store, study(), 0)
    assert "star" in written(store)["ranges"]["constrained.constraint"]


def test_a_grid_may_grow_and_not_shrink(store: Store) -> None:
    whole = build("ensemble-size", None)
    part = replace(whole, grid=whole.grid[:3])
    update_manifest(store, part, 0)
    update_manifest(store, whole, 0)
    assert len(written(store)["owed"]) == 8 * 3
    with pytest.raises(UsageError, match="has 15 grid or reference trials"):
        update_manifest(store, part, 0)


@pytest.mark.parametrize(
    ("made", "varied"),
    [
        (study, []),  # its deep ensembles differ in their seed alone
        (lambda: build("time-parameter", None), ["beta", "t"]),
        (lambda: build("constraint", None), ["beta", "constraint", "share_init", "t"]),
    ],
)
def test_what_a_grid_varies_is_recorded_and_not_compared(
    store: Store, made: Callable[[], Study], varied: list[str]
) -> None:
    update_manifest(store, made(), 0)
    before = written(store)
    record_varied(store, made(), 0)
    assert written(store) == before | {"varied": varied}
    update_manifest(store, made(), 0)
    assert written(store) == before | {"varied": varied}
