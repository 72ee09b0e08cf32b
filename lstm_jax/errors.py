"""The one exception for what a user can cause."""


class InputError(ValueError):
    """Something given from outside is not what was expected.

    The message is one line that says what was expected and what was found. The
    commands print it and exit with 2; from Python it is a ValueError.
    """
