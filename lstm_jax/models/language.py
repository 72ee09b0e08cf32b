"""The language model: symbols in, logits of the next symbol out.

    ids -> a row of w_x each -> LSTM -> LSTM -> ... -> [h of every layer] -> softmax

A one-hot symbol times w_x is a row of w_x. So the embedding and the input weights of
the first layer are one table [V, 4H], read row by row, without a matrix product. (Only
a cell that scales its inputs, as the Mogrifier does, needs an embedding [V, H], and so
does a model whose softmax shares it, the tied embedding of Press & Wolf 2017.) The
outputs of every layer reach the softmax (Graves 2013), so the lower layers learn
directly and the logits of the next symbol are a function of the state alone.
"""

import dataclasses
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.named import as_cell
from lstm_jax.cells.noise import zoneout
from lstm_jax.cells.protocol import Cell, Params, State, add_bias
from lstm_jax.config import PLAIN, RegularizerConfig
from lstm_jax.metrics.classification import ClassificationSums, measure
from lstm_jax.metrics.losses import LossSums, cross_entropy
from lstm_jax.nn.layers import LSTM
from lstm_jax.nn.recurrence import unroll, unroll_projected
from lstm_jax.nn.regularizers import (
    check_rate,
    dropout,
    objective_terms,
    symbol_factors,
    tempered,
)
from lstm_jax.ops.lookup import embedding_lookup
from lstm_jax.ops.matmul import matmul
from lstm_jax.typing import (
    BatchHidden,
    BatchIds,
    BatchLogits,
    Ids,
    PRNGKey,
    StepIds,
    StepLogits,
)

States = tuple[State, ...]
Tree = TypeVar("Tree")
_TABLE_SCALE = 0.5  # standard deviation of a gate's share from the first input


