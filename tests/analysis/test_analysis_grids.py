"""Golden data of every table and figure that lays trials out on axes: numbers known by hand."""

import pytest
from synthetic_results import trial, write

from analysis.errors import Missing
from analysis.figures import gap, quality_cost, time_parameter, tradeoff
from analysis.figures import planes as planes_figure
from analysis.figures import reliability as reliability_figure
from analysis.queries import read
from analysis.tables import alignment, constraint_strength, cost, diversity, temperature_weight


def store(folder, *rows):
    for row in rows:
        write(folder, "trials", row["key"], [row])
    return read(folder)


def constrained(t, beta, accuracy, barrier=0.0, seed=0):
    numbers = {"val_barrier_reset": barrier, "test_accuracy": accuracy, "val_accuracy": accuracy}
    key = f"c-{t}-{beta}-{seed}"
    return trial(key, "constrained", seed, t=t, beta=beta, test_q_bar_reset=0.0 - barrier / 2, members=2, **numbers)


def distilled(first, second, accuracy, q_bar=0.0):
    axes = dict(zip(("beta", "temperature"), (first, second), strict=True))
    numbers = {
        f"{split}_{name}": v
        for split in ("val", "test")
        for name, v in (("accuracy", accuracy), ("q_bar_reset", q_bar))
    }
    return trial(f"d-{first}-{second}", "distilled", weight=0.9, t=0.1, **axes, **numbers)


def test_constraint_strength_has_times_with_three_strengths_and_the_best_connected_in_bold(tmp_path):
    grid = [constrained(t, beta, 90 + beta - t) for t in (0.0, 0.5) for beta in (0.0, 1.0)]
    grid += [constrained(t, 3.0, 99.0, barrier=5.0) for t in (0.0, 0.5)] + [constrained(0.0, 1.0, 93.0, seed=1)]
    tables = store(tmp_path, *grid, constrained(0.9, 1.0, 90.0))
    sheet = constraint_strength.build(tables)
    assert sheet.csv() == (
        "dataset,model,t,β,seeds,accuracy,accuracy_half,member_mean_accuracy,nll,q_bar,q_bar_half\n"
        "digits,resnet8,0,0,1,90,,,,0,\ndigits,resnet8,0,1,2,92,12.7062,,,0,0\ndigits,resnet8,0,3,1,99,,,,-2.5,\n"
        "digits,resnet8,0.5,0,1,89.5,,,,0,\ndigits,resnet8,0.5,1,1,90.5,,,,0,\ndigits,resnet8,0.5,3,1,99,,,,-2.5,\n"
    )
    assert sheet.markdown().count("**") == 4
    assert "**92.00 ± 12.71**" in sheet.markdown()
    assert "**90.50**" in sheet.markdown()
    assert constraint_strength.times(tables, ("digits", "resnet8")) == [0.0, 0.5]
    assert constraint_strength.times(tables, ("digits", "vit")) == []
    with pytest.raises(Missing, match="no time parameter has 3 constraint strengths"):
        constraint_strength.build(store(tmp_path / "1", *grid[:4]))


def test_temperature_and_weight_make_a_grid(tmp_path):
    rows = [
        trial(f"{tau}-{w}", "distilled", temperature=tau, weight=w, test_accuracy=90 + tau + w, val_barrier_reset=0.0)
        for tau in (1.0, 4.0)
        for w in (0.5, 1.0)
    ]
    sheet = temperature_weight.build(store(tmp_path, *rows))
    assert sheet.csv() == (
        "dataset,model,τ,weight_0.5,weight_0.5_half,weight_1,weight_1_half\n"
        "digits,resnet8,1,91.5,,92,\ndigits,resnet8,4,94.5,,95,\n"
    )
    assert sheet.markdown().count("**95.00**") == 1
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
        trial("d", test_disagreement=6.0, test_jensen_gap=0.1, passes=400, seconds=2.0, members=4),
        trial("e", seed=1, test_disagreement=8.0, test_jensen_gap=0.1, passes=400, seconds=4.0, members=4),
    ]
    tables = store(tmp_path, *rows)
    assert diversity.build(tables).csv().splitlines()[1] == "digits,resnet8,deep,2,7,12.7062,,,,,0.1,0"
    assert cost.build(tables).csv().splitlines()[1] == "digits,resnet8,deep,2,4,,400,,,3,12.7062"
    with pytest.raises(Missing, match="no finished trial has passes or seconds"):
        cost.build(store(tmp_path / "1", trial("a")))
    with pytest.raises(Missing, match="no finished trial has any of disagreement, "):
        diversity.build(store(tmp_path / "1", trial("a")))


def test_time_parameter_draws_each_strength_and_its_own_deep_ensemble(tmp_path):
    more = {"test_nll": 0.2, "test_member_mean_accuracy": 90.0}
    rows = [constrained(t, beta, 90 + beta + t) | more for t in (0.0, 0.5, 1.0) for beta in (0.0, 1.0)]
    deep = [trial("deep", members=2, test_accuracy=95.0), trial("big", members=8, test_accuracy=99.0)]
    shown = time_parameter.draw(store(tmp_path, *rows, *deep)).data["digits/resnet8"]
    assert shown["accuracy"]["1"] == {"t": [0.0, 0.5, 1.0], "mean": [91.0, 91.5, 92.0], "half": [0.0, 0.0, 0.0]}
    assert shown["accuracy"]["deep"] == 95.0
    with pytest.raises(Missing, match="no constraint strength has three values of t"):
        time_parameter.draw(store(tmp_path / "1", *rows[:4]))


