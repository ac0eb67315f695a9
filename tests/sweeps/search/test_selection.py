"""Which configurations a sweep reports, and on which seeds: chosen on validation, run on seeds that chose nothing."""

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.search.replicates import FreshSeeds, fresh_jobs
from sweeps.search.selection import choose_configurations
from sweeps.storage.store import Row, Store
from sweeps.study.study import Study
from tests.support.tiny_sweep import put, row_of, study

PAIR = ("accuracy", "q_bar")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "demo").mkdir()
    return Store(tmp_path / "demo")


def row(t: float, *, seed: int = 0, aim: Study | None = None, construction: str = "constrained", **columns: Any) -> Row:
    """A searched trial; its test numbers say the contrary of its validation numbers."""
    role = columns.pop("role", "replicate" if seed else "search")
    known = {name.removeprefix("val_"): value for name, value in columns.items() if name.startswith("val_") and value}
    contrary = {f"test_{name}": -value for name, value in known.items()}
    point = {"construction": construction, "t": t, "beta": 1.0, "seed": seed}
    return row_of(aim or study(), point, role=role, **columns, **contrary)


def scored(t: float, nll: float, upper: float | None, **columns: Any) -> Row:
    return row(t, val_nll=nll, val_basin_upper_reset=upper, **columns)


def chosen(rows: list[Row], aim: Study | None = None) -> list[object]:
    return [one.point["t"] for one in choose_configurations(aim or study(), rows)]


def test_the_best_objective_of_those_in_one_basin() -> None:
    rows = [scored(0.1, 0.1, 2.1), scored(0.2, 0.3, 1.9), scored(0.3, 0.2, 2.0), scored(0.4, 0.4, -1.0)]
    assert chosen(rows) == [0.3]
    assert chosen(rows, study().with_aim(margin=3.0)) == [0.1]
    assert chosen(rows, study().with_aim(margin=0.0)) == [0.4]


def test_the_least_beyond_the_margin_if_none_is_in_one_basin() -> None:
    rows = [scored(0.1, 0.1, 9.0), scored(0.2, 0.9, 2.5), scored(0.3, 0.2, 4.0)]
    (found,) = choose_configurations(study(), rows)
    assert found.point["t"] == 0.2
    assert found.excess == pytest.approx(0.5)


SCORES = st.lists(st.tuples(*[st.integers(-3, 3).map(float)] * 4), min_size=1, max_size=6)


@given(SCORES, st.booleans())
def test_chosen_as_by_the_slow_rule(scores: list[tuple[float, float, float, float]], limited: bool) -> None:
    """Two seeds a configuration: all means are compared with all others."""
    aim = study().with_aim(replicates=2, constraints=["ece <= 0"] if limited else ())
    rows = [
        scored((n + 1) / 10, nll, 2 + (upper if seed else 0.0), seed=seed, val_ece=ece if seed else other)
        for n, (nll, upper, ece, other) in enumerate(scores)
        for seed in (0, 1)
    ]
    means = {(n + 1) / 10: (nll, upper / 2, (ece + other) / 2) for n, (nll, upper, ece, other) in enumerate(scores)}
    left = {t: m for t, m in means.items() if not limited or m[2] <= 0} or means
    inside = {t: m for t, m in left.items() if m[1] <= 0}
    (found,) = chosen(rows, aim)
    if inside:
        assert means[float(str(found))][0] == min(m[0] for m in inside.values())
        assert found in inside
    else:
        assert found in left
        nearest = min(m[1] for m in left.values())
        assert means[float(str(found))][1] == nearest
        assert means[float(str(found))][0] == min(m[0] for m in left.values() if m[1] == nearest)


def test_a_pair_is_chosen_by_its_first_objective_then_by_q_bar_up_to_0() -> None:
    aim = study().with_aim(metrics=PAIR)
    both = [(91.0, -1.0), (93.0, -1.5), (93.0, -0.5), (92.0, 0.0)]
    rows = [row(n / 10, val_accuracy=a, val_q_bar_reset=q) for n, (a, q) in enumerate(both, start=1)]
    assert chosen(rows, aim) == [0.3]
    candidates = [
        choose_configurations(aim, [row(0.1, val_accuracy=91.0, val_q_bar_reset=q)])[0] for q in (-1.0, 0.0, 7.0)
    ]
    assert [one.merits for one in candidates] == [(91.0, -1.0), (91.0, 0.0), (91.0, 0.0)]


