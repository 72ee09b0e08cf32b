"""The one exception for what a user can cause, and a word on what was got over."""

import logging


class InputError(ValueError):
    """Something given from outside is not what was expected.

    The message is one line that says what was expected and what was found. The
    commands print it and exit with 2; from Python it is a ValueError. It stays one line
    if a name in it, that of a file or of a class, has several.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


def warn(message: str) -> None:
    """Tell the user in one line of something that went otherwise than it should.

    It is a warning of the logger `lstm_jax`, which Python prints to stderr unless told
    otherwise.
    """
    logging.getLogger("lstm_jax").warning("note: %s", message)


class Interrupted(Exception):
    """A command was asked to stop, and has stopped.

    The message is one line that says what was kept; `code` is the exit code.
    """

    def __init__(self, kept: str, code: int) -> None:
        super().__init__(f"interrupted: {kept}")
        self.code = code
