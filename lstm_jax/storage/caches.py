"""The user's cache: what is compiled once and kept, apart by processor."""

import contextlib
import hashlib
import os
import platform
from pathlib import Path

_FIELDS = ("model name", "flags", "Features")  # of /proc/cpuinfo


def cache_folder() -> Path | None:
    """Name the folder in the user's cache that is this library's; it need not exist.

    Returns:
        None for a user without a home. A relative XDG_CACHE_HOME is ignored, as the XDG
        Base Directory Specification has it.
    """
    for home in (os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")):
        if os.path.isabs(home):
            return Path(home) / "lstm_jax"
    return None


def processor() -> str:
    """Name what this machine's processor can do: programs for others may not run."""
    described = platform.machine() + platform.processor() + processor_says()
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def processor_says() -> str:
    """Give what Linux knows of the processor; nothing elsewhere."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return "".join(sorted({line for line in lines if line.startswith(_FIELDS)}))
    return ""
