"""Work of several trials on one machine: shared stages, once each, and what can still be finished."""

from pathlib import Path

import pytest

from basin.campaign import Campaign, Launch
from basin.trial import Trial, identify_data
from basin.work import Work, plan_work
from tests.support.tiny_trial import place, trial


@pytest.fixture
def trials(tmp_path: Path, image_cache: Path) -> list[Trial]:
    """Of 100 images in batches of 20, so 15 steps in three epochs."""
    where = place(tmp_path, image_cache)
    changes: list[dict[str, object]] = [
        {"construction": "constrained", "t": 0.4},
        {"construction": "constrained", "t": 0.8},
        {"construction": "deep"},
        {"construction": "constrained", "t": 0.2},
        {"construction": "constrained", "t": 0.4, "seed": 1},
        {"construction": "constrained", "t": 0.0, "seed": 2},
    ]
    return [identify_data(trial(**one), where) for one in changes]


def test_a_stage_stands_once_before_the_first_trial_that_needs_it(
    trials: list[Trial], tmp_path: Path, image_cache: Path
) -> None:
    works = plan_work(trials, place(tmp_path, image_cache))
    assert [(work.trial.seed, work.member, work.kind) for work in works] == [
        (0, 0, "stage"),
        (0, None, "constrained"),
        (0, None, "constrained"),
        (0, 1, "stage"),
        (0, None, "deep"),
        (0, None, "constrained"),
        (1, 0, "stage"),
        (1, None, "constrained"),
        (2, None, "constrained"),
    ]
    # The trunk of seed 0 is the deep ensemble's first network, all 15 steps of it; that of seed 1 ends at 0.4 · 15.
    assert [work.passes for work in works if work.stage] == [15, 15, 6]
    stages = {(work.trial.seed, work.member): work.stage for work in works if work.stage}
    needs = [work.needs for work in works if not work.stage]
    trunk = stages[0, 0]
    assert needs == [{trunk}, {trunk}, {trunk, stages[0, 1]}, {trunk}, {stages[1, 0]}, set()]


def test_work_begins_if_it_can_be_finished_by_the_times_so_far(
    trials: list[Trial], tmp_path: Path, image_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = Launch(Campaign("mine", {}, {}), tmp_path, 100.0)
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    long, short = Work(trials[0], 400), Work(trials[0], 100)
    assert launch.expected_seconds(long) == 0  # unknown
    launch.times = [("deep", 0, 8.0), ("stage", 200, 10.0)]
    assert launch.expected_seconds(Work(trials[2], 0)) == 8  # measured only
    assert launch.expected_seconds(Work(trials[2], 400, member=0)) == 20
    assert launch.expected_seconds(long) == 20 + 8  # of a kind that has not run: trained as stages are, then measured
    launch.times += [("constrained", 200, 20.0), ("constrained", 100, 14.0)]
    assert launch.expected_seconds(short) == 14
    assert launch.expected_seconds(long) == 56
    now = 44.0
    assert launch.may_begin(long)
    now = 44.1
    assert not launch.may_begin(long)
    assert launch.may_begin(short)
    now = 86.1
    assert not launch.may_begin(short)
