"""A model of moving pictures: what was seen goes into a state, what follows out of it.

    frames  1 ... T            then nothing, as often as there is more to come
    stack   ConvLSTM layers, whose h and c are pictures, or LSTM layers on flat frames
    out     after frame T and every blank: one number for each pixel of the next frame

All frames to come are made from the state alone (the unconditioned decoder of
Srivastava, Mansimov & Salakhutdinov 2015, here one recurrence for both parts), so
errors are not read again.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from lstm_jax.cells.conv_lstm import ConvLSTMCell
from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.metrics.losses import LossSums, Mean
from lstm_jax.nn.layers import StackedLSTM
from lstm_jax.typing import BatchInputs, NextFrames, PRNGKey


class FrameModel(nnx.Module):
    """The next frames of pictures, from the first ones.

    Args:
        height: rows of a picture.
        width: its columns.
        hidden: channels of every ConvLSTM layer, or units of every LSTM layer.
        layers: how many layers.
        rngs: where the initial parameters come from.
        kernel: of the ConvLSTM; 0 for an LSTM on flat frames.
    """

    def __init__(
        self,
        height: int,
        width: int,
        hidden: int,
        layers: int,
        *,
        rngs: nnx.Rngs,
        kernel: int = 3,
    ) -> None:
        pixels = height * width
        self.channels = hidden if kernel else 0
        self.stack = StackedLSTM(
            pixels,
            pixels * hidden if kernel else hidden,
            layers,
            rngs=rngs,
            cell=ConvLSTMCell(height, width, kernel) if kernel else LSTM_CELL,
        )
        glorot = jax.nn.initializers.glorot_uniform(dtype=jnp.float32)
        shape = (hidden, 1) if kernel else (self.stack.out_features, pixels)
        self.w_out = nnx.Param(glorot(rngs.params(), shape))
        self.b_out = nnx.Param(jnp.zeros(shape[1], jnp.float32))

    @jax.numpy_rank_promotion("allow")
    def __call__(self, frames: BatchInputs, count: int) -> NextFrames:
        """Logits of the pixels of the next frames, [B, count, pixels].

        Args:
            frames: [B, T, pixels], each picture row by row.
            count: how many are to come.
        """
        seen = frames.shape[1]
        blank = jnp.zeros_like(frames[:, :1]).repeat(count - 1, axis=1)
        hs, _ = self.stack(jnp.concatenate([frames, blank], axis=1))
        hs = hs[:, seen - 1 :]
        if self.channels:  # every place is read off in the same way
            hs = hs.reshape(*frames.shape[:1], count, -1, self.channels)
        logits = hs @ self.w_out[...] + self.b_out[...]
        return logits.reshape(len(frames), count, -1)


@jax.numpy_rank_promotion("allow")
def frame_loss(
    model: FrameModel, carry: tuple, batch: dict[str, Array], key: PRNGKey | None
) -> tuple[LossSums, tuple]:
    """Cross-entropy of the pixels of the frames to come, in nats per frame.

    Args:
        model: the model.
        carry: nothing: rows have no past.
        batch: `past` [B, T, pixels] and `future` [B, F, pixels], grey from 0 to 1.
        key: of no use: there is no noise.

    Returns:
        The sums, with "squared_error" beside the loss: over the pixels of a frame.
    """
    future = batch["future"]
    logits = model(batch["past"], future.shape[1])
    # -t ln p - (1 - t) ln (1 - p), with p = sigmoid(logit) and t between 0 and 1, too.
    nats = jax.nn.softplus(logits) - future * logits
    errors = (jax.nn.sigmoid(logits) - future) ** 2
    frames = jnp.asarray(future.shape[0] * future.shape[1], jnp.int32)
    loss, squared = Mean(nats.sum(), frames), Mean(errors.sum(), frames)
    return LossSums({"loss": loss, "squared_error": squared}), carry
