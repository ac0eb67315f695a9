import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import synthetic_results
from matplotlib.image import imread
from synthetic_results import trial, write

from analysis import registry, style
from analysis import write as writer
from analysis.errors import Missing
from analysis.figures import connectivity_accuracy
from analysis.queries import read

FIGURES = {entry.name: entry for entry in registry.figures()}
TABLES = {entry.name: entry for entry in registry.tables()}


def test_every_name_is_registered_once():
    assert {"connectivity_accuracy", "paths"} <= FIGURES.keys()
    assert "main" in TABLES
    assert not FIGURES.keys() & TABLES.keys(), "a figure and a table would write the same JSON"


@pytest.mark.parametrize("entry", [*FIGURES.values(), *TABLES.values()], ids=lambda entry: entry.name)
def test_every_entry_says_what_it_is(entry):
    assert entry.title
    assert entry.what.endswith(".")
    assert entry.needs.format(sweep="demo").startswith("python ")


@pytest.mark.parametrize("entry", [*FIGURES.values(), *TABLES.values()], ids=lambda entry: entry.name)
def test_the_command_that_makes_the_data_is_one_that_there_is(entry):
    from basin.place import settled
    from sweeps.studies import build

    words = entry.needs.format(sweep="quickstart").split()
    assert words[:3] == ["python", "launch.py", "sweep"]
    changes = [after for before, after in pairwise(words) if before == "--set"]
    assert build(words[3], None).set(settled(changes)[1])


def test_other_images_than_digits_are_to_be_given_again(tmp_path):
    entry, missing = TABLES["temperature_weight"], Missing("no grid")
    tables = {name: read_one(tmp_path / name, trial("a", dataset=name)) for name in ("digits", "cifar10")}
    words = "no grid; to make the data: python launch.py sweep temperature"
    assert writer.remedy(entry, tables["digits"], missing) == words
    assert writer.remedy(entry, tables["cifar10"], missing) == f"{words} (with the same --data)"


def read_one(folder, row):
    write(folder, "trials", row["key"], [row])
    return read(folder)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_renders_with_editable_text(name, all_tables, tmp_path):
    png, pdf, svg, description = writer.figure(FIGURES[name], all_tables, tmp_path, writer.FORMATS)
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
        texts.append([file.read_bytes() for file in writer.figure(FIGURES[name], all_tables, folder, ["svg"])])
    assert texts[0] == texts[1]


def test_another_split_makes_other_files(full_tables, tmp_path):
    files = writer.table(TABLES["main"], replace(full_tables, split="val"), tmp_path)
    assert [file.name for file in files] == ["main-val.md", "main-val.tex", "main-val.csv", "main-val.json"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("connectivity_accuracy", "no finished trials of a search or grid"),
        ("counterparts", "no plane on the test split holds members and their counterparts"),
        ("diversity_connectivity", "no finished trial has q_bar and normalised_disagreement on the test split"),
        ("importance", "no construction has 10 trials of a search or grid in which a hyperparameter varies"),
        ("paths", "no path was evaluated on the test split"),
        ("time_parameter", "no two constrained configurations differ in t and beta alone"),
    ],
)
def test_a_figure_without_its_data_says_so(name, words, tmp_path):
    write(tmp_path, "trials", "a", [trial("a", test_accuracy=1.0)])
    with pytest.raises(Missing, match=words):
        FIGURES[name].make(read(tmp_path))


def test_a_reliability_table_without_images_is_no_diagram(tmp_path):
    write(tmp_path, "trials", "a", [trial("a")])
    row = {"key": "a", "split": "test", "binning": "width", "bin": 0, "lo": 0.0, "hi": 50.0, "count": 0}
    write(tmp_path, "reliability", "a", [row])
    with pytest.raises(Missing, match="no trial has a reliability table"):
        FIGURES["reliability"].make(read(tmp_path))


def test_one_search_trial_without_a_deep_ensemble_is_a_figure(tmp_path):
    numbers = {f"{split}_{name}": 1.0 for split in ("val", "test") for name in ("accuracy", "q_bar_reset")}
    write(tmp_path, "trials", "a", [trial("a", "swe", role="search", **numbers)])
    drawn = connectivity_accuracy.draw(read(tmp_path))
    assert drawn.data["digits/resnet8"]["deep"] == {}
    assert drawn.keys == drawn.data["digits/resnet8"]["front"] == ["a"]


def test_a_construction_looks_the_same_whatever_else_is_there(tmp_path):
    for name in ("swe", "zebra", "curve"):
        write(tmp_path, "trials", name, [trial(name, name)])
    looks = style.looks(read(tmp_path))
    assert list(looks) == ["swe", "curve", "zebra"]
    assert looks["swe"] == style.KNOWN["swe"]
    assert (looks["curve"], looks["zebra"]) == (style.FREE[0], style.FREE[1])


def test_many_unknown_constructions_stay_distinct(tmp_path):
    for index in range(9):
        write(tmp_path, "trials", f"k{index}", [trial(f"k{index}", f"new{index}")])
    looks = style.looks(read(tmp_path))
    assert len({str(look) for look in looks.values()}) == 9


def test_labels_take_the_unit_from_the_metadata(full_tables):
    assert style.label(full_tables, "test_accuracy", "accuracy") == "accuracy (%)"
    assert style.label(full_tables, "beta", "β") == "β"
    assert synthetic_results.UNITS["nll"] == full_tables.unit("val_nll")
