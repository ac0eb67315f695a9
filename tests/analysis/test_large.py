"""Ten thousand trials: every figure, every table and the report in a minute and two gigabytes."""

import json
import os
import resource
import subprocess
import sys
import time
import zlib

import numpy as np
import pyarrow as pa
import pytest

from sweeps.storage import compact, table_file
from tests.support import synthetic_results

TRIALS = 10_000
SECONDS, BYTES = 60, 2 * 2**30
ADDITIONS = 20_000_000
"""In a second, by the machine that the limit of time is meant for; one that takes longer has longer."""
DETAILED = 1_500
"""Searched trials that have the other tables too; the page holds 1,000."""
MEASURED = """
import json, sys
from analysis.data.queries import read_tables
from analysis import report
page = report.write_report(read_tables(sys.argv[1]), formats=["png", "pdf"])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))  # ru_maxrss begins with the parent's peak
print(json.dumps({"peak": int(status["VmHWM"].split()[0]) * 1024, "size": page.stat().st_size}))
"""


def make(folder, count):
    """A search of `count` trials in the real schemas, with references and replicates; written by column, one a file."""
    from sweeps.storage.schemas import SCHEMAS

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


def write_compact(folder, table, stamps):
    """The compact file as a launcher writes it, without reading every file again."""
    for name, values in zip(compact.STAMP, zip(*stamps, strict=True), strict=True):
        table = table.append_column(name, pa.array(values))
    compact._write_cache(compact.compact_path(folder), table)


def slowness():
    """How many times slower this machine is at the moment; at least 1."""
    began, total = time.process_time(), 0
    for number in range(ADDITIONS):
        total += number
    return max(1.0, time.process_time() - began)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A sweep as its launcher leaves it."""
    folder = tmp_path_factory.mktemp("large") / "large"
    make(folder, TRIALS)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("state", ["left", "copied"])
def test_ten_thousand_trials_in_a_minute_and_two_gigabytes(state, root, large):
    """Read as the launcher leaves the folder, and after it was copied without its dates."""
    if state == "copied":
        for file in (large / "tables" / "trials").iterdir():
            os.utime(file, ns=(0, 1_000_000_000))
    slower = slowness()
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", MEASURED, str(large)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    slower = (slower + slowness()) / 2
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = json.loads(done.stdout.splitlines()[-1])
    told = (
        f"{seconds:.1f} s, {worked:.1f} s of a processor {slower:.2f} times slower than the limit's, "
        f"{found['peak'] / 2**20:.0f} MiB, {found['size'] / 1e6:.1f} MB"
    )
    print(f"{TRIALS} trials, {state}: {told}")
    # Other work on the machine is not this command's fault: one processor's time counts where that is less.
    assert min(seconds, worked) <= SECONDS * slower, told
    assert found["peak"] <= BYTES
    assert found["size"] < 5e6
    page = (large / "report.html").read_text(encoding="utf-8")
    assert "more are only counted in the shaded cells" in page
