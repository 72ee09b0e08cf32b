"""A trained network in a folder: what it takes to build it again, and its parameters.

    config.json                          which network, its sizes, what else was kept
    checkpoints/STEP/model.safetensors   its parameters, with checksums beside them

It is the folder that `train_model` keeps a run in, so the best model of a run can be
loaded while the run still goes on. Reading executes nothing.
"""

import contextlib
import dataclasses
import json
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from lstm_jax.cells.named import cell_record, read_cell
from lstm_jax.cells.protocol import Cell
from lstm_jax.config import Configuration, read_section
from lstm_jax.errors import InputError
from lstm_jax.models.classifier import SequenceClassifier
from lstm_jax.models.ctc import CTCModel
from lstm_jax.models.density import DensityModel
from lstm_jax.models.event import EventModel
from lstm_jax.models.forecaster import ForecastModel
from lstm_jax.models.frames import FrameModel
from lstm_jax.models.keyboard import KeyboardModel
from lstm_jax.models.language import LanguageModel
from lstm_jax.models.multilabel import MultiLabelModel
from lstm_jax.models.seq2seq import Seq2Seq
from lstm_jax.storage.checkpoints import CheckpointInfo, Checkpoints
from lstm_jax.storage.files import Fields, read_json, write_json
from lstm_jax.typing import Model, PRNGKey

