"""Makes results folders as a sweep leaves them: one small Parquet file a trial and table, units in the metadata."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

UNITS = {
    **dict.fromkeys(["accuracy", "member_mean_accuracy", "member_best_accuracy", "member_worst_accuracy"], "%"),
    **dict.fromkeys(["nll", "member_mean_nll", "jensen_gap", "loss", "train_loss"], "nats"),
    **dict.fromkeys(["ece", "disagreement"], "%"),
    **dict.fromkeys(["q_bar_reset", "q_min_reset", "q_bar_interp", "q_min_interp"], "accuracy points"),
    **dict.fromkeys(["barrier_reset", "barrier_interp"], "accuracy points"),
    "seconds": "s",
}
# Accuracy of the ensemble and its members (%), NLL (nats), mean chord excess (points): roughly digits at 300 images.
PROFILES = {
    "deep": (96.4, 94.0, 0.135, -61.0),
    "swe": (95.3, 94.6, 0.180, -0.9),
    "constrained": (95.9, 94.4, 0.158, -0.3),
    "permuted": (96.4, 94.0, 0.135, -24.0),
    "distilled": (96.3, 94.5, 0.140, -0.4),
}


def write(folder: Path, table: str, key: str, rows: list[dict[str, Any]]) -> Path:
    """Writes the rows of one trial, with `unit` and `doc` of every column that has a unit."""
    file = folder / "tables" / table / f"{key}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    data = pa.Table.from_pylist(rows)
    fields = []
    for field in data.schema:
        unit = UNITS.get(field.name.removeprefix("val_").removeprefix("test_"))
        fields.append(field.with_metadata({"unit": unit, "doc": f"The {field.name}."}) if unit else field)
    pq.write_table(data.cast(pa.schema(fields)), file)
    return file


def trial(key: str, construction: str = "deep", seed: int = 0, **columns: Any) -> dict[str, Any]:
    """A trials row with the columns that must exist, and `columns`."""
    row = {"key": key, "sweep": "demo", "role": "replicate", "dataset": "digits", "model": "resnet8"}
    return {**row, "construction": construction, "seed": seed, "commit": "c0ffee", **columns}


def metrics(construction: str, rng: np.random.Generator, shift: float = 0.0) -> dict[str, float]:
    """Plausible numbers of both splits; `shift` moves accuracy (%) and, half as much, connectivity."""
    accuracy, member, nll, q_bar = PROFILES.get(construction, PROFILES["constrained"])
    found = {}
    for split in ("val", "test"):
        noise = rng.normal(0, 0.25, 4)
        q = min(q_bar - max(0.0, shift) * 1.5 + 0.15 * noise[3] * max(1, abs(q_bar) * 0.2), 0.6)
        found |= {
            f"{split}_accuracy": accuracy + shift + noise[0],
            f"{split}_member_mean_accuracy": member + shift + noise[1],
            f"{split}_nll": nll - 0.02 * shift + 0.03 * noise[2],
            f"{split}_ece": 1.5 + 0.3 * noise[0],
            f"{split}_q_bar_reset": q,
            f"{split}_barrier_reset": max(0.0, -1.6 * q),
        }
    return {name: round(float(value), 4) for name, value in found.items()}


def paths(key: str, construction: str, rng: np.random.Generator, members: int = 4) -> list[dict[str, Any]]:
    """Accuracy and loss on both splits along every pair's path, 11 α, under the policies reset and interp."""
    _, member, _, q_bar = PROFILES.get(construction, PROFILES["constrained"])
    rows = []
    for i in range(members):
        for j in range(i + 1, members):
            ends, depth = rng.normal(member, 0.5, 2), q_bar * rng.normal(1.4, 0.15)
            for policy, more in (("reset", 1.0), ("interp", 1.3)):
                for alpha in np.linspace(0, 1, 11):
                    dip = depth * more * (4 * alpha * (1 - alpha)) ** (2 if q_bar < -5 else 1)
                    accuracy = (1 - alpha) * ends[0] + alpha * ends[1] + dip
                    row = {"key": key, "policy": policy, "i": i, "j": j, "alpha": float(alpha)}
                    row |= {"accuracy": accuracy, "loss": 1 - accuracy / 100}
                    rows += [row | {"split": split} for split in ("val", "test")]
    return rows


def sweep(
    folder: Path, searched: dict[str, int], replicated: dict[str, int], *, with_paths: bool = True, **columns: Any
) -> Path:
    """A whole sweep: so many search trials and so many seeds of one replicated configuration per construction."""
    rng = np.random.default_rng(7)
    start = "".join(f"{value}-" for value in columns.values())
    for construction, count in searched.items():
        for index in range(count):
            key, beta = f"{start}s-{construction}-{index:03}", float(10 ** rng.uniform(-3, 1))
            row = trial(key, construction, role="search", beta=beta, members=4, seconds=9.0, **columns)
            shift = float(rng.normal(-0.5, 0.8)) - (30.0 if index == 5 else 0.0)
            write(folder, "trials", key, [row | metrics(construction, rng, shift)])
    for construction, count in replicated.items():
        for seed in range(count):
            key, role = f"{start}r-{construction}-{seed}", "reference" if construction == "deep" else "replicate"
            row = trial(key, construction, seed, role=role, members=4, seconds=9.0 + seed, **columns)
            row |= {"temperature": 4.0} if construction == "distilled" else {}
            write(folder, "trials", key, [row | metrics(construction, rng)])
            if with_paths:
                write(folder, "paths", key, paths(key, construction, rng))
    return folder


def full(folder: Path, **columns: Any) -> Path:
    """Every known construction and one unknown, three seeds each."""
    searched = {"swe": 15, "constrained": 30, "distilled": 25, "curve": 6}
    return sweep(folder, searched, dict.fromkeys([*PROFILES, "curve"], 3), **columns)
