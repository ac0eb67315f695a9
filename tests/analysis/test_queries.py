import json

import pyarrow as pa
import pytest

from analysis.data import columns, queries
from analysis.data.queries import (
    best_by_construction,
    candidates,
    configuration_families,
    configurations,
    deep_reference,
    estimate_metric,
    evaluation_names,
    grid_cells,
    hyperparameter_names,
    read_tables,
    searched_seeds,
    validation_front,
)
from analysis.data.results import DECIDING, source_names
from analysis.errors import BadInput, Missing
from tests.support.synthetic_results import trial, write


def store(folder, *rows):
    for row in rows:
        write(folder, "trials", row["key"], [row])
    return read_tables(folder)


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
    tables = read_tables(tmp_path)
    keys = [row["key"] for row in tables.rows]
    assert keys == ["a"]
    assert tables.load("paths", keys)["key"].to_pylist() == ["a"]
    with pytest.raises(Missing, match="none of the 1 trials has a file in tables/planes"):
        tables.load("planes", keys)


def test_hyperparameters_are_what_is_neither_identity_metric_cost_nor_provenance(tmp_path):
    row = trial("a", beta=0.1, val_size=40, val_accuracy=1.0, passes=3, seconds=1.0, teacher_key="d", status="done")
    assert hyperparameter_names(store(tmp_path, row).trials.schema) == ["beta", "val_size"]
    told = pa.schema([pa.field("passes", pa.int64(), metadata={"kind": "hyperparameter"})])
    told = told.append(pa.field("torch", pa.string(), metadata={"kind": "provenance"}))
    assert hyperparameter_names(told) == ["passes"]


def test_hyperparameters_are_those_that_sweeps_writes():
    from sweeps.storage.columns import KEPT, list_hyperparameters
    from sweeps.storage.trial_schemas import trials_schema

    known = {field.name for field in list_hyperparameters()} - {*KEPT, "classes"}  # facts of a trial
    assert set(hyperparameter_names(trials_schema())) == known


def test_tables_without_sections_are_read_as_those_with_them(tmp_path):
    """Schemas as earlier commits wrote them: kind, unit, meaning and direction alone."""
    schemas = pytest.importorskip("sweeps.storage.trial_schemas")
    now = schemas.trials_schema()
    since = {b"section", b"policy", b"headline"}
    fields = [f.with_metadata({k: v for k, v in f.metadata.items() if k not in since}) for f in now]
    before = pa.schema(fields)
    assert columns.hyperparameter_names(before) == columns.hyperparameter_names(now)
    assert columns.evaluation_names(before) == columns.evaluation_names(now)
    assert columns.headline_policies(before) == columns.headline_policies(now)
    for split in ("val", "test", "train"):
        assert columns.useful_columns(before, split, DECIDING) == columns.useful_columns(now, split, DECIDING)


def test_a_new_evaluation_field_and_headline_policy_need_no_change_here(tmp_path):
    told = {"section": "evaluation", "kind": "hyperparameter"}
    schema = pa.schema([pa.field("zoom", pa.int64(), metadata=told)])
    schema = schema.append(pa.field("test_q_bar_fresh", pa.float64(), metadata={"policy": "fresh", "headline": "yes"}))
    assert columns.evaluation_names(schema) == {"zoom"}
    assert columns.headline_policies(schema)[0] == "fresh"


def test_configurations_differ_in_hyperparameters_not_in_seed_role_or_cost(tmp_path):
    rows = [trial("a", beta=0.1, role="search", seconds=1.0), trial("b", beta=0.1, seed=1, seconds=2.0)]
    tables = store(tmp_path, *rows, trial("c", beta=0.2), trial("d"), trial("e", beta=0.1, model="vit"))
    found = {tuple(c.keys): c.hyperparameters for c in configurations(tables)}
    assert found == {("a", "b"): {"beta": 0.1}, ("c",): {"beta": 0.2}, ("d",): {}, ("e",): {"beta": 0.1}}


def test_a_replicate_stands_for_a_search_trial_of_the_same_seed(tmp_path):
    (found,) = configurations(store(tmp_path, trial("a", role="search"), trial("b"), trial("c", seed=1)))
    assert found.keys == ["b", "c"]


