"""The commands that look: their help, their formats, what they print."""

import csv
import io
import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cli import app as command_line
from cli.options import StudyOptions
from sweeps.storage.store import Store
from sweeps.study.catalog import STUDIES
from tests.support.shell import Command
from tests.support.tiny_sweep import launch as launch_command
from tests.support.tiny_sweep import works

COMMANDS = ("studies", "sweep", "plan", "best", "ui", "doctor")


def registered_names() -> list[str]:
    commands = command_line.app.registered_commands
    return [c.name or c.callback.__name__ for c in commands if c.callback]


def test_every_command_is_tested_here() -> None:
    assert set(registered_names()) >= set(COMMANDS)


@pytest.mark.parametrize("name", registered_names())
def test_help_has_an_example_that_is_a_command(name: str, shell: Command) -> None:
    text = shell(name, "--help")
    assert f"Example: python launch.py {name}" in " ".join(text.split())
    assert shell(name, "-h") == text


def test_of_several_datasets_each_has_a_sweep() -> None:
    paths = [Path("a/cifar-10-python.tar.gz"), Path("b/tiny-imagenet")]
    given = StudyOptions(study="paper", seed=1)
    assert given.named_sources() == [("paper", None)]
    assert replace(given, data=paths[:1]).named_sources() == [("paper", paths[0])]
    assert replace(given, data=paths).named_sources() == [
        ("paper-cifar-10-python", paths[0]),
        ("paper-tiny-imagenet", paths[1]),
    ]
    assert replace(given, data=paths, name="mine").named_sources()[1] == ("mine-tiny-imagenet", paths[1])


def test_the_version_is_that_of_the_project(shell: Command) -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert shell("--version").split() == [project["name"], project["version"]]


def test_help_lists_every_command(shell: Command) -> None:
    text = shell("--help")
    assert all(f" {command} " in text for command in COMMANDS)


def test_no_summary_and_no_help_is_cut_at_80_columns(monkeypatch: pytest.MonkeyPatch, shell: Command) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    commands: dict[str, Any] = get_command(command_line.app).commands  # type: ignore[attr-defined]
    assert sorted(commands) == sorted(registered_names())
    overview = shell("--help").splitlines()
    for name, command in commands.items():
        summary = command.help.partition("\n")[0]
        assert any(line.startswith(f"│ {name} ") and summary in line for line in overview), summary
        text = shell(name, "--help")
        assert "…" not in text
        words = " ".join(text.replace("│", " ").split())
        for parameter in command.params:
            assert parameter.help, f"{name}: {parameter.name}"
            assert parameter.help in words, f"{name}: {parameter.help}"


