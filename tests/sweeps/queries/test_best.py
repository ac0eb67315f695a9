"""What `best` answers, against the slow obvious way: reported means of fresh seeds, and the best of the search."""

import csv
import io
import itertools
import json
import math
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from basin.errors import UsageError
from basin.strict_json import dump_json
from cli.tables import format_csv, print_best
from sweeps.queries.best import Aim, Best, find_best, parse_bound, select_best, to_json
from sweeps.study.objectives import BASIN, Limit
from sweeps.tracking.reader import Run

PAIR = ("val_accuracy", "val_q_bar_reset")
NLL = Aim(("val_nll",), 2.0, (Limit(BASIN, "<=", 2.0),))
BOTH = Aim(PAIR, 2.0, NLL.limits)


def run(key: str, role: str = "search", *, of: str = "", seed: int = 0, **more: Any) -> Run:
    """A trial whose test numbers are its validation numbers' negatives."""
    scores = {"accuracy": 90.0, "nll": 0.3, "q_bar_reset": -0.5, "basin_upper_reset": 1.0, "member_mean_accuracy": 80.0}
    scores |= {name: more.pop(name) for name in list(more) if name in {*scores, "member_mean_nll"}}
    metrics = {f"val_{name}": value for name, value in scores.items() if value is not None}
    metrics |= {f"test_{name}": -value for name, value in scores.items() if value is not None}
    construction = more.pop("construction", "deep" if role == "reference" else "constrained")
    params = {"construction": construction, "t": more.pop("t", "0.1"), "seed": str(seed)}
    return Run(
        key, role, construction, params, metrics, key, configuration=of or key, tags=more.pop("tags", {}), **more
    )


class Store:
    """A reader of runs in memory: hands out what is asked for, as the database does."""

    experiment = "1"

    def __init__(self, runs: list[Run], aim: Aim = NLL, **notes: Any) -> None:
        self.runs = runs
        held = {"objectives": aim.objectives, "margin": aim.margin, "constraints": [str(x) for x in aim.limits[:-1]]}
        self.told = {"aim": json.dumps(held)} | {name: json.dumps(value) for name, value in notes.items()}

    def read_tags(self) -> dict[str, str]:
        return self.told

    def finished_runs(self, metrics: Any = None) -> list[Run]:
        if metrics is None:
            return self.runs
        return [self._narrow(one, metrics) for one in self.runs]

    def _narrow(self, one: Run, metrics: Any) -> Run:
        numbers = {name: value for name, value in one.metrics.items() if name in metrics}
        return Run(one.key, one.role, one.construction, {}, numbers, one.key, one.feasible, one.configuration)

    def complete_runs(self, runs: Any) -> list[Run]:
        by_key = {one.key: one for one in self.runs}
        return [by_key[one.key] for one in runs]


def answer(runs: list[Run], *, x: str | None = None, y: str | None = None, aim: Aim = NLL, **notes: Any) -> Best:
    return find_best(Store(runs, aim, **notes), x=x, y=y)


def printed(found: Best, split: str = "test") -> str:
    text = io.StringIO()
    print_best(found, split, Console(width=250, file=text))
    return text.getvalue()


def keys(groups: Any) -> list[str]:
    return [group.first.key for group in groups]


SMALL = st.integers(-3, 3).map(float)
POINTS = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.tuples(SMALL, SMALL), max_size=10)


