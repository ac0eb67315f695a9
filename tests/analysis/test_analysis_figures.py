import json
from dataclasses import replace

import numpy as np
import pytest
import synthetic_results
from matplotlib.image import imread
from synthetic_results import trial, write

from analysis import registry, style
from analysis import write as writer
from analysis.errors import Missing
from analysis.figures import connectivity_accuracy, paths
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


def test_importance_finds_what_matters(tmp_path):
    rng = np.random.default_rng(0)
    for n in range(40):
        axes = {"beta": float(rng.uniform()), "t": float(rng.uniform()), "alphas": n}
        score = {"val_accuracy": 90 + 5 * axes["beta"] + 0.1 * float(rng.uniform())}
        write(tmp_path, "trials", f"k{n}", [trial(f"k{n}", "constrained", n, role="search", **axes, **score)])
    shown = FIGURES["importance"].make(read(tmp_path)).data["digits · resnet8: constrained, accuracy"]
    assert shown["names"] == ["beta", "t"]
    assert shown["mean"][0] > 0.8 > 0.2 > shown["mean"][1]
    assert shown["r2"] > 0.8


def test_one_search_trial_without_a_deep_ensemble_is_a_figure(tmp_path):
    numbers = {f"{split}_{name}": 1.0 for split in ("val", "test") for name in ("accuracy", "q_bar_reset")}
    write(tmp_path, "trials", "a", [trial("a", "swe", role="search", **numbers)])
    drawn = connectivity_accuracy.draw(read(tmp_path))
    assert drawn.data["digits/resnet8"]["deep"] == {}
    assert drawn.keys == drawn.data["digits/resnet8"]["front"] == ["a"]


def test_the_front_is_chosen_on_validation(tmp_path):
    # val accuracy, val q_bar, test accuracy, test q_bar: `b` wins on test alone, `d` fails far below the others.
    numbers = {"a": (95, -1, 94, -1), "b": (90, -9, 99, 0), "c": (93, 0, 93, -0.5), "d": (20, -2, 20, -2)}
    for key, values in numbers.items():
        names = ("val_accuracy", "val_q_bar_reset", "test_accuracy", "test_q_bar_reset")
        row = trial(key, "constrained", role="search", **dict(zip(names, map(float, values), strict=True)))
        write(tmp_path, "trials", key, [row])
    drawn = connectivity_accuracy.draw(read(tmp_path))
    assert drawn.data["digits/resnet8"]["front"] == ["a", "c"]
    assert drawn.data["digits/resnet8"]["test_accuracy"] == [94, 99, 93, 20]


def test_paths_are_averaged_over_pairs_and_seeds_under_the_headline_policy(tmp_path):
    curves = {("a", 0, 1): [90.0, 80.0, 94.0], ("a", 0, 2): [92.0, 88.0, 92.0], ("b", 0, 1): [94.0, 60.0, 90.0]}
    for seed, key in enumerate("abc"):  # c has a row, but no paths
        write(tmp_path, "trials", key, [trial(key, seed=seed)])
        rows = [
            {"key": k, "split": split, "policy": policy, "i": i, "j": j, "alpha": alpha, "accuracy": value - less}
            for (k, i, j), values in curves.items()
            for alpha, value in zip((0.0, 0.5, 1.0), values, strict=True)
            for split, policy, less in (("test", "reset", 0), ("test", "interp", 9), ("val", "reset", 5))
            if k == key
        ]
        if rows:
            write(tmp_path, "paths", key, rows)
    drawn = paths.draw(read(tmp_path))
    shown = drawn.data["digits/resnet8"]["deep"]
    assert drawn.keys == ["a", "b"]
    assert (shown["seeds"], shown["curves"], shown["alpha"]) == (2, 3, [0.0, 0.5, 1.0])
    assert shown["accuracy_mean"] == pytest.approx([92, 76, 92])
    assert shown["q_pair_mean"] == pytest.approx([0, -16, 0])
    assert shown["q_pair_deviation"] == pytest.approx([0, np.std([-12, -4, -32]), 0])


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
