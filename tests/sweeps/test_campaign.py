"""Trials that run without Ray, MLflow, Optuna and Arrow, and the sweep that is made of them."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from basin.__main__ import main
from basin.campaign import outcome_path, read_campaign
from basin.constructions import constructions
from basin.errors import UsageError
from basin.measure import Evaluation
from basin.outcome_file import read_ending
from basin.spec import describe_fields
from sweeps.storage.store import Store
from sweeps.study.space import Space
from sweeps.study.study_text import study_text
from tests.support.blocked import ORCHESTRATION, blocked_environment
from tests.support.shell import Command
from tests.support.tiny_sweep import ROOT, launch, results, snapshot, study, untimed, works

ABSENT = [f"{name}_version" for name in ("ray", "optuna", "mlflow", "pyarrow")]
"""Columns that are null where the packages are not installed."""
REPORTED = ("reference", "fresh")


@pytest.fixture(scope="module")
def study_file(finished: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose references and grid are the reported trials of the finished sweep."""
    rows = [row for row in finished.rows() if row["role"] == "fresh" and row["seed"] == 1]
    grid = []
    for row in rows:
        fields = describe_fields(constructions.entry(row["construction"])[0])
        grid.append({"construction": row["construction"], **{f.name: row[f.name] for f in fields if not f.fixed}})
    assert len(grid) > 1
    space = Space(tuple(row["construction"] for row in rows), ())
    text = study_text(
        replace(study(), trials=0, grid=tuple(grid), space=space, plane_points=0), "The reported trials", None
    )
    file = tmp_path_factory.mktemp("study") / "mine.toml"
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def campaign(study_file: Path, image_cache: Path, shell: Command) -> Path:
    """Its campaign file."""
    file = study_file.with_name("mine.json")
    where = ["--storage", str(study_file.parent / "results"), "--cache", str(image_cache), "--seed", "1"]
    shell("plan", str(study_file), *where, "--campaign", str(file))
    return file


def begin(campaign: Path, cache: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    """The campaign, without Ray and the rest; it hears SIGINT, which a shell has its background jobs ignore."""
    folder = campaign.parent / "blocked"
    folder.mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "basin",
        "campaign",
        str(campaign),
        "--cache",
        str(cache),
        "--out",
        str(out),
        *more,
    ]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=blocked_environment(folder),
        start_new_session=True,
        bufsize=1,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        **pipes,
    )


def stop_after_a_trial(process: "subprocess.Popen[str]", number: signal.Signals) -> tuple[int, str]:
    """Send a signal once a trial has finished; its exit code and the rest of what it and its workers printed."""
    assert process.stdout is not None
    with process.stdout as printed:
        line = next(line for line in printed if " of 6)" in line)
        assert "test accuracy" in line
        process.send_signal(number)
        rest = printed.read()  # ends when the last worker has ended
    return process.wait(), rest


def stop_half_way(campaign: Path, cache: Path, out: Path, number: signal.Signals) -> tuple[int, str]:
    """Stop the campaign after a trial; where it ended before the signal came, begin again from what was there."""
    before = out.with_name("before")
    for _ in range(5):
        shutil.rmtree(before, ignore_errors=True)
        shutil.copytree(out, before) if out.exists() else before.mkdir()
        code, rest = stop_after_a_trial(begin(campaign, cache, out, "--workers", "1"), number)
        if code:
            return code, rest
        shutil.rmtree(out)
        shutil.copytree(before, out)
    raise AssertionError("the campaign ended five times before it could be stopped")


@pytest.fixture(scope="module")
def outcomes(campaign: Path, image_cache: Path) -> Path:
    """The campaign's folder: interrupted, killed, and then continued to its end."""
    out = campaign.with_name("out")
    code, rest = stop_half_way(campaign, image_cache, out, signal.SIGINT)
    assert code == 130
    assert "left" in rest
    assert "Traceback" not in rest
    first = snapshot(out / "outcomes")
    assert 1 <= len(first) < 6
    code, rest = stop_half_way(campaign, image_cache, out, signal.SIGKILL)
    assert code == -signal.SIGKILL
    second = snapshot(out / "outcomes")
    assert first.items() <= second.items()
    assert len(first) < len(second) < 6
    process = begin(campaign, image_cache, out)
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert "6 trials finished, 0 left" in text
    assert second.items() <= snapshot(out / "outcomes").items()
    assert not list((out / "scratch").glob("*"))
    return out