@pytest.mark.parametrize("name", registered_names())
def test_no_line_of_a_description_is_broken_at_80_columns(
    name: str, monkeypatch: pytest.MonkeyPatch, shell: Command
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = [line.strip() for line in shell(name, "--help").splitlines()]
    command = get_command(command_line.app).commands[name]  # type: ignore[attr-defined]
    assert [line for line in command.help.splitlines() if line.strip() not in shown] == []


@pytest.mark.parametrize("name", registered_names())
def test_help_shows_no_types_of_python(name: str, shell: Command) -> None:
    text = shell(name, "-h")
    assert not re.findall(r"<\w+>|\{|\||\.\.\.", text)
    assert " -h " in text


@pytest.mark.parametrize("name", ["sweep", "plan"])
def test_options_of_a_study_stand_in_panels_one_a_line(
    name: str, monkeypatch: pytest.MonkeyPatch, shell: Command
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = shell(name, "--help")
    for panel in ("Study", "Search", "Resources", "Storage and tracking", "Advanced"):
        assert f"─ {panel} ─" in text
    for parameter in get_command(command_line.app).commands[name].params:  # type: ignore[attr-defined]
        assert parameter.help in text
        assert parameter.metavar or parameter.is_flag


def test_plan_takes_every_option_of_sweep() -> None:
    commands: dict[str, Any] = get_command(command_line.app).commands  # type: ignore[attr-defined]
    options = {name: {option for p in commands[name].params for option in p.opts} for name in ("sweep", "plan")}
    assert options["plan"] - options["sweep"] == {"--rate", "--probe", "--price", "--campaign"}
    assert options["sweep"] - options["plan"] == {"--quiet", "--log-format", "--on-end"}


def test_a_study_is_described(shell: Command) -> None:
    text = shell("studies", "cifar10-small")
    assert "short schedule" in text
    for name, value in (
        ("trials", "12 searched"),
        ("dataset", "cifar10"),
        ("model", "resnet20"),
        ("objectives", "val_nll"),
    ):
        assert any(name in line and value in line for line in text.splitlines())


def test_studies_are_listed(shell: Command) -> None:
    text = shell("studies")
    for name, function in STUDIES.items():
        (line,) = [line for line in text.splitlines() if line.split("│")[1:2] and line.split("│")[1].strip() == name]
        assert function.__doc__
        assert function.__doc__.split()[0] in line


@pytest.mark.filterwarnings("ignore")
def test_best_as_json(finished: Store, shell: Command) -> None:
    answer = json.loads(shell("best", "quickstart", "--format", "json", "--storage", str(finished.folder.parent)))
    rows = {row["key"]: row for row in finished.rows()}
    searched = {key: row for key, row in rows.items() if row["role"] == "search"}
    assert answer["aim"]["objectives"] == ["val_nll"]
    within = [row for row in searched.values() if row["val_basin_upper_reset"] <= 2] or list(searched.values())
    shown = [group["runs"][0]["key"] for group in answer["found"]]
    assert set(shown) == {row["key"] for row in within}
    for group in answer["found"]:
        (run,) = group["runs"]
        assert run["metrics"]["test_accuracy"] == searched[run["key"]]["test_accuracy"]
        assert run["params"]["t"] == str(searched[run["key"]]["t"])
        assert run["tags"]["verdict_val"] == searched[run["key"]]["verdict_val"]
    (reference,) = answer["references"]
    assert [rows[run["key"]]["seed"] for run in sorted(reference["runs"], key=lambda run: run["params"]["seed"])] == [
        1,
        2,
    ]
    for group in [*answer["chosen"], reference]:
        assert {rows[run["key"]]["role"] for run in group["runs"]} <= {"fresh", "reference"}
        assert len(group["runs"]) == 2
        assert group["verdicts"]["test"]["accuracy"]["answer"] in ("yes", "no", "undecided")
    assert {group["runs"][0]["construction"] for group in answer["chosen"]} == {
        row["construction"] for row in searched.values()
    }


@pytest.mark.filterwarnings("ignore")
def test_best_as_csv_has_means_over_fresh_seeds(finished: Store, shell: Command) -> None:
    where = ["--storage", str(finished.folder.parent), "--format", "csv"]
    fresh = [row for row in finished.rows() if row["role"] in ("fresh", "reference")]
    for split in ("val", "test"):
        lines = list(csv.DictReader(io.StringIO(shell("best", "quickstart", "--split", split, *where))))
        reported = [line for line in lines if line["table"] == "reported"]
        assert {line["role"] for line in reported} == {"fresh", "reference"}
        for line in reported:
            own = [row for row in fresh if row["construction"] == line["construction"]]
            for name in ("accuracy", "nll", "q_bar_reset", "member_mean_accuracy", "soup_accuracy"):
                values = [row[f"{split}_{name}"] for row in own]
                assert float(line[name]) == pytest.approx(sum(values) / 2)
        assert {line["split"] for line in lines if line["table"] == "searched"} == {"val"}


@pytest.mark.filterwarnings("ignore")
def test_best_as_tables(finished: Store, shell: Command) -> None:
    where = ["--storage", str(finished.folder.parent)]
    text = shell("best", "quickstart", *where)
    assert "Chosen configurations on 2 fresh seeds: means on test" in text
    assert "searched configurations by nll on validation" in text
    assert "deep (ref.)" in text
    assert text.splitlines()[-1].startswith("next: launch.py show ")
    assert "deep, these 2 seeds: " in text
    front = shell("best", "quickstart", "--x", "q_bar", "--y", "accuracy", "--split", "val", *where)
    assert "means on val" in front
    assert "Non-dominated configurations by q̄ and accuracy on validation" in front
    assert "hypervolume of the front on validation" in front
    assert "(the mean member of the references)" in " ".join(front.split())


@pytest.mark.filterwarnings("ignore")
def test_ui_prints_its_command(finished: Store, shell: Command) -> None:
    lines = shell("ui", "quickstart", "--storage", str(finished.folder.parent), "--port", "5055").splitlines()
    page = r"http://127\.0\.0\.1:5055/#/experiments/\d+/runs\?workflowType=machine_learning&viewStateShareKey=sweep"
    assert re.fullmatch(page, lines[0])
    store, *_, program = re.match(r"((?:[A-Z_]+=\S+ )+)(\S+) server ", lines[1]).groups()
    assert Path(program).exists()
    assert f"MLFLOW_BACKEND_STORE_URI=sqlite:///{finished.folder.parent / 'mlflow.db'} " in store
    assert "--host 127.0.0.1 --port 5055 " in lines[1]


@pytest.mark.slow
def test_doctor_finds_what_to_fix(tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("mine")
    uri = "http://127.0.0.1:9"
    done = launch_command("doctor", "--storage", str(tmp_path / "storage" / "deep"), "--tracking-uri", uri)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    states = {
        line.split("│")[1].strip(): line.split("│")[2].strip() for line in done.stdout.splitlines() if "│" in line
    }
    assert states["tracking"] == "FAIL"
    assert states["storage"] == "FAIL"
    assert states["ray"] == "ok"
    assert states["packages"] == "ok"


@pytest.mark.slow
def test_doctor_is_content(finished: Store) -> None:
    before = sorted(finished.folder.parent.iterdir())
    done = launch_command("doctor", "--storage", str(finished.folder.parent))
    assert "FAIL" not in works(done).split()
    assert sorted(finished.folder.parent.iterdir()) == before
