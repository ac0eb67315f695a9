"""JSON is as the standard has it, wherever it is written."""

import ast
import json
import math
from pathlib import Path

import pytest

from basin.strict_json import dump_json

ROOT = Path(__file__).parents[2]
WRITERS = [
    path
    for room in ("basin", "sweeps", "analysis", "stats", "cli", "benchmarks")
    for path in sorted((ROOT / room).rglob("*.py"))
    if "json.dump" in path.read_text()
]
VALUE = {"a": [1.5, math.nan, (math.inf, -math.inf)], "b": {"c": None, "d": "NaN", "e": True}}


def refuse(name: str) -> None:
    raise AssertionError(f"bare {name}")


def test_numbers_that_are_not_finite_become_null() -> None:
    text = dump_json(VALUE, indent=1)
    found = json.loads(text, parse_constant=refuse)
    assert found == {"a": [1.5, None, [None, None]], "b": {"c": None, "d": "NaN", "e": True}}


def test_kept_numbers_are_read_back() -> None:
    found = json.loads(dump_json(VALUE, keep=True), parse_constant=refuse)
    assert [float(value) for value in found["a"][2]] == [math.inf, -math.inf]
    assert math.isnan(float(found["a"][1]))


@pytest.mark.parametrize("path", WRITERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_writer_of_json_is_strict(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dumps", "json.dump"):
            strict = {word.arg: ast.unparse(word.value) for word in node.keywords}.get("allow_nan")
            assert strict == "False", f"{path}:{node.lineno}: give allow_nan=False, or use dump_json"
