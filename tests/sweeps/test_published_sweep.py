"""A sweep that is published unfinished and restored elsewhere continues there: only what is missing runs."""

import json
import shutil
from pathlib import Path

import pytest

from analysis.data.queries import read_tables
from analysis.published.files import publish, restore
from sweeps.search.replicates import missing_jobs
from sweeps.storage.identity import read_identity
from sweeps.storage.integrity import check_files, find_damage
from sweeps.storage.store import Store
from sweeps.study.manifest import update_manifest, write_manifest
from tests.support.shell import Command
from tests.support.tiny_sweep import launch, put, results, row_of, study, sweep_arguments, works


def test_a_restored_sweep_owes_what_was_missing(tmp_path: Path) -> None:
    """Its manifest is that of the study, its files are sound, and finished trials are not asked for again."""
    made, store = study(), Store(tmp_path / "here" / "quickstart")
    write_manifest(store, made, 0)
    owed = made.owed_jobs(made.reported_seeds(0))
    first, *others = owed
    for job in others:
        put(store, row_of(made, job.changes, role=job.role))
    (tmp_path / "study.toml").write_text('summary = "tiny"\n')
    published = tmp_path / "published" / "quickstart"
    assert publish(store.folder, published, tmp_path / "study.toml").trials == len(others)

    elsewhere = Store(tmp_path / "there" / "quickstart")
    assert restore(published, elsewhere.folder) == len(others)
    assert find_damage(elsewhere) == {}  # tables without rows have come back too
    assert update_manifest(elsewhere, made, 0) is None
    assert read_identity(elsewhere) == read_identity(store)
    assert [job.trial.key for job in missing_jobs(elsewhere, owed)] == [first.trial.key]
    assert elsewhere.rows() == store.rows()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_restored_sweep_runs_only_what_is_missing(
    finished: Store, image_cache: Path, tmp_path: Path, shell: Command
) -> None:
    partial = shutil.copytree(finished.folder, tmp_path / "here" / finished.name)
    lost = sorted(row["key"] for row in finished.rows() if row["role"] != "search")[:2]
    for table in (partial / "tables").iterdir():
        for key in lost:
            (table / f"{key}.parquet").unlink(missing_ok=True)
    file = tmp_path / "study.toml"
    file.write_text(shell("studies", "quickstart", "--toml"), encoding="utf-8")
    published = tmp_path / "published" / finished.name
    assert publish(partial, published, file).trials == len(finished.keys()) - 2

    store = Store(tmp_path / "there" / finished.name)
    assert restore(published, store.folder) == len(finished.keys()) - 2
    check_files(store)
    before = {key: store.table_path("trials", key).read_bytes() for key in store.keys()}  # noqa: SIM118
    said = works(launch(*sweep_arguments(store.folder.parent, image_cache)))
    assert "2 trials run now" in said
    assert store.keys() == finished.keys()
    assert {key: store.table_path("trials", key).read_bytes() for key in before} == before
    expected, found = (results(folder)["trials"] for folder in (finished.folder, store.folder))
    assert found.equals(expected)

    verdicts = [json.loads((one.folder / "verdicts.json").read_text()) for one in (finished, store)]
    for keys, entry in verdicts[0].items():
        again = verdicts[1][keys]["test"]
        for name in ("accuracy", "hull"):  # mixed networks keep no losses
            assert again[name] == entry["test"][name], keys
    shell("best", finished.name, "--storage", str(store.folder.parent))
    shell("report", finished.name, "--storage", str(store.folder.parent))
    assert (store.folder / "report.html").exists()
    assert publish(store.folder, published).trials == len(read_tables(finished.folder).rows)
