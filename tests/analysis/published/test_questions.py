"""Questions about grids, models, BatchNorm policies, costs and power, on sweeps made for each."""

import re
from types import SimpleNamespace

import pytest

from analysis.answers.judgements import bound_words
from analysis.answers.power import power_table, seeds_to_show
from analysis.answers.verdicts import Judgement
from analysis.answers.worth import worth_cell
from analysis.data.queries import best_by_construction, read_tables
from analysis.published.questions import architectures, distillation, hull, permutations, policies, trunk
from analysis.published.questions.case_tables import (
    count_sides,
    difference_column,
    gap_to_deep,
    reported,
    side_of_zero,
    training_column,
)
from analysis.published.spending import spend
from analysis.published.sweeps import hyperparameter_words, list_cases
from stats.intervals import Estimate
from stats.verdicts import Bounds, Verdict
from tests.support import synthetic_results
from tests.support.published_sweep import sweep_of


def table_rows(text: str) -> list[dict[str, str]]:
    """The rows of a pipe table, by heading."""
    head, _, *lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    return [dict(zip(head, line, strict=True)) for line in lines]


def test_branches_are_in_one_basin_from_some_value_on(tmp_path):
    """A line for each axis along which something varies; a single verdict is no line, and a row of the table."""
    points = [("deep", {})]
    points += [("constrained", {"t": t, "beta": 1.0}) for t in (0.1, 0.3)]
    points += [("constrained", {"t": 0.0, "beta": beta, "share_init": False}) for beta in (2.0, 20.0)]
    lines, table = trunk.answer([sweep_of(tmp_path, points)])
    assert re.findall(r": (in one basin .*?)\.(?= )", lines) == [
        "in one basin at every t that was tried, 0.1 and 0.3",
        "in one basin at every β that was tried, 2 and 20",
    ]
    assert "β = 1, constraint path, shared start" in lines
    ends = re.findall(r"Accuracy at (t|β) = (\S+) .*?at \1 = ([\d.]+)[ :]", lines)
    assert ends == [("t", "0.3", "0.1"), ("β", "20", "2")]
    assert "t = 0, constraint path, own start" in lines
    rows = [(row["start"], row["β"], row["t"], row["one basin"]) for row in table_rows(table)]
    assert rows == [
        ("shared", "1", "0.1", "yes"),
        ("shared", "1", "0.3", "yes"),
        ("own", "2", "0", "yes"),
        ("own", "20", "0", "yes"),
    ]


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ("no no yes", "in one basin from t = 3 on (of 1, 2 and 3)"),
        ("yes undecided yes", "in one basin from t = 3 on (of 1, 2 and 3)"),
        ("yes yes no", "not certified at t = 3, the largest of 1, 2 and 3"),
        ("yes yes undecided", "not certified at t = 3, the largest of 1, 2 and 3"),
        ("yes yes yes", "in one basin at every t that was tried, 1, 2 and 3"),
        ("yes unmeasured unmeasured", ""),
    ],
)
def test_the_least_value_is_that_beyond_the_last_refusal(verdicts, words):
    """Three branches, whose verdicts are given."""
    given = [(SimpleNamespace(hyperparameters={"t": float(t)}), word) for t, word in enumerate(verdicts.split(), 1)]
    assert trunk._line_words("t", trunk._judged(given)) == words


def test_distillation_is_a_table_by_temperature_and_strength(tmp_path):
    points = [("deep", {}), ("constrained", {})]
    points += [("distilled", {"temperature": tau, "beta": beta}) for tau in (1.0, 4.0) for beta in (0.3, 3.0)]
    sweep = sweep_of(tmp_path, points)
    counts, chosen, grid = distillation.answer([sweep])
    assert counts.count("of 1 case") == 4
    (row,) = table_rows(chosen)
    assert re.fullmatch(r"τ = [14], λ = 0.9, β = (0.3|3), t = 0.1", row["at"])
    places = [f"τ = {tau}, λ = 0.9, β = {beta}, t = 0.1" for tau in (1, 4) for beta in (0.3, 3)]
    assert [row["at"] for row in table_rows(grid)] == places
    assert f"Validation chooses {row['at']}; the others vs. it, accuracy: " in grid
    assert grid.count("of 3 cases") == 2


