"""When the symbols of a language model are made by one call of the engine `native`.

Its loop has no traces of XLA's, whose fixed cost per operation is what a symbol of a
small model takes. It knows layers of the textbook LSTM and of the Mogrifier in
float32, on one CPU device, and the choices of the highest score and of a draw at some
temperature.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.cells.lstm import LSTMCell
from lstm_jax.cells.mogrifier import MogrifierCell, MogrifierParams
from lstm_jax.decoding.sampling import SamplingFlags
from lstm_jax.engines.devices import current_platform
from lstm_jax.engines.native.build import why_not_built
from lstm_jax.engines.native.stack import Stack
from lstm_jax.models.language import LanguageModel
from lstm_jax.nn.layers import LSTM
from lstm_jax.ops.matmul import factor_dtype

_ENGINES = ("auto", "native")


def stack_of(model: LanguageModel, flags: SamplingFlags | None = None) -> Stack | None:
    """The weights of a model, if the engine `native` can read and write by them.

    Args:
        model: the model.
        flags: how symbols are chosen; None if some are only read.
    """
    # A subclass may do anything in a step, one of a cell too.
    if type(model) is not LanguageModel or current_platform() != "cpu":
        return None
    if flags is not None and not flags.plain:
        return None
    if not _is_plain(model) or why_not_built() is not None:
        return None
    stack = Stack(
        tuple(map(_params, model.layers)),
        _array(model.embedding),
        _array(model.w_out),
        model.b_out.get_raw_value(),
        capped=getattr(model.cell, "capped", False),
    )
    leaves = jax.tree.leaves(stack)
    return stack if all(map(_is_at_hand, leaves)) else None


def _params(layer: LSTM) -> MogrifierParams:
    """The weights of a layer; a textbook LSTM is a Mogrifier of no rounds."""
    rounds = tuple(map(_array, getattr(layer, "rounds", ())))
    return MogrifierParams(
        _array(layer.w_x), _array(layer.w_h), _array(layer.b), rounds
    )


def _array(param: Any) -> Any:  # noqa: ANN401
    """What a parameter holds, without what else indexing one asks: the time counts."""
    return None if param is None else param.get_raw_value()


def on_one_device(tree: object) -> bool:
    """Whether each of these arrays lies on one device; NumPy's do, and no tracer."""
    return all(
        not isinstance(leaf, jax.core.Tracer) and len(leaf.devices()) == 1
        for leaf in jax.tree.leaves(tree)
        if isinstance(leaf, jax.Array)
    )


def _is_plain(model: LanguageModel) -> bool:
    """Whether a step of the model is one that the engine knows, in float32."""
    rates = model.regularizer
    return (
        type(model.cell) in (LSTMCell, MogrifierCell)
        and model.dtype == jnp.float32 == factor_dtype(jnp.float32)
        and not (rates.zoneout_hidden or rates.zoneout_cell)
        and all(layer.engine in _ENGINES for layer in model.layers)
    )


def _is_at_hand(array: object) -> bool:
    """Whether it is an array of float32, of NumPy or on one device, and no tracer."""
    return (
        isinstance(array, jax.Array | np.ndarray)
        and array.dtype == jnp.float32
        and on_one_device(array)
    )
