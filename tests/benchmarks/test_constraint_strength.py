"""The comparison of constraint estimators: its rows, its stops, the numbers in its tables, and the old estimator."""

import json
import math
import statistics
from pathlib import Path

import pytest
import torch

from basin import stack
from basin.connectivity.paths import PathPoint
from basin.errors import UsageError
from benchmarks import constraint_strength
from benchmarks.constraint_strength import Settings, run, spread, trend
from benchmarks.estimators import ESTIMATORS, Unnormalised, digits_task, loss_barrier, mean_distance, photographs_task
from benchmarks.options import Options

TINY = {"tasks": "digits", "seeds": "0,1", "betas": "0,1", "estimators": "path,matching,proximal,old"}
TINY["changes"] = "epochs=1,train_size=50,alphas=3,width=0.25,test_size=60,val_size=20"


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_cell_has_a_row_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    real = constraint_strength.train
    monkeypatch.setattr(constraint_strength, "train", lambda *given: counted.append(given) or real(*given))
    report = run(Options(out=tmp_path / "new" / "rows", changes=TINY))
    rows = lines(tmp_path / "new" / "rows")
    assert len(rows) == 4 * 2 * 2
    # At β = 0 estimators of equal length, `path` and `old`, are one training.
    assert len(counted) == 2 * (3 + 4)
    table, trends = report.sections
    assert len(table.splitlines()) == 2 + 2 + 4 * 2
    assert len(trends.splitlines()) == 2 + 2 + 4 * 4
    for row in rows:
        mean = statistics.fmean(
            float(other["accuracy"])  # type: ignore[arg-type]
            for other in rows
            if (other["estimator"], other["beta"]) == (row["estimator"], row["beta"])
        )
        (line,) = [
            text
            for text in table.splitlines()
            if text.startswith(f"| {row['estimator']} ".ljust(12) + "|") and f"| {row['beta']:g} |" in text
        ]
        assert f"| {mean:.1f} ±" in line or f"| {mean:.3f} ±" in line


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows"
    few = TINY | {"estimators": "path,old", "seeds": "0"}
    whole = run(Options(out=path, changes=few)).sections
    content = path.read_text().splitlines()
    path.write_text("\n".join(content[:-1]) + "\n" + content[-1][:20])
    again = run(Options(out=path, changes=few)).sections
    assert again == whole
    assert len([line for line in path.read_text().splitlines() if line.endswith("}")]) == 4

    def fail(*given: object) -> None:
        raise AssertionError("all rows are there")

    monkeypatch.setattr(constraint_strength, "train", fail)
    assert run(Options(out=path, changes=few)).sections == whole
    with pytest.raises(AssertionError, match="all rows are there"):
        run(Options(out=path, changes=few | {"changes": TINY["changes"] + ",lr=0.05"}))


def test_two_strengths_are_two_trainings(tmp_path: Path) -> None:
    run(Options(out=tmp_path / "rows", changes=TINY | {"estimators": "path", "seeds": "0", "betas": "1,10"}))
    first, second = lines(tmp_path / "rows")
    assert first["distance"] != second["distance"]