def test_best_has_the_most_seeds_then_satisfies_the_constraint_then_has_the_lower_validation_nll(tmp_path):
    def row(key, beta, nll, seed=0, upper=0.5, **columns):
        numbers = {"val_nll": nll, "val_basin_upper_reset": upper, "test_accuracy": 80.0}
        return trial(key, "constrained", seed, beta=beta, **(numbers | columns))

    tables = store(
        tmp_path,
        *(row(f"many{seed}", 1.0, 0.3, seed) for seed in (0, 1)),
        # A higher test accuracy must not decide.
        *(row(f"tie{seed}", 2.0, 0.4, seed, test_accuracy=99.0) for seed in (0, 1)),
        *(row(f"apart{seed}", 3.0, 0.1, seed, upper=2.5) for seed in (0, 1)),
        row("one", 4.0, 0.01),
        trial("swe", "swe", val_nll=0.9),
    )
    best = best_by_construction(tables)[("digits", "resnet8")]
    assert {name: c.keys for name, c in best.items()} == {"constrained": ["many0", "many1"], "swe": ["swe"]}
    assert best["constrained"].by_seed("val_nll") == {0: 0.3, 1: 0.3}
    wider = best_by_construction(read_tables(tmp_path, margin=3.0))[("digits", "resnet8")]
    assert wider["constrained"].keys == ["apart0", "apart1"]


def test_what_the_sweep_calls_infeasible_is_not_chosen(tmp_path):
    tables = store(
        tmp_path,
        trial("a", "swe", lr=0.1, val_nll=0.1, feasible=False),
        trial("b", "swe", lr=0.2, val_nll=0.2, feasible=True),
    )
    assert best_by_construction(tables)["digits", "resnet8"]["swe"].keys == ["b"]
    assert "feasible" not in hyperparameter_names(tables.trials.schema)


def test_fresh_seeds_are_reported_alone_and_choose_the_configuration(tmp_path):
    def row(key, beta, seed, role, nll):
        return trial(key, "constrained", seed, beta=beta, role=role, val_nll=nll, test_accuracy=90.0 + nll)

    searched = [row("s0", 1.0, 0, "search", 0.1), row("s1", 1.0, 1, "replicate", 0.1)]
    lucky = [row(f"x{seed}", 2.0, seed, role, 0.01) for seed, role in enumerate(("search", *["replicate"] * 3))]
    fresh = [row(f"f{seed}", 1.0, seed, "fresh", 0.5) for seed in (5, 6)]
    tables = store(tmp_path, *searched, *lucky, *fresh)
    best = best_by_construction(tables)["digits", "resnet8"]["constrained"]
    assert best.keys == ["f5", "f6"]
    assert estimate_metric(tables, best, "accuracy").mean == pytest.approx(90.5)
    assert not searched_seeds(best)
    before = best_by_construction(store(tmp_path / "1", *searched, *lucky))["digits", "resnet8"]["constrained"]
    assert before.keys == ["x0", "x1", "x2", "x3"]
    assert searched_seeds(before)


def test_the_front_is_of_what_was_searched_and_counts_no_connectivity_above_0(tmp_path):
    # Validation q_bar and accuracy: `b` has the higher q_bar, but above 0 that is no merit.
    points = {"a": (0.1, 95.0), "b": (0.9, 94.0), "c": (-1.0, 96.0), "d": (-2.0, 95.5), "e": (-1.0, 95.9)}
    rows = [
        trial(key, "constrained", role="search", beta=float(n), val_q_bar_reset=q, val_accuracy=accuracy)
        for n, (key, (q, accuracy)) in enumerate(points.items())
    ]
    best = {"val_q_bar_reset": 0.0, "val_accuracy": 99.0}
    others = [
        trial("f", "constrained", 7, role="fresh", beta=0.0, **best),
        trial("r", "constrained", 8, role="replicate", beta=7.0, **best),
        trial("deep", role="grid", **best),
    ]
    tables = store(tmp_path, *rows, *others)
    found = candidates(tables)
    assert [found[i].keys for i in validation_front(tables, found)] == [["c"], ["a"]]
    assert len(found) == 5
    assert validation_front(tables, found, "nll") == []


def test_everything_that_only_measures_is_known(tmp_path):
    from basin.measure import Evaluation
    from basin.spec import describe_fields
    from sweeps.storage.trial_schemas import trials_schema

    measuring = {field.name for field in describe_fields(Evaluation)}
    assert evaluation_names(trials_schema()) == measuring
    assert measuring >= columns.EARLIER_EVALUATION
    row = trial("a", margin=2.0, verdict_test="yes", verdict_val="yes", ensemble_key="x", beta=1.0)
    assert hyperparameter_names(store(tmp_path, row).trials.schema) == ["beta"]


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
    assert deep_reference(tables, found["c2"]).keys == ["d2"]


