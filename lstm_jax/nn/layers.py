"""Flax (NNX) faces of the recurrence: `LSTM`, `Bidirectional`, `StackedLSTM`.

The modules hold nothing but parameters and sizes, so `jax.jit`, `jax.grad`,
`jax.vmap`, `jax.lax.scan` and optax take them as the plain pytrees they are. Dropout
asks for a key and is absent without one: no hidden random state, no train/eval mode.

Batch-major, [B, T, D], as Flax layers are; the recurrence below is time-major.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.named import as_cell
from lstm_jax.cells.noise import LoopMasks
from lstm_jax.cells.protocol import Cell, Params, State
from lstm_jax.config import PLAIN, RegularizerConfig, check_bounds
from lstm_jax.engines.dispatch import check_engine_name
from lstm_jax.nn.recurrence import unroll
from lstm_jax.nn.regularizers import (
    check_rate,
    drop_connect,
    dropout,
    loop_masks,
)
from lstm_jax.typing import (
    BatchFlags,
    BatchHidden,
    BatchInputs,
    Lengths,
    PRNGKey,
)

Held = Any  # an nnx.Param, or an nnx.List of them


class LSTM(nnx.Module):
    """One layer over sequences [B, T, D]: the textbook LSTM, or any other cell.

    The parameters stand in it by the names that the cell's `Params` has for them:
    `w_x`, `w_h` and `b`, and what else there is.

    Args:
        in_features: D, the width of the inputs.
        hidden_features: H, the width of the state and, unless the cell projects it,
            of the outputs.
        rngs: where the initial parameters come from.
        dtype: type of the parameters and of the arithmetic.
        engine: see `lstm_jax.lstm`.
        remat: see `lstm_jax.lstm`.
        regularizer: of its fields a layer heeds `weight_drop`, `recurrent_dropout`,
            `zoneout_hidden` and `zoneout_cell`, and of `variational` what they do.
        cell: what is repeated over time, or its name, "gru" for one.
        use_bias: False for a layer without biases: `b` is then None.

    Attributes:
        out_features: the width of the outputs.

    Raises:
        ValueError: an engine that can't run the cell or what the regularizer asks for.
    """

    w_x: nnx.Param[jax.Array]
    w_h: nnx.Param[jax.Array]
    b: nnx.Param[jax.Array]

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        engine: str = "auto",
        remat: bool = False,
        regularizer: RegularizerConfig = PLAIN,
        cell: Cell | str = LSTM_CELL,
        use_bias: bool = True,
    ) -> None:
        self.cell = as_cell(cell)
        self.hidden_features = hidden_features
        self.out_features = self.cell.output_size(hidden_features)
        params = self.cell.init(rngs.params(), in_features, hidden_features, dtype)
        for name, value in vars(params).items():
            absent = not use_bias and name in self.cell.biases
            setattr(self, name, None if absent else _kept(value))
        self.engine = check_engine_name(
            engine, masks=regularizer.in_loop, cell=self.cell
        )
        self.remat = remat
        check_bounds(regularizer)
        _check_zoneout(self.cell, regularizer)
        self.regularizer = regularizer

    @property
    def params(self) -> Params:
        """The parameters as the functional core takes them."""
        kind = self.cell.Params
        names = [field.name for field in dataclasses.fields(kind)]
        return kind(**{name: _values(getattr(self, name)) for name in names})

    @jax.numpy_rank_promotion("allow")
    def __call__(
        self,
        xs: BatchInputs,
        state: State | None = None,
        *,
        lengths: Lengths | None = None,
        resets: BatchFlags | None = None,
        reverse: bool = False,
        key: PRNGKey | None = None,
    ) -> tuple[BatchHidden, State]:
        """Outputs [B, T, H] and the last state; the arguments are those of `lstm`.

        Without a key there is no noise.
        """
        params = self.params
        w_h, masks = self.regularize(key, params.w_h, (xs.shape[1], xs.shape[0]))
        ys, state = unroll(
            self.cell,
            dataclasses.replace(params, w_h=w_h),
            jnp.swapaxes(xs, 0, 1),
            state,
            lengths=lengths,
            resets=None if resets is None else resets.T,
            reverse=reverse,
            engine=self.engine,
            remat=self.remat,
            masks=masks,
        )
        return jnp.swapaxes(ys, 0, 1), state

    def regularize(
        self, key: PRNGKey | None, w_h: jax.Array, steps: tuple[int, ...]
    ) -> tuple[jax.Array, LoopMasks | None]:
        """The recurrent weights and the masks for one reading of [T, B] = `steps`."""
        rates = self.regularizer
        if key is not None and rates.weight_drop:
            w_h = drop_connect(jax.random.fold_in(key, 0), w_h, rates.weight_drop)
        if not rates.in_loop:
            return w_h, None
        inner = None if key is None else jax.random.fold_in(key, 1)
        return w_h, loop_masks(
            inner, (*steps, self.hidden_features), rates, self.out_features
        )


def _kept(value: jax.Array | tuple[jax.Array, ...] | None) -> Held:
    """An entry of a cell's parameters as a module holds it."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return nnx.List([nnx.Param(each) for each in value])
    return nnx.Param(value)


