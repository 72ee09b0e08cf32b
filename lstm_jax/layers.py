"""Flax (NNX) faces of the recurrence: `LSTM`, `Bidirectional`, `StackedLSTM`.

The modules hold nothing but parameters and sizes, so `jax.jit`, `jax.grad`,
`jax.vmap`, `jax.lax.scan` and optax take them as the plain pytrees they are. Dropout
asks for a key and is absent without one: no hidden random state, no train/eval mode.

This is the one room that is batch-major, [B, T, D], as Flax layers are.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from lstm_jax.cell import LSTMParams, LSTMState, init_lstm
from lstm_jax.dispatch import check_engine_name
from lstm_jax.notation import (
    Activations,
    BatchFlags,
    BatchHidden,
    BatchInputs,
    Lengths,
    PRNGKey,
)
from lstm_jax.recurrence import lstm


class LSTM(nnx.Module):
    """One LSTM layer over sequences [B, T, D].

    Args:
        in_features: D, the width of the inputs.
        hidden_features: H, the width of the state and of the outputs.
        rngs: where the initial parameters come from.
        dtype: type of the parameters and of the arithmetic.
        engine: see `lstm_jax.lstm`.
        remat: see `lstm_jax.lstm`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        engine: str = "auto",
        remat: bool = False,
    ) -> None:
        params = init_lstm(rngs.params(), in_features, hidden_features, dtype)
        self.w_x = nnx.Param(params.w_x)
        self.w_h = nnx.Param(params.w_h)
        self.b = nnx.Param(params.b)
        self.engine = check_engine_name(engine)
        self.remat = remat

    @property
    def params(self) -> LSTMParams:
        """The parameters as the functional core takes them."""
        return LSTMParams(self.w_x[...], self.w_h[...], self.b[...])

    def __call__(
        self,
        xs: BatchInputs,
        state: LSTMState | None = None,
        *,
        lengths: Lengths | None = None,
        resets: BatchFlags | None = None,
        reverse: bool = False,
    ) -> tuple[BatchHidden, LSTMState]:
        """Outputs [B, T, H] and the last state; the arguments are those of `lstm`."""
        ys, state = lstm(
            self.params,
            jnp.swapaxes(xs, 0, 1),
            state,
            lengths=lengths,
            resets=None if resets is None else resets.T,
            reverse=reverse,
            engine=self.engine,
            remat=self.remat,
        )
        return jnp.swapaxes(ys, 0, 1), state


class Bidirectional(nnx.Module):
    """Two LSTM layers, one reading each way; outputs side by side, [B, T, 2H]."""

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        engine: str = "auto",
        remat: bool = False,
    ) -> None:
        def layer() -> LSTM:
            return LSTM(
                in_features,
                hidden_features,
                rngs=rngs,
                dtype=dtype,
                engine=engine,
                remat=remat,
            )

        self.forward = layer()
        self.backward = layer()

    def __call__(
        self,
        xs: BatchInputs,
        state: tuple[LSTMState, LSTMState] | None = None,
        *,
        lengths: Lengths | None = None,
        resets: BatchFlags | None = None,
    ) -> tuple[BatchHidden, tuple[LSTMState, LSTMState]]:
        """Outputs [B, T, 2H] and each direction's last state, forward first."""
        before = (None, None) if state is None else state
        ahead, last = self.forward(xs, before[0], lengths=lengths, resets=resets)
        back, first = self.backward(
            xs, before[1], lengths=lengths, resets=resets, reverse=True
        )
        return jnp.concatenate([ahead, back], axis=-1), (last, first)


class StackedLSTM(nnx.Module):
    """LSTM layers on top of each other, with dropout between them.

    Args:
        in_features: D, the width of the inputs.
        hidden_features: H, the width of every layer.
        num_layers: how many.
        dropout: the share of activations dropped between layers, at each step anew.
        bidirectional: every layer reads both ways, and is 2H wide.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        num_layers: int,
        *,
        rngs: nnx.Rngs,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: DTypeLike = jnp.float32,
        engine: str = "auto",
        remat: bool = False,
    ) -> None:
        if num_layers < 1:
            raise ValueError(f"StackedLSTM: expected 1 layer or more, got {num_layers}")
        kind = Bidirectional if bidirectional else LSTM
        width = hidden_features * (2 if bidirectional else 1)
        self.layers = nnx.List(
            kind(
                width if depth else in_features,
                hidden_features,
                rngs=rngs,
                dtype=dtype,
                engine=engine,
                remat=remat,
            )
            for depth in range(num_layers)
        )
        self.dropout = check_rate("dropout", dropout)

    def __call__(
        self,
        xs: BatchInputs,
        state: tuple | None = None,
        *,
        lengths: Lengths | None = None,
        resets: BatchFlags | None = None,
        key: PRNGKey | None = None,
    ) -> tuple[BatchHidden, tuple]:
        """The top layer's outputs and every layer's state. No key, no dropout."""
        before = (None,) * len(self.layers) if state is None else state
        after = []
        for depth, layer in enumerate(self.layers):
            if depth and key is not None:
                xs = dropout(jax.random.fold_in(key, depth), xs, self.dropout)
            xs, state_of_layer = layer(
                xs, before[depth], lengths=lengths, resets=resets
            )
            after.append(state_of_layer)
        return xs, tuple(after)


def dropout(key: PRNGKey, xs: Activations, rate: float) -> Activations:
    """Zero a share `rate` of the elements and scale the rest, so the mean stays."""
    if rate == 0.0:
        return xs
    kept = jax.random.bernoulli(key, 1 - rate, xs.shape)
    return jnp.where(kept, xs / (1 - rate), 0)


def check_rate(name: str, rate: float) -> float:
    """The rate itself, if it lies in [0, 1)."""
    if not 0 <= rate < 1:
        raise ValueError(f"{name}: expected a share in [0, 1), found {rate}")
    return rate
