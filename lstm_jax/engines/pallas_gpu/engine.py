"""The engine for NVIDIA's Hopper GPUs: w_h stays in shared memory for the whole loop.

XLA's loop starts several kernels per time step and reads w_h again at each. Here one
kernel makes all steps forward and one all steps back; see `kernels.py`. Around them is
what `fused.py` does: a gradient written by hand, the weight gradient as one product
after the loop.

Factors of float32 products are rounded to TF32, as XLA does on these cards by itself;
with `jax.default_matmul_precision("BF16_BF16_F32")`, mixed precision, to bfloat16. The
cell state is float32. In mixed precision the outputs are rounded to bfloat16, too,
which is what the product that reads them does next.

Refused: more precise products, other types, forward mode, sizes without a layout. Under
`vmap` the kernels run one after the other. XLA can't divide a kernel: batches spread
over devices need `shard_map`, and JAX refuses them elsewhere.
"""

import jax
import jax.numpy as jnp

from lstm_jax.cells.lstm import LSTMState
from lstm_jax.engines.devices import current_gpu
from lstm_jax.engines.opaque import fill, on_the_same_axes
from lstm_jax.engines.pallas_gpu.layout import KernelArgs, Layout, layout
from lstm_jax.engines.spec import GPU, RecurrenceSpec
from lstm_jax.ops.matmul import factor_dtype
from lstm_jax.typing import Flags, Gates, Hidden, RecurrentWeights

_DTYPES = ("float32", "bfloat16", "float16")
_HOPPER = "9.0"  # the one with the instruction for products of 64 rows, wgmma
_FIRST_JAX = (0, 11)
_INTERPRET = None  # tests set it: parameters of Pallas's interpreter, for any device
# Of `jax_default_matmul_precision`: what TF32 is enough for.
_TF32 = (None, "default", "fastest", "bfloat16", "tensorfloat32", "TF32_TF32_F32")


def unsupported_by_pallas_gpu(spec: RecurrenceSpec) -> str | None:
    """What the kernels lack for a request."""
    if spec.platform != "cuda":
        return f"needs a CUDA device; found {spec.platform}"
    if jax.__version_info__ < _FIRST_JAX:
        first = ".".join(map(str, _FIRST_JAX))
        return f"needs jax {first} or newer; found {jax.__version__}"
    if spec.gpu is None or spec.gpu.compute_capability != _HOPPER:
        return (
            f"needs a GPU of compute capability {_HOPPER} (Hopper); found {_kind(spec)}"
        )
    if spec.dtype not in _DTYPES:
        return f"needs {', '.join(_DTYPES[:-1])} or {_DTYPES[-1]}; found {spec.dtype}"
    if spec.factors == "float32" and spec.precision not in _TF32:
        return (
            "has products of factors rounded to TF32; "
            f"found jax_default_matmul_precision={spec.precision!r}"
        )
    if _layout(spec.rows, spec.hidden, spec.factors, spec.dtype, spec.gpu) is None:
        return (
            f"has no layout for {spec.rows} rows and {spec.hidden} units of "
            f"{spec.factors} on {spec.gpu.multiprocessors} multiprocessors"
        )
    return None


def needs_the_card_alone(spec: RecurrenceSpec) -> bool:
    """Whether no other such kernel may run beside this one.

    Blocks of more than a cluster wait for each other wherever they are on the card. Two
    kernels that have half of it each would wait forever.
    """
    gpu = spec.gpu
    assert gpu is not None, "asked of what the kernels can run"
    sizes = _layout(spec.rows, spec.hidden, spec.factors, spec.dtype, gpu)
    return sizes is not None and not sizes.cluster


def run_pallas_gpu(
    z: Gates,
    w_h: RecurrentWeights,
    state: LSTMState,
    resets: Flags | None,
    valid: Flags | None,
    reverse: bool,
) -> tuple[Hidden, LSTMState]:
    """Run the recurrence; see `lstm_jax.engines` for the arguments.

    Rows and units that fill up a layout are zeros, stay zeros, and are cut off again.
    """
    # Importing Pallas takes half a second, which those without a GPU need not wait for.
    from lstm_jax.engines.pallas_gpu.gradient import StaticArgs, recur

    steps, rows, _ = z.shape
    units = len(w_h)
    factors = jnp.dtype(factor_dtype(w_h.dtype)).name
    gpu = current_gpu()
    sizes = None if gpu is None else _layout(rows, units, factors, z.dtype.name, gpu)
    assert sizes is not None, "it was chosen for these sizes and this device"
    more_rows, more_units = (0, sizes.rows - rows), (0, sizes.units - units)
    flags = _flags(resets, valid)
    operands = (
        fill(z, (0, 0), more_rows, (0, 0), more_units),
        fill(w_h, more_units, (0, 0), more_units),
        fill(state.h, more_rows, more_units),
        fill(state.c, more_rows, more_units),
        None if flags is None else fill(flags, (0, 0), more_rows),
    )
    static = StaticArgs(KernelArgs(sizes, steps, reverse, _INTERPRET), factors)
    hs, h, c = recur(static, *on_the_same_axes("pallas_gpu", operands))
    after = LSTMState(h=h[:rows, :units], c=c[:rows, :units])
    return hs[:, :rows, :units], after


def _flags(resets: Flags | None, valid: Flags | None) -> jax.Array | None:
    """What steps do to the state [T, B]: 0 leaves it, 1 goes on, 2 starts anew."""
    if resets is None:
        return None if valid is None else valid.astype(jnp.int32)
    flags = 1 + resets.astype(jnp.int32)
    return flags if valid is None else jnp.where(valid, flags, 0)


def _layout(rows: int, units: int, factors: str, z: str, gpu: GPU) -> Layout | None:
    return layout(rows, units, factors, z, gpu.multiprocessors, gpu.shared_memory)


def _kind(spec: RecurrenceSpec) -> str:
    """The device of a request, in words."""
    if spec.gpu is None:
        return "one that is not known"
    return f"{spec.gpu.compute_capability}, {spec.device_kind}"
