"""A whole network read back from its ONNX graph, as a run directory.

The metadata of a graph says which network it is and holds its tokenizers. That network,
not yet filled, is made a graph again; the file's has to be the same, node by node and
constant by constant, but for the weights, and those are read from the file. So the
metadata decide nothing that the graph does not say itself, and a graph that computes
anything else is refused.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lstm_jax.data.tokenizers.saved import load_tokenizer
from lstm_jax.errors import InputError
from lstm_jax.interop import ours
from lstm_jax.interop.files import (
    check_installed,
    new_file,
    read_onnx,
    reading,
    refuse_existing,
)
from lstm_jax.interop.onnx import ONNX
from lstm_jax.interop.onnx_graph import Graph, LayerWeights
from lstm_jax.interop.onnx_models import ENDING, kind_of, prove, subject_in
from lstm_jax.interop.onnx_networks import subject_of
from lstm_jax.interop.onnx_records import RunRecord, read_record
from lstm_jax.interop.onnx_structure import check_structure, constants_of
from lstm_jax.interop.onnx_translator import DECODER, ENCODER
from lstm_jax.interop.weights import Arrays
from lstm_jax.lm.loading import load
from lstm_jax.lm.run_directory import RunDirectory
from lstm_jax.lm.task import build_model
from lstm_jax.lm.text_model import TextModel, save
from lstm_jax.models.forecaster import ForecastModel
from lstm_jax.models.saved import read_spec, save_model
from lstm_jax.ops.seeds import seed_key
from lstm_jax.storage.files import Fields, write_json
from lstm_jax.typing import Model

# Which argument of a network says how many symbols a tokenizer may have.
_SYMBOLS = {
    "tokenizer.json": "vocab_size",
    "source.json": "source_size",
    "target.json": "target_size",
}


def read_model(source: Path, target: Path) -> list[str]:
    """Rebuild a network from its graph, as a run directory that `load` opens.

    Args:
        source: a file that `--to onnx-model` wrote; or, of an encoder-decoder, the
            folder with both.
        target: the folder to be made; nothing is there yet.

    Returns:
        Lines that say what was read, and the largest error beside ONNX Runtime.

    Raises:
        InputError: it is no such graph, and where it differs; nothing is written then.
    """
    refuse_existing(target)
    paths = _files_of(source)
    models = {}
    for part, path in paths.items():
        check_installed(path)
        with reading(path, "an ONNX graph"):
            models[part] = read_onnx(path)
            _check_part(read_record(models[part]), part)
    with reading(source, "the graph of a network"):
        record = _same_record(models)
        plan = _plan_of(record)
        network = _filled(plan, models)
    with new_file(target) as draft:
        plan.keep(network, draft)
        subject = subject_in(load(draft))
        with reading(source, "the graph of a network"):
            proof = prove(kind_of(subject.network), subject, list(paths.values()))
    count = sum(leaf.size for leaf in jax.tree.leaves(network))
    many = f", {len(subject.members)} members" if subject.ensemble else ""
    name = type(network).__name__
    return [f"{name} of {count:,} parameters{many}", f"{target}: {proof}"]


def is_graph(source: Path) -> bool:
    """Whether this is a file of ONNX, or a folder of both parts of a translator."""
    return source.suffix.lower() == ENDING or (source / f"{ENCODER}{ENDING}").is_file()


def _files_of(source: Path) -> dict[str, Path]:
    """The files of a source by the part that each should be.

    Raises:
        InputError: it can't have any.
    """
    if source.is_dir() and is_graph(source):
        return {part: source / f"{part}{ENDING}" for part in (ENCODER, DECODER)}
    if source.is_dir() or source.suffix.lower() != ENDING:
        found = "another folder" if source.is_dir() else "something else"
        raise InputError(
            f"{source}: expected an .onnx file, or a folder with {ENCODER}{ENDING} and "
            f"{DECODER}{ENDING}, for --to run, found {found}"
        )
    return {"": source}


def _check_part(record: RunRecord, part: str) -> None:
    """Refuse one of two graphs without the other, or in the other's place."""
    if record.part == part:
        return
    if not part:
        raise InputError(
            f"expected the folder of {ENCODER}{ENDING} and {DECODER}{ENDING}, found "
            f"the {record.part:.20} alone"
        )
    raise InputError(
        f"expected the {part}, found {record.part or 'a whole network'!r:.40}"
    )


def _same_record(models: Mapping[str, Any]) -> RunRecord:
    """The record that all parts have."""
    first, *others = (read_record(model) for model in models.values())
    if any((one.config, one.files) != (first.config, first.files) for one in others):
        raise InputError(
            f"expected the same metadata in {' and '.join(models)}, found others"
        )
    return first


