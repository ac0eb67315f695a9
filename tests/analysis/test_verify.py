"""Yardsticks against synthetic runs, and two sweeps against each other."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from typer.testing import CliRunner

from analysis.compare import changed_verdicts, compare, in_text
from analysis.data.queries import read_tables
from analysis.errors import BadInput
from analysis.verify import check_yardsticks, load_yardsticks
from cli import app as command_line
from tests.support.synthetic_outcomes import outcomes, row_of
from tests.support.synthetic_results import trial, write, write_real

FULL = {"dataset": "cifar10", "model": "resnet20", "width": 1.0, "epochs": 200, "norm": "batch", "members": 4}


SINGLE = "ResNet20, one network, CIFAR-10: acc"
ALIGNED = "Aligned ResNet20×1 with BatchNorm, CIFAR-10: accuracy at the midpoint, statistics"


def results(folder, *rows):
    for row in rows:
        write_real(folder, "trials", row["key"], [row])
    return folder


def deep(seed, accuracy, **columns):
    return trial(f"d{seed}", "deep", seed, test_member_mean_accuracy=accuracy, **{**FULL, **columns})


def word(tables, start):
    (found,) = [verdict for verdict in check_yardsticks(tables) if verdict.yardstick.what.startswith(start)]
    return found


def test_yardsticks_name_their_source_and_hold_their_own_number():
    for yardstick in load_yardsticks():
        assert yardstick.low <= yardstick.value <= yardstick.high
        assert yardstick.source
        assert {"dataset", "model"} <= yardstick.where.keys()
        assert bool(yardstick.metric) != bool(yardstick.at)
    assert len({yardstick.what for yardstick in load_yardsticks()}) == len(load_yardsticks())


def test_yardsticks_name_columns_and_hyperparameters_that_there_are():
    from sweeps.storage.columns import list_hyperparameters
    from sweeps.storage.trial_schemas import trials_schema

    names = {field.name for field in list_hyperparameters()} | {"dataset", "model", "construction"}
    columns = set(trials_schema().names)
    for yardstick in load_yardsticks():
        assert {*yardstick.where, *yardstick.least} <= names
        for metric in filter(None, (yardstick.metric, yardstick.minus)):
            assert {f"test_{metric}", f"test_{metric}_reset"} & columns


def test_inside_outside_and_not_comparable(tmp_path):
    inside = word(read_tables(results(tmp_path / "1", deep(0, 92.1), deep(1, 92.5))), SINGLE)
    assert (inside.word, inside.keys) == ("inside", ("d0", "d1"))
    assert inside.measured == "92.3 ± 2.5 %, 2 seeds"
    assert inside.band == "91.0 to 93.6 % (published: 92.4)"
    outside = word(read_tables(results(tmp_path / "2", deep(0, 85.0))), SINGLE)
    assert outside.word == "outside"
    assert outside.why == "Likely: a short schedule, weight decay below 1e-4, or no augmentation."
    near = word(read_tables(results(tmp_path / "3", deep(0, 90.0), deep(1, 91.5))), SINGLE)
    assert near.why.endswith("Its interval reaches the band: more seeds would tell.")
    short = word(
        read_tables(results(tmp_path / "4", deep(0, 92.0, epochs=6, train_size=3000))),
        "ResNet20, one network, CIFAR-10: acc",
    )
    assert short.word == "not comparable"
    assert (
        short.why == "train_size is 3000, the reference has 40000 or more; epochs is 6, the reference has 100 or more."
    )
    none = word(read_tables(results(tmp_path / "5", trial("x", **FULL))), SINGLE)
    assert none.why.startswith("no finished trial has test_member_mean_accuracy")


def test_a_folder_of_images_is_what_the_user_says_it_is(tmp_path):
    rows = [deep(seed, accuracy, dataset="imagefolder") for seed, accuracy in enumerate((92.1, 92.5))]
    tables = read_tables(results(tmp_path / "1", *rows))
    assert check_yardsticks(tables) == []
    (found, *_) = check_yardsticks(tables, "cifar10")
    assert (found.word, found.measured, found.keys) == ("inside", "92.3 ± 2.5 %, 2 seeds", ("d0", "d1"))
    other = check_yardsticks(read_tables(results(tmp_path / "2", deep(0, 60.0, dataset="imagefolder"))), "cifar10")[0]
    assert other.word == "outside"
    assert other.why.endswith("Or the images are not those of cifar10, or not all of them.")
    with pytest.raises(BadInput, match="--as cifar: expected one of cifar10, cifar100, digits, tiny-imagenet, and"):
        check_yardsticks(tables, "cifar")
    with pytest.raises(BadInput, match=r"--as cifar10: expected .* results of another dataset; these are of"):
        check_yardsticks(read_tables(results(tmp_path / "3", deep(0, 92.0))), "cifar10")


def test_midpoints_come_from_the_paths_of_the_named_policy(tmp_path):
    row = trial("p", "permuted", matching="activations", **FULL)
    points = [
        {"key": "p", "split": "test", "policy": policy, "i": 0, "j": 1, "alpha": alpha, "accuracy": accuracy}
        for policy, alpha, accuracy in (("reset", 0.5, 13.0), ("reset", 0.0, 92.0), ("interp", 0.5, 12.0))
    ]
    write_real(results(tmp_path, row), "paths", "p", points)
    tables = read_tables(tmp_path)
    found = word(tables, f"{ALIGNED} re")
    assert (found.word, found.measured) == ("outside", "13.0 %, 1 seed")
    assert "were BN statistics reset?" in found.why
    assert word(tables, f"{ALIGNED} mixed").word == "inside"


def test_gains_are_taken_seed_by_seed(tmp_path):
    rows = [deep(seed, 92.0 + seed, test_accuracy=94.0 + seed) for seed in range(2)]
    found = word(read_tables(results(tmp_path, *rows)), "Deep ensemble of four small ResNets, CIFAR-10")
    assert (found.word, found.measured) == ("inside", "2.0 ± 0.0 points, 2 seeds")


def two(folder, first, second):
    """Two sweeps with one construction, accuracies by seed."""
    for name, values in (("a", first), ("b", second)):
        for seed, accuracy in values.items():
            row = trial(f"{name}{seed}", "swe", seed, epochs=3, test_accuracy=accuracy)
            write(folder / name, "trials", row["key"], [row])
    return read_tables(folder / "a"), read_tables(folder / "b")


def test_same_seeds_are_compared_in_pairs(tmp_path):
    x, y = {0: 90.0, 1: 95.0, 2: 92.0}, {0: 91.0, 1: 96.1, 2: 92.9}
    (found,) = compare(*two(tmp_path, x, y))
    expected = stats.ttest_rel([91.0, 96.1, 92.9], [90.0, 95.0, 92.0]).confidence_interval()
    assert (found.word, found.paired) == ("beyond noise", True)
    assert found.difference.interval == pytest.approx((expected.low, expected.high))
    assert "swe" in in_text([found])
    assert "about 0.1 of 1 comparisons would differ by chance" in in_text([found])


def test_other_seeds_are_compared_as_two_samples(tmp_path):
    x, y = {0: 90.0, 1: 90.4, 2: 90.1}, {3: 95.0, 4: 94.0, 5: 95.5, 6: 94.4}
    (found,) = compare(*two(tmp_path, x, y))
    assert (found.word, found.paired) == ("beyond noise", False)
    expected = stats.ttest_ind(list(y.values()), list(x.values()), equal_var=False).confidence_interval()
    assert found.difference.interval == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ({0: 90.0, 1: 91.0}, {0: 90.0, 1: 91.0}, "equal"),
        ({0: 90.0, 1: 91.0, 2: 92.0}, {0: 91.0, 1: 90.0, 2: 92.5}, "within noise"),
        ({0: 90.0}, {0: 91.0}, "not enough seeds"),
        ({0: 90.0, 1: 90.1}, {0: 95.0, 1: 95.1}, "not enough seeds"),
        ({0: 90.0, 1: 90.1, 2: 90.2}, {3: 95.0, 4: 95.1}, "not enough seeds"),
        ({0: 90.0}, {1: 91.0, 2: 92.0}, "not enough seeds"),
        ({0: 90.0}, {0: 90.0}, "equal"),
    ],
)
def test_words(x, y, expected, tmp_path):
    assert [c.word for c in compare(*two(tmp_path, x, y))] == [expected]


def test_the_same_images_enter_the_interval_and_verdicts_are_compared(tmp_path):
    rng = np.random.default_rng(4)
    for name, kind in (("a", "deep"), ("b", "swe")):  # another code made of the same configuration something else
        for seed in range(3):
            rows = outcomes(f"{name}{seed}", kind, rng)
            own = {"test_accuracy": row_of(rows)["test_accuracy"], "data_hash": "h", "members": 4}
            write(tmp_path / name, "trials", f"{name}{seed}", [trial(f"{name}{seed}", "swe", seed, **own)])
            write_real(tmp_path / name, "outcomes", f"{name}{seed}", rows)
    one, other = read_tables(tmp_path / "a"), read_tables(tmp_path / "b")
    (found,) = [c for c in compare(one, other) if c.metric == "accuracy"]
    assert (found.difference.n, found.difference.images, found.paired) == (3, 400, True)
    by_accuracy, by_loss = changed_verdicts(one, other)
    assert (by_accuracy.by, by_accuracy.first, by_accuracy.second) == ("accuracy", "no", "yes")
    assert (by_loss.by, by_loss.first, by_loss.second) == ("loss", "no", "yes")
    told = in_text([found], [by_accuracy])
    assert "verdicts that differ (1):" in told
    assert "swe members=4, one basin by accuracy: no → yes" in told
    assert changed_verdicts(one, one) == []


def test_sweeps_that_differ_in_how_they_measure_are_compared(tmp_path):
    for name, images in (("a", None), ("b", 1000)):
        rows = [deep(s, 92.0 + s / 10, path_images=images, path_precision="float32") for s in range(3)]
        results(tmp_path / name, *rows)
    (found,) = compare(read_tables(tmp_path / "a"), read_tables(tmp_path / "b"))
    assert (found.metric, found.word, found.paired) == ("member_mean_accuracy", "equal", True)


def test_a_field_of_the_evaluation_that_analysis_has_never_heard_of_is_one_too(tmp_path):
    facts = {"zoom": {"kind": "hyperparameter", "section": "evaluation"}, "test_accuracy": {"kind": "metric"}}
    for name, zoom in (("a", 1), ("b", 2)):
        for seed in range(3):
            row = trial(f"{name}{seed}", "swe", seed, epochs=3, test_accuracy=90.0 + seed, zoom=zoom)
            table = pa.Table.from_pylist([row])
            table = table.cast(pa.schema([field.with_metadata(facts.get(field.name)) for field in table.schema]))
            file = tmp_path / name / "tables/trials" / f"{row['key']}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, file)
    assert [c.word for c in compare(read_tables(tmp_path / "a"), read_tables(tmp_path / "b"))] == ["equal"]


def test_nothing_in_common(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, "trials", name, [trial(name, "swe", epochs=len(name) + ord(name), test_accuracy=1.0)])
    with pytest.raises(BadInput, match="have no configuration in common"):
        compare(read_tables(tmp_path / "a"), read_tables(tmp_path / "b"))


def run(*arguments):
    return CliRunner().invoke(command_line.app, list(map(str, arguments)))


def test_the_commands(tmp_path):
    results(tmp_path / "good", deep(0, 92.1), deep(1, 92.5), deep(2, 92.3))
    results(tmp_path / "bad", deep(0, 60.0), deep(1, 60.1), deep(2, 60.2))
    done = run("verify", "good", "--storage", tmp_path)
    assert done.exit_code == 0, done.output
    assert "INSIDE: ResNet20, one network, CIFAR-10: accuracy" in done.output
    assert run("verify", "bad", "--storage", tmp_path).exit_code == 1
    done = run("compare", "good", tmp_path / "bad", "--storage", tmp_path)
    assert done.exit_code == 0, done.output
    assert "1 comparisons: 0 equal, 0 within noise, 1 beyond noise" in done.output
    assert run("report", "none", "--storage", tmp_path).exit_code == 2
    done = run("report", "good", "--storage", tmp_path)
    assert "figures (PNG) and tables in" in done.output
    assert done.output.endswith("PDF files: add --format png,pdf\n")
    assert run("report", "good", "--storage", tmp_path, "--format", "png,bmp").exit_code == 2
    assert "no yardsticks" not in run("verify", "good", "--storage", tmp_path).output
    results(tmp_path / "folder", deep(0, 92.1, dataset="imagefolder"))
    done = run("verify", "folder", "--storage", tmp_path)
    assert "imagefolder: no published reference. If the images are a copy of cifar10, cifar100," in done.output
    assert "INSIDE" in run("verify", "folder", "--as", "cifar10", "--storage", tmp_path).output
    assert run("verify", "folder", "--as", "cifar", "--storage", tmp_path).exit_code == 2
    assert math.isclose(load_yardsticks()[0].value, 92.4)
