"""What every test relies on: checked shapes, two devices, float64 on request.

Set before anything of JAX or lstm_jax is imported: the annotations of `typing.py`
are checked at every call, and the host shows itself as two devices, so that sharded
programs can be tested anywhere.
"""

import atexit
import contextlib
import os
import shutil
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.helpers.quick_compilation import ON_A_DEVICE, XLA_FLAGS

os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)

import hypothesis
import jax
import pytest
from jax import Array
from jax.experimental import rnn
from jax.experimental.compilation_cache import compilation_cache
from jaxtyping import install_import_hook

from tests.helpers import typecheck
from tests.helpers.cards import card

jax.config.update("jax_num_cpu_devices", 2)
_PLATFORMS = {"gpu": "cuda,cpu", "tpu": "tpu,cpu"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `--device` ask for the tests of an accelerator."""
    choices = ("cpu", *_PLATFORMS)
    words = "run the tests of tests/device/ on this kind of device, and no others"
    parser.addoption("--device", choices=choices, default=None, help=words)


def pytest_configure(config: pytest.Config) -> None:
    """Compute on the CPU whatever else is here, unless a device is asked for.

    Values are compared to the last bits: a GPU rounds the factors of products, and has
    no second device.
    """
    asked = config.getoption("--device") or "cpu"
    if asked in _PLATFORMS and os.environ["XLA_FLAGS"] == XLA_FLAGS:
        os.environ["XLA_FLAGS"] = ON_A_DEVICE
    platforms = _PLATFORMS.get(asked, "cpu")
    os.environ["JAX_PLATFORMS"] = platforms  # for the processes that tests start
    jax.config.update("jax_platforms", platforms)
    # Several processes share a device.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out all but the tests of a device, if one was asked for."""
    if config.getoption("--device") and collection_path.name.startswith("test_"):
        return collection_path.parent.name != "device" or None
    return None


_MANY_MAPS = 15_000

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Half of the time would go into compiling what another test has compiled already. Each
# process of pytest has a cache of its own, which goes with it: JAX does not write its
# files at once, so one process could read what another is still writing.
_FOLDER = tempfile.mkdtemp(prefix="lstm_jax-tests-")
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = _FOLDER  # or a command would choose another
jax.config.update("jax_compilation_cache_dir", _FOLDER)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

APPLICATIONS = (Path(__file__).parents[1] / "experiments").glob("*/[a-z]*.py")
CHECKED = [f"experiments.{path.parent.name}.{path.stem}" for path in APPLICATIONS]
install_import_hook(["lstm_jax", *CHECKED], f"{typecheck.__name__}.check")

from lstm_jax.engines.devices import as_if_on  # noqa: E402 - after the hook


@pytest.fixture(scope="module", autouse=True)
def few_programs() -> Iterator[None]:
    """Forget what was compiled, once that is a lot.

    Linux lets a process have 65,530 memory maps, and every program takes some. XLA does
    not ask whether it got another: it ends the process.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()


@pytest.fixture
def x64() -> Iterator[None]:
    """Float64 arithmetic inside a test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def compiled_anew() -> Iterator[None]:
    """Compile whatever a test runs, as a process of its own does."""
    with _cache(None):
        yield


@contextlib.contextmanager
def _cache(folder: str | None) -> Iterator[None]:
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has a CUDA device."""
    monkeypatch.setattr("lstm_jax.engines.dispatch.current_platform", lambda: "cuda")


@pytest.fixture
def v5e() -> Iterator[None]:
    """A machine that says it has one TPU v5e."""
    tpu = types.SimpleNamespace(platform="tpu", device_kind="TPU v5 lite")
    with as_if_on([tpu]):
        yield


@pytest.fixture
def interpreted(v5e: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The TPU's engine on any machine, in Pallas's interpreter."""
    monkeypatch.setattr("lstm_jax.engines.pallas_tpu.engine._INTERPRET", True)


@pytest.fixture
def h100() -> Iterator[None]:
    """A machine that says it has one H100."""
    with as_if_on([card()]):
        yield


@pytest.fixture
def gpu_kernels(h100: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine for Hopper GPUs on any machine: loops stand in for its kernels.

    Like these they have no derivatives.
    """
    from lstm_jax.engines.opaque import differentiable_once
    from lstm_jax.engines.pallas_gpu import gradient
    from tests.helpers import gpu_kernels

    def opaque(loop: Callable[..., tuple]) -> Callable[..., tuple]:
        def kernel(args: object, *operands: object, **options: bool) -> tuple:
            return loop(args, *differentiable_once("a kernel", operands), **options)

        return kernel

    for name in ("forward_kernel", "backward_kernel"):
        monkeypatch.setattr(gradient, name, opaque(getattr(gpu_kernels, name)))
    monkeypatch.setattr("lstm_jax.engines.pallas_gpu.engine._FIRST_JAX", (0,))


@pytest.fixture
def cudnn(cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cuDNN engine on any machine: JAX's own reference stands in for the kernel.

    It unpacks the weights itself, so their layout is under test; the lengths the kernel
    refuses give NaN.
    """

    def kernel(
        xs: Array,
        h: Array,
        c: Array,
        weights: Array,
        lengths: Array,
        input_size: int,
        hidden_size: int,
        layers: int,
        dropout: float,
        both: bool,
        precision: jax.lax.Precision,
    ) -> tuple[Array, Array, Array]:
        assert precision == jax.lax.Precision.HIGHEST
        assert {a.dtype.name for a in (xs, h, c, weights)} == {"float32"}
        refused = (lengths < 1) | (lengths > xs.shape[1])
        xs = jax.numpy.where(refused[:, None, None], jax.numpy.nan, xs)
        sizes = (input_size, hidden_size, layers)
        unpacked = rnn.unpack_lstm_weights(weights, *sizes, both)
        return rnn.lstm_ref(xs, h, c, *unpacked, lengths, *sizes, dropout, both)

    monkeypatch.setattr(rnn, "lstm", kernel)
