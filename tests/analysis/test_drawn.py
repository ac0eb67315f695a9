"""What every figure draws, from a few trials whose numbers are known by hand: its data, and the marks on its axes.

The half interval of two seeds is t(0.975, 1) · |x1 − x0| / 2 = 12.7062 · |x1 − x0| / 2.
"""

import numpy as np
import pytest

from analysis.data.queries import read_tables
from analysis.errors import Missing
from analysis.figures import (
    connectivity_accuracy,
    constraint_effect,
    counterparts,
    diversity_connectivity,
    gap,
    importance,
    members_curve,
    paths,
    planes,
    quality_cost,
    reliability,
    time_parameter,
    tradeoff,
)
from analysis.output import registry
from stats.equivalent import equivalent_interval
from stats.intervals import estimate
from tests.support.synthetic_outcomes import outcomes
from tests.support.synthetic_results import trial, write, write_real

PLACE = "digits/resnet8"
T1 = 12.7062


def store(folder, *rows, **more):
    """The trials' rows, and the rows of other tables (`paths=[…]`), each in the file of its key."""
    for row in rows:
        write(folder, "trials", row["key"], [row])
    for table, lines in more.items():
        for key in dict.fromkeys(line["key"] for line in lines):
            write(folder, table, key, [line for line in lines if line["key"] == key])
    return read_tables(folder)


def points(ax):
    """Every point of the scatter plots, in the order of drawing."""
    return [tuple(map(float, at)) for drawn in ax.collections for at in np.ma.getdata(drawn.get_offsets())]


def lines(ax):
    """Coordinates of the lines that are not straight across the panel."""
    found = [np.column_stack(line.get_data()).tolist() for line in ax.lines]
    return [[tuple(map(float, at)) for at in line] for line in found]


def bars(ax):
    """Start and length of each horizontal bar."""
    return [(float(bar.get_x()), float(bar.get_width())) for bar in ax.patches]


def test_every_figure_has_its_numbers_checked_here():
    tests = [name for name in globals() if name.startswith("test_")]
    for entry in registry.figure_entries():
        assert any(name.startswith(f"test_{entry.name}_") for name in tests), f"no test_{entry.name}_… in {__file__}"


def test_connectivity_accuracy_chooses_the_front_on_validation(tmp_path):
    # val accuracy, val q_bar, test accuracy, test q_bar: `b` wins on test alone, `d` fails far below the others.
    numbers = {"a": (95, -1, 94, -1), "b": (90, -9, 99, 0), "c": (93, 0, 93, -0.5), "d": (20, -2, 20, -2)}
    numbers |= {"e": (92, -3, 92, -3), "f": (91, -3, 91, -3)}
    names = ("val_accuracy", "val_q_bar_reset", "test_accuracy", "test_q_bar_reset")
    rows = [
        trial(key, "constrained", role="search", beta=float(n), **dict(zip(names, map(float, values), strict=True)))
        for n, (key, values) in enumerate(numbers.items())
    ]
    for seed, (accuracy, member, q_bar) in enumerate(((96.0, 94.0, -60.0), (97.0, 95.0, -61.0))):
        scores = {"test_accuracy": accuracy, "test_member_mean_accuracy": member, "test_q_bar_reset": q_bar}
        rows.append(trial(f"deep{seed}", seed=seed, **scores))
    drawn = connectivity_accuracy.draw(store(tmp_path, *rows))
    assert drawn.data[PLACE] == {
        "keys": [[key] for key in "abcdef"],
        "construction": ["constrained"] * 6,
        "test_q_bar_reset": [-1, 0, -0.5, -2, -3, -3],
        "test_accuracy": [94, 99, 93, 20, 92, 91],
        "front": [["a"], ["c"]],
        "deep": {"accuracy": 96.5, "member_mean_accuracy": 94.5, "q_bar": -60.5},
    }
    assert drawn.keys == [*"abcdef", "deep0", "deep1"]
    (ax,) = drawn.figure.axes
    ringed = [(-1, 94), (-0.5, 93)]
    assert points(ax) == [(-1, 94), (0, 99), (-0.5, 93), (-3, 92), (-3, 91), *ringed]  # `d` is only counted
    assert [(-1.0, 94.0), (-0.5, 93.0)] in lines(ax)
    assert {line[0][1] for line in lines(ax) if line[0][1] == line[-1][1]} == {96.5, 94.5}
    assert "1 configuration below the frame, down to 20 %" in [text.get_text() for text in ax.texts]


