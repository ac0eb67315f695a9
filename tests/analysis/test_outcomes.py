"""Per-image results against slow plain NumPy: values, sizes, and the verdicts from them."""

import numpy as np
import pytest

from analysis.answers.verdicts import find_verdict, in_one_basin, judge_configuration, margin_of, verdict_word
from analysis.data.outcomes import by_seed, by_size
from analysis.data.queries import configurations, estimate_metric, image_values, read_tables
from stats.intervals import estimate as over_both
from stats.verdicts import bounds, decide
from sweeps.storage.outcomes import PER_IMAGE
from tests.support import synthetic_results
from tests.support.synthetic_outcomes import bits, outcomes, shortfalls
from tests.support.synthetic_results import trial, write, write_real


def store(folder, *names, seeds=2, **columns):
    """Trials with outcomes; returns the tables and the rows of table `outcomes` by key."""
    rng, kept = np.random.default_rng(0), {}
    for name in names:
        for seed in range(seeds):
            key = f"{name}{seed}"
            kept[key] = outcomes(key, name, rng)
            write_real(folder, "outcomes", key, kept[key])
            write(folder, "trials", key, [trial(key, name, seed, members=4, test_accuracy=50.0 + seed, **columns)])
    return read_tables(folder), kept


def of(rows, kind, split="test"):
    return [row for row in rows if (row["split"], row["kind"]) == (split, kind)]


def test_values_of_each_image_against_the_bits(tmp_path):
    tables, kept = store(tmp_path, "constrained")
    (own,) = configurations(tables)
    for seed, rows in enumerate(kept.values()):
        expected = {"accuracy": 100 * bits(of(rows, "ensemble")[0]), "soup_accuracy": 100 * bits(of(rows, "soup")[0])}
        members = of(rows, "member")
        expected["member_mean_accuracy"] = 100 * sum(bits(row) for row in members) / 4
        expected["nll"] = of(rows, "ensemble")[0]["nll"].astype(float)
        expected["member_mean_nll"] = sum(row["nll"].astype(float) for row in members) / 4
        expected["jensen_gap"] = expected["member_mean_nll"] - expected["nll"]
        expected["soup_nll"] = of(rows, "soup")[0]["nll"].astype(float)
        expected["calibrated_log_likelihood"] = -of(rows, "ensemble")[0]["calibrated_nll"].astype(float)
        for metric, values in expected.items():
            assert by_seed(tables, own.rows, metric)[seed] == pytest.approx(values)
        val = by_seed(tables, own.rows, "accuracy", "val")[seed]
        assert val == pytest.approx(100 * bits(of(rows, "ensemble", "val")[0]))
    assert by_seed(tables, own.rows, "ece") == {}


def test_values_by_number_of_members(tmp_path):
    tables, kept = store(tmp_path, "deep")
    (own,) = configurations(tables)
    found = by_size(tables, own.rows, "accuracy")
    assert list(found) == [1, 2, 3, 4]
    for seed, rows in enumerate(kept.values()):
        for row in of(rows, "size"):
            assert found[row["size"]][seed] == pytest.approx(100 * row["accuracy_per_image"].astype(float))
        assert found[4][seed] == pytest.approx(100 * bits(of(rows, "ensemble")[0]))
        assert found[1][seed].mean() == pytest.approx(100 * np.mean([bits(r) for r in of(rows, "member")]), abs=0.01)


def test_an_estimate_is_over_seeds_and_images_around_the_mean_of_the_rows(tmp_path):
    tables, kept = store(tmp_path, "swe", seeds=3)
    (own,) = configurations(tables)
    found = estimate_metric(tables, own, "accuracy")
    values = np.array([100 * bits(of(rows, "ensemble")[0]) for rows in kept.values()])
    assert (found.mean, found.n, found.images) == (51.0, 3, 400)
    assert found.half == pytest.approx(over_both(values).half)
    assert image_values(tables, own.rows[:1], "nll").keys() == {0}


