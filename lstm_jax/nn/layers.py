"""Flax (NNX) faces of the recurrence: `LSTM`, `Bidirectional`, `StackedLSTM`.

The modules hold nothing but parameters and sizes, so `jax.jit`, `jax.grad`,
`jax.vmap`, `jax.lax.scan` and optax take them as the plain pytrees they are. Dropout
asks for a key and is absent without one: no hidden random state, no train/eval mode.

Batch-major, [*batch, T, D], as Flax layers are; the recurrence below is time-major.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.named import as_cell
from lstm_jax.cells.noise import LoopMasks
from lstm_jax.cells.protocol import Cell, Params, State
from lstm_jax.config import PLAIN, RegularizerConfig, check_bounds
from lstm_jax.engines.dispatch import check_engine_name
from lstm_jax.nn.arguments import read_sequences, read_states
from lstm_jax.nn.forgotten_key import without_noise
from lstm_jax.nn.recurrence import Way, unroll_sequences
from lstm_jax.nn.regularizers import (
    check_rate,
    drop_connect,
    dropout,
    loop_masks,
)
from lstm_jax.typing import (
    AnyFlags,
    AnyLengths,
    LayerHidden,
    LayerInputs,
    PRNGKey,
    Size,
)

Held = Any  # an nnx.Param, an nnx.List of them, or None
Merge = Literal["concat", "sum", "mul", "ave", "none"]


class LayerOptions(TypedDict, total=False):
    """What every layer takes besides its sizes; see `LSTM`."""

    dtype: DTypeLike
    engine: str
    remat: bool
    cell: Cell | str
    use_bias: bool
    kernel_init: Initializer | None
    recurrent_init: Initializer | None
    bias_init: Initializer | None


class LSTM(nnx.Module):
    """One layer over sequences [*batch, T, D]: the textbook LSTM, or any other cell.

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
        kernel_init: draws each gate's block of `w_x`, [D, H], in the place of what the
            cell's `init` has: a function of a key, a shape and a type, such as
            `jax.nn.initializers` has.
        recurrent_init: the same for `w_h`, [H, H] by gate.
        bias_init: the same for the biases, [H] by gate; a forget bias of 1 goes too.

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
        kernel_init: Initializer | None = None,
        recurrent_init: Initializer | None = None,
        bias_init: Initializer | None = None,
    ) -> None:
        self.cell = as_cell(cell)
        self.hidden_features = hidden_features
        self.out_features = self.cell.output_size(hidden_features)
        params = self.cell.init(rngs.params(), in_features, hidden_features, dtype)
        inits = dict.fromkeys(self.cell.biases, bias_init)
        inits |= {"w_x": kernel_init, "w_h": recurrent_init}
        for name, value in vars(params).items():
            init = inits.get(name)
            if not use_bias and name in self.cell.biases:
                value = None
            elif init is not None and value is not None:
                value = _drawn(init, rngs.params(), value, params.w_h, self.cell)
            setattr(self, name, _kept(value))
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
        xs: LayerInputs,
        state: State | None = None,
        *,
        lengths: AnyLengths | None = None,
        mask: AnyFlags | None = None,
        resets: AnyFlags | None = None,
        reverse: bool = False,
        key: PRNGKey | None = None,
    ) -> tuple[LayerHidden, State]:
        """Outputs [*batch, T, H] and the last state; the arguments are those of `lstm`.

        Only that time comes after the batch in `mask` and `resets` too. Without a key
        there is no noise.
        """
        params = self.params
        input_size, _ = self.cell.sizes(params)
        given = read_sequences(
            type(self).__name__,
            xs,
            input_size,
            lengths=lengths,
            mask=mask,
            resets=resets,
            time_last=True,
        )
        w_h, masks = self.regularize(key, params.w_h, given.inputs.shape[:2])
        outcome = unroll_sequences(
            self.cell,
            dataclasses.replace(params, w_h=w_h),
            given,
            state,
            Way(reverse, self.engine, self.remat, masks),
        )
        noisy = self.regularizer.in_loop or self.regularizer.weight_drop
        return without_noise("LSTM", outcome) if noisy and key is None else outcome

    def regularize(
        self, key: PRNGKey | None, w_h: jax.Array, steps: tuple[Size, ...]
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


def _drawn(
    init: Initializer, key: PRNGKey, like: jax.Array, w_h: jax.Array, cell: Cell
) -> jax.Array:
    """An array drawn anew, block by block as `w_h` has them."""
    units = w_h.shape[-1] // len(cell.blocks)
    keys = jax.random.split(key, like.shape[-1] // units)
    blocks = [init(each, (*like.shape[:-1], units), jnp.float32) for each in keys]
    return jnp.concatenate(blocks, axis=-1).astype(like.dtype)


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
    """Two layers, one reading each way.

    Args:
        in_features: D, the width of the inputs.
        hidden_features: H, the width of each direction.
        rngs: as for `LSTM`.
        merge: how the two outputs become one: side by side, [*batch, T, 2H], or their
            "sum", product ("mul") or mean ("ave"), [*batch, T, H]; with "none" they
            are returned as a pair.
        regularizer: as for `LSTM`.
        options: as for `LSTM`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        rngs: nnx.Rngs,
        merge: Merge = "concat",
        regularizer: RegularizerConfig = PLAIN,
        **options: Unpack[LayerOptions],
    ) -> None:
        if merge not in get_args(Merge):
            known = ", ".join(get_args(Merge))
            raise ValueError(f"merge: expected one of {known}, found {merge!r}")
        sizes, rest = (in_features, hidden_features), {"regularizer": regularizer}
        self.forward = LSTM(*sizes, rngs=rngs, **rest, **options)
        self.backward = LSTM(*sizes, rngs=rngs, **rest, **options)
        self.merge = merge
        self.out_features = self.forward.out_features * (2 if merge == "concat" else 1)

    @jax.numpy_rank_promotion("allow")
    def __call__(
        self,
        xs: LayerInputs,
        state: State | None = None,
        *,
        lengths: AnyLengths | None = None,
        mask: AnyFlags | None = None,
        resets: AnyFlags | None = None,
        key: PRNGKey | None = None,
    ) -> tuple[LayerHidden | tuple[LayerHidden, LayerHidden], tuple[State, State]]:
        """Outputs [*batch, T, 2H] and each direction's last state, forward first.

        `state` is such a pair.
        """
        before = read_states("Bidirectional", state, 2, "direction")
        keys = (None, None) if key is None else jax.random.split(key)
        options = {"lengths": lengths, "mask": mask, "resets": resets}
        ahead, last = self.forward(xs, before[0], key=keys[0], **options)
        back, first = self.backward(xs, before[1], reverse=True, key=keys[1], **options)
        return _merged(self.merge, ahead, back), (last, first)


def _merged(
    merge: Merge, ahead: jax.Array, back: jax.Array
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """The outputs of two directions as one, or as a pair."""
    match merge:
        case "concat":
            return jnp.concatenate([ahead, back], axis=-1)
        case "sum":
            return ahead + back
        case "mul":
            return ahead * back
        case "ave":
            return (ahead + back) / 2
        case _:
            return ahead, back


class StackedLSTM(nnx.Module):
    """Layers on top of each other, with dropout between them.

    Args:
        in_features: D, the width of the inputs.
        hidden_features: H, the width of every layer, or a sequence of widths, one for
            each.
        num_layers: how many; it may be left out where the widths say it.
        dropout: the share of activations dropped between layers, at each step anew.
        bidirectional: every layer reads both ways, and is 2H wide.
        merge: as for `Bidirectional`, but not "none".
        residual: every layer but the first adds what it read to what it makes (Wu et
            al. 2016); dropout is not applied to what is added.
        regularizer: as for `LSTM`; besides, `input_dropout` is the share dropped of
            what the first layer reads, and `variational` masks serve all steps.
        options: as for `LSTM`, of every layer.

    Attributes:
        out_features: the width of the top layer's outputs.

    Raises:
        ValueError: no layer, or widths that do not fit what is asked for.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int | Sequence[int],
        num_layers: int | None = None,
        *,
        rngs: nnx.Rngs,
        dropout: float = 0.0,
        bidirectional: bool = False,
        merge: Merge = "concat",
        residual: bool = False,
        regularizer: RegularizerConfig = PLAIN,
        **options: Unpack[LayerOptions],
    ) -> None:
        if merge == "none":
            raise ValueError("StackedLSTM: expected outputs that merge, found 'none'")
        rest: dict[str, Any] = {"rngs": rngs, "regularizer": regularizer, **options}
        self.layers = nnx.List()
        self.out_features = in_features
        for width in _widths(hidden_features, num_layers):
            below = self.out_features
            if bidirectional:
                layer = Bidirectional(below, width, merge=merge, **rest)
            else:
                layer = LSTM(below, width, **rest)
            self.out_features = layer.out_features
            if residual and self.layers and self.out_features != below:
                raise ValueError(
                    "StackedLSTM: expected layers of one width for residual "
                    f"connections, found {self.out_features} above {below}"
                )
            self.layers.append(layer)
        self.residual = residual
        self.dropout = check_rate("dropout", dropout)
        self.regularizer = regularizer

    @jax.numpy_rank_promotion("allow")
    def __call__(
        self,
        xs: LayerInputs,
        state: State | None = None,
        *,
        lengths: AnyLengths | None = None,
        mask: AnyFlags | None = None,
        resets: AnyFlags | None = None,
        key: PRNGKey | None = None,
    ) -> tuple[LayerHidden, tuple]:
        """The top layer's outputs and every layer's state. No key, no dropout.

        `state` is a tuple with that of every layer.
        """
        before = read_states("StackedLSTM", state, len(self.layers), "layer")
        options = {"lengths": lengths, "mask": mask, "resets": resets}
        ys, after = jnp.asarray(xs), []
        for depth, layer in enumerate(self.layers):
            below, inner = ys, None
            if key is not None:
                rate = self.dropout if depth else self.regularizer.input_dropout
                time_axis = -2 if self.regularizer.variational else None
                ys = dropout(jax.random.fold_in(key, depth), ys, rate, time_axis)
                inner = jax.random.fold_in(key, len(self.layers) + depth)
            ys, state_of_layer = layer(ys, before[depth], key=inner, **options)
            ys = ys + below if self.residual and depth else ys
            after.append(state_of_layer)
        outcome = ys, tuple(after)
        noisy = self.regularizer.input_dropout or (self.dropout and len(after) > 1)
        forgotten = noisy and key is None
        return without_noise("StackedLSTM", outcome) if forgotten else outcome


def _widths(hidden: int | Sequence[int], count: int | None) -> tuple[int, ...]:
    """The width of every layer."""
    if not isinstance(hidden, Sequence):
        if count is None:
            raise ValueError("StackedLSTM: expected num_layers, or a width for each")
        hidden = (hidden,) * count
    elif count not in (None, len(hidden)):
        raise ValueError(
            f"StackedLSTM: expected {count} widths, one for each layer, "
            f"found {len(hidden)}"
        )
    if not hidden:
        raise ValueError("StackedLSTM: expected 1 layer or more, got 0")
    return tuple(hidden)
