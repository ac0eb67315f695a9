"""A made-up record of a search: the optimum and every trial's cost are known without running anything."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from basin.strict_json import dump_json
from benchmarks.recorded_trials import FACTS, PROVENANCE

RANGES = {"constrained.t": [0.005, 0.5, True], "constrained.beta": [0.01, 30.0, True]}
RANGES |= {name.replace("constrained", "distilled"): values for name, values in RANGES.items()}
RANGES |= {"distilled.temperature": [0.5, 10, True], "distilled.weight": [0.1, 1, False]}
STUDY: dict[str, Any] = {
    "base": {},
    "constructions": ["constrained", "distilled"],
    "fixed": {},
    "objectives": ["val_nll"],
    "margin": 2.0,
    "constraints": [],
    "ranges": RANGES,
    "seed": 0,
    "identity": "made-up",
}
EPOCHS = (2, 4, 6, 8)


def log_uniform(share: float, low: float, high: float) -> float:
    """The number at a share of a logarithmic range."""
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))


def make_record(
    count: int, score: Callable[[dict[str, Any], int], tuple[float, float]], seed: int = 0, passes: int = 800
) -> pa.Table:
    """Random configurations; `score` gives NLL and basin bound of a row at an epoch. Passes are equal each epoch."""
    draw, rows = np.random.default_rng(seed), []
    for number in range(count):
        t, beta, temperature, weight = draw.random(4)
        row: dict[str, Any] = {
            "key": f"{number:016x}",
            "construction": STUDY["constructions"][number % 2],
            "status": "done",
            "t": log_uniform(t, 0.005, 0.5),
            "beta": log_uniform(beta, 0.01, 30),
            "temperature": log_uniform(temperature, 0.5, 10) if number % 2 else None,
            "weight": 0.1 + 0.9 * weight if number % 2 else None,
            "passes": passes,
            "batch_size": 100,
            "members": 4,
            "teacher_passes": 0,
        }
        row["val_nll"], row["val_basin_upper_reset"] = score(row, EPOCHS[-1])
        row["test_nll"], row["test_basin_upper_reset"] = row["val_nll"] + 0.01, row["val_basin_upper_reset"]
        row["history"] = []
        for epoch in EPOCHS:
            nll, upper = score(row, epoch)
            report = {"step": epoch, "passes": passes * epoch // 8, "progress": epoch / 8}
            row["history"].append(report | {"val_nll": nll, "val_basin_mid_upper_reset": upper})
        rows.append(row)
    facts = {"study": STUDY, "provenance": {name: ["made-up"] for name in PROVENANCE} | {"data": None}}
    return pa.Table.from_pylist(rows).replace_schema_metadata({FACTS: dump_json(facts).encode()})