def test_distillation_is_compared_with_the_constrained_ensemble_of_its_strength(tmp_path):
    points = [("deep", {}), *(("constrained", {"beta": beta, "t": 0.1}) for beta in (0.3, 3.0))]
    points += [("distilled", {"temperature": 1.0, "beta": beta}) for beta in (0.3, 3.0, 10.0)]
    (case,) = sweep_of(tmp_path, points).cases
    found = {one.hyperparameters["beta"]: distillation._constrained(case, one) for one in reported(case, "distilled")}
    assert [found[beta].hyperparameters["beta"] for beta in (0.3, 3.0)] == [0.3, 3.0]
    assert found[10.0] is case.chosen["constrained"]


def test_sweeps_with_the_same_deep_ensembles_are_one_case(tmp_path):
    """What several have counts in the one with most constructions; what only another has counts there."""
    deep = ("deep", {"ensemble_key": "0123"})
    branches = ("constrained", {"beta": 0.0})
    listed = [
        sweep_of(tmp_path / "b", [deep, branches, ("permuted", {})], name="second"),
        sweep_of(tmp_path / "c", [deep, branches], name="a third"),
        sweep_of(tmp_path / "a", [deep, ("constrained", {"beta": 1.0}), ("distilled", {})], name="first"),
        sweep_of(tmp_path / "d", [("deep", {"ensemble_key": "4567"}), branches], name="other"),
    ]
    chosen = {case.sweep.name: sorted(case.chosen) for case in list_cases(listed)}
    assert chosen == {
        "a third": ["deep"],
        "first": ["constrained", "deep", "distilled"],
        "other": ["constrained", "deep"],
        "second": ["deep", "permuted"],
    }


def test_permutations_by_width_and_policy(tmp_path):
    points = [(name, {"width": width}) for width in (1.0, 2.0) for name in ("deep", "permuted")]
    lines, table, alignment = permutations.answer([sweep_of(tmp_path, points)])
    counted, compared = lines.splitlines()
    assert counted == "- Permuted vs. deep, largest barrier: smaller in 1 of 1 case; in one basin in 0."
    assert "Deep, not aligned: at ×2 " in compared
    assert "aligned by activations: the largest barrier at width ×2 vs. that at ×1: " in compared
    rows = table_rows(table)
    assert [(row["width"], row["aligned by"], row["one basin"]) for row in rows] == [
        ("×1", "activations", "no"),
        ("×2", "activations", "no"),
    ]
    for row in rows:
        for policy in ("reset", "interp"):
            assert row[f"barrier − deep, {policy} (points)"].startswith("**−")
    assert "barrier interp (points)" in alignment


def test_models_are_compared_on_the_same_images_and_budget(tmp_path):
    points = [("deep", {}), ("constrained", {})]
    first = sweep_of(tmp_path / "first", points, name="a", model="resnet8")
    second = sweep_of(tmp_path / "second", points, name="b", model="vit")
    (text,) = architectures.answer([first, second])
    assert "constrained − deep of resnet8 (accuracy)" in text
    assert text.count("that of vit") == 2
    assert re.search(r"\. A difference of 1 point would take \d+ seeds\.$", text.splitlines()[0])
    for number, other in enumerate([{"train_size": 77}, {"t": 0.5}, {"beta": 3.0}]):
        apart = sweep_of(
            tmp_path / f"apart{number}", [("deep", {}), ("constrained", other)], name="c", model="vit", **other
        )
        assert architectures.answer([first, apart]) == []


def test_models_are_compared_at_the_same_strength_though_validation_chooses_another(tmp_path):
    """Of two strengths, the one that both have is compared, whichever validation prefers."""
    first = sweep_of(tmp_path / "first", [("deep", {}), ("constrained", {"beta": 3.0})], name="a", model="resnet8")
    both = [("deep", {}), *(("constrained", {"beta": beta}) for beta in (0.3, 3.0))]
    second = sweep_of(tmp_path / "second", both, name="b", model="vit")
    (text,) = architectures.answer([first, second])
    assert text.count("β = 3") == len(text.splitlines()) == 2