def dominates(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return first != second and first[0] >= second[0] and first[1] >= second[1]


@given(POINTS)
def test_the_front_is_what_no_other_dominates_with_q_bar_up_to_0(points: dict[str, tuple[float, float]]) -> None:
    runs = [run(key, q_bar_reset=x, accuracy=y) for key, (x, y) in points.items()]
    seen = {key: (min(x, 0.0), y) for key, (x, y) in points.items()}
    expected = {key for key, p in seen.items() if not any(dominates(q, p) for q in seen.values())}
    if not runs:
        return
    found = answer(runs, aim=BOTH).listed
    assert set(keys(found)) == expected
    raw = [group.first.metrics["val_q_bar_reset"] for group in found]
    assert raw == sorted(raw, reverse=True)  # shown as they were measured
    assert {group.first.key: group.first.metrics["val_q_bar_reset"] for group in found} == {
        key: points[key][0] for key in expected
    }


@given(POINTS)
def test_hypervolume_is_the_area_beyond_margin_and_mean_member(points: dict[str, tuple[float, float]]) -> None:
    if not points:
        return
    runs = [run(key, q_bar_reset=x, accuracy=y) for key, (x, y) in points.items()]
    reference = run("deep", "reference", member_mean_accuracy=-2.0)
    area = answer([*runs, reference], aim=BOTH).area
    squares = [(x, y) for x in (-2, -1) for y in range(-2, 3)]
    assert area is not None
    assert (area.x, area.y, area.of) == (-2.0, -2.0, "the references")
    assert area.size == sum(any(x + 1 <= p[0] and y + 1 <= p[1] for p in points.values()) for x, y in squares)


def test_hypervolume_of_other_axes() -> None:
    by_dip = answer([run("a", basin_upper_reset=0.5, accuracy=90.0)], x="basin_upper", y="accuracy").area
    assert by_dip is not None
    assert (by_dip.x, by_dip.y, by_dip.of) == (2.0, 80.0, "the searched configurations")
    assert by_dip.size == 1.5 * 10.0
    assert answer([run("a")], x="nll", y="accuracy").area is None  # no worst NLL is known
    assert answer([run("a")]).area is None  # one objective has no front
    text = printed(answer([run("a")], aim=BOTH))
    assert "hypervolume of the front on validation: 15," in text
    assert "above accuracy 80.00 (the mean member of the searched configurations) and above q̄ -2" in text
    text = printed(answer([run("a")], aim=Aim(("val_nll", "val_basin_upper_reset"), 2.0, NLL.limits)))
    assert "the area below" not in text  # no worst NLL is known
    members = [run("a", nll=0.3), run("r", "reference", member_mean_nll=0.45678)]
    text = printed(answer(members, x="basin_upper", y="nll"))
    assert "the area below nll 0.457 (the mean member of the references) and below basin_upper_reset 2" in text


RUNS = [
    run("a", nll=0.3, basin_upper_reset=1.0, t="0.3"),
    run("b", nll=0.2, basin_upper_reset=1.9, t="0.2"),
    run("c", nll=0.1, basin_upper_reset=2.1, t="0.1"),
    run("d", nll=0.4, basin_upper_reset=-1.0, t="0.4"),
    run("e", nll=0.5, basin_upper_reset=0.0, t="0.5", construction="distilled"),
]


def test_one_objective_ranks_those_within_the_limits() -> None:
    found = answer(RUNS)
    assert found.ranked
    assert keys(found.listed) == ["b", "a", "d", "e"]
    assert (found.searched, found.infeasible) == (5, 1)
    text = printed(found)
    assert "Best 4 of 5 searched configurations by nll on validation, of those within the limits" in text
    assert "1 of 5 configurations are not shown to satisfy the limits (val_basin_upper_reset <= 2): omitted" in text


def test_directions_and_names_are_those_that_the_sweep_records() -> None:
    """Not those of this code, which may have others."""
    recorded = {
        "better": {"nll": "higher", "basin_upper_reset": "lower"},
        "searchable": {},
        "distinguishing": ["epochs", "t"],
        "training": ["epochs"],
    }
    found = answer(RUNS, glossary=recorded)
    assert keys(found.listed) == ["e", "d", "a", "b"]
    assert "glossary" not in to_json(found)
    header = next(line for line in printed(found).splitlines() if "construction" in line)
    assert header.split()[2:4] == ["nll", "↑"]
    assert header.split()[-1] == "t"
    with pytest.raises(UsageError, match="unknown metric 'accuracy': expected one of basin_upper, nll"):
        answer(RUNS, y="accuracy", glossary=recorded)


def test_at_most_five_are_shown_and_more_is_better_where_it_is() -> None:
    many = [run(str(n), accuracy=90.0 + n) for n in range(8)]
    assert keys(answer(many, aim=Aim(("val_accuracy",), 2.0, NLL.limits)).listed) == ["7", "6", "5", "4", "3"]


def test_if_none_is_in_one_basin_the_closest_come_first() -> None:
    found = answer([run("a", nll=0.1, basin_upper_reset=9.0), run("b", nll=0.9, basin_upper_reset=2.5)])
    assert keys(found.listed) == ["b", "a"]
    assert found.infeasible == 2
    text = printed(found)
    assert "the closest to one basin first" in " ".join(text.split())
    assert "2 of 2 configurations are not shown to satisfy the limits" in text
    assert "all of them, so these are shown" in text


def test_seeds_of_a_searched_configuration_are_one_line() -> None:
    """Means over the seeds count, of limits too."""
    runs = [
        *(
            run(f"a{n}", "replicate" if n else "search", of="a", seed=n, nll=0.2, basin_upper_reset=u)
            for n, u in _three
        ),
        run("b", nll=0.3),
        run("c", "replicate", of="gone"),
    ]
    tagged = {"a0": "yes", "a1": "no", "a2": "yes"}
    for one in runs[:3]:
        one.tags["verdict_val"] = tagged[one.key]
    found = answer(runs)
    assert keys(found.listed) == ["a0", "b"]
    assert "2 yes, 1 no" in printed(found)
    other = Aim(("val_nll",), 2.0, (Limit("val_accuracy", ">=", 95.0), *NLL.limits))
    assert answer(runs, aim=other).infeasible == 2


_three = list(enumerate((0.0, 5.0, 0.5)))


@pytest.mark.parametrize("aim", [NLL, BOTH])
def test_runs_without_the_limit_say_themselves_whether_they_are_feasible(aim: Aim) -> None:
    alone = [run("a", basin_upper_reset=None, feasible=True), run("b", basin_upper_reset=None, feasible=False)]
    assert keys(answer(alone, aim=aim).listed) == ["a"]


def fresh(name: str, *values: float, role: str = "fresh", **more: Any) -> list[Run]:
    return [run(f"{name}{n}", role, of=name, seed=n, accuracy=-v, **more) for n, v in enumerate(values, start=1)]


def test_reported_are_means_over_fresh_seeds_with_their_interval() -> None:
    runs = [run("s", of="x", nll=0.1, accuracy=99.0), *fresh("x", 90.0, 92.0, 94.0)]
    runs += [*fresh("deep", 95.0, 96.0, role="reference")]
    found = answer(runs)
    assert [len(group.runs) for group in found.chosen] == [3]
    assert [len(group.runs) for group in found.references] == [2]
    text = printed(found)
    (line,) = [line for line in text.splitlines() if "  constrained " in line and "±" in line]
    # t(0.975, 2 degrees of freedom) = 4.3027, times 2/√3; one degree: 12.706 times 0.7071/√2.
    assert "92.00 ± 4.97" in line
    (line,) = [line for line in text.splitlines() if "deep (ref.)" in line]
    assert "95.50 ± 6.35" in line
    assert "Chosen configurations on fresh seeds: means on test" in text
    assert "seeds and images" in text
    assert [line for line in text.splitlines() if line.startswith("s  ")]  # the search has a table of its own
    (line,) = [line for line in text.splitlines() if line.startswith("x1 ")]
    assert "0.100" in line  # beside the score of the search, which chose it
    assert "val nll ↓*" in text


def test_a_row_has_the_key_of_its_smallest_seed_whichever_ran_first() -> None:
    later = [run("s", of="x"), *reversed(fresh("x", 90.0, 92.0, 94.0)), *reversed(fresh("d", 95.0, role="reference"))]
    found = answer(later)
    assert keys(found.chosen) == ["x1"]
    assert "its key is the trial of its smallest seed" in printed(found)
    assert [line["key"] for line in csv.DictReader(io.StringIO(format_csv(found, "test")))] == ["x1", "d1", "s"]


def entry(own: list[Run], answer: str = "yes", **more: Any) -> dict[str, Any]:
    weakest = {"seed": 2, "pair": [0, 3], "alpha": 0.5, "mean": 1.5, "low": -0.5, "high": 3.5}
    one = {"answer": answer, "upper": 0.8, "lower": -0.5, "margin": 2.0, "needed": None, "weakest": weakest} | more
    found = {split: {"accuracy": one, "loss": {**one, "answer": "no"}} for split in ("val", "test")}
    return {"keys": sorted(r.key for r in own), "chosen": True, "margin": 2.0, "lost": 0, **found}


def test_verdicts_are_joint_over_the_seeds_and_said_in_words() -> None:
    own = fresh("x", 90.0, 92.0)
    text = printed(answer(own, **{"verdict.x1": entry(own)}))
    assert (
        "constrained, these 2 seeds: in one basin, margin 2 points: the average path loses at most 0.8 points" in text
    )
    assert "members 0 and 3 of seed 2 at α = 0.5, loses 1.5 points" in text
    assert "95 % CI −0.5 to 3.5); by loss: no" in text
    text = printed(answer(own, **{"verdict.x1": entry(own, "no")}))
    assert "not in one basin, margin 2 points: some path loses at least −0.5 points (95 %); the weakest path" in text
    text = printed(answer(own, **{"verdict.x1": entry(own, "undecided", needed=1200)}))
    assert "undecided, margin 2 points, about 1200 images would decide" in text
    text = printed(answer(own, **{"verdict.x1": entry(own, "undecided")}))
    assert "more images are unlikely to decide" in text


def test_intervals_over_images_are_shown_where_they_are_known() -> None:
    own = fresh("x", 90.0, 92.0)
    scores = {"test": {"accuracy": {"mean": 91.0, "half": 1.234, "images": 600}}, "val": {}}
    found = answer(own, **{"verdict.x1": {**entry(own), "scores": scores}})
    (line,) = [line for line in printed(found).splitlines() if "  constrained " in line and "±" in line]
    assert "91.00 ± 1.23" in line
    assert "0.50 ± 0.00" in line  # q_bar is no mean over images
    (line,) = csv.DictReader(io.StringIO(format_csv(found, "test")))
    assert (line["accuracy"], line["accuracy_half"]) == ("91.0", "1.234")
    (line,) = [line for line in printed(found, "val").splitlines() if "  constrained " in line and "±" in line]
    assert "−91.00 ± 12.71" in line


def test_the_interval_of_one_seed_is_called_one_over_images() -> None:
    for values, words in (((90.0, 92.0), "over seeds and images"), ((90.0,), "over images alone")):
        own = fresh("x", *values)
        title = printed(answer(own, **{"verdict.x1": entry(own)})).partition("\n")[0]
        assert f"half of the 95 % interval {words}" in title
        assert f" on {len(own)} fresh seed{'s' * (len(own) > 1)}:" in title


def test_the_search_says_what_its_columns_bound() -> None:
    text = printed(answer(RUNS))
    assert "upper bound" in text
    assert "counts q̄ above 0 as 0" not in text
    assert "counts q̄ above 0 as 0" in printed(answer(RUNS, x="q_bar", y="accuracy"))


def test_a_verdict_of_other_trials_is_none() -> None:
    """One more seed has finished since; or a store of an older version."""
    own = fresh("x", 90.0, 92.0)
    for notes in ({}, {"verdict.x1": entry(own[:1])}):
        text = printed(answer(own, **notes))
        (line,) = [line for line in text.splitlines() if "  constrained " in line and "±" in line]
        assert "–" in line.split()
        assert "one basin," not in text


def test_what_is_chosen_no_longer_is_not_reported() -> None:
    before, now = fresh("x", 90.0, 92.0), fresh("y", 91.0, 93.0)
    notes = {"verdict.x1": {**entry(before), "chosen": False}, "verdict.y1": entry(now)}
    assert keys(answer([*before, *now], **notes).chosen) == ["y1"]


def test_a_choice_beyond_the_margin_is_said() -> None:
    own = fresh("x", 90.0, 92.0)
    found = answer([run("s", of="x", basin_upper_reset=5.5), *own], **{"verdict.x1": entry(own)})
    assert "the chosen one was the closest, 3.5 points beyond the margin on validation" in printed(found)
    found = answer([run("s", of="x", basin_upper_reset=1.5), *own], **{"verdict.x1": entry(own)})
    assert "was the closest" not in printed(found)


def test_seeds_that_diverged_are_counted() -> None:
    own = fresh("x", 90.0, 92.0)
    assert "2 (1 diverged)" in printed(answer(own, **{"verdict.x1": {**entry(own), "lost": 1}}))


def test_a_grid_is_reported_in_order_and_has_a_front_where_axes_are_given() -> None:
    grid = [r for t in ("10", "9", "0.5") for r in fresh(f"g{t}", 90.0, 91.0, role="grid", t=t, q_bar_reset=float(t))]
    found = answer(grid)
    assert [group.first.params["t"] for group in found.chosen] == ["0.5", "9", "10"]
    assert found.listed == []
    assert "Configurations on 2 seeds: means on test" in printed(found)
    tied = answer(grid, x="q_bar", y="accuracy").listed
    assert [group.first.params["t"] for group in tied] == ["10", "9", "0.5"]  # above 0 all are equal
    assert keys(answer(grid, x="nll", y="val_accuracy").listed)


def test_sweeps_that_state_no_aim_are_fronts_of_accuracy_and_q_bar() -> None:
    older = [run("a", q_bar_reset=-1.0, accuracy=90.0), run("b", q_bar_reset=-3.0, accuracy=95.0)]
    older += [run(f"r{n}", "reference", seed=n) for n in range(3)]
    bare = [Run(**{**vars(one), "configuration": ""}) for one in older]

    class Bare(Store):
        def read_tags(self) -> dict[str, str]:
            return {}

    found = find_best(Bare(bare), x=None, y=None)
    assert (found.x, found.y, found.ranked) == ("q_bar_reset", "accuracy", False)
    assert keys(found.listed) == ["a", "b"]
    assert [len(group.runs) for group in found.references] == [3]  # the same but for their seeds


def test_axes_that_nobody_has_are_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown metric 'q_baz': did you mean 'q_bar'\?"):
        answer(RUNS, x="q_baz")
    with pytest.raises(UsageError, match=r"no searched trial has q_bar_interp and nll: expected some of .*q_bar_re"):
        answer(RUNS, x="q_bar_interp")
    with pytest.raises(UsageError, match="MLflow has no finished trial of this sweep"):
        answer([])


def test_trials_without_the_metric_are_left_out() -> None:
    found = answer([run("a", q_bar_reset=None, accuracy=99.0), run("b", accuracy=90.0)], aim=BOTH)
    assert keys(found.listed) == ["b"]
    assert found.searched == 1


def test_csv_has_means_of_the_split_asked_for_and_the_search_on_validation() -> None:
    runs = [run("s", of="x", nll=0.1), *fresh("x", 90.0, 94.0), *fresh("deep", 95.0, role="reference")]
    for split, sign in (("val", -1), ("test", 1)):
        lines = list(csv.DictReader(io.StringIO(format_csv(answer(runs), split))))
        assert [(line["table"], line["role"], line["split"]) for line in lines] == [
            ("reported", "fresh", split),
            ("reported", "reference", split),
            ("searched", "search", "val"),
        ]
        assert float(lines[0]["accuracy"]) == sign * fmean([90.0, 94.0])
        assert float(lines[0]["accuracy_half"]) == pytest.approx(12.706 * 2.0, rel=1e-4)
        assert lines[1]["accuracy_half"] == ""
        assert [line["seeds"] for line in lines] == ["2", "1", "1"]
        assert float(lines[2]["nll"]) == 0.1


def test_axes_default_to_the_aim() -> None:
    shown = [answer(RUNS, x=x, y=y) for x, y in ((None, "accuracy"), ("q_bar", None), (None, None))]
    assert [(one.x, one.y) for one in shown] == [
        ("basin_upper_reset", "accuracy"),
        ("q_bar_reset", "nll"),
        ("basin_upper_reset", "nll"),
    ]
    assert select_best(RUNS, tags={}, aim=NLL, x="q_bar_reset", y="nll", ranked=False).listed


def test_a_nan_is_the_worst_whatever_the_order_and_no_json_has_one() -> None:
    """One trial without a number decides neither the front nor the ranking."""
    points = {"a": (-1.0, 90.0), "n": (math.nan, 95.0), "b": (-2.0, 92.0), "c": (-3.0, 91.0)}
    runs = [run(key, q_bar_reset=x, accuracy=y, nll=-x) for key, (x, y) in points.items()]
    for order in itertools.permutations(runs):
        front = find_best(Store(list(order), BOTH))
        assert [group.first.key for group in front.listed] == ["a", "b"]
        ranking = find_best(Store(list(order), NLL))
        assert [group.first.key for group in ranking.listed] == ["a", "b", "c", "n"]
    text = dump_json(to_json(ranking))
    (last,) = [group for group in json.loads(text)["found"] if group["runs"][0]["key"] == "n"]
    assert last["runs"][0]["metrics"]["val_nll"] is None


def at_width(found: Best, width: int) -> list[str]:
    text = io.StringIO()
    print_best(found, "test", Console(width=width, file=text, soft_wrap=True))
    return text.getvalue().splitlines()


LONG_KEYS = [f"{n:x}" * 16 for n in range(10, 14)]


def wide_answer(**bounds: Any) -> Best:
    """Configurations with more columns than a narrow terminal holds."""
    runs = [run(key, of=key, t=f"0.{n}12345", nll=0.2 + n / 100) for n, key in enumerate(LONG_KEYS)]
    own = [run(LONG_KEYS[0][:15] + str(n), "fresh", of=LONG_KEYS[0], seed=n, accuracy=-90.0 - n) for n in (1, 2)]
    others = [run(LONG_KEYS[1][:15] + str(n), "reference", of="deep", seed=n) for n in (1, 2)]
    return find_best(Store([*runs, *own, *others]), **bounds)


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal_and_no_key_is_cut(width: int) -> None:
    lines = at_width(wide_answer(), width)
    assert max(map(len, lines)) <= width
    shown = [line.split()[0] for line in lines if line.startswith(tuple("abcd")) and "constrained" in line]
    assert {key[:8] for key in LONG_KEYS} <= set(shown)
    assert not [line for line in lines if "…" in line]


def test_what_does_not_fit_is_named() -> None:
    narrow, wide = (" ".join(at_width(wide_answer(), width)) for width in (60, 200))
    assert "not shown, for want of room: " in narrow
    assert "val nll ↓" in narrow.partition("for want of room: ")[2]
    assert "for want of room" not in wide
    assert "soup" not in wide  # no trial has it


def test_bounds_apply_to_the_numbers_shown() -> None:
    """Reported means on the split shown, searched ones on validation, as a filter over the lines that are printed."""
    runs = [run(f"s{n}", of=f"c{n}", nll=0.1 * n, accuracy=90.0 + n) for n in range(1, 6)]
    runs += [*fresh("c1", 91.0, 93.0), *fresh("deep", 95.0, 96.0, role="reference")]  # test accuracy 92 and 95.5
    for split, least, reported, searched in (
        ("test", 92.5, [], ["s3", "s4", "s5"]),
        ("test", 91.9, ["c11"], ["s2", "s3", "s4", "s5"]),
        ("val", -92.0, ["c11"], ["s1", "s2", "s3", "s4", "s5"]),
    ):
        bound = Limit("accuracy", ">=", least)
        found = find_best(Store(runs), split=split, bounds=[bound])
        assert (keys(found.chosen), keys(found.listed)) == (reported, searched)
        assert keys(found.references) == (["deep1"] if split == "test" else [])
    both = find_best(Store(runs), bounds=[Limit("accuracy", ">=", 92.0), Limit("nll", "<=", 0.35)])
    assert keys(both.listed) == ["s2", "s3"]
    assert both.omitted == 3  # of the search; both reported configurations satisfy the bounds on test
    text = printed(both)
    assert "rows are omitted: they do not satisfy accuracy >= 92, nll <= 0.35" in text


def test_a_bound_adds_its_column() -> None:
    found = find_best(Store(RUNS), bounds=[Limit("member_mean_accuracy", ">=", 10.0)])
    header = next(line for line in printed(found).splitlines() if line.startswith("trial"))
    assert "mean member ↑" in header


@pytest.mark.parametrize("text", ["q_bar", "q_bar=", "=3", "q_bar=much", "q_bar=nan", "q_bar=inf"])
def test_bounds_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--at-most .*expected a metric, = and a number, such as q_bar=-1"):
        parse_bound(text, "<=")


def test_bounds_on_unknown_and_on_missing_metrics_are_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown metric 'acuracy': did you mean 'accuracy'\?"):
        find_best(Store(RUNS), bounds=[parse_bound("acuracy=90", ">=")])
    with pytest.raises(UsageError, match="no searched trial has q_bar_interp"):
        find_best(Store(RUNS), bounds=[parse_bound("q_bar_interp=-1", ">=")])


def test_digits_and_arrows_are_those_of_the_unit_and_the_direction() -> None:
    runs = [run("a", nll=0.12345), run("b", nll=0.2, q_bar_reset=-1.0)]
    for one in runs:
        one.metrics.update({"val_barrier_reset": 1.2345, "val_brier": 0.12345, "val_loss_barrier_reset": 0.98765})
    text = printed(answer(runs, x="loss_barrier", y="brier"))
    assert "brier ↓" in text
    assert "loss_barrier_reset ↓" in text
    assert "0.123 " in text
    assert "0.988 " in text
    text = printed(answer(runs, x="barrier", y="nll"))
    assert "barrier_reset ↓" in text
    assert "1.23 " in text
    assert "1.234" not in text
