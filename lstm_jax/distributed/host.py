"""This machine: its cores as devices, its processor, its cache of compiled programs.

XLA parallelizes a large matrix product over the cores of a CPU, but a recurrent step
is small. One virtual device per core, each with its share of the rows and its own
loop, keeps all cores busy and meets once per optimizer step, to add up gradients.
"""

import contextlib
import ctypes
import math
import os

import jax

from lstm_jax.config import ClusterConfig, Devices
from lstm_jax.storage.caches import cache_folder, processor, processor_says

_BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
_ARENAS = -8  # M_ARENA_MAX of mallopt(3)
_MALLOC = {  # other parameters, and what they are set to
    -3: 2**30,  # M_MMAP_THRESHOLD, bytes
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD
    -2: 2**26,  # M_TOP_PAD
}
_FEW_CORES = 8
_FEWEST_ROWS = 8  # fewer rows per device waste the product with the weights


def set_cpu_device_count(
    rows: int,
    devices: Devices = None,
    cluster: ClusterConfig | None = None,
    operations: float = math.inf,
) -> None:
    """Let JAX see the CPU as several devices, as many as pay for this many rows.

    And let this process keep the memory that a program is done with for its next call.
    To be called before JAX is first used: later nothing changes. It has no effect on
    GPU or TPU devices.

    Args:
        rows: B, of a batch.
        devices: so many instead, over all processes, or "all" cores.
        cluster: with several processes each shows one device, or its share.
        operations: floating-point operations of a step; few are done by one device.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if cluster is not None and cluster.coordinator is not None:
        processes = cluster.processes or 0
        count = devices // processes if isinstance(devices, int) and processes else 1
    elif devices is None:
        count = paying(rows, cores) if worth_spreading(operations) else 1
    else:
        count = cores if devices == "all" else devices
    with contextlib.suppress(RuntimeError):  # JAX is in use already
        jax.config.update("jax_num_cpu_devices", count)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Have large blocks that are freed stay with this process, where glibc allocates.

    A compiled program asks for its working memory at every call. glibc gives blocks of
    32 MB and more back to the system at once, which then has to fill them with zeros,
    page by page: a tenth of the time of a wide layer. Few threads share one arena,
    because another one's blocks are never that large; many would wait for each other.
    """
    with contextlib.suppress(OSError, TypeError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _MALLOC.items():
            mallopt(parameter, value)
        if (os.cpu_count() or 1) <= _FEW_CORES:
            mallopt(_ARENAS, 1)


def enable_compilation_cache() -> None:
    """Keep compiled programs for the next process, in the user's own cache folder.

    A small run is mostly compilation. Programs are kept apart by processor, because
    they use what the one they were compiled on offers. A folder that cannot be written
    or a JAX_COMPILATION_CACHE_DIR of the user's is left as it is.
    """
    # Where the engine native is divided over devices, an address would be in the key.
    jax.config.update("jax_remove_custom_partitioning_ptr_from_cache_key", True)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    cache = cache_folder()
    if cache is None:
        return
    folder = cache / processor()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def multiplies_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 faster than float32.

    GPUs and TPUs do; of CPUs those that have instructions for it which XLA uses.
    """
    if jax.default_backend() != "cpu":
        return True
    said = processor_says()
    return any(name in said for name in _BFLOAT16_INSTRUCTIONS)


def paying(rows: int, count: int) -> int:
    """Say over how many of `count` devices it pays to spread rows, evenly."""
    count = max(1, min(count, rows // _FEWEST_ROWS))
    while rows % count:
        count -= 1
    return count


_LITTLE_WORK = 5e7  # operations of a step, too few for the meeting of two devices


def worth_spreading(operations: float) -> bool:
    """Whether a step of so many operations is faster on several cores than on one."""
    return operations > _LITTLE_WORK
