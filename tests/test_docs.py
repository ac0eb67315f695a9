"""What docs/extending.md tells is done in a copy of the project: its files are dropped in, its commands are run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
FILE = re.compile(r"# (\S+\.py)\n")


def blocks(root: Path, name: str) -> list[tuple[str, str]]:
    """Language and text of every code block of a document."""
    return BLOCK.findall((root / "docs" / name).read_text(encoding="utf-8"))


def commands(root: Path, name: str) -> list[list[str]]:
    """The `python …` lines of a document's shell blocks."""
    texts = [text.replace("\\\n", " ") for language, text in blocks(root, name) if language == "sh"]
    lines = [line.partition(" #")[0].strip() for text in texts for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.partition(" ")[0].endswith("python")]


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """The project's code in a folder of its own."""
    for name in ("basin", "sweeps", "analysis"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "launch.py", tmp_path)
    return tmp_path


def run(copy: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_kind_of_addition_is_an_example(root):
    """One file each; the hyperparameter is a field of the construction, the study needs the file it is in."""
    files = [match.group(1) for _, text in blocks(root, "extending.md") if (match := FILE.match(text))]
    places = [str(Path(file).parent) for file in files]
    assert places == ["basin/constructions", "basin/data", "basin/models", "basin/metrics", "analysis/figures"]
    text = (root / "docs/extending.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^pull: |^    pull: ", text, re.MULTILINE)) == 2


@pytest.mark.slow
def test_the_examples_of_extending_work(root, copy):
    for _, text in blocks(root, "extending.md"):
        if match := FILE.match(text):
            (copy / match.group(1)).write_text(text.removeprefix(match.group(0)), encoding="utf-8")
    (study,) = [text for _, text in blocks(root, "extending.md") if text.startswith("@study")]
    with (copy / "sweeps/studies.py").open("a", encoding="utf-8") as studies:
        studies.write(f"\n\n{study}")
    sweep, best, figure, report = commands(root, "extending.md")
    assert sweep[:2] == ["launch.py", "sweep"]
    done = run(copy, *sweep)
    assert "sweep pulled" in done
    assert "pulled" in run(copy, *best)
    assert "error_by_construction: png json" in run(copy, *figure)
    assert "report.html" in run(copy, *report)
    page = (copy / "results/pulled/report.html").read_text(encoding="utf-8")
    assert "Error by construction" in page
    assert "test_error" in page
    assert "pull" in page
    assert "wide" in run(copy, "launch.py", "studies")
    aligned = ["-m", "basin", "--construction", "permuted", "--dataset", "stripes", "--model", "narrow"]
    assert '"test_error"' in run(copy, *aligned, "--set", "epochs=2", "--set", "members=2")


def test_the_commands_of_the_tutorial_are_ones_that_there_are(root, tmp_path):
    """Sweeps are built, not run; what reads results is run on made-up ones."""
    from typer.testing import CliRunner

    import launch
    from analysis.__main__ import main
    from basin.place import settled
    from sweeps.studies import build

    sys.path.insert(0, str(root / "tests" / "analysis"))
    import synthetic_results

    synthetic_results.sweep(tmp_path / "quickstart", {"constrained": 4}, {"deep": 2, "constrained": 2})
    known = {command.callback.__name__ for command in launch.app.registered_commands}
    lines = commands(root, "tutorial.md")
    assert {line[1] for line in lines if line[0] == "launch.py"} == {"sweep", "report", "verify", "compare"} <= known
    for line in lines:
        changes = [line[at + 1] for at, word in enumerate(line) if word == "--set"]
        if line[:2] == ["launch.py", "sweep"] and "--data" not in line:
            assert build(line[2], None).set(settled(changes)[1]).trials >= 0
        elif line[:2] == ["launch.py", "verify"] and line[2] == "quickstart":
            assert CliRunner().invoke(launch.app, [*line[1:], "--storage", str(tmp_path)]).exit_code in (0, 1)
        elif line[0] == "-m":
            results = tmp_path / line[2].removeprefix("results/")
            assert main([str(results), *line[3:]]) == 0
