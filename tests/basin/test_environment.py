"""The machine of a trial: settings that a process keeps."""

import platform
import resource
import subprocess
import sys

import pytest

ARRAYS, SIZE = 20, 8 * 2**20
REUSE = f"""
import resource
import numpy as np
from basin.environment import keep_freed_memory

def count_new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [np.full({SIZE}, 1, np.int8) for _ in range({ARRAYS})]
    del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
print([count_new_pages() for _ in range(4)][-1])
"""
"""Arrays allocated and freed again and again, as the activations of a step are."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these parameters")
def test_freed_memory_is_reused() -> None:
    """A process of its own: other tests have set the parameters of this one. By itself glibc gets a quarter anew."""
    done = subprocess.run([sys.executable, "-c", REUSE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 0.02 * ARRAYS * SIZE / resource.getpagesize()
