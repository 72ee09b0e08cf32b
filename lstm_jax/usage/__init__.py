"""The flags of a command: how --help lists them, and mistakes in one line."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.usage.flags import Flag as Flag
    from lstm_jax.usage.flags import flags_of as flags_of
    from lstm_jax.usage.help import commands_in as commands_in
    from lstm_jax.usage.help import help_text as help_text
    from lstm_jax.usage.help import listed as listed
    from lstm_jax.usage.mistakes import refuse_mistakes as refuse_mistakes
    from lstm_jax.usage.repeats import joined as joined
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
