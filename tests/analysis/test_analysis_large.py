"""Ten thousand trials: every figure, every table and the report in a minute and two gigabytes."""

import json
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic_results

from sweeps import compact

TRIALS = 10_000
SECONDS, BYTES = 60, 2 * 2**30
DETAILED = 1_500
"""Searched trials that have the other tables too; the page holds 1,000."""
MEASURED = """
import json, resource, sys
from analysis.queries import read
from analysis import report
page = report.write(read(sys.argv[1]), formats=["png", "pdf"])
print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "size": page.stat().st_size}))
"""


def make(folder, count):
    """A search of `count` trials in the real schemas, with references and replicates; written by column, one a file."""
    from sweeps.schemas import SCHEMAS

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
    for n in range(count):
        pq.write_table(table.slice(n, 1), folder / "tables" / "trials" / f"{rows[n]['key']}.parquet")
    for row in rows[:: max(1, count // DETAILED)]:
        key, name = row["key"], row["construction"]
        for what in ("paths", "members"):
            synthetic_results.write_real(folder, what, key, getattr(synthetic_results, what)(key, name, rng))
        synthetic_results.write_real(folder, "reliability", key, synthetic_results.reliability(key))
    leave_compact(folder, table)


def leave_compact(folder, table):
    """The file of all rows that commands leave behind which read a sweep's rows, without reading them one by one."""
    files = [folder / "tables" / "trials" / f"{key}.parquet" for key in table["key"].to_pylist()]
    stats = [file.stat() for file in files]
    stamps = [[f.name for f in files], [s.st_size for s in stats], [s.st_mtime_ns for s in stats]]
    for name, values in zip(compact.STAMP, stamps, strict=True):
        table = table.append_column(name, pa.array(values))
    compact.path(folder).parent.mkdir()
    pq.write_table(table, compact.path(folder))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_trials_in_a_minute_and_two_gigabytes(root, tmp_path):
    make(tmp_path / "large", TRIALS)
    began = time.perf_counter()
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "large")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{TRIALS} trials: {seconds:.1f} s, {found['peak'] / 2**20:.0f} MiB, page {found['size'] / 1e6:.1f} MB")
    assert seconds <= SECONDS
    assert found["peak"] <= BYTES
    assert found["size"] < 5e6
    page = (tmp_path / "large" / "report.html").read_text(encoding="utf-8")
    assert "more are left out one by one" in page
