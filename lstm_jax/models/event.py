"""A network that says after every step how likely events are, from what came so far.

    dense inputs -> recurrent layer, forward only -> logits of K events, at every step

The events are independent of each other: any of them may come. Nothing looks ahead, so
what is said after step t is what could have been said then.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from lstm_jax.cells.decay import DecayCell
from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.protocol import Cell
from lstm_jax.data.special_ids import IGNORED
from lstm_jax.metrics.losses import LossSums, binary_cross_entropy
from lstm_jax.nn.layers import LSTM
from lstm_jax.nn.regularizers import check_rate, dropout
from lstm_jax.typing import BatchInputs, FrameLogits, PRNGKey


class EventModel(nnx.Module):
    """A forward recurrent layer with a linear readout at every step.

    Args:
        features: D, the width of the inputs.
        hidden_size: H, the width of the layer.
        events: K.
        rngs: where the initial parameters come from.
        gaps: how many of the last inputs are times since something was seen; for the
            cell "decay".
        input_dropout: share of the inputs dropped, of a row the same at all steps.
        dropout: share of the layer's outputs dropped, likewise.
        cell: see `LSTM`; or "decay", a `DecayCell` of these gaps.

    Raises:
        ValueError: more gaps than inputs or none for "decay", or a rate there can't be.
    """

    def __init__(
        self,
        features: int,
        hidden_size: int,
        events: int = 1,
        *,
        rngs: nnx.Rngs,
        gaps: int = 0,
        input_dropout: float = 0.0,
        dropout: float = 0.0,
        cell: Cell | str = LSTM_CELL,
    ) -> None:
        self.input_dropout = check_rate("input_dropout", input_dropout)
        self.dropout = check_rate("dropout", dropout)
        cell = DecayCell(gaps) if cell == "decay" else cell
        self.reader = LSTM(features, hidden_size, rngs=rngs, cell=cell)
        glorot = jax.nn.initializers.glorot_uniform(dtype=jnp.float32)
        self.w_out = nnx.Param(
            glorot(rngs.params(), (self.reader.out_features, events))
        )
        self.b_out = nnx.Param(jnp.zeros(events, jnp.float32))

    @jax.numpy_rank_promotion("allow")
    def __call__(
        self, inputs: BatchInputs, *, key: PRNGKey | None = None
    ) -> FrameLogits:
        """Logits [B, T, K]; without a key there is no dropout."""
        if key is None:
            hs, _ = self.reader(inputs)
        else:
            below, above = jax.random.split(key)
            xs = dropout(below, inputs, self.input_dropout, time_axis=1)
            hs, _ = self.reader(xs)
            hs = dropout(above, hs, self.dropout, time_axis=1)
        return hs @ self.w_out[...] + self.b_out[...]


@jax.numpy_rank_promotion("allow")
def event_loss(
    model: EventModel, carry: tuple[()], batch: dict[str, Array], key: PRNGKey | None
) -> tuple[LossSums, tuple[()]]:
    """-ln p of what became of each row, foretold after every step; counted per step.

    To be right early counts as much as to be right in the end (target replication,
    Lipton et al. 2016).

    Args:
        model: the model.
        carry: nothing: rows have no past.
        batch: `inputs` [B, T, D] and `targets` [B, K], 0 or 1; IGNORED in a row that is
            not counted.
        key: for dropout, or None.

    Returns:
        The sums, and the carry as it was.
    """
    logits = model(batch["inputs"], key=key)
    targets = jnp.broadcast_to(batch["targets"][:, None], logits.shape)
    counted = jnp.all(targets != IGNORED, axis=-1)
    return binary_cross_entropy(logits, targets, counted), carry
