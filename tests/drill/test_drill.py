"""The drill with a short sweep, where this machine can hold its hosts."""

import os
import subprocess
import sys

import pytest

from tests.drill.drill import ROOT, lacking


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_drill() -> None:
    if lacks := lacking():
        pytest.skip(f"the drill needs {', '.join(lacks)}: see docs/cluster.md")
    command = [sys.executable, "-m", "tests.drill.drill"]
    environment = os.environ | {"DRILL_TRIALS": "6", "DRILL_EPOCHS": "30"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
