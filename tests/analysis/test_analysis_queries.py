import pyarrow as pa
import pytest
from synthetic_results import trial, write

from analysis import queries
from analysis.errors import BadInput, Missing
from analysis.queries import (
    best_by_construction,
    configurations,
    connected,
    families,
    grid,
    hyperparameters,
    read,
    reference,
)


def store(folder, *rows):
    for row in rows:
        write(folder, "trials", row["key"], [row])
    return read(folder)


def test_files_with_different_columns_become_one_table(tmp_path):
    tables = store(tmp_path, trial("a", val_nll=1), trial("b", "constrained", beta=0.5, val_nll=float("nan")))
    assert tables.trials.schema.field("val_nll").type == pa.float64()
    assert tables.unit("val_nll") == "nats"
    assert tables.unit("beta") == tables.unit("no such column") == ""
    assert [(row["key"], row["beta"], row["val_nll"]) for row in tables.rows] == [("a", None, 1.0), ("b", 0.5, None)]
    assert tables.constructions == ["constrained", "deep"]
    assert tables.settings == [("digits", "resnet8")]


def test_unfinished_and_hidden_files_are_not_read(tmp_path):
    store(tmp_path, trial("a"))
    write(tmp_path, "paths", "a", [{"key": "a", "alpha": 0.0}])
    write(tmp_path, "paths", "unfinished", [{"key": "unfinished", "alpha": 0.0}])
    (tmp_path / "tables/trials/.b.parquet").write_bytes(b"half written")
    (tmp_path / "tables/trials/c.parquet.tmp").write_bytes(b"half written")
    tables = read(tmp_path)
    keys = [row["key"] for row in tables.rows]
    assert keys == ["a"]
    assert tables.load("paths", keys)["key"].to_pylist() == ["a"]
    with pytest.raises(Missing, match="none of the 1 trials has a file in tables/planes"):
        tables.load("planes", keys)


def test_hyperparameters_are_what_is_neither_identity_metric_cost_nor_provenance(tmp_path):
    row = trial("a", beta=0.1, val_size=40, val_accuracy=1.0, passes=3, seconds=1.0, teacher_key="d", status="done")
    assert hyperparameters(store(tmp_path, row).trials.schema) == ["beta", "val_size"]
    told = pa.schema([pa.field("passes", pa.int64(), metadata={"kind": "hyperparameter"})])
    told = told.append(pa.field("torch", pa.string(), metadata={"kind": "provenance"}))
    assert hyperparameters(told) == ["passes"]


def test_hyperparameters_are_those_that_sweeps_writes():
    schemas = pytest.importorskip("sweeps.schemas")
    assert set(hyperparameters(schemas.trials())) == {field.name for field in schemas.hyperparameters()}


def test_configurations_differ_in_hyperparameters_not_in_seed_role_or_cost(tmp_path):
    rows = [trial("a", beta=0.1, role="search", seconds=1.0), trial("b", beta=0.1, seed=1, seconds=2.0)]
    tables = store(tmp_path, *rows, trial("c", beta=0.2), trial("d"), trial("e", beta=0.1, model="vit"))
    found = {tuple(c.keys): c.hyperparameters for c in configurations(tables)}
    assert found == {("a", "b"): {"beta": 0.1}, ("c",): {"beta": 0.2}, ("d",): {}, ("e",): {"beta": 0.1}}


def test_a_replicate_stands_for_a_search_trial_of_the_same_seed(tmp_path):
    (found,) = configurations(store(tmp_path, trial("a", role="search"), trial("b"), trial("c", seed=1)))
    assert found.keys == ["b", "c"]


def test_best_has_the_most_seeds_then_the_higher_validation_accuracy(tmp_path):
    tables = store(
        tmp_path,
        trial("many0", "constrained", beta=1.0, val_accuracy=90.0, test_accuracy=80.0),
        trial("many1", "constrained", beta=1.0, val_accuracy=91.0, test_accuracy=80.0, seed=1),
        # A higher test accuracy must not decide.
        trial("tie0", "constrained", beta=2.0, val_accuracy=90.0, test_accuracy=99.0),
        trial("tie1", "constrained", beta=2.0, val_accuracy=90.0, test_accuracy=99.0, seed=1),
        trial("one", "constrained", beta=3.0, val_accuracy=99.0, test_accuracy=99.0),
        trial("swe", "swe", val_accuracy=50.0),
    )
    best = best_by_construction(tables)[("digits", "resnet8")]
    assert {name: c.keys for name, c in best.items()} == {"constrained": ["many0", "many1"], "swe": ["swe"]}
    assert best["constrained"].by_seed("val_accuracy") == {0: 90.0, 1: 91.0}


