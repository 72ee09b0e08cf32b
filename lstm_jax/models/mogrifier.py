"""A language model of Mogrifier layers: the same walk, another cell.

    ids -> embedding -> Mogrifier LSTM -> ... -> [h of every layer] -> softmax

An input that the state has scaled is a row of the embedding no more, so the first layer
cannot have a table.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import LSTMParams, LSTMState
from lstm_jax.cells.mogrifier import (
    MogrifierParams,
    init_rounds,
    mogrifier_gates,
    mogrifier_step,
)
from lstm_jax.config import PLAIN, RegularizerConfig
from lstm_jax.models.language import LanguageModel, States
from lstm_jax.nn.recurrence import mogrifier_lstm
from lstm_jax.ops.lookup import embedding_lookup
from lstm_jax.typing import Ids, PRNGKey, StepIds


class MogrifierModel(LanguageModel):
    """A stack of Mogrifier LSTM layers over symbols, with a softmax over the next one.

    Args:
        vocab_size: V, the number of symbols.
        hidden_size: H, the width of the embedding and of every layer.
        num_layers: how many layers.
        rngs: where the initial parameters come from.
        rounds: in which input and state scale each other; none for plain layers.
        capped: whether input gates are at most 1 - f.
        dropout: share of activations dropped, see `LanguageModel`.
        dtype: type of the arithmetic.
        regularizer: see `LanguageModel`; what acts inside the loop is not to be had.
        top_only: the softmax sees the last layer alone.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        rngs: nnx.Rngs,
        rounds: int = 0,
        capped: bool = False,
        dropout: float = 0.0,
        dtype: DTypeLike = jnp.float32,
        regularizer: RegularizerConfig = PLAIN,
        top_only: bool = False,
    ) -> None:
        super().__init__(
            vocab_size,
            hidden_size,
            num_layers,
            rngs=rngs,
            dropout=dropout,
            dtype=dtype,
            regularizer=regularizer,
            top_only=top_only,
        )
        glorot = jax.nn.initializers.glorot_uniform()
        first = self.layers[0]
        gates = first.w_x.shape[1]
        first.w_x = nnx.Param(glorot(rngs.params(), (hidden_size, gates)))
        embedding = jax.random.normal(rngs.params(), (vocab_size, hidden_size))
        self.embedding = nnx.Param(embedding)
        self.rounds = nnx.List(
            nnx.List(
                nnx.Param(matrix)
                for matrix in init_rounds(
                    rngs.params(), rounds, hidden_size, hidden_size
                )
            )
            for _ in range(num_layers)
        )
        self.capped = capped

    def read(
        self,
        ids: Ids,
        states: States | None = None,
        *,
        key: PRNGKey | None = None,
        lengths: Array | None = None,
    ) -> tuple[Array, States]:
        """Every layer's outputs side by side [T, B, LH], and the last states."""
        before = self.initial_state(ids.shape[1]) if states is None else states
        outputs: list[Array] = []
        after: list[LSTMState] = []
        for depth, params in enumerate(self._params(key, ids.shape)):
            if depth == 0:
                rows = embedding_lookup(self._cast(self.embedding[...]), ids)
                below = self.drop_symbols(rows, ids, key)
            else:
                below = self.drop(outputs[-1], key, depth)
            hs, state = mogrifier_lstm(
                params, below, before[depth], lengths=lengths, capped=self.capped
            )
            outputs.append(hs)
            after.append(state)
        return jnp.concatenate(outputs, axis=-1), tuple(after)

    def step(self, ids: StepIds, states: States) -> States:
        """The states after one more symbol per row: one time step of `read`."""
        after: list[LSTMState] = []
        for depth, params in enumerate(self._params(None, ())):
            x = after[-1].h if depth else self._cast(self.embedding[...])[ids]
            after.append(mogrifier_step(params, states[depth], x, self.capped))
        return tuple(after)

    def gates(self, depth: int, below: Array, before: Array) -> Array:
        """As those of `LanguageModel`, after the rounds and before the cap."""
        x = below if depth else self._cast(self.embedding[...])[below]
        return mogrifier_gates(self._params(None, ())[depth], before, x)

    def _params(
        self, key: PRNGKey | None, shape: tuple[int, ...]
    ) -> list[MogrifierParams]:
        """Every layer's weights for one reading of [T, B] = `shape`."""
        found = []
        for depth, (layer, rounds) in enumerate(
            zip(self.layers, self.rounds, strict=True)
        ):
            cell = layer.params
            place = len(self.layers) + 1 + depth
            w_h, _ = layer.regularize(self._key(key, place), cell.w_h, shape)
            cell = LSTMParams(cell.w_x, w_h, cell.b)
            matrices = tuple(matrix[...] for matrix in rounds)
            found.append(self._cast(MogrifierParams(cell, matrices)))
        return found