def test_policies_stand_side_by_side(tmp_path):
    (text,) = policies.answer([sweep_of(tmp_path, [("deep", {}), ("constrained", {})])])
    deep, constrained = table_rows(text)
    assert deep["barrier against the margin"] == "above 2 under every policy"
    assert deep["one basin"] == "no"
    assert constrained["one basin"] == "yes"


@pytest.mark.parametrize(
    ("barriers", "words"),
    [
        ({"reset": (0.5, 0.2), "interp": (9.0, 1.0)}, "below 2 under reset; above 2 under interp"),
        ({"reset": (0.5, 0.2), "interp": (2.5, 1.0)}, "below 2 under reset; we could not tell under interp"),
        ({"reset": (1.9, 0.2), "interp": (2.5, 1.0)}, "we could not tell under reset and interp"),
        ({"reset": (0.5, 0.2), "interp": (1.0, 0.9)}, "below 2 under every policy"),
    ],
)
def test_each_policy_lies_on_a_side_of_the_margin_or_is_open(barriers, words, monkeypatch):
    """Mean and half width of the largest barrier under each policy, against a margin of 2 points."""
    estimates = {policy: Estimate(mean, half, 3) for policy, (mean, half) in barriers.items()}
    monkeypatch.setattr(policies, "_barriers", lambda *_: estimates)
    monkeypatch.setattr(policies, "margin_of", lambda *_: 2.0)
    case = SimpleNamespace(tables=None)
    assert policies._sides_words(case, SimpleNamespace(rows=[])) == words


def test_differences_are_counted_by_the_side_of_zero():
    gaps = [Estimate(1.0, 0.5, 3), Estimate(-1.0, 0.5, 5), Estimate(-1.0, 1.5, 3), Estimate(9.0, 0.1, 2), None]
    assert count_sides("x", gaps, "higher") == (
        "x: better in 1, worse in 1, not measurably different in 1 and fewer than 3 seeds in 2 of 5 cases"
    )
    assert count_sides("x", gaps[:1], "lower") == "x: worse in 1 of 1 case"
    constant = Estimate(2.0, 0.0, 3)  # the same for every seed: the noise is unknown
    assert side_of_zero(constant) == 0
    assert (
        count_sides("x", [constant, *gaps[:1]], "") == "x: larger in 1 and too coarse for an interval in 1 of 2 cases"
    )


def test_a_difference_is_bold_where_its_interval_excludes_0(tmp_path):
    """Two seeds are too few to state one."""
    rows = [
        SimpleNamespace(rows=[{}] * 3, gap=gap) for gap in (Estimate(-1, 0.5, 3), Estimate(1, 2, 3), Estimate(5, 1, 2))
    ]
    _, cell = difference_column("gap", 1, lambda _, one: one.gap)
    cells = [cell(None, one) for one in rows]
    assert [(one.text(1), one.bold) for one in cells] == [("−1.0 ± 0.5", True), ("1.0 ± 2.0", False), ("–", False)]


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
    one, deep = chosen["constrained"], chosen["deep"]
    words = [seeds_to_show(sweep.tables, one, deep, "accuracy", points) for points in (0.2, 1.0, 20.0)]
    needed = [int(text.replace(",", "")) for text in words if "images" not in text]
    assert needed == sorted(needed, reverse=True)
    assert needed[-1] == 2
    assert seeds_to_show(sweep.tables, deep, deep, "accuracy", 1.0) == "2"
    table = power_table(sweep.tables, 1.0)
    assert len(table.rows) == 10
    halves = [float(row[5].value) for row in table.rows[:5]]
    assert halves == sorted(halves, reverse=True)


def test_a_row_is_compared_with_the_deep_ensemble_of_its_recipe(tmp_path):
    """Two recipes, of which the longer is better throughout; each constrained ensemble equals its own deep ensemble."""
    recipes = ({"epochs": 30, "test_accuracy": 90.0}, {"epochs": 60, "test_accuracy": 95.0})
    points = [(name, recipe) for recipe in recipes for name in ("deep", "constrained")]
    sweep = sweep_of(tmp_path, points, details=False)
    (case,) = sweep.cases
    both = reported(case, "constrained")
    assert {one.hyperparameters["epochs"] for one in both} == {30, 60}
    assert [gap_to_deep(case, one, "accuracy").mean for one in both] == [0, 0]


