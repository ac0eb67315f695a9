"""Encode and decode per-image results, the table `outcomes`. Needs only NumPy and pyarrow."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import ArrayLike, NDArray

from stats.chords import accuracy_shortfall, loss_shortfall

Array = NDArray[Any]
Columns = dict[str, Array]
"""Column → [rows, images] of one kind, as `decode` returns them."""
LISTS = ("nll", "calibrated_nll", "accuracy_per_image")
ROUNDED = b"rounded"
"""Entry in the metadata of a table that came back from publishing: some rows, whose lists have rounded values."""
LIKELIHOOD = "calibrated_log_likelihood"
PLAIN = ("policy", "size", "judged")


@dataclass(frozen=True, eq=False)
class Shortfalls:
    """Per-image losses of one trial's mixed networks against their chords: input of `stats.verdicts`."""

    values: NDArray[np.float64]
    """[pairs, alphas, images]: accuracy points, or nats; positive where the path dips."""
    pairs: list[tuple[int, int]]
    """Members i < j of each row; for the hull (0, p), the centroid and the p-th random point."""
    alphas: list[float]
    """Positions on the paths; for the hull 0 for the centroid and 1 for the random point."""


def pack_correct(correct: ArrayLike) -> bytes:
    """Pack which images are classified correctly, one bit per image, the first in the highest bit of the first byte."""
    return np.packbits(np.asarray(correct, dtype=bool)).tobytes()


def decode(table: pa.Table, split: str, kind: str) -> dict[str, Array]:
    """Return one trial's rows of a kind as arrays, without null columns.

    `weights` [rows, members], `size`, `policy` and `judged` [rows]; by image, [rows, images]: `correct` (bool), `nll`
    and `calibrated_nll` (nats), `accuracy_per_image` (share of correct subsets). Empty without such rows.
    """
    compute = pa.compute
    wanted = compute.and_(compute.equal(table["split"], split), compute.equal(table["kind"], kind))
    rows = table.filter(wanted)
    arrays: dict[str, Array] = {}
    if not rows.num_rows:
        return arrays
    for name in PLAIN:
        if rows[name].null_count < rows.num_rows:
            arrays[name] = np.array(rows[name].to_pylist())
    for name in ("weights", *LISTS):
        if not rows[name].null_count:
            flat = np.asarray(rows[name].combine_chunks().flatten(), dtype=np.float64)
            arrays[name] = flat.reshape(rows.num_rows, -1)
    if not rows["correct"].null_count:
        count, bits = rows["images"][0].as_py(), rows["correct"].to_pylist()
        bytes_ = np.frombuffer(b"".join(bits), dtype=np.uint8).reshape(rows.num_rows, -1)
        arrays["correct"] = np.unpackbits(bytes_, axis=1, count=count).astype(bool)
    return arrays


def shortfalls(
    table: pa.Table,
    split: str,
    by: Literal["accuracy", "nll"] = "accuracy",
    kind: Literal["path", "hull"] = "path",
    *,
    judged: bool = True,
) -> Shortfalls:
    """Return what one trial's mixed networks lose on each image, for the judged pairs.

    `judged=False` returns all measured pairs. For the hull each row holds the centroid and one random point, or the
    centroid alone. Raises ValueError if the trial has no such networks, or has not stored their losses.
    """
    ends, mixed = decode(table, split, "path"), decode(table, split, kind)
    if not ends or not mixed:
        raise ValueError(f"outcomes without {kind} rows on {split}: expected an ensemble of two members or more")
    column = {"accuracy": "correct", "nll": "nll"}[by]
    if column not in mixed:
        raise ValueError("outcomes without losses: expected a trial with outcome_nll=true")
    corners = _corners(ends, column)
    formula = {"accuracy": accuracy_shortfall, "nll": loss_shortfall}[by]
    if kind == "hull":
        values = formula(mixed["weights"], corners, mixed[column])
        if len(values) == 1:
            return Shortfalls(values[None], [(0, 0)], [0.0])
        together = np.stack([np.broadcast_to(values[0], values[1:].shape), values[1:]], axis=1)
        return Shortfalls(together, [(0, p) for p in range(1, len(values))], [0.0, 1.0])
    return _path_shortfalls(ends, ~_is_end(ends), corners, column, formula, judged)


