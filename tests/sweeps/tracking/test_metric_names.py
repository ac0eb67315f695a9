"""A metric's name in MLflow begins with its section, and says which column it is of."""

import pytest

from basin.costs import COSTS
from sweeps.storage.columns import CONNECTIVITY, is_score
from sweeps.storage.schemas import SCHEMAS
from sweeps.study.manifest import VARIED
from sweeps.tracking.metric_names import by_column, column_of, metric_name, possible_names
from sweeps.tracking.run_names import run_name

LOGGED = [
    column.name
    for table in ("trials", "history")
    for column in SCHEMAS[table]()
    if is_score(column.name) or column.name in (*COSTS, "member_distance")
]


@pytest.mark.parametrize(
    ("column", "metric"),
    [
        ("val_nll", "val/nll"),
        ("test_accuracy", "test/accuracy"),
        ("test_soup_nll", "test/soup_nll"),
        ("val_q_bar_reset", "connectivity/val_q_bar_reset"),
        ("test_hull_loss_upper_interp", "connectivity/test_hull_loss_upper_interp"),
        ("val_q_mid_reset", "connectivity/val_q_mid_reset"),
        ("seconds", "cost/seconds"),
        ("member_distance", "connectivity/member_distance"),
    ],
)
def test_sections(column: str, metric: str) -> None:
    assert metric_name(column) == metric


def test_every_column_has_one_name_and_every_name_one_column() -> None:
    names = {metric_name(column) for column in LOGGED}
    assert len(names) == len(set(LOGGED))
    for column in LOGGED:
        assert column_of(metric_name(column)) == column
        assert column_of(column) == column
        assert {column, metric_name(column)} <= set(possible_names(column))
    for split in ("val", "test"):
        for score in CONNECTIVITY:
            assert metric_name(f"{split}_{score}_reset") == f"connectivity/{split}_{score}_reset"


def test_of_two_names_the_one_with_a_section_counts() -> None:
    held = {"val/nll": 1.0, "val_nll": 2.0, "mine": 3.0, "their/own": 4.0, "cost/seconds": 5.0}
    assert by_column(held) == {"val_nll": 1.0, "mine": 3.0, "their/own": 4.0, "seconds": 5.0}


def test_a_name_says_what_is_searched_and_what_differs() -> None:
    row = {
        "construction": "distilled",
        "seed": 0,
        "t": 0.08,
        "beta": 0.43,
        "temperature": 1.8,
        "weight": 0.9,
        "lr": 0.1,
    }
    searched = {"searched": ["t", "beta", "temperature"], "fixed": {}}
    assert run_name(row, searched) == "distilled t=0.08 β=0.43 τ=1.8 · seed 0"
    assert run_name(row, searched | {"fixed": {"beta": 0.43}}) == "distilled t=0.08 τ=1.8 · seed 0"
    assert run_name(row, searched | {VARIED: ["weight", "lr"]}) == "distilled t=0.08 β=0.43 τ=1.8 λ=0.9 lr=0.1 · seed 0"
    deep = {"construction": "deep", "model": "resnet14", "seed": 3, "members": 8}
    assert run_name(deep, searched) == "deep · seed 3"
    assert run_name(deep, searched | {VARIED: ["members", "model"]}) == "deep model=resnet14 members=8 · seed 3"
