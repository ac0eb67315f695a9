"""Yardsticks against synthetic runs, and two sweeps against each other."""

import math

import pytest
from scipy import stats
from synthetic_results import trial, write, write_real
from typer.testing import CliRunner

import launch
from analysis.compare import compare, in_text, welch
from analysis.errors import BadInput
from analysis.queries import read
from analysis.statistics import mean_interval
from analysis.verify import verdicts, yardsticks

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
    (found,) = [verdict for verdict in verdicts(tables) if verdict.yardstick.what.startswith(start)]
    return found


def test_yardsticks_name_their_source_and_hold_their_own_number():
    for yardstick in yardsticks():
        assert yardstick.low <= yardstick.value <= yardstick.high
        assert yardstick.source
        assert {"dataset", "model"} <= yardstick.where.keys()
        assert bool(yardstick.metric) != bool(yardstick.at)
    assert len({yardstick.what for yardstick in yardsticks()}) == len(yardsticks())


def test_yardsticks_name_columns_and_hyperparameters_that_there_are():
    from sweeps.schemas import hyperparameters, trials

    names = {field.name for field in hyperparameters()} | {"dataset", "model", "construction"}
    columns = set(trials().names)
    for yardstick in yardsticks():
        assert {*yardstick.where, *yardstick.least} <= names
        for metric in filter(None, (yardstick.metric, yardstick.minus)):
            assert {f"test_{metric}", f"test_{metric}_reset"} & columns


def test_inside_outside_and_not_comparable(tmp_path):
    inside = word(read(results(tmp_path / "1", deep(0, 92.1), deep(1, 92.5))), SINGLE)
    assert (inside.word, inside.keys) == ("inside", ("d0", "d1"))
    assert inside.measured == "92.3 ± 2.5 %, 2 seeds"
    assert inside.band == "91.0 to 93.6 % (published: 92.4)"
    outside = word(read(results(tmp_path / "2", deep(0, 85.0))), SINGLE)
    assert outside.word == "outside"
    assert outside.why == "Likely: a short schedule, weight decay below 1e-4, or no augmentation."
    near = word(read(results(tmp_path / "3", deep(0, 90.0), deep(1, 91.5))), SINGLE)
    assert near.why.endswith("Its interval reaches the band: more seeds would tell.")
    short = word(
        read(results(tmp_path / "4", deep(0, 92.0, epochs=6, train_size=3000))), "ResNet20, one network, CIFAR-10: acc"
    )
    assert short.word == "not comparable"
    assert (
        short.why == "train_size is 3000, the yardstick has 40000 or more; epochs is 6, the yardstick has 100 or more."
    )
    none = word(read(results(tmp_path / "5", trial("x", **FULL))), SINGLE)
    assert none.why.startswith("no finished trial has test_member_mean_accuracy")


def test_a_folder_of_images_is_what_the_user_says_it_is(tmp_path):
    rows = [deep(seed, accuracy, dataset="imagefolder") for seed, accuracy in enumerate((92.1, 92.5))]
    tables = read(results(tmp_path / "1", *rows))
    assert verdicts(tables) == []
    (found, *_) = verdicts(tables, "cifar10")
    assert (found.word, found.measured, found.keys) == ("inside", "92.3 ± 2.5 %, 2 seeds", ("d0", "d1"))
    other = verdicts(read(results(tmp_path / "2", deep(0, 60.0, dataset="imagefolder"))), "cifar10")[0]
    assert other.word == "outside"
    assert other.why.endswith("Or the images are not those of cifar10, or not all of them.")
    with pytest.raises(BadInput, match="--as cifar: expected one of cifar10, cifar100, digits, tiny-imagenet, for"):
        verdicts(tables, "cifar")
    with pytest.raises(
        BadInput, match=r"--as cifar10: expected .*, for results of a dataset that is none of them, found"
    ):
        verdicts(read(results(tmp_path / "3", deep(0, 92.0))), "cifar10")


def test_midpoints_come_from_the_paths_of_the_named_policy(tmp_path):
    row = trial("p", "permuted", matching="activations", **FULL)
    points = [
        {"key": "p", "split": "test", "policy": policy, "i": 0, "j": 1, "alpha": alpha, "accuracy": accuracy}
        for policy, alpha, accuracy in (("reset", 0.5, 13.0), ("reset", 0.0, 92.0), ("interp", 0.5, 12.0))
    ]
    write_real(results(tmp_path, row), "paths", "p", points)
    tables = read(tmp_path)
    found = word(tables, f"{ALIGNED} re")
    assert (found.word, found.measured) == ("outside", "13.0 %, 1 seed")
    assert "were BN statistics reset?" in found.why
    assert word(tables, f"{ALIGNED} mixed").word == "inside"


