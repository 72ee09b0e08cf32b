"""Bytes that survive a kill. Reading them executes nothing."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.storage.checkpoints import Checkpoints as Checkpoints
    from lstm_jax.storage.files import read_object as read_object
    from lstm_jax.storage.model_directory import load_model as load_model
    from lstm_jax.storage.model_directory import load_settings as load_settings
    from lstm_jax.storage.model_directory import save_model as save_model
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
