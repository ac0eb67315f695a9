"""The ledger: typed columns that say what they are, whole files or none, the row that says 'done' last."""

import errno
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from safetensors import safe_open

from basin.constructions import constructions
from basin.environment import Machine, Place
from basin.errors import UsageError
from basin.measure import SOUP, Evaluation
from basin.metrics import all_metrics
from basin.spec import describe_fields
from basin.trial import Outcome, run
from sweeps.storage.checksum import MARK, add_checksum, is_intact
from sweeps.storage.columns import TIMING, list_hyperparameters
from sweeps.storage.schemas import ALWAYS, SCHEMAS
from sweeps.storage.store import Store, open_store, tables_of, tables_of_diverged
from tests.support.tiny_sweep import put, row_of, study

CHANGES = {"construction": "constrained", "seed": 0}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, image_cache: Path) -> Outcome:
    """A trial that has been run."""
    machine = Machine(device="cpu", threads=torch.get_num_threads())
    place = Place(machine=machine, cache=image_cache, runs=tmp_path_factory.mktemp("runs"))
    return run(study(model="mlp", hidden="8", width=None).resolve_trial(CHANGES), place)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "storage" / "demo")


@pytest.mark.parametrize("table", SCHEMAS)
def test_every_column_says_what_it_holds(table: str) -> None:
    schema = SCHEMAS[table]()
    assert len(set(schema.names)) == len(schema.names)
    assert schema.names[0] == "key"
    for field in schema:
        facts = {name.decode(): value.decode() for name, value in (field.metadata or {}).items()}
        assert facts.get("doc"), f"{table}.{field.name} has no meaning"
        assert facts.get("kind") in {"metric", "hyperparameter", "fact"}, f"{table}.{field.name}"
        assert facts.keys() <= {"doc", "kind", "unit", "better", "section", "policy", "headline", "heading"}
        assert (table == "trials" and field.name != "key") <= ("section" in facts)
        if facts["kind"] == "metric":
            assert facts.get("unit"), f"{table}.{field.name} has no unit"
            assert facts["better"] in {"higher", "lower", "neither"}
            assert field.type == pa.float64()


def test_every_column_of_trials_says_its_section() -> None:
    schema = SCHEMAS["trials"]()
    section = {field.name: field.metadata[b"section"].decode() for field in schema}
    expected = {"beta": "construction", "width": "model", "val_size": "split", "epochs": "training"}
    expected |= {"path_images": "evaluation", "predictions": "evaluation", "val_accuracy": "score"}
    expected |= {"passes": "cost", "stage_seconds": "cost", "seed": "identity", "commit": "provenance"}
    assert {name: section[name] for name in expected} == expected
    assert {spec.name for spec in describe_fields(Evaluation)} == {n for n in section if section[n] == "evaluation"}
    assert set(section.values()) == {
        *("identity", "dataset", "model", "construction", "split", "training", "evaluation"),
        *("score", "cost", "provenance"),
    }


def test_connectivity_columns_say_their_policy() -> None:
    schema = SCHEMAS["trials"]()
    for name, policy in (("val_q_bar_reset", b"reset"), ("train_barrier_interp", b"interp")):
        facts = schema.field(name).metadata
        assert facts[b"policy"] == policy
        assert (b"headline" in facts) == (policy == b"reset")
    assert b"policy" not in schema.field("val_accuracy").metadata


