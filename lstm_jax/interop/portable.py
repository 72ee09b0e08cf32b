"""A text generator as arrays and a few settings: what runs where there is no JAX.

`runtimes/` has what reads them: a Python file that needs NumPy alone, a file in C99,
and a page for a browser. All three have the equations of `cells/`, on one vector, and
read and write text as the model's tokenizer does.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lstm_jax.cells.gru import GRUCell
from lstm_jax.cells.lstm import LSTMCell
from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.named import check_kind
from lstm_jax.cells.protocol import Cell
from lstm_jax.cells.variant import CoupledCell, VariantCell
from lstm_jax.data.tokenizers.vocabulary import Vocabulary
from lstm_jax.decoding.autoregressive import generate_ids
from lstm_jax.errors import InputError
from lstm_jax.interop.symbols import SymbolProof, prove_symbols, symbol_settings
from lstm_jax.lm.loading import load
from lstm_jax.lm.text_model import TextModel
from lstm_jax.models.language import LanguageModel

_STEPS = 24  # that a runtime is compared over
_LARGEST_CHECK = 1 << 20  # logits that are kept for it, at most


class Generator(NamedTuple):
    """What a program is made of.

    Attributes:
        model: computes in float32.
        vocab: reads and writes text; None for a model of ids alone.
        about: what it is, for people.
    """

    model: LanguageModel
    vocab: Vocabulary | None
    about: str


class Portable(NamedTuple):
    """A text generator outside JAX.

    Attributes:
        settings: `kind` of the symbols, `symbols` by id, what else it takes to read
            and write text; `layers`, `hidden` units, `output` width, and what the
            cell is: see `take_apart`.
        arrays: `w_x0`, `w_h0`, `b0` and so on for every layer, `round0_0`...,
            `embedding` or none, `w_out` unless it is the embedding, `b_out`.
    """

    settings: dict[str, Any]
    arrays: dict[str, np.ndarray]


def read_generator(source: Path, to: str) -> Generator:
    """Load the text generator of a run, or a language model of ids.

    Args:
        source: the folder of a run.
        to: what it is to become, for messages.

    Raises:
        InputError: it is something else.
    """
    if not source.is_dir():
        raise InputError(
            f"{source}: expected the folder of a text generator for --to {to}, found "
            f"{'a file' if source.exists() else 'nothing'}"
        )
    found = load(source)
    if isinstance(found, TextModel):
        return Generator(_in_float32(found.model), found.vocab, str(found))
    members = found.spec.members
    if not isinstance(found.model, LanguageModel):
        raise InputError(
            f"--to {to}: expected a text generator, found a "
            f"{type(found.model).__name__} of {found.application}"
        )
    if members not in (None, 1):
        raise InputError(f"--to {to}: expected one network, found {members} members")
    model = jax.tree.map(lambda a: a[0], found.model) if members else found.model
    count = sum(leaf.size for leaf in jax.tree.leaves(model))
    layers = "1 layer" if len(model.layers) == 1 else f"{len(model.layers)} layers"
    layers += f" of {model.layers[0].hidden_features} units"
    about = f"{found.application}, a model of ids: {layers}, {count:,} parameters"
    return Generator(_in_float32(model), None, about)


def _in_float32(model: LanguageModel) -> LanguageModel:
    """The model with arithmetic in float32, in which parameters are kept anyway."""
    model = nnx.clone(model)
    model.dtype = jnp.dtype(jnp.float32)
    return model


def take_apart(source: Generator) -> Portable:
    """Give a text generator as arrays.

    Of the settings `cell` is "lstm" or "gru". An LSTM is a Mogrifier with `rounds`, may
    be `capped` or `coupled`, and has peepholes and a projection if there are such
    arrays; `clip` and `cell_clip` are 0 for none. A GRU may have its `reset_after` the
    product. `zoneout` has the shares of h and c that a step keeps.

    Raises:
        InputError: it has parts that runtimes do not know.
    """
    model, cell = source.model, source.model.cell
    settings = {
        **symbol_settings(source.vocab, len(model.b_out[...])),
        "layers": len(model.layers),
        "hidden": model.layers[0].hidden_features,
        "output": cell.output_size(model.layers[0].hidden_features),
        **_cell_settings(cell),
        "zoneout": [model.regularizer.zoneout_hidden, model.regularizer.zoneout_cell],
    }
    return Portable(settings, _arrays_of(model))


def _cell_settings(cell: Cell) -> dict[str, Any]:
    """What a runtime has to know of a cell besides its arrays.

    Raises:
        InputError: one that runtimes do not know.
    """
    settings: dict[str, Any] = {
        **{"cell": "lstm", "rounds": 0, "capped": False, "coupled": False},
        **{"clip": 0.0, "cell_clip": 0.0, "reset_after": True},
    }
    check_kind(cell)
    if isinstance(cell, LSTMCell):
        return settings
    if isinstance(cell, GRUCell):
        return settings | {"cell": "gru", "reset_after": cell.reset_after}
    if isinstance(cell, MogrifierCell):
        return settings | {"rounds": cell.rounds, "capped": cell.capped}
    if not isinstance(cell, VariantCell):
        raise InputError(
            f"expected an LSTM, a variant of it or a GRU, found the cell {cell.name}"
        )
    used = (cell.gate_activation, cell.candidate_activation, cell.output_activation)
    if used != ("sigmoid", "tanh", "tanh"):
        names = ", ".join(n if isinstance(n, str) else "a function" for n in used)
        raise InputError(f"expected activations sigmoid, tanh, tanh, found {names}")
    return settings | {
        "coupled": isinstance(cell, CoupledCell),
        "clip": float(cell.clip),
        "cell_clip": float(cell.cell_clip),
    }


def _arrays_of(model: LanguageModel) -> dict[str, np.ndarray]:
    """The parameters, in float32, under the names that runtimes have for them.

    Raises:
        InputError: some are no numbers.
    """
    found: dict[str, Any] = {"b_out": model.b_out, "w_out": model.w_out}
    found["embedding"] = model.embedding
    for depth, layer in enumerate(model.layers):
        held = dict(vars(layer.params))
        rounds = held.pop("rounds", ())
        held |= {f"round{n}_": matrix for n, matrix in enumerate(rounds)}
        found |= {f"{name}{depth}": array for name, array in held.items()}
        width = held["w_h"].shape[1]
        if held["b"] is None:
            found[f"b{depth}"] = np.zeros(width)
        cell = model.cell
        if isinstance(cell, GRUCell) and not cell.reset_after:
            parts = np.split(np.asarray(held["w_h"]), [width - width // 3], axis=1)
            found[f"w_h{depth}"], found[f"w_n{depth}"] = parts
    arrays = {
        name: np.asarray(array[...], np.float32)
        for name, array in found.items()
        if array is not None
    }
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"expected finite weights, found others in {name}")
    return arrays


class Proof(NamedTuple):
    """What a runtime is held to.

    Attributes:
        ids: symbols [N] to read one after the other.
        logits: [N, V], after each.
        symbols: a text, and how it is read.
    """

    ids: np.ndarray
    logits: np.ndarray
    symbols: SymbolProof


def make_proof(source: Generator) -> Proof:
    """Compute what the model itself does, for a runtime to be held to."""
    model = source.model
    size = len(model.b_out[...])
    count = max(2, min(_STEPS, _LARGEST_CHECK // size))
    start = np.arange(min(count, size), dtype=np.int32)  # whatever
    made = [np.ravel(ids) for ids in generate_ids(model, start[:2], count)]
    ids = np.concatenate(made)[:count].astype(np.int32)
    logits, _ = model(jnp.asarray(ids)[None])
    symbols = prove_symbols(source.vocab, size)
    return Proof(ids, np.asarray(logits[0], np.float32), symbols)


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
    least = np.finfo(np.float32).tiny * 127  # what is less is nothing
    scale = np.where(largest > least, largest / 127, 1).astype(np.float32)
    return Rounded(np.rint(matrix / scale).astype(np.int8), scale)


def with_rounded_weights(source: Generator) -> Generator:
    """The model whose matrices are what their eight bits stand for."""

    def again(array: jax.Array) -> jax.Array:
        return jnp.asarray(rounded(np.asarray(array)).again())

    model = jax.tree.map(lambda a: again(a) if a.ndim == 2 else a, source.model)
    return source._replace(model=model)
