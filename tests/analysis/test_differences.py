"""Differences over seeds and images: from outcomes, from kept predictions, and from the rows alone."""

import re

import numpy as np
import pytest
from scipy import stats

from analysis.answers.differences import paired_difference, paired_samples, share_closed
from analysis.answers.headline import answer_questions
from analysis.data.predictions import by_seed
from analysis.data.queries import configurations, read_tables
from stats import intervals
from tests.support.synthetic_results import trial, write, write_real

RNG = np.random.default_rng


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


def test_per_image_values_of_predictions_agree_with_the_metrics_of_the_trial(tmp_path):
    scores = [predicted(tmp_path, "deep", seed, 0.8) for seed in range(2)]
    tables = read_tables(tmp_path)
    (found,) = configurations(tables)
    for metric in ("accuracy", "nll"):
        per_image = by_seed(tables, found.rows, metric)
        assert {seed: v.mean() for seed, v in per_image.items()} == pytest.approx(
            {seed: score[f"test_{metric}"] for seed, score in enumerate(scores)}, abs=1e-9
        )
    assert by_seed(tables, found.rows, "ece") == {}


def test_outcomes_are_paired_by_seed_and_image(full_tables):
    by_name = {c.construction: c for c in configurations(full_tables) if len(c.rows) == 3}
    x, y = by_name["constrained"], by_name["deep"]
    own, other = paired_samples(full_tables, [x, y], ["nll", "member_mean_nll"])
    assert own.shape == other.shape == (3, 400)
    found = paired_difference(full_tables, x, y, "nll", "member_mean_nll")
    expected = intervals.estimate(own - other)
    assert (found.mean, found.half, found.images) == (expected.mean, expected.half, 400)
    columns = [x.by_seed("test_nll"), y.by_seed("test_member_mean_nll")]
    assert found.mean == pytest.approx(np.mean([columns[0][s] - columns[1][s] for s in range(3)]), abs=1e-3)


def test_without_images_differences_are_over_the_common_seeds(tmp_path):
    numbers = {"deep": {0: 96.1, 1: 95.9, 2: 96.8, 7: 0.0}, "swe": {2: 95.6, 1: 95.5, 0: 95.8, 9: 100.0}}
    for name, values in numbers.items():
        for seed, value in values.items():
            write(tmp_path, "trials", f"{name}{seed}", [trial(f"{name}{seed}", name, seed, test_accuracy=value)])
    write(tmp_path, "trials", "other", [trial("other", "permuted", 5, test_accuracy=1.0)])
    tables = read_tables(tmp_path)
    by_name = {c.construction: c for c in configurations(tables)}
    expected = stats.ttest_rel([96.1, 95.9, 96.8], [95.8, 95.5, 95.6]).confidence_interval()
    found = paired_difference(tables, by_name["deep"], by_name["swe"], "accuracy")
    assert (found.n, found.images) == (3, 1)
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert paired_difference(tables, by_name["deep"], by_name["permuted"], "accuracy") is None
    assert paired_difference(tables, by_name["deep"], by_name["swe"], "nll") is None
    parts = {"low": by_name["deep"], "between": by_name["swe"], "high": by_name["permuted"]}
    assert share_closed(tables, **parts, metric="accuracy") is None


def test_a_gap_that_distillation_closes_is_told_with_its_interval(tmp_path):
    for name, right in (("deep", 0.95), ("constrained", 0.55), ("distilled", 0.80)):
        for seed in range(3):
            predicted(tmp_path, name, seed, right, images=400)
    (lines,) = answer_questions(read_tables(tmp_path)).values()
    told = [line for line in lines if line.startswith("Distillation closes")]
    assert len(told) == 2
    assert "of the accuracy gap between constrained and deep" in told[0]
    assert "3 seeds and 400 images" in told[0]
    share, low, high = (int(number) for number in re.findall(r"\d+", told[0].replace("95 % CI", ""))[:3])
    assert low < share < high
    assert 40 < share < 80
    price = next(line for line in lines if line.startswith("Constrained ensembles are"))
    assert "less accurate than the deep ensemble (95 % CI" in price


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"deep": [96, 97, 95], "constrained": [96, 96, 97]}, "There is no measurable gap to close: the accuracy gap"),
        ({"deep": [90, 90.1, 90.2], "constrained": [95, 95.1, 95.3]}, "constrained is better than deep"),
        ({"deep": [96, 97], "constrained": [90, 91]}, "closes: too few seeds (need 3 in common, have 2)"),
    ],
)
def test_what_cannot_be_closed_is_not_said_to_be(numbers, words, tmp_path):
    numbers["distilled"] = [94.0, 95.2, 94.1][: len(numbers["deep"])]
    for name, values in numbers.items():
        for seed, accuracy in enumerate(values):
            write(
                tmp_path, "trials", f"{name}{seed}", [trial(f"{name}{seed}", name, seed, test_accuracy=float(accuracy))]
            )
    (lines,) = answer_questions(read_tables(tmp_path)).values()
    assert any(words in line for line in lines)
    assert not any(line.startswith("Distillation closes") for line in lines)
