"""Where arrays live: one copy of the model on every device, the batch spread over them.

XLA parallelizes a large matrix product over the cores of a CPU, but a recurrent step
is small. One virtual device per core, each with its share of the rows and its own
loop, keeps all cores busy and meets once per optimizer step, to add up gradients.
"""

import contextlib
import hashlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")
_ROWS = "rows"
_CPU_FIELDS = ("model name", "flags", "Features")  # of /proc/cpuinfo
_FEWEST_ROWS = 8  # fewer rows per device waste the product with the weights


def show_cores(rows: int, limit: int | None = None) -> None:
    """Let JAX see the CPU as several devices, as many as pay for this many rows.

    To be called before JAX is first used; it has no effect on GPU or TPU devices.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    count = _paying(rows, min(cores, limit or cores))
    jax.config.update("jax_num_cpu_devices", count)


def keep_programs() -> None:
    """Keep compiled programs for the next process, in the user's own cache folder.

    A small run is mostly compilation. Programs are kept apart by processor, because
    they use what the one they were compiled on offers. A folder that cannot be written
    or a JAX_COMPILATION_CACHE_DIR of the user's is left as it is.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(home) / "lstm_jax" / _processor()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _processor() -> str:
    """A name for what this machine's processor can do."""
    described = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        described += "".join(
            sorted({line for line in lines if line.startswith(_CPU_FIELDS)})
        )
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def row_mesh(rows: int, limit: int | None = None) -> Mesh:
    """The devices over which this many rows are spread: a divisor of their number."""
    devices = jax.devices()
    count = _paying(rows, min(len(devices), limit or len(devices)))
    return Mesh(np.array(devices[:count]), (_ROWS,), axis_types=(AxisType.Auto,))


def _paying(rows: int, count: int) -> int:
    count = max(1, min(count, rows // _FEWEST_ROWS))
    while rows % count:
        count -= 1
    return count


def replicate(mesh: Mesh, tree: Tree) -> Tree:
    """The same arrays on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def spread(mesh: Mesh, tree: Tree, axis: int = 0) -> Tree:
    """The arrays cut along the axis of their rows, a part to each device."""
    return jax.device_put(tree, _by_rows(mesh, axis))


def spread_batch(
    mesh: Mesh, batch: Mapping[str, np.ndarray], axes: Mapping[str, int], lead: int = 0
) -> dict[str, jax.Array]:
    """A batch, cut along each array's own row axis after `lead` leading axes."""
    return {
        name: jax.device_put(array, _by_rows(mesh, axes[name] + lead))
        for name, array in batch.items()
    }


def _by_rows(mesh: Mesh, axis: int) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, _ROWS))
