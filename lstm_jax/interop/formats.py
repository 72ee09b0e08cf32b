"""What weights are converted to: one table, a line for each format.

A format says how it is made of a source, and what to tell of it. Those here hold
recurrent layers; to add one, write a function that makes it and name it in `FORMATS`.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.named import CELLS, read_cell
from lstm_jax.cells.protocol import Cell
from lstm_jax.errors import InputError
from lstm_jax.interop import exports, onnx_import, onnx_models, ours
from lstm_jax.interop.equinox import EQUINOX
from lstm_jax.interop.files import (
    READERS,
    WRITERS,
    check_installed,
    new_file,
    reading,
    refuse_existing,
)
from lstm_jax.interop.flax_linen import LINEN
from lstm_jax.interop.flax_nnx import NNX
from lstm_jax.interop.haiku import HAIKU
from lstm_jax.interop.keras import KERAS
from lstm_jax.interop.onnx import ONNX
from lstm_jax.interop.ours import OURS
from lstm_jax.interop.system import (
    Feed,
    Outcome,
    System,
    cut,
    draw,
    largest_error,
    unrolled,
)
from lstm_jax.interop.torch import TORCH
from lstm_jax.interop.weights import (
    Arrays,
    Stack,
    Weights,
    describe,
    dtype_of,
    features,
    flattened,
)
from lstm_jax.storage.checkpoints import Checkpoints
from lstm_jax.storage.files import Fields, open_regular, read_json, sha256_of

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (OURS, TORCH, KERAS, LINEN, NNX, HAIKU, EQUINOX, ONNX)
}
_TWO_BIASES = (OURS, TORCH, ONNX)  # whose LSTMs can have them; ours if it is asked to
_OWN_FILES = {".onnx": ONNX, ".keras": KERAS, ".h5": KERAS, ".hdf5": KERAS}
_DISTRIBUTIONS = {"haiku": "dm-haiku", "flax": "flax", "lstm_jax": "lstm-jax"}
TOLERANCE = 1e-4  # of what both sides compute, in float32


@dataclasses.dataclass(frozen=True)
class Request:
    """What a conversion is asked for.

    Attributes:
        source: a file, or the folder of a run.
        target: what is to be written.
        name: which layers, where the source has several.
        keep_biases: our file has both biases of an LSTM that had two.
        int8: weights of eight bits, where there is a choice.
    """

    source: Path
    target: Path
    name: str = ""
    keep_biases: bool = False
    int8: bool = False


class Format(NamedTuple):
    """Something to convert to.

    Attributes:
        about: what it is, for people.
        endings: how the names of such files end, if that says enough.
        make: writes the target and returns the lines that say what was done.
        heeds: the options of a `Request` that mean something for it.
    """

    about: str
    endings: tuple[str, ...]
    make: Callable[[Request], list[str]]
    heeds: frozenset[str] = frozenset()


class Found(NamedTuple):
    """Layers that a file has: their system, arrays, name, and what else there is."""

    system: System
    stack: Stack[Arrays]
    name: str
    rest: list[str]

    def weights(self) -> Weights:
        """The layers in the common form, checked."""
        return self.system.read(self.stack, self.name or "layers")


def find_layers(source: Path, name: str = "") -> Found:
    """Find the recurrent layers in a file of any system, or in the folder of a run.

    Args:
        source: the file or folder.
        name: of the layers, where there are several.

    Raises:
        InputError: there are none, or several; or the file is damaged.
    """
    path, cell = (source, None) if not source.is_dir() else _model_file(source)
    ending = path.suffix.lower()
    if ending not in READERS:
        known = ", ".join(READERS)
        raise InputError(f"{source}: expected a file in {known}, found {path.name}")
    check_installed(path)
    with reading(path, f"weights in a {ending} file"):
        payload = READERS[ending](path)
        if cell is not None:
            payload = ours.marked(payload, cell)
        own = _OWN_FILES.get(ending)
        systems = (
            [own] if own else [s for s in SYSTEMS.values() if s not in (KERAS, ONNX)]
        )
        return choose(payload, systems, name)


def choose(payload: Any, systems: Iterable[System], name: str = "") -> Found:  # noqa: ANN401
    """Find the layers of the first system that has any in this.

    Raises:
        InputError: there are none, or several and none is named.
    """
    for system in systems:
        stacks = system.find(payload)
        if not stacks:
            continue
        named = {key: stack for key, stack in stacks.items() if name in (key, "")}
        if len(named) != 1:
            wanted = f"the layers {name!r}" if name else "one stack of layers"
            found = ", ".join(
                repr(key) if key else "layers without a name" for key in stacks
            )
            raise InputError(f"--name: expected {wanted}, found {found}")
        key, stack = named.popitem()
        return Found(system, stack, key, _left_out(payload, stack))
    raise InputError(f"expected LSTM or GRU layers, found {_contents(payload)}")


def _contents(payload: Any) -> str:  # noqa: ANN401
    """Name a few of the things that are there instead."""
    if isinstance(payload, Mapping):
        names = list(flattened(payload))
    elif isinstance(payload, Sequence):
        names = [record.class_name for record in payload]
    else:
        names = sorted({node.op_type for node in payload.graph.node})
    more = ", ..." if len(names) > 5 else ""
    return ", ".join(names[:5]) + more if names else "nothing"


def _left_out(payload: Any, stack: Stack[Arrays]) -> list[str]:  # noqa: ANN401
    """What is there besides the layers."""
    arrays = {id(a) for layer in stack.layers for one in layer for a in one.values()}
    if isinstance(payload, Mapping):
        return [n for n, array in flattened(payload).items() if id(array) not in arrays]
    if isinstance(payload, Sequence):
        return [
            str(record.config.get("name", record.class_name))
            for record in payload
            if not {id(a) for a in record.weights} & arrays
        ]
    other = (node.op_type for node in payload.graph.node)
    return [kind for kind in dict.fromkeys(other) if kind not in ("LSTM", "GRU")]


def _model_file(folder: Path) -> tuple[Path, Cell | None]:
    """The parameters of the best checkpoint of a run, once their checksum is right.

    Returns:
        Their file, and the cell of the run's network, if it has a choice.

    Raises:
        InputError: there is none, or it is damaged; or its layers do what their arrays
            do not tell.
    """
    checkpoints = folder / "checkpoints"
    with contextlib.closing(Checkpoints(checkpoints)) as kept:
        path = checkpoints / str(kept.latest().best_step) / "model.safetensors"
    settings = read_json(folder / "config.json", "its settings")
    if rates := sorted(_zoneout_in(settings)):
        raise InputError(
            f"{folder}: expected layers without zoneout, which acts in evaluation too, "
            f"found {' and '.join(rates)}"
        )
    with reading(folder / "config.json", "the settings of a run"):
        cell = _cell_in(settings)
        if cell is not None:
            ours.refuse_hidden_settings(cell)
    record = read_json(path.with_name("record.json"), "the record of a checkpoint")
    with reading(path, "the parameters of a run"), open_regular(path) as file:
        if sha256_of(file) != record["files"][path.name]:
            raise InputError("expected the checksum in record.json, found another")
    return path, cell


def _cell_in(settings: Fields) -> Cell | None:
    """The cell of a run: of the text generator, or of an application's network."""
    model = settings["model"]
    if "application" in settings:
        cell = read_cell(model["arguments"].get("cell", "lstm"))
        return CELLS.get(cell) if isinstance(cell, str) else cell
    if model.get("capped_gate") or model.get("mogrifier"):
        rounds = model.get("mogrifier", 0)
        return MogrifierCell(rounds, capped=bool(model.get("capped_gate")))
    return CELLS[model.get("cell", "lstm")]


