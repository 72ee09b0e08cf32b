"""A TPU's own engine: w_h and the state stay in VMEM for the whole loop.

A scan reads w_h and the state from HBM at every step; these two kernels, one for all
steps forward and one for all steps back, read them once. Around them is what `fused.py`
does: a gradient written by hand, weight gradients as one product after the loop.

Float32 products have the precision of `jax.default_matmul_precision`. Unless that is
set, a TPU rounds their factors to bfloat16, here as anywhere. What the kernels can't
do as asked, "high" for one, they do in full float32. The cell state is float32.

Refused: other types, forward mode, second derivatives, more weights than VMEM holds.
`vmap` works. XLA can't divide a kernel: batches spread over devices need `shard_map`,
with either `check_vma`, and JAX refuses them elsewhere. Nothing here was run on a TPU:
it is checked in Pallas's interpreter and compiled ahead of time for a v5e.
"""

import jax
import jax.numpy as jnp

from lstm_jax.cells.lstm import LSTMState
from lstm_jax.engines.opaque import fill, on_the_same_axes
from lstm_jax.engines.pallas_tpu.layout import capacity, layout
from lstm_jax.engines.spec import RecurrenceSpec, matmul_precision
from lstm_jax.typing import Flags, Gates, Hidden, RecurrentWeights

_DTYPES = ("float32", "bfloat16")
_INTERPRET = False  # tests set it: Pallas's interpreter, on any device
# Of `jax_default_matmul_precision`: what a TPU does by itself.
_ROUNDED = (None, "default", "fastest", "bfloat16", "BF16_BF16_F32")


def unsupported_by_pallas_tpu(spec: RecurrenceSpec) -> str | None:
    """What the kernels lack for a request."""
    if spec.platform != "tpu":
        return f"needs a TPU; found {spec.platform}"
    if spec.dtype not in _DTYPES:
        return f"needs {' or '.join(_DTYPES)}; found {spec.dtype}"
    needed = layout(spec.rows, spec.hidden, spec.dtype).needed
    if needed > capacity(spec.device_kind):
        return (
            f"needs {needed / 2**20:.0f} MiB of VMEM; "
            f"found {capacity(spec.device_kind) / 2**20:.0f} MiB"
        )
    return None


def run_pallas_tpu(
    z: Gates,
    w_h: RecurrentWeights,
    state: LSTMState,
    resets: Flags | None,
    valid: Flags | None,
    reverse: bool,
) -> tuple[Hidden, LSTMState]:
    """Run the recurrence; see `lstm_jax.engines` for the arguments.

    Rows and units that fill up registers are zeros, stay zeros, and are cut off again.
    """
    # Importing Pallas takes half a second, which those without a TPU need not wait for.
    from lstm_jax.engines.pallas_tpu.blocks import KernelArgs
    from lstm_jax.engines.pallas_tpu.gradient import recur
    from lstm_jax.engines.pallas_tpu.kernels import Flagged

    steps, rows, _ = z.shape
    units = len(w_h)
    sizes = layout(rows, units, w_h.dtype.name)
    more_rows, more_units = (0, sizes.rows - rows), (0, sizes.units - units)

    operands = (
        fill(z, (0, 0), more_rows, (0, 0), more_units),
        fill(w_h, more_units, (0, 0), more_units),
        fill(state.h, more_rows, more_units),
        fill(state.c, more_rows, more_units),
        Flagged(
            None if resets is None else fill(resets, (0, 0), more_rows),
            None if valid is None else fill(valid, (0, 0), more_rows),
        ),
    )
    args = KernelArgs(sizes, steps, reverse, _precision(w_h), _INTERPRET)
    hs, h, c = recur(args, *on_the_same_axes("pallas_tpu", operands))
    after = LSTMState(h=h[:rows, :units], c=c[:rows, :units])
    return hs[:, :rows, :units], after


def _precision(w_h: RecurrentWeights) -> jax.lax.Precision:
    """Of the products; a product of bfloat16 numbers is exact anyway."""
    if w_h.dtype == jnp.bfloat16 or matmul_precision() in _ROUNDED:
        return jax.lax.Precision.DEFAULT
    return jax.lax.Precision.HIGHEST