class _Plan(NamedTuple):
    """A network that is to be filled, and how it is kept then.

    Attributes:
        build: makes it, untrained.
        members: how many networks are stacked in it; None for one that is not.
        settings: what an application keeps beside it.
        keep: writes it, filled, into a folder, as the run it is from.
    """

    build: Callable[[], Model]
    members: int | None
    settings: Fields
    keep: Callable[[Model, Path], None]


def _plan_of(record: RunRecord) -> _Plan:
    """Read the settings of a run and its tokenizers, as they are read from its folder.

    Raises:
        InputError: they are damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            return _plan_in(record, Path(folder))
        except InputError as error:
            where = str(error).replace(f"{folder}/", "metadata: ")
            raise InputError(where) from None


def _plan_in(record: RunRecord, folder: Path) -> _Plan:
    """The same, by way of files in a folder that is then forgotten."""
    record.write_files(folder)
    if "application" in record.config:
        return _application_plan(record, folder)
    write_json(folder / "config.json", record.config)
    run = RunDirectory(folder)
    config, vocab = run.config(), run.vocab()

    def keep(model: Model, target: Path) -> None:
        save(TextModel(config, vocab, model), target)

    return _Plan(lambda: build_model(config, vocab), None, {}, keep)


def _application_plan(record: RunRecord, folder: Path) -> _Plan:
    """The plan of an application's network."""
    name, settings = record.config["application"], record.config.get("settings", {})
    if not isinstance(name, str) or not isinstance(settings, dict):
        raise InputError(f"expected the name of an application, found {name!r:.60}")
    spec = read_spec(record.config.get("model"))
    for file, argument in _SYMBOLS.items():
        if file in record.files and argument in spec.arguments:
            symbols, room = len(load_tokenizer(folder / file)), spec.arguments[argument]
            if symbols > room:
                raise InputError(
                    f"{file}: expected at most {room} symbols, found {symbols}"
                )

    def keep(model: Model, target: Path) -> None:
        save_model(target, name, spec, model, settings)
        record.write_files(target)

    return _Plan(lambda: spec.build(seed_key(0)), spec.members, settings, keep)


def _filled(plan: _Plan, models: Mapping[str, Any]) -> Model:
    """The network of a plan, with the weights of its graphs, which have to be those.

    Raises:
        InputError: where they are not.
    """
    shapes = jax.eval_shape(plan.build)
    arrays = {part: constants_of(model) for part, model in models.items()}
    _check_room(shapes, arrays)
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    subject = subject_of(blank, plan.members, plan.settings)
    graphs = kind_of(blank).build(subject)
    if list(graphs) != list(models):
        parts = " and ".join(graphs) if len(graphs) > 1 else "one graph"
        raise InputError(f"expected {parts}, found {' and '.join(models) or 'one'}")
    for part, graph in graphs.items():
        check_structure(graph.model(), models[part], graph.weights)
        _fill(graph, arrays[part])
    if not subject.ensemble:
        return subject.network
    return jax.tree.map(lambda *each: jnp.stack(each), *subject.members)


def _check_room(shapes: Model, arrays: Mapping[str, Arrays]) -> None:
    """Refuse a network too large for the graph, before there is one in memory."""
    wanted = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    if isinstance(shapes, ForecastModel):
        wanted += shapes.frame.context + shapes.frame.horizon
    there = sum(array.size for part in arrays.values() for array in part.values())
    if wanted > there:
        raise InputError(
            f"expected the {wanted:,} numbers of the network in the metadata, found "
            f"{there:,} in the graph"
        )


def _fill(graph: Graph, arrays: Arrays) -> None:
    """Put the constants of a file into the network that a graph was built from."""
    for name in graph.weights:
        if not np.isfinite(arrays[name]).all():
            raise InputError(f"{name}: expected finite numbers, found others")
    for name, module, field in graph.parameters:
        setattr(module, field, nnx.Param(jnp.asarray(arrays[name])))
    for layer in graph.layers:
        _fill_layer(layer, arrays)


def _fill_layer(layer: LayerWeights, arrays: Arrays) -> None:
    """One layer, in its one or two directions."""
    for way, module in enumerate(layer.ways):
        theirs = {key: arrays[name][way] for key, name in layer.names.items()}
        found = ours.outward(layer.style, ONNX.inward(layer.style, theirs))
        held = {name for name, a in vars(module.params).items() if a is not None}
        for name in found.keys() - ours.SETTINGS:
            if name in held:
                setattr(module, name, nnx.Param(jnp.asarray(found[name])))
            elif found[name].any():
                raise InputError(
                    f"{layer.names['W']}: expected zeros for {name}, which the network "
                    "in the metadata does not have, found others"
                )
