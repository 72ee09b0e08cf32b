"""The most memory that this process had, from a moment on."""

import contextlib
import resource
from pathlib import Path

_FOLDER = Path("/proc/self")


def peak_from_now_on() -> int:
    """Forget the peak so far, where the system can, and give the bytes that are it now.

    `ru_maxrss` remembers what an earlier test took, so growth below that is not seen.
    """
    with contextlib.suppress(OSError):
        (_FOLDER / "clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The most bytes that were resident since then."""
    try:
        lines = (_FOLDER / "status").read_text().splitlines()
    except OSError:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])
