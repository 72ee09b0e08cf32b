"""This machine: its CPU as devices, its memory, its cache of compiled programs."""

import contextlib
import ctypes
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


def set_cpu_device_count(
    devices: Devices = None, cluster: ClusterConfig | None = None
) -> None:
    """Let JAX see the CPU as so many devices, if anybody asks for that.

    One device uses all cores, and is as fast as several or faster. To be called before
    JAX is first used: later nothing changes. It has no effect on GPU or TPU devices.

    Args:
        devices: how many, over all processes, or "all" for as many as there are cores.
        cluster: with several processes each shows one device, or its share.
    """
    if cluster is not None and cluster.coordinator is not None:
        processes = cluster.processes or 0
        count = devices // processes if isinstance(devices, int) and processes else 1
    elif devices is None:
        return
    else:
        count = usable_cores() if devices == "all" else devices
    with contextlib.suppress(RuntimeError):  # JAX is in use already
        jax.config.update("jax_num_cpu_devices", count)


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
        if usable_cores() <= _FEW_CORES:
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