def test_every_hyperparameter_and_metric_has_a_column() -> None:
    schema = SCHEMAS["trials"]()
    for construction in constructions.classes():
        for spec in describe_fields(construction):
            field = schema.field(spec.name)
            assert field.metadata[b"kind"] == b"hyperparameter"
            assert spec.doc
    assert schema.field("beta").type == pa.float64()
    assert schema.field("members").type == pa.int64()
    assert {spec.name for spec in list_hyperparameters()} <= set(schema.names)
    for name, metric in all_metrics().items():
        for split in ("test",) if metric.needs else ("val", "test"):
            field = schema.field(f"{split}_{name}")
            assert field.metadata[b"unit"].decode() == metric.unit
            assert field.metadata[b"better"].decode() == metric.better
    for split in ("val", "test"):
        for name in SOUP:
            soup, own = schema.field(f"{split}_soup_{name}").metadata, all_metrics()[name]
            assert (soup[b"unit"].decode(), soup[b"better"].decode()) == (own.unit, own.better)
    for split in ("val", "test", "train"):
        for policy in ("reset", "interp", "repair"):
            for name in ("basin", "hull", "loss", "hull_loss"):
                unit = b"nats" if "loss" in name else b"accuracy points"
                for end in ("upper", "lower"):
                    facts = schema.field(f"{split}_{name}_{end}_{policy}").metadata
                    assert (facts[b"unit"], facts[b"better"]) == (unit, b"lower")
            assert schema.field(f"{split}_loss_barrier_{policy}").metadata[b"unit"] == b"nats"
    assert not [name for name in schema.names if "connected" in name]
    assert schema.field("val_q_bar_reset").metadata[b"unit"] == b"accuracy points"
    assert set(TIMING) <= set(schema.names)


def test_predictions_name_the_classes(store: Store, outcome: Outcome) -> None:
    row = {"key": "k", "split": "val", "member": 0, "image": 0, "label": 1, "log_probs": [-1.0, -0.5]}
    base = {"trials": [{"key": "k"}], "members": [], "history": [], "paths": [], "predictions": [row]}
    store.write_tables("k", base, ("Käse", "b"))
    facts = store.table("predictions", "k").schema.field("label").metadata
    assert json.loads(facts[b"classes"]) == ["Käse", "b"]
    assert facts[b"doc"]
    assert outcome.inputs.class_names == tuple("0123456789")


def test_nothing_of_an_outcome_is_lost(store: Store, outcome: Outcome) -> None:
    key = outcome.trial.key
    store.write_tables(key, tables_of(outcome, sweep="demo", role="search"))
    row = store.row(key)
    assert row is not None
    expected = {
        **outcome.trial.flat(),
        **outcome.measured.scores,
        **outcome.machine,
        **vars(outcome.meter),
        "seconds": outcome.seconds,
        "stage_passes": outcome.stage_passes,
        "stage_seconds": outcome.stage_seconds,
        "key": key,
        "status": "done",
        "sweep": "demo",
        "role": "search",
    }
    assert {name: row[name] for name in expected} == expected
    assert row["finished_at"].tzinfo is not None
    found = outcome.measured
    assert store.table("members", key).to_pylist() == [{"key": key, **member} for member in found.members]
    assert store.table("paths", key).to_pylist() == [{"key": key, **vars(point)} for point in found.paths]
    assert store.table("hull", key).to_pylist() == [{"key": key, **vars(point)} for point in found.hull]
    bins = [{"key": key, "split": split, **vars(row)} for split, row in found.reliability]
    assert store.table("reliability", key).to_pylist() == bins
    assert store.table("sizes", key).to_pylist() == [{"key": key, **vars(size)} for size in found.sizes]
    kept = store.table("outcomes", key)  # its values: test_sweeps_outcomes
    assert list(zip(kept["split"].to_pylist(), kept["kind"].to_pylist(), strict=True)) == [
        (own.split, own.kind) for own in found.outcomes
    ]
    history = store.table("history", key).to_pylist()
    assert [step["passes"] for step in history] == [progress.passes for progress in outcome.history]
    for step, progress in zip(history, outcome.history, strict=True):
        assert {name: step[name] for name in progress.scores} == progress.scores
    assert not store.table_path("planes", key).exists()  # not asked for
    for table in [*ALWAYS, "hull", "reliability", "outcomes", "sizes"]:
        assert store.table(table, key).schema.equals(SCHEMAS[table](), check_metadata=True)


def test_weights_are_the_vertices(store: Store, outcome: Outcome) -> None:
    store.write_weights(outcome)
    key = outcome.trial.ensemble_key
    with safe_open(store.folder / "weights" / f"{key}.safetensors", framework="pt") as file:
        assert file.metadata()["ensemble_key"] == key
        assert set(file.keys()) == set(outcome.ensemble.vertices)
        for name, tensor in outcome.ensemble.vertices.items():
            assert torch.equal(file.get_tensor(name), tensor)


