"""A small sweep with a manifest, to be published."""

import json
from pathlib import Path

from tests.support import synthetic_results

MANIFEST = {"identity": "0" * 32, "base": {"epochs": 30}, "data": {"images": 400, "source": "/home/somebody/cifar.tar"}}
STUDY = 'summary = "Every construction, three seeds"\n'


def write_sweep(folder: Path, searched: dict[str, int] | None = None) -> Path:
    """Every construction on three reported seeds, with per-image results, and a few searched trials."""
    everything = dict.fromkeys(synthetic_results.PROFILES, 3)
    synthetic_results.sweep(folder, searched or {}, everything, data_hash="da7a", batch_size=50)
    (folder / "sweep.json").write_text(json.dumps(MANIFEST))
    return folder
