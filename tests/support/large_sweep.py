"""Makes the folder of a large sweep without training: `python -m tests.support.large_sweep FOLDER TRIALS`."""

import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sweeps.storage import compact, table_file
from sweeps.storage.schemas import SCHEMAS
from tests.support import synthetic_results

DETAILED = 1_500
"""Searched trials that have the other tables too; the page holds 1,000."""


def make(folder: Path, count: int) -> None:
    """A search of `count` trials in the real schemas, with references and replicates; written by column, one a file."""
    synthetic_results.full(folder)
    rng, schema, rows = np.random.default_rng(3), SCHEMAS["trials"](), []
    for n in range(count):
        name = ("constrained", "distilled")[n % 2]
        own = {"beta": float(10 ** rng.uniform(-2, 1)), "t": float(rng.uniform(0, 0.5)), "seed": n}
        own |= {"temperature": float(rng.uniform(0.5, 8)), "weight": 0.9} if name == "distilled" else {}
        row = synthetic_results.trial(f"{n:016x}", name, role="search", **synthetic_results.RECIPE)
        row |= own | {"passes": 720, "seconds": 9.0, "status": "done"}
        rows.append(row | synthetic_results.metrics(name, rng, float(rng.normal(-0.5, 0.4))))
    table = pa.Table.from_pylist(rows, schema)
    stamps = []
    for n in range(count):
        file, content = (
            folder / "tables" / "trials" / f"{rows[n]['key']}.parquet",
            table_file.encode_table(table.slice(n, 1)),
        )
        file.write_bytes(content)
        stamps.append((file.name, len(content), file.stat().st_mtime_ns, zlib.crc32(content)))
    write_compact(folder, table, stamps)
    for row in rows[:: max(1, count // DETAILED)]:
        key, name = row["key"], row["construction"]
        for what in ("paths", "members"):
            synthetic_results.write_real(folder, what, key, getattr(synthetic_results, what)(key, name, rng))
        synthetic_results.write_real(folder, "reliability", key, synthetic_results.reliability(key))


def write_compact(folder: Path, table: pa.Table, stamps: Sequence[tuple[Any, ...]]) -> None:
    """The compact file as a launcher writes it, without reading every file again."""
    for name, values in zip(compact.STAMP, zip(*stamps, strict=True), strict=True):
        table = table.append_column(name, pa.array(values))
    compact._write_cache(compact.compact_path(folder), table)


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