def _zoneout_in(settings: object) -> set[str]:
    """The rates of zoneout that settings have, by name, wherever they stand."""
    if isinstance(settings, list):
        return {name for each in settings for name in _zoneout_in(each)}
    if not isinstance(settings, dict):
        return set()
    inside = {name for value in settings.values() for name in _zoneout_in(value)}
    own = {n for n in ("zoneout_hidden", "zoneout_cell") if settings.get(n)}
    return inside | own


def write_layers(system: System, request: Request) -> list[str]:
    """Convert layers to a file of a system, with proof.

    Raises:
        InputError: the source has no layers that the system can hold, the target is
            there, or the two do not compute the same.
    """
    refuse_existing(request.target)
    ending = request.target.suffix.lower()
    if not request.target.name.lower().endswith(tuple(endings_of(system))):
        known = " or ".join(endings_of(system))
        raise InputError(
            f"{request.target}: expected a name in {known} for {system.title}, found "
            f"{request.target.name}"
        )
    check_installed(request.target)
    found = find_layers(request.source, request.name)
    with reading(request.source, f"weights for {system.title}"):
        weights = found.weights()
        stack = system.write(weights)
    if system is OURS and request.keep_biases:
        if weights.style.kind == "gru":
            raise InputError(
                "--keep-biases: expected LSTMs, found GRUs, of whose biases ours has "
                "one, and b_hn within the reset"
            )
        stack = weights.map(lambda one: ours.outward_apart(weights.style, one))
    with new_file(request.target) as draft:
        WRITERS[ending](draft, system.assemble(stack))
        written = find_layers(draft)
        error = prove(found, written)
    lines = [f"{found.system.title}: {describe(weights)}"]
    if request.source.name.lower().endswith(".weights.h5"):
        lines.append(
            "no configuration in the file: the layers are taken to lie on top of each "
            "other, with the activations that Keras has as defaults"
        )
    two = any(len(row) == 2 for row in weights.layers)
    if request.source.name.lower().endswith(".eqx") and two:
        lines.append(
            "no names in the file: two cells of equal sizes are taken to be the "
            "directions of a layer"
        )
    if found.rest:
        lines.append(f"left out: {', '.join(found.rest)}")
    sides = " and ".join(map(_side, (found.system, written.system)))
    return [
        *lines,
        f"{system.title}: {request.target}",
        f"largest error {error:.1e} between {sides}, over outputs and last states of "
        "random ragged rows with initial states",
    ]


