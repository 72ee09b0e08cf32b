"""What a cross-validation was begun with: it goes on with that, or not at all.

Free of JAX, so that `crossval --help` answers at once.
"""

import dataclasses
import hashlib
import json
from pathlib import Path

from lstm_jax.config import Configuration, flag_of, read_section
from lstm_jax.errors import InputError
from lstm_jax.lm.config import TrainConfig, check
from lstm_jax.storage.files import read_json, write_json

_NAME = "crossval-plan.json"
_FORMAT = 1
# Where things are and how a process was asked for; no result follows from these.
_PASSING = ("data", "run_dir", "resume", "overwrite", "cluster")


@dataclasses.dataclass(frozen=True)
class CrossvalPlan(Configuration):
    """All that the results of a cross-validation follow from.

    Attributes:
        config: of every model, but for its seed.
        folds: k, the number of blocks.
        seeds: of the cross-validations.
        jointly: whether all models are trained as one program.
        text_sha256: the SHA-256 of the text, as UTF-8.
    """

    config: TrainConfig
    folds: int
    seeds: tuple[int, ...]
    jointly: bool
    text_sha256: str


def sha256_of_text(text: str | bytes) -> str:
    """The SHA-256 of a text as UTF-8; lone surrogates are encoded too."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return hashlib.sha256(raw).hexdigest()


def keep_plan(folder: Path, plan: CrossvalPlan) -> None:
    """Write the plan of a new cross-validation, or hold it to the one it began with.

    Raises:
        InputError: what was begun in the folder has other settings, or another text.
    """
    path = folder / _NAME
    if path.exists():
        _refuse_changes(read_plan(folder), plan)
        return
    folder.mkdir(parents=True, exist_ok=True)
    record = json.loads(json.dumps(dataclasses.asdict(plan), default=str))
    write_json(path, {"format": _FORMAT, **record}, indent=2)


def read_plan(folder: Path) -> CrossvalPlan:
    """Read what the cross-validation in a folder was begun with.

    Raises:
        InputError: there is none, or its record is damaged.
    """
    path = folder / _NAME
    record = read_json(path, "a cross-validation that was begun")
    version = record.pop("format", None)
    if version != _FORMAT:
        raise InputError(f"{path}: expected format {_FORMAT}, found {version!r:.60}")
    try:
        plan = read_section(CrossvalPlan, record, str(path))
        check(plan.config)
    except TypeError as error:  # something is missing
        raise InputError(f"{path}: expected a cross-validation: {error}") from None
    return plan


def _refuse_changes(kept: Configuration, asked: Configuration) -> None:
    for field in dataclasses.fields(kept):
        was, now = getattr(kept, field.name), getattr(asked, field.name)
        if was == now or field.name in _PASSING:
            continue
        if isinstance(was, Configuration):
            _refuse_changes(was, now)
        elif field.name == "text_sha256":
            raise InputError(
                "--resume: expected the text that the cross-validation was begun with, "
                f"of the SHA-256 {was:.12}..., found another"
            )
        else:
            raise InputError(
                f"--resume: expected {flag_of(field.name)} as the run has it, {was}, "
                f"found {now}"
            )