def test_a_diverged_trial_has_a_row_and_no_scores(store: Store, outcome: Outcome) -> None:
    key = outcome.trial.key
    store.write_tables(key, tables_of_diverged(outcome.trial, role="search"))
    row = store.row(key)
    assert row is not None
    assert row["status"] == "diverged"
    assert row["val_accuracy"] is None
    assert row["beta"] == 1.0
    assert row["epochs"] == 2
    assert store.table("paths", key).num_rows == 0


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_torn_row_counts_as_not_done(store: Store, share: float) -> None:
    row = row_of(study(), CHANGES)
    put(store, row)
    assert store.row(row["key"]) is not None
    path = store.table_path("trials", row["key"])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert store.row(row["key"]) is None
    assert store.rows() == []


def test_what_is_absent_is_not_done(store: Store) -> None:
    assert store.keys() == []
    assert store.rows() == []
    assert store.row("nope") is None


def test_a_trial_is_done_when_all_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace = Path.replace

    def recorded(self: Path, target: Path) -> Path:
        order.append(Path(target).parent.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", recorded)
    put(store, row_of(study(), CHANGES))
    assert order[-1] == "trials"
    assert sorted(order) == sorted(ALWAYS)
    assert list(SCHEMAS)[-1] == "trials"


@pytest.mark.parametrize("fails_at", range(len(ALWAYS)))
def test_a_full_disk_leaves_no_part(store: Store, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    row, count, write = row_of(study(), CHANGES), [0], Path.write_bytes

    def full(self: Path, content: Any) -> int:
        count[0] += 1
        if count[0] == fails_at + 1:
            write(self, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, content)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            put(store, row)
    assert store.row(row["key"]) is None
    written = [path for path in store.folder.rglob("*") if path.is_file()]
    assert len(written) == fails_at
    for path in written:
        assert path.suffix == ".parquet"
        assert not path.name.startswith(".")
        pyarrow.parquet.read_table(path)
    put(store, row)  # run again: whole
    assert store.keys() == [row["key"]]


def test_a_row_is_replaced_whole(store: Store) -> None:
    put(store, row_of(study(), CHANGES, val_accuracy=1.0))
    put(store, row_of(study(), CHANGES, val_accuracy=2.0))
    assert [row["val_accuracy"] for row in store.rows()] == [2.0]


def test_files_are_readable_by_others(store: Store) -> None:
    put(store, row_of(study(), CHANGES))
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in store.folder.rglob("*.parquet"))


def test_a_sweep_that_is_not_there_is_named(store: Store) -> None:
    put(store, row_of(study(), CHANGES))
    (store.folder / "sweep.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no sweep 'other' in .*: expected one of demo"):
        open_store(store.folder.parent, "other")
    with pytest.raises(UsageError, match=r"\(none yet\)"):
        open_store(store.folder.parent / "empty", "other")
    assert open_store(store.folder.parent, "demo") == store


@pytest.mark.parametrize(("codec", "rows"), [("none", 100), ("zstd", 100), ("none", 0)])
def test_every_changed_byte_of_a_table_is_noticed(codec: str, rows: int) -> None:
    """But what is changed in the mark alone, which changes nothing."""
    table, buffer = pa.table({"a": list(range(rows)), "b": [str(number) for number in range(rows)]}), io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression=codec)
    sealed = add_checksum(buffer.getvalue())
    assert is_intact(sealed)
    assert is_intact(buffer.getvalue())
    assert pyarrow.parquet.read_table(pa.BufferReader(sealed)).equals(table)
    mark = sealed.index(MARK)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1 << position % 8
        assert is_intact(bytes(changed)) == (mark <= position < mark + len(MARK)), position
    assert not any(is_intact(sealed[:length]) for length in range(len(sealed)))


@pytest.mark.parametrize("table", SCHEMAS)
def test_every_column_has_a_name_of_its_own(table: str) -> None:
    names = SCHEMAS[table]().names
    assert len(names) == len(set(names))


def test_scores_of_the_soup_are_described_as_those_of_one_network() -> None:
    docs = {f.name: f.metadata[b"doc"].decode() for f in SCHEMAS["trials"]() if f.name.startswith("val_soup_")}
    assert docs.keys() == {f"val_soup_{name}" for name in SOUP}
    assert all("soup" in doc and "ensemble" not in doc and "mean of the members" not in doc for doc in docs.values())
