"""Open any trained model by its folder."""

from pathlib import Path

from lstm_jax.config import expanded
from lstm_jax.errors import InputError
from lstm_jax.lm.text_model import TextModel, load_text_model
from lstm_jax.models.saved import SavedModel, load_model
from lstm_jax.storage.files import read_json


def load(path: Path | str) -> TextModel | SavedModel:
    """Load the best model of a run, be it of the text generator or an application.

    `print` says what it is.

    Args:
        path: the folder of the run; a leading ~ is the home directory.

    Returns:
        A `TextModel`, with its vocabulary, for `generate_text` and `evaluate_text`; or
        a `SavedModel`: the network, what it was built from, and what the application
        kept beside it.

    Raises:
        InputError: there is no model, or a damaged one.
    """
    folder = expanded(path)
    file = folder / "config.json"
    if file.is_file() and "application" in read_json(file, "a configuration"):
        return load_model(folder)
    return load_text_model(folder)


def load_text(path: Path | str) -> TextModel:
    """Load the best model of a run of the text generator.

    Raises:
        InputError: there is none, or one of something else.
    """
    found = load(path)
    if not isinstance(found, TextModel):
        raise InputError(
            f"{path}: expected a run of lstm_jax.train, found {found.application}"
        )
    return found