def test_constraint_effect_draws_each_constraint_against_its_strength(tmp_path):
    def row(kind, beta, seed=0, **more):
        numbers = {"test_disagreement": 10 - beta, "test_barrier_reset": 30 - 10 * beta + 2 * seed}
        numbers |= {"test_loss_barrier_reset": 0.5 - 0.2 * beta, "test_member_mean_accuracy": 94.0} | more
        return trial(f"{kind}{beta}{seed}", "constrained", seed, constraint=kind, beta=beta, t=0.0, **numbers)

    rows = [row("path", beta, seed) for beta in (0.0, 1.0, 2.0) for seed in (0, 1)]
    rows += [row("simplex", beta) for beta in (0.0, 0.5, 2.0)] + [row("star", beta) for beta in (0.0, 1.0)]
    drawn = constraint_effect.draw(store(tmp_path, *rows))
    shown = drawn.data[PLACE]
    assert list(shown) == ["disagreement", "barrier", "loss_barrier", "member_mean_accuracy"]
    assert list(shown["barrier"]) == ["path", "simplex"]  # two strengths are no curve
    assert shown["barrier"]["path"]["beta"] == [0.0, 1.0, 2.0]
    assert shown["barrier"]["path"]["mean"] == [31.0, 21.0, 11.0]
    assert shown["barrier"]["path"]["half"] == pytest.approx([T1, T1, T1], rel=1e-4)
    assert shown["loss_barrier"]["simplex"]["beta"] == [0.0, 0.5, 2.0]
    assert shown["loss_barrier"]["simplex"]["mean"] == pytest.approx([0.5, 0.4, 0.1])
    disagreement, barrier, *_ = drawn.figure.axes
    assert [(0, 10), (1, 9), (2, 8)] in lines(disagreement)
    assert barrier.get_xscale() == "symlog"
    distant = [row("path", beta, member_distance=9 - beta) for beta in (0.0, 1.0, 2.0)]
    shown = constraint_effect.draw(store(tmp_path / "1", *distant)).data[PLACE]
    assert shown["member_distance"]["path"]["mean"] == [9.0, 8.0, 7.0]
    with pytest.raises(Missing, match="no constraint has 3 values of β"):
        constraint_effect.draw(store(tmp_path / "2", *distant[:2]))


def test_members_curve_draws_subsets_of_members_and_leads_to_the_equivalent(tmp_path):
    rng, kept = np.random.default_rng(2), {}
    for name in ("deep", "constrained"):
        for seed in range(3):
            key = f"{name}{seed}"
            kept[key] = outcomes(key, name, rng)
            write_real(tmp_path, "outcomes", key, kept[key])
            write(tmp_path, "trials", key, [trial(key, name, seed, members=4, test_accuracy=90.0)])
    tables = read_tables(tmp_path)
    drawn = members_curve.draw(tables)
    shown = drawn.data[PLACE]
    sizes = {
        name: [
            np.array([r["calibrated_nll"].astype(float) for key in (f"{name}{s}" for s in range(3)) for r in kept[key]
                      if (r["split"], r["kind"], r["size"] if r["kind"] == "size" else 0) == ("test", "size", m)])
            for m in (1, 2, 3, 4)
        ]
        for name in ("deep", "constrained")
    }  # fmt: skip
    for name, values in sizes.items():
        found = shown["calibrated_log_likelihood"][name]
        assert found["members"] == [1, 2, 3, 4]
        assert found["mean"] == pytest.approx([-own.mean() for own in values])
        assert found["half"] == pytest.approx([estimate(own).half for own in values])
    curve = {m: -own for m, own in enumerate(sizes["deep"], start=1)}
    expected = equivalent_interval(-sizes["constrained"][3], curve)
    assert shown["dee"] == {"constrained": f"{expected} ({expected.ends[0]} to {expected.ends[1]})"}
    assert drawn.keys == ["deep0", "deep1", "deep2", "constrained0", "constrained1", "constrained2"]
    with pytest.raises(Missing, match="no trial has outcomes of subsets of its members on the test split"):
        members_curve.draw(store(tmp_path / "1", trial("a")))


