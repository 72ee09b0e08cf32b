"""The translator: a sentence in, logits of the next symbol of its translation out.

    source -> embedding -> bidirectional LSTM layers -> memory
    target -> embedding -> LSTM -> attention over the memory -> LSTM -> softmax

The lower LSTM of the decoder knows what was written so far and asks the memory; the
upper one keeps account of what the memory answered. As no answer goes back to the lower
one, the whole of a known target is read by two recurrences and one attention for all
steps at once, and by the same function that writes symbol after symbol.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.named import as_cell
from lstm_jax.cells.protocol import Cell, State
from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.metrics.losses import LossSums, cross_entropy
from lstm_jax.nn.attention import attend
from lstm_jax.nn.layers import LSTM, StackedLSTM
from lstm_jax.nn.regularizers import check_rate, dropout
from lstm_jax.ops.seeds import seed_key
from lstm_jax.typing import (
    AttentionWeights,
    BatchHidden,
    BatchIds,
    BatchLogits,
    Keys,
    Lengths,
    PRNGKey,
    SourceIds,
    Values,
)

DecoderStates = tuple[State, State]  # of the lower and the upper layer
_EMBEDDING_SCALE = 0.1


class Memory(NamedTuple):
    """What was read: a key and a value per source step, and how many are real."""

    keys: Keys
    values: Values
    lengths: Lengths


class Seq2Seq(nnx.Module):
    """An encoder, a decoder with attention, and a softmax tied to its embedding.

    Args:
        source_size: V of the source.
        target_size: V of the target.
        embedding: D, the width of the embeddings of both.
        hidden: H, the width of the decoder's layers and of the memory; even, for each
            direction of the encoder has half of it.
        layers: how many layers the encoder has.
        rngs: where the initial parameters come from.
        dropout: share of activations dropped: of the embeddings, between layers and
            before the softmax.
        cell: of every layer, see `LSTM`.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        embedding: int,
        hidden: int,
        layers: int,
        *,
        rngs: nnx.Rngs,
        dropout: float = 0.0,
        cell: Cell | str = LSTM_CELL,
    ) -> None:
        if hidden % 2:
            raise ValueError(f"Seq2Seq: expected an even width, found {hidden}")
        if as_cell(cell).output_size(hidden) != hidden:
            raise ValueError("Seq2Seq: expected a cell without a projection")
        normal = jax.nn.initializers.normal(_EMBEDDING_SCALE, jnp.float32)
        glorot = jax.nn.initializers.glorot_uniform(dtype=jnp.float32)

        def matrix(rows: int, columns: int) -> nnx.Param[Array]:
            return nnx.Param(glorot(rngs.params(), (rows, columns)))

        self.source_table = nnx.Param(normal(rngs.params(), (source_size, embedding)))
        self.target_table = nnx.Param(normal(rngs.params(), (target_size, embedding)))
        self.encoder = StackedLSTM(
            embedding,
            hidden // 2,
            layers,
            rngs=rngs,
            dropout=dropout,
            bidirectional=True,
            cell=cell,
        )
        self.w_key = matrix(hidden, hidden)
        blank = as_cell(cell).initial_state(jnp.zeros(hidden, jnp.float32))
        self.w_start = matrix(hidden, 2 * len(jax.tree.leaves(blank)) * hidden)
        self.lower = LSTM(embedding, hidden, rngs=rngs, cell=cell)
        self.upper = LSTM(2 * hidden, hidden, rngs=rngs, cell=cell)
        self.w_out = matrix(2 * hidden, embedding)
        self.b_out = nnx.Param(jnp.zeros(target_size, jnp.float32))
        self.dropout = check_rate("dropout", dropout)

    @property
    def sizes(self) -> dict[str, int]:
        """The arguments besides the vocabularies that decide the shapes."""
        embedding, layers = self.source_table.shape[1], len(self.encoder.layers)
        return {"embedding": embedding, "hidden": len(self.w_key), "layers": layers}

    @jax.numpy_rank_promotion("allow")
    def __call__(
        self,
        sources: SourceIds,
        lengths: Lengths,
        inputs: BatchIds,
        *,
        key: PRNGKey | None = None,
    ) -> BatchLogits:
        """Logits [B, T, V] of each next symbol of the targets (teacher forcing).

        Without a key there is no dropout.
        """
        keys = (None, None) if key is None else jax.random.split(key)
        memory, states = self.encode(sources, lengths, key=keys[0])
        return self.decode(inputs, states, memory, key=keys[1])[0]

    def encode(
        self, sources: SourceIds, lengths: Lengths, *, key: PRNGKey | None = None
    ) -> tuple[Memory, DecoderStates]:
        """The memory of the sentences, and the states to begin to write with."""
        xs = self._drop(self.source_table[...][sources], key, 0)
        inner = None if key is None else jax.random.fold_in(key, 1)
        values, states = self.encoder(xs, lengths=lengths, key=inner)
        ends = jnp.concatenate([state.h for state in states[-1]], axis=-1)
        like = self.lower.cell.initial_state(jnp.zeros_like(ends))
        both = jax.tree.structure((like, like))
        starts = jnp.tanh(ends @ self.w_start[...])
        states = both.unflatten(jnp.split(starts, both.num_leaves, axis=-1))
        memory = Memory(values @ self.w_key[...], values, lengths)
        return memory, states

    def decode(
        self,
        inputs: BatchIds,
        states: DecoderStates,
        memory: Memory,
        *,
        key: PRNGKey | None = None,
    ) -> tuple[BatchLogits, AttentionWeights, DecoderStates]:
        """Go on writing: the symbols [B, T] were written, which come next?

        The memory may have fewer rows, each for the same number of neighbours.

        Returns:
            Logits [B, T, V], the attention [B, T, S] they were made with, and the
            states after the last symbol.
        """
        xs = self._drop(self.target_table[...][inputs], key, 0)
        below, lower = self.lower(xs, states[0])
        contexts, weights = _ask(below, memory)
        both = jnp.concatenate([below, contexts], axis=-1)
        above, upper = self.upper(self._drop(both, key, 1), states[1])
        both = jnp.concatenate([above, contexts], axis=-1)
        out = jnp.tanh(self._drop(both, key, 2) @ self.w_out[...])
        out = self._drop(out, key, 3)
        logits = out @ self.target_table[...].T + self.b_out[...]
        return logits, weights, (lower, upper)

    def _drop(self, xs: Array, key: PRNGKey | None, place: int) -> Array:
        if key is None:
            return xs
        return dropout(jax.random.fold_in(key, place), xs, self.dropout)


