"""The cell over a sequence: `lstm`, through one of the engines."""

import functools
from collections.abc import Callable

import jax.numpy as jnp

from lstm_jax.cell import GATES, LSTMParams, LSTMState
from lstm_jax.engines.fused import run_fused
from lstm_jax.engines.scan import run_scan
from lstm_jax.notation import (
    Flags,
    Gates,
    Hidden,
    Inputs,
    Lengths,
    RecurrentWeights,
)
from lstm_jax.regularize import LoopMasks

Engine = Callable[..., tuple[Hidden, LSTMState]]
ENGINES: dict[str, Engine] = {"scan": run_scan, "fused": run_fused}


def choose_engine(engine: str = "auto") -> str:
    """The name of the engine that will run: "auto" is "fused" on every device.

    The choice is made in Python, before anything is traced.

    Raises:
        ValueError: there is no engine of this name.
    """
    if engine == "auto":
        return "fused"
    if engine not in ENGINES:
        known = ", ".join(["auto", *ENGINES])
        raise ValueError(f"engine: expected one of {known}, found {engine!r}")
    return engine


def loop_engine(engine: str = "auto") -> str:
    """The name of the engine for regularizers inside the loop: only "scan" has them.

    Raises:
        ValueError: another engine was asked for by name.
    """
    if engine not in ("auto", "scan"):
        raise ValueError(
            "engine: expected 'scan', the one that can have recurrent dropout and "
            f"zoneout, found {engine!r}"
        )
    return "scan"


def lstm(
    params: LSTMParams,
    xs: Inputs,
    state: LSTMState | None = None,
    *,
    lengths: Lengths | None = None,
    resets: Flags | None = None,
    reverse: bool = False,
    engine: str = "auto",
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
            length 0 returns the state it was given.
        resets: [T, B], True where x_t begins a new sequence: the state is zeroed
            between it and its neighbour t-1, in whichever direction time is walked.
            Several sequences packed in one row then never see each other.
        reverse: walk from the last step to the first. Outputs keep their places.
        engine: "auto", "fused" (fastest; reverse-mode gradients) or "scan" (also
            forward mode and second derivatives). The results are the same.
        masks: regularizers inside the loop, of `loop_masks`; "auto" is then "scan".

    Returns:
        The outputs [T, B, H], and the state after the last real step walked.

    Raises:
        ValueError: shapes that do not fit together, an unknown engine, or one that
            cannot have `masks`.
    """
    _check_shapes(params, xs)
    z = xs.astype(params.w_x.dtype) @ params.w_x + params.b
    return lstm_from_gates(
        z,
        params.w_h,
        state,
        lengths=lengths,
        resets=resets,
        reverse=reverse,
        engine=engine,
        masks=masks,
    )


def lstm_from_gates(
    z: Gates,
    w_h: RecurrentWeights,
    state: LSTMState | None = None,
    *,
    lengths: Lengths | None = None,
    resets: Flags | None = None,
    reverse: bool = False,
    engine: str = "auto",
    masks: LoopMasks | None = None,
) -> tuple[Hidden, LSTMState]:
    """`lstm`, given the inputs' share of the gates, z = x_t @ w_x + b [T, B, 4H].

    For inputs whose product is cheaper to get otherwise: that of a one-hot symbol is
    a row of w_x. The other arguments are those of `lstm`.
    """
    if masks is None:
        run = ENGINES[choose_engine(engine)]
    else:
        run = functools.partial(ENGINES[loop_engine(engine)], masks=masks)
    steps, batch, _ = z.shape
    if steps == 0:
        raise ValueError("lstm: expected at least one time step, found 0")
    if state is None:
        state = zero_state(z, w_h)
    else:
        state = LSTMState(
            h=state.h.astype(w_h.dtype),
            c=state.c.astype(jnp.promote_types(w_h.dtype, jnp.float32)),
        )
    expected = (batch, w_h.shape[0])
    if state.h.shape != expected or state.c.shape != expected:
        raise ValueError(
            f"lstm: expected a state of shape {expected}, "
            f"found h {state.h.shape} and c {state.c.shape}"
        )
    valid = None if lengths is None else jnp.arange(steps)[:, None] < lengths
    starts = resets if resets is None or valid is None else resets & valid
    if starts is not None and reverse:
        # Walking backwards, a sequence is entered at its end: where the next begins.
        starts = jnp.roll(starts, -1, axis=0).at[-1].set(False)
    hs, state = run(z, w_h, state, starts, valid, reverse)
    if valid is not None:
        hs = jnp.where(valid[..., None], hs, 0)
    return hs, state


def zero_state(z: Gates, w_h: RecurrentWeights) -> LSTMState:
    """The state before anything was seen.

    The zeros are made from z, not from shapes, so that they lie on the same devices
    and a scan may carry them under explicit sharding.
    """
    zeros = jnp.zeros_like(z[0, :, : w_h.shape[0]])
    cell_dtype = jnp.promote_types(w_h.dtype, jnp.float32)
    return LSTMState(h=zeros.astype(w_h.dtype), c=zeros.astype(cell_dtype))


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
