"""Intervals over seeds and images: closed forms, agreement with basin's metrics, and coverage by simulation."""

import math

import numpy as np
import pytest
from scipy import stats
from synthetic_results import trial, write, write_real

from analysis import bootstrap
from analysis.answers import answers
from analysis.equivalent import curve, equivalent, in_text
from analysis.errors import Missing
from analysis.predictions import by_seed
from analysis.queries import configurations, read

RNG = np.random.default_rng


def test_without_images_it_is_the_paired_t_interval():
    values = np.array([[0.5], [0.9], [0.1]])
    expected = stats.ttest_1samp(values[:, 0], 0).confidence_interval()
    found = bootstrap.estimate_over_images(values)
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert bootstrap.estimate_over_images(values[:1]).half is None


def test_images_enter_with_the_variance_of_their_mean():
    values = RNG(0).normal(size=(1, 400)).repeat(4, axis=0)  # every seed the same: only images are uncertain
    found = bootstrap.estimate_over_images(values)
    assert found.half == pytest.approx(1.96 * values[0].std() / math.sqrt(400), rel=0.1)
    assert (found.n, found.images) == (4, 400)


@pytest.mark.parametrize(("seeds", "images", "noise"), [(3, 200, 0.02), (3, 200, 0.2), (6, 50, 0.1)])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds, images, noise):
    """95 % of intervals over simulated experiments; a bootstrap of the seeds too would fall far short."""
    rng, inside, naive = RNG(1), 0, 0
    for _ in range(300):
        values = noise * rng.normal(size=(seeds, 1)) + rng.normal(size=images) + 0.5 * rng.normal(size=(seeds, images))
        found = bootstrap.estimate_over_images(values)
        inside += abs(found.mean) <= found.half
        drawn = values.mean(axis=1)[rng.integers(seeds, size=(200, seeds))].mean(axis=1)
        naive += np.percentile(drawn, 2.5) <= 0 <= np.percentile(drawn, 97.5)
    assert 0.92 <= inside / 300 <= 1.0
    assert naive / 300 < 0.9


def test_fieller_in_closed_form_and_its_coverage():
    part, gap = np.array([[1.0], [1.2], [0.8]]), np.array([[2.0], [2.2], [1.8]])
    low, high = bootstrap.fieller(part, gap)
    t, v = stats.t.ppf(0.975, 2), 0.04 / 3  # part and gap vary together
    assert sorted(abs((1 - r * 2) / ((1 - r) * math.sqrt(v))) for r in (low, high)) == pytest.approx([t, t])
    assert bootstrap.fieller(part, gap - 2.0) is None
    rng, inside = RNG(2), 0
    for _ in range(400):
        gap = 2.0 + 0.3 * rng.normal(size=(4, 1))
        ends = bootstrap.fieller(0.6 * gap + 0.2 * rng.normal(size=(4, 1)), gap)
        inside += ends is not None and ends[0] <= 0.6 <= ends[1]
    assert 0.92 <= inside / 400 <= 0.98


def predicted(folder, construction, seed, right, images=40, members=2, seed_of_noise=0):
    """A trial that keeps predictions; `right` is the share of images whose label gets most probability."""
    rng = RNG([seed_of_noise, seed])
    labels = np.arange(images) % 3
    key, rows, stack = f"{construction}{seed}", [], []
    for member in range(members):
        logits = rng.normal(size=(images, 3))
        logits[np.arange(int(right * images)), labels[: int(right * images)]] += 6.0
        log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        stack.append(log_probs.astype(np.float16).astype(float))
        rows += [
            {"key": key, "split": split, "member": member, "image": n, "label": int(labels[n])}
            | {"log_probs": log_probs[n].astype(np.float16) if split == "test" else np.zeros(3, np.float16)}
            for split in ("val", "test")
            for n in range(images)
        ]
    write_real(folder, "predictions", key, rows)
    import torch

    from basin.metrics.prediction import accuracy, nll

    values = torch.log_softmax(torch.tensor(np.stack(stack)), dim=2)
    scores = {"test_accuracy": accuracy(values, torch.tensor(labels)), "test_nll": nll(values, torch.tensor(labels))}
    write_real(folder, "trials", key, [trial(key, construction, seed, **scores)])
    return scores


