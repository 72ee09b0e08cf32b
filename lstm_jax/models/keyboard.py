"""A row of yes-or-no outputs that share one recurrence, as the keys of a piano.

    rolls of keys -+-> around each key -> LSTM stack, the same for every key -+-> logits
                   +-> `MultiLabelModel`, which sees all keys in their places -+

What a voice does next depends on where it stands among the others more than on the key
that it holds, so what is learned of one key serves all (the tied networks of Johnson
2017, here without a chain from key to key: outputs of a step are independent). Reads
forward only, like `MultiLabelModel`.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.protocol import Cell
from lstm_jax.config import PLAIN, RegularizerConfig
from lstm_jax.models.multilabel import MultiLabelModel
from lstm_jax.nn.layers import StackedLSTM
from lstm_jax.nn.regularizers import check_rate, dropout
from lstm_jax.typing import BatchInputs, FrameLogits, Lengths, PRNGKey

OCTAVE = 12
_VOICES = 4  # above and below a key, that are told apart


class KeyboardModel(nnx.Module):
    """Independent Bernoulli outputs of K keys, by a shared recurrence and a whole one.

    Args:
        features: D, the width of the inputs: rolls of K keys one after the other, and
            what is left over, which every key reads as it is.
        labels: K.
        hidden_size: width of the layers that see all keys of the first roll at once.
        num_layers: how many of them.
        key_size: H, width of the layers that every key has, with the same weights.
        rngs: where the initial parameters come from.
        key_layers: how many of them.
        reach: how far a key sees up and down, in each roll. Of the first roll it also
            sees which notes sound in any octave, and how many keys above and below.
        embedding: width of what is known of a key by itself.
        span: the keys that have them, from and to before; all if None.
        dropout: share of activations dropped between layers and before the readout.
        prior: the probability of every key before anything is learned, or of each.
        engine: see `lstm_jax.lstm`.
        remat: see `lstm_jax.lstm`.
        regularizer: see `MultiLabelModel`; `input_dropout` is of the first roll.
        cell: of every layer, see `LSTM`.

    Raises:
        ValueError: a rate or a penalty it can't have, or a span that is none.
    """

    def __init__(
        self,
        features: int,
        labels: int,
        hidden_size: int,
        num_layers: int,
        key_size: int,
        *,
        rngs: nnx.Rngs,
        key_layers: int = 1,
        reach: Sequence[int] = (OCTAVE,),
        embedding: int = 8,
        span: tuple[int, int] | None = None,
        dropout: float = 0.0,
        prior: float | Sequence[float] = 0.5,
        engine: str = "auto",
        remat: bool = False,
        regularizer: RegularizerConfig = PLAIN,
        cell: Cell | str = LSTM_CELL,
    ) -> None:
        self.labels, self.reach = labels, tuple(reach)
        self.span = span or (0, labels)
        others = features - labels * len(self.reach)
        if not 0 <= self.span[0] < self.span[1] <= labels or others < 0 or not reach:
            raise ValueError(
                f"KeyboardModel: expected a roll of {labels} keys for each reach and "
                f"a span of them, found {features} features, the reach "
                f"{self.reach} and the span {self.span}"
            )
        shared = {"dropout": dropout, "engine": engine, "remat": remat, "cell": cell}
        self.whole = MultiLabelModel(
            labels,
            labels,
            hidden_size,
            num_layers,
            rngs=rngs,
            prior=prior,
            regularizer=regularizer,
            **shared,
        )
        self.dropout = check_rate("dropout", dropout)
        self.regularizer = regularizer
        width = sum(2 * each + 1 for each in self.reach) + OCTAVE + 2 * _VOICES
        width += others + embedding
        # What is dropped of the roll is dropped before a key looks around itself.
        inner = dataclasses.replace(regularizer, input_dropout=0.0)
        self.keys = StackedLSTM(
            width, key_size, key_layers, rngs=rngs, regularizer=inner, **shared
        )
        draw = jax.nn.initializers.normal(0.1, jnp.float32)
        count = self.span[1] - self.span[0]
        self.of_key = nnx.Param(draw(rngs.params(), (count, embedding)))
        self.of_class = nnx.Param(draw(rngs.params(), (OCTAVE, embedding)))
        glorot = jax.nn.initializers.glorot_uniform(dtype=jnp.float32)
        self.w_key = nnx.Param(glorot(rngs.params(), (self.keys.out_features, 1)))

    @jax.numpy_rank_promotion("allow")
    def __call__(
        self,
        inputs: BatchInputs,
        states: tuple | None = None,
        *,
        lengths: Lengths | None = None,
        key: PRNGKey | None = None,
    ) -> tuple[FrameLogits, tuple]:
        """Logits [B, T, K] of every step's keys, and the states to go on from.

        The arguments are those of `MultiLabelModel`.
        """
        before = (None, None) if states is None else states
        whole, masked, inner, last = (
            [None] * 4 if key is None else jax.random.split(key, 4)
        )
        first = inputs[..., : self.labels]
        logits, after = self.whole(first, before[0], lengths=lengths, key=whole)
        time_axis = -2 if self.regularizer.variational else None
        if masked is not None:
            rate = self.regularizer.input_dropout
            first = dropout(masked, first, rate, time_axis)
        seen = self._seen(first, inputs[..., self.labels :])
        every = None
        if lengths is not None:
            every = jnp.broadcast_to(jnp.asarray(lengths)[:, None], seen.shape[:2])
        hs, keys = self.keys(seen, before[1], lengths=every, key=inner)
        if last is not None:
            hs = dropout(last, hs, self.dropout, time_axis)
        own = jnp.moveaxis((hs @ self.w_key[...])[..., 0], 1, 2)
        low, high = self.span
        own = jnp.pad(own, ((0, 0), (0, 0), (low, self.labels - high)))
        return logits + own, (after, keys)

    def _seen(self, first: BatchInputs, more: Array) -> Array:
        """What the keys of the span read, [B, keys, T, width]."""
        rows, steps, _ = first.shape
        low, high = self.span
        cuts = self.labels * np.arange(1, len(self.reach))
        *rolls, others = (first, *jnp.split(more, cuts, axis=-1))
        pairs = zip(rolls, self.reach, strict=True)
        parts = [around(roll, self.span, reach) for roll, reach in pairs]
        parts += [notes(rolls[0], self.span), voices(rolls[0], self.span)]
        classes = self.of_class[...][np.arange(low, high) % OCTAVE]
        known = (self.of_key[...] + classes)[None, :, None]
        for part in (others[:, None], known):
            shape = (rows, high - low, steps, part.shape[-1])
            parts.append(jnp.broadcast_to(part, shape))
        return jnp.concatenate(parts, axis=-1)


def around(roll: BatchInputs, span: tuple[int, int], reach: int) -> Array:
    """Each key and its neighbours, rising, silent beyond the ends.

    Args:
        roll: [B, T, K].
        span: the keys that are asked for, from and to before.
        reach: how many neighbours there are to each side.

    Returns:
        [B, keys, T, 2 reach + 1].
    """
    padded = jnp.pad(jnp.moveaxis(roll, 1, 2), ((0, 0), (reach, reach), (0, 0)))
    places = np.arange(*span)[:, None] + np.arange(2 * reach + 1)
    return jnp.moveaxis(padded[:, places], 2, 3)


def notes(roll: BatchInputs, span: tuple[int, int]) -> Array:
    """How many keys sound of each note of the scale, whatever the octave.

    Args:
        roll: [B, T, K].
        span: the keys that are asked for, from and to before.

    Returns:
        [B, keys, T, 12], the key's own note first, then rising.
    """
    rows, steps, labels = roll.shape
    padded = jnp.pad(roll, ((0, 0), (0, 0), (0, -labels % OCTAVE)))
    sums = jnp.moveaxis(padded.reshape(rows, steps, -1, OCTAVE).sum(axis=2), 1, 2)
    places = (np.arange(*span)[:, None] + np.arange(OCTAVE)) % OCTAVE
    return jnp.moveaxis(sums[:, places], 2, 3)


def voices(roll: BatchInputs, span: tuple[int, int]) -> Array:
    """Whether at least 1 to 4 keys sound below each, and above.

    Args:
        roll: [B, T, K].
        span: the keys that are asked for, from and to before.

    Returns:
        [B, keys, T, 8].
    """
    low, high = span
    sounding = jnp.moveaxis((roll > 0).astype(roll.dtype), 1, 2)
    upto = jnp.cumsum(sounding, axis=1)
    below, above = upto - sounding, upto[:, -1:] - upto
    least = jnp.arange(1, _VOICES + 1)
    parts = [count[:, low:high, :, None] >= least for count in (below, above)]
    return jnp.concatenate(parts, axis=-1).astype(roll.dtype)