def test_training_is_in_units_of_the_deep_ensemble_and_has_its_teachers(tmp_path):
    """Each seed of deep has 800 passes; distilled 1,000 and 800 of its teachers. Old rows do not say."""
    points = [
        ("deep", {"passes": 800, "teacher_passes": 0}),
        ("distilled", {"passes": 1000, "teacher_passes": 800}),
        ("constrained", {"passes": None}),
    ]
    (case,) = sweep_of(tmp_path, points, details=False).cases
    _, cell = training_column()
    texts = {name: cell(case, case.chosen[name]).text(2) for name in case.chosen}
    assert texts == {"deep": "1.00", "distilled": "2.25", "constrained": "–"}


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ("yes-yes yes-yes no-no", "- SWE: paths in one basin in 2 of 3 cases; their hulls: in one basin in 2."),
        (
            "yes-yes yes-no yes-undecided",
            "- SWE: paths in one basin in 3 of 3 cases; their hulls: in one basin in 1, not in 1, undecided in 1.",
        ),
        ("no-yes", "- SWE: paths in one basin in 0 of 1 case."),
    ],
)
def test_only_hulls_of_paths_in_one_basin_are_counted(verdicts, words, monkeypatch):
    """The verdict on the paths and that on the hull of each ensemble are given."""
    rows = [(SimpleNamespace(tables=None), pair.split("-")) for pair in verdicts.split()]
    monkeypatch.setattr("analysis.published.questions.hull.find_verdict", lambda _, pair, *, hull=False: pair[hull])
    monkeypatch.setattr("analysis.published.questions.hull.verdict_word", str)
    assert hull._count_words("swe", rows) == words


def test_paths_say_what_they_were_measured_on(tmp_path):
    """Of two recipes that of the chosen configuration; rows of old sweeps may lack all."""
    points = [("deep", {"path_images": size, "alphas": 5, "hull_points": 8}) for size in (1000, 2500)]
    (case,) = sweep_of(tmp_path / "both", points, details=False).cases
    assert case.measured == "1,000 images, 3 points between members, 8 random points of the hull"
    points = [("deep", dict.fromkeys(("path_images", "alphas", "hull_points")))]
    (case,) = sweep_of(tmp_path / "none", points, details=False).cases
    assert case.measured == ""


def test_snapshots_say_whether_they_were_annealed(tmp_path):
    """Two sweeps, for of one only the better row is shown."""
    for steps, words in ((0, "not annealed"), (100, "annealed for 100 steps")):
        (case,) = sweep_of(tmp_path / str(steps), [("deep", {}), ("swe", {"anneal": steps})], details=False).cases
        assert hyperparameter_words(case.chosen["swe"]) == words


def test_of_equal_predictions_the_better_connected_is_chosen(tmp_path):
    """Two alignments of the same networks: their NLL differs by rounding, which must not decide."""
    rounding = {"weights": (-1e-9, 5.0), "activations": (1e-9, 1.0)}
    points = [("deep", {})]
    for matching, (error, barrier) in rounding.items():
        own = {"matching": matching, "val_nll": 1.0 + error, "val_barrier_reset": barrier, "val_basin_upper_reset": 9.0}
        points.append(("permuted", own))
    (case,) = sweep_of(tmp_path, points, details=False).cases
    assert case.chosen["permuted"].hyperparameters["matching"] == "activations"
    assert hyperparameter_words(case.chosen["permuted"]) == "aligned by activations"
    assert worth_cell(case.tables, case.chosen["permuted"]) == "4 (as deep)"


@pytest.mark.parametrize(
    ("answer", "lower", "upper", "words"),
    [
        ("yes", -3.0, -0.1, "yes (≤ 0.0)"),
        ("yes", -3.0, 0.04, "yes (≤ 0.1)"),
        ("no", 22.29, 30.0, "no (≥ 22.2)"),
        ("undecided", 1.0, 3.0, "undecided"),
    ],
)
def test_a_verdict_shows_the_bound_that_decides_it_rounded_outwards(answer, lower, upper, words):
    limits = Bounds(upper, lower, (0, 0, 0), 0.0, lower, upper, 3, 100)
    assert bound_words(Judgement(Verdict(answer, limits, 2.0, None), "accuracy", False, 0, "")) == words