def _values(held: Held) -> jax.Array | tuple[jax.Array, ...] | None:
    """The inverse of `_kept`."""
    if held is None:
        return None
    if isinstance(held, nnx.List):
        return tuple(each[...] for each in held)
    return held[...]


def _check_zoneout(cell: Cell, rates: RegularizerConfig) -> None:
    """Refuse to hold a cell state where there is none."""
    if rates.zoneout_cell and not hasattr(cell.initial_state(jnp.zeros(1)), "c"):
        raise ValueError(
            f"zoneout_cell: expected none for the cell {cell.name}, which has no cell "
            f"state, found {rates.zoneout_cell}"
        )


class Bidirectional(nnx.Module):
    """Two layers, one reading each way; outputs side by side, [B, T, 2H]."""

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        engine: str = "auto",
        remat: bool = False,
        regularizer: RegularizerConfig = PLAIN,
        cell: Cell | str = LSTM_CELL,
        use_bias: bool = True,
    ) -> None:
        def layer() -> LSTM:
            return LSTM(
                in_features,
                hidden_features,
                rngs=rngs,
                dtype=dtype,
                engine=engine,
                remat=remat,
                regularizer=regularizer,
                cell=cell,
                use_bias=use_bias,
            )

        self.forward = layer()
        self.backward = layer()
        self.out_features = 2 * self.forward.out_features

    @jax.numpy_rank_promotion("allow")
    def __call__(
        self,
        xs: BatchInputs,
        state: tuple[State, State] | None = None,
        *,
        lengths: Lengths | None = None,
        resets: BatchFlags | None = None,
        key: PRNGKey | None = None,
    ) -> tuple[BatchHidden, tuple[State, State]]:
        """Outputs [B, T, 2H] and each direction's last state, forward first."""
        before = (None, None) if state is None else state
        keys = (None, None) if key is None else jax.random.split(key)
        ahead, last = self.forward(
            xs, before[0], lengths=lengths, resets=resets, key=keys[0]
        )
        back, first = self.backward(
            xs, before[1], lengths=lengths, resets=resets, reverse=True, key=keys[1]
        )
        return jnp.concatenate([ahead, back], axis=-1), (last, first)


class StackedLSTM(nnx.Module):
    """Layers on top of each other, with dropout between them.

    Args:
        in_features: D, the width of the inputs.
        hidden_features: H, the width of every layer.
        num_layers: how many.
        dropout: the share of activations dropped between layers, at each step anew.
        bidirectional: every layer reads both ways, and is 2H wide.
        regularizer: as for `LSTM`; besides, `input_dropout` is the share dropped of
            what the first layer reads, and `variational` masks serve all steps.
        cell: as for `LSTM`, of every layer.
        use_bias: as for `LSTM`, of every layer.
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
        regularizer: RegularizerConfig = PLAIN,
        cell: Cell | str = LSTM_CELL,
        use_bias: bool = True,
    ) -> None:
        if num_layers < 1:
            raise ValueError(f"StackedLSTM: expected 1 layer or more, got {num_layers}")
        kind = Bidirectional if bidirectional else LSTM
        self.layers = nnx.List()
        self.out_features = in_features
        for _ in range(num_layers):
            layer = kind(
                self.out_features,
                hidden_features,
                rngs=rngs,
                dtype=dtype,
                engine=engine,
                remat=remat,
                regularizer=regularizer,
                cell=cell,
                use_bias=use_bias,
            )
            self.layers.append(layer)
            self.out_features = layer.out_features
        self.dropout = check_rate("dropout", dropout)
        self.regularizer = regularizer

    @jax.numpy_rank_promotion("allow")
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
            rate = self.dropout if depth else self.regularizer.input_dropout
            inner = None
            if key is not None:
                time_axis = 1 if self.regularizer.variational else None
                xs = dropout(jax.random.fold_in(key, depth), xs, rate, time_axis)
                inner = jax.random.fold_in(key, len(self.layers) + depth)
            xs, state_of_layer = layer(
                xs, before[depth], lengths=lengths, resets=resets, key=inner
            )
            after.append(state_of_layer)
        return xs, tuple(after)
