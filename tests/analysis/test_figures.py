import dataclasses
import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from matplotlib.image import imread

from analysis.data.queries import read_tables
from analysis.errors import Missing
from analysis.figures import connectivity_accuracy
from analysis.output import registry, style
from analysis.output import write as writer
from cli.app import app
from cli.options import StudyOptions
from tests.support import synthetic_results
from tests.support.synthetic_results import trial, write

FIGURES = {entry.name: entry for entry in registry.figure_entries()}
TABLES = {entry.name: entry for entry in registry.table_entries()}


def test_a_caption_of_one_seed_claims_no_interval_over_seeds(full_tables, tmp_path):
    single = read_tables(synthetic_results.grids(tmp_path / "grids", seeds=1))
    for entry in [*FIGURES.values(), *TABLES.values()]:
        alone = writer.caption(entry.what, single)
        assert writer.caption(entry.what, full_tables) == entry.what
        assert "seeds and images" not in alone
        stated = any(words in entry.what for words in ("over seeds and images", "and over images where"))
        assert ("over images (one seed)" in alone) == stated


def test_every_name_is_registered_once():
    assert {"connectivity_accuracy", "paths"} <= FIGURES.keys()
    assert "main" in TABLES
    assert not FIGURES.keys() & TABLES.keys(), "a figure and a table would write the same JSON"


@pytest.mark.parametrize("entry", [*FIGURES.values(), *TABLES.values()], ids=lambda entry: entry.name)
def test_every_entry_says_what_it_is(entry):
    assert entry.title
    assert entry.what.endswith(".")
    assert entry.question in registry.QUESTIONS[:-1]


@pytest.mark.parametrize("entry", [*FIGURES.values(), *TABLES.values()], ids=lambda entry: entry.name)
@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
def test_the_commands_that_add_its_data_are_ones_that_the_program_reads(entry, dataset, tmp_path):
    tables = read_one(tmp_path / "my results" / "one", trial("a", dataset=dataset))
    sweep, report = (read_command(text) for text in writer.adding_commands(entry, tables))
    study, options = sweep["options"].resolve("one", None)
    assert study.grid or study.trials
    assert list(sweep["options"].data) == ([] if dataset == "digits" else [Path("PATH")])
    assert options.storage == report["storage"] == tmp_path / "my results"
    assert (report["name"], list(report["more"])) == ("one", [sweep["options"].study])


def test_a_report_of_the_study_itself_needs_no_other_sweep(tmp_path):
    tables = read_one(tmp_path / "quickstart", trial("a"))
    report = read_command(writer.adding_commands(FIGURES["importance"], tables)[1])
    assert (report["name"], report["more"]) == ("quickstart", ())


def read_command(text):
    """The values that the command line gives its command; `options` are those of a sweep."""
    python, launch, name, *arguments = shlex.split(text)
    assert (python, launch) == ("python", "launch.py")
    command = typer.main.get_command(app).commands[name]
    values = command.make_context(name, arguments).params
    if name == "report":
        return values
    known = {field.name for field in dataclasses.fields(StudyOptions)}
    return {"options": StudyOptions(**{key: value for key, value in values.items() if key in known})}


def test_other_images_than_digits_are_to_be_given_again(tmp_path):
    entry, missing = TABLES["temperature_weight"], Missing("no grid")
    tables = {name: read_one(tmp_path / name, trial("a", dataset=name)) for name in ("digits", "cifar10")}
    sweep = f"no grid; to add it: python launch.py sweep temperature{{}} --storage {tmp_path}; python launch.py report"
    assert writer.missing_words(entry, tables["digits"], missing).startswith(sweep.format(""))
    assert writer.missing_words(entry, tables["cifar10"], missing).startswith(sweep.format(" --data PATH"))


def read_one(folder, row):
    write(folder, "trials", row["key"], [row])
    return read_tables(folder)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_renders_with_editable_text(name, all_tables, tmp_path):
    png, pdf, svg, description = writer.write_figure(FIGURES[name], all_tables, tmp_path, writer.FORMATS)
    picture = imread(png)[..., :3]
    assert picture.shape[0] > 300
    assert np.unique(picture.reshape(-1, 3), axis=0).shape[0] > 20
    # Content that is cut off would touch the border.
    assert (picture[[0, -1]] == 1).all()
    assert (picture[:, [0, -1]] == 1).all()
    fonts = pdf.read_bytes()
    assert b"/FontFile2" in fonts
    assert b"/Type3" not in fonts
    assert "<text" in svg.read_text()
    content = json.loads(description.read_text())
    assert content["what"] == FIGURES[name].what
    assert set(content["keys"]) <= {row["key"] for row in all_tables.rows}
    assert content["keys"]
    assert content["commits"] == ["c0ffee"]


