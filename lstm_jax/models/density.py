"""A model of the next point of a series: an LSTM that says how it is distributed.

    inputs   what is known before the point, [B, T, D]
    anchors  guesses of the point, the last one and that of a day ago for two, [B, T, A]
    reader   an LSTM over the inputs, from past to future alone
    out      a mixture of K logistic distributions for every step

Each part lies around a learned mix of the anchors, so that an untrained model already
guesses like them. The logistic distribution has a cumulative distribution in closed
form, 1 / (1 + exp(-(y - m) / s)), from which the probability of a point as far out as
the one that came follows (for images: Salimans et al. 2017, PixelCNN++).
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.protocol import Cell
from lstm_jax.metrics.losses import LossSums, loss_sums
from lstm_jax.nn.layers import StackedLSTM
from lstm_jax.typing import Anchors, BatchInputs, MixtureParts, PRNGKey, StepValues

_NARROWEST = -5.0  # ln of the least scale: repeated values have no infinite density


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LogisticMixture:
    """K logistic distributions and their shares, for each step of a batch.

    Attributes:
        log_shares: [B, T, K], ln of what each part has of the whole.
        means: [B, T, K].
        log_scales: [B, T, K], ln of s.
    """

    log_shares: MixtureParts
    means: MixtureParts
    log_scales: MixtureParts

    def log_density(self, values: StepValues) -> StepValues:
        """Ln of the density at a value of every step, [B, T]."""
        z = (values[..., None] - self.means) * jnp.exp(-self.log_scales)
        parts = -z - self.log_scales - 2 * jax.nn.softplus(-z)
        return jax.nn.logsumexp(self.log_shares + parts, axis=-1)

    def log_tails(self, values: StepValues) -> tuple[StepValues, StepValues]:
        """Ln of the probabilities to lie below a value of every step, and above it."""
        z = (values[..., None] - self.means) * jnp.exp(-self.log_scales)
        below = self.log_shares - jax.nn.softplus(-z)
        above = self.log_shares - jax.nn.softplus(z)
        return jax.nn.logsumexp(below, axis=-1), jax.nn.logsumexp(above, axis=-1)


class DensityModel(nnx.Module):
    """The distribution of a point, from what is known before it.

    Args:
        features: D, the width of the inputs.
        anchors: A, how many guesses of the point there are.
        hidden_size: units of each layer.
        num_layers: layers of the reader.
        parts: K, distributions of the mixture.
        rngs: where the initial parameters come from.
        dropout: see `StackedLSTM`.
        cell: of every layer, see `LSTM`.
    """

    def __init__(
        self,
        features: int,
        anchors: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        parts: int = 3,
        rngs: nnx.Rngs,
        dropout: float = 0.0,
        cell: Cell | str = LSTM_CELL,
    ) -> None:
        self.parts = parts
        self.reader = StackedLSTM(
            features, hidden_size, num_layers, rngs=rngs, dropout=dropout, cell=cell
        )
        self.mix = nnx.Param(jnp.full((anchors, parts), 1.0 / anchors, jnp.float32))
        # Parts of one place and one width would have the same gradient for ever.
        widths = jnp.linspace(-2.0, 0.0, parts, dtype=jnp.float32)
        shape = (self.reader.out_features, 3 * parts)
        self.w_out = nnx.Param(jnp.zeros(shape, jnp.float32))
        still = jnp.zeros(2 * parts, jnp.float32)
        self.b_out = nnx.Param(jnp.concatenate([still, widths]))

    @jax.numpy_rank_promotion("allow")
    def __call__(
        self,
        inputs: BatchInputs,
        anchors: Anchors,
        state: tuple | None = None,
        *,
        key: PRNGKey | None = None,
    ) -> tuple[LogisticMixture, tuple]:
        """The distribution of every step's point, and the state to go on from.

        Args:
            inputs: [B, T, D].
            anchors: [B, T, A], in the units of the points.
            state: of the steps before; zero if None.
            key: of dropout, which is absent without one.
        """
        hs, state = self.reader(inputs, state, key=key)
        out = hs @ self.w_out[...] + self.b_out[...]
        shares, moves, scales = jnp.split(out, 3, axis=-1)
        mixture = LogisticMixture(
            jax.nn.log_softmax(shares),
            anchors @ self.mix[...] + moves,
            _NARROWEST + jax.nn.softplus(scales - _NARROWEST),
        )
        return mixture, state


@jax.numpy_rank_promotion("allow")
def density_loss(
    model: DensityModel, carry: tuple, batch: dict[str, Array], key: PRNGKey | None
) -> tuple[LossSums, tuple]:
    """The negative logarithm of the density of the points that came, in nats.

    Args:
        model: the model.
        carry: nothing; every row begins from the zero state.
        batch: `inputs` [B, T, D], `anchors` [B, T, A], `values` [B, T] and their
            `weights` [B, T], 0 where there is no point.
        key: for dropout, or None.

    Returns:
        The sums, over the points, and nothing.
    """
    mixture, _ = model(batch["inputs"], batch["anchors"], key=key)
    weights = batch["weights"]
    losses = -mixture.log_density(batch["values"]) * weights
    return loss_sums(losses.sum(), weights.sum()), carry