def test_counterparts_leads_each_member_to_its_own(tmp_path):
    point = {"key": "a", "split": "test", "policy": "reset", "residual": 0.0}
    rows = [
        point | {"vertex": None, "x": x, "y": y, "accuracy": 90.0, "loss": 1.0 + x + y}
        for x in (0.0, 4.0)
        for y in (0.0, 3.0)
    ]
    # Two members as they are (0, 1), then as they were (2, 3).
    for vertex, (x, y, off) in enumerate(((0.0, 0.0, 0.0), (2.0, 0.0, 0.5), (0.0, 0.0, 0.0), (1.0, 3.0, 0.0))):
        rows.append(point | {"vertex": vertex, "x": x, "y": y, "residual": off, "accuracy": 80.0 + vertex, "loss": 1.0})
    tables = store(tmp_path, trial("a", "permuted", members=2), planes=rows)
    drawn = counterparts.draw(tables)
    shown = drawn.data["digits · resnet8: permuted"]
    assert [(v["vertex"], v["x"], v["y"], v["residual"], v["accuracy"]) for v in shown] == [
        (0, 0, 0, 0, 80), (2, 0, 0, 0, 82), (1, 2, 0, 0.5, 81), (3, 1, 3, 0, 83),
    ]  # fmt: skip
    arrows = [(text.xyann, text.xy) for text in drawn.figure.axes[0].texts if text.arrow_patch is not None]
    assert arrows == [((1.0, 3.0), (2.0, 0.0))]
    assert drawn.keys == ["a"]
    with pytest.raises(Missing, match="no plane on the test split holds members and their counterparts"):
        counterparts.draw(store(tmp_path / "1", trial("a", "permuted", members=4), planes=rows))


def test_diversity_connectivity_has_every_trial_with_both(tmp_path, monkeypatch):
    def row(key, q_bar, ratio, name="swe"):
        return trial(key, name, test_q_bar_reset=q_bar, test_normalised_disagreement=ratio)

    rows = [row("a", -1.0, 0.5), row("b", -2.0, 0.6), row("c", -3.0, 0.7), row("d", -60.0, 1.5, "deep")]
    tables = store(tmp_path, *rows, row("perfect", 0.0, None))
    drawn = diversity_connectivity.draw(tables)
    columns = ("key", "test_q_bar_reset", "test_normalised_disagreement")
    assert drawn.data[PLACE] == {
        "deep": dict(zip(columns, (["d"], [-60.0], [1.5]), strict=True)),
        "swe": dict(zip(columns, (["a", "b", "c"], [-1.0, -2.0, -3.0], [0.5, 0.6, 0.7]), strict=True)),
    }
    assert points(drawn.figure.axes[0]) == [(-60, 1.5), (-1, 0.5), (-2, 0.6), (-3, 0.7)]
    monkeypatch.setattr(diversity_connectivity, "MOST", 2)
    assert diversity_connectivity.draw(tables).data[PLACE]["swe"]["key"] == ["a", "c"]


def test_gap_is_split_exactly_and_paired_by_seed(tmp_path):
    # Mean member NLL and Jensen gap of seeds 0 and 1; the deep ensemble has a third.
    numbers = {"deep": [(0.30, 0.10), (0.30, 0.10), (9.0, 5.0)], "constrained": [(0.34, 0.05), (0.36, 0.05)]}
    rows = [
        trial(f"{name}{s}", name, s, test_member_mean_nll=nll, test_jensen_gap=less, test_nll=nll - less)
        for name, values in numbers.items()
        for s, (nll, less) in enumerate(values)
    ]
    drawn = gap.draw(store(tmp_path, *rows))
    parts = drawn.data[PLACE]["constrained"]
    assert parts["members"] == pytest.approx([0.05, T1 * 0.02 / 2, 2], rel=1e-4)
    assert parts["diversity"] == pytest.approx([0.05, 0.0, 2], abs=1e-9)
    assert parts["sum"] == pytest.approx([0.10, T1 * 0.02 / 2, 2], rel=1e-4)
    assert np.array(bars(drawn.figure.axes[0])) == pytest.approx(np.array([(0.0, 0.05), (0.05, 0.05)]))
    with pytest.raises(Missing, match="no construction shares a seed with a deep ensemble"):
        gap.draw(store(tmp_path / "1", rows[0]))