def _path_shortfalls(
    rows: dict[str, Array], inside: Array, corners: Array, column: str, formula: Any, judged: bool
) -> Shortfalls:
    if judged:
        inside = inside & (rows["judged"] == True)  # noqa: E712 (an array of objects, null for the ends)
    weights, scores = rows["weights"][inside], rows[column][inside]
    places = [(int(row.nonzero()[0][0]), int(row.nonzero()[0][1])) for row in weights]
    alphas = [float(row[j]) for row, (_, j) in zip(weights, places, strict=True)]
    pairs, grid = sorted(set(places)), sorted(set(alphas))
    index = {position: n for n, position in enumerate(zip(places, alphas, strict=True))}
    order = [index[position] for position in product(pairs, grid)]
    values = formula(weights[order], corners, scores[order])
    return Shortfalls(values.reshape(len(pairs), len(grid), -1), pairs, grid)


def scores(columns: Columns, metric: str) -> Array | None:
    """Return `accuracy` (%), `nll` or `calibrated_log_likelihood` [rows, images]; None if not stored."""
    if metric == "accuracy":
        kept = columns.get("correct", columns.get("accuracy_per_image"))
        return None if kept is None else 100.0 * kept
    if metric == LIKELIHOOD:
        kept = columns.get("calibrated_nll")
        return None if kept is None else -kept
    return columns.get(metric)


Source = Callable[[str], Columns]
"""Returns the columns of a kind, for one trial and split."""


def _mean_of(kind: str, metric: str) -> Callable[[Source], Array | None]:
    def values(source: Source) -> Array | None:
        by_row = scores(source(kind), metric)
        return None if by_row is None else np.asarray(by_row.mean(axis=0))

    return values


def _jensen_gap(source: Source) -> Array | None:
    members, ensemble = (_mean_of(kind, "nll")(source) for kind in ("member", "ensemble"))
    return None if members is None or ensemble is None else members - ensemble


def _path_excess(source: Source) -> Array | None:
    """Return the mean excess over the chord of all networks on paths: its mean over images is q̄."""
    columns = source("path")
    if "correct" not in columns:
        return None
    inside = ~_is_end(columns)
    lost = accuracy_shortfall(columns["weights"][inside], _corners(columns, "correct"), columns["correct"][inside])
    return np.asarray(-lost.mean(axis=0)) if len(lost) else None


def _centroid_excess(source: Source) -> Array | None:
    """Return what the centroid gains over the mean member, with the same BatchNorm policy, in accuracy points."""
    paths, hull = source("path"), source("hull")
    if "correct" not in paths or "correct" not in hull:
        return None
    return np.asarray(100.0 * (hull["correct"][0] - _corners(paths, "correct").mean(axis=0)))


def _nll_of_ends(source: Source) -> Array | None:
    """Return the NLL of the ensemble whose members have the BatchNorm statistics of paths, in nats."""
    columns = source("path")
    if "nll" not in columns:
        return None
    members = _corners(columns, "nll")
    return np.asarray(np.log(len(members)) - np.logaddexp.reduce(-members, axis=0))


def _jensen_gap_of_ends(source: Source) -> Array | None:
    """Return the mean NLL of these members less that of their ensemble, in nats."""
    ensemble = _nll_of_ends(source)
    return None if ensemble is None else _corners(source("path"), "nll").mean(axis=0) - ensemble


def _is_end(columns: Columns) -> Array:
    return np.asarray((columns["weights"] == 1).any(axis=1))


def _corners(columns: Columns, name: str) -> Array:
    """Return the values of the members at the ends of paths, [members, images]."""
    ends = _is_end(columns)
    return np.asarray(columns[name][ends][columns["weights"][ends].argmax(axis=1).argsort()])


OF_ENDS: dict[str, Callable[[Source], Array | None]] = {
    "nll_of_ends": _nll_of_ends,
    "jensen_gap_of_ends": _jensen_gap_of_ends,
}
"""Metrics of the members at the ends of paths: no columns of `trials`, and in outcomes alone."""
PER_IMAGE: dict[str, Callable[[Source], Array | None]] = {
    **{metric: _mean_of("ensemble", metric) for metric in ("accuracy", "nll", LIKELIHOOD)},
    **{f"member_mean_{metric}": _mean_of("member", metric) for metric in ("accuracy", "nll")},
    **{f"soup_{metric}": _mean_of("soup", metric) for metric in ("accuracy", "nll")},
    "jensen_gap": _jensen_gap,
    "q_bar_reset": _path_excess,
    "centroid_gap_reset": _centroid_excess,
    **OF_ENDS,
}
"""Metric → its value per image, whose mean is the metric. Outcomes of mixed networks have the policy `reset`."""