FORMAT = 1  # of config.json
# The networks that can be kept, by the names that config.json has for them.
NETWORKS: dict[str, type[nnx.Module]] = {
    "classifier": SequenceClassifier,
    "ctc": CTCModel,
    "event": EventModel,
    "density": DensityModel,
    "forecaster": ForecastModel,
    "frames": FrameModel,
    "keyboard": KeyboardModel,
    "language": LanguageModel,
    "multilabel": MultiLabelModel,
    "seq2seq": Seq2Seq,
}
_CONFIG = "config.json"
_MOST_LAYERS, _LARGEST = 1000, 2**24  # more is a damaged file


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Which network, and its sizes: data from which it can be built again.

    Attributes:
        network: a name of `NETWORKS`.
        arguments: of its constructor, without `rngs`. A cell may be a name or a cell
            with settings of its own, which are kept as well.
        members: how many of them are stacked along a leading axis; None for one that
            is not.
    """

    network: str
    arguments: Mapping[str, Any]
    members: int | None = None

    def build(self, key: PRNGKey) -> Model:
        """Build the network, untrained.

        Args:
            key: of its initial parameters.

        Raises:
            ValueError: there is no such network, or it has no such arguments.
        """

        def one(key: PRNGKey) -> nnx.Module:
            network: Callable[..., nnx.Module] = NETWORKS[self.network]
            return network(**self.arguments, rngs=nnx.Rngs(key))

        if self.members is None:
            return one(key)
        return jax.lax.map(one, jax.random.split(key, self.members))


@dataclasses.dataclass(frozen=True)
class SavedModel:
    """A trained network, and what an application kept beside it.

    Attributes:
        application: what it was trained for: "sentiment", for one.
        model: the network of `spec`, with its trained parameters.
        spec: what it was built from.
        settings: a JSON object of the application's own: classes, scales.
        folder: where it was found; tokenizers are there too.
    """

    application: str
    model: Any
    spec: ModelSpec
    settings: Fields
    folder: Path

    def __str__(self) -> str:
        count = sum(leaf.size for leaf in jax.tree.leaves(self.model))
        members = f", {self.spec.members} members" if self.spec.members else ""
        kind = type(self.model).__name__
        return (
            f"{self.application}: {kind} of {count:,} parameters{members}, "
            f"in {self.folder}"
        )


def write_spec(
    folder: Path, application: str, spec: ModelSpec, settings: Fields | None = None
) -> None:
    """Write `config.json`, before a network is trained in this folder.

    Args:
        folder: of the run.
        application: what the network is for.
        spec: what it is built from.
        settings: what else is needed to use it, as JSON.

    Raises:
        ValueError: a cell, or an activation of one, that is the caller's own.
    """
    arguments = {name: _encoded(value) for name, value in spec.arguments.items()}
    record = {
        "format": FORMAT,
        "application": application,
        "model": dataclasses.asdict(dataclasses.replace(spec, arguments=arguments)),
        "settings": settings or {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _CONFIG, json.loads(json.dumps(record)), indent=2)


def save_model(
    folder: Path,
    application: str,
    spec: ModelSpec,
    model: Model,
    settings: Fields | None = None,
) -> None:
    """Keep a network that was not trained by `train_model`, or not in this folder.

    The arguments are those of `write_spec`, and the network itself.
    """
    write_spec(folder, application, spec, settings)
    record = CheckpointInfo(0, None, 0, None, 0.0, 0.0, 0.0)
    with contextlib.closing(Checkpoints(folder / "checkpoints")) as checkpoints:
        checkpoints.save({"model": model}, record)


def load_model(folder: Path, application: str | None = None) -> SavedModel:
    """Load the best network of a folder.

    Args:
        folder: of a run of `train_model`, or of `save_model`.
        application: what it has to be for, if that matters.

    Raises:
        InputError: there is none, it is damaged, or it is for something else.
    """
    path = folder / _CONFIG
    record = read_json(path, "the configuration of a model")
    kind, settings = record.get("application"), record.get("settings", {})
    wanted = application or "an application"
    if not isinstance(kind, str) or (application and kind != application):
        raise InputError(f"{path}: expected a model of {wanted}, found {kind!r:.60}")
    if record.get("format") != FORMAT or not isinstance(settings, dict):
        found = record.get("format")
        raise InputError(f"{path}: expected format {FORMAT}, found {found!r:.60}")
    try:
        spec = read_spec(record.get("model"))
        like = jax.eval_shape(spec.build, jax.random.key(0))
    except Exception as error:  # of the many that a hostile file can cause
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: expected the sizes of a network, found: {reason:.200}"
        ) from None
    with contextlib.closing(Checkpoints(folder / "checkpoints")) as checkpoints:
        model = checkpoints.best_model(like)
    return SavedModel(kind, model, spec, settings, folder)


def read_spec(record: object) -> ModelSpec:
    """Read what `write_spec` wrote of a network.

    Raises:
        ValueError: it is no such record.
    """
    if not isinstance(record, dict) or set(record) != {
        "network",
        "arguments",
        "members",
    }:
        raise ValueError(f"no record of a network: {record!r:.100}")
    network, arguments, members = (
        record[n] for n in ("network", "arguments", "members")
    )
    if network not in NETWORKS or not isinstance(arguments, dict):
        raise ValueError(f"no such network: {network!r:.60}")
    if members is not None and (type(members) is not int or not 0 < members < 10_000):
        raise ValueError(f"members: {members!r:.60}")
    for name, value in arguments.items():
        most = _MOST_LAYERS if "layers" in name else _LARGEST
        if isinstance(value, int) and abs(value) > most:
            raise ValueError(f"{name}: {value:,}, more than {most:,}")
    hints = typing.get_type_hints(NETWORKS[network].__init__)
    decoded = {
        name: _decoded(hints.get(name), each) for name, each in arguments.items()
    }
    return ModelSpec(network, decoded, members)


def _encoded(value: object) -> object:
    """An argument as JSON has it, unless it is one of the settings' dataclasses."""
    return cell_record(value) if isinstance(value, Cell) else value


def _decoded(hint: object, value: object) -> object:
    """An argument as a constructor takes it, from what JSON makes of it."""
    if hint == Cell | str:
        return read_cell(value)
    if isinstance(hint, type) and issubclass(hint, Configuration):
        return read_section(hint, value, hint.__name__)
    return tuple(value) if isinstance(value, list) else value
