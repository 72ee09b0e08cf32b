"""The cell over a sequence: `lstm`, through one of the engines."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from lstm_jax.cells.lstm import GATES, LSTMParams, LSTMState
from lstm_jax.cells.mogrifier import MogrifierParams, gate_weights
from lstm_jax.cells.noise import LoopMasks
from lstm_jax.engines.dispatch import ENGINES, explain_engine
from lstm_jax.engines.mogrifier import Weights, run_mogrifier
from lstm_jax.engines.padding import read_real, real_steps
from lstm_jax.engines.remat import in_chunks
from lstm_jax.ops.matmul import matmul
from lstm_jax.typing import (
    Flags,
    Gates,
    Hidden,
    Inputs,
    Lengths,
    RecurrentWeights,
)

Run = Callable[..., tuple[Hidden, LSTMState]]


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
        engine: "auto", "fused" (fastest; reverse-mode gradients), "scan" (also
            forward mode and second derivatives), "cudnn" (NVIDIA's kernel, for
            float32 without resets) or "pallas_tpu" (weights and state in a TPU's
            fastest memory). The results are the same; `explain_engine` tells what
            "auto" is.
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
    _check_shapes(params, xs)
    name = _choose(engine, xs, params.w_h, lengths, resets, reverse, True, masks)
    run = ENGINES[name].run if ENGINES[name].takes_inputs else _project(name)
    xs = xs.astype(params.w_x.dtype)
    state = _complete(state, xs, params.w_h)
    return _walk(run, xs, params, state, lengths, resets, reverse, remat, masks)


def lstm_from_gates(
    z: Gates,
    w_h: RecurrentWeights,
    state: LSTMState | None = None,
    *,
    lengths: Lengths | None = None,
    resets: Flags | None = None,
    reverse: bool = False,
    engine: str = "auto",
    remat: bool = False,
    masks: LoopMasks | None = None,
) -> tuple[Hidden, LSTMState]:
    """`lstm`, given the inputs' share of the gates, z = x_t @ w_x + b [T, B, 4H].

    For inputs whose product is cheaper to get otherwise: that of a one-hot symbol is
    a row of w_x. The other arguments are those of `lstm`; "cudnn" needs the inputs.
    """
    name = _choose(engine, z, w_h, lengths, resets, reverse, False, masks)
    state = _complete(state, z, w_h)
    run = ENGINES[name].run
    return _walk(run, z, w_h, state, lengths, resets, reverse, remat, masks)


def _choose(
    engine: str,
    inputs_or_z: Array,
    w_h: Array,
    lengths: Array | None,
    resets: Array | None,
    reverse: bool,
    inputs: bool,
    masks: LoopMasks | None,
) -> str:
    """The name of the engine; the sequence options are checked on the way."""
    steps, rows, _ = inputs_or_z.shape
    if steps == 0:
        raise ValueError("lstm: expected at least one time step, found 0")
    if lengths is not None and lengths.shape != (rows,):
        raise ValueError(
            f"lstm: expected lengths [B] = [{rows}], found {list(lengths.shape)}"
        )
    if resets is not None and resets.shape != (steps, rows):
        raise ValueError(
            f"lstm: expected resets [T, B] = [{steps}, {rows}], "
            f"found {list(resets.shape)}"
        )
    return explain_engine(
        engine,
        steps=steps,
        rows=rows,
        hidden=len(w_h),
        dtype=w_h.dtype,
        lengths=lengths is not None,
        resets=resets is not None,
        reverse=reverse,
        inputs=inputs,
        masks=masks is not None,
    ).name


def _project(name: str) -> Run:
    """An engine that takes gates, made to take inputs: all steps in one product."""
    multiply = (
        jnp.matmul if name == "scan" else matmul
    )  # which may have no forward mode

    def run(
        xs: Inputs, params: LSTMParams, *others: object
    ) -> tuple[Hidden, LSTMState]:
        return ENGINES[name].run(
            multiply(xs, params.w_x) + params.b, params.w_h, *others
        )

    return run


def _walk(
    run: Run,
    inputs: Array,
    weights: LSTMParams | RecurrentWeights,
    state: LSTMState,
    lengths: Lengths | None,
    resets: Flags | None,
    reverse: bool,
    remat: bool,
    masks: LoopMasks | None,
) -> tuple[Hidden, LSTMState]:
    """Run an engine, with lengths and resets as the masks it takes."""
    valid = real_steps(lengths, len(inputs))
    resets = resets if resets is None or valid is None else resets & valid
    if resets is not None and reverse:
        # Walking backwards, a sequence is entered at its end: where the next begins.
        resets = jnp.roll(resets, -1, axis=0).at[-1].set(False)
    run = in_chunks(run) if remat else run
    extra = () if masks is None else (masks,)  # most engines know of none

    def read(inputs: Array, state: LSTMState) -> tuple[Hidden, LSTMState]:
        return run(inputs, weights, state, resets, valid, reverse, *extra)

    return read_real(read, inputs, state, valid)


def _complete(
    state: LSTMState | None, inputs: Array, w_h: RecurrentWeights
) -> LSTMState:
    """The state to start from: the one given, in the right types, or zeros."""
    cell_dtype = jnp.promote_types(w_h.dtype, jnp.float32)
    if state is None:
        # Made from data, not from shapes: they lie on the same devices, and a scan
        # may carry them under explicit sharding.
        zeros = jnp.zeros_like(inputs[0, :, :1]) + jnp.zeros_like(w_h[:, 0])
        return LSTMState(h=zeros.astype(w_h.dtype), c=zeros.astype(cell_dtype))
    expected = (inputs.shape[1], len(w_h))
    if state.h.shape != expected or state.c.shape != expected:
        raise ValueError(
            f"lstm: expected a state of shape {expected}, "
            f"found h {state.h.shape} and c {state.c.shape}"
        )
    return LSTMState(h=state.h.astype(w_h.dtype), c=state.c.astype(cell_dtype))


def _check_shapes(params: LSTMParams, xs: Inputs) -> None:
    if xs.ndim != 3 or xs.shape[-1] != params.w_x.shape[0]:
        raise ValueError(
            f"lstm: expected inputs [T, B, {params.w_x.shape[0]}], "
            f"time first, found {list(xs.shape)}"
        )
    hidden_size = params.w_h.shape[0]
    gates = len(GATES) * hidden_size
    for name, array in (("w_x", params.w_x), ("w_h", params.w_h), ("b", params.b)):
        if array.shape[-1] != gates:
            raise ValueError(
                f"lstm: expected {name} to end in 4H = {gates} columns for "
                f"H = {hidden_size}, found {list(array.shape)}"
            )


def mogrifier_lstm(
    params: MogrifierParams,
    xs: Inputs,
    state: LSTMState,
    *,
    lengths: Lengths | None = None,
    capped: bool = False,
) -> tuple[Hidden, LSTMState]:
    """Run one layer over a batch of sequences.

    Args:
        params: the layer's weights.
        xs: inputs [T, B, D], time first.
        state: what the layer remembers from before, h and c [B, H].
        lengths: [B], how many steps of each row are real: see `lstm_jax.lstm`.
        capped: whether the input gate is at most 1 - f.

    Returns:
        The outputs [T, B, H], and the state after the last real step.
    """
    valid = real_steps(lengths, len(xs))
    weights = Weights(params.rounds, gate_weights(params), params.cell.b)

    def read(xs: Array, state: LSTMState) -> tuple[Hidden, LSTMState]:
        return run_mogrifier(weights, xs, state, valid, capped)

    return read_real(read, xs, state, valid)