class LanguageModel(nnx.Module):
    """A stack of recurrent layers over symbols, with a softmax over the next one.

    Args:
        vocab_size: V, the number of symbols.
        hidden_size: H, the width of every layer.
        num_layers: how many layers.
        rngs: where the initial parameters come from.
        dropout: share of activations dropped between layers and before the softmax.
        dtype: type of the arithmetic; parameters are kept in float32.
        engine: see `lstm_jax.lstm`. The gates of the first layer come from a table,
            so "cudnn", which needs inputs, can't run it.
        remat: see `lstm_jax.lstm`.
        regularizer: more than dropout; the training loss obeys it.
        top_only: the softmax sees the last layer alone.
        tie_embedding: symbols are read from and scored by one matrix [V, H]; the
            softmax then sees the last layer alone.
        cell: of every layer: the textbook LSTM, or another, or its name.
    """

    w_out: Any  # an nnx.Param, or None where the embedding is in its place
    embedding: Any  # an nnx.Param, or None where there is a table

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        rngs: nnx.Rngs,
        dropout: float = 0.0,
        dtype: DTypeLike = jnp.float32,
        engine: str = "auto",
        remat: bool = False,
        regularizer: RegularizerConfig = PLAIN,
        top_only: bool = False,
        tie_embedding: bool = False,
        cell: Cell | str = LSTM_CELL,
    ) -> None:
        self.cell = as_cell(cell)
        has_table = self.cell.projects and not tie_embedding
        width = self.cell.output_size(hidden_size)
        self.layers = nnx.List(
            LSTM(
                vocab_size if has_table and depth == 0 else width,
                hidden_size,
                rngs=rngs,
                engine=engine,
                remat=remat,
                regularizer=regularizer,
                cell=self.cell,
            )
            for depth in range(num_layers)
        )
        first = self.layers[0].w_x
        glorot = jax.nn.initializers.glorot_uniform(dtype=jnp.float32)
        if has_table:
            self.embedding = None
            # A one-hot input opens a single row: Glorot's rule, made for sums over all
            # rows, would start the gates almost deaf to the symbols.
            first[...] = _TABLE_SCALE * jax.random.normal(
                rngs.params(), first.shape, jnp.float32
            )
        elif tie_embedding:
            # Its rows have length 1, about, which suits a softmax; the weights that
            # read them begin so that the gates are as with a table.
            embedding = jax.random.normal(rngs.params(), (vocab_size, width))
            self.embedding = nnx.Param(embedding.astype(jnp.float32) / width**0.5)
            first[...] = _TABLE_SCALE * jax.random.normal(
                rngs.params(), first.shape, jnp.float32
            )
        else:
            # Its numbers are larger than a layer's outputs, so the weights of the
            # first layer begin smaller: Glorot's for all gates as one matrix.
            embedding = jax.random.normal(
                rngs.params(), (vocab_size, width), jnp.float32
            )
            self.embedding = nnx.Param(embedding)
            first[...] = glorot(rngs.params(), first.shape)
        readout = ((1 if top_only else num_layers) * width, vocab_size)
        self.w_out = (
            None if tie_embedding else nnx.Param(glorot(rngs.params(), readout))
        )
        self.b_out = nnx.Param(jnp.zeros(vocab_size, jnp.float32))
        self.dropout = check_rate("dropout", dropout)
        self.dtype = jnp.dtype(dtype)
        self.regularizer = regularizer

    @jax.numpy_rank_promotion("allow")
    def __call__(
        self,
        ids: BatchIds,
        states: States | None = None,
        *,
        key: PRNGKey | None = None,
        lengths: Array | None = None,
    ) -> tuple[BatchLogits, States]:
        """Logits of each next symbol [B, T, V] of ids [B, T], and the last states.

        Without a key there is no dropout. `lengths` is that of `lstm`.
        """
        hs, states = self.read_over_time(ids.T, states, key=key, lengths=lengths)
        logits = self.logits(self.drop(hs, key, 0))
        return jnp.swapaxes(logits, 0, 1), states

    def read(
        self, ids: BatchIds, states: States | None = None
    ) -> tuple[BatchHidden, States]:
        """Every layer's outputs side by side [B, T, LH], and the last states."""
        hs, states = self.read_over_time(ids.T, states)
        return jnp.swapaxes(hs, 0, 1), states

    def read_over_time(
        self,
        ids: Ids,
        states: States | None = None,
        *,
        key: PRNGKey | None = None,
        lengths: Array | None = None,
    ) -> tuple[Array, States]:
        """`read`, time first, as the recurrence has it: ids [T, B] to [T, B, LH]."""
        before = (None,) * len(self.layers) if states is None else states
        outputs: list[Array] = []
        after = []
        for depth, layer in enumerate(self.layers):
            params = self._cast(layer.params)
            w_h, masks = layer.regularize(
                self._key(key, len(self.layers) + 1 + depth), params.w_h, ids.shape
            )
            params = dataclasses.replace(params, w_h=w_h)
            options = {
                "lengths": lengths,
                "engine": layer.engine,
                "remat": layer.remat,
                "masks": masks,
            }
            if depth == 0:
                hs, state = self._read_symbols(params, ids, before[0], key, options)
            else:
                below = self.drop(outputs[-1], key, depth)
                hs, state = unroll(self.cell, params, below, before[depth], **options)
            outputs.append(hs)
            after.append(state)
        return jnp.concatenate(outputs, axis=-1), tuple(after)

    def drop(self, hs: Array, key: PRNGKey | None, place: int) -> Array:
        """Dropout under a layer, `place` being its depth, or before the softmax: 0."""
        if key is None or not self.dropout:
            return hs
        time_axis = 0 if self.regularizer.variational else None
        return dropout(jax.random.fold_in(key, place), hs, self.dropout, time_axis)

    def drop_symbols(self, rows: Array, ids: Ids, key: PRNGKey | None) -> Array:
        """Input dropout of what was looked up for the symbols, [T, B, ...]."""
        rate = self.regularizer.input_dropout
        if key is None or not rate:
            return rows
        symbols, variational = self.b_out.shape[0], self.regularizer.variational
        key = jax.random.fold_in(key, len(self.layers))
        factors = symbol_factors(key, ids.T, symbols, rate, variational)
        return rows * jnp.swapaxes(factors, 0, 1).astype(rows.dtype)

    def step(self, ids: StepIds, states: States) -> States:
        """The states after one more symbol per row: one time step of `read`."""
        after: list[State] = []
        rates = self.regularizer
        held = (rates.zoneout_hidden or None, rates.zoneout_cell or None)
        for depth, layer in enumerate(self.layers):
            params, before = self._cast(layer.params), states[depth]
            if depth == 0:
                weights, z = self.cell.loop_weights(params), self._fed(params, 0, ids)
                state = self.cell.advance(weights, before, z)
            else:
                state = self.cell.step(params, before, after[-1].h)
            after.append(zoneout(before, state, *held))
        return tuple(after)

    def preactivations(self, depth: int, below: Array, before: State) -> Array:
        """What stands inside σ and tanh of a layer's blocks over a text, [T, B, NH].

        Args:
            depth: which layer.
            below: [T, B, H], the outputs of the layer below it; under the first one
                the symbols, ids [T, B]. Time may as well come second.
            before: its own state before each step, arrays [T, B, H].
        """
        params = self._cast(self.layers[depth].params)
        z = self._fed(params, depth, below)
        return self.cell.preactivations(self.cell.loop_weights(params), before, z)

    def next_logits(self, states: States) -> StepLogits:
        """Logits of the next symbol [B, V], given all that was read."""
        return self.logits(jnp.concatenate([state.h for state in states], axis=-1))

    def logits(self, hs: Array) -> Array:
        """The softmax layer: outputs [..., LH], or the last H of them, to [..., V]."""
        tied = self.w_out is None
        weights = self.embedding[...].T if tied else self.w_out[...]
        w_out, b_out = self._cast((weights, self.b_out[...]))
        return matmul(hs[..., -len(w_out) :], w_out) + b_out

    def initial_state(self, batch: int) -> States:
        """The states before anything was read: zeros."""
        shape = (batch, self.layers[0].hidden_features)
        return tuple(
            self.cell.initial_state(jnp.zeros(shape, self.dtype)) for _ in self.layers
        )

    def _read_symbols(
        self,
        params: Params,
        ids: Ids,
        state: State | None,
        key: PRNGKey | None,
        options: dict[str, Any],
    ) -> tuple[Array, State]:
        """The first layer over symbols, each a row of the table or of the embedding."""
        if self.embedding is not None:
            rows = embedding_lookup(self._cast(self.embedding[...]), ids)
            xs = self.drop_symbols(rows, ids, key)
            return unroll(self.cell, params, xs, state, **options)
        rows = embedding_lookup(params.w_x, ids)
        z = add_bias(self.drop_symbols(rows, ids, key), params.b)
        weights = self.cell.loop_weights(params)
        return unroll_projected(self.cell, z, weights, params.w_h, state, **options)

    def _fed(self, params: Params, depth: int, below: Array) -> Array:
        """What a layer's steps are given: z, or x if the cell does not project."""
        if depth == 0 and self.embedding is None:
            return add_bias(params.w_x[below], params.b)
        if depth == 0:
            below = self._cast(self.embedding[...])[below]
        if not self.cell.projects:
            return below
        return add_bias(below @ params.w_x, params.b)

    def _key(self, key: PRNGKey | None, place: int) -> PRNGKey | None:
        """A key of its own for a place, if anything is to be drawn there."""
        noisy = self.regularizer.in_loop or self.regularizer.weight_drop
        return jax.random.fold_in(key, place) if key is not None and noisy else None

    def _cast(self, params: Tree) -> Tree:
        return jax.tree.map(lambda a: a.astype(self.dtype), params)