def test_tradeoff_frames_the_front_by_validation(tmp_path):
    points = {(0.0, 1.0): (95, -5), (0.0, 2.0): (90, -6), (1.0, 1.0): (93, 0), (1.0, 2.0): (80, 0.1)}
    rows = [distilled(*at, float(accuracy), float(q_bar)) for at, (accuracy, q_bar) in points.items()]
    shown = tradeoff.draw(store(tmp_path, *rows)).data["digits/resnet8"]
    assert shown["front"] == [["d-0.0-1.0"], ["d-1.0-1.0"], ["d-1.0-2.0"]]
    assert dict(zip(zip(shown["beta"], shown["temperature"], strict=True), shown["accuracy"], strict=True)) == {
        at: accuracy for at, (accuracy, _) in points.items()
    }
    with pytest.raises(Missing, match="no distilled trials that differ in β and τ"):
        tradeoff.draw(store(tmp_path / "1", rows[0]))


def test_tradeoff_of_a_search_is_a_cloud(tmp_path):
    rows = [distilled(0.01 * 3**n, 0.5 + n, 90.0 + n, -float(n)) for n in range(4)]
    shown = tradeoff.draw(store(tmp_path, *rows)).data["digits/resnet8"]
    assert shown["accuracy"] == [90.0, 91.0, 92.0, 93.0]
    assert len(shown["front"]) == 4


def test_gap_is_split_exactly(tmp_path):
    numbers = {"deep": (0.30, 0.10), "constrained": (0.34, 0.05)}
    rows = [
        trial(name, name, test_member_mean_nll=nll, test_jensen_gap=less, test_nll=nll - less)
        for name, (nll, less) in numbers.items()
    ]
    parts = gap.draw(store(tmp_path, *rows)).data["digits/resnet8"]["constrained"]
    assert [parts[name][0] for name in ("members", "diversity", "sum")] == pytest.approx([0.04, 0.05, 0.09])
    with pytest.raises(Missing, match="no construction shares a seed with a deep ensemble"):
        gap.draw(store(tmp_path / "1", rows[0]))


def test_cost_counts_teachers_apart(tmp_path):
    costs = {"passes": 100, "teacher_passes": 60, "teacher_forwards": 30, "seconds": 5.0}
    rows = [trial("a", "distilled", test_accuracy=90.0, **costs)]
    shown = quality_cost.draw(store(tmp_path, *rows)).data["digits/resnet8"]
    assert shown["passes"]["distilled"] == {"cost": 100.0, "with_teachers": 170.0, "accuracy": 90.0, "half": None}
    assert shown["seconds"]["distilled"]["cost"] == 5.0
    with pytest.raises(Missing, match="no finished trial has passes and accuracy on the test split"):
        quality_cost.draw(store(tmp_path / "1", trial("a")))


def test_reliability_pools_images_over_seeds(tmp_path):
    for seed, (count, accuracy) in enumerate(((10, 50.0), (30, 90.0))):
        write(tmp_path, "trials", f"k{seed}", [trial(f"k{seed}", seed=seed)])
        bins = [(0, count, 70.0, accuracy), (1, 0, None, None)]
        rows = [
            {"key": f"k{seed}", "split": "test", "binning": "width", "bin": b, "lo": 50.0 * b, "hi": 50.0 * b + 50}
            | {"count": n, "confidence": c, "accuracy": a}
            for b, n, c, a in bins
        ]
        write(tmp_path, "reliability", f"k{seed}", rows)
    shown = reliability_figure.draw(read(tmp_path)).data["digits/resnet8/deep"]
    assert shown == {"lo": [0.0], "hi": [50.0], "count": [40.0], "confidence": [70.0], "accuracy": [80.0]}
    with pytest.raises(Missing, match="no trial has a reliability table on the test split"):
        reliability_figure.draw(store(tmp_path / "1", trial("a")))


def test_a_plane_is_a_grid_by_rows_of_y(tmp_path):
    point = {"key": "a", "split": "test", "policy": "reset", "residual": 0.0}
    rows = [
        point | {"vertex": None, "x": x, "y": y, "accuracy": 10 * y + x, "loss": 1.0 + x}
        for x in (0.0, 2.0)
        for y in (0.0, 1.0)
    ]
    rows.append(point | {"vertex": 0, "x": 0.0, "y": 0.0, "accuracy": 0.0, "loss": 1.0})
    write(tmp_path, "trials", "a", [trial("a", members=1)])
    write(tmp_path, "planes", "a", rows)
    shown = planes_figure.draw(read(tmp_path)).data["digits/resnet8/deep"]
    assert (shown["x"], shown["y"]) == ([0.0, 2.0], [0.0, 1.0])
    assert shown["accuracy"] == [[0.0, 2.0], [10.0, 12.0]]
    with pytest.raises(Missing, match="no trial has a plane on the val split"):
        planes_figure.draw(read(tmp_path, "val"))
