"""For which devices engines are chosen: those of JAX here, or others, described."""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import jax

from lstm_jax.engines.spec import GPU

# Whose programs are compiled, if not those of this machine's devices.
_ELSEWHERE: ContextVar[Sequence[Any]] = ContextVar("_ELSEWHERE", default=())


@contextlib.contextmanager
def as_if_on(devices: Sequence[Any]) -> Iterator[None]:
    """Choose engines as if these devices were here, to compile for them elsewhere.

    A function that `jax.jit` has traced before is not traced again: it does not look
    at this.

    Args:
        devices: as `jax.experimental.topologies` describes them: all that is read is
            their number, and the first one's `platform` and `device_kind`; of a GPU
            also `compute_capability`, `core_count`, `shared_memory_per_block_optin`.
    """
    before = _ELSEWHERE.set(tuple(devices))
    try:
        yield
    finally:
        _ELSEWHERE.reset(before)


def current_devices() -> Sequence[Any]:
    """The devices that programs are for."""
    return _ELSEWHERE.get() or jax.devices()


def current_platform() -> str:
    """The platform of JAX's default device: "cpu", "tpu", "cuda" or "rocm"."""
    device = current_devices()[0]
    if device.platform != "gpu":
        return device.platform
    return "rocm" if "rocm" in device.client.platform_version else "cuda"


def on_gpu() -> bool:
    """Whether programs are for a GPU, whose kernels a host launches one by one."""
    return current_platform() in ("cuda", "rocm")


def current_gpu() -> GPU | None:
    """What a kernel has to know of the GPU; None if this is none, or does not tell."""
    device = current_devices()[0]
    capability = getattr(device, "compute_capability", None)
    if current_platform() != "cuda" or capability is None:
        return None
    return GPU(capability, device.core_count, device.shared_memory_per_block_optin)
