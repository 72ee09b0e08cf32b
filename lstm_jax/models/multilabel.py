"""Several independent yes-or-no outputs at every step: frames in, logits out.

    x_t -+-> LSTM stack -+-> logits of K outputs
         +---- skip -----+

The recurrence reads forward only, so the outputs of step t are a function of the inputs
up to t, and a model that is handed the state it has left goes on where it stopped: one
step at a time gives what one reading gives. An output that is mostly what it was a step
ago, a key of a piano held down, is learned by the skip connection, one matrix.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.protocol import Cell
from lstm_jax.config import PLAIN, RegularizerConfig
from lstm_jax.metrics.losses import LossSums, binary_cross_entropy
from lstm_jax.nn.layers import StackedLSTM
from lstm_jax.nn.regularizers import check_rate, dropout, weight_penalty
from lstm_jax.typing import BatchInputs, FrameLogits, Lengths, Model, PRNGKey


class MultiLabelModel(nnx.Module):
    """A stack of recurrent layers with K independent Bernoulli outputs per step.

    Args:
        features: D, the width of the inputs.
        labels: K, how many outputs a step has.
        hidden_size: H, the width of every layer.
        num_layers: how many layers.
        rngs: where the initial parameters come from.
        dropout: share of activations dropped between layers and before the readout.
        skip: whether the readout sees the step's inputs too.
        prior: the probability of every label before anything is learned, or of each:
            where few are 1, a small one spares the first steps.
        engine: see `lstm_jax.lstm`.
        remat: see `lstm_jax.lstm`.
        regularizer: more than dropout; the training loss obeys it. It can't have label
            smoothing, a temperature, or penalties on activations.
        cell: of every layer, see `LSTM`.

    Raises:
        ValueError: a rate or a penalty it can't have.
    """

    def __init__(
        self,
        features: int,
        labels: int,
        hidden_size: int,
        num_layers: int,
        *,
        rngs: nnx.Rngs,
        dropout: float = 0.0,
        skip: bool = True,
        prior: float | Sequence[float] = 0.5,
        engine: str = "auto",
        remat: bool = False,
        regularizer: RegularizerConfig = PLAIN,
        cell: Cell | str = LSTM_CELL,
    ) -> None:
        chances = check_prior(prior, labels)
        self.dropout = check_rate("dropout", dropout)
        self.regularizer = _check_targets(regularizer)
        self.stack = StackedLSTM(
            features,
            hidden_size,
            num_layers,
            rngs=rngs,
            dropout=dropout,
            engine=engine,
            remat=remat,
            regularizer=regularizer,
            cell=cell,
        )
        glorot = jax.nn.initializers.glorot_uniform(dtype=jnp.float32)
        self.w_out = nnx.Param(glorot(rngs.params(), (self.stack.out_features, labels)))
        self.w_skip = (
            nnx.Param(jnp.zeros((features, labels), jnp.float32)) if skip else None
        )
        odds = [math.log(chance / (1 - chance)) for chance in chances]
        self.b_out = nnx.Param(jnp.asarray(odds, jnp.float32))

    @jax.numpy_rank_promotion("allow")
    def __call__(
        self,
        inputs: BatchInputs,
        states: tuple | None = None,
        *,
        lengths: Lengths | None = None,
        key: PRNGKey | None = None,
    ) -> tuple[FrameLogits, tuple]:
        """Logits [B, T, K] of every step's outputs, and the states to go on from.

        Args:
            inputs: [B, T, D].
            states: what was read before, of every layer; zeros if None.
            lengths: [B], how many steps of each row are real; all of them if None.
            key: of dropout and its like, which are absent without one.
        """
        if lengths is not None:  # 0 times what is no number would be none
            real = jnp.arange(inputs.shape[1]) < jnp.asarray(lengths)[:, None]
            inputs = jnp.where(real[:, :, None], inputs, 0)
        keys = (None, None) if key is None else jax.random.split(key)
        hs, states = self.stack(inputs, states, lengths=lengths, key=keys[0])
        if keys[1] is not None:
            time_axis = 1 if self.regularizer.variational else None
            hs = dropout(keys[1], hs, self.dropout, time_axis)
        logits = hs @ self.w_out[...] + self.b_out[...]
        if self.w_skip is not None:
            logits = logits + inputs @ self.w_skip[...]
        return logits, states


@jax.numpy_rank_promotion("allow")
def multilabel_loss(
    model: Model,
    carry: tuple[()],
    batch: dict[str, Array],
    key: PRNGKey | None,
) -> tuple[LossSums, tuple[()]]:
    """Bernoulli negative log-likelihood of the steps' outputs, summed over them.

    Args:
        model: a `MultiLabelModel`, or another that is called alike.
        carry: nothing; sequences do not go on from each other.
        batch: `inputs` [B, T, D], `targets` [B, T, K] of zeros and ones, and `lengths`
            [B], the steps that count.
        key: of dropout and its like; `key` makes it the training loss.

    Returns:
        The sums, nats per step, and the carry as it was.
    """
    lengths, targets = batch["lengths"], batch["targets"]
    logits, _ = model(batch["inputs"], lengths=lengths, key=key)
    counted = jnp.arange(targets.shape[1]) < lengths[:, None]
    sums = binary_cross_entropy(logits, targets, counted)
    rates = model.regularizer
    if key is not None and (rates.l1 or rates.l2):
        penalty = weight_penalty(model, rates.l1, rates.l2) * sums.count
        sums = dataclasses.replace(sums, penalty=penalty)
    return sums, carry


def check_prior(prior: float | Sequence[float], labels: int) -> Sequence[float]:
    """The probability of every label, from one for all or from one of each."""
    chances = prior if isinstance(prior, Sequence) else [prior] * labels
    wrong = [chance for chance in chances if not 0 < chance < 1]
    if wrong:
        raise ValueError(f"prior: expected a probability in (0, 1), found {wrong[0]}")
    if len(chances) != labels:
        raise ValueError(f"prior: expected {labels} of them, found {len(chances)}")
    return chances


def _check_targets(rates: RegularizerConfig) -> RegularizerConfig:
    """The rates, if they are none of those that belong to a softmax over symbols."""
    others = rates.label_smoothing, rates.activation_penalty, rates.temporal_penalty
    if any(others) or rates.training_temperature != 1.0:
        raise ValueError(
            "MultiLabelModel: expected no label smoothing, no temperature and no "
            "penalty on activations, which are for language models"
        )
    return rates
