"""Figures and tables from outside of the project."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.__main__ import main
from basin import plugins
from tests.support import synthetic_results

FIGURE = """
from analysis.output import style
from analysis.output.registry import Drawn

TITLE, WHAT, NEEDS = "Trials", "Number of trials.", "python launch.py sweep {sweep}"


def draw(tables):
    figure, (ax,) = style.panels(1, columns=1, width=4, height=3)
    ax.bar(["trials"], [len(tables.rows)])
    return Drawn(figure, [row["key"] for row in tables.rows], {"trials": len(tables.rows)})
"""


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test imports is forgotten after it."""
    before = set(sys.modules)
    monkeypatch.setattr(plugins, "_IMPORTED", {})
    yield
    for name in {"counted", "paths"} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    synthetic_results.sweep(tmp_path / "quickstart", {"constrained": 4}, {"deep": 2, "constrained": 2})
    return tmp_path / "quickstart"


def test_a_figure_of_a_plugin_is_drawn(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results.parent / "counted.py").write_text(FIGURE)
    where = ["--import", str(results.parent / "counted.py"), "--format", "png"]
    assert main([str(results), "counted", *where]) == 0
    assert "counted: png json" in capsys.readouterr().out
    facts = json.loads((results / "figures" / "counted.json").read_text())
    assert facts["data"]["trials"] > 0


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("counted.py", FIGURE.replace("WHAT, ", "OTHER, "), "plugin counted: expected WHAT"),
        ("paths.py", FIGURE, "plugin paths: the name is taken"),
    ],
)
def test_a_plugin_that_is_no_figure_is_said(
    name: str, text: str, words: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results.parent / name).write_text(text)
    assert main([str(results), "--import", str(results.parent / name)]) == 2
    assert words in capsys.readouterr().err
