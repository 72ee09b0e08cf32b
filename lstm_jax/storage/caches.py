"""The user's cache: what is compiled once and kept, apart by processor."""

import contextlib
import hashlib
import os
import platform
from pathlib import Path

_FIELDS = ("model name", "flags", "Features")  # of /proc/cpuinfo


def cache_folder() -> Path:
    """Name the folder in the user's cache that is this library's; it need not exist."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "lstm_jax"


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