def test_families_differ_in_their_axes_alone_and_a_grid_has_neighbours_both_ways(tmp_path):
    rows = [trial(f"{t}{b}", "constrained", t=t, beta=b, width=1.0) for t in (0.0, 0.1) for b in (0.0, 1.0)]
    lone = [
        trial("x", "constrained", t=0.7, beta=0.3, width=1.0),
        trial("y", "constrained", t=0.0, beta=0.0, width=2.0),
    ]
    family = configuration_families(store(tmp_path, *rows, *lone), "constrained", ["t", "beta"])["digits", "resnet8"]
    assert sorted(c.keys[0] for c in family) == ["0.00.0", "0.01.0", "0.10.0", "0.11.0", "x"]
    assert list(grid_cells(family, "t", "beta")) == [(0.0, 0.0), (0.0, 1.0), (0.1, 0.0), (0.1, 1.0)]
    assert grid_cells(family, "t", "beta", 3) == {}
    with pytest.raises(Missing, match="no two distilled configurations differ in t and beta alone"):
        configuration_families(store(tmp_path, *rows), "distilled", ["t", "beta"])


def test_a_model_with_two_norms_is_two_models(tmp_path):
    tables = store(tmp_path, trial("a", norm="batch"), trial("b", norm="layer"), trial("c", model="vit", norm=None))
    assert [row["model"] for row in tables.rows] == ["resnet8 (batch norm)", "resnet8 (layer norm)", "vit"]


def test_class_folders_are_called_by_their_source_and_other_datasets_by_their_class(tmp_path):
    folders = [tmp_path / name for name in ("first", "second", "third")]
    sources = [("imagefolder", "/data/cats.tar.xz", "1"), ("imagefolder", "again", "1"), ("cifar10", "c.tar.gz", "2")]
    for folder, (dataset, source, images) in zip(folders, sources, strict=True):
        store(folder, trial(images, dataset=dataset, data_hash=images))
        data = {"dataset": dataset, "hash": images, "source": source}
        (folder / "sweep.json").write_text(json.dumps({"data": data}))
    names = source_names([*folders, tmp_path])
    assert names == {"1": "cats"}
    tables = read_tables(folders[0], more=folders[2:], datasets=names)
    assert tables.settings == [("cats", "resnet8"), ("cifar10", "resnet8")]
    assert read_tables(folders[0]).settings == [("imagefolder", "resnet8")]


def test_headline_columns_follow_the_policy_of_the_rows(tmp_path):
    tables = store(tmp_path, trial("a", test_q_bar_reset=-1.0), trial("b", model="vit", test_q_bar_none=-2.0))
    cnn, vit = tables.rows
    assert tables.column("q_bar", [cnn]) == "test_q_bar_reset"
    assert tables.column("q_bar", [vit]) == "test_q_bar_none"
    with pytest.raises(Missing, match="no finished trial has val_q_bar or val_q_bar_reset or val_q_bar_none"):
        tables.column("q_bar", split="val")


def test_a_compact_file_is_read_with_what_came_since(tmp_path):
    from sweeps.storage import compact

    rows = [trial(f"k{n:02}", seed=n, test_accuracy=float(n), train_q_bar_reset=1.0) for n in range(compact.WORTH)]
    before = store(tmp_path, *rows)
    compact.read_trials(tmp_path)
    assert compact.compact_path(tmp_path).exists()
    assert read_tables(tmp_path).rows == before.rows
    assert len(store(tmp_path, trial("new", seed=99)).rows) == compact.WORTH + 1


def test_bad_input_says_what_is_wrong(tmp_path):
    with pytest.raises(BadInput, match="nowhere: no such folder"):
        read_tables(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="no finished trials"):
        read_tables(tmp_path)
    with pytest.raises(BadInput, match="columns role, seed are missing"):
        store(tmp_path / "1", {"key": "a", "dataset": "d", "model": "m", "construction": "deep"})
    with pytest.raises(BadInput, match="files disagree on a column's type"):
        store(tmp_path / "2", trial("a", beta=1.0), trial("b", beta="one"))
    (tmp_path / "2/tables/trials/b.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(BadInput, match=r"b\.parquet: damaged Parquet file: it is incomplete"):
        read_tables(tmp_path / "2")


def test_queries_is_the_one_door():
    assert set(queries.__all__) <= set(dir(queries))
