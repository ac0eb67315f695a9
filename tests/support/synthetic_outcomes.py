"""Makes the per-image tables of a trial, and the numbers of its row that follow from them.

An image is classified correctly where a network's margin on it is above 0: ability − difficulty of the image + noise.
Between networks of different basins the margin dips.
"""

from itertools import combinations
from typing import Any

import numpy as np

from basin.outcome_file import round_to_half
from stats.verdicts import bounds
from sweeps.storage.outcomes import pack_correct

IMAGES, PATH_IMAGES = 400, 300
ALPHAS = np.linspace(0, 1, 11)
# Ability, noise of a member, dip of the margin halfway, calibration error of the log-likelihood.
MARGINS = {
    "deep": (1.75, 0.60, 2.60),
    "swe": (1.65, 0.25, 0.02),
    "constrained": (1.70, 0.35, 0.00),
    "permuted": (1.75, 0.60, 1.30),
    "distilled": (1.75, 0.45, 0.01),
}
HULL = np.vstack([np.full((1, 4), 0.25), np.random.default_rng(5).dirichlet(np.ones(4), size=4)])


def margins(construction: str, rng: np.random.Generator, members: int, split: str) -> np.ndarray:
    """Margin of each member on each image [members, images]; images are as difficult for every trial."""
    ability, noise, _ = MARGINS.get(construction, MARGINS["constrained"])
    difficulty = np.random.default_rng(len(split)).normal(size=IMAGES)
    return ability + 0.05 * rng.normal() - difficulty + noise * rng.normal(size=(members, IMAGES))


def losses(margin: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of a margin."""
    return np.asarray(np.logaddexp(0.0, -3.0 * margin))


def mixed(margin: np.ndarray, weights: np.ndarray, dip: float) -> np.ndarray:
    """Margin of the networks at these rows of the mixing matrix, on the images of paths."""
    apart = 1 - (weights**2).sum(axis=1, keepdims=True)  # 0 at a member, ½ halfway between two
    return np.asarray(weights @ margin[:, :PATH_IMAGES] - 2 * dip * apart)


def outcomes(key: str, construction: str, rng: np.random.Generator, members: int = 4) -> list[dict[str, Any]]:
    """Rows of table `outcomes` on both splits."""
    dip = MARGINS.get(construction, MARGINS["constrained"])[2]
    rows = []
    for split in ("val", "test"):
        margin, start = margins(construction, rng, members, split), {"key": key, "split": split}
        rows.append(start | {"kind": "ensemble", "size": members} | scored(margin.mean(axis=0), ensemble=True))
        units = np.eye(members)
        rows += [start | {"kind": "member", "weights": units[k].tolist()} | scored(margin[k]) for k in range(members)]
        middle = np.full(members, 1 / members)
        soup = margin.mean(axis=0) - 0.05 - 2 * dip * (1 - 1 / members)
        rows.append(start | {"kind": "soup", "policy": "reset", "weights": middle.tolist()} | scored(soup))
        for kind, weights in {"path": _path_weights(members), "hull": HULL[:, :members]}.items():
            if kind == "hull" and members != HULL.shape[1]:
                continue
            for row, values in zip(weights, mixed(margin, weights, dip), strict=True):
                inside = {"judged": True} if kind == "path" and row.max() < 1 else {}
                rows.append(
                    start | {"kind": kind, "policy": "reset", "weights": row.tolist()} | inside | scored(values)
                )
        rows += [start | {"kind": "size", "size": m} | _subsets(margin, m) for m in range(1, members + 1)]
    return rows


def _path_weights(members: int) -> np.ndarray:
    units = np.eye(members)
    pairs = combinations(range(members), 2)
    inside = [(1 - a) * units[i] + a * units[j] for i, j in pairs for a in ALPHAS[1:-1]]
    return np.array([*units, *inside])


def scored(margin: np.ndarray, *, ensemble: bool = False) -> dict[str, Any]:
    """The columns of one network, or of an ensemble."""
    found = {"images": len(margin), "correct": pack_correct(margin > 0), "nll": round_to_half(losses(margin))}
    return found | ({"calibrated_nll": round_to_half(0.9 * losses(margin))} if ensemble else {})


def _subsets(margin: np.ndarray, size: int) -> dict[str, Any]:
    each = np.array([margin[list(some)].mean(axis=0) for some in combinations(range(len(margin)), size)])
    nll = losses(each).mean(axis=0)
    found = {
        "images": margin.shape[1],
        "accuracy_per_image": round_to_half((each > 0).mean(axis=0)),
        "nll": round_to_half(nll),
    }
    return found | {"calibrated_nll": round_to_half(0.9 * nll)}


def bits(row: dict[str, Any]) -> np.ndarray:
    """Whether each image is right, of a row of the table."""
    return np.unpackbits(np.frombuffer(row["correct"], np.uint8), count=row["images"]).astype(float)


def row_of(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The numbers of the trial's row that follow from its outcomes."""
    found: dict[str, float] = {}
    for split in ("val", "test"):
        own = {kind: [r for r in rows if (r["split"], r["kind"]) == (split, kind)] for kind in KINDS}
        (whole,), (soup,) = own["ensemble"], own["soup"]
        nll = {
            kind: np.mean([row["nll"].astype(float) for row in own[kind]]) for kind in ("ensemble", "member", "soup")
        }
        found |= {
            f"{split}_accuracy": 100 * bits(whole).mean(),
            f"{split}_member_mean_accuracy": 100 * np.mean([bits(row) for row in own["member"]]),
            f"{split}_soup_accuracy": 100 * bits(soup).mean(),
            f"{split}_nll": nll["ensemble"],
            f"{split}_member_mean_nll": nll["member"],
            f"{split}_jensen_gap": nll["member"] - nll["ensemble"],
            f"{split}_soup_nll": nll["soup"],
            f"{split}_calibrated_log_likelihood": -whole["calibrated_nll"].astype(float).mean(),
        }
        short = shortfalls(own["path"])
        limits = bounds(100 * short[None], worst=100.0, resamples=100)
        found |= {
            f"{split}_basin_upper_reset": limits.upper,
            f"{split}_basin_lower_reset": limits.lower,
            f"{split}_q_bar_reset": -100 * short.mean(),
            f"{split}_barrier_reset": max(0.0, 100 * short.mean(axis=2).max()),
        }
    return {name: float(value) for name, value in found.items()}


KINDS = ("ensemble", "member", "soup", "path")


def shortfalls(rows: list[dict[str, Any]]) -> np.ndarray:
    """What the networks inside the paths lose in correctness [pairs, α, images], in plain loops."""
    members = len(rows[0]["weights"])
    ends: dict[int, np.ndarray] = {}
    cells: dict[tuple[int, ...], list[np.ndarray]] = {}
    for row in rows:
        at = [k for k in range(members) if row["weights"][k]]
        if len(at) == 1:
            ends[at[0]] = bits(row)
    for row in rows:
        pair = tuple(k for k in range(members) if row["weights"][k])
        if len(pair) == 2:
            chord = sum(row["weights"][k] * ends[k] for k in pair)
            cells.setdefault(pair, []).append(chord - bits(row))
    return np.array(list(cells.values()))
