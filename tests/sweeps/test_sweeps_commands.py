"""The commands that look: their help, their formats, what they print."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from shell import Command
from tiny_sweep import launch as launch_command
from tiny_sweep import works

import launch
from sweeps.commands import by_dataset
from sweeps.store import Store
from sweeps.studies import STUDIES

COMMANDS = ("studies", "sweep", "plan", "best", "ui", "doctor")


def test_every_command_is_tested_here() -> None:
    assert {c.name or (c.callback and c.callback.__name__) for c in launch.app.registered_commands} >= set(COMMANDS)


@pytest.mark.parametrize("command", [c.callback.__name__ for c in launch.app.registered_commands if c.callback])
def test_help_has_an_example_that_is_a_command(command: str, shell: Command) -> None:
    name = command.rstrip("_").replace("_", "-")
    text = shell(name, "--help")
    assert f"Example: python launch.py {name}" in " ".join(text.split())


def test_of_several_datasets_each_has_a_sweep() -> None:
    paths = [Path("a/cifar-10-python.tar.gz"), Path("b/tiny-imagenet")]
    given: dict[str, Any] = {"study": "paper", "name": None, "seed": 1}
    assert by_dataset(given | {"data": None}) == [given | {"data": None}]
    assert by_dataset(given | {"data": paths[:1]}) == [given | {"data": paths[:1]}]
    first, second = by_dataset(given | {"data": paths})
    assert first == given | {"data": paths[:1], "name": "paper-cifar-10-python"}
    assert second == given | {"data": paths[1:], "name": "paper-tiny-imagenet"}
    assert by_dataset(given | {"data": paths, "name": "mine"})[1]["name"] == "mine-tiny-imagenet"


def test_help_lists_every_command(shell: Command) -> None:
    text = shell("--help")
    assert all(f" {command} " in text for command in COMMANDS)


def test_studies_are_listed(shell: Command) -> None:
    text = shell("studies")
    for name, function in STUDIES.items():
        (line,) = [line for line in text.splitlines() if line.split("│")[1:2] and line.split("│")[1].strip() == name]
        assert function.__doc__
        assert function.__doc__.split()[0] in line
    assert " 24 " in next(line for line in text.splitlines() if " quickstart " in line)


@pytest.mark.filterwarnings("ignore")
def test_best_as_json(finished: Store, shell: Command) -> None:
    answer = json.loads(shell("best", "quickstart", "--format", "json", "--storage", str(finished.folder.parent)))
    searched = {row["key"]: row for row in finished.rows() if row["role"] == "search"}
    assert answer["front"]
    points = {key: (row["val_q_bar_reset"], row["val_accuracy"]) for key, row in searched.items()}
    front = [
        key
        for key, (x, y) in points.items()
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points.values())
    ]
    assert {run["key"] for run in answer["front"]} == set(front)
    for run in answer["front"]:
        assert run["metrics"]["test_accuracy"] == searched[run["key"]]["test_accuracy"]
        assert run["params"]["t"] == str(searched[run["key"]]["t"])
    assert {run["construction"] for run in answer["reference"]} == {"deep"}
    assert len(answer["reference"]) == 3
    assert answer["hypervolume"] > 0
    assert set(answer["floors"]) == {row["construction"] for row in searched.values()}
    for chosen in answer["floors"].values():
        assert list(chosen) == ["-1.0", "-2.0", "-5.0"]


@pytest.mark.filterwarnings("ignore")
def test_best_shows_test_numbers_of_what_validation_chose(finished: Store, shell: Command) -> None:
    where = ["--storage", str(finished.folder.parent), "--format", "csv"]
    val, test = (
        list(csv.DictReader(io.StringIO(shell("best", "quickstart", "--split", split, *where))))
        for split in ("val", "test")
    )
    assert [line["key"] for line in val] == [line["key"] for line in test]
    for split, lines in (("val", val), ("test", test)):
        for line in lines:
            row = finished.row(line["key"])
            assert row is not None
            for name in ("accuracy", "nll", "q_bar_reset", "member_mean_accuracy"):
                assert float(line[f"{split}_{name}"]) == row[f"{split}_{name}"]
            assert (line["role"], line["construction"]) == (row["role"], row["construction"])
    assert {line["role"] for line in val} == {"search", "reference"}


@pytest.mark.filterwarnings("ignore")
def test_best_as_tables(finished: Store, shell: Command) -> None:
    text = shell("best", "quickstart", "--y", "val_nll", "--storage", str(finished.folder.parent))
    assert "by q_bar_reset and nll, chosen on validation; numbers: val" in text
    assert "mean of 3 seeds, ± 95 %" in text
    assert "deep (reference)" in text
    assert "hypervolume of the front on validation" in text
    for floor in ("≥ -1", "≥ -2", "≥ -5"):
        assert floor in text


@pytest.mark.filterwarnings("ignore")
def test_ui_prints_its_command(finished: Store, shell: Command) -> None:
    lines = shell("ui", "quickstart", "--storage", str(finished.folder.parent), "--port", "5055").splitlines()
    assert lines[0].startswith("http://127.0.0.1:5055/#/experiments/")
    program, *arguments = lines[1].split()
    assert Path(program).exists()
    uri = f"sqlite:///{finished.folder.parent / 'mlflow.db'}"
    assert arguments == ["server", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", "5055"]


@pytest.mark.slow
def test_doctor_finds_what_to_mend(tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("mine")
    uri = "http://127.0.0.1:9"
    done = launch_command("doctor", "--storage", str(tmp_path / "storage" / "deep"), "--tracking-uri", uri)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    states = {
        line.split("│")[1].strip(): line.split("│")[2].strip() for line in done.stdout.splitlines() if "│" in line
    }
    assert states["tracking"] == "mend"
    assert states["storage"] == "mend"
    assert states["ray"] == "ok"
    assert states["packages"] == "ok"


@pytest.mark.slow
def test_doctor_is_content(finished: Store) -> None:
    before = sorted(finished.folder.parent.iterdir())
    done = launch_command("doctor", "--storage", str(finished.folder.parent))
    assert "mend" not in works(done).split()
    assert sorted(finished.folder.parent.iterdir()) == before
