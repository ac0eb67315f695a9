"""README, CONTRIBUTING and docs: links lead somewhere, facts are those of the code, examples are executed."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml

from tests.support import rooms

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
NUMBER = re.compile(r"\d+\.\d\d")
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
FILE = re.compile(r"# (\S+\.py)\n")
ADDITION = re.compile(r"# (\S+\.py), at its end\n")


def pages(root: Path) -> list[Path]:
    """Every document of the project."""
    return [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / ".github").rglob("*.md")]


def anchors(page: Path) -> set[str]:
    """Names by which a document's headings can be linked to."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    words = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text)]
    return {heading.strip().replace(" ", "-") for heading in words}


def blocks(root: Path, name: str) -> list[tuple[str, str]]:
    """Language and text of every code block of a document."""
    return BLOCK.findall((root / name).read_text(encoding="utf-8"))


def commands(root: Path, name: str) -> list[list[str]]:
    """The `python …` lines of a document's shell blocks."""
    texts = [text.replace("\\\n", " ") for language, text in blocks(root, name) if language == "sh"]
    lines = [line.partition(" #")[0].strip() for text in texts for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.partition(" ")[0].endswith("python")]


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """The project's code in a folder of its own."""
    for name in ("basin", "sweeps", "analysis", "cli", "stats"):
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


def test_internal_links_lead_somewhere(root):
    broken = []
    for page in pages(root):
        text = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for link in LINK.findall(text):
            if re.match(r"\w+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(root)}: {link}")
    assert not broken, "\n".join(broken)


def test_every_page_of_the_docs_can_be_reached(root):
    """From the README, link by link; a link to a folder reaches its pages."""
    reached, left = set(), [root / "README.md"]
    while left:
        page = left.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.exists():
                left.append(target)
            elif target.is_dir():
                left += target.glob("*.md")
    assert not set((root / "docs").rglob("*.md")) - reached


def test_every_page_of_the_docs_is_in_the_navigation_of_the_site(root):
    listed = (root / "mkdocs.yml").read_text(encoding="utf-8")
    made = {f"decisions/{path.name}" for path in (root / "docs/decisions").glob("*.md")}
    written = {str(path.relative_to(root / "docs")) for path in (root / "docs").rglob("*.md")}
    assert not {page for page in written - made if f" {page}\n" not in listed}


def test_the_gallery_shows_every_figure_and_table_with_the_command_that_draws_it(root):
    """Each picture was drawn from the committed results, and the page has the entry's own title."""
    from PIL import Image

    from analysis.output import registry
    from tests.support import gallery

    page = (root / "docs/gallery.md").read_text(encoding="utf-8")
    entries = registry.figure_entries()
    for entry in entries:
        section = page.partition(f"\n### {entry.title}\n")[2].partition("\n### ")[0]
        assert f"python -m analysis results/gallery {entry.name}\n```\n\n![" in section, entry.name
        with Image.open(gallery.FOLDER / f"{entry.name}.png") as picture:
            assert f"](gallery/{entry.name}.png)" in section
            assert picture.text[gallery.MARK] == gallery.archive_hash(), "run `python -m tests.support.gallery draw`"
    for entry in registry.table_entries():
        assert f"\n| {entry.title} | `.venv/bin/python -m analysis results/gallery {entry.name}` |" in page
    assert {path.stem for path in gallery.FOLDER.glob("*.png")} == {entry.name for entry in entries}
    files = list(gallery.FOLDER.iterdir())
    assert sum(file.stat().st_size for file in files) <= 1_500_000


def test_the_results_of_the_gallery_fill_every_table_and_are_small(tmp_path):
    from analysis.data.queries import read_tables
    from analysis.output import registry
    from tests.support import gallery

    gallery.unpack(tmp_path)
    tables = read_tables(tmp_path / "gallery")
    assert gallery.ARCHIVE.stat().st_size <= 1_000_000
    for entry in registry.table_entries():
        assert entry.make(tables).keys
    kept = tables.folder.rglob("*")
    assert {path.suffix for path in kept if path.is_file()} == {".parquet", ".json"}


def test_the_page_of_the_paper_names_studies_figures_and_tables_that_exist(root):
    from analysis.output.registry import figure_entries, table_entries
    from sweeps.study.catalog import STUDIES

    cells = [
        line.split("|")[2:4] for line in (root / "docs/paper.md").read_text().splitlines() if line.startswith("| ")
    ]
    studies = {name for study, _ in cells for name in re.findall(r"`([a-z-]+)`", study)}
    assert len(studies) > 3
    assert studies <= STUDIES.keys()
    for kind, entries in (("figure", figure_entries()), ("table", table_entries())):
        named = {name for _, shown in cells for name in re.findall(rf"{kind} `(\w+)`", shown)}
        assert named
        assert named <= {entry.name for entry in entries}


