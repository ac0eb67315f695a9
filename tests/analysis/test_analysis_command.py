import shutil
import subprocess
import sys

import pytest
import synthetic_results
from synthetic_results import trial, write

from analysis.__main__ import main


def run(root, *arguments):
    command = [sys.executable, "-m", "analysis", *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture
def corrupt_paths(tmp_path):
    results = synthetic_results.sweep(tmp_path / "demo", {}, {"deep": 2})
    (results / "tables/paths/r-deep-1.parquet").write_bytes(b"PAR1 cut off")
    return results


def test_a_whole_sweep(root, full_results, tmp_path):
    done = run(root, full_results, "--out", tmp_path / "out", "--format", "png,svg")
    assert (done.returncode, done.stderr) == (0, "")
    assert "constrained is higher than deep by" in done.stdout
    listed = "  connectivity_accuracy: png svg json\n  paths: png svg json\n  main: md tex csv json\n  summary.md\n"
    assert done.stdout.endswith(f"In {tmp_path / 'out'}:\n{listed}")
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
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "--format", "png,bmp"])
    assert "bmp: expected some of png,pdf,svg" in capsys.readouterr().err


def test_out_that_is_a_file(full_results, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([str(full_results), "--out", str(tmp_path / "file")]) == 2
    assert "File exists" in capsys.readouterr().err


def test_what_is_missing_is_said_and_the_rest_is_made(tmp_path, capsys):
    results = tmp_path / "quickstart"
    write(results, "trials", "a", [trial("a", test_accuracy=90.0)])
    assert main([str(results), "--format", "svg"]) == 0
    out = capsys.readouterr().out
    command = "to make the data: python launch.py sweep quickstart\n"
    assert f"not made: connectivity_accuracy: no finished search trials; {command}" in out
    assert f"not made: paths: no path was evaluated on the test split with policy reset or none; {command}" in out
    assert "  main: md tex csv json\n" in out
    assert sorted(file.stem for file in (results / "figures").iterdir()) == [*["main"] * 4, "summary"]


def test_the_validation_split_can_be_reported(full_results, tmp_path, capsys):
    results = shutil.copytree(full_results, tmp_path / "demo")
    assert main([str(results), "--split", "val", "--format", "svg"]) == 0
    assert "digits · resnet8, val split" in capsys.readouterr().out
    assert (results / "figures/paths-val.svg").exists()