def prove(one: Found, other: Found) -> float:
    """Run both on the same random input, and compare outputs and last states.

    Returns:
        The largest error, over max(1, the value).

    Raises:
        InputError: it is too large: the conversion is wrong.
    """
    weights, again = one.weights(), other.weights()
    if _shape(weights) != _shape(again):
        raise InputError(
            f"expected the same layers in {other.system.title}, found "
            f"{describe(weights)} to be {describe(again)}"
        )
    feed = draw(weights)
    error = largest_error(outcome(one, feed), outcome(other, feed))
    allowed = max(TOLERANCE, 4 * float(jnp.finfo(dtype_of(weights)).eps))
    if not error <= allowed:
        raise InputError(
            f"expected {one.system.title} and {other.system.title} to compute the same "
            f"up to {allowed:.0e}, found an error of {error:.1e}"
        )
    return error


def can_hold(system: System, weights: Weights) -> bool:
    """Whether a system has layers of this kind."""
    return features(weights) <= system.holds


def agreement(system: System, weights: Weights) -> float:
    """Run weights in a system and in our layers, and compare as `prove` does.

    Returns:
        The largest error, over max(1, the value).

    Raises:
        InputError: one of the two can't hold them, or they do not agree.
    """
    mine = Found(OURS, OURS.write(weights), "", [])
    return prove(Found(system, system.write(weights), "", []), mine)


def _shape(weights: Weights) -> list[list[tuple[int, int, int]]]:
    """The sizes of every layer and direction."""
    return [[one.sizes for one in layer] for layer in weights.layers]


def outcome(found: Found, feed: Feed) -> Outcome:
    """What layers make of an input: in their library, or else by its equations."""
    stack = found.stack.map(
        lambda arrays: {name: a.astype(np.float32) for name, a in arrays.items()}
    )
    if not found.system.installed:
        return unrolled(found.system.step, stack, feed)
    return cut(found.system.run(stack, feed), feed.lengths)


def _side(system: System) -> str:
    """Who computed one side."""
    if not system.installed:
        return f"{system.title}'s equations in NumPy"
    name = _DISTRIBUTIONS.get(system.library, system.library)
    return f"{system.title} {metadata.version(name)}".replace("ONNX", "ONNX Runtime")


def endings_of(system: System) -> list[str]:
    """How the names of files may end that a system's layers are written to."""
    if system in _OWN_FILES.values():
        return list(FORMATS[system.name].endings)
    arrays = [".safetensors", ".npz"]
    special = {"torch": [".pt", ".pth", ".bin"], "equinox": [".eqx"]}
    if system in (LINEN, NNX):
        arrays.append(".msgpack")
    return [*special.get(system.name, []), *arrays]