def build_seq2seq(
    source_size: int,
    target_size: int,
    seed: int,
    *,
    embedding: int,
    hidden: int,
    layers: int,
    dropout: float = 0.0,
    cell: Cell | str = LSTM_CELL,
) -> Seq2Seq:
    """An untrained translator, see there, made by one compiled program."""

    def build() -> Seq2Seq:
        return Seq2Seq(
            source_size,
            target_size,
            embedding,
            hidden,
            layers,
            rngs=nnx.Rngs(seed_key(seed)),
            dropout=dropout,
            cell=cell,
        )

    return bounded_jit(build)()


def _ask(queries: BatchHidden, memory: Memory) -> tuple[BatchHidden, AttentionWeights]:
    """Attention, where the beams of a sentence share its memory.

    They are so many more queries to it, as if they were steps of time.
    """
    beams_and_steps = queries.reshape(len(memory.lengths), -1, queries.shape[-1])
    answers = attend(beams_and_steps, *memory)
    contexts, weights = (a.reshape(*queries.shape[:2], -1) for a in answers)
    return contexts, weights


@jax.numpy_rank_promotion("allow")
def seq2seq_loss(
    model: Seq2Seq,
    carry: tuple[()],
    batch: dict[str, Array],
    key: PRNGKey | None,
    *,
    smoothing: float = 0.0,
) -> tuple[LossSums, tuple[()]]:
    """Cross-entropy of the targets' symbols; `key` makes it the training loss.

    Only then are there dropout and label smoothing.

    Args:
        model: the model.
        carry: nothing; sentences do not go on from each other.
        batch: `sources` [B, S] and their `lengths` [B]; `inputs` and `targets` [B, T],
            padded with IGNORED targets.
        key: for dropout, or None.
        smoothing: share of each target spread evenly over all symbols.
    """
    logits = model(batch["sources"], batch["lengths"], batch["inputs"], key=key)
    share = 0.0 if key is None else smoothing
    return cross_entropy(logits, batch["targets"], share), carry
