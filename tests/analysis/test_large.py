"""Ten thousand trials: every figure, every table and the report in a minute and two gigabytes."""

import json
import os
import resource
import subprocess
import sys
import time

import pytest

from tests.support import large_sweep

TRIALS = 10_000
SECONDS, BYTES = 60, 2 * 2**30
ADDITIONS = 20_000_000
"""In a second, by the machine that the limit of time is meant for; one that takes longer has longer."""
MEASURED = """
import json, sys
from analysis.data.queries import read_tables
from analysis import report
page = report.write_report(read_tables(sys.argv[1]), formats=["png", "pdf"])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))  # ru_maxrss begins with the parent's peak
print(json.dumps({"peak": int(status["VmHWM"].split()[0]) * 1024, "size": page.stat().st_size}))
"""


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
    large_sweep.make(folder, TRIALS)
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
