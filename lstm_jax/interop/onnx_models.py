"""Whole networks as ONNX graphs: native `LSTM` and `GRU` operators, and what is around.

B and T are free. Graphs are checked by ONNX, and run beside the network where ONNX
Runtime is installed.
"""

import dataclasses
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from lstm_jax.errors import InputError
from lstm_jax.interop.files import needed, new_file, reading
from lstm_jax.interop.onnx_forecaster import build_forecaster, try_forecaster
from lstm_jax.interop.onnx_graph import Graph
from lstm_jax.interop.onnx_networks import (
    Subject,
    Trial,
    build_classifier,
    build_language,
    build_transcriber,
    subject_of,
    try_classifier,
    try_language,
    try_transcriber,
)
from lstm_jax.interop.onnx_records import record_of, write_record
from lstm_jax.interop.onnx_translator import build_translator, try_translator
from lstm_jax.lm.loading import load
from lstm_jax.lm.text_model import TextModel
from lstm_jax.models.classifier import SequenceClassifier
from lstm_jax.models.ctc import CTCModel
from lstm_jax.models.forecaster import ForecastModel
from lstm_jax.models.language import LanguageModel
from lstm_jax.models.saved import SavedModel
from lstm_jax.models.seq2seq import Seq2Seq

TOLERANCE = 1e-3  # of logits
ENDING = ".onnx"


class Kind(NamedTuple):
    """How a kind of network becomes graphs.

    Attributes:
        build: the graphs by their names; "" for one that is alone.
        attempt: inputs for each, and what the network makes of them.
    """

    build: Callable[[Subject], dict[str, Graph]]
    attempt: Callable[[Subject], dict[str, Trial]]


def _alone(
    build: Callable[[Subject], Graph], attempt: Callable[[Subject], Trial]
) -> Kind:
    return Kind(lambda subject: {"": build(subject)}, lambda s: {"": attempt(s)})


KINDS: dict[type, Kind] = {
    LanguageModel: _alone(build_language, try_language),
    SequenceClassifier: _alone(build_classifier, try_classifier),
    CTCModel: _alone(build_transcriber, try_transcriber),
    ForecastModel: _alone(build_forecaster, try_forecaster),
    Seq2Seq: Kind(build_translator, try_translator),
}


def kind_of(network: object) -> Kind:
    """Find how a network becomes a graph.

    Raises:
        InputError: it does not.
    """
    for family, kind in KINDS.items():
        if isinstance(network, family):
            return kind
    known = ", ".join(family.__name__ for family in KINDS)
    raise InputError(f"expected one of {known}, found a {type(network).__name__}")


def subject_in(loaded: TextModel | SavedModel) -> Subject:
    """The network of a run, with what its graph needs to know."""
    if isinstance(loaded, TextModel):
        return subject_of(loaded.model, None, {})
    return subject_of(loaded.model, loaded.spec.members, loaded.settings)


def write_model(source: Path, target: Path) -> list[str]:
    """Write the network of a run as an ONNX graph, or as two.

    Args:
        source: the folder of a run.
        target: what is to be written, nothing is there yet: a file; for an
            encoder-decoder a folder, with encoder.onnx and decoder.onnx.

    Returns:
        Lines that say what was written, and the largest error beside ONNX Runtime.

    Raises:
        InputError: it can't be done, and why; nothing is written then.
    """
    needed("onnx", str(target))
    loaded = _in_float32(load(source))
    subject, record = subject_in(loaded), record_of(source, loaded)
    kind = kind_of(subject.network)
    models = {name: g.model() for name, g in kind.build(subject).items()}
    check_target(target, models)
    for name, model in models.items():
        write_record(model, record, name)
    lines = []
    for name, model in models.items():
        inputs, outputs = map(_described, (model.graph.input, model.graph.output))
        lines.append(f"{name or type(subject.network).__name__}: {inputs} to {outputs}")
    with new_file(target) as draft:
        for path, model in zip(paths_of(draft, models), models.values(), strict=True):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(model.SerializeToString())
        with reading(target, "a graph that ONNX Runtime runs"):
            proof = prove(kind, subject, paths_of(draft, models))
    return [*lines, f"{target}: {proof}"]


def _in_float32(loaded: TextModel | SavedModel) -> TextModel | SavedModel:
    """A text generator with arithmetic in float32, the type of its parameters."""
    if not isinstance(loaded, TextModel) or loaded.config.model.dtype == "float32":
        return loaded
    model = dataclasses.replace(loaded.config.model, precision="float32")
    network = nnx.clone(loaded.model)
    network.dtype = jnp.dtype(jnp.float32)
    config = dataclasses.replace(loaded.config, model=model)
    return dataclasses.replace(loaded, config=config, model=network)


def check_target(target: Path, models: Mapping[str, object]) -> None:
    """Refuse the name of a file for a folder.

    Raises:
        InputError: naming what was expected.
    """
    if len(models) > 1 and target.suffix.lower() == ENDING:
        raise InputError(
            f"{target}: expected the name of a folder for {' and '.join(models)}, "
            "found that of a file"
        )


def paths_of(target: Path, models: Mapping[str, object]) -> list[Path]:
    """Where each graph is: at the target, or in it."""
    return [target / f"{name}{ENDING}" if name else target for name in models]


def prove(kind: Kind, subject: Subject, paths: list[Path]) -> str:
    """Run graphs in ONNX Runtime on what the network itself has computed.

    Returns:
        What was found, in words.

    Raises:
        InputError: they compute something else.
    """
    if find_spec("onnxruntime") is None:
        return "checked by ONNX, not run: there is no onnxruntime here"
    trials = kind.attempt(subject).values()
    pairs = zip(paths, trials, strict=True)
    error = max(_error(path, trial) for path, trial in pairs)
    if not error <= TOLERANCE:
        raise InputError(
            f"expected ONNX Runtime to compute what the network does up to "
            f"{TOLERANCE}, found an error of {error:.1e}"
        )
    return f"largest error {error:.1e} of an output beside ONNX Runtime"


def _described(values: Any) -> str:  # noqa: ANN401
    """The names and shapes of inputs or outputs, for people."""
    return ", ".join(
        f"{value.name} [{', '.join(d.dim_param or str(d.dim_value) for d in dims)}]"
        for value in values
        for dims in [value.type.tensor_type.shape.dim]
    )


def _error(path: Path, trial: Trial) -> float:
    """The largest difference from ONNX Runtime, over max(1, the value)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    names = list(trial.expected)
    found = session.run(names, trial.inputs)
    return max(
        float(np.max(np.abs(one - other) / np.maximum(1, np.abs(other))))
        for one, other in zip(found, trial.expected.values(), strict=True)
    )
