"""The most memory that this process had, from a moment on."""

from pathlib import Path

import pytest

_FOLDER = Path("/proc/self")


def peak_from_now_on() -> int:
    """Forget the peak so far, and give the bytes that are resident now.

    `ru_maxrss` remembers what an earlier test took, so growth below that is not seen.
    """
    try:
        (_FOLDER / "clear_refs").write_text("5")
    except OSError:
        pytest.skip("this system does not forget the peak of a process")
    return peak()


def peak() -> int:
    """The most bytes that were resident since then."""
    lines = (_FOLDER / "status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])
