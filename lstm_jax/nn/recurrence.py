"""A cell over a sequence: `unroll`, and `lstm` for the textbook's, by an engine."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import LSTM_CELL, LSTMParams, LSTMState
from lstm_jax.cells.noise import LoopMasks
from lstm_jax.cells.protocol import Cell, LoopWeights, Params, State, add_bias
from lstm_jax.engines.dispatch import ENGINES, Run, explain_engine
from lstm_jax.engines.forward_mode import run_without_forward_mode
from lstm_jax.engines.native.project import project
from lstm_jax.engines.padding import read_real, real_steps, sequence_starts
from lstm_jax.engines.remat import in_chunks
from lstm_jax.nn.arguments import (
    Sequences,
    check_params,
    read_sequences,
    read_state,
)
from lstm_jax.ops.matmul import matmul
from lstm_jax.typing import (
    AnyFlags,
    AnyHidden,
    AnyInputs,
    AnyLengths,
    Flags,
    Gates,
    Hidden,
    Inputs,
    Lengths,
    RecurrentWeights,
)


@dataclasses.dataclass(frozen=True)
class Way:
    """How a recurrence is run: see `lstm`."""

    reverse: bool = False
    engine: str = "auto"
    remat: bool = False
    masks: LoopMasks | None = None


def lstm(
    params: LSTMParams,
    xs: AnyInputs,
    state: State | None = None,
    *,
    lengths: AnyLengths | None = None,
    mask: AnyFlags | None = None,
    resets: AnyFlags | None = None,
    reverse: bool = False,
    engine: str = "auto",
    remat: bool = False,
    masks: LoopMasks | None = None,
) -> tuple[AnyHidden, LSTMState]:
    """Run one LSTM layer over a batch of sequences.

    Args:
        params: the layer's weights. The arithmetic is done in their type; with
            bfloat16 or float16 weights the cell state stays float32.
        xs: inputs [T, *batch, D], time first; here and below a batch is one axis B, or
            several.
        state: what the layer remembers from before, an `LSTMState` of h and c
            [*batch, H], or a tuple (h, c); zeros if None.
        lengths: [*batch], how many steps of each row are real, the rest being padding
            at the end. Outputs there are zero and the state is left alone, so a row of
            length 0 returns the state it was given. Whatever stands in the padding,
            NaN included, changes no result and no gradient.
        mask: [T, *batch], True where a step is real; for padding on the left, or steps
            left out in the middle. What is said of padding holds for all other steps:
            the state is handed through, and the output is zero.
        resets: [T, *batch], True where x_t begins a new sequence: the state is zeroed
            between it and its neighbour t-1, in whichever direction time is walked.
            Several sequences packed in one row then never see each other.
        reverse: walk from the last step to the first. Outputs keep their places.
        engine: "auto", "fused" (XLA's fastest), "scan" (the reference, the one with
            forward-mode derivatives), "native" (our kernel for CPUs, for float32),
            "cudnn" (NVIDIA's kernel, for float32 without resets or a mask) or
            "pallas_gpu" and "pallas_tpu" (our kernels for Hopper GPUs and for TPUs,
            with the weights in their fastest memory). The results are the same;
            `explain_engine` tells what "auto" is. First derivatives are everyone's;
            "scan", "fused", "native" and "pallas_gpu" also have second ones, by reverse
            mode or by forward mode over reverse mode, as in `jax.hessian`. Under
            `jax.export` an engine that can be exported is in the program, "fused" or
            "scan", whether T and B are known or not.
        remat: keep √T states for the gradient instead of all T steps, and compute the
            rest again: far less memory in training, for one more forward pass.
        masks: regularizers inside the loop, of `loop_masks`; "auto" is then "scan",
            the one engine that can have them.

    Returns:
        The outputs [T, *batch, H], and the state after the last real step walked.

    Raises:
        ValueError: arguments that do not fit together, an unknown engine, or one that
            can't run this.
    """
    return unroll(
        LSTM_CELL,
        params,
        xs,
        state,
        lengths=lengths,
        mask=mask,
        resets=resets,
        reverse=reverse,
        engine=engine,
        remat=remat,
        masks=masks,
    )


def unroll(
    cell: Cell,
    params: Params,
    xs: AnyInputs,
    state: State | None = None,
    *,
    lengths: AnyLengths | None = None,
    mask: AnyFlags | None = None,
    resets: AnyFlags | None = None,
    reverse: bool = False,
    engine: str = "auto",
    remat: bool = False,
    masks: LoopMasks | None = None,
) -> tuple[AnyHidden, State]:
    """Run one layer of any cell over a batch of sequences.

    Args:
        cell: what is repeated.
        params: the layer's weights, of the cell's `Params`.
        xs: inputs [T, *batch, D], time first.
        state: what the layer remembers from before, arrays [*batch, H], also as a tuple
            in the order of their names; zeros if None.
        lengths: [*batch]; this and what follows is as for `lstm`.
        mask: [T, *batch].
        resets: [T, *batch].
        reverse: walk from the last step to the first.
        engine: "scan" can run every cell, "fused" and "native" the LSTM and the
            Mogrifier, the others the LSTM alone.
        remat: keep √T states for the gradient instead of all T steps.
        masks: regularizers inside the loop.

    Returns:
        The outputs [T, *batch, H], and the state after the last real step walked.

    Raises:
        ValueError: arguments that do not fit together, an unknown engine, or one that
            can't run this.
    """
    check_params(cell.name, cell, params)
    input_size, _ = cell.sizes(params)
    given = read_sequences(
        cell.name, xs, input_size, lengths=lengths, mask=mask, resets=resets
    )
    way = Way(reverse, engine, remat, given.loop_masks(masks))
    return unroll_sequences(cell, params, given, state, way)


@jax.numpy_rank_promotion("allow")
def unroll_sequences(
    cell: Cell,
    params: Params,
    given: Sequences,
    state: object,
    way: Way,
) -> tuple[AnyHidden, State]:
    """`unroll`, of what `read_sequences` made of its arguments, in their layout."""
    _, hidden_size = cell.sizes(params)
    xs = given.inputs.astype(params.w_x.dtype)
    given = given._replace(inputs=xs)
    start = _start(cell, state, given, hidden_size, params.w_h)
    name = _choose(cell, given, hidden_size, params.w_h.dtype, way, inputs=True)
    run = _from_inputs(name, cell)
    hs, last = _walk(run, name, given, params, start, way)
    return given.outputs(hs), given.last(last)


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
    given = read_sequences(cell.name, z, z.shape[-1], lengths=lengths, resets=resets)
    way = Way(reverse, engine, remat, masks)
    name = _choose(cell, given, hidden_size, w_h.dtype, way, inputs=False)
    start = _start(cell, state, given, hidden_size, w_h)
    return _walk(_run_of(name, cell), name, given, weights, start, way)


def _choose(
    cell: Cell,
    given: Sequences,
    hidden_size: int,
    dtype: DTypeLike,
    way: Way,
    *,
    inputs: bool,
) -> str:
    """The name of the engine."""
    steps, rows, _ = given.inputs.shape
    return explain_engine(
        way.engine,
        steps=steps,
        rows=rows,
        hidden=hidden_size,
        dtype=dtype,
        lengths=given.lengths is not None,
        mask=given.mask is not None,
        resets=given.resets is not None,
        reverse=way.reverse,
        inputs=inputs,
        masks=way.masks is not None,
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

    def from_inputs(
        xs: Inputs, params: Params, *others: object
    ) -> tuple[Hidden, State]:
        z = share(xs, params.w_x, params.b) if cell.projects else xs
        return run(z, cell.loop_weights(params), *others)

    share = project if name == "native" else _projected_by_xla(name)
    return from_inputs


def _projected_by_xla(name: str) -> Callable[[Inputs, Array, Array | None], Gates]:
    """The inputs' share of the blocks, x @ w_x + b, as XLA makes it for an engine."""
    multiply = jnp.matmul if name == "scan" else matmul  # which may lack forward mode
    return lambda xs, w_x, b: add_bias(multiply(xs, w_x), b)


def _walk(
    run: Run,
    name: str,
    given: Sequences,
    weights: Params | LoopWeights,
    state: State,
    way: Way,
) -> tuple[Hidden, State]:
    """Run an engine, with lengths and resets as the masks it takes."""
    valid = real_steps(given.lengths, given.inputs.shape[0])
    holes = given.mask is not None
    if given.mask is not None:
        valid = given.mask if valid is None else valid & given.mask
    resets = given.resets
    if resets is not None:
        resets = sequence_starts(resets, valid, way.reverse, holes)
    run = in_chunks(run) if way.remat else run
    extra = () if way.masks is None else (way.masks,)  # most engines know of none

    def read(inputs: Array, state: State) -> tuple[Hidden, State]:
        def walk(inputs: Array, weights: Params, state: State) -> tuple[Hidden, State]:
            return run(inputs, weights, state, resets, valid, way.reverse, *extra)

        operands = inputs, weights, state
        if name == "scan":
            return walk(*operands)
        reason = (
            f"engine {name!r}: expected no forward-mode derivative, found one "
            "(jvp, jacfwd, linearize); engines that can: scan"
        )
        return run_without_forward_mode(walk, operands, reason)

    return read_real(read, given.inputs, state, valid)


def _start(
    cell: Cell, state: object, given: Sequences, hidden_size: int, w_h: Array
) -> State:
    """The state to start from: the one given, in the right types, or zeros."""
    # Made from data, not from shapes: they lie on the same devices, and a scan may
    # carry them under explicit sharding.
    first = given.inputs[0, :, :1]
    zeros = jnp.zeros_like(first) + jnp.zeros_like(w_h, shape=hidden_size)
    blank = cell.initial_state(zeros.astype(w_h.dtype))
    return blank if state is None else read_state(cell, state, blank, given)
