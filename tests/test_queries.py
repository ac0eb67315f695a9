"""Every line of docs/queries.md runs on a sweep, and the five tools give the same answer to each question."""

import ast
import csv
import io
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.test_docs import BLOCK

TOOLS = ("launch.py", "DuckDB", "MLflow", "polars", "pandas")
ROUNDED = {7: 0.006}
"""Question whose answer launch.py rounds to two digits → what may differ."""
Answer = list[tuple[Any, ...]]


def read_sections(root: Path) -> tuple[str, list[str]]:
    """The text before the first question, and that of each question."""
    page = (root / "docs/queries.md").read_text(encoding="utf-8")
    first, *questions = re.split(r"^## (?=\d+\. )", page, flags=re.MULTILINE)
    return first, questions


def plain(rows: Any) -> Answer:
    """Sorted rows of plain values; numbers of six digits, nothing for what is missing."""
    return sorted((tuple(map(_plain_value, row)) for row in rows), key=repr)


def _plain_value(value: Any) -> Any:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value or None
    return None if math.isnan(number) else float(f"{number:.6g}")


@dataclass
class Tools:
    """DuckDB's views, and the names that Python has, after the first part of the page."""

    views: Any
    names: dict[str, Any]

    def answers(self, section: str) -> dict[str, Answer]:
        """The answer of each tool other than launch.py."""
        found = {language: text.strip() for language, text in BLOCK.findall(section)}
        mlflow, polars, pandas = (ast.unparse(one) for one in ast.parse(found["python"]).body)
        return {
            "DuckDB": plain(self.views.sql(found["sql"]).fetchall()),
            "MLflow": plain(eval(mlflow, self.names).itertuples(index=False, name=None)),
            "polars": plain(eval(polars, self.names).rows()),
            "pandas": plain(eval(pandas, self.names).itertuples(index=False, name=None)),
        }


def begin(first: str) -> Tools:
    """Run the first part of the page."""
    import duckdb

    tools = Tools(duckdb.connect(), {})
    for language, text in BLOCK.findall(first):
        if language == "sql":
            tools.views.execute(text)
        else:
            exec(text, tools.names)
    return tools


def ask(shell: Any, section: str) -> str:
    """What the command of a section prints; of a report, which is there, the files that the section names."""
    (line,) = [text.strip() for language, text in BLOCK.findall(section) if language == "sh"]
    command, _, comment = line.partition("#")
    program, script, *arguments = command.split()
    assert (program, script) == (".venv/bin/python", "launch.py")
    if arguments == ["report", "quickstart"]:
        return "".join(Path(file).read_text(encoding="utf-8") for file in re.findall(r"results/[^\s,]+", comment))
    printed: str = shell(*arguments)
    return printed


def columns(text: str, *wanted: str, **where: str) -> Answer:
    """Columns of the rows of a CSV."""
    rows = csv.DictReader(io.StringIO(text))
    return plain(tuple(row.get(name) for name in wanted) for row in rows if where.items() <= row.items())


def launch_answer(number: int, printed: str) -> Answer:
    """The answer in what `launch.py` printed."""
    reported, searched = {"table": "reported"}, {"table": "searched"}
    if number == 1:
        return columns(printed, "construction", "seeds", "nll", "nll_half", role="fresh")
    if number == 2:
        return columns(printed, "q_bar_reset", "nll", **searched)
    if number == 3:
        return columns(printed, "construction", "verdict", **reported)
    if number == 4:
        return columns(printed, "construction", "accuracy", "accuracy_half", **reported)
    if number == 5:
        return columns(printed, "construction", "beta", "temperature", "nll", **searched)
    if number == 6:
        return columns(printed, "construction", "passes")
    if number == 7:
        accuracy = printed.partition("\nAccuracy:\n")[2].partition("\nNLL:\n")[0]
        lines = re.findall(r"^- (\w+) (?:vs\. deep: .*?(−?)|is )([\d.]+) points (less|more|)", accuracy, re.MULTILINE)
        signed = [(name, float(f"{'-' * (bool(minus) or word == 'less')}{size}")) for name, minus, size, word in lines]
        chosen = re.compile(r"^- (\w+) .*(?:vs\. deep:|than deep )", re.MULTILINE).findall(accuracy)
        return plain(row for row in signed if row[0] in chosen)
    groups = json.loads(printed) if number in (8, 10) else {}
    groups = [*groups.get("chosen", ()), *groups.get("references", ())]
    if number == 8:
        (deep,) = [group for group in groups if group["runs"][0]["construction"] == "deep"]
        weakest = deep["verdicts"]["test"]["accuracy"]["weakest"]
        return plain([(weakest["seed"], *weakest["pair"], weakest["mean"])])
    if number == 9:
        diversity, accuracy = printed.split("dataset,")[1:]
        both = dict(columns(f"dataset,{accuracy}", "construction", "accuracy"))
        return plain(
            (name, value, both[name]) for name, value in columns(f"dataset,{diversity}", "construction", "disagreement")
        )
    lost = [(group["runs"][0]["construction"], group["verdicts"]["lost"]) for group in groups]
    return plain(row for row in lost if row[1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_five_tools_give_one_answer_to_each_question(
    root: Path, logged: Path, shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(logged)
    first, questions = read_sections(root)
    tools = begin(first)
    assert len(questions) == 10
    for number, section in enumerate(questions, 1):
        answers = tools.answers(section) | {"launch.py": launch_answer(number, ask(shell, section))}
        assert answers["DuckDB"], section
        for tool in TOOLS:
            assert answers[tool] == [pytest.approx(row, abs=ROUNDED.get(number, 0)) for row in answers["DuckDB"]], tool
