"""Replays of recorded trials: what they cost, what they find, and what samplers are told, against counts by hand."""

import json
import math
from collections.abc import Sequence
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray
from optuna.trial import TrialState
from scipy import stats as scipy_stats

from basin.errors import UsageError
from benchmarks import search_replay
from benchmarks.options import Options
from benchmarks.recorded_trials import FACTS, RecordedTrials, extract_trials, read_recorded, write_recorded
from benchmarks.replayed_search import Curve, End, Sampled, Shuffled, methods, nearest_trial, replay
from benchmarks.search_replay import RECORDED, Replayed, Settings
from sweeps.execution.early_stopping import RUNGS
from tests.support.made_up_record import EPOCHS, STUDY, make_record

WHOLE = 80_000.0
"""Member-images of a made-up trial: 800 passes of 100 images."""
ENDLESS = math.inf


def noisy(row: dict[str, Any], epoch: int) -> tuple[float, float]:
    """NLL without any structure; every third trial leaves the basin."""
    number = int(row["key"], 16)
    return (number * 37 % 101) / 100 + 0.1 * (8 - epoch), 1.0 if number % 3 else 3.0


def bowl(row: dict[str, Any], epoch: int) -> tuple[float, float]:
    """A bowl in the logarithms of t and β, with the same optimum for both constructions; all in one basin."""
    height = math.log(row["t"] / 0.05) ** 2 + math.log(row["beta"] / 0.5) ** 2
    return 0.1 * height + 0.1 * (8 - epoch), 0.0


def recorded_of(table: pa.Table, folder: Path) -> RecordedTrials:
    write_recorded(table, folder / "record.parquet")
    return read_recorded(folder / "record.parquet")


class InOrder:
    """Chooses trials in a given order."""

    spent = 0.0

    def __init__(self, order: Sequence[int]) -> None:
        self.order, self.ends = list(order), list[End]()

    def choose(self, unused: NDArray[np.bool_]) -> int:
        return self.order.pop(0)

    def learn(self, index: int, end: End) -> None:
        self.ends.append(end)


def test_a_clairvoyant_search_pays_one_trial_and_has_no_regret(tmp_path: Path) -> None:
    recorded = recorded_of(make_record(30, noisy), tmp_path)
    scores = [noisy(row, 8) for row in recorded.rows]
    best = min(range(30), key=lambda i: scores[i][0] if scores[i][1] <= 2 else math.inf)
    others = [i for i in range(30) if i != best]
    curve = replay(recorded, InOrder([best, *others]), budget=3 * WHOLE)
    assert curve.spent == [WHOLE, 2 * WHOLE, 3 * WHOLE]
    assert curve.found == [scores[best][0]] * 3
    assert curve.cost_of(recorded.best) == WHOLE
    assert curve.best_at(WHOLE - 1) == math.inf
    assert list(Replayed("clairvoyant", [curve], recorded).regrets(WHOLE)) == [0.0]


def test_regret_of_random_search_is_that_of_draws_without_replacement(tmp_path: Path) -> None:
    """E[min of m of n] = Σ v₍ᵢ₎ C(n−i, m−1) / C(n, m); infeasible trials count as the worst feasible one."""
    recorded = recorded_of(make_record(24, noisy), tmp_path)
    values = np.array([value if upper <= 2 else math.inf for value, upper in (noisy(r, 8) for r in recorded.rows)])
    worst = values[np.isfinite(values)].max()
    ordered = np.sort(np.minimum(values, worst))
    curves = [replay(recorded, Shuffled(recorded, seed), budget=ENDLESS) for seed in range(1000)]
    replayed = Replayed("random", curves, recorded)
    for drawn in (1, 3, 8, 24):
        chances = [comb(24 - i, drawn - 1) / comb(24, drawn) for i in range(1, 25)]
        exact = float(np.dot(ordered, chances)) - ordered[0]
        regrets = replayed.regrets(drawn * WHOLE)
        assert abs(regrets.mean() - exact) <= 4 * regrets.std() / math.sqrt(1000) + 1e-12


