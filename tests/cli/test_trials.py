"""One trial on the command line: shown, run again."""

import re
import shlex
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import basin
from cli import app as command_line
from sweeps.storage.schemas import SCHEMAS
from sweeps.storage.store import Store
from sweeps.storage.table_file import encode_table
from tests.support.kept_trials import key_of
from tests.support.tiny_sweep import snapshot

Run = Callable[..., str]


@pytest.fixture
def storage(kept: Store) -> list[str]:
    return ["--storage", str(kept.folder.parent)]


def lines_between(text: str, first: str, last: str) -> list[str]:
    """Lines of a printed text from one that begins so to the next that begins otherwise."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(first))
    end = next(index for index, line in enumerate(lines) if index > start and line.startswith(last))
    return lines[start:end]


def cells(lines: list[str]) -> list[list[str]]:
    """The cells of a printed table, without its heading."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]


def test_a_trial_is_shown_by_sections(kept: Store, shell: Run, storage: list[str]) -> None:
    key = key_of(kept, "constrained")
    row = kept.row(key)
    assert row is not None
    text = shell("show", key[:6], *storage)
    assert text.startswith(f"trial {key}: constrained of resnet8 on digits, seed 0 (done)")
    settings = cells(lines_between(text, "settings", "verdict"))
    assert {"construction", "model", "t", "members", "batch_size"} <= {name for name, _, studys in settings if studys}
    changed = [bool(studys) for _, _, studys in settings]
    assert changed == sorted(changed, reverse=True), "those that differ from the study come first"
    assert ["t", "0.4", "0.1"] in settings
    assert ["epochs", "3", ""] in settings
    scores = {name: rest for name, *rest in cells(lines_between(text, "scores", "cost"))}
    assert scores["nll"] == [f"{row['val_nll']:.6g}", f"{row['test_nll']:.6g}", "nats", "lower"]
    assert scores["q_bar_reset"][2:] == ["accuracy points", "higher"]
    assert ["verdict_val", row["verdict_val"], ""] in cells(lines_between(text, "verdict", "scores"))
    assert ["passes", str(row["passes"]), "batches"] in cells(lines_between(text, "cost", "provenance"))
    assert ["sources", row["sources"], ""] in cells(lines_between(text, "provenance", "files"))


def test_its_files_and_stages_are_listed(kept: Store, shell: Run, storage: list[str]) -> None:
    text = shell("show", key_of(kept, "constrained"), *storage)
    files = cells(lines_between(text, "files", "stages"))
    for name, size in files:
        assert (kept.folder / name).stat().st_size == int(size.replace(",", ""))
    assert len(files) == len(kept.trial_files(key_of(kept, "constrained")))
    stages = cells(lines_between(text, "stages", "run it again"))
    assert stages
    for path, state in stages:
        assert (kept.folder.parent / path).exists() == (state == "stored")
    lost = shell("show", key_of(kept, "distilled"), *storage)
    assert "not kept" in lost
    assert "stages: not recorded" in lost


def test_the_command_that_is_shown_runs_it_again(
    kept: Store, shell: Run, storage: list[str], image_cache: Path, tmp_path: Path
) -> None:
    """Its networks, which were lost, are kept in another folder; then they can be loaded."""
    key = key_of(kept, "distilled")
    words = shlex.split(shell("show", key, *storage).splitlines()[-1])
    assert words[:4] == ["python", "launch.py", "rerun", key]
    before = snapshot(kept.folder.parent)
    again = tmp_path / "again"
    text = shell(*words[2:], "--cache", str(image_cache), "--keep", str(again))
    assert re.search(r"same: all \d+ columns", text)
    assert snapshot(kept.folder.parent) == before
    assert basin.load(again / kept.name, key).row["key"] == key


def test_other_numbers_are_exit_code_1(
    kept: Store,
    image_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key, copy = key_of(kept, "distilled"), Store(tmp_path / "mine")
    row = kept.row(key)
    assert row is not None
    shutil.copytree(kept.folder, copy.folder)
    changed = pa.Table.from_pylist([{**row, "test_nll": row["test_nll"] + 0.5}], SCHEMAS["trials"]())
    copy.table_path("trials", key).write_bytes(encode_table(changed))
    arguments = ["rerun", key, "--storage", str(tmp_path), "--cache", str(image_cache)]
    monkeypatch.setattr(sys, "argv", ["launch.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert ["trials", "test_nll", "1 of 1", "0.5"] in cells(printed.splitlines())
    assert "different: 1 of" in printed


def test_keys_and_folders_that_cannot_be_used(kept: Store, refused: Run, storage: list[str], tmp_path: Path) -> None:
    keys = sorted(kept.keys())
    assert all(key in refused("show", "0" * 16, *storage) for key in keys)
    assert "expected one of mine" in refused("show", keys[0], "--name", "other", *storage)
    assert "launch.py fetch" in refused("show", keys[0], "--storage", "s3://bucket/results")
    assert "exists already" in refused("rerun", keys[0], *storage, "--keep", str(tmp_path))
    assert "no sweep in" in refused("show", keys[0], "--storage", str(tmp_path))


def test_a_trial_of_two_sweeps_needs_a_name(kept: Store, refused: Run, shell: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(kept.folder, tmp_path / name)
    key = kept.keys()[0]
    assert "several sweeps (one, two)" in refused("show", key, "--storage", str(tmp_path))
    assert "--name two" in shell("show", key, "--name", "two", "--storage", str(tmp_path))


def test_trials_of_version_0_1_are_shown(shell: Run, root: Path, tmp_path: Path) -> None:
    with tarfile.open(root / "tests" / "fixtures" / "results-of-0.1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    text = shell("show", "4497aa2a", "--storage", str(tmp_path / "results"))
    assert ["epochs", "2", ""] in cells(lines_between(text, "settings", "verdict"))
    assert "nll" in {row[0] for row in cells(lines_between(text, "scores", "cost" if "\ncost" in text else "prov"))}