def of_trials(store: Store, keys: set[str], *apart: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of these trials in every table, without columns that differ between two runs."""
    found = {
        name: [row for row in table.to_pylist() if row["key"] in keys]
        for name, table in results(store.folder, *apart).items()
    }
    return {name: rows for name, rows in found.items() if rows}


@pytest.fixture(scope="module")
def imported(outcomes: Path, shell: Command) -> Store:
    """The sweep that was made of them."""
    storage = outcomes.with_name("results")
    assert "6 trials imported, 0 were there" in shell("import", str(outcomes), "--storage", str(storage))
    return Store(storage / "mine")


@pytest.mark.slow
def test_its_sweep_has_the_tables_of_one_with_ray(finished: Store, outcomes: Path, imported: Store) -> None:
    reported = {row["key"] for row in finished.rows() if row["role"] in REPORTED}
    assert set(imported.keys()) == reported
    apart = ["sweep", "role", *ABSENT]
    assert of_trials(imported, reported, *apart) == of_trials(finished, reported, *apart)
    for row in imported.rows():
        assert row["role"] == ("reference" if row["construction"] == "deep" else "grid")
        assert row["sweep"] == "mine"
        ending = read_ending(outcome_path(outcomes, row["key"]))
        assert ending is not None
        assert row["finished_at"] == ending.finished_at
        weights = [untimed(store.weights_path(row["ensemble_key"])) for store in (imported, finished)]
        assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_other_commands_read_it_and_a_second_import_adds_nothing(
    outcomes: Path, imported: Store, shell: Command
) -> None:
    where = ["--storage", str(imported.folder.parent)]
    assert "deep (ref.)" in shell("best", "mine", *where)
    assert "MLflow differed in 0" in shell("sync", "mine", *where)
    before = snapshot(imported.folder / "tables")
    assert "0 trials imported, 6 were there" in shell("import", str(outcomes), *where)
    assert snapshot(imported.folder / "tables") == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_sweep_of_the_study_runs_what_is_left(
    finished: Store, study_file: Path, outcomes: Path, image_cache: Path, tmp_path: Path, shell: Command
) -> None:
    """Without networks, with a damaged file, and from other code than this."""
    part = tmp_path / "part"
    shutil.copytree(outcomes, part, ignore=shutil.ignore_patterns("runs", "weights"))
    torn = max((part / "outcomes").iterdir())
    torn.write_bytes(torn.read_bytes()[:-1])
    where = ["--storage", str(tmp_path), "--name", "again"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.campaign.hash_sources", lambda: "0" * 16)
        text = " ".join(shell("import", str(part), *where).split())
    assert "5 trials imported, 0 were there, 1 of the campaign are missing" in text
    assert "trials ran other code" in text
    assert f"{torn.name}: damaged" in text
    store = Store(tmp_path / "again")
    before = snapshot(store.folder / "tables")
    more = ["--seed", "1", "--cache", str(image_cache), *where]
    assert "1 trials run now, 6 in" in works(launch("sweep", str(study_file), *more))
    assert before.items() <= snapshot(store.folder / "tables").items()
    apart = ["sweep", "role", *ABSENT]
    assert of_trials(store, {torn.stem}, *apart) == of_trials(finished, {torn.stem}, *apart)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_other_results_of_a_trial_are_refused(
    outcomes: Path, imported: Store, tmp_path: Path, refused: Command
) -> None:
    store = Store(tmp_path / "mine")
    shutil.copytree(imported.folder, store.folder)
    key = store.keys()[0]
    row = store.row(key)
    assert row is not None
    store.write_tables(key, {"trials": [{**row, "test_nll": row["test_nll"] + 0.25}]})
    before = {**snapshot(store.folder), ".lock": None}
    assert f"other results of trial {key} (test_nll=" in refused("import", str(outcomes), "--storage", str(tmp_path))
    assert {**snapshot(store.folder), ".lock": None} == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_outcomes_of_another_study_are_refused(outcomes: Path, tmp_path: Path, refused: Command) -> None:
    (tmp_path / "mine").mkdir()
    content = json.loads((outcomes / "campaign.json").read_text())
    other = tmp_path / "mine.toml"
    other.write_text(Path(content["arguments"]["study"]).read_text().replace("epochs = 2", "epochs = 3"))
    content["arguments"]["study"] = str(other)
    (tmp_path / "mine" / "campaign.json").write_text(json.dumps(content))
    words = refused("import", str(tmp_path / "mine"), "--storage", str(tmp_path / "new"))
    assert "another study (epochs=2 there, epochs=3 here)" in words
    assert not (tmp_path / "new").exists()


def test_code_with_other_meanings_is_refused(campaign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(read_campaign(campaign).trials) == 6
    version = Evaluation.version
    monkeypatch.setattr(Evaluation, "version", version + 1)
    with pytest.raises(UsageError, match=f"evaluation.version={version} there, evaluation.version={version + 1} here"):
        read_campaign(campaign)


def test_what_the_user_can_mend_is_one_line(
    campaign: Path, image_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, cache = tmp_path / "out", ["--cache", str(image_cache)]
    text = tmp_path / "text.json"
    text.write_text("[]")
    later = tmp_path / "later.json"
    later.write_text(json.dumps({"format": 2, "trials": []}))
    renamed = tmp_path / "renamed.json"
    renamed.write_text(json.dumps({**json.loads(campaign.read_text()), "name": "other"}))
    assert main(["campaign", str(campaign), "--out", str(out), "--seconds", "0.001", *cache]) == 0
    assert "0 trials finished, 6 left" in capsys.readouterr().out
    assert not (out / "outcomes").exists()
    for arguments, words in (
        ([str(tmp_path / "none.json")], "expected a campaign file"),
        ([str(text)], "expected a campaign file"),
        ([str(later)], "has format 2, expected 1"),
        ([str(campaign), "--set", "epochs=3"], "--set epochs=…: the trials of a campaign are fixed"),
        ([str(campaign), "--workers", "0"], "--workers 0: expected 1 or more"),
        ([str(renamed)], "holds another campaign, mine"),
        ([str(campaign), "--set", "device=cuda"], "found none"),
    ):
        assert main(["campaign", *arguments, "--out", str(out), *cache]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert words in line


@pytest.mark.filterwarnings("ignore")
def test_what_is_no_campaign_is_refused(tmp_path: Path, study_file: Path, image_cache: Path, refused: Command) -> None:
    assert "found no campaign.json" in refused("import", str(tmp_path))
    where = ["--storage", str(tmp_path), "--cache", str(image_cache), "--campaign", str(tmp_path / "file.json")]
    assert "precision=auto is decided where" in refused("plan", str(study_file), "--set", "precision=auto", *where)
    assert not (tmp_path / "file.json").exists()


def test_the_packages_are_blocked(tmp_path: Path) -> None:
    environment = blocked_environment(tmp_path)
    for name in ORCHESTRATION:
        done = subprocess.run(
            [sys.executable, "-c", f"import {name}"], env=environment, capture_output=True, text=True, check=False
        )
        assert f"blocked: {name}" in done.stderr
