"""Bytes that survive a kill. Reading them executes nothing."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.storage.checkpoints import Checkpoints as Checkpoints
    from lstm_jax.storage.files import open_regular as open_regular
    from lstm_jax.storage.files import read_json as read_json
    from lstm_jax.storage.files import read_object as read_object
    from lstm_jax.storage.files import replace_file as replace_file
    from lstm_jax.storage.files import write_json as write_json
    from lstm_jax.storage.files import writing as writing
    from lstm_jax.storage.lock import locked as locked
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