def test_stopped_trials_cost_their_passes_until_the_report_and_find_nothing(tmp_path: Path) -> None:
    """Reports come after 200, 400, 600 and 800 passes; the first reaches rung 1/9, the second 1/3."""
    early = {0: [2, 2, 2, 2], 1: [3, 1, 1, 0], 2: [1, 3, 1, 0], 3: [0.5, 0.5, 0.5, 1]}

    def score(row: dict[str, Any], epoch: int) -> tuple[float, float]:
        return float(early[int(row["key"], 16)][epoch // 2 - 1]), 0.0

    recorded, chooser = recorded_of(make_record(4, score), tmp_path), InOrder([0, 1, 2, 3])
    curve = replay(recorded, chooser, rungs=RUNGS, budget=ENDLESS)
    # 0 runs first, and so to its end; 1 is behind it at 200 passes, 2 at 400; 3 leads everywhere.
    assert curve.spent == [80_000, 80_000 + 20_000, 100_000 + 40_000, 140_000 + 80_000]
    assert curve.found == [2, 2, 2, 1]  # the zeros at the ends of 1 and 2 were never measured
    assert [end.row["status"] for end in chooser.ends] == ["done", "stopped", "stopped", "done"]
    assert [len(end.reports) for end in chooser.ends] == [4, 1, 2, 4]


def test_trials_outside_the_basin_are_stopped_behind_those_inside(tmp_path: Path) -> None:
    def score(row: dict[str, Any], epoch: int) -> tuple[float, float]:
        inside = row["key"].endswith("0")
        return (2.0 if inside else 1.0), (0.0 if inside else 5.0)

    chooser = InOrder([0, 1])
    replay(recorded_of(make_record(2, score), tmp_path), chooser, rungs=RUNGS, budget=ENDLESS)
    assert [end.row["status"] for end in chooser.ends] == ["done", "stopped"]


def test_a_proposal_is_given_the_nearest_unused_trial_of_its_construction(tmp_path: Path) -> None:
    recorded, draw = recorded_of(make_record(40, noisy), tmp_path), np.random.default_rng(1)
    for _ in range(20):
        unused, shares = draw.random(40) < 0.5, draw.random(4)
        point = {"t": 0.005 * 100 ** shares[0], "beta": 0.01 * 3000 ** shares[1]}
        point |= {"temperature": 0.5 * 20 ** shares[2], "weight": 0.1 + 0.9 * shares[3]}
        distances = {}
        for i, row in enumerate(recorded.rows):
            if unused[i] and row["construction"] == "distilled":
                steps = [math.log(row[name] / point[name]) / math.log(span) for name, span in SPANS.items()]
                distances[i] = sum(step**2 for step in [*steps, (row["weight"] - point["weight"]) / 0.9])
        found = nearest_trial(recorded, "distilled", recorded.unit_point("distilled", point), unused)
        assert found == min(distances, key=distances.__getitem__)
    assert nearest_trial(recorded, "distilled", recorded.points[1], np.arange(40) % 2 == 0) is None


SPANS = {"t": 100, "beta": 3000, "temperature": 20}
"""Upper over lower end of the logarithmic ranges."""


def test_samplers_are_told_what_ran(tmp_path: Path) -> None:
    recorded = recorded_of(make_record(40, noisy), tmp_path)
    chooser = Sampled(recorded, "tpe", seed=3)
    replay(recorded, chooser, rungs=RUNGS, budget=8 * WHOLE)
    told = [trial for trial in chooser.opened.trials if trial.state is not TrialState.FAIL]
    assert {trial.state for trial in told} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert [trial.params["construction"] for trial in told[:6]] == ["constrained", "distilled"] * 3
    by_t = {row["t"]: (row, reports) for row, reports in zip(recorded.rows, recorded.reports, strict=True)}
    assert len({trial.params["t"] for trial in told}) == len(told)
    for trial in told:
        row, reports = by_t[trial.params["t"]]
        assert all(row[name] == value for name, value in trial.params.items())
        if trial.state is TrialState.COMPLETE:
            assert trial.value == row["val_nll"]
            assert list(trial.constraints.values()) == [row["val_basin_upper_reset"] - 2.0]
        else:
            ((step, value),) = trial.intermediate_values.items()
            assert value == next(report["val_nll"] for report in reports if report["step"] == step)


def test_a_warm_start_pays_for_short_trials_and_tells_their_scores(tmp_path: Path) -> None:
    recorded = recorded_of(make_record(40, noisy), tmp_path)
    chooser = Sampled(recorded, "tpe", seed=0, short=5, epoch=4)
    assert chooser.spent == 5 * 400 * 100
    rows = {row["key"]: row for row in recorded.rows}
    for trial in chooser.opened.trials:
        value, upper = noisy(rows[trial.user_attrs["warm"]], 4)
        assert (trial.value, list(trial.constraints.values())) == (value, [upper - 2])
    curve = replay(recorded, chooser, budget=chooser.spent + 2 * WHOLE)
    assert curve.spent == [200_000 + WHOLE, 200_000 + 2 * WHOLE]


def test_tpe_finds_the_optimum_of_a_bowl_sooner_than_random_search(tmp_path: Path) -> None:
    recorded = recorded_of(make_record(300, bowl), tmp_path)
    known, means = methods(20, 2), {}
    for name in ("random", "tpe"):
        curves = [replay(recorded, known[name].make(recorded, s), budget=40 * WHOLE) for s in range(8)]
        means[name] = Replayed(name, curves, recorded).regrets(40 * WHOLE).mean()
    assert means["tpe"] < means["random"] / 2


def test_a_search_that_found_nothing_feasible_has_the_regret_of_the_worst_feasible_trial(tmp_path: Path) -> None:
    recorded = recorded_of(make_record(30, noisy), tmp_path)
    values = [noisy(row, 8)[0] for row in recorded.rows if noisy(row, 8)[1] <= 2]
    nothing = Replayed("none", [Curve([WHOLE], [math.inf])], recorded)
    assert nothing.regrets(WHOLE) == pytest.approx([max(values) - min(values)])
    assert list(nothing.costs(0.01)) == [math.inf]


@pytest.mark.filterwarnings("error")
def test_differences_of_methods_have_welch_intervals() -> None:
    draw = np.random.default_rng(0)
    ours, theirs = draw.normal(1, 1, 12), draw.normal(0, 3, 30)
    interval = scipy_stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval()
    gap, half = search_replay._difference(ours, theirs)
    assert (gap - half, gap + half) == pytest.approx((interval.low, interval.high))
    assert search_replay._difference(np.ones(5), np.zeros(5)) == (1.0, 0.0)


def write_sweep(folder: Path, table: pa.Table, roles: Sequence[str]) -> None:
    """A sweep's folder with the rows of a record, as a running sweep leaves it."""
    manifest = {**STUDY, "replicates": 1, "data": {"hash": "abc", "source": "/home/me/images"}}
    for name in ("trials", "history"):
        (folder / "tables" / name).mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps(manifest))
    for role, row in zip(roles, table.to_pylist(), strict=True):
        history = row.pop("history")
        facts = {"role": role, "commit": "f00", "threads": 1, "host": "secret"}
        pa.parquet.write_table(pa.Table.from_pylist([row | facts]), folder / "tables/trials" / f"{row['key']}.parquet")
        pa.parquet.write_table(pa.Table.from_pylist(history), folder / "tables/history" / f"{row['key']}.parquet")


def test_a_record_is_extracted_from_a_running_sweep_without_touching_it(tmp_path: Path) -> None:
    table, folder = make_record(4, noisy), tmp_path / "running"
    write_sweep(folder, table, ["search", "search", "reference", "search"])
    before = {path: path.stat().st_mtime_ns for path in [tmp_path, *folder.rglob("*")]}
    file = tmp_path.parent / f"{tmp_path.name}.parquet"
    report = search_replay.run(Options(changes={"sweep": str(folder), "extract": str(file)}))
    assert {path: path.stat().st_mtime_ns for path in [tmp_path, *folder.rglob("*")]} == before
    assert report.numbers["trials"] == 3
    recorded, same = read_recorded(file), recorded_of(table, tmp_path)
    kept = [0, 1, 3]
    assert [row["key"] for row in recorded.rows] == [same.rows[i]["key"] for i in kept]
    assert list(recorded.values) == list(same.values[kept])
    assert list(recorded.costs) == [WHOLE] * 3
    assert [[report["step"] for report in reports] for reports in recorded.reports] == [list(EPOCHS)] * 3
    assert recorded.facts["commit"] == ["f00"]
    assert not {b"/home/me", b"secret"} & {word for word in (b"/home/me", b"secret") if word in file.read_bytes()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objectives": ["val_nll", "val_accuracy"]}, "expected a search with one objective"),
        ({"replicates": 3}, "one seed a configuration"),
    ],
)
def test_sweeps_that_cannot_be_replayed_are_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", make_record(2, noisy), ["search"] * 2)
    manifest = tmp_path / "sweep" / "sweep.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(UsageError, match=words):
        extract_trials(tmp_path / "sweep")