def _layers(system: System, about: str, *endings: str) -> Format:
    two = {"keep_biases"} if system in _TWO_BIASES else set()
    make = functools.partial(write_layers, system)
    return Format(about, endings, make, frozenset({"name"} | two))


# What `--to` knows, by name.
FORMATS: dict[str, Format] = {
    "lstm_jax": _layers(OURS, "our layers", ".safetensors"),
    "torch": _layers(TORCH, "a state dict of PyTorch", ".pt", ".pth", ".bin"),
    "keras": _layers(KERAS, "a model or weights of Keras 3", ".keras", ".weights.h5"),
    "linen": _layers(LINEN, "parameters of Flax linen"),
    "nnx": _layers(NNX, "parameters of Flax NNX"),
    "haiku": _layers(HAIKU, "parameters of Haiku"),
    "equinox": _layers(EQUINOX, "cells of Equinox", ".eqx"),
    "onnx": _layers(ONNX, "operators of ONNX", ".onnx"),
    "onnx-model": Format(
        "the whole network of a run as an ONNX graph",
        (),
        lambda request: onnx_models.write_model(request.source, request.target),
    ),
    "run": Format(
        "a run directory of the whole network of an ONNX graph",
        (),
        lambda request: onnx_import.read_model(request.source, request.target),
    ),
    "numpy": Format(
        "a text generator in NumPy, a folder",
        (),
        lambda request: exports.write_numpy(request.source, request.target),
    ),
    "c": Format(
        "a text generator in C99, one file",
        (".c",),
        lambda request: exports.write_c(request.source, request.target, request.int8),
        frozenset({"int8"}),
    ),
    "html": Format(
        "a page that generates text in a browser",
        (".html",),
        lambda request: exports.write_html(request.source, request.target),
        frozenset({"int8"}),  # it has them always
    ),
    "stablehlo": Format(
        "a text generator for JAX alone, serialized",
        (".stablehlo",),
        lambda request: exports.write_stablehlo(request.source, request.target),
    ),
}


def convert_file(
    source: Path,
    target: Path,
    to: str = "",
    *,
    name: str = "",
    keep_biases: bool = False,
    int8: bool = False,
) -> list[str]:
    """Convert recurrent layers, or a text generator, to something else, with proof.

    Args:
        source: a file of any system, or the folder of a run of ours.
        target: the file to be written; nothing is there yet.
        to: a name of `FORMATS`; "" if the target's ending says it, or for a run
            directory of an ONNX graph.
        name: which layers, where the source has several.
        keep_biases: our file has both biases of an LSTM that had two.
        int8: weights of eight bits, for C.

    Returns:
        Lines that say what was converted, and the largest error between both.

    Raises:
        InputError: it can't be done, and why; nothing is written then.
    """
    ends_as = target.name.lower().endswith
    fitting = [key for key, each in FORMATS.items() if ends_as(each.endings)]
    if not fitting and onnx_import.is_graph(source) and not _systems_for(target):
        fitting = ["run"]
    to = to or next(iter(fitting), "")
    if to not in FORMATS:
        raise InputError(_unknown_format(to, target))
    request = Request(source, target, name, keep_biases, int8)
    for option in ("name", "keep_biases", "int8"):
        if getattr(request, option) and option not in FORMATS[to].heeds:
            able = [key for key, each in FORMATS.items() if option in each.heeds]
            flag = f"--{option.replace('_', '-')}"
            raise InputError(f"{flag}: expected --to {' or '.join(able)}, found {to}")
    return FORMATS[to].make(request)


def _unknown_format(to: str, target: Path) -> str:
    """What to say of a format that there is not, or of an ending that says too little.

    Args:
        to: what was asked for, or nothing.
        target: the file to be written.
    """
    if to:
        return f"--to: expected one of {', '.join(FORMATS)}, found {to}"
    known = " or ".join(_systems_for(target)) or f"one of {', '.join(FORMATS)}"
    return f"--to: expected {known} for {target.name}, found nothing"


def _systems_for(target: Path) -> list[str]:
    """The systems that have files with such an ending."""
    ends_as = target.name.lower().endswith
    return [n for n, each in SYSTEMS.items() if ends_as(tuple(endings_of(each)))]