def test_trials_without_outcomes_have_intervals_over_seeds(tmp_path):
    for seed in range(2):
        write(tmp_path, "trials", f"k{seed}", [trial(f"k{seed}", seed=seed, test_accuracy=90.0 + seed)])
    tables = read_tables(tmp_path)
    (own,) = configurations(tables)
    found = estimate_metric(tables, own, "accuracy")
    assert (found.mean, found.images) == (90.5, 1)
    assert found.half == pytest.approx(12.7062 / 2, rel=1e-4)
    assert find_verdict(tables, own) is None
    assert judge_configuration(tables, own, by="loss", hull=True) is None
    assert not in_one_basin(tables, own)
    assert verdict_word(find_verdict(tables, own)) == "not measured"


@pytest.mark.parametrize(("name", "expected"), [("constrained", "yes"), ("deep", "no")])
def test_verdicts_are_those_of_the_shortfalls_of_all_seeds(name, expected, tmp_path):
    tables, kept = store(tmp_path, name, seeds=3)
    (own,) = configurations(tables)
    cells = 100 * np.array([shortfalls(of(rows, "path")) for rows in kept.values()])
    slow = decide(bounds(cells, worst=100.0), 2.0)
    found = find_verdict(tables, own)
    assert found.answer == slow.answer == expected
    assert found.bounds.upper == pytest.approx(slow.bounds.upper)
    assert found.bounds.lower == pytest.approx(slow.bounds.lower)
    assert (found.bounds.seeds, found.bounds.images) == (3, 300)
    assert in_one_basin(tables, own) is (expected == "yes")


def test_every_pair_is_harder_to_certify(tmp_path):
    tables, _ = store(tmp_path, "constrained")
    (own,) = configurations(tables)
    assert find_verdict(tables, own, every_pair=True).bounds.upper > find_verdict(tables, own).bounds.upper


def test_the_weakest_pair_is_named_by_its_members_and_seed(tmp_path):
    tables, kept = store(tmp_path, "deep")
    (own,) = configurations(tables)
    found = judge_configuration(tables, own)
    seed, pair, alpha = found.verdict.bounds.weakest
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert found.weakest == f"members {pairs[pair][0]} and {pairs[pair][1]} at α = {(alpha + 1) / 10:.2g}"
    assert found.seed == seed
    cells = 100 * shortfalls(of(kept[f"deep{seed}"], "path")).mean(axis=2)
    assert found.verdict.bounds.weakest_mean == pytest.approx(cells[pair, alpha])


def test_the_hull_is_judged_at_its_centroid_and_its_mean_point(tmp_path):
    tables, kept = store(tmp_path, "permuted", seeds=1)
    (own,) = configurations(tables)
    rows = kept["permuted0"]
    ends = {row["weights"].index(1.0): bits(row) for row in of(rows, "path") if 1.0 in row["weights"]}
    short = []
    for row in of(rows, "hull"):
        chord = sum(row["weights"][k] * ends[k] for k in range(4))
        short.append(100 * (chord - bits(row)))
    found = find_verdict(tables, own, hull=True)
    average = np.array([short[0], np.mean(short[1:], axis=0)])
    assert np.array(found.bounds.averages)[:, 0] == pytest.approx(average.mean(axis=1))
    assert found.bounds.weakest_mean == pytest.approx(max(values.mean() for values in short), abs=8)
    assert judge_configuration(tables, own, hull=True).weakest in (
        "the centroid",
        *(f"random point {n}" for n in range(1, 5)),
    )
    assert found.answer == "no"


def test_verdicts_by_loss_are_in_nats(tmp_path):
    tables, kept = store(tmp_path, "deep", seeds=1)
    (own,) = configurations(tables)
    rows = of(kept["deep0"], "path")
    ends = {row["weights"].index(1.0): row["nll"].astype(float) for row in rows if 1.0 in row["weights"]}
    first = next(row for row in rows if 0 < row["weights"][0] < 1)  # members 0 and 1 at α = 0.1
    chord = 0.9 * ends[0] + 0.1 * ends[1]
    found = find_verdict(tables, own, by="loss")
    assert found.margin == pytest.approx(0.02 * np.log(10))
    assert found.answer == "no"
    assert (first["nll"].astype(float) - chord).mean() < found.bounds.weakest_mean


