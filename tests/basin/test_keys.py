"""Names never lie: whatever acts on a result is in its name, whoever supplies it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import pytest

from basin import keys
from basin.constructions.constrained import Constrained
from basin.constructions.deep import Deep
from basin.data import DataSplit
from basin.data.cifar import Cifar
from basin.data.digits import Digits
from basin.measure import Evaluation
from basin.models.mlp import MLP
from basin.models.resnet import ResNet
from basin.spec import Since, acting_values, check_fields
from basin.training.loop import Training
from basin.trial import REGISTRIES, Trial, overlay

DEFAULT = Trial(dataset=Digits(), model=MLP(), construction=Deep(), data_hash="0123456789abcdef")
Edit = Callable[[type, str, Any], None]

TRIALS: list[dict[str, object]] = [
    {},
    {"seed": 3},
    {"construction": "constrained"},
    {"construction": "constrained", "t": 0, "share_init": False, "beta": 0.3, "constraint": "simplex"},
    {"construction": "distilled", "model": "resnet20", "beta": 0.3, "t": 0.25, "seed": 3},
    {"construction": "swe", "model": "resnet8", "width": 0.5, "rates": "cyclical"},
    {"construction": "permuted", "model": "resnet20", "norm": "layer", "matching": "weights"},
    {"model": "vit", "optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05},
    {"model": "torchvision:resnet18", "dataset": "tiny-imagenet", "batch_size": 128},
    {"dataset": "cifar10", "model": "resnet20", "epochs": 200, "precision": "bfloat16"},
    {"dataset": "cifar100", "train_size": 1500, "val_size": 100, "augment": "none", "alphas": 25},
    {"ood": "cifar10", "predictions": True, "policies": "all", "progress_every": 1},
]
PINNED = """
9465489ed04499fb 12eab5398859a71e
abfb415f7793de7e 5e336aa72696431e
b085d84413a991a3 12eab5398859a71e
0c787fddb6e56753 12eab5398859a71e
c4dfdcb33b97aa3d 475dd241e7d7263f
f62c1e1bb6673b1f 44092673017c027d
35e85e3007a2d4d1 143a30d782c15fea
bcbeefe3f284ba81 11ad4e3253c2343c
9b75885905822888 2806342aeacd6db7
b7fdc83db71a524a 6c31375f7139a776
b973cf5378919252 b424140feeb5a638
4f97a480d470e4b2 12eab5398859a71e
"""
"""Keys of these trials and of their recipes."""


def test_keys_are_pinned() -> None:
    named = [overlay(DEFAULT, changes) for changes in TRIALS]
    now = "\n".join(["", *(f"{trial.key} {trial.recipe_key}" for trial in named), ""])
    assert now == PINNED, (
        "trials have other names than before: rows, weights, checkpoints and MLflow runs of earlier sweeps are no "
        "longer found. If what a class's values mean has changed (its code gives other numbers), raise the `version` "
        "of that class and pin the new keys. If a field was added, annotate it with "
        "`Since(VALUE THAT ACTED BEFORE)`, which leaves all names alone. If a default was changed, leave the default "
        f"as it was, or pin the new keys if a change is wanted. The keys of now:\n{now}"
    )


def both(trial: Trial) -> tuple[str, str]:
    return trial.key, trial.recipe_key


@pytest.mark.parametrize(
    ("cls", "field", "value", "changes"),
    [
        (Training, "momentum", 0.5, {}),
        (Training, "epochs", 20, {}),
        (DataSplit, "split_seed", 1, {}),
        (MLP, "hidden", 32, {}),
        (ResNet, "width", 0.5, {"model": "resnet20"}),
    ],
)
def test_a_default_that_is_changed_in_the_code_changes_trials_and_recipes(
    cls: type, field: str, value: Any, changes: dict[str, object], edited: Edit
) -> None:
    before, given = overlay(DEFAULT, changes), overlay(DEFAULT, {**changes, field: value})
    kept = both(before)
    edited(cls, field, value)
    model = REGISTRIES["model"].make(str(changes.get("model", "mlp")))
    now = Trial(dataset=Digits(), model=model, construction=Deep(), data_hash=DEFAULT.data_hash)
    assert now.flat()[field] == value
    assert now.key != kept[0]
    assert now.recipe_key != kept[1]
    assert both(now) == both(given), "the same value has the same name, whoever gives it"
    assert both(overlay(now, {field: before.flat()[field]})) == kept


@pytest.mark.parametrize(
    ("cls", "field", "value", "construction"),
    [(Constrained, "draws", 3, "constrained"), (Evaluation, "alphas", 25, "deep")],
)
def test_a_changed_default_that_no_stage_knows_changes_trials_alone(
    cls: type, field: str, value: Any, construction: str, edited: Edit
) -> None:
    before = overlay(DEFAULT, {"construction": construction})
    kept, given = both(before), overlay(before, {field: value}).key
    edited(cls, field, value)
    made = REGISTRIES["construction"].make(construction)
    now = Trial(dataset=Digits(), model=MLP(), construction=made, data_hash=DEFAULT.data_hash)
    assert now.key == given != kept[0]
    assert now.recipe_key == kept[1]


def test_what_a_dataset_supplies_to_a_split_is_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    small, before = overlay(DEFAULT, {"train_size": 200}), both(DEFAULT)
    assert both(overlay(DEFAULT, {"train_size": 300, "val_size": 600, "augment": "none"})) == before
    given = both(small)
    monkeypatch.setattr(Digits, "train_size", 200)
    assert both(DEFAULT) == given != before
    assert both(small) == given
    for name, value in {"val_size": 300, "augment": "crop"}.items():
        given = both(overlay(DEFAULT, {name: value}))
        monkeypatch.setattr(Digits, name, value)
        assert both(DEFAULT) == given


def test_what_a_name_fixes_is_in_the_name() -> None:
    contents = overlay(DEFAULT, {"model": "resnet20"}).contents
    assert (contents["model"], contents["model.depth"]) == ("resnet20", 20)
    assert replace(DEFAULT, dataset=Cifar(classes=100)).recipe["dataset.classes"] == 100
    assert overlay(DEFAULT, {"model": "torchvision:resnet18"}).recipe["model.architecture"] == "resnet18"


def test_every_field_is_in_the_contents() -> None:
    trial = overlay(DEFAULT, {"construction": "distilled", "model": "vit", "dataset": "cifar10", "train_size": 100})
    named = {name.rpartition(".")[2]: value for name, value in trial.contents.items()}
    supplied = ("val_size", "augment", "ood_hash")  # the dataset's own default acts where the split names none
    assert named.items() >= {(name, value) for name, value in trial.flat().items() if name not in supplied}
    assert (named["val_size"], named["augment"]) == (5000, "crop+flip")


@dataclass(frozen=True, kw_only=True)
class Before:
    version: ClassVar[int] = 1

    width: Annotated[float, Since(2)] = 2.0
    old: float = 1

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class WithField:
    """The same, a version of the code later."""

    version: ClassVar[int] = 1

    width: Annotated[float, Since(2)] = 2.0
    old: float = 1
    orders: Annotated[int | None, Since(None)] = None
    decay: Annotated[float, Since(1)] = 1.0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class WithDefault:
    """The default of the later field has been changed since."""

    version: ClassVar[int] = 1

    width: Annotated[float, Since(2)] = 2.0
    old: float = 1
    orders: Annotated[int | None, Since(None)] = 3
    decay: Annotated[float, Since(1)] = 0.5

    def __post_init__(self) -> None:
        check_fields(self)


def test_a_field_that_is_added_renames_nothing() -> None:
    assert keys.section_contents("x", WithField()) == keys.section_contents("x", Before()) == {"x.old": 1.0}
    assert keys.section_contents("x", WithField(orders=3)) == {"x.old": 1.0, "x.orders": 3}


def test_a_later_field_is_left_out_at_its_first_value_alone() -> None:
    assert keys.section_contents("x", WithDefault()) == {"x.old": 1.0, "x.orders": 3, "x.decay": 0.5}
    assert keys.section_contents("x", WithDefault(orders=None, decay=1)) == keys.section_contents("x", Before())


def test_values_are_compared_as_their_fields_type() -> None:
    assert acting_values(WithField(decay=1)) == acting_values(WithField(decay=1.0)) == {"old": 1.0}
    assert str(acting_values(Before(old=1))["old"]) == "1.0"


def test_a_raised_version_changes_the_names_of_what_it_acts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = overlay(DEFAULT, {"construction": "constrained"})

    def names() -> tuple[str, str, str]:
        return trial.key, trial.ensemble_key, trial.recipe_key

    before = names()
    for cls, changed in ((Evaluation, 1), (Constrained, 2), (Training, 3), (DataSplit, 3), (MLP, 3), (Digits, 3)):
        with monkeypatch.context() as patch:
            patch.setattr(cls, "version", cls.version + 1)
            assert [old != new for old, new in zip(before, names(), strict=True)] == [at < changed for at in range(3)]
    assert names() == before


def test_versions_and_format_are_contents() -> None:
    contents = overlay(DEFAULT, {"construction": "distilled"}).contents
    assert contents["format"] == 2
    versions = {name: value for name, value in contents.items() if name.endswith(".version")}
    assert versions == {"construction.version": 2, "evaluation.version": Evaluation.version}


@pytest.mark.parametrize(
    "cls", [DataSplit, Training, Evaluation, *(c for r in REGISTRIES.values() for c in r.classes())]
)
def test_every_class_has_a_version(cls: type) -> None:
    assert isinstance(vars(cls)["version"], int), "of its own: an inherited one would be raised with another's meaning"
    assert vars(cls)["version"] >= 1


def test_networks_have_one_name_however_they_are_measured() -> None:
    measured: list[dict[str, object]] = [{"alphas": 25}, {"ood": "cifar10"}, {"progress_every": 1}]
    assert {overlay(DEFAULT, change).ensemble_key for change in measured} == {DEFAULT.ensemble_key}
    assert replace(DEFAULT, ood_hash="ab").ensemble_key == DEFAULT.ensemble_key
    trained: list[dict[str, object]] = [{"lr": 0.2}, {"members": 3}, {"seed": 1}, {"construction": "permuted"}]
    assert len({overlay(DEFAULT, change).ensemble_key for change in trained} | {DEFAULT.ensemble_key}) == 5


def test_differences_are_said_in_words() -> None:
    there, here = {"a": 1, "b": None, "c": "x"}, {"a": 1, "b": 0.5, "d": True}
    words = keys.describe_differences(there, here)
    assert words == 'b=null there, b=0.5 here, c="x" there, c=nothing here, d=nothing there, d=true here'
