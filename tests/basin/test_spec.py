"""Fields of a hyperparameter dataclass: what is read from them, what their values may be."""

import gc
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, dataclass
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basin import spec
from basin.errors import UsageError
from basin.spec import (
    Bounds,
    Field,
    Search,
    Value,
    canonical_text,
    changed_fields,
    check_fields,
    describe_fields,
    replace_known,
)
from basin.trial import REGISTRIES


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One field of every kind."""

    depth: Annotated[int, Bounds(1, 1000)]
    """Comes with the registered name."""
    steps: Annotated[int, Bounds(0)] = 10
    lr: Annotated[float, Bounds(0), Search(1e-3, 10, log=True)] = 0.1
    """Learning rate,
    at the start."""
    offset: float = 0
    share: bool = True
    norm: Literal["batch", "layer"] = "batch"
    label: str = ""
    clip: Annotated[float | None, Bounds(0)] = None
    warmup: Annotated[int, Bounds(0)] | None = 5
    """Optional outside of its bounds."""
    teacher: Literal["own", "ensemble"] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


def field(name: str) -> Field:
    return {field.name: field for field in describe_fields(Recipe)}[name]


def test_fields_keep_their_order() -> None:
    names = ["depth", "steps", "lr", "offset", "share", "norm", "label", "clip", "warmup", "teacher"]
    assert [field.name for field in describe_fields(Recipe)] == names


def test_a_field_is_read_once() -> None:
    assert describe_fields(Recipe) is describe_fields(Recipe)


def test_threads_may_read_at_once() -> None:
    """With a collector that lets other threads run in the midst of parsing; Python 3.11.7 then loses count."""
    classes = [cls for registry in REGISTRIES.values() for cls in registry.classes()]
    spec._describe_cached.cache_clear()

    def yielding(*_: object) -> None:
        time.sleep(1e-5)

    before = gc.get_threshold()
    gc.callbacks.append(yielding)
    gc.set_threshold(100)
    try:
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(lambda _: [describe_fields(cls) for cls in classes], range(8)))
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(yielding)
    assert all(fields == read[0] for fields in read)


def test_docstrings_are_those_under_the_fields() -> None:
    assert field("depth").doc == "Comes with the registered name."
    assert field("lr").doc == "Learning rate,\nat the start."
    assert field("steps").doc == ""


def test_annotations_are_read() -> None:
    assert (field("lr").search, field("lr").bounds) == (Search(1e-3, 10, log=True), Bounds(0))
    assert (field("steps").search, field("offset").bounds) == (None, Bounds(-math.inf, math.inf))
    assert field("norm").choices == ("batch", "layer")
    assert (field("warmup").kind, field("warmup").optional, field("warmup").bounds) == (int, True, Bounds(0))
    assert (field("teacher").optional, field("teacher").choices) == (True, ("own", "ensemble"))


def test_a_field_without_default_is_fixed() -> None:
    assert [field.name for field in describe_fields(Recipe) if field.fixed] == ["depth"]
    assert field("depth").default is None


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("steps", 7, 7),
        ("steps", "7", 7),
        ("steps", 7.0, 7),
        ("steps", "1e3", 1000),
        ("steps", "9007199254740993", 2**53 + 1),
        ("lr", 1, 1.0),
        ("lr", "1e-3", 0.001),
        ("offset", -0.0, 0.0),
        ("offset", "-0.0", 0.0),
        ("share", "false", False),
        ("share", "True", True),
        ("share", False, False),
        ("norm", "layer", "layer"),
        ("label", "none", "none"),
        ("label", "", ""),
        ("clip", None, None),
        ("clip", "none", None),
        ("clip", "None", None),
        ("clip", "2", 2.0),
        ("warmup", "3", 3),
        ("teacher", "none", None),
        ("teacher", "own", "own"),
    ],
)
def test_parse(name: str, given: object, value: Value) -> None:
    parsed = field(name).parse(given)
    assert (type(parsed), repr(parsed)) == (type(value), repr(value))


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("depth", 0, "an integer from 1 to 1000"),
        ("depth", 1001, "an integer from 1 to 1000"),
        ("steps", -1, "an integer of 0 or more"),
        ("steps", 1.5, "an integer of 0 or more"),
        ("steps", "1.5", "an integer of 0 or more"),
        ("steps", True, "an integer of 0 or more"),
        ("steps", math.inf, "an integer of 0 or more"),
        ("steps", None, "an integer of 0 or more"),
        ("lr", "fast", "a number of 0 or more"),
        ("lr", -1e-9, "a number of 0 or more"),
        ("lr", math.nan, "a number of 0 or more"),
        ("lr", "inf", "a number of 0 or more"),
        ("lr", [1.0], "a number of 0 or more"),
        ("offset", "", "a number"),
        ("offset", 10**400, "a number"),
        ("share", 1, "true or false"),
        ("share", "yes", "true or false"),
        ("norm", "group", "one of batch, layer"),
        ("norm", "none", "one of batch, layer"),
        ("label", 3, "a text"),
        ("clip", -1, "a number of 0 or more or none"),
        ("warmup", -1, "an integer of 0 or more or none"),
    ],
)
def test_parse_names_what_is_possible(name: str, given: object, expected: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name}=.*: expected {expected}$"):
        field(name).parse(given)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = {
    "depth": st.integers(1, 1000),
    "steps": st.integers(0),
    "lr": FLOATS.filter(lambda value: value >= 0),
    "offset": FLOATS,
    "share": st.booleans(),
    "norm": st.sampled_from(["batch", "layer"]),
    "label": st.text(),
    "clip": st.none() | st.floats(0, 1e300),
    "warmup": st.none() | st.integers(0),
    "teacher": st.none() | st.sampled_from(["own", "ensemble"]),
}


@pytest.mark.parametrize("name", VALUES)
@given(data=st.data())
def test_a_value_survives_its_text(name: str, data: st.DataObject) -> None:
    value = data.draw(VALUES[name])
    parsed = field(name).parse(str(value))
    assert parsed == value
    assert type(parsed) is type(value)


@given(values=st.fixed_dictionaries(VALUES))
def test_a_recipe_survives_its_texts(values: dict[str, Value]) -> None:
    recipe = Recipe(**values)  # type: ignore[arg-type]
    assert replace_known(Recipe(depth=1), {name: str(value) for name, value in values.items()}) == recipe
    assert canonical_text(changed_fields(replace_known(recipe, {}))) == canonical_text(changed_fields(recipe))


def test_construction_checks_and_converts() -> None:
    recipe = Recipe(depth=20, lr=1)
    assert (type(recipe.lr), type(recipe.offset)) == (float, float)
    with pytest.raises(UsageError, match=r"^lr=-1: expected a number of 0 or more$"):
        Recipe(depth=20, lr=-1)
    with pytest.raises(FrozenInstanceError):
        recipe.lr = 2.0  # type: ignore[misc]


def test_changed_leaves_out_defaults_and_fixed_fields() -> None:
    assert changed_fields(Recipe(depth=20)) == {}
    assert changed_fields(Recipe(depth=56, lr=0.1, offset=0.0, norm="layer", clip=1)) == {"norm": "layer", "clip": 1.0}


def test_canonical_text_is_pinned() -> None:
    values: dict[str, Value] = {"lr": 0.1, "norm": "layer", "clip": None, "share": True, "steps": 3, "tiny": 1e-7}
    text = '{"clip":null,"lr":0.1,"norm":"layer","share":true,"steps":3,"tiny":1e-07}'
    assert canonical_text(values) == text
    assert canonical_text(dict(reversed(values.items()))) == text


def test_canonical_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_text({"lr": math.nan})


def test_replace_known_parses_and_leaves_the_original() -> None:
    recipe = Recipe(depth=20)
    assert replace_known(recipe, {"lr": "0.5", "norm": "layer"}) == Recipe(depth=20, lr=0.5, norm="layer")
    assert recipe == Recipe(depth=20)


def test_replace_known_refuses_unknown_names() -> None:
    with pytest.raises(UsageError, match=r"^unknown field 'rate': expected one of clip, depth, label, lr, norm, "):
        replace_known(Recipe(depth=20), {"rate": 1})


def test_replace_known_refuses_unfit_values() -> None:
    with pytest.raises(UsageError, match=r"^depth=0: expected an integer from 1 to 1000$"):
        replace_known(Recipe(depth=20), {"depth": 0})
