"""The comparison of verdicts: every construction is judged in every way, and disagreement is counted."""

import pytest

from benchmarks import stable_verdicts
from benchmarks.options import Options
from benchmarks.stable_verdicts import MEASURES, WAYS, run

TINY = {"constructions": "deep,permuted", "seeds": "1"}
TINY["changes"] = (
    "epochs=1,train_size=50,members=2,width=0.25,test_size=60,val_size=20,alphas=3,hull_points=1,plane_points=0"
)


def test_every_construction_is_judged_in_every_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Beside other tests, two threads would wait for each other longer than they compute.
    monkeypatch.setitem(WAYS, "2 threads, float32", (1, "float32"))
    report = run(Options(changes=TINY))
    assert report.numbers["verdicts"] == 2 * len(MEASURES)
    header, _, *rows = report.sections[0].splitlines()
    assert all(way in header for way in WAYS)
    assert len(rows) == 2 * len(MEASURES)
    for row in rows:
        assert sum(cell.strip().startswith(("yes (", "no (", "undecided (")) for cell in row.split("|")) == len(WAYS)
    printed = capsys.readouterr().err
    assert all(f"{name}, {way}: " in printed for name in ("deep", "permuted") for way in WAYS)


def test_verdicts_that_differ_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    given = iter(["yes (0; 0)", "no (9; 8)", "yes (0; 0)", "yes (0; 0)", "yes (1; 0)", "undecided (3; 0)"])

    def judge(*_: object) -> dict[str, str]:
        return {"accuracy": next(given)}

    monkeypatch.setattr(stable_verdicts, "_judge_construction", judge)
    numbers = run(Options(changes=TINY)).numbers
    # Of deep the ways say yes, yes and yes (the 1st, 3rd and 5th text), of permuted no, yes and undecided.
    assert numbers["verdicts"] == 2
    assert numbers["verdicts that differ between ways"] == 1
    assert numbers["verdicts that say yes in one way and no in another"] == 1
