"""The transcriber: frames of sound in, CTC logits of symbols out.

    frames -> bidirectional LSTM -> bidirectional LSTM -> ... -> logits per frame

Nobody says which frame belongs to which symbol: the loss is the probability of the
transcript, summed over all ways to spread it over the frames (Graves et al. 2006).
Batch first, [B, T, ...], as the layers and optax's CTC have it.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.protocol import Cell
from lstm_jax.data.special_ids import BLANK
from lstm_jax.engines.padding import only_real
from lstm_jax.metrics.losses import LossSums, loss_sums
from lstm_jax.nn.layers import StackedLSTM
from lstm_jax.nn.regularizers import dropout
from lstm_jax.typing import BatchInputs, FrameLogits, Lengths, PRNGKey, Transcripts


class CTCModel(nnx.Module):
    """Bidirectional recurrent layers with a linear readout at every frame.

    Args:
        features: D, the width of a frame.
        symbols: V, the blank included; symbol 0 is the blank.
        hidden: H, the width of every layer and direction.
        layers: how many layers.
        rngs: where the initial parameters come from.
        dropout: share of activations dropped between layers and before the readout.
        cell: of every layer, see `LSTM`.
    """

    def __init__(
        self,
        features: int,
        symbols: int,
        hidden: int,
        layers: int,
        *,
        rngs: nnx.Rngs,
        dropout: float = 0.0,
        cell: Cell | str = LSTM_CELL,
    ) -> None:
        self.reader = StackedLSTM(
            features,
            hidden,
            layers,
            rngs=rngs,
            dropout=dropout,
            bidirectional=True,
            cell=cell,
        )
        glorot = jax.nn.initializers.glorot_uniform(dtype=jnp.float32)
        self.w_out = nnx.Param(
            glorot(rngs.params(), (self.reader.out_features, symbols))
        )
        self.b_out = nnx.Param(jnp.zeros(symbols, jnp.float32))
        self.dropout = dropout

    @jax.numpy_rank_promotion("allow")
    def __call__(
        self, frames: BatchInputs, lengths: Lengths, *, key: PRNGKey | None = None
    ) -> FrameLogits:
        """Logits [B, T, V]; without a key there is no dropout."""
        hs, _ = self.reader(frames, lengths=lengths, key=key)
        if key is not None:
            hs = dropout(jax.random.fold_in(key, 1), hs, self.dropout)
        return hs @ self.w_out[...] + self.b_out[...]


@jax.numpy_rank_promotion("allow")
def ctc_loss(
    model: CTCModel,
    carry: tuple[()],
    batch: dict[str, Array],
    key: PRNGKey | None,
) -> tuple[LossSums, tuple[()]]:
    """-ln P(transcript | frames), summed; counted per symbol of the transcripts.

    Args:
        model: the model.
        carry: nothing; utterances do not go on from each other.
        batch: `frames` [B, T, D], their `lengths` [B], and `transcripts` [B, N],
            filled up with blanks.
        key: for dropout, or None.

    Returns:
        The sums, which have no accuracy: a transcript is right or wrong only once it
        is decoded.
    """
    logits = model(batch["frames"], batch["lengths"], key=key)
    nats = transcript_nats(logits, batch["lengths"], batch["transcripts"])
    count = jnp.sum(batch["transcripts"] != BLANK, dtype=jnp.int32)
    return loss_sums(jnp.sum(nats), count), carry


def transcript_nats(
    logits: FrameLogits, lengths: Lengths, transcripts: Transcripts
) -> Array:
    """-ln P(transcript) of each row, [B].

    Args:
        logits: [B, T, V].
        lengths: [B], frames that count.
        transcripts: [B, N], filled up with blanks.
    """
    real = jnp.arange(logits.shape[1]) < lengths[:, None]
    silent = (~real).astype(jnp.float32)
    unused = (transcripts == BLANK).astype(jnp.float32)
    logits = only_real(logits, real)
    return optax.ctc_loss(logits, silent, transcripts, unused, blank_id=BLANK)
