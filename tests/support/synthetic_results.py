"""Makes results folders as a sweep leaves them: one small Parquet file a trial and table, in the real schemas."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.support import synthetic_outcomes

UNITS = {
    **dict.fromkeys(["accuracy", "member_mean_accuracy", "member_best_accuracy", "member_worst_accuracy"], "%"),
    **dict.fromkeys(
        ["nll", "member_mean_nll", "jensen_gap", "calibrated_log_likelihood", "loss", "train_loss"], "nats"
    ),
    **dict.fromkeys(["ece", "disagreement"], "%"),
    **dict.fromkeys(["q_bar_reset", "q_min_reset", "q_bar_interp", "q_min_interp"], "accuracy points"),
    **dict.fromkeys(["barrier_reset", "barrier_interp"], "accuracy points"),
    **dict.fromkeys(["basin_upper_reset", "basin_lower_reset"], "accuracy points"),
    **dict.fromkeys(["soup_nll", "loss_barrier_reset"], "nats"),
    "soup_accuracy": "%",
    "normalised_disagreement": "1",
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
OWN: dict[str, dict[str, Any]] = {
    "constrained": {"t": 0.05, "beta": 1.0, "constraint": "path"},
    "distilled": {"t": 0.1, "beta": 1.0, "temperature": 4.0, "weight": 0.9},
    "permuted": {"matching": "activations"},
}
"""Hyperparameters that a construction has of its own."""
RECIPE: dict[str, Any] = {"members": 4, "epochs": 30, "width": 0.5, "norm": "batch", "val_size": 600}


def write(folder: Path, table: str, key: str, rows: list[dict[str, Any]]) -> Path:
    """Writes the rows of one trial with just their columns, `unit` and `doc` of every column that has a unit."""
    data = pa.Table.from_pylist(rows)
    fields = []
    for field in data.schema:
        unit = UNITS.get(field.name.removeprefix("val_").removeprefix("test_"))
        fields.append(field.with_metadata({"unit": unit, "doc": f"The {field.name}."}) if unit else field)
    return _put(folder, table, key, data.cast(pa.schema(fields)))


def write_real(folder: Path, table: str, key: str, rows: list[dict[str, Any]]) -> Path:
    """Writes the rows of one trial as a sweep does: its schema, its encoding."""
    from sweeps.storage.schemas import SCHEMAS

    return _put(folder, table, key, pa.Table.from_pylist(rows, SCHEMAS[table]()))


def _put(folder: Path, table: str, key: str, data: pa.Table) -> Path:
    from sweeps.storage.table_file import encode_table

    file = folder / "tables" / table / f"{key}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode_table(data))
    return file


def trial(key: str, construction: str = "deep", seed: int = 0, **columns: Any) -> dict[str, Any]:
    """A trials row with the columns that must exist, and `columns`."""
    row = {"key": key, "sweep": "demo", "role": "replicate", "dataset": "digits", "model": "resnet8"}
    return {**row, "construction": construction, "seed": seed, "commit": "c0ffee", **columns}


def metrics(construction: str, rng: np.random.Generator, shift: float = 0.0) -> dict[str, float]:
    """Plausible numbers of both splits; `shift` moves accuracy (%) and, half as much, connectivity."""
    accuracy, member, nll, q_bar = PROFILES.get(construction, PROFILES["constrained"])
    found: dict[str, float] = {}
    for split in ("val", "test"):
        noise = rng.normal(0, 0.25, 4)
        q = min(q_bar - max(0.0, shift) * 1.5 + 0.15 * noise[3] * max(1, abs(q_bar) * 0.2), 0.6)
        likelihood, gap = nll - 0.02 * shift + 0.03 * noise[2], 0.02 * (accuracy - member) + 0.01 * noise[1]
        found |= {
            f"{split}_accuracy": accuracy + shift + noise[0],
            f"{split}_member_mean_accuracy": member + shift + noise[1],
            f"{split}_nll": likelihood,
            f"{split}_member_mean_nll": likelihood + gap,
            f"{split}_jensen_gap": gap,
            f"{split}_calibrated_log_likelihood": -0.9 * likelihood,
            f"{split}_disagreement": 2.5 * (accuracy - member),
            f"{split}_normalised_disagreement": 0.6 * (accuracy - member) + 0.1 * noise[0],
            f"{split}_mutual_information": 0.01 * (accuracy - member),
            f"{split}_ece": 1.5 + 0.3 * noise[0],
            f"{split}_q_bar_reset": q,
            f"{split}_q_bar_interp": 1.3 * q - 1,
            f"{split}_barrier_reset": max(0.0, -1.6 * q),
            f"{split}_barrier_interp": max(0.0, -1.9 * q + 1.6),
            f"{split}_loss_barrier_reset": max(0.0, -0.03 * q),
            f"{split}_soup_accuracy": member + shift + 0.4 + noise[2] if q > -5 else 20.0,
            f"{split}_soup_nll": likelihood + 0.01,
            f"{split}_basin_upper_reset": 1.0 - 2 * q,
            f"{split}_basin_lower_reset": -2 * q - 2.0,
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


def plane(key: str, rng: np.random.Generator, members: int = 4, points: int = 9) -> list[dict[str, Any]]:
    """Two basins in a plane; twice as many vertices as members, as of an aligned ensemble."""
    side = np.linspace(-0.2, 1.2, points) * 20
    rows = []
    for y, x in product(side, side):
        loss = 0.2 + min((x / 9) ** 2 + (y / 9) ** 2, ((x - 20) / 9) ** 2 + (y / 9) ** 2, 3.0)
        row = {"vertex": None, "x": x, "y": y, "residual": 0.0, "loss": loss, "accuracy": 97 - 20 * loss}
        rows.append({"key": key, "split": "test", "policy": "reset", **row})
    anchors = {0: (0, 0), 1: (20, 0), members: (0, 0), members + 1: (9, 20)}
    for vertex in range(2 * members):
        x, y = anchors.get(vertex, tuple(rng.uniform(5, 15, 2)))
        place = {"x": float(x), "y": float(y), "residual": 0.0 if vertex in anchors else 18.0}
        rows.append(rows[0] | {"vertex": vertex, "loss": 0.2, "accuracy": 94.0} | place)
    return rows


def reliability(key: str) -> list[dict[str, Any]]:
    """15 bins of equal width on both splits, of an ensemble that is a little underconfident."""
    rows = []
    for split, index in product(("val", "test"), range(15)):
        lo, hi, count = 100 * index / 15, 100 * (index + 1) / 15, 0 if index < 3 else 2**index // 16
        centre = (lo + hi) / 2
        row = {"key": key, "split": split, "binning": "width", "bin": index, "lo": lo, "hi": hi, "count": count}
        rows.append(
            {**row, "confidence": centre if count else None, "accuracy": min(centre + 6, 100.0) if count else None}
        )
    return rows


def members(key: str, construction: str, rng: np.random.Generator, count: int = 4) -> list[dict[str, Any]]:
    """Accuracy and NLL of each member."""
    _, member, nll, _ = PROFILES.get(construction, PROFILES["constrained"])
    splits = {f"{split}_accuracy": member for split in ("val", "test")} | {f"{s}_nll": nll for s in ("val", "test")}
    return [
        {"key": key, "member": k, **{name: value * rng.normal(1, 0.01) for name, value in splits.items()}}
        for k in range(count)
    ]


def finished(
    folder: Path, key: str, construction: str, rng: np.random.Generator, *, shift: float = 0.0, details: bool = False,
    **columns: Any,
) -> None:  # fmt: skip
    """Writes a whole trial: its row, and with `details` its other tables."""
    row = trial(key, construction, status="done", device="cpu", torch_version="2.15.0", **RECIPE)
    row |= OWN.get(construction, {}) | columns
    size = row["members"]
    row |= {"passes": 180 * size, "teacher_passes": 720 if construction == "distilled" else 0}
    row |= {"seconds": 2.0 * size + rng.uniform(), "teacher_forwards": row["teacher_passes"]}
    row |= {"stage_seconds": None if construction == "curve" else 3.0 * size * (construction != "swe")}
    row |= {"member_distance": 0.9 / (1 + row.get("beta", 0.0)) + 0.02 * rng.normal()}
    row |= metrics(construction, rng, shift) | columns
    if details:
        kept = synthetic_outcomes.outcomes(key, construction, rng, size)
        write_real(folder, "outcomes", key, kept)
        row |= synthetic_outcomes.row_of(kept)
    write_real(folder, "trials", key, [row])
    if details:
        write_real(folder, "paths", key, paths(key, construction, rng, min(size, 4)))
        write_real(folder, "members", key, members(key, construction, rng, size))
        write_real(folder, "reliability", key, reliability(key))
        if construction in ("deep", "permuted"):
            write_real(folder, "planes", key, plane(key, rng, size))


def sweep(
    folder: Path, searched: dict[str, int], replicated: dict[str, int], *, with_paths: bool = True, **columns: Any
) -> Path:
    """A whole sweep: so many search trials and so many seeds of one replicated configuration per construction."""
    rng = np.random.default_rng(7)
    start = "".join(f"{value}-" for value in columns.values())
    for construction, count in searched.items():
        for index in range(count):
            drawn: dict[str, Any] = {"beta": float(10 ** rng.uniform(-2, 1)), "t": float(rng.uniform(0.01, 0.5))}
            drawn |= {"temperature": float(rng.uniform(0.5, 8)), "weight": 0.9} if construction == "distilled" else {}
            shift = float(rng.normal(-0.5, 0.4)) - 0.3 * drawn["beta"] - (30.0 if index == 5 else 0.0)
            key = f"{start}s-{construction}-{index:03}"
            finished(folder, key, construction, rng, shift=shift, role="search", **drawn, **columns)
    for construction, count in replicated.items():
        for seed in range(count):
            key, role = f"{start}r-{construction}-{seed}", "reference" if construction == "deep" else "fresh"
            finished(folder, key, construction, rng, details=with_paths, role=role, seed=seed, **columns)
    return folder


def grids(folder: Path, seeds: int = 2) -> Path:
    """The grids of the other studies: t × β, β × τ, τ × λ, widths, sizes of deep ensembles."""
    rng = np.random.default_rng(11)
    points: list[tuple[str, dict[str, Any]]]
    points = [("constrained", {"t": t, "beta": b}) for t, b in product((0.0, 0.05, 0.2, 0.5), (0.0, 0.3, 1.0))]
    points += [("distilled", {"beta": b, "temperature": tau}) for b, tau in product((0.0, 1.0), (1.0, 2.0, 4.0))]
    points += [("distilled", {"weight": w, "temperature": tau}) for w, tau in product((0.3, 0.6), (1.0, 2.0, 4.0))]
    points += [("permuted", {"width": w, "matching": m}) for w, m in product((1.0, 2.0), ("weights", "activations"))]
    points += [("deep", {"width": width}) for width in (1.0, 2.0)]
    points += [("deep", {"members": count}) for count in (1, 2, 8)]
    kinds = ("simplex", "matching")
    points += [("constrained", {"constraint": kind, "beta": b}) for kind, b in product(kinds, (0.0, 0.3, 1.0))]
    for number, (construction, own) in enumerate(points):
        shift = 0.3 * np.log2(own.get("members", 4) / 4) - 0.2 * own.get("beta", 0.0)
        for seed in range(seeds):
            finished(folder, f"g{number:02}-{seed}", construction, rng, shift=shift, role="grid", seed=seed, **own)
    return folder


def full(folder: Path, **columns: Any) -> Path:
    """Every known construction and one unknown, three fresh seeds each, and a search."""
    searched = {"swe": 15, "constrained": 30, "distilled": 25, "curve": 6}
    return sweep(folder, searched, dict.fromkeys([*PROFILES, "curve"], 3), **columns)
