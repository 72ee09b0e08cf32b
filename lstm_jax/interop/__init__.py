"""Recurrent layers of other systems as ours, and ours as theirs, with proof."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.interop.activations import Activation as Activation
    from lstm_jax.interop.equinox import EQUINOX as EQUINOX
    from lstm_jax.interop.flax_linen import LINEN as LINEN
    from lstm_jax.interop.flax_nnx import NNX as NNX
    from lstm_jax.interop.formats import FORMATS as FORMATS
    from lstm_jax.interop.formats import SYSTEMS as SYSTEMS
    from lstm_jax.interop.formats import agreement as agreement
    from lstm_jax.interop.formats import can_hold as can_hold
    from lstm_jax.interop.formats import convert_file as convert_file
    from lstm_jax.interop.formats import endings_of as endings_of
    from lstm_jax.interop.haiku import HAIKU as HAIKU
    from lstm_jax.interop.keras import KERAS as KERAS
    from lstm_jax.interop.layers import from_equinox as from_equinox
    from lstm_jax.interop.layers import from_haiku as from_haiku
    from lstm_jax.interop.layers import from_keras as from_keras
    from lstm_jax.interop.layers import from_linen as from_linen
    from lstm_jax.interop.layers import from_nnx as from_nnx
    from lstm_jax.interop.layers import from_onnx as from_onnx
    from lstm_jax.interop.layers import from_torch as from_torch
    from lstm_jax.interop.layers import read_layers as read_layers
    from lstm_jax.interop.layers import to_equinox as to_equinox
    from lstm_jax.interop.layers import to_haiku as to_haiku
    from lstm_jax.interop.layers import to_keras as to_keras
    from lstm_jax.interop.layers import to_linen as to_linen
    from lstm_jax.interop.layers import to_nnx as to_nnx
    from lstm_jax.interop.layers import to_onnx as to_onnx
    from lstm_jax.interop.layers import to_torch as to_torch
    from lstm_jax.interop.onnx import ONNX as ONNX
    from lstm_jax.interop.torch import TORCH as TORCH
    from lstm_jax.interop.weights import Direction as Direction
    from lstm_jax.interop.weights import Stack as Stack
    from lstm_jax.interop.weights import Style as Style
    from lstm_jax.interop.weights import bias_of as bias_of
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
