"""Questions about grids, models, BatchNorm policies, costs and power, on sweeps made for each."""

import re

import numpy as np
import pytest

from analysis.answers.power import power_sentence, power_table
from analysis.data.queries import best_by_construction, read_tables
from analysis.published.questions import architectures, distillation, permutations, policies, trunk
from analysis.published.spending import spend
from analysis.published.sweeps import Sweep
from tests.support import synthetic_results


def sweep_of(folder, points, *, seeds=3, name="grid", details=True, **columns) -> Sweep:
    """A sweep of grid points: construction and its own columns, on so many seeds."""
    rng = np.random.default_rng(3)
    for number, (construction, own) in enumerate(points):
        role = "reference" if construction == "deep" else "grid"
        for seed in range(seeds):
            made = {"role": role, "seed": seed, "data_hash": "da7a", **columns, **own}
            synthetic_results.finished(folder, f"{name}{number}-{seed}", construction, rng, details=details, **made)
    return Sweep(name, read_tables(folder))


def test_branches_are_in_one_basin_from_some_t_on(tmp_path):
    """Below it the branches dip as independent networks do."""
    made = [("constrained", {"t": t, "beta": 1.0}) for t in (0.1, 0.3)]
    sweep = sweep_of(tmp_path, made)
    early = sweep.tables.load("outcomes", ["grid0-0"])
    assert early.num_rows
    (text,) = trunk.answer([sweep])
    assert re.search(
        r"β = 1, constraint path: in one basin from t = 0.1 on \(t = 0.1 yes and t = 0.3 yes; 3 seeds\)", text
    )


def test_distillation_is_a_table_by_temperature_and_strength(tmp_path):
    points = [("deep", {}), ("constrained", {})]
    points += [("distilled", {"temperature": tau, "beta": beta}) for tau in (1.0, 4.0) for beta in (0.3, 3.0)]
    sentences, table = distillation.answer([sweep_of(tmp_path, points)])
    assert re.search(r"At τ = [14], λ = 0.9, β = (0.3|3), t = 0.1: ", sentences)
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in table.splitlines()[2:6]]
    assert rows == [["1", "0.3"], ["1", "3"], ["4", "0.3"], ["4", "3"]]


def test_permutations_by_width_and_policy(tmp_path):
    points = [(name, {"width": width}) for width in (1.0, 2.0) for name in ("deep", "permuted")]
    sentences, table = permutations.answer([sweep_of(tmp_path, points)])
    for width in (1, 2):
        (line,) = (one for one in sentences.splitlines() if f"width ×{width}, aligned by activations:" in one)
        for policy in ("reset", "interp"):
            assert re.search(rf"the largest barrier of permuted is [\d.]+ points \({policy}\) lower", line)
        assert line.endswith("; in one basin: no.")
    assert "barrier interp (points)" in table


def test_models_are_compared_on_the_same_images_and_budget(tmp_path):
    points = [("deep", {}), ("constrained", {})]
    first = sweep_of(tmp_path / "first", points, name="a", model="resnet8")
    second = sweep_of(tmp_path / "second", points, name="b", model="vit")
    (text,) = architectures.answer([first, second])
    assert "constrained − deep of resnet8 (accuracy)" in text
    assert text.count("that of vit") == 2
    apart = sweep_of(tmp_path / "third", points, name="c", model="vit", train_size=77)
    assert architectures.answer([first, apart]) == []


def test_policies_that_disagree_are_named(tmp_path):
    sweep = sweep_of(tmp_path, [("deep", {}), ("constrained", {})])
    (text,) = policies.answer([sweep])
    deep = next(line for line in text.splitlines() if ", deep" in line)
    assert "above the margin of 2 under every policy" in deep
    assert "Verdict (policy reset): no." in deep


def test_stages_are_paid_once_a_seed_and_by_every_trial_of_the_naive_loop(tmp_path):
    """Hand-made rows: two trials share four members of 30 s and 400 passes, a third needs half of the first."""
    shared = {"role": "grid", "seed": 1, "batch_size": 10, "teacher_passes": 0, "epochs": 5}
    costs = [(400, 400, 120.0, 3.0), (900, 400, 120.0, 60.0), (150, 50, 15.0, 21.0)]
    for number, (passes, stages, stage_seconds, seconds) in enumerate(costs):
        own = {"passes": passes, "stage_passes": stages, "stage_seconds": stage_seconds, "seconds": seconds}
        row = synthetic_results.trial(f"k{number}", "deep", **{**shared, **own, "t": 0.1 * number})
        synthetic_results.write_real(tmp_path, "trials", f"k{number}", [row])
    cost = spend(read_tables(tmp_path))
    assert cost.trials == 3
    assert cost.hours == pytest.approx((84 + 120) / 3600)
    assert cost.naive_hours == pytest.approx((84 + 255) / 3600)
    assert cost.images == 10 * (0 + 500 + 100 + 400)
    assert cost.naive_images == 10 * (400 + 900 + 150)


def test_power_says_how_many_seeds_it_would_take(tmp_path):
    sweep = sweep_of(tmp_path, [("deep", {}), ("constrained", {})])
    chosen = best_by_construction(sweep.tables)["digits", "resnet8"]
    words = power_sentence(sweep.tables, chosen["constrained"], chosen["deep"], "accuracy")
    assert words == "" or re.search(r"1.00 points? (would take|with)", words)
    same = power_sentence(sweep.tables, chosen["deep"], chosen["deep"], "accuracy")
    assert same == "These 3 seeds would show a difference of 1.00 points with > 99 % power."
    table = power_table(sweep.tables, 1.0)
    assert len(table.rows) == 10
    halves = [float(row[5].value) for row in table.rows[:5]]
    assert halves == sorted(halves, reverse=True)
