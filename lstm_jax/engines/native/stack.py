"""A stack of recurrent layers that reads and writes symbols, as one custom call.

    weights, states, symbols given, noise  ->  symbols made, states

All layers, the scores of the next symbol and its choice, for as many symbols as are
asked for: no loop of XLA's is in between, whose every operation costs more than a small
layer does. A step is that of `lstm_jax.cells.lstm`, or of `lstm_jax.cells.mogrifier`;
of several symbols that have the same score the first is chosen.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lstm_jax.cells.lstm import LSTMState
from lstm_jax.cells.mogrifier import MogrifierParams
from lstm_jax.typing import Count, Ids, NextIds, Noise, Scalar

States = tuple[LSTMState, ...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stack:
    """The weights of a language model, in float32.

    Attributes:
        layers: of each layer, the lowest one first; those of a textbook LSTM have no
            rounds.
        embedding: [V, H], what the lowest layer reads; None if its w_x has a row for
            each symbol.
        w_out: [KH, V], of the outputs of the K upper layers; None if it is the
            transpose of the embedding.
        b_out: [V].
        capped: whether the input gate is at most 1 - f.
    """

    layers: tuple[MogrifierParams, ...]
    embedding: Array | None
    w_out: Array | None
    b_out: Array
    capped: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def units(self) -> int:
        """H, of every layer."""
        return len(self.layers[0].w_h)

    @property
    def operations(self) -> int:
        """Floating-point operations per symbol, about."""
        (symbols,), units = self.b_out.shape, self.units
        matrices = 8 + len(self.layers[0].rounds)
        return 2 * units * len(self.layers) * (matrices * units + symbols)

    def initial_state(self, batch: int) -> States:
        """The states before anything was read: zeros."""
        zeros = jnp.zeros((batch, self.units), jnp.float32)
        return tuple(LSTMState(zeros, zeros) for _ in self.layers)


class Choice(NamedTuple):
    """How a symbol is chosen: the highest of (score / temperature + noise).

    Attributes:
        allowed: [V], which symbols may be.
        temperature: only heeded where there is noise.
        noise: [N, B, V], from Gumbel's distribution, which makes the choice a draw from
            the softmax; None to choose the highest score.
    """

    allowed: Array
    temperature: Scalar | float = 1.0
    noise: Noise | None = None


def read_ids(stack: Stack, states: States, ids: Ids, count: Count | int) -> States:
    """The states after the first `count` symbols of ids [T, B]."""
    choice = Choice(jnp.ones(len(stack.b_out), bool))
    return _write(stack, states, ids, (count, 0), choice, 1)[1]


def write_ids(
    stack: Stack, states: States, count: Count | int, choice: Choice, room: int
) -> tuple[NextIds, States]:
    """The next `count` symbols of every row, and the states after them.

    Args:
        stack: the model.
        states: what it has read.
        count: how many symbols to make.
        choice: how.
        room: N, the most that `count` may be.

    Returns:
        Ids [N, B], zeros from `count` on, and the states.
    """
    nothing = jnp.zeros((1, len(states[0].h)), jnp.int32)
    return _write(stack, states, nothing, (0, count), choice, room)


def _write(
    stack: Stack,
    states: States,
    given: Ids,
    counts: tuple[Count | int, Count | int],
    choice: Choice,
    room: int,
) -> tuple[NextIds, States]:
    """Read the first of the ids given, then make more, as `counts` says."""
    rows = states[0].h.shape
    embedding = (
        jnp.zeros((0, 0), jnp.float32) if stack.embedding is None else stack.embedding
    )
    operands = [
        given.astype(jnp.int32),
        *(jnp.asarray(count, jnp.int32) for count in counts),
        jnp.asarray(choice.temperature, jnp.float32),
        jnp.zeros((0, 0, 0), jnp.float32) if choice.noise is None else choice.noise,
        choice.allowed,
        embedding,
        embedding.T if stack.w_out is None else stack.w_out,
        stack.b_out,
    ]
    for params, state in zip(stack.layers, states, strict=True):
        b = jnp.zeros_like(params.w_h[0]) if params.b is None else params.b
        operands += [params.w_x, params.w_h, b, state.h, state.c, *params.rounds]
    made, *after = jax.ffi.ffi_call(
        "lstm_jax_write",
        [
            jax.ShapeDtypeStruct((room, rows[0]), jnp.int32),
            *[jax.ShapeDtypeStruct(rows, jnp.float32)] * (2 * len(states)),
        ],
    )(
        *operands,
        threads=np.int64(0),
        rounds=np.int64(len(stack.layers[0].rounds)),
        capped=stack.capped,
    )
    pairs = zip(after[::2], after[1::2], strict=True)
    return made, tuple(LSTMState(h, c) for h, c in pairs)