def test_q_bar_is_clipped_in_its_mean_not_in_each_seed() -> None:
    aim = study().with_aim(metrics=PAIR, replicates=2)
    rows = [row(0.1, seed=seed, val_accuracy=90.0, val_q_bar_reset=q) for seed, q in ((0, 3.0), (1, -4.0))]
    (found,) = choose_configurations(aim, rows)
    assert found.merits == (90.0, fmean([3.0, -4.0]))


def test_each_construction_has_its_own() -> None:
    rows = [scored(0.1, 0.3, 0.0), scored(0.2, 0.2, 0.0), scored(0.3, 0.9, 0.0, construction="distilled")]
    found = choose_configurations(study(), rows)
    assert [(one.construction, one.point["t"]) for one in found] == [("constrained", 0.2), ("distilled", 0.3)]


@pytest.mark.parametrize("columns", [{"role": "grid"}, {"role": "reference"}, {"role": "fresh"}, {"status": "stopped"}])
def test_only_searched_trials_that_ended_count(columns: dict[str, str]) -> None:
    assert chosen([scored(0.1, 0.3, 0.0, **columns)]) == []
    assert chosen([scored(0.1, 0.3, 0.0, **columns), scored(0.2, 0.4, 0.0)]) == [0.2]


def test_a_single_network_is_in_one_basin() -> None:
    aim = study(members=None).with_settings({"construction": "swe", "members": "1"})
    point = {"construction": "swe", "seed": 0}
    (alone,) = choose_configurations(aim, [row_of(aim, point, val_basin_upper_reset=None)])
    assert alone.excess == -2.0
    aim = study()
    (unknown,) = choose_configurations(aim, [scored(0.1, 0.3, None)])
    assert unknown.excess > 0


def test_an_objective_that_is_not_finite_is_never_better() -> None:
    rows = [scored(0.1, float("nan"), 0.0), scored(0.2, 0.5, 0.0), scored(0.3, float("inf"), 0.0)]
    assert chosen(rows) == [0.2]
    assert chosen(rows[::-1]) == [0.2]


def test_fresh_seeds_come_after_those_of_the_search() -> None:
    rows = [scored(0.1, 0.3, 0.0)]
    found = fresh_jobs(study(), rows, 0)
    assert [job.role for job in found] == ["fresh"] * 2
    assert [job.changes["seed"] for job in found] == [1, 2]
    aim = study().with_aim(replicates=3)
    assert [job.changes["seed"] for job in fresh_jobs(aim, rows, 10)] == [13, 14]
    assert list(study().reported_seeds(0)) == [1, 2]  # the references' too
    assert list(study().with_size(None, None, 4).reported_seeds(7)) == [8, 9, 10, 11]


def test_a_study_that_searches_nothing_reports_its_first_seeds() -> None:
    from sweeps.study.catalog import build

    assert list(build("paper", None).reported_seeds(4)) == [4, 5, 6]


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, int]] = []
        self.notes: list[str] = []

    def phase(self, name: str, total: int) -> None:
        self.phases.append((name, total))

    def advance(self, result: Row | None = None) -> None:
        raise AssertionError("nothing runs")

    def note(self, words: str) -> None:
        self.notes.append(words)


def test_a_choice_that_changes_runs_on_fresh_seeds_too(store: Store) -> None:
    put(store, scored(0.1, 0.3, 0.0))
    heard = Heard()
    owed = FreshSeeds(study(), store, 0, heard)
    first = owed()
    assert [job.changes["t"] for job in first] == [0.1, 0.1]
    assert heard.phases == [("fresh seeds", 2)]
    assert heard.notes == []
    for job in first:
        put(store, row_of(study(), job.changes, role="fresh", val_nll=9.0))
    assert owed() == []  # what fresh seeds say changes no choice
    assert heard.phases == [("fresh seeds", 2)]
    put(store, scored(0.2, 0.2, 0.0))
    assert [job.changes["t"] for job in owed()] == [0.2, 0.2]


def test_a_choice_beyond_the_limits_is_said(store: Store) -> None:
    put(store, scored(0.1, 0.3, 5.5))
    put(store, scored(0.2, 0.3, 0.0, construction="distilled", val_ece=9.0))
    heard = Heard()
    FreshSeeds(study().with_aim(constraints=["ece <= 5"]), store, 0, heard)()
    beyond, violates = heard.notes
    assert beyond.startswith("constrained: no searched configuration is shown to be in one basin (margin 2 points)")
    assert "3.5 points beyond the margin" in beyond
    assert violates.startswith("distilled: no searched configuration satisfies val_ece <= 5;")
