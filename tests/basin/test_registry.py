"""A registry over a package written by the test: a file dropped in registers itself."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from basin.errors import UsageError
from basin.registry import Registry

PACKAGE = """
from basin.registry import Registry

shapes = Registry("shape", __name__)
"""
ROUND = """
from dataclasses import dataclass

from menagerie import shapes


@shapes.register("disc", radius=1)
@shapes.register("wheel", radius=4)
@dataclass(frozen=True)
class Round:
    radius: int
    colour: str = "red"
"""
SQUARE = """
from dataclasses import dataclass

from menagerie import shapes


@shapes.register("square")
@dataclass(frozen=True)
class Square:
    side: int = 2
"""


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[Any]]:
    package = tmp_path / "menagerie"
    package.mkdir()
    for name, text in [("__init__", PACKAGE), ("round", ROUND), ("square", SQUARE)]:
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    import menagerie  # type: ignore[import-not-found]

    yield menagerie.shapes
    for name in [name for name in sys.modules if name.partition(".")[0] == "menagerie"]:
        del sys.modules[name]


def test_names_come_sorted_from_the_files(shapes: Registry[Any]) -> None:
    assert list(shapes) == ["disc", "square", "wheel"]


def test_a_class_with_several_names_comes_once(shapes: Registry[Any]) -> None:
    assert [cls.__name__ for cls in shapes.classes()] == ["Round", "Square"]


def test_make_sets_the_fixed_fields(shapes: Registry[Any]) -> None:
    wheel = shapes.make("wheel", colour="blue")
    assert (wheel.radius, wheel.colour) == (4, "blue")


def test_entry_is_the_class_and_what_the_name_fixes(shapes: Registry[Any]) -> None:
    cls, fixed = shapes.entry("disc")
    assert (cls.__name__, fixed) == ("Round", {"radius": 1})


@pytest.mark.parametrize("name", ["disc", "wheel", "square"])
def test_an_instance_knows_its_name(shapes: Registry[Any], name: str) -> None:
    assert shapes.name(shapes.make(name)) == name


def test_unknown_names_are_refused(shapes: Registry[Any]) -> None:
    with pytest.raises(UsageError, match=r"^unknown shape 'cube': expected one of disc, square, wheel$"):
        shapes.make("cube")
    with pytest.raises(UsageError, match=r"^unknown shape 'cube': expected one of disc, square, wheel$"):
        shapes.entry("cube")


def test_an_instance_that_no_name_makes_is_refused(shapes: Registry[Any]) -> None:
    cls, _ = shapes.entry("disc")
    with pytest.raises(UsageError, match=r"^unknown shape 'Round': expected one of disc, square, wheel$"):
        shapes.name(cls(radius=2))


def test_a_name_is_given_once(shapes: Registry[Any]) -> None:
    @dataclass(frozen=True)
    class Other:
        pass

    assert "square" in list(shapes)
    with pytest.raises(AssertionError, match="two entries for shape 'square'"):
        shapes.register("square")(Other)