@pytest.mark.parametrize("name", ["importance", "paths", "planes"])  # trees, shading, contours
def test_the_same_results_make_the_same_files(name, all_tables, tmp_path):
    texts = []
    for folder in (tmp_path / "1", tmp_path / "2"):
        folder.mkdir()
        texts.append([file.read_bytes() for file in writer.write_figure(FIGURES[name], all_tables, folder, ["svg"])])
    assert texts[0] == texts[1]


def test_files_in_other_formats_do_not_become_out_of_date(full_tables, tmp_path):
    (tmp_path / "gap.svg").write_text("of an earlier report")
    written = writer.write_figure(FIGURES["gap"], full_tables, tmp_path, ["png"])
    assert [file.name for file in written] == ["gap.png", "gap.svg", "gap.json"]
    assert "<text" in (tmp_path / "gap.svg").read_text()


def test_another_split_makes_other_files(full_tables, tmp_path):
    files = writer.write_table(TABLES["main"], replace(full_tables, split="val"), tmp_path)
    assert [file.name for file in files] == ["main-val.md", "main-val.tex", "main-val.csv", "main-val.json"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("connectivity_accuracy", "no finished trials of a search or grid"),
        ("counterparts", "no plane on the test split holds members and their counterparts"),
        ("diversity_connectivity", "no finished trial has q̄ and normalised disagreement on the test split"),
        ("importance", "no construction has 10 trials of a search or grid in which a hyperparameter varies"),
        ("paths", "no path was evaluated on the test split"),
        ("time_parameter", "no two constrained configurations differ in t and beta alone"),
    ],
)
def test_a_figure_without_its_data_says_so(name, words, tmp_path):
    write(tmp_path, "trials", "a", [trial("a", test_accuracy=1.0)])
    with pytest.raises(Missing, match=words):
        FIGURES[name].make(read_tables(tmp_path))


def test_a_reliability_table_without_images_is_no_diagram(tmp_path):
    write(tmp_path, "trials", "a", [trial("a")])
    row = {"key": "a", "split": "test", "binning": "width", "bin": 0, "lo": 0.0, "hi": 50.0, "count": 0}
    write(tmp_path, "reliability", "a", [row])
    with pytest.raises(Missing, match="no trial has a reliability table"):
        FIGURES["reliability"].make(read_tables(tmp_path))


def test_one_search_trial_without_a_deep_ensemble_is_a_figure(tmp_path):
    numbers = {f"{split}_{name}": 1.0 for split in ("val", "test") for name in ("accuracy", "q_bar_reset")}
    write(tmp_path, "trials", "a", [trial("a", "swe", role="search", **numbers)])
    drawn = connectivity_accuracy.draw(read_tables(tmp_path))
    assert drawn.data["digits/resnet8"]["deep"] == {}
    assert drawn.keys == ["a"]
    assert drawn.data["digits/resnet8"]["front"] == [["a"]]


def test_a_construction_looks_the_same_whatever_else_is_there(tmp_path):
    for name in ("swe", "zebra", "curve"):
        write(tmp_path, "trials", name, [trial(name, name)])
    looks = style.looks(read_tables(tmp_path))
    assert list(looks) == ["swe", "curve", "zebra"]
    assert looks["swe"] == style.KNOWN["swe"]
    assert (looks["curve"], looks["zebra"]) == (style.FREE[0], style.FREE[1])


def test_many_unknown_constructions_stay_distinct(tmp_path):
    for index in range(9):
        write(tmp_path, "trials", f"k{index}", [trial(f"k{index}", f"new{index}")])
    looks = style.looks(read_tables(tmp_path))
    assert len({str(look) for look in looks.values()}) == 9


def test_labels_take_the_unit_from_the_metadata(full_tables):
    assert style.axis_label(full_tables, "test_accuracy", "accuracy") == "accuracy (%)"
    assert style.axis_label(full_tables, "beta", "β") == "β"
    assert synthetic_results.UNITS["nll"] == full_tables.unit("val_nll")
