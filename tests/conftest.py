"""What every test relies on: checked shapes, two devices, float64 on request.

Set before anything of JAX or lstm_jax is imported: the annotations of `notation.py`
are checked at every call, and the host shows itself as two devices, so that sharded
programs can be tested anywhere.
"""

from collections.abc import Iterator

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 2)

install_import_hook("lstm_jax", "shapecheck.check")


@pytest.fixture
def x64() -> Iterator[None]:
    """Float64 arithmetic inside a test."""
    with jax.enable_x64(True):
        yield