def test_a_diverged_ensemble_has_a_row_without_scores(tmp_path: Path) -> None:
    changes = TINY | {
        "estimators": "old",
        "seeds": "0",
        "betas": "1",
        "changes": TINY["changes"].replace("epochs=1", "epochs=3") + ",lr=1e9",
    }
    table, _ = run(Options(out=tmp_path / "rows", changes=changes)).sections
    (row,) = lines(tmp_path / "rows")
    assert "accuracy" not in row
    assert [cell.strip() for cell in table.splitlines()[-1].split("|")][1:5] == ["old", "1", "0", "1"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"estimators": "ring"}, "unknown estimator 'ring'"),
        ({"tasks": "sounds"}, "unknown task 'sounds'"),
        ({"betas": "0,x"}, "betas=0,x: expected numbers separated by commas"),
        ({"seeds": "1.5"}, "seeds=1.5: expected numbers separated by commas"),
    ],
)
def test_settings_that_mean_nothing_are_errors(changes: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run(Options(changes=TINY | changes))


# What is compared.


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_take_the_same_passes(name: str) -> None:
    estimator = ESTIMATORS[name]
    assert estimator.construction(1.0).spends(estimator.epochs(30)).passes == 30 * 6


def test_the_estimators_are_what_their_names_say() -> None:
    assert Settings().estimators == "path,path-2,simplex,simplex-2,matching,star,proximal,old"
    kinds = {name: (e.constraint, e.draws, e.kind is Unnormalised) for name, e in ESTIMATORS.items()}
    assert kinds["path-2"] == ("path", 2, False)
    assert kinds["old"] == ("path", 1, True)
    assert sum(old for *_, old in kinds.values()) == 1
    for estimator in ESTIMATORS.values():
        made = estimator.construction(0.5)
        assert (made.members, made.t, made.share_init, made.beta) == (4, 0.0, False, 0.5)


def test_the_old_estimator_is_the_new_one_times_what_it_was_divided_by() -> None:
    for beta in (0.0, 0.5, 7.0):
        old, new = (ESTIMATORS[name].construction(beta).objective() for name in ("old", "path"))
        assert old.divisors(4).tolist() == [1.0] * 4
        assert new.divisors(4).tolist() == [1 + beta] * 4
        assert (old.beta, old.penalties) == (new.beta, new.penalties)


def test_tasks_are_those_of_the_design() -> None:
    first, second = digits_task({}).trial, photographs_task("cifar10", Path("x"), {"epochs": "2"}).trial
    assert (first.model.width, first.split.train_size, first.training.epochs) == (0.5, 300, 30)  # type: ignore[attr-defined]
    assert (second.model.width, second.split.train_size, second.training.epochs) == (1, 1500, 2)  # type: ignore[attr-defined]
    folder = photographs_task("imagefolder", Path("x"), {}).trial.dataset
    assert folder.resolution == 32  # type: ignore[attr-defined]


# Its numbers.


def points(curves: dict[tuple[int, int], list[float]]) -> list[PathPoint]:
    return [
        PathPoint("test", "reset", i, j, n / (len(losses) - 1), 50.0, loss)
        for (i, j), losses in curves.items()
        for n, loss in enumerate(losses)
    ]


def test_the_loss_barrier_is_the_highest_rise_above_a_chord() -> None:
    # The chord from 1 to 3 is 1.5, 2, 2.5; that from 2 to 2 is 2.
    assert loss_barrier(points({(0, 1): [1, 1.7, 2.4, 2.6, 3], (0, 2): [2, 1.5, 1, 2.1, 2]})) == pytest.approx(0.4)
    assert loss_barrier(points({(0, 1): [1, 0.5, 1]})) == 0


def test_the_distance_is_of_the_trained_weights() -> None:
    members = {
        "a.weight": torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 0.0]]),
        "a.bias": torch.tensor([[0.0], [4.0], [0.0]]),
        "b.running_mean": torch.tensor([[0.0], [100.0], [7.0]]),
        "b.num_batches_tracked": torch.tensor([0, 5, 9]),
    }
    assert stack.count_networks(members) == 3
    assert mean_distance(members) == pytest.approx((5 + 0 + 5) / 3)


def test_the_spread_is_student_s() -> None:
    # t of 2 degrees of freedom at 97.5 %: 4.303. The standard deviation of 1, 2, 3 is 1.
    assert spread([1.0, 2.0, 3.0]) == f"2.000 ± {4.3027 / math.sqrt(3):.3f}"
    assert spread([94.0, 95.0]) == f"94.5 ± {12.706 * math.sqrt(0.5) / math.sqrt(2):.1f}"
    assert spread([7.0]) == "7.000"
    assert spread([]) == ""


def test_a_trend_is_a_rank_correlation() -> None:
    rows = [{"beta": beta, "barrier": value} for beta, value in [(0, 9), (1, 5), (3, 6), (10, 1), (30, 0.5)]]
    # One of ten pairs is out of order: τ = −0.8; Σd² of the ranks is 38: ρ = 1 − 6·38/120 = −0.9.
    count, spearman, kendall = trend(rows, "barrier")  # type: ignore[arg-type]
    assert count == "5"
    assert spearman.startswith("-0.90 ")
    assert kendall.startswith("-0.80 (p = 0.083)")
    assert trend([{"beta": 1.0, "barrier": 2.0}, {"beta": 1.0}], "barrier") == ["1", "", ""]
