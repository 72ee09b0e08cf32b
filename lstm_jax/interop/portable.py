"""A text generator as arrays and a few settings: what runs where there is no JAX.

`runtimes/` has what reads them: a Python file that needs NumPy alone, a file in C99,
and a page for a browser. All three have the equations of `cells/lstm.py`, with the
rounds of `cells/mogrifier.py`, on one vector.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.decoding.autoregressive import generate_ids
from lstm_jax.errors import InputError
from lstm_jax.lm.loading import load
from lstm_jax.lm.text_model import TextModel
from lstm_jax.models.language import LanguageModel

_STEPS = 24  # that a runtime is compared over
_LARGEST_CHECK = 1 << 20  # logits that are kept for it, at most


class Portable(NamedTuple):
    """A text generator outside JAX.

    Attributes:
        settings: `kind` ("char" or "byte"), `symbols` by id, `layers`, `hidden`,
            `rounds` of a Mogrifier, and whether input gates are `capped`.
        arrays: `w_x0`, `w_h0`, `b0` and so on for every layer, `round0_0`...,
            `embedding` or none, `w_out`, `b_out`.
    """

    settings: dict[str, Any]
    arrays: dict[str, np.ndarray]


def portable(source: Path, to: str) -> tuple[TextModel, Portable]:
    """Load the text generator of a run and take it apart.

    Args:
        source: the folder of a run.
        to: what it is to become, for messages.

    Raises:
        InputError: it is something else, or has parts that runtimes do not know.
    """
    if not source.is_dir():
        raise InputError(
            f"{source}: expected the folder of a text generator for --to {to}, found "
            f"{'a file' if source.exists() else 'nothing'}"
        )
    trained = load(source)
    if not isinstance(trained, TextModel):
        found = type(trained).__name__
        raise InputError(f"--to {to}: expected a text generator, found a {found}")
    return trained, take_apart(trained)


def take_apart(trained: TextModel) -> Portable:
    """Give a text generator as arrays.

    Raises:
        InputError: it has parts that runtimes do not know.
    """
    model, vocab = trained.model, trained.vocab
    if not isinstance(vocab, CharTokenizer):
        raise InputError("expected a model of characters or bytes, found one of tokens")
    _refuse_unknown_parts(model)
    arrays: dict[str, np.ndarray] = {
        "w_out": np.asarray(model.w_out[...], np.float32),
        "b_out": np.asarray(model.b_out[...], np.float32),
    }
    if model.embedding is not None:
        arrays["embedding"] = np.asarray(model.embedding[...], np.float32)
    for depth, layer in enumerate(model.layers):
        params = layer.params
        b = jnp.zeros(params.w_h.shape[1]) if params.b is None else params.b
        parts = {"w_x": params.w_x, "w_h": params.w_h, "b": b}
        for n, matrix in enumerate(getattr(params, "rounds", ())):
            parts[f"round{n}_"] = matrix
        for name, array in parts.items():
            arrays[f"{name}{depth}"] = np.asarray(array, np.float32)
    symbols = ["\ufffd", *vocab.characters] if vocab.kind == "char" else []
    settings = {
        "kind": vocab.kind,
        "symbols": symbols,
        "layers": len(model.layers),
        "hidden": model.layers[0].hidden_features,
        "rounds": getattr(model.cell, "rounds", 0),
        "capped": getattr(model.cell, "capped", False),
    }
    return Portable(settings, arrays)


def _refuse_unknown_parts(model: LanguageModel) -> None:
    rates = model.regularizer
    if model.cell.name not in ("lstm", "mogrifier"):
        raise InputError(f"expected cells lstm or mogrifier, found {model.cell.name}")
    if rates.zoneout_hidden or rates.zoneout_cell:
        raise InputError("expected a model without zoneout, found one with it")
    widths = {layer.hidden_features for layer in model.layers}
    if len(widths) > 1 or model.cell.output_size(1) != 1:
        raise InputError("expected layers of one width, without projections")


class Proof(NamedTuple):
    """Symbols [N] to read one after the other, and the logits [N, V] after each."""

    ids: np.ndarray
    logits: np.ndarray


def make_proof(trained: TextModel) -> Proof:
    """What the model itself computes, for a runtime to be held to."""
    model = trained.model
    count = max(2, min(_STEPS, _LARGEST_CHECK // len(trained.vocab)))
    start = np.arange(min(count, len(trained.vocab)), dtype=np.int32)  # whatever
    made = [np.ravel(ids) for ids in generate_ids(model, start[:2], count)]
    ids = np.concatenate(made)[:count].astype(np.int32)
    logits, _ = model(jnp.asarray(ids)[None])
    return Proof(ids, np.asarray(logits[0], np.float32))


class Rounded(NamedTuple):
    """A matrix of eight bits: `whole` [D, N] times `scale` [N]."""

    whole: np.ndarray
    scale: np.ndarray

    def again(self) -> np.ndarray:
        """What it stands for."""
        return self.whole.astype(np.float32) * self.scale


def rounded(matrix: np.ndarray) -> Rounded:
    """Round the numbers of a matrix to eight bits, column by column."""
    largest = np.abs(matrix).max(axis=0)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return Rounded(np.rint(matrix / scale).astype(np.int8), scale)


def with_rounded_weights(trained: TextModel) -> TextModel:
    """The model whose matrices are what their eight bits stand for."""

    def again(array: jax.Array) -> jax.Array:
        return jnp.asarray(rounded(np.asarray(array)).again())

    model = jax.tree.map(lambda a: again(a) if a.ndim == 2 else a, trained.model)
    return dataclasses.replace(trained, model=model)
