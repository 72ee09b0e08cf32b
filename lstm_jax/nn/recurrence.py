"""A cell over a sequence: `unroll`, and `lstm` for the textbook's, by an engine."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import LSTM_CELL, LSTMParams, LSTMState
from lstm_jax.cells.noise import LoopMasks
from lstm_jax.cells.protocol import Cell, LoopWeights, Params, State, add_bias
from lstm_jax.engines.dispatch import ENGINES, Run, explain_engine
from lstm_jax.engines.padding import read_real, real_steps
from lstm_jax.engines.remat import in_chunks
from lstm_jax.ops.matmul import matmul
from lstm_jax.typing import Flags, Gates, Hidden, Inputs, Lengths, RecurrentWeights


def lstm(
    params: LSTMParams,
    xs: Inputs,
    state: LSTMState | None = None,
    *,
    lengths: Lengths | None = None,
    resets: Flags | None = None,
    reverse: bool = False,
    engine: str = "auto",
    remat: bool = False,
    masks: LoopMasks | None = None,
) -> tuple[Hidden, LSTMState]:
    """Run one LSTM layer over a batch of sequences.

    Args:
        params: the layer's weights. The arithmetic is done in their type; with
            bfloat16 or float16 weights the cell state stays float32.
        xs: inputs [T, B, D], time first.
        state: what the layer remembers from before, h and c [B, H]; zeros if None.
        lengths: [B], how many steps of each row are real, the rest being padding at
            the end. Outputs there are zero and the state is left alone, so a row of
            length 0 returns the state it was given. Whatever stands in the padding,
            NaN included, changes no result and no gradient.
        resets: [T, B], True where x_t begins a new sequence: the state is zeroed
            between it and its neighbour t-1, in whichever direction time is walked.
            Several sequences packed in one row then never see each other.
        reverse: walk from the last step to the first. Outputs keep their places.
        engine: "auto", "fused" (XLA's fastest; reverse-mode gradients), "scan" (also
            forward mode), "native" (our kernel for CPUs, for
            float32), "cudnn" (NVIDIA's kernel, for float32 without resets) or
            "pallas_tpu" (weights and state in a TPU's fastest memory). The results
            are the same; `explain_engine` tells what "auto" is.
        remat: keep √T states for the gradient instead of all T steps, and compute the
            rest again: far less memory in training, for one more forward pass.
        masks: regularizers inside the loop, of `loop_masks`; "auto" is then "scan",
            the one engine that can have them.

    Returns:
        The outputs [T, B, H], and the state after the last real step walked.

    Raises:
        ValueError: shapes that do not fit together, an unknown engine, or one that
            can't run this.
    """
    return unroll(
        LSTM_CELL,
        params,
        xs,
        state,
        lengths=lengths,
        resets=resets,
        reverse=reverse,
        engine=engine,
        remat=remat,
        masks=masks,
    )


@jax.numpy_rank_promotion("allow")
def unroll(
    cell: Cell,
    params: Params,
    xs: Inputs,
    state: State | None = None,
    *,
    lengths: Lengths | None = None,
    resets: Flags | None = None,
    reverse: bool = False,
    engine: str = "auto",
    remat: bool = False,
    masks: LoopMasks | None = None,
) -> tuple[Hidden, State]:
    """Run one layer of any cell over a batch of sequences.

    Args:
        cell: what is repeated.
        params: the layer's weights, of the cell's `Params`.
        xs: inputs [T, B, D], time first.
        state: what the layer remembers from before, arrays [B, H]; zeros if None.
        lengths: [B]; this and what follows is as for `lstm`.
        resets: [T, B].
        reverse: walk from the last step to the first.
        engine: "scan" can run every cell, "fused" the LSTM and the Mogrifier, the
            others the LSTM alone.
        remat: keep √T states for the gradient instead of all T steps.
        masks: regularizers inside the loop.

    Returns:
        The outputs [T, B, H], and the state after the last real step walked.

    Raises:
        ValueError: shapes that do not fit together, an unknown engine, or one that
            can't run this.
    """
    input_size, hidden_size = cell.sizes(params)
    if xs.ndim != 3 or xs.shape[-1] != input_size:
        raise ValueError(
            f"{cell.name}: expected inputs [T, B, {input_size}], time first, "
            f"found {list(xs.shape)}"
        )
    dtype = params.w_h.dtype
    name = _choose(
        cell, engine, xs, hidden_size, dtype, lengths, resets, reverse, True, masks
    )
    xs = xs.astype(params.w_x.dtype)
    state = _complete(cell, state, xs, hidden_size, params.w_h)
    run = _from_inputs(name, cell)
    return _walk(run, xs, params, state, lengths, resets, reverse, remat, masks)


@jax.numpy_rank_promotion("allow")
def unroll_projected(
    cell: Cell,
    z: Gates,
    weights: LoopWeights,
    w_h: RecurrentWeights,
    state: State | None = None,
    *,
    lengths: Lengths | None = None,
    resets: Flags | None = None,
    reverse: bool = False,
    engine: str = "auto",
    remat: bool = False,
    masks: LoopMasks | None = None,
) -> tuple[Hidden, State]:
    """`unroll`, given the inputs' share of the blocks, z = x_t @ w_x + b [T, B, NH].

    For inputs whose product is cheaper to get otherwise: that of a one-hot symbol is
    a row of w_x. `weights` is what the cell's `loop_weights` picks; the other arguments
    are those of `unroll`; "cudnn" needs the inputs.
    """
    hidden_size = z.shape[-1] // len(cell.blocks)
    name = _choose(
        cell, engine, z, hidden_size, w_h.dtype, lengths, resets, reverse, False, masks
    )
    state = _complete(cell, state, z, hidden_size, w_h)
    run = _run_of(name, cell)
    return _walk(run, z, weights, state, lengths, resets, reverse, remat, masks)


def _choose(
    cell: Cell,
    engine: str,
    inputs_or_z: Array,
    hidden_size: int,
    dtype: DTypeLike,
    lengths: Array | None,
    resets: Array | None,
    reverse: bool,
    inputs: bool,
    masks: LoopMasks | None,
) -> str:
    """The name of the engine; the sequence options are checked on the way."""
    steps, rows, _ = inputs_or_z.shape
    if steps == 0:
        raise ValueError(f"{cell.name}: expected at least one time step, found 0")
    if lengths is not None and lengths.shape != (rows,):
        raise ValueError(
            f"{cell.name}: expected lengths [B] = [{rows}], found {list(lengths.shape)}"
        )
    if resets is not None and resets.shape != (steps, rows):
        raise ValueError(
            f"{cell.name}: expected resets [T, B] = [{steps}, {rows}], "
            f"found {list(resets.shape)}"
        )
    return explain_engine(
        engine,
        steps=steps,
        rows=rows,
        hidden=hidden_size,
        dtype=dtype,
        lengths=lengths is not None,
        resets=resets is not None,
        reverse=reverse,
        inputs=inputs,
        masks=masks is not None,
        cell=cell,
    ).name


def _run_of(name: str, cell: Cell) -> Run:
    """An engine that `explain_engine` has chosen for the cell."""
    run = ENGINES[name].run_of(cell)
    assert run is not None, "it was chosen for this cell"
    return run


def _from_inputs(name: str, cell: Cell) -> Run:
    """An engine that takes xs and all parameters; z is one product for all steps."""
    run = _run_of(name, cell)
    if ENGINES[name].takes_inputs:
        return run
    multiply = jnp.matmul if name == "scan" else matmul  # which may lack forward mode

    def from_inputs(
        xs: Inputs, params: Params, *others: object
    ) -> tuple[Hidden, State]:
        z = add_bias(multiply(xs, params.w_x), params.b) if cell.projects else xs
        return run(z, cell.loop_weights(params), *others)

    return from_inputs


def _walk(
    run: Run,
    inputs: Array,
    weights: Params | LoopWeights,
    state: State,
    lengths: Lengths | None,
    resets: Flags | None,
    reverse: bool,
    remat: bool,
    masks: LoopMasks | None,
) -> tuple[Hidden, State]:
    """Run an engine, with lengths and resets as the masks it takes."""
    valid = real_steps(lengths, len(inputs))
    resets = resets if resets is None or valid is None else resets & valid
    if resets is not None and reverse:
        # Walking backwards, a sequence is entered at its end: where the next begins.
        resets = jnp.roll(resets, -1, axis=0).at[-1].set(False)
    run = in_chunks(run) if remat else run
    extra = () if masks is None else (masks,)  # most engines know of none

    def read(inputs: Array, state: State) -> tuple[Hidden, State]:
        return run(inputs, weights, state, resets, valid, reverse, *extra)

    return read_real(read, inputs, state, valid)


def _complete(
    cell: Cell, state: State | None, inputs: Array, hidden_size: int, w_h: Array
) -> State:
    """The state to start from: the one given, in the right types, or zeros."""
    # Made from data, not from shapes: they lie on the same devices, and a scan may
    # carry them under explicit sharding.
    zeros = jnp.zeros_like(inputs[0, :, :1]) + jnp.zeros_like(w_h, shape=hidden_size)
    blank = cell.initial_state(zeros.astype(w_h.dtype))
    if state is None:
        return blank
    expected = {name: array.shape for name, array in vars(blank).items()}
    found = {name: array.shape for name, array in vars(state).items()}
    if found != expected:
        wanted, shapes = (
            " and ".join(f"{name} {list(shape)}" for name, shape in each.items())
            for each in (expected, found)
        )
        raise ValueError(f"{cell.name}: expected a state {wanted}, found {shapes}")
    return jax.tree.map(lambda given, zero: given.astype(zero.dtype), state, blank)