def test_gains_are_taken_seed_by_seed(tmp_path):
    rows = [deep(seed, 92.0 + seed, test_accuracy=94.0 + seed) for seed in range(2)]
    found = word(read(results(tmp_path, *rows)), "Deep ensemble of four small ResNets, CIFAR-10")
    assert (found.word, found.measured) == ("inside", "2.0 ± 0.0 points, 2 seeds")


def two(folder, first, second):
    """Two sweeps with one construction, accuracies by seed."""
    for name, values in (("a", first), ("b", second)):
        for seed, accuracy in values.items():
            row = trial(f"{name}{seed}", "swe", seed, epochs=3, test_accuracy=accuracy)
            write(folder / name, "trials", row["key"], [row])
    return read(folder / "a"), read(folder / "b")


def test_same_seeds_are_compared_in_pairs(tmp_path):
    x, y = {0: 90.0, 1: 95.0, 2: 92.0}, {0: 91.0, 1: 96.1, 2: 92.9}
    (found,) = compare(*two(tmp_path, x, y))
    expected = stats.ttest_rel([91.0, 96.1, 92.9], [90.0, 95.0, 92.0]).confidence_interval()
    assert (found.word, found.paired) == ("beyond noise", True)
    assert found.difference.interval == pytest.approx((expected.low, expected.high))
    assert "swe" in in_text([found])
    assert "by chance alone about 0.1 of 1" in in_text([found])


def test_other_seeds_are_compared_as_two_samples(tmp_path):
    x, y = {0: 90.0, 1: 90.4, 2: 90.1}, {3: 95.0, 4: 94.0, 5: 95.5, 6: 94.4}
    (found,) = compare(*two(tmp_path, x, y))
    assert (found.word, found.paired) == ("beyond noise", False)
    expected = stats.ttest_ind(list(y.values()), list(x.values()), equal_var=False).confidence_interval()
    assert found.difference.interval == pytest.approx((expected.low, expected.high))
    assert welch(mean_interval([1.0, 1.0]), mean_interval([2.0, 2.0])).half == 0.0


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ({0: 90.0, 1: 91.0}, {0: 90.0, 1: 91.0}, "equal"),
        ({0: 90.0, 1: 91.0, 2: 92.0}, {0: 91.0, 1: 90.0, 2: 92.5}, "within noise"),
        ({0: 90.0}, {0: 91.0}, "not enough seeds"),
        ({0: 90.0}, {1: 91.0, 2: 92.0}, "not enough seeds"),
        ({0: 90.0}, {0: 90.0}, "equal"),
    ],
)
def test_words(x, y, expected, tmp_path):
    assert [c.word for c in compare(*two(tmp_path, x, y))] == [expected]


def test_nothing_in_common(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, "trials", name, [trial(name, "swe", epochs=len(name) + ord(name), test_accuracy=1.0)])
    with pytest.raises(BadInput, match="have no configuration in common"):
        compare(read(tmp_path / "a"), read(tmp_path / "b"))


def run(*arguments):
    return CliRunner().invoke(launch.app, list(map(str, arguments)))


def test_the_commands(tmp_path):
    results(tmp_path / "good", deep(0, 92.1), deep(1, 92.5))
    results(tmp_path / "bad", deep(0, 60.0), deep(1, 60.1))
    done = run("verify", "good", "--storage", tmp_path)
    assert done.exit_code == 0, done.output
    assert "INSIDE: ResNet20, one network, CIFAR-10: accuracy" in done.output
    assert run("verify", "bad", "--storage", tmp_path).exit_code == 1
    done = run("compare", "good", tmp_path / "bad", "--storage", tmp_path)
    assert done.exit_code == 0, done.output
    assert "1 comparisons: 0 equal, 0 within noise, 1 beyond noise" in done.output
    assert run("report", "none", "--storage", tmp_path).exit_code == 2
    assert "no yardsticks" not in run("verify", "good", "--storage", tmp_path).output
    results(tmp_path / "folder", deep(0, 92.1, dataset="imagefolder"))
    done = run("verify", "folder", "--storage", tmp_path)
    assert "imagefolder: no yardsticks; a copy of cifar10, cifar100, digits, tiny-imagenet can be" in done.output
    assert "INSIDE" in run("verify", "folder", "--as", "cifar10", "--storage", tmp_path).output
    assert run("verify", "folder", "--as", "cifar", "--storage", tmp_path).exit_code == 2
    assert math.isclose(yardsticks()[0].value, 92.4)
