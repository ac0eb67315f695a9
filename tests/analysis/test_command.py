import json
import re
import shutil
import subprocess
import sys

import pytest

from analysis.__main__ import main
from analysis.output import registry
from tests.support import synthetic_results
from tests.support.synthetic_results import trial, write


def run(root, *arguments):
    command = [sys.executable, "-m", "analysis", *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture
def corrupt_paths(tmp_path):
    results = synthetic_results.sweep(tmp_path / "demo", {}, {"deep": 2})
    (results / "tables/paths/r-deep-1.parquet").write_bytes(b"PAR1 cut off")
    return results


@pytest.mark.slow
def test_a_whole_sweep(root, full_results, grid_results, tmp_path):
    done = run(root, full_results, "--with", grid_results, "--out", tmp_path / "out", "--format", "png")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"constrained is \S+ points higher than deep", done.stdout)
    _, listed = done.stdout.split(f"In {tmp_path / 'out'}:\n")
    figures = [f"  {entry.name}: png json" for entry in registry.figure_entries()]
    assert listed.splitlines() == [
        *figures,
        *(f"  {e.name}: md tex csv json" for e in registry.table_entries()),
        "  summary.md",
    ]
    suffixes = ["csv", "json", "md", "tex"]
    assert sorted(file.name for file in (tmp_path / "out").glob("main.*")) == [f"main.{suffix}" for suffix in suffixes]
    assert done.stdout.startswith((tmp_path / "out/summary.md").read_text())


@pytest.mark.parametrize("case", ["no folder", "no trials", "corrupt"])
def test_bad_input_is_one_line_and_code_2(case, root, tmp_path, corrupt_paths):
    results = {"no folder": tmp_path / "nowhere", "no trials": tmp_path, "corrupt": corrupt_paths}[case]
    words = {"no folder": "no such folder", "no trials": "no finished trials", "corrupt": "r-deep-1.parquet"}[case]
    done = run(root, results)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_unknown_format(tmp_path, capsys):
    assert main([str(tmp_path), "--format", "png,bmp"]) == 2
    assert "bmp: expected some of png,pdf,svg" in capsys.readouterr().err


def test_out_that_is_a_file(full_results, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([str(full_results), "--out", str(tmp_path / "file")]) == 2
    place = tmp_path / "file"
    expected = f"error: {place}: file exists; a folder is expected: give another path, and rerun the command\n"
    assert capsys.readouterr().err == expected


def test_what_is_missing_is_said_and_the_rest_is_made(tmp_path, capsys):
    results = tmp_path / "quickstart"
    write(results, "trials", "a", [trial("a", test_accuracy=90.0)])
    assert main([str(results), "--format", "svg"]) == 0
    out = capsys.readouterr().out
    place = f"--storage {tmp_path}"
    command = f"to add it: python launch.py sweep quickstart {place}; python launch.py report quickstart {place}\n"
    assert f"not made: connectivity_accuracy: no finished trials of a search or grid; {command}" in out
    assert f"not made: paths: no path was evaluated on the test split with policy reset or none; {command}" in out
    assert "  main: md tex csv json\n" in out
    assert sorted(file.stem for file in (results / "figures").iterdir()) == [*["main"] * 4, "summary"]


def test_only_what_is_named(full_results, tmp_path, capsys):
    assert main([str(full_results), "gap", "cost", "--format", "svg", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"In {tmp_path}:\n  gap: svg json\n  cost: md tex csv json\n"


def test_a_name_that_is_neither_figure_nor_table(full_results, capsys):
    assert main([str(full_results), "gaps"]) == 2
    assert "no figure or table gaps: expected some of connectivity_accuracy, " in capsys.readouterr().err


def test_sweeps_beside_each_other_are_read_together(tmp_path, capsys):
    for seed, (name, key) in enumerate((("one", "a"), ("two", "b"))):
        write(tmp_path / name, "trials", key, [trial(key, seed=seed, test_accuracy=90.0)])
    write(tmp_path / "two", "trials", "a", [trial("a", test_accuracy=90.0)])  # the same trial counts once
    assert main([str(tmp_path / "one"), "main", "--with", "two"]) == 0
    assert json.loads((tmp_path / "one/figures/main.json").read_text())["keys"] == ["a", "b"]
    assert main([str(tmp_path / "one"), "--with", "three"]) == 2
    assert "three: no such folder" in capsys.readouterr().err


def test_the_validation_split_can_be_reported(full_results, tmp_path, capsys):
    results = shutil.copytree(full_results, tmp_path / "demo")
    assert main([str(results), "paths", "gap", "--split", "val", "--format", "svg"]) == 0
    assert capsys.readouterr().out.endswith("  gap-val: svg json\n  paths-val: svg json\n")
    assert (results / "figures/paths-val.svg").exists()