def test_per_image_values_agree_with_the_metrics_of_the_trial(tmp_path):
    scores = [predicted(tmp_path, "deep", seed, 0.8) for seed in range(2)]
    tables = read(tmp_path)
    (found,) = configurations(tables)
    for metric in ("accuracy", "nll"):
        per_image = by_seed(tables, found, metric)
        assert {seed: v.mean() for seed, v in per_image.items()} == pytest.approx(
            {seed: score[f"test_{metric}"] for seed, score in enumerate(scores)}, abs=1e-9
        )
    assert by_seed(tables, found, "ece") == {}


def test_a_gap_that_distillation_closes_is_told_with_its_interval(tmp_path):
    for name, right in (("deep", 0.95), ("constrained", 0.55), ("distilled", 0.80)):
        for seed in range(3):
            predicted(tmp_path, name, seed, right, images=400)
    (lines,) = answers(read(tmp_path)).values()
    told = [line for line in lines if line.startswith("Distillation closes")]
    assert len(told) == 2
    assert "of the accuracy gap between constrained and deep (3 seeds and 400 test images)." in told[0]
    share, low, high = (float(word.strip("[],%")) for word in told[0].replace("−", "-").split()[2:6] if word != "%")
    assert low < share < high
    assert 40 < share < 80
    low_acc = next(line for line in lines if line.startswith("Constrained is"))
    assert low_acc.endswith("less accurate than deep, beyond the noise of 3 seeds and 400 test images.")


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"deep": [96, 97, 95], "constrained": [96, 96, 97]}, "There is no gap to close: the accuracy gap"),
        ({"deep": [90, 90.1, 90.2], "constrained": [95, 95.1, 95.3]}, "constrained is the better one"),
        ({"deep": [96, 97], "constrained": [90, 91]}, "distillation closes: not enough seeds (need 3, have 2)"),
    ],
)
def test_what_cannot_be_closed_is_not_said_to_be(numbers, words, tmp_path):
    numbers["distilled"] = [94.0, 95.2, 94.1][: len(numbers["deep"])]
    for name, values in numbers.items():
        for seed, accuracy in enumerate(values):
            write(
                tmp_path, "trials", f"{name}{seed}", [trial(f"{name}{seed}", name, seed, test_accuracy=float(accuracy))]
            )
    (lines,) = answers(read(tmp_path)).values()
    assert any(words in line for line in lines)
    assert not any(line.startswith("Distillation closes") for line in lines)


def test_equivalents_agree_with_basin():
    from basin.metrics.equivalent import deep_ensemble_equivalent

    points = {1: -0.5, 2: -0.4, 3: -0.42, 8: -0.3}
    for value in (-0.6, -0.5, -0.45, -0.4, -0.41, -0.35, -0.3, -0.1):
        expected = deep_ensemble_equivalent(value, points)
        assert equivalent(value, points) == pytest.approx((expected.least, expected.most))
        assert in_text(equivalent(value, points)) == str(expected)
    assert in_text(None) is None


def test_a_curve_needs_two_sizes_of_the_same_recipe(tmp_path):
    def deep(members, epochs, value):
        key = f"{members}-{epochs}"
        return trial(key, members=members, epochs=epochs, test_calibrated_log_likelihood=value)

    for row in (deep(1, 30, -0.5), deep(4, 30, -0.3), deep(8, 60, -0.1)):
        write_real(tmp_path, "trials", row["key"], [row])
    tables = read(tmp_path)
    by_size = {c.hyperparameters["members"]: c for c in configurations(tables)}
    assert curve(tables, by_size[1]) == {1: -0.5, 4: -0.3}
    with pytest.raises(Missing, match="deep ensembles of two sizes or more are needed as a measure, found 1"):
        curve(tables, by_size[8])