def test_importance_finds_what_matters(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for n in range(40):
        axes = {"beta": float(rng.uniform()), "t": float(rng.uniform()), "alphas": n}
        score = {"val_accuracy": 90 + 5 * axes["beta"] + 0.1 * float(rng.uniform())}
        rows.append(trial(f"k{n}", "constrained", n, role="search", **axes, **score))
    drawn = importance.draw(store(tmp_path, *rows))
    shown = drawn.data["digits · resnet8: constrained, accuracy"]
    assert shown["names"] == ["beta", "t"]
    assert shown["mean"][0] > 0.8 > 0.2 > shown["mean"][1]
    assert shown["r2"] > 0.8
    accuracy, q_bar = drawn.figure.axes
    assert bars(accuracy) == [(0.0, shown["mean"][1]), (0.0, shown["mean"][0])]  # from the bottom, the largest last
    assert [label.get_text() for label in accuracy.get_yticklabels()] == ["t", "beta"]
    assert drawn.data["digits · resnet8: constrained, q_bar"] == {
        "names": ["beta", "t"], "mean": [0.0, 0.0], "deviation": [0.0, 0.0], "r2": None,
    }  # fmt: skip
    assert bars(q_bar) == [(0.0, 0.0), (0.0, 0.0)]


def test_lost_scores_are_those_of_scikit_learn():
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    rng = np.random.default_rng(0)
    values = rng.uniform(size=(30, 3))
    scores = values[:, 0] + 0.1 * values[:, 1] + 0.1 * rng.normal(size=30)
    forest = RandomForestRegressor(5, random_state=0).fit(values, scores)
    expected = permutation_importance(forest, values, scores, n_repeats=importance.SHUFFLES, random_state=0)
    assert importance.lost_scores(forest, values, scores) == pytest.approx(expected.importances, abs=1e-12)


def test_paths_are_averaged_over_pairs_and_seeds_under_the_headline_policy(tmp_path):
    curves = {("a", 0, 1): [90.0, 80.0, 94.0], ("a", 0, 2): [92.0, 88.0, 92.0], ("b", 0, 1): [94.0, 60.0, 90.0]}
    rows = [
        {"key": k, "split": split, "policy": policy, "i": i, "j": j, "alpha": alpha, "accuracy": value - less}
        for (k, i, j), values in curves.items()
        for alpha, value in zip((0.0, 0.5, 1.0), values, strict=True)
        for split, policy, less in (("test", "reset", 0), ("test", "interp", 9), ("val", "reset", 5))
    ]
    # c has a row, but no paths
    drawn = paths.draw(store(tmp_path, *(trial(key, seed=seed) for seed, key in enumerate("abc")), paths=rows))
    shown = drawn.data[PLACE]["deep"]
    assert drawn.keys == ["a", "b"]
    assert (shown["seeds"], shown["curves"], shown["alpha"]) == (2, 3, [0.0, 0.5, 1.0])
    assert shown["accuracy_mean"] == pytest.approx([92, 76, 92])
    assert shown["q_pair_mean"] == pytest.approx([0, -16, 0])
    assert shown["q_pair_deviation"] == pytest.approx([0, np.std([-12, -4, -32]), 0])
    left, right = drawn.figure.axes
    assert lines(left) == [[(0, 92), (0.5, 76), (1, 92)]]
    assert lines(right) == [[(0, 0), (0.5, -16), (1, 0)]]


def test_planes_are_grids_by_rows_of_y(tmp_path):
    point = {"key": "a", "split": "test", "policy": "reset", "residual": 0.0}
    rows = [
        point | {"vertex": None, "x": x, "y": y, "accuracy": 10 * y + x, "loss": 1.0 + x}
        for x in (0.0, 2.0)
        for y in (0.0, 1.0)
    ]
    places = ((0.0, 0.0, 0.0), (2.0, 1.0, 0.7))
    rows += [
        point | {"vertex": v, "x": x, "y": y, "residual": off, "accuracy": 0.0, "loss": 1.0}
        for v, (x, y, off) in enumerate(places)
    ]
    tables = store(tmp_path, trial("a", members=2), planes=rows)
    drawn = planes.draw(tables)
    shown = drawn.data[f"{PLACE}/deep"]
    assert (shown["x"], shown["y"]) == ([0.0, 2.0], [0.0, 1.0])
    assert shown["accuracy"] == [[0.0, 2.0], [10.0, 12.0]]
    assert shown["loss"] == [[1.0, 3.0], [1.0, 3.0]]
    assert [(v["vertex"], v["x"], v["y"], v["residual"]) for v in shown["vertices"]] == [(0, 0, 0, 0), (1, 2, 1, 0.7)]
    assert [text.get_text() for text in drawn.figure.axes[0].texts] == ["0", "1, 0.7 off"]
    beside = {v: point | {"vertex": v, "x": 2.0 * (v == 3), "y": 1.0, "accuracy": 0.0, "loss": 1.0} for v in (2, 3)}
    for name, word in (("permuted", "1 before"), ("distilled", "teacher 1")):
        whole = store(tmp_path / name, trial("a", name, members=2), planes=[*rows, *beside.values()])
        assert word in [text.get_text() for text in planes.draw(whole).figure.axes[0].texts]
    with pytest.raises(Missing, match="no trial has a plane on the val split"):
        planes.draw(read_tables(tmp_path, "val"))


def test_planes_name_vertices_at_one_place_one_above_the_other(tmp_path):
    point = {"key": "a", "split": "test", "policy": "reset", "residual": 0.0, "accuracy": 90.0}
    grid = [point | {"vertex": None, "x": x, "y": y, "loss": 1.0 + x} for x in (0.0, 2.0) for y in (0.0, 1.0)]
    places = [(0.0, 0.0), (1.0, 0.5), (1.0, 0.5), (1.0, 0.5), (2.0, 0.5)]
    rows = [point | {"vertex": v, "x": x, "y": y, "loss": 1.0} for v, (x, y) in enumerate(places)]
    drawn = planes.draw(store(tmp_path, trial("a", members=5), planes=[*grid, *rows]))
    lines = {text.get_text(): text.xyann[1] for text in drawn.figure.axes[0].texts}
    assert lines["0"] == lines["1"] == lines["4"]
    assert len({lines[name] for name in "123"}) == 3


def test_quality_cost_counts_teachers_apart(tmp_path):
    costs = {"passes": 100, "teacher_passes": 60, "teacher_forwards": 30, "seconds": 5.0}
    rows = [trial("a", "distilled", test_accuracy=90.0, **costs)]
    shown = quality_cost.draw(store(tmp_path, *rows)).data[PLACE]
    assert shown["passes"]["distilled"] == {"cost": 100.0, "with_teachers": 170.0, "accuracy": 90.0, "half": None}
    assert shown["seconds"]["distilled"]["cost"] == 5.0  # without the stages, of which nothing is known
    with pytest.raises(Missing, match="no finished trial has passes and accuracy on the test split"):
        quality_cost.draw(store(tmp_path / "1", trial("a")))


def test_quality_cost_adds_the_seconds_of_stages_and_names_who_lacks_them(tmp_path):
    costs = {"passes": 100, "seconds": 5.0, "test_accuracy": 90.0, "members": 2}
    rows = [trial("d", stage_seconds=40.0, **costs), trial("s", "swe", stage_seconds=0.0, **costs)]
    rows += [trial("c", "constrained", **costs)]  # its trunk is older than the keeping of seconds
    drawn = quality_cost.draw(store(tmp_path, *rows))
    _, middle = drawn.figure.axes
    assert {name: found["cost"] for name, found in drawn.data[PLACE]["seconds"].items()} == {"deep": 45.0, "swe": 5.0}
    assert "seconds of stages not kept:\nconstrained" in middle.get_title()
    assert middle.get_xlabel() == "wall time of a trial, with stages (s)"
    alone = quality_cost.draw(store(tmp_path / "1", trial("c", "constrained", **costs)))
    assert alone.figure.axes[1].get_xlabel() == "wall time of a trial, without stages (s)"


def test_quality_cost_has_deep_ensembles_by_size_and_what_others_are_worth(tmp_path):
    # Members, accuracy, calibrated log-likelihood: half way between 2 and 4 members is worth 1/(½ · (½ + ¼)) = 8/3.
    sizes = [(1, 90.0, -0.5), (2, 92.0, -0.4), (4, 94.0, -0.3)]
    rows = [
        trial(f"d{k}", members=k, passes=100 * k, test_accuracy=a, test_calibrated_log_likelihood=value)
        for k, a, value in sizes
    ]
    own = {"passes": 150, "test_accuracy": 93.0, "test_calibrated_log_likelihood": -0.35, "members": 4}
    drawn = quality_cost.draw(store(tmp_path, *rows, trial("c", "constrained", **own)))
    shown = drawn.data[PLACE]
    assert shown["dee"] == {"deep": "4.00", "constrained": "2.67"}
    passes, _, worth = drawn.figure.axes
    assert [(100, 90), (200, 92), (400, 94)] in lines(passes)
    assert np.array(lines(worth)) == pytest.approx(np.array([[(150, 8 / 3)], [(400, 4)]]))


def test_reliability_pools_images_over_seeds(tmp_path):
    bins = []
    for seed, (count, accuracy) in enumerate(((10, 50.0), (30, 90.0))):
        for b, n, confidence, right in ((0, count, 70.0, accuracy), (1, 0, None, None)):
            row = {
                "key": f"k{seed}",
                "split": "test",
                "binning": "width",
                "bin": b,
                "lo": 50.0 * b,
                "hi": 50.0 * b + 50,
            }
            bins.append(row | {"count": n, "confidence": confidence, "accuracy": right})
    tables = store(tmp_path, *(trial(f"k{seed}", seed=seed) for seed in (0, 1)), reliability=bins)
    drawn = reliability.draw(tables)
    assert drawn.data[f"{PLACE}/deep"] == {
        "lo": [0.0], "hi": [50.0], "count": [40.0], "confidence": [70.0], "accuracy": [80.0],
    }  # fmt: skip
    (ax,) = drawn.figure.axes
    assert [(70, 80)] in lines(ax)
    assert [bar.get_height() for bar in ax.patches] == [100.0]
    with pytest.raises(Missing, match="no trial has a reliability table on the test split"):
        reliability.draw(store(tmp_path / "1", trial("a")))


def constrained(t, beta, accuracy, seed=0):
    numbers = {"test_accuracy": accuracy, "val_accuracy": accuracy, "test_nll": 0.1 + t, "test_q_bar_reset": t - 1}
    numbers |= {"test_member_mean_accuracy": accuracy - 2}
    return trial(f"c-{t}-{beta}-{seed}", "constrained", seed, t=t, beta=beta, members=2, **numbers)


def test_time_parameter_draws_each_strength_and_its_own_deep_ensemble(tmp_path):
    rows = [constrained(t, beta, 90 + beta + t) for t in (0.0, 0.5, 1.0) for beta in (0.0, 1.0)]
    rows.append(constrained(0.5, 1.0, 93.5, seed=1))
    deep = [trial("deep", members=2, test_accuracy=95.0), trial("big", members=8, test_accuracy=99.0)]
    drawn = time_parameter.draw(store(tmp_path, *rows, *deep))
    shown = drawn.data[PLACE]
    assert shown["accuracy"]["0"] == {"t": [0.0, 0.5, 1.0], "mean": [90.0, 90.5, 91.0], "half": [0.0, 0.0, 0.0]}
    assert shown["accuracy"]["1"]["mean"] == [91.0, 92.5, 92.0]
    assert shown["accuracy"]["1"]["half"] == pytest.approx([0.0, T1, 0.0], rel=1e-4)
    assert shown["accuracy"]["deep"] == 95.0
    assert shown["nll"]["0"]["mean"] == [0.1, 0.6, 1.1]
    assert shown["member_mean_accuracy"]["0"]["mean"] == [88.0, 88.5, 89.0]
    assert shown["q_bar"]["1"]["mean"] == [-1.0, -0.5, 0.0]
    accuracy, *_, q_bar = drawn.figure.axes
    assert [(0, 90), (0.5, 90.5), (1, 91)] in lines(accuracy)
    assert [(0, -1), (0.5, -0.5), (1, 0)] in lines(q_bar)
    with pytest.raises(Missing, match="no constraint strength has three values of t"):
        time_parameter.draw(store(tmp_path / "1", *rows[:4]))


def test_time_parameter_draws_four_strengths_at_most_and_marks_the_times_of_the_table(tmp_path):
    betas = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
    rows = [constrained(t, beta, 90 + t) for t in (0.0, 0.5, 1.0) for beta in betas]
    drawn = time_parameter.draw(store(tmp_path, *rows))
    assert list(drawn.data[PLACE]["accuracy"]) == ["0", "0.3", "1", "10"]
    ups = [line[0][0] for line in lines(drawn.figure.axes[0]) if line[0][0] == line[-1][0]]
    assert ups == [0.0, 0.5, 1.0]


def distilled(beta, temperature, accuracy, q_bar):
    numbers = {f"{split}_accuracy": accuracy for split in ("val", "test")}
    numbers |= {f"{split}_q_bar_reset": q_bar for split in ("val", "test")}
    key = f"d-{beta}-{temperature}"
    return trial(key, "distilled", role="grid", weight=0.9, t=0.1, beta=beta, temperature=temperature, **numbers)


def test_tradeoff_frames_the_front_by_validation(tmp_path):
    cells = {(0.0, 1.0): (95, -5), (0.0, 2.0): (90, -6), (1.0, 1.0): (93, 0), (1.0, 2.0): (80, 0.1)}
    rows = [distilled(*at, float(accuracy), float(q_bar)) for at, (accuracy, q_bar) in cells.items()]
    drawn = tradeoff.draw(store(tmp_path, *rows))
    shown = drawn.data[PLACE]
    assert shown["front"] == [["d-0.0-1.0"], ["d-1.0-1.0"]]  # a q̄ of 0.1 is no better than one of 0
    at = list(zip(shown["beta"], shown["temperature"], strict=True))
    assert dict(zip(at, zip(shown["accuracy"], shown["q_bar"], strict=True), strict=True)) == cells
    left, right = drawn.figure.axes[:2]
    assert left.images[0].get_array().tolist() == [[95.0, 93.0], [90.0, 80.0]]  # a row a τ, a column a β
    assert right.images[0].get_array().tolist() == [[-5.0, 0.0], [-6.0, 0.1]]
    framed = [(patch.get_x() + 0.47, patch.get_y() + 0.47) for patch in left.patches]
    assert sorted(framed) == [(0, 0), (1, 0)]
    with pytest.raises(Missing, match="no distilled trials that differ in β and τ"):
        tradeoff.draw(store(tmp_path / "1", rows[0]))


def test_tradeoff_is_missing_where_one_beta_was_tried(tmp_path):
    """The grid of temperature and weight: four weights would be four points at one place."""
    rows = [
        distilled(1.0, tau, 90.0, -1.0) | {"key": f"{tau}-{weight}", "weight": weight}
        for tau in (1.0, 2.0)
        for weight in (0.3, 0.9)
    ]
    with pytest.raises(Missing, match="no distilled trials that differ in β and τ"):
        tradeoff.draw(store(tmp_path, *rows))


def test_tradeoff_of_a_search_is_a_cloud(tmp_path):
    rows = [distilled(0.01 * 3**n, 0.5 + n, 90.0 + n, -float(n)) for n in range(4)]
    drawn = tradeoff.draw(store(tmp_path, *rows))
    shown = drawn.data[PLACE]
    assert shown["accuracy"] == [90.0, 91.0, 92.0, 93.0]
    assert len(shown["front"]) == 4
    assert points(drawn.figure.axes[0])[:4] == [(0.01 * 3**n, 0.5 + n) for n in range(4)]


def test_quality_cost_names_in_its_legend_only_what_it_draws(tmp_path):
    costs = {"passes": 100, "seconds": 5.0, "stage_seconds": 1.0, "test_accuracy": 90.0}
    alone = [trial("a", members=2, **costs), trial("c", "constrained", members=2, **costs)]
    taught = trial("b", "distilled", members=2, teacher_passes=60, **costs)
    larger = trial("d", members=4, **costs | {"passes": 200})
    assert legend_of(quality_cost.draw(store(tmp_path / "1", *alone))) == ["deep", "constrained"]
    names = legend_of(quality_cost.draw(store(tmp_path / "2", *alone, taught, larger)))
    assert names == ["deep", "constrained", "distilled", "with teachers", "deep by members"]


def test_quality_cost_draws_the_median_second_with_its_range(tmp_path):
    costs = {"passes": 100, "stage_seconds": 1.0, "test_accuracy": 90.0, "members": 2}
    rows = [trial(f"{s}", seed=s, seconds=seconds, **costs) for s, seconds in enumerate((4.0, 5.0, 90.0))]
    drawn = quality_cost.draw(store(tmp_path, *rows))
    assert drawn.data[PLACE]["seconds"]["deep"]["cost"] == 6.0
    (bar,) = [c for c in drawn.figure.axes[1].containers if c.has_xerr]
    drawn_ends = [[x for x, _ in lines.get_segments()[0]] for lines in bar.lines[2]]
    assert [5.0, 91.0] in drawn_ends


def legend_of(drawn):
    (legend,) = drawn.figure.legends
    return [text.get_text() for text in legend.get_texts()]
