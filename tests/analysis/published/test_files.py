"""What is published of a sweep, and what comes back."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.answers.differences import paired_difference
from analysis.answers.verdicts import judge_configuration
from analysis.answers.worth import deep_equivalent
from analysis.data.queries import best_by_construction, read_tables
from analysis.errors import BadInput
from analysis.published.files import list_published, publish, restore, study_summary
from sweeps.execution.rerun import rerun_trial
from sweeps.storage.outcomes import decode
from sweeps.storage.store import Store
from sweeps.storage.table_file import encode_table
from tests.support.kept_trials import key_of, make_sweep
from tests.support.published_sweep import MANIFEST, STUDY
from tests.support.tiny_trial import place


@pytest.fixture(scope="module")
def restored(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("restored") / "headline"
    assert restore(published / "headline", folder) == 18
    return folder


def test_one_file_a_table(published):
    names = {file.name for file in (published / "headline").iterdir()}
    tables = {"trials", "members", "paths", "outcomes", "reliability", "planes"}
    assert names == {"study.toml", "sweep.json", *(f"{table}.parquet" for table in tables)}
    assert list_published(published) == [published / "headline"]
    assert study_summary(published / "headline") == "Every construction, three seeds"


def test_tables_come_back_as_they_were(sweep, restored):
    for file in sorted(sweep.glob("tables/*/*.parquet")):
        if file.parent.name == "outcomes":
            continue
        other = restored / file.relative_to(sweep)
        assert pq.read_table(other).equals(pq.read_table(file), check_metadata=True), file.name
    assert {file.name for file in restored.glob("tables/trials/*")} == {f.name for f in sweep.glob("tables/trials/*")}


def test_per_image_results_of_test_come_back(sweep, restored):
    for file in sorted((sweep / "tables/outcomes").glob("*")):
        before, after = pq.read_table(file), pq.read_table(restored / "tables/outcomes" / file.name)
        assert set(after["split"].to_pylist()) == {"test"}
        for kind in ("ensemble", "member", "soup", "path", "hull"):
            expected, found = decode(before, "test", kind), decode(after, "test", kind)
            assert np.array_equal(found["correct"], expected["correct"])
            if kind in ("path", "hull"):
                assert np.array_equal(found["weights"], expected["weights"])
            means = [values["nll"].mean(axis=1) for values in (expected, found)]
            assert means[1] == pytest.approx(means[0], abs=2e-4, rel=3e-4 if kind in ("path", "hull") else None)
        assert bool(decode(after, "test", "size")) == ("deep" in file.name)


def test_what_is_published_again_has_the_same_bytes(sweep, published, restored, tmp_path):
    """From the sweep, from what was restored, and over what is there."""
    target = shutil.copytree(published / "headline", tmp_path / "headline")
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in target.iterdir()}
    for source in (sweep, restored):
        assert not publish(source, target).changed
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in target.iterdir()} == before


def test_the_manifest_names_no_folder_of_the_machine(published, restored):
    text = (published / "headline/sweep.json").read_text()
    assert "somebody" not in text
    assert json.loads(text) == {**MANIFEST, "data": {"images": 400, "source": None}}
    assert (restored / "sweep.json").read_text() == text


def test_an_unfinished_sweep_is_published_and_grows(sweep, tmp_path):
    partial = shutil.copytree(sweep, tmp_path / "partial")
    for key in ("da7a-50-r-deep-1", "da7a-50-r-swe-2"):
        (partial / f"tables/trials/{key}.parquet").unlink()
    (tmp_path / "study.toml").write_text(STUDY)
    assert publish(partial, tmp_path / "out", tmp_path / "study.toml").trials == 16
    grown = publish(sweep, tmp_path / "out")
    assert (grown.trials, grown.changed) == (18, True)
    with pytest.raises(BadInput, match=r"2 trials that .* lacks .*restore"):
        publish(partial, tmp_path / "out")


def test_restoring_keeps_what_is_there(published, tmp_path):
    folder = tmp_path / "headline"
    restore(published / "headline", folder)
    kept = folder / "tables/trials/da7a-50-r-deep-0.parquet"
    kept.write_bytes(b"of a later launch")
    (folder / "tables/trials/da7a-50-r-deep-1.parquet").unlink()
    assert restore(published / "headline", folder) == 1
    assert kept.read_bytes() == b"of a later launch"
    (folder / "sweep.json").write_text(json.dumps({"identity": "another"}))
    with pytest.raises(BadInput, match="another sweep"):
        restore(published / "headline", folder)


def test_what_cannot_be_published_is_said(sweep, tmp_path):
    with pytest.raises(BadInput, match="--study"):
        publish(sweep, tmp_path / "out")
    with pytest.raises(BadInput, match="published sweep"):
        restore(tmp_path / "none", tmp_path / "out")


def test_readers_find_the_same_numbers(sweep, restored):
    """Paired differences with their intervals, verdicts and deep-ensemble equivalents."""
    tables = [read_tables(folder) for folder in (sweep, restored)]
    chosen = [best_by_construction(one)["digits", "resnet8"] for one in tables]
    for metric, tolerance in (("accuracy", 1e-9), ("nll", 1e-3), ("jensen_gap", 1e-3), ("soup_nll", 1e-3)):
        first, second = (
            paired_difference(t, c["constrained"], c["deep"], metric) for t, c in zip(tables, chosen, strict=True)
        )
        assert (second.mean, second.half) == pytest.approx((first.mean, first.half), abs=tolerance, rel=0.02)
        assert (second.n, second.images) == (first.n, first.images) == (3, 400)
    worth = [deep_equivalent(t, c["distilled"]) for t, c in zip(tables, chosen, strict=True)]
    assert worth[1].least == pytest.approx(worth[0].least, rel=0.02)
    for hull in (False, True):
        judged = [judge_configuration(t, c["constrained"], hull=hull) for t, c in zip(tables, chosen, strict=True)]
        assert judged[0] == judged[1]
    for name in ("constrained", "deep"):  # without verdicts.json: computed, from losses that were rounded
        judged = [judge_configuration(t, c[name], by="loss") for t, c in zip(tables, chosen, strict=True)]
        limits = [one.verdict.bounds for one in judged]
        ends = [(one.lower, one.upper, one.weakest_mean) for one in limits]
        assert ends[1] == pytest.approx(ends[0], abs=4e-3)  # the margin is 0.046 nats
        assert judged[0].verdict.answer == judged[1].verdict.answer


def test_verdicts_come_from_the_sweep_where_it_recorded_them(sweep, restored, tmp_path):
    """For another margin they are computed."""
    tables = read_tables(sweep)
    one = best_by_construction(tables)["digits", "resnet8"]["constrained"]
    found = judge_configuration(tables, one, by="loss")
    limits = found.verdict.bounds
    cell = {"seed": found.seed, "pair": [0, 1], "alpha": 0.5, "mean": limits.weakest_mean}
    cell |= {"low": limits.weakest_low, "high": None}
    recorded = {"answer": found.verdict.answer, "upper": limits.upper, "lower": limits.lower, "needed": None}
    recorded |= {"margin": found.verdict.margin, "images": limits.images, "weakest": cell}
    entry = {"keys": sorted(one.keys), "seeds": [0, 1, 2], "finished": "", "test": {"loss": recorded}}
    copy = shutil.copytree(restored, tmp_path / "copy")
    (copy / "verdicts.json").write_text(json.dumps({",".join(one.keys): entry}))
    again = read_tables(copy)
    read = judge_configuration(again, one, by="loss")
    assert (read.verdict.answer, read.verdict.bounds.upper) == (found.verdict.answer, limits.upper)
    assert read.weakest == "members 0 and 1 at α = 0.5"
    assert read.verdict.bounds.weakest_high == np.inf
    wider = judge_configuration(again, one, by="loss", margin=0.5)
    assert (wider.verdict.margin, wider.verdict.bounds.weakest_high < np.inf) == (0.5, True)


def test_a_restored_trial_is_run_again_with_the_same_bits(image_cache, tmp_path):
    """What publishing rounds is left out, and what it keeps is compared: a changed bit is found."""
    store = make_sweep(tmp_path / "results", image_cache)
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    publish(store.folder, tmp_path / "published/mine", study)
    restore(tmp_path / "published/mine", tmp_path / "restored/mine")
    restored, key = Store(tmp_path / "restored/mine"), key_of(store, "constrained")
    where = place(tmp_path / "unused", image_cache)
    done = rerun_trial(restored, key, tmp_path / "again", where)
    assert done.published
    assert not done.differences
    table = restored.table("outcomes", key)
    bits = table["correct"].to_pylist()
    bits[-1] = bytes([bits[-1][0] ^ 128, *bits[-1][1:]])
    place_of = table.schema.get_field_index("correct")
    changed = table.set_column(place_of, table.schema.field("correct"), pa.array(bits, pa.binary()))
    restored.table_path("outcomes", key).write_bytes(encode_table(changed))
    (difference,) = rerun_trial(restored, key, tmp_path / "once more", where).differences
    assert (difference.table, difference.column, difference.count) == ("outcomes", "correct", 1)