def with_more_symbols(model: LanguageModel, symbols: int, like: int) -> LanguageModel:
    """A model of more symbols, the new ones as one that it has.

    Their scores are lowered so that they and that one share its probability: what the
    model says of all other symbols is unchanged.

    Args:
        model: of at most so many symbols; it is left as it is.
        symbols: V of the new one.
        like: the id of the symbol that the new ones begin as.
    """
    extra = symbols - len(model.b_out[...])
    if not extra:
        return model
    wider = nnx.clone(model)

    def longer(array: ArrayLike, axis: int) -> nnx.Param:
        one = jnp.take(jnp.asarray(array), jnp.array([like]), axis)
        return nnx.Param(jnp.concatenate([jnp.asarray(array), *[one] * extra], axis))

    if model.embedding is not None:
        wider.embedding = longer(model.embedding[...], 0)
    else:
        wider.layers[0].w_x = longer(model.layers[0].w_x[...], 0)
    if model.w_out is not None:
        wider.w_out = longer(model.w_out[...], 1)
    shared = jnp.asarray(model.b_out[...]).at[like].add(-jnp.log(1.0 + extra))
    wider.b_out = longer(shared, 0)
    return wider


@jax.numpy_rank_promotion("allow")
def language_loss(
    model: LanguageModel, states: States, batch: dict[str, Array], key: PRNGKey | None
) -> tuple[LossSums, States]:
    """Cross-entropy of the next symbols; `key` makes it the training loss.

    Only then are there dropout and the other regularizers of the model. The `loss` of
    the sums is the plain one of what was then read, at the training temperature; what
    the objective adds to it is their `penalty`.

    Args:
        model: the model.
        states: what it read before; gradients stop there (truncated BPTT).
        batch: `inputs` and `targets`, ids [B, T]; `resets`, [B], rows to start from
            the zero state.
        key: for dropout, or None.

    Returns:
        The sums, and the states to go on from.
    """
    states = reset_states(states, batch["resets"])
    hs, states = model.read_over_time(batch["inputs"].T, states, key=key)
    targets = batch["targets"].T
    if key is None:
        return cross_entropy(model.logits(hs), targets), states
    rates = model.regularizer
    shown = model.drop(hs, key, 0)
    logits = tempered(model.logits(shown), rates)
    sums = cross_entropy(logits, targets, rates.label_smoothing)
    terms = objective_terms(model, shown, hs, rates)
    if terms is not None:
        penalty = terms * sums.count
        penalty += 0 if sums.penalty is None else sums.penalty
        sums = dataclasses.replace(sums, penalty=penalty)
    return sums, states


def language_measures(
    model: LanguageModel, states: States, batch: dict[str, Array]
) -> tuple[ClassificationSums, States]:
    """All metrics of the next symbols, from one reading without dropout.

    The arguments are those of `language_loss`.
    """
    states = reset_states(states, batch["resets"])
    logits, states = model(batch["inputs"], states)
    return measure(logits, batch["targets"]), states


def reset_states(states: States, resets: Array) -> States:
    """The states with zeros in the rows that `resets` [B] says."""
    return jax.tree.map(lambda a: jnp.where(resets[:, None], 0, a), states)