def test_decisions_are_listed_by_their_titles(root):
    folder = root / "docs/decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    records = sorted(folder.glob("0*.md"))
    assert len(re.findall(r"^\d+\. ", index, re.MULTILINE)) == len(records)
    for number, record in enumerate(records, 1):
        title = record.read_text(encoding="utf-8").partition("\n")[0].removeprefix(f"# {number}. ")
        assert f"\n{number}. [{title}]({record.name})\n" in index


def test_the_picture_of_the_rooms_is_the_one_that_the_command_draws(root):
    drawn = (root / "docs/images/rooms.svg").read_text(encoding="utf-8")
    assert drawn == rooms.drawing(), "run `python -m tests.support.rooms` and commit the picture"


def test_files_that_contributing_names_exist(root):
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    story = text.partition("## What happens to a trial")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\d+\. ", story, re.MULTILINE)) == 10
    named = re.findall(r"`((?:\w+/)*\w+\.py|(?:\w+/)+)`", text)
    assert len(named) > 20
    assert not [name for name in named if not (root / name).exists()]


def test_one_version_everywhere(root):
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    lock = tomllib.loads((root / "uv.lock").read_text(encoding="utf-8"))
    (locked,) = [package["version"] for package in lock["package"] if package["name"] == "single-basin"]
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    changes = re.search(r"^## \[([\d.]+)\] - ([\d-]+)$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert changes is not None
    assert version == locked == citation["version"] == changes.group(1)
    assert citation["date-released"] == changes.group(2)
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Lion", "Noci", "Hofmann", "Bachmann"]


def test_the_workflow_runs_what_ci_runs(root):
    jobs = yaml.safe_load((root / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert "bash .ci/run" in [step.get("run") for step in jobs["run"]["steps"]]


def test_the_facts_of_the_readme_are_those_of_the_code(root):
    from basin.constructions import constructions
    from cli.app import app
    from sweeps.storage.schemas import SCHEMAS
    from sweeps.study.catalog import STUDIES, build

    text = (root / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 120
    study = build("quickstart", None)
    fresh = len(study.space.constructions) * study.seeds
    count = study.trials + len(study.owed_jobs(study.reported_seeds(0))) + fresh
    for page in ("README.md", "docs/tutorial.md"):
        assert f"train {count} small ensembles" in (root / page).read_text(encoding="utf-8").replace("trains", "train")
    shipped = [name for name in constructions if constructions.entry(name)[0].__module__.startswith("basin.")]
    assert len(shipped) == 5
    assert [name for name in shipped if f"`{name}`" not in text] == []
    tools = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert f"Contracts: {len(tools['importlinter']['contracts'])} kept" in text
    rows = [line for line in text.splitlines() if line.startswith("| `tables/")]
    named = re.findall(r"`(\w+)`", rows[0])
    assert "trials" in named
    assert set(named) <= set(SCHEMAS)
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    lines = [line for line in commands(root, "README.md") if line[0] == "launch.py"]
    assert {line[1] for line in lines} <= known
    assert {line[2] for line in lines if line[1] in ("sweep", "plan")} <= {*STUDIES, "my_study.toml"}


def test_the_numbers_of_the_readme_were_measured(root):
    """Each stands in the record of experiments too."""
    measured = (root / "docs/experiments.md").read_text(encoding="utf-8")
    for page in ("README.md", "docs/tutorial.md"):
        printed = "".join(text for language, text in blocks(root, page) if not language and "Halfway" in text)
        numbers = set(NUMBER.findall(printed))
        assert numbers
        assert not {number for number in numbers if number not in measured}


def test_the_study_file_of_the_docs_is_one(root, tmp_path):
    """It can be run, has an example of most keys, and its error is the one that the page shows."""
    from basin.errors import UsageError
    from sweeps.study.document import KEYS, read_document
    from sweeps.study.study_file import study_from_document

    (text,) = [text for _, text in blocks(root, "docs/studies.md") if text.startswith("# my_study.toml")]
    file = tmp_path / "my_study.toml"
    file.write_text(text, encoding="utf-8")
    document = read_document(file)
    study = study_from_document(document, None)
    assert (study.trials, len(study.grid), study.space.searched) == (24, 6, ("beta", "t", "constraint", "temperature"))
    assert KEYS.keys() - document.content.keys() == {"import", "data", "ood_data", "schedule", "scheduler"}
    page = (root / "docs/studies.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert {name.strip("[]") for row in rows for name in re.findall(r"`([^`]+)`", row)} == set(KEYS)
    (shown,) = re.findall(r"`(my_study.toml:\d+: .*did you mean .*) …`", page)
    file.write_text(text.replace("epochs = 40", "epoch = 40"), encoding="utf-8")
    with pytest.raises(UsageError) as error:
        study_from_document(read_document(file), None)
    message = str(error.value).removeprefix(f"{tmp_path}/")
    assert message.startswith(shown)


def test_every_kind_of_addition_is_an_example(root):
    """A file each, or a function at the end of one; a hyperparameter is a field of the construction."""
    files = [match.group(1) for _, text in blocks(root, "docs/extending.md") if (match := FILE.match(text))]
    places = [str(Path(file).parent) for file in files]
    assert places == ["basin/constructions", "basin/data", "basin/models", "basin/metrics", "analysis/figures"]
    ends = [match.group(1) for _, text in blocks(root, "docs/extending.md") if (match := ADDITION.match(text))]
    assert ends == [
        "basin/costs.py",
        "sweeps/search/samplers.py",
        "basin/connectivity/batchnorm.py",
        "sweeps/study/catalog.py",
    ]
    text = (root / "docs/extending.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^pull: |^    pull: ", text, re.MULTILINE)) == 2
    assert len(re.findall(r"^plane_images: ", text, re.MULTILINE)) == 1


def extend(root: Path, copy: Path) -> None:
    """Add everything of docs/extending.md to a copy of the code, as the text says."""
    for _, text in blocks(root, "docs/extending.md"):
        if match := FILE.match(text):
            (copy / match.group(1)).write_text(text.removeprefix(match.group(0)), encoding="utf-8")
        elif match := ADDITION.match(text):
            with (copy / match.group(1)).open("a", encoding="utf-8") as file:
                file.write(f"\n\n{text.removeprefix(match.group(0))}")
    (setting,) = [text for _, text in blocks(root, "docs/extending.md") if text.startswith("plane_images: ")]
    words = (root / "docs/extending.md").read_text(encoding="utf-8")
    use, place = re.findall(r"`(\{\"test\": .*?\})`", words)
    measure = copy / "basin/measure.py"
    before, mark, after = measure.read_text(encoding="utf-8").partition("\n    def __post_init__")
    changed = f"{before}{textwrap.indent(setting, '    ')}{mark}{after}"
    assert changed.count(place) == 1
    changed = changed.replace(place, use).replace("from basin.spec import ", "from basin.spec import Since, ")
    measure.write_text(changed, encoding="utf-8")


@pytest.mark.slow
def test_the_examples_of_extending_work(root, copy):
    extend(root, copy)
    sweep, best, policies, alignment, figure, report = commands(root, "docs/extending.md")
    assert sweep[:2] == policies[:2] == ["launch.py", "sweep"]
    assert "quasi" in run(copy, "launch.py", "sweep", "--help")
    done = run(copy, *sweep)
    assert "sweep pulled" in done
    assert "pulled" in run(copy, *best)
    assert "error_by_construction: png json" in run(copy, *figure)
    assert "report.html" in run(copy, *report)
    page = (copy / "results/pulled/report.html").read_text(encoding="utf-8")
    assert "Error by construction" in page
    assert "test_error" in page
    assert "pull" in page
    words = (copy / "results/pulled/figures/summary.md").read_text(encoding="utf-8")
    assert re.search(r"^- Pulled: (not )?(in one basin|undecided)", words, re.MULTILINE), words
    assert "Pulled vs. deep: " in words
    assert "| pulled " in (copy / "results/pulled/figures/main.md").read_text(encoding="utf-8")
    paths = json.loads((copy / "results/pulled/figures/paths.json").read_text(encoding="utf-8"))
    assert all("pulled" in lines for lines in paths["data"].values())
    costs = (copy / "results/pulled/figures/cost.md").read_text(encoding="utf-8")
    assert "networks at inference" in costs
    check_policy_and_setting(copy, policies, alignment)
    assert "wide" in run(copy, "launch.py", "studies")
    aligned = ["-m", "basin", "--construction", "permuted", "--dataset", "stripes", "--model", "narrow"]
    assert '"test_error"' in run(copy, *aligned, "--set", "epochs=2", "--set", "members=2")


def check_policy_and_setting(copy: Path, policies: list[str], alignment: list[str]) -> None:
    """The sweep with the new policy and the new setting: columns, table and what is known of the column."""
    run(copy, *policies)
    run(copy, *alignment)
    table = (copy / "results/nearest/figures/alignment.md").read_text(encoding="utf-8")
    assert "q̄ nearest (points)" in table
    assert "barrier nearest (points)" in table
    files = sorted((copy / "results/nearest/tables/trials").glob("*.parquet"))
    rows = pa.concat_tables([pyarrow.parquet.read_table(file) for file in files])
    assert set(rows["plane_images"].to_pylist()) == {50}
    assert rows.schema.field("plane_images").metadata[b"section"] == b"evaluation"
    assert None not in rows["val_q_bar_nearest"].to_pylist()
    assert set(rows["networks"].to_pylist()) == {3}
    file = next((copy / "results/nearest/tables/planes").glob("*.parquet"))
    scores = [100 * right / 50 for right in range(51)]
    for accuracy in pyarrow.parquet.read_table(file)["accuracy"].to_pylist():
        assert min(abs(accuracy - score) for score in scores) < 1e-9, "not a share of 50 images"


def test_the_commands_of_the_tutorial_are_ones_that_there_are(root, kept, tmp_path):
    """Sweeps are built, not run; what reads results is run on made-up ones, what reads a trial on a small one."""
    from typer.testing import CliRunner

    from analysis.__main__ import main
    from cli.app import app
    from tests.support import synthetic_results
    from tests.support.kept_trials import key_of

    synthetic_results.sweep(tmp_path / "quickstart", {"constrained": 4}, {"deep": 2, "constrained": 2})
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    lines = commands(root, "docs/tutorial.md")
    reading = {"best", "ui", "report", "verify", "compare", "show"}
    assert {line[1] for line in lines if line[0] == "launch.py"} == known & {
        *(*reading, "studies", "plan", "sweep", "data", "rerun", "export")
    }
    for line in lines:
        command, *arguments = line[1:]
        if line[0] == "-m":
            assert main([str(tmp_path / line[2].removeprefix("results/")), *line[3:]]) == 0
        elif command == "studies":
            end = arguments.index(">")
            (tmp_path / arguments[end + 1]).write_text(CliRunner().invoke(app, [command, *arguments[:end]]).stdout)
        elif command in ("sweep", "plan") and "--data" not in line:
            assert built(arguments, tmp_path).trials >= 0
        elif command in ("best", "ui"):
            missing = CliRunner().invoke(app, [*line[1:], "--storage", str(tmp_path)])
            assert "no MLflow store" in str(missing.exception)
        elif command == "show":
            done = CliRunner().invoke(app, ["show", key_of(kept, "constrained"), "--storage", str(kept.folder.parent)])
            assert done.exit_code == 0, done.output
        elif command in ("verify", "compare") and arguments[0] == "quickstart":
            arguments = [argument.replace("elsewhere/results", str(tmp_path)) for argument in arguments]
            done = CliRunner().invoke(app, [command, *arguments, "--storage", str(tmp_path)])
            assert done.exit_code in (0, 1), done.output


def built(arguments: list[str], folder: Path) -> Any:
    """The study of a `sweep` or `plan`, from the catalog or from a file that a line before has written."""
    from basin.environment import parse_settings
    from sweeps.study.catalog import build
    from sweeps.study.document import read_document
    from sweeps.study.study_file import study_from_document

    name = arguments[0]
    study = study_from_document(read_document(folder / name), None) if name.endswith(".toml") else build(name, None)
    changes = [arguments[at + 1] for at, word in enumerate(arguments) if word == "--set"]
    return study.with_settings(parse_settings(changes)[1])


def test_the_python_of_the_tutorial_gives_the_scores_of_the_row(root, kept, image_cache, monkeypatch):
    """On a small sweep, in place of the quickstart."""
    from tests.support.kept_trials import key_of

    (code,) = [text for language, text in blocks(root, "docs/tutorial.md") if language == "python"]
    assert code.count("results/quickstart") == code.count("2d22d463") == 1
    code = code.replace("results/quickstart", str(kept.folder)).replace("2d22d463", key_of(kept, "constrained")[:8])
    monkeypatch.setattr("basin.loaded.default_cache", lambda: image_cache)
    names = {}
    exec(code, names)
    assert names["probabilities"].shape == (60, 10)
    right = names["probabilities"].argmax(dim=1) == names["labels"]
    assert 100 * right.double().mean() == pytest.approx(names["ensemble"].row["test_accuracy"])
