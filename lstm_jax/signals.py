"""SIGINT and SIGTERM: the first asks the loop to stop, the second ends the process."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """What has been asked for. `code` is the exit code that says so: 130 or 143."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.number is not None

    @property
    def code(self) -> int:
        """The exit code of a process that stopped because it was asked to."""
        return 128 + (self.number or 0)

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; leave every other to the operating system."""
        self.number = number
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        # Not print: a signal may come while something is being printed.
        os.write(2, b"stopping after this call; once more to stop at once\n")


@contextlib.contextmanager
def interruptible() -> Iterator[Stop]:
    """While this is open, the first signal is a question and the second one kills."""
    stop = Stop()
    before = {number: signal.signal(number, stop.ask) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
