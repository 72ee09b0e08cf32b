"""What a graph says of the run it was written from: its metadata `lstm_jax`.

That is a JSON object of the settings in `config.json` that decide the network and how
it is used, and of the tokenizers beside it: all but the numbers, which are the graph's.
No path of a file and nothing of how it was trained is among it.
"""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lstm_jax.errors import InputError
from lstm_jax.lm.text_model import TextModel
from lstm_jax.models.saved import SavedModel
from lstm_jax.storage.files import Fields, read_json, write_json

_KEY, _FORMAT = "lstm_jax", 1
# The files besides config.json that a run may need to be used.
_FILES = ("vocab.json", "tokenizer.json", "source.json", "target.json", "bayes.json")
_SECTIONS = ("model", "regularizer")
_TEXT = ("vocab", "vocab_size", "validation_fraction")


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """What it takes to make a run directory, but for the parameters.

    Attributes:
        config: the JSON object of `config.json`.
        files: those of the files beside it, by name.
        part: which of several graphs this is; "" where there is one.
    """

    config: Fields
    files: dict[str, Fields]
    part: str = ""

    def write_files(self, folder: Path) -> None:
        """Write the files beside config.json into a folder that is there."""
        for name, fields in self.files.items():
            write_json(folder / name, fields)


def record_of(source: Path, loaded: TextModel | SavedModel) -> RunRecord:
    """Read what a run directory holds besides the parameters."""
    if isinstance(loaded, TextModel):
        whole = json.loads(json.dumps(dataclasses.asdict(loaded.config), default=str))
        config = {name: whole[name] for name in _SECTIONS}
        config["text"] = {name: whole["text"][name] for name in _TEXT}
        config["text"]["vocab"] = Path(whole["text"]["vocab"]).name  # or of a file
    else:
        config = read_json(source / "config.json", "the configuration of a model")
    there = [name for name in _FILES if (source / name).is_file()]
    files = {name: read_json(source / name, "a tokenizer") for name in there}
    return RunRecord(config, files)


def write_record(model: Any, record: RunRecord, part: str) -> None:  # noqa: ANN401
    """Put a record into the metadata of an `onnx.ModelProto`."""
    fields = dataclasses.asdict(dataclasses.replace(record, part=part))
    entry = model.metadata_props.add()
    entry.key, entry.value = _KEY, json.dumps({"format": _FORMAT, **fields})


def read_record(model: Any) -> RunRecord:  # noqa: ANN401 - ONNX is optional
    """Read what `write_record` wrote.

    Raises:
        InputError: there is none, or a damaged one.
    """
    values = [each.value for each in model.metadata_props if each.key == _KEY]
    if not values:
        by = f" by {model.producer_name:.40}" if model.producer_name else ""
        raise InputError(
            f"expected a whole network that lstm_jax has written, found a graph{by} "
            f"without the metadata {_KEY}; --to lstm_jax takes its layers"
        )
    try:
        fields = json.loads(values[-1])
    except (ValueError, RecursionError) as error:
        raise InputError(f"metadata {_KEY}: expected JSON, found: {error}") from None
    if not isinstance(fields, dict) or fields.pop("format", None) != _FORMAT:
        raise InputError(
            f"metadata {_KEY}: expected format {_FORMAT}, found {values[-1]!r:.60}"
        )
    config, files, part = (fields.get(n) for n in ("config", "files", "part"))
    known = isinstance(files, dict) and set(files) <= set(_FILES)
    if not known or not isinstance(config, dict) or not _are_objects(files.values()):
        raise InputError(
            f"metadata {_KEY}: expected settings and tokenizers, found "
            f"{', '.join(map(str, fields))!r:.80}"
        )
    return RunRecord(config, files, str(part))


def _are_objects(values: Iterable[object]) -> bool:
    return all(isinstance(each, dict) for each in values)
