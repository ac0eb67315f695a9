"""The best tradeoffs against the slow obvious way of finding them."""

import io
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from basin.errors import UsageError
from sweeps.best import FLOORS, best, front, hypervolume
from sweeps.reading import Run
from sweeps.show import as_csv, print_best

SMALL = st.integers(-3, 3).map(float)
POINTS = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.tuples(SMALL, SMALL), max_size=10)


def dominates(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return first != second and first[0] >= second[0] and first[1] >= second[1]


@given(POINTS)
def test_front_is_what_no_other_dominates(points: dict[str, tuple[float, float]]) -> None:
    found = front(points)
    expected = {key for key, p in points.items() if not any(dominates(q, p) for q in points.values())}
    assert len(found) == len(set(found))
    assert set(found) == expected
    for first, second in pairwise(found):
        assert points[first][0] >= points[second][0]


@given(POINTS)
def test_hypervolume_is_the_area_of_the_dominated_squares(points: dict[str, tuple[float, float]]) -> None:
    squares = [(x, y) for x in range(-4, 3) for y in range(-4, 3)]
    area = sum(any(x + 1 <= p[0] and y + 1 <= p[1] for p in points.values()) for x, y in squares)
    assert hypervolume(list(points.values()), (-4.0, -4.0)) == area
    assert hypervolume([points[key] for key in front(points)], (-4.0, -4.0)) == area


def test_hypervolume_of_nothing() -> None:
    assert hypervolume([], (0.0, 0.0)) == 0
    assert hypervolume([(-1.0, 5.0), (5.0, -1.0)], (0.0, 0.0)) == 0  # beyond the corner


def run(key: str, q_bar: float | None, accuracy: float, role: str = "search", **more: Any) -> Run:
    """A trial whose test numbers say the contrary of its validation numbers."""
    scores = {"accuracy": accuracy, "nll": (100 - accuracy) / 10, "member_mean_accuracy": accuracy - 1}
    if q_bar is not None:
        scores["q_bar_reset"] = q_bar
    metrics = {f"val_{name}": value for name, value in scores.items()}
    metrics |= {f"test_{name}": -value for name, value in scores.items()}
    construction = more.pop("construction", "deep" if role == "reference" else "constrained")
    return Run(key, role, construction, {"construction": construction, "t": more.pop("t", key)}, metrics | more)


RUNS = [
    run("a", -0.5, 90.0),
    run("b", -1.5, 95.0),
    run("c", -1.5, 94.0),
    run("d", -6.0, 97.0),
    run("e", -0.1, 80.0, construction="distilled"),
    run("f", -30.0, 99.0, role="reference"),
    run("g", -0.0, 99.0, role="replicate"),
]


def test_chosen_are_searched_trials_on_validation() -> None:
    answer = best(RUNS)
    assert [r.key for r in answer.front] == ["e", "a", "b", "d"]
    assert [r.key for r in answer.reference] == ["f"]
    assert answer.corner == (-10.0, 0.0)
    assert answer.hypervolume == pytest.approx(9.9 * 80 + 9.5 * 10 + 8.5 * 5 + 4.0 * 2)
    assert list(answer.floors) == ["constrained", "distilled"]
    best_constrained = {floor: r and r.key for floor, r in answer.floors["constrained"].items()}
    assert best_constrained == dict(zip(FLOORS, ["a", "b", "b"], strict=True))


def test_no_trial_at_a_floor() -> None:
    answer = best([run("a", -3.0, 90.0)])
    assert [r and r.key for r in answer.floors["constrained"].values()] == [None, None, "a"]


def test_lower_is_better_where_the_metric_says_so() -> None:
    answer = best(RUNS, y="nll")
    assert [r.key for r in answer.front] == ["e", "a", "b", "d"]  # nll falls as accuracy rises
    assert answer.corner == (-6.0, 2.0)  # the worst of each: lowest q_bar, highest nll
    assert answer.hypervolume == pytest.approx(5.5 * 1.0 + 4.5 * 0.5)
    chosen = answer.floors["constrained"][-2.0]
    assert chosen is not None
    assert chosen.key == "b"
    reversed_axes = best(RUNS, x="nll", y="q_bar_reset")
    assert [r.key for r in reversed_axes.front] == ["d", "b", "a", "e"]


def test_ties_are_all_shown() -> None:
    answer = best([run("a", -1.0, 90.0), run("b", -1.0, 90.0), run("c", -1.0, 89.0)])
    assert [r.key for r in answer.front] == ["a", "b"]


def test_trials_without_the_metric_are_left_out() -> None:
    answer = best([run("a", None, 99.0), run("b", -3.0, 90.0)])
    assert [r.key for r in answer.front] == ["b"]
    answer = best([run("a", None, 99.0), run("b", -3.0, 90.0)], x="accuracy", y="nll")
    assert [r.key for r in answer.front] == ["a"]
    assert answer.floors["constrained"][-5.0] is not None
    assert answer.floors["constrained"][-5.0].key == "b"


def test_metrics_that_nobody_has_are_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown metric 'q_bar': expected one of .*accuracy.*q_bar_reset"):
        best(RUNS, x="q_bar")
    with pytest.raises(
        UsageError, match=r"no searched trial has q_bar_interp and accuracy: expected two of .*q_bar_re"
    ):
        best(RUNS, x="q_bar_interp")


def test_csv_shows_the_split_asked_for() -> None:
    val, test = (as_csv(best(RUNS), split).splitlines() for split in ("val", "test"))
    assert val[0] == "key,role,construction,t,val_q_bar_reset,val_accuracy,val_member_mean_accuracy,val_nll"
    assert val[1] == "e,search,distilled,e,-0.1,80.0,79.0,2.0"
    assert test[0].endswith("test_q_bar_reset,test_accuracy,test_member_mean_accuracy,test_nll")
    assert [line.split(",")[0] for line in test] == [line.split(",")[0] for line in val]  # chosen on validation
    assert test[1] == "e,search,distilled,e,0.1,-80.0,-79.0,-2.0"
    assert val[-1].startswith("f,reference,deep,")


def test_references_are_shown_with_their_interval_over_seeds() -> None:
    seeds = [run(key, -30.0, accuracy, role="reference") for key, accuracy in (("x", 90.0), ("y", 92.0), ("z", 94.0))]
    text = io.StringIO()
    print_best(best([*RUNS[:5], *seeds]), "val", Console(width=200, file=text))
    (line,) = [line for line in text.getvalue().splitlines() if "mean of 3 seeds, ± 95 %" in line]
    # t(0.975, 2 degrees of freedom) = 4.3027, times 2/√3.
    assert "│ 92.00 ± 4.97 │" in line
    assert "│ -30.00 ± 0.00 │" in line
    (line,) = [line for line in text.getvalue().splitlines() if "deep (reference)" in line]
    assert "92.00 ± 4.97 at any" in line
    single = io.StringIO()
    print_best(best(RUNS), "val", Console(width=200, file=single))
    (line,) = [line for line in single.getvalue().splitlines() if "one seed" in line]
    assert "│    99.00 │" in line
