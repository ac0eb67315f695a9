"""Study files on the command line, and the commands that describe fields and columns."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from basin.errors import UsageError
from cli.options import StudyOptions
from cli.reference import _print_fields
from sweeps.queries.reference import field_entries
from sweeps.study.catalog import build
from sweeps.study.manifest import define_study
from tests.support.shell import Command

FILE = """
constructions = ["constrained"]
trials = 2
replicates = 2
scheduler = "asha"
constraints = ["ece <= 5"]
metrics = ["accuracy"]

[base]
dataset = "digits"
model = "mlp"

[search]
beta = "0.01..3 log"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_study.toml"
    path.write_text(FILE)
    return path


def resolved(study: Path | str, **options: Any) -> Any:
    stated = StudyOptions(study=str(study), **options)
    ((name, source),) = stated.named_sources()
    return stated.resolve(name, source)


def test_a_printed_study_is_the_study(shell: Command, tmp_path: Path) -> None:
    path = tmp_path / "copy.toml"
    path.write_text(shell("studies", "quickstart", "--toml"))
    assert path.read_text().startswith('summary = "Every construction against the deep ensemble')
    study, options = resolved(path)
    assert options.name == "copy"
    assert define_study(study, 0) == define_study(build("quickstart", None), 0)
    assert shell("studies", str(path), "--toml") == path.read_text()
    described = shell("studies", str(path))
    assert "Every construction against the deep ensemble" in described
    assert "12 searched" in described


def test_options_come_before_the_file(file: Path) -> None:
    study, options = resolved(file)
    assert (study.trials, study.replicates, study.scheduler, options.name) == (2, 2, "asha", "my_study")
    assert [str(limit) for limit in study.constraints] == ["val_ece <= 5"]
    more = {"trials": 5, "replicates": 1, "search": ["beta=0,1", "t"], "constraint": ["nll <= 1"], "name": "other"}
    study, options = resolved(file, settings=["epochs=3"], **more)
    assert (study.trials, study.replicates, options.name) == (5, 1, "other")
    assert [str(limit) for limit in study.constraints] == ["val_nll <= 1"]
    assert study.space.domains["beta"].choices == (0.0, 1.0)
    assert (study.space.searched, study.base.training.epochs) == (("beta", "t"), 3)
    study, _ = resolved(file, settings=["beta=2"])
    assert study.resolve_trial({"construction": "constrained"}).construction.beta == 2


def test_the_file_names_its_data(file: Path) -> None:
    file.write_text('data = "images.zip"\nood_data = "other.zip"\n' + FILE.replace('dataset = "digits"', ""))
    images = file.parent / "images.zip"
    images.touch()
    study, options = resolved(file)
    assert (options.data, options.ood_data) == (images, file.parent / "other.zip")
    assert study.base.flat()["dataset"] == "imagefolder"
    digits = file.parent / "fashion-mnist"
    digits.mkdir()
    study, options = resolved(file, data=[digits])
    assert (options.data, study.base.flat()["dataset"]) == (digits, "fashion-mnist")


def test_what_a_file_cannot_be_asked(file: Path, refused: Command) -> None:
    assert '--schedule full: a study file states its own: write schedule = "full" in' in refused(
        "plan", str(file), "--schedule", "full"
    )
    assert "--search beta: --set beta=… fixes this field" in refused(
        "plan", str(file), "--set", "beta=1", "--search", "beta=0,1"
    )
    file.write_text(FILE.replace("digits", "dgits"))
    assert f"{file}:10: unknown dataset 'dgits': did you mean 'digits'?" in refused("plan", str(file))
    file.write_text('sampler = "tpo"\n' + FILE)
    assert f"{file}:1: unknown sampler 'tpo'" in refused("plan", str(file))
    file.write_text('import = ["no_lab.py"]\n' + FILE)
    assert "--import no_lab.py: expected a .py file or the folder of a package" in refused("plan", str(file))
    assert "--toml: expected the name of a study to print" in refused("studies", "--toml")


def test_the_default_schedule_is_short() -> None:
    study, _ = resolved("quickstart")
    assert study == build("quickstart", None)
    with pytest.raises(UsageError, match="--schedule full: expected --data"):
        resolved("tradeoff", schedule="full")


def test_a_described_study_states_its_ranges_and_its_grid(shell: Command) -> None:
    assert re.search(r"search beta +│ 0.01..10 log", shell("studies", "quickstart"))
    text = shell("studies", "temperature")
    assert re.search(r"temperature 0.5, 1.0, 2.0, 4.0, 8.0", text)
    assert re.search(r"weight 0.3, 0.6, 0.9, 1.0", text)


def test_a_field_a_table_and_a_column_are_described(shell: Command, refused: Command) -> None:
    text = shell("fields", "beta")
    for words in ("Constraint strength β", "construction (constrained, distilled)", "≥ 0", "0.01..10 log"):
        assert words in text
    assert "did you mean 'beta'?" in refused("fields", "betta")
    assert "One row per trial." in shell("columns")
    assert "Key of its trained networks: a hash" in shell("columns", "trials")
    text = shell("columns", "test_nll")
    for words in ("trials", "members", "nats", "lower is better"):
        assert words in text
    assert "did you mean 'test_nll'?" in refused("columns", "tset_nll")
    assert "expected one of certificates" in refused("columns", "nothing at all")


def test_no_word_of_the_fields_is_broken_at_80_columns() -> None:
    """Values and names stand whole in a line of at most 80 characters."""
    out, entries = Console(width=80, file=io.StringIO()), field_entries()
    _print_fields(entries, out)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    words = set(text.replace("│", " ").split())
    for entry in entries:
        assert entry.field.name in words
        assert set(entry.default.split()) <= words


def test_the_manifest_has_the_study_of_a_file(file: Path) -> None:
    study, _ = resolved(file)
    manifest = json.loads(json.dumps(define_study(study, 0)))
    assert manifest["search"] == {"beta": "0.01..3.0 log"}
    assert manifest["ranges"] == {"constrained.beta": [0.01, 3.0, True]}
