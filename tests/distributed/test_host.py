"""What a process asks of its machine."""

import subprocess
import sys

import pytest

PROGRAM = """
import platform, resource, sys
import numpy as np
from lstm_jax.distributed.host import keep_freed_memory

if platform.libc_ver()[0] != "glibc":
    sys.exit("another C library")
keep_freed_memory()
faults = []
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(2**26, np.uint8).fill(1)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(*faults)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_memory_that_was_freed_is_there_for_the_next_call() -> None:
    """The second block of 64 MB asks the system for hardly a page."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True
    )
    if "another C library" in done.stderr:
        pytest.skip("the C library is not glibc")
    first, second = map(int, done.stdout.split())
    assert second < 100 < first