def test_margins_are_the_readers_then_the_studys_then_two_points(tmp_path):
    tables, _ = store(tmp_path / "1", "swe", seeds=1, margin=4.0)
    rows = configurations(tables)[0].rows
    assert margin_of(tables, rows, "accuracy") == 4.0
    assert margin_of(tables, rows, "loss") == pytest.approx(0.04 * np.log(10))
    assert margin_of(read_tables(tmp_path / "1", margin=1.0), rows, "accuracy") == 1.0
    assert find_verdict(tables, configurations(tables)[0]).margin == 4.0
    assert find_verdict(tables, configurations(tables)[0], margin=0.5).margin == 0.5
    assert margin_of(tables, [{"dataset": "digits"}], "accuracy") == 2.0
    assert margin_of(tables, [{"dataset": "imagefolder"}], "loss") is None
    assert margin_of(tables, [{"dataset": "imagefolder", "classes": 7}], "loss") == pytest.approx(0.02 * np.log(7))


def test_only_judged_pairs_are_judged(tmp_path):
    tables, kept = store(tmp_path, "deep", seeds=1)
    rows = kept["deep0"]
    for row in rows:
        if row["kind"] == "path" and 1.0 not in row["weights"]:
            row["judged"] = row["weights"][0] > 0 and row["weights"][1] > 0
    write_real(tmp_path, "outcomes", "deep0", rows)
    tables = read_tables(tmp_path)
    assert judge_configuration(tables, configurations(tables)[0]).weakest.startswith("members 0 and 1 ")


def test_the_mean_of_q_bar_over_images_is_that_of_the_row(tmp_path):
    """Of the policy that outcomes have; under another there is no interval over images."""
    tables = read_tables(synthetic_results.sweep(tmp_path, {}, {"deep": 3, "swe": 3}))
    for one in configurations(tables):
        values = image_values(tables, one.rows, "q_bar")
        for row in one.rows:
            assert values[row["seed"]].mean() == pytest.approx(row["test_q_bar_reset"], abs=1e-6)
        assert estimate_metric(tables, one, "q_bar").images == len(values[0])
    other, _ = store(tmp_path / "other", "deep", test_q_bar_interp=-3.0)
    assert image_values(other, configurations(other)[0].rows, "q_bar") == {}


def test_an_ensemble_of_ends_is_that_of_its_members_probabilities():
    """Two members on two images, beside a point between them: the mean of probabilities, not of losses."""
    member, other = np.array([0.9, 0.5]), np.array([0.1, 0.5])
    weights = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    path = {"weights": weights, "nll": -np.log([other, [0.3, 0.3], member])}
    nll, gap = (PER_IMAGE[name](lambda _: path) for name in ("nll_of_ends", "jensen_gap_of_ends"))
    assert nll == pytest.approx(-np.log((member + other) / 2))
    assert gap == pytest.approx([-0.5 * np.log(0.9 * 0.1) + np.log(0.5), 0.0])
    for name in ("nll_of_ends", "jensen_gap_of_ends"):
        assert PER_IMAGE[name](lambda _: {"weights": weights}) is None


def test_what_the_centroid_gains_is_of_one_policy_and_one_set_of_images():
    """Two members and their centroid on four images, by hand: 2, 1 and 3 are right."""
    member, other, centroid = [1, 1, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0]
    kinds = {
        "path": {"weights": np.array([[1.0, 0.0], [0.0, 1.0]]), "correct": np.array([member, other], dtype=bool)},
        "hull": {"weights": np.array([[0.5, 0.5]]), "correct": np.array([centroid], dtype=bool)},
    }
    values = PER_IMAGE["centroid_gap_reset"](lambda kind: kinds[kind])
    assert values.tolist() == [50, 0, 100, 0]
    assert PER_IMAGE["centroid_gap_reset"](lambda kind: {}) is None
