"""The sequence classifier: a whole sequence in, logits of its class out.

    symbols -> embedding --+
                           +-> LSTM stack, one way or both -> pooling -> softmax
    dense inputs ----------+

Symbols may have dense inputs beside them: what is known of each in its place.

The LSTM's outputs at all real steps are pooled into one vector of fixed size: their
mean, their largest values, the last of each direction, or several of these side by
side. Rows are padded at the end to a common length, and what is there never counts.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.protocol import Cell, State
from lstm_jax.config import PLAIN, RegularizerConfig
from lstm_jax.data.special_ids import IGNORED
from lstm_jax.engines.padding import only_real
from lstm_jax.metrics.classification import ClassificationSums, measure
from lstm_jax.metrics.losses import LossSums, cross_entropy
from lstm_jax.nn.layers import StackedLSTM
from lstm_jax.nn.regularizers import (
    check_rate,
    dropout,
    symbol_factors,
    tempered,
    weight_penalty,
)
from lstm_jax.ops.lookup import embedding_lookup
from lstm_jax.typing import (
    BatchHidden,
    BatchIds,
    BatchInputs,
    LabelLogits,
    Lengths,
    PRNGKey,
    RowVectors,
    SideFeatures,
)

Pooling = Literal["mean", "max", "last"]


class SequenceClassifier(nnx.Module):
    """A stack of recurrent layers over a sequence, pooled, with a softmax over classes.

    Args:
        features: D, the width of the inputs, or of the embedding of symbols.
        hidden_size: H, the width of every layer, in each direction.
        num_layers: how many layers.
        classes: how many classes there are.
        rngs: where the initial parameters come from.
        vocab_size: V, if the inputs are ids of symbols; None if they are dense.
        bidirectional: whether every layer reads both ways.
        pooling: what the softmax sees of the top layer's outputs.
        dropout: share of activations dropped after the embedding, between layers and
            before the softmax.
        engine: see `lstm_jax.lstm`.
        remat: see `lstm_jax.lstm`.
        regularizer: more than dropout; the training loss obeys it. `input_dropout` is
            the share of symbols dropped, or of dense inputs.
        cell: of every layer, see `LSTM`.
        side_features: width of the dense inputs beside the embedding of symbols, which
            word dropout drops with their symbol, and dropout leaves alone.

    Raises:
        ValueError: an unknown or no pooling, a rate or penalty it can't have, or side
            features without symbols.
    """

    def __init__(
        self,
        features: int,
        hidden_size: int,
        num_layers: int,
        classes: int,
        *,
        rngs: nnx.Rngs,
        vocab_size: int | None = None,
        bidirectional: bool = True,
        pooling: Sequence[Pooling] = ("mean", "max"),
        dropout: float = 0.0,
        engine: str = "auto",
        remat: bool = False,
        regularizer: RegularizerConfig = PLAIN,
        cell: Cell | str = LSTM_CELL,
        side_features: int = 0,
    ) -> None:
        if side_features and not vocab_size:
            raise ValueError("side_features: expected a vocab_size beside them")
        self.pooling = _check_pooling(pooling)
        self.side_features = side_features
        self.dropout = check_rate("dropout", dropout)
        self.regularizer = _check_penalties(regularizer)
        self.table = _new_table(rngs, vocab_size, features) if vocab_size else None
        if vocab_size:
            # Symbols are dropped whole, here; no elements of their embedding below.
            regularizer = dataclasses.replace(regularizer, input_dropout=0.0)
        self.stack = StackedLSTM(
            features + side_features,
            hidden_size,
            num_layers,
            rngs=rngs,
            dropout=dropout,
            bidirectional=bidirectional,
            engine=engine,
            remat=remat,
            regularizer=regularizer,
            cell=cell,
        )
        pooled = len(self.pooling) * self.stack.out_features
        glorot = jax.nn.initializers.glorot_uniform(dtype=jnp.float32)
        self.w_out = nnx.Param(glorot(rngs.params(), (pooled, classes)))
        self.b_out = nnx.Param(jnp.zeros(classes, jnp.float32))

    @jax.numpy_rank_promotion("allow")
    def __call__(
        self,
        inputs: BatchIds | BatchInputs,
        lengths: Lengths | None = None,
        *,
        key: PRNGKey | None = None,
        beside: SideFeatures | None = None,
    ) -> LabelLogits:
        """Logits of each row's class, [B, classes].

        Args:
            inputs: ids [B, T], or dense inputs [B, T, D].
            lengths: [B], how many steps of each row are real; all of them if None. A
                row of length 0 is scored by the biases alone.
            key: of dropout and its like, which are absent without one.
            beside: the side features of ids, [B, T, side_features].

        Raises:
            ValueError: there are no side features where some are expected, or others.
        """
        found = 0 if beside is None else beside.shape[-1]
        if found != self.side_features:
            raise ValueError(
                f"beside: expected {self.side_features} side features, found {found}"
            )
        keys = [None] * 4 if key is None else list(jax.random.split(key, 4))
        xs = self._embed(inputs, keys[0], keys[1], beside)
        hs, states = self.stack(xs, lengths=lengths, key=keys[2])
        if lengths is None:
            lengths = jnp.full(xs.shape[:1], xs.shape[1], jnp.int32)
        pooled = pool(hs, lengths, states[-1], self.pooling)
        if keys[3] is not None:
            pooled = dropout(keys[3], pooled, self.dropout)
        return pooled @ self.w_out[...] + self.b_out[...]

    def _embed(
        self,
        inputs: BatchIds | BatchInputs,
        noise: PRNGKey | None,
        drop: PRNGKey | None,
        beside: SideFeatures | None,
    ) -> BatchInputs:
        """What the stack reads, [B, T, D], with the side features behind."""
        if self.table is None:
            return inputs
        table, rates = self.table[...], self.regularizer
        xs = embedding_lookup(table, inputs)
        if noise is not None and rates.input_dropout:
            factors = symbol_factors(
                noise, inputs, len(table), rates.input_dropout, rates.variational
            )
            xs *= factors
            beside = None if beside is None else beside * factors
        if drop is not None:
            xs = dropout(drop, xs, self.dropout, 1 if rates.variational else None)
        return xs if beside is None else jnp.concatenate([xs, beside], axis=-1)


def pool(
    hs: BatchHidden,
    lengths: Lengths,
    last: State | tuple[State, State],
    kinds: Sequence[Pooling],
) -> RowVectors:
    """The outputs of real steps as one vector per row, [B, kinds times the width].

    Args:
        hs: outputs [B, T, H], or [B, T, 2H] of both directions.
        lengths: [B]; a row of length 0 gives zeros.
        last: the state after the last real step, of each direction.
        kinds: what is put side by side.
    """
    real = jnp.arange(hs.shape[1]) < lengths[:, None]

    def one(kind: Pooling) -> RowVectors:
        if kind == "last":
            return jnp.concatenate([state.h for state in _each(last)], axis=-1)
        if kind == "mean":
            return only_real(hs, real).sum(axis=1) / jnp.maximum(lengths, 1)[:, None]
        largest = jnp.max(jnp.where(real[..., None], hs, -jnp.inf), axis=1)
        return jnp.where(lengths[:, None] > 0, largest, 0)

    return jnp.concatenate([one(kind) for kind in kinds], axis=-1)


def _each(last: State | tuple[State, State]) -> tuple[State, ...]:
    return last if isinstance(last, tuple) else (last,)


@jax.numpy_rank_promotion("allow")
def classifier_loss(
    model: SequenceClassifier,
    carry: tuple,
    batch: dict[str, Array],
    key: PRNGKey | None,
) -> tuple[LossSums, tuple]:
    """Cross-entropy of the rows' classes; `key` makes it the training loss.

    Only then are there dropout and the other regularizers of the model.

    Args:
        model: the model.
        carry: nothing: rows have no past.
        batch: `inputs` [B, T] or [B, T, D], `lengths` [B] and `targets` [B], the
            classes; IGNORED for a row that is not counted, which is then not read; and
            `beside` [B, T, side_features], if the model has any.
        key: for dropout, or None.

    Returns:
        The sums, and the carry as it was.
    """
    unread = batch["targets"] == IGNORED
    lengths = jnp.where(unread, 0, batch["lengths"])
    logits = model(batch["inputs"], lengths, key=key, beside=batch.get("beside"))
    if key is None:
        return cross_entropy(logits, batch["targets"]), carry
    rates = model.regularizer
    sums = cross_entropy(
        tempered(logits, rates), batch["targets"], rates.label_smoothing
    )
    if rates.l1 or rates.l2:
        penalty = weight_penalty(model, rates.l1, rates.l2) * sums.count
        penalty += 0 if sums.penalty is None else sums.penalty
        sums = dataclasses.replace(sums, penalty=penalty)
    return sums, carry


def classifier_measures(
    model: SequenceClassifier, batch: dict[str, Array]
) -> ClassificationSums:
    """All metrics of the rows' classes; the batch is that of `classifier_loss`."""
    logits = model(batch["inputs"], batch["lengths"], beside=batch.get("beside"))
    return measure(logits, batch["targets"])


def _new_table(rngs: nnx.Rngs, symbols: int, features: int) -> nnx.Param:
    """An embedding [V, D] of vectors about 1 long."""
    normal = jax.random.normal(rngs.params(), (symbols, features), jnp.float32)
    return nnx.Param(features**-0.5 * normal)


def _check_pooling(pooling: Sequence[Pooling]) -> tuple[Pooling, ...]:
    kinds = tuple(pooling)
    if not kinds or set(kinds) - set(get_args(Pooling)):
        expected = ", ".join(get_args(Pooling))
        raise ValueError(f"pooling: expected some of {expected}, found {kinds}")
    return kinds


def _check_penalties(rates: RegularizerConfig) -> RegularizerConfig:
    """The rates, if their penalties are of weights: outputs here end at a padding."""
    if rates.activation_penalty or rates.temporal_penalty:
        raise ValueError(
            "SequenceClassifier: expected no activation or temporal penalty, which "
            "are for language models"
        )
    return rates
