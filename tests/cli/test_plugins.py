"""A construction, a dataset and a figure that lie outside of the project, from `--import` to the report."""

import json
from pathlib import Path

import pytest

from sweeps.storage.store import Store
from tests.support.tiny_sweep import ROOT, python, says, tables, works

LAUNCH = str(ROOT / "launch.py")
LAB = '''
"""Neighbours: a deep ensemble drawn together. Bars: made-up images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch

from basin import stack
from basin.constructions import Spends, constructions
from basin.data import Arrays, datasets
from basin.ensemble import Ensemble, all_pairs
from basin.metrics import metric
from basin.spec import Bounds, Search, check_fields


@constructions.register("neighbours")
@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Members on the way to their mean."""

    version: ClassVar[int] = 1

    members: Annotated[int, Bounds(1)] = 4
    """Networks in the ensemble, K."""
    nearness: Annotated[float, Bounds(0, 1), Search(0, 1)] = 0.5
    """How far each network is drawn to the mean of all."""

    def __post_init__(self) -> None:
        check_fields(self)

    def needs(self, steps: int) -> dict[int, int]:
        return dict.fromkeys(range(self.members), steps)

    def spends(self, steps: int) -> Spends:
        return Spends(0, self.members * steps)

    def grow(self, task) -> Iterator[Ensemble]:
        vertices = stack.join_stacks([task.single(k).thetas for k in range(self.members)])
        own = torch.eye(self.members, dtype=torch.float64)
        mixed = (1 - self.nearness) * own + self.nearness / self.members
        yield Ensemble(vertices, mixed, all_pairs(self.members))


@datasets.register("bars")
@dataclass(frozen=True, kw_only=True)
class Bars:
    """Grey images of 8 by 8 pixels in two classes."""

    version: ClassVar[int] = 1
    train_size: ClassVar[int | None] = 100
    val_size: ClassVar[int | None] = 60
    augment: ClassVar[str] = "none"

    def decode(self, source: Path | None, download: Path) -> Arrays:
        rng, labels = np.random.default_rng(0), np.arange(300, dtype=np.int64) % 2
        bars = np.where(np.arange(8) % 2, 200.0, 50.0)
        images = np.where(labels[:, None, None] == 0, bars[:, None], bars[None, :])
        noisy = np.clip(images + rng.normal(0, 60, images.shape), 0, 255).astype(np.uint8)[:, None]
        return Arrays(noisy[:200], labels[:200], noisy[200:], labels[200:], ("lying", "standing"))


@metric(unit="%", better="lower")
def mistakes(log_probs, labels) -> float:
    """Error of the mean of the members' probabilities."""
    return 100 * float((log_probs.exp().mean(0).argmax(1) != labels).double().mean())
'''
FIGURE = '''
"""Number of trials of each construction."""

TITLE = "Trials by construction"
WHAT = "Finished trials of each construction."
NEEDS = "python launch.py sweep {sweep}"


def draw(tables):
    """Draw bars."""
    from analysis.output import style
    from analysis.output.registry import Drawn

    figure, (ax,) = style.panels(1, columns=1, width=4, height=3)
    names = sorted(tables.constructions)
    counts = [sum(row["construction"] == name for row in tables.rows) for name in names]
    ax.bar(names, counts)
    return Drawn(figure, [row["key"] for row in tables.rows], dict(zip(names, counts)))
'''
STUDY = """
import = ["my_lab.py"]
constructions = ["neighbours"]
trials = 2
sampler = "random"
seeds = 1

[base]
dataset = "bars"
model = "mlp"
hidden = 8
epochs = 1
members = 2
alphas = 3
test_size = 60
precision = "float32"

[search]
nearness = "0.25..0.75"
"""


@pytest.mark.slow
def test_a_study_with_its_own_parts_from_outside_of_the_project(tmp_path: Path, image_cache: Path) -> None:
    """The launcher's working directory is another folder; `--import` of the figure is for the report only."""
    lab, elsewhere = tmp_path / "lab", tmp_path / "elsewhere"
    lab.mkdir()
    elsewhere.mkdir()
    (lab / "my_lab.py").write_text(LAB)
    (lab / "counts.py").write_text(FIGURE)
    (lab / "near.toml").write_text(STUDY)
    where = ["--storage", str(tmp_path / "results")]
    command = [LAUNCH, "sweep", str(lab / "near.toml"), *where, "--cache", str(image_cache)]
    said = works(python(*command, cwd=elsewhere, timeout=400))
    assert "data: bars, 2 classes" in said
    store = Store(tmp_path / "results" / "near")
    rows = store.rows()
    assert {row["construction"] for row in rows} == {"deep", "neighbours"}
    assert {row["dataset"] for row in rows} == {"bars"}
    near = [row["nearness"] for row in rows if row["role"] == "search"]
    assert len(near) == 2
    assert all(0.25 <= value <= 0.75 for value in near)
    assert all(row["test_mistakes"] == pytest.approx(100 - row["test_accuracy"]) for row in rows)
    (recorded,) = {row["plugins"] for row in rows}
    manifest = json.loads((store.folder / "sweep.json").read_text())
    assert recorded == f"my_lab@{manifest['plugins']['my_lab']['sources']}"
    schema = tables(store.folder)["trials"].schema
    assert b"drawn to the mean" in schema.field("nearness").metadata[b"doc"]

    report = works(python(LAUNCH, "report", "near", *where, "--import", str(lab / "counts.py"), cwd=elsewhere))
    assert "Neighbours" in report
    page = (store.folder / "report.html").read_text(encoding="utf-8")
    assert "Trials by construction" in page
    assert recorded in page
    assert json.loads((store.folder / "figures" / "counts.json").read_text())["data"] == {"deep": 1, "neighbours": 3}

    sync = [LAUNCH, "sync", "near", *where]
    says(python(*sync, cwd=elsewhere), "was run with plugin my_lab: give --import my_lab, or the path of its file")
    assert "MLflow differed in 0" in works(python(*sync, "--import", str(lab / "my_lab.py"), cwd=elsewhere))
    best = works(python(LAUNCH, "best", "near", *where, "--x", "mistakes", "--y", "accuracy", cwd=elsewhere))
    assert "neighbours" in best

    (lab / "my_lab.py").write_text(LAB + "# changed\n")
    again = works(python(*command, cwd=elsewhere))
    assert "plugin my_lab has changed since the last launch (sources" in again
    assert "0 trials run now, 4 in" in " ".join(again.split())
    manifest = json.loads((store.folder / "sweep.json").read_text())
    assert recorded != f"my_lab@{manifest['plugins']['my_lab']['sources']}"  # so it is said once
