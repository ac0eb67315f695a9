"""A sweep that is published unfinished and restored elsewhere continues there: only what is missing runs."""

import json
import shutil
from pathlib import Path

import pytest

from analysis.data.queries import read_tables
from analysis.published.files import publish, restore
from sweeps.storage.integrity import check_files
from sweeps.storage.store import Store
from tests.support.tiny_sweep import launch, results, sweep_arguments, works

pytestmark = pytest.mark.slow


def test_a_restored_sweep_runs_only_what_is_missing(finished: Store, image_cache: Path, tmp_path: Path) -> None:
    partial = shutil.copytree(finished.folder, tmp_path / "here" / finished.name)
    lost = sorted(row["key"] for row in finished.rows() if row["role"] != "search")[:2]
    for table in (partial / "tables").iterdir():
        for key in lost:
            (table / f"{key}.parquet").unlink(missing_ok=True)
    study = tmp_path / "study.toml"
    study.write_text(works(launch("studies", "quickstart", "--toml")), encoding="utf-8")
    published = tmp_path / "published" / finished.name
    assert publish(partial, published, study).trials == len(finished.keys()) - 2

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
    works(launch("best", finished.name, "--storage", str(store.folder.parent)))
    works(launch("report", finished.name, "--storage", str(store.folder.parent)))
    assert (store.folder / "report.html").exists()
    assert publish(store.folder, published).trials == len(read_tables(finished.folder).rows)