def test_best_are_of_one_recipe_that_most_constructions_have(tmp_path):
    tables = store(
        tmp_path,
        *(trial(f"d{members}", members=members, val_accuracy=90.0 + members) for members in (2, 4, 8)),
        trial("d4-again", members=4, alphas=25, val_accuracy=1.0),
        trial("c2", "constrained", members=2, beta=1.0, val_accuracy=99.0),
        trial("c4", "constrained", members=4, beta=1.0, val_accuracy=80.0),
        trial("s4", "swe", members=4, val_accuracy=80.0),
    )
    best = best_by_construction(tables)["digits", "resnet8"]
    assert {name: c.keys for name, c in best.items()} == {"constrained": ["c4"], "deep": ["d4"], "swe": ["s4"]}
    found = {c.keys[0]: c for c in configurations(tables)}
    assert reference(tables, found["c2"]).keys == ["d2"]


def test_families_differ_in_their_axes_alone_and_a_grid_has_neighbours_both_ways(tmp_path):
    rows = [trial(f"{t}{b}", "constrained", t=t, beta=b, width=1.0) for t in (0.0, 0.1) for b in (0.0, 1.0)]
    lone = [
        trial("x", "constrained", t=0.7, beta=0.3, width=1.0),
        trial("y", "constrained", t=0.0, beta=0.0, width=2.0),
    ]
    family = families(store(tmp_path, *rows, *lone), "constrained", ["t", "beta"])["digits", "resnet8"]
    assert sorted(c.keys[0] for c in family) == ["0.00.0", "0.01.0", "0.10.0", "0.11.0", "x"]
    assert list(grid(family, "t", "beta")) == [(0.0, 0.0), (0.0, 1.0), (0.1, 0.0), (0.1, 1.0)]
    assert grid(family, "t", "beta", 3) == {}
    with pytest.raises(Missing, match="no two distilled configurations differ in t and beta alone"):
        families(store(tmp_path, *rows), "distilled", ["t", "beta"])


def test_a_model_with_two_norms_is_two_models(tmp_path):
    tables = store(tmp_path, trial("a", norm="batch"), trial("b", norm="layer"), trial("c", model="vit", norm=None))
    assert [row["model"] for row in tables.rows] == ["resnet8 (batch norm)", "resnet8 (layer norm)", "vit"]


@pytest.mark.parametrize(
    ("barriers", "expected"), [([0.0, 1.9], True), ([0.0, 2.0], False), ([0.0, None], False), ([None, None], False)]
)
def test_connected_if_the_validation_barrier_of_every_seed_is_below_two_points(tmp_path, barriers, expected):
    rows = [trial(f"k{seed}", seed=seed, val_barrier_reset=barrier) for seed, barrier in enumerate(barriers)]
    tables = store(tmp_path, *rows)
    assert connected(tables, configurations(tables)[0]) is expected


def test_headline_columns_follow_the_policy_of_the_rows(tmp_path):
    tables = store(tmp_path, trial("a", test_q_bar_reset=-1.0), trial("b", model="vit", test_q_bar_none=-2.0))
    cnn, vit = tables.rows
    assert tables.column("q_bar", [cnn]) == "test_q_bar_reset"
    assert tables.column("q_bar", [vit]) == "test_q_bar_none"
    with pytest.raises(Missing, match="no finished trial has val_q_bar or val_q_bar_reset or val_q_bar_none"):
        tables.column("q_bar", split="val")


def test_a_compact_file_is_read_with_what_came_since(tmp_path):
    from sweeps import compact

    rows = [trial(f"k{n:02}", seed=n, test_accuracy=float(n), train_q_bar_reset=1.0) for n in range(compact.WORTH)]
    before = store(tmp_path, *rows)
    compact.read(tmp_path)
    assert compact.path(tmp_path).exists()
    assert read(tmp_path).rows == before.rows
    assert len(store(tmp_path, trial("new", seed=99)).rows) == compact.WORTH + 1


def test_bad_input_says_what_is_wrong(tmp_path):
    with pytest.raises(BadInput, match="nowhere: no such folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="no finished trials"):
        read(tmp_path)
    with pytest.raises(BadInput, match="columns role, seed are missing"):
        store(tmp_path / "1", {"key": "a", "dataset": "d", "model": "m", "construction": "deep"})
    with pytest.raises(BadInput, match="files disagree on a column's type"):
        store(tmp_path / "2", trial("a", beta=1.0), trial("b", beta="one"))
    (tmp_path / "2/tables/trials/b.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(BadInput, match=r"b\.parquet: not a readable Parquet file"):
        read(tmp_path / "2")


def test_queries_is_the_one_door():
    assert set(queries.__all__) <= set(dir(queries))
