"""GPUs as JAX describes them, as far as the choice of an engine looks at them."""

import types

_H100 = {
    "platform": "gpu",
    "device_kind": "NVIDIA H100 80GB HBM3",
    "client": types.SimpleNamespace(platform_version="cuda 13000"),
    "compute_capability": "9.0",
    "core_count": 132,
    "shared_memory_per_block_optin": 232_448,
}


def card(**others: object) -> types.SimpleNamespace:
    """An H100, or what differs from one in something."""
    return types.SimpleNamespace(**{**_H100, **others})
