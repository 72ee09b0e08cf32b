"""What every test relies on: checked shapes, two devices, float64 on request.

Set before anything of JAX or lstm_jax is imported: the annotations of `notation.py`
are checked at every call, and the host shows itself as two devices, so that sharded
programs can be tested anywhere.
"""

from collections.abc import Iterator

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 2)

install_import_hook("lstm_jax", "shapecheck.check")


@pytest.fixture
def x64() -> Iterator[None]:
    """Float64 arithmetic inside a test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compile every program once."""
    options = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("cache")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
