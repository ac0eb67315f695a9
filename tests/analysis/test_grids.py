"""Golden data of the tables that lay trials out on axes: numbers known by hand."""

import numpy as np
import pytest

from analysis.data.queries import read_tables
from analysis.errors import Missing
from analysis.tables import alignment, constraint_strength, cost, diversity, temperature_weight
from tests.support.synthetic_outcomes import outcomes
from tests.support.synthetic_results import trial, write, write_real


def store(folder, *rows):
    for row in rows:
        write(folder, "trials", row["key"], [row])
    return read_tables(folder)


def constrained(t, beta, accuracy, barrier=0.0, seed=0):
    numbers = {"test_barrier_reset": barrier, "test_accuracy": accuracy, "val_accuracy": accuracy}
    key = f"c-{t}-{beta}-{seed}"
    return trial(key, "constrained", seed, t=t, beta=beta, test_q_bar_reset=0.0 - barrier / 2, members=4, **numbers)


def judged(folder, *rows, apart=()):
    """The trials with outcomes: in one basin, but for the keys `apart`."""
    rng = np.random.default_rng(1)
    for row in rows:
        name = "deep" if row["key"] in apart else "constrained"
        write_real(folder, "outcomes", row["key"], outcomes(row["key"], name, rng))
    return store(folder, *rows)


def test_constraint_strength_has_times_with_three_strengths_and_the_best_in_one_basin_in_bold(tmp_path):
    grid = [constrained(t, beta, 90 + beta - t) for t in (0.0, 0.5) for beta in (0.0, 1.0)]
    apart = [constrained(t, 3.0, 99.0, barrier=5.0) for t in (0.0, 0.5)]
    rows = [*grid, *apart, constrained(0.0, 1.0, 93.0, seed=1), constrained(0.9, 1.0, 90.0)]
    tables = judged(tmp_path, *rows, apart=[row["key"] for row in apart])
    sheet = constraint_strength.build(tables)
    assert [[cell.value for cell in row[2:5]] for row in sheet.rows] == [
        ["0", "0", 1], ["0", "1", 2], ["0", "3", 1], ["0.5", "0", 1], ["0.5", "1", 1], ["0.5", "3", 1],
    ]  # fmt: skip
    assert [row[5].value.mean for row in sheet.rows] == [90, 92, 99, 89.5, 90.5, 99]
    assert [row[5].bold for row in sheet.rows] == [False, True, False, False, True, False]
    assert [row[-2].value for row in sheet.rows] == ["yes", "yes", "no"] * 2
    assert [row[-1].value for row in sheet.rows] == ["yes", "yes", "no"] * 2  # by loss
    assert sheet.csv().startswith("dataset,model,t,β,seeds,accuracy,accuracy_half,member_mean_accuracy,")
    assert constraint_strength.table_times(tables, ("digits", "resnet8")) == [0.0, 0.5]
    assert constraint_strength.table_times(tables, ("digits", "vit")) == []
    with pytest.raises(Missing, match="no time parameter has 3 constraint strengths"):
        constraint_strength.build(store(tmp_path / "1", *grid[:4]))


def test_nothing_is_bold_where_nothing_was_judged(tmp_path):
    rows = [constrained(0.0, beta, 90.0 + beta) for beta in (0.0, 1.0, 3.0)]
    rows += [constrained(0.5, beta, 90.0 + beta) for beta in (0.0, 1.0, 3.0)]
    sheet = constraint_strength.build(store(tmp_path, *rows))
    assert {cell.value for row in sheet.rows for cell in row[-2:]} == {"not measured"}
    assert not any(cell.bold for row in sheet.rows for cell in row)


def test_temperature_and_weight_make_a_grid(tmp_path):
    rows = [
        trial(f"{tau}-{w}", "distilled", temperature=tau, weight=w, members=4, test_accuracy=90 + tau + w)
        for tau in (1.0, 4.0)
        for w in (0.5, 1.0)
    ]
    sheet = temperature_weight.build(judged(tmp_path, *rows, apart=["4.0-1.0"]))
    assert [[cell.value.mean for cell in row[3:]] for row in sheet.rows] == [[91.5, 92.0], [94.5, 95.0]]
    assert [row[2].value for row in sheet.rows] == ["1", "4"]
    assert sheet.csv().startswith("dataset,model,τ,weight_0.5,weight_0.5_half,weight_1,weight_1_half\n")
    assert sheet.markdown().count("**94.50 ± ") == 1  # 95 is not in one basin
    with pytest.raises(Missing, match="no grid of distillation temperature and weight"):
        temperature_weight.build(store(tmp_path / "1", *rows[:2]))


def test_alignment_by_width_method_and_policy(tmp_path):
    def row(construction, width, seed, q_bar, **own):
        numbers = {"test_q_bar_reset": q_bar, "test_barrier_reset": -2 * q_bar, "test_q_bar_interp": 2 * q_bar}
        return trial(f"{construction}{width}{own}{seed}", construction, seed, width=width, members=2, **own, **numbers)

    rows = [row("deep", 1.0, s, -40.0 - 2 * s) for s in (0, 1)] + [row("permuted", 1.0, 0, -20.0, matching="weights")]
    rows += [row("permuted", 2.0, 0, -10.0, matching="activations"), row("deep", 4.0, 0, -50.0)]
    sheet = alignment.build(store(tmp_path, *rows))
    assert sheet.csv() == (
        "dataset,model,width,method,seeds,q_bar_reset,q_bar_reset_half,barrier_reset,barrier_reset_half,"
        "q_bar_interp,q_bar_interp_half,barrier_interp\n"
        "digits,resnet8,1,as they are,2,-41,12.7062,82,25.4124,-82,25.4124,\n"
        "digits,resnet8,1,weights,1,-20,,40,,-40,,\n"
        "digits,resnet8,2,activations,1,-10,,20,,-20,,\n"
        "digits,resnet8,4,as they are,1,-50,,100,,-100,,\n"
    )
    with pytest.raises(Missing, match="no finished permuted trial"):
        alignment.build(store(tmp_path / "1", rows[0]))


def test_diversity_and_cost(tmp_path):
    rows = [
        trial("d", test_disagreement=6.0, test_jensen_gap=0.1, passes=400, seconds=2.0, stage_seconds=9.0, members=4),
        trial(
            "e",
            seed=1,
            test_disagreement=8.0,
            test_jensen_gap=0.1,
            passes=400,
            seconds=4.0,
            stage_seconds=9.0,
            members=4,
        ),
    ]
    tables = store(tmp_path, *rows)
    assert diversity.build(tables).csv().splitlines()[1] == "digits,resnet8,deep,2,7,12.7062,,,,,0.1,0"
    assert cost.build(tables).csv().splitlines()[1] == "digits,resnet8,deep,2,4,400,3,2,4,12,11,13"
    older = store(tmp_path / "older", trial("d", passes=400, seconds=2.0, members=4))
    assert cost.build(older).csv().splitlines()[1] == "digits,resnet8,deep,1,4,400,2,"
    with pytest.raises(Missing, match="no finished trial has passes or seconds"):
        cost.build(store(tmp_path / "1", trial("a")))
    with pytest.raises(Missing, match="no finished trial has any of disagreement, "):
        diversity.build(store(tmp_path / "1", trial("a")))