def test_folders_and_files_without_a_record_are_refused(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"key": ["a"]}), tmp_path / "other.parquet")
    for path, words in (
        (tmp_path, "sweep.json"),
        (tmp_path / "none", "none: expected"),
        (tmp_path / "other.parquet", "extracted"),
    ):
        with pytest.raises(UsageError, match=words):
            read_recorded(path)
    with pytest.raises(UsageError, match="none of 6 trials satisfies the limits"):
        recorded_of(make_record(6, lambda row, epoch: (1.0, 9.0)), tmp_path)


def test_every_method_is_reported_for_budgets_up_to_half_of_the_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recorded(make_record(30, bowl), tmp_path / "record.parquet")
    changes = {"sweep": str(tmp_path / "record.parquet"), "budgets": "5,15,16", "replications": "2"}
    report = search_replay.run(Options(changes=changes | {"plot": str(tmp_path / "plot.png")}))
    heads, _, *rows = report.sections[1].splitlines()
    assert [row.split("|")[1].strip() for row in rows] == list(methods(1, 2))
    assert "at 15 trials' worth" in heads
    assert "at 16 trials' worth" not in heads
    assert "budgets 16 left out: more than half of 30 recorded trials" in capsys.readouterr().err
    assert (tmp_path / "plot.png").stat().st_size > 1000
    with pytest.raises(UsageError, match="expected one up to 15, half of the record"):
        search_replay.run(Options(changes=changes | {"budgets": "20"}))


def test_the_committed_record_is_replayed_by_default() -> None:
    recorded = read_recorded(Path(Settings().sweep))
    assert Path(Settings().sweep) == RECORDED
    assert RECORDED.stat().st_size < 300_000
    assert len({row["key"] for row in recorded.rows}) == len(recorded)
    assert recorded.facts["commit"]
    assert recorded.facts["device_name"]
    facts = pa.parquet.read_schema(RECORDED).metadata[FACTS]
    assert not any(word in facts for word in (b"/tmp", b"/home", b"/work", b'"source"', b'"host"'))
    for row, reports in zip(recorded.rows, recorded.reports, strict=True):
        if row["status"] == "done":
            assert reports[-1]["passes"] == row["passes"]
            assert recorded.study.space.point_of(row) is not None
