"""How a recurrence is laid out in a TPU's VMEM, and how much of it that takes.

A TPU computes on VMEM, some megabytes beside its units; all else lies in HBM, an order
of magnitude slower to read. The kernels of `kernels.py` hold w_h and the state
there from the first step to the last. Sequences pass through in blocks of a few steps,
one block being worked on while its neighbours are moved. So what is needed depends on
the rows and units, never on the number of steps.

A vector register holds 8 rows of 128 numbers of 32 bits, or 16 rows of 16 bits. Rows
and units are filled up to multiples of that.
"""

import dataclasses

import jax.numpy as jnp

from lstm_jax.cells.lstm import GATES

_MIB = 2**20
_LANES = 128
_BLOCK_BYTES = 4 * _MIB  # of both copies of all blocks, if more than one step is to fit
_MOST_STEPS = 8  # of a block: from here on its fixed cost is small
_FLOAT32 = 4

# VMEM of one core in MiB, by the name JAX has for the kind of device:
# jax/_src/pallas/mosaic/tpu_info.py. Of any other the smallest is assumed.
_VMEM = {
    "TPU v5 lite": 128,
    "TPU v5": 64,
    "TPU v6 lite": 128,
    "TPU7x": 64,
}
_SMALLEST = 16


@dataclasses.dataclass(frozen=True)
class Layout:
    """Sizes of what the kernels work on.

    Attributes:
        rows: B, filled up to whole registers.
        units: H, filled up to whole registers.
        block: time steps that are moved together.
        needed: bytes of VMEM, for the larger of both kernels, with room to compute.
    """

    rows: int
    units: int
    block: int
    needed: int


def layout(rows: int, units: int, dtype: str) -> Layout:
    """The layout for B rows and H units of float32 or bfloat16."""
    size = jnp.dtype(dtype).itemsize
    rows = _whole(rows, 8 * _FLOAT32 // size)
    units = _whole(units, _LANES)
    gates = len(GATES) * units
    # The backward kernel reads gates, c, the outputs' gradients and two columns of
    # flags, each of which takes a register's width; it writes dz.
    step = rows * (2 * gates * size + 2 * units * _FLOAT32 + 2 * _LANES * _FLOAT32)
    block = _MOST_STEPS
    while block > 1 and 2 * block * step > _BLOCK_BYTES:
        block //= 2
    weights = units * gates * size
    states = 6 * rows * units * _FLOAT32  # those given, and two copies of the last ones
    room = 4 * rows * gates * _FLOAT32 + _MIB  # what a step computes on its way
    return Layout(rows, units, block, 2 * block * step + weights + states + room)


def capacity(device_kind: str) -> int:
    """Bytes of VMEM that a kernel may use: three quarters, XLA uses it too."""
    return _VMEM.get(device_kind, _SMALLEST) * _MIB * 3 // 4


def _whole(count: int, unit: int) -> int:
    return -(-count // unit) * unit
