"""SIGINT and SIGTERM: the first asks the loop to stop, the second ends the process.

Python runs its signal handlers between two instructions of the main thread, which may
be waiting inside a compiled call for long. So a thread of its own reads the numbers of
the signals, from a pipe that Python's own low-level handler writes to at once.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from lstm_jax.errors import Interrupted
from lstm_jax.training.callbacks import INTERRUPTED, Callback
from lstm_jax.training.history import HistoryRow

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop(Callback):
    """What has been asked for, and a callback that ends a run if it has been.

    `code` is the exit code that says so: 130 or 143.
    """

    def __init__(self) -> None:
        self._number: int | None = None

    def __call__(self) -> bool:
        """Tell whether to stop."""
        return self._number is not None

    def on_row(self, row: HistoryRow) -> str | None:
        """End a run that was asked to stop."""
        return INTERRUPTED if self() else None

    @property
    def code(self) -> int:
        """The exit code of a process that stopped because it was asked to."""
        return 128 + (self._number or signal.SIGTERM)  # another process was asked

    def check(self, kept: str) -> None:
        """Stop here if that was asked for.

        Args:
            kept: what there is of the work now, for the message.

        Raises:
            Interrupted: it was asked for.
        """
        if self():
            raise Interrupted(kept, self.code)

    def watch(self, numbers: int) -> None:
        """Read signals from a pipe until it is closed."""
        while byte := os.read(numbers, 1):
            if byte[0] not in _SIGNALS:
                continue
            if self._number is not None:
                os._exit(128 + byte[0])  # as if killed: nothing is half written
            self._number = byte[0]
            os.write(2, b"stopping after this call; once more to stop at once\n")


@contextlib.contextmanager
def interruptible() -> Iterator[Stop]:
    """While this is open, the first signal is a question and the second one ends it."""
    stop = Stop()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watcher = threading.Thread(target=stop.watch, args=(reader,), daemon=True)
    watcher.start()
    wakeup = signal.set_wakeup_fd(writer)
    before = {n: signal.signal(n, lambda number, frame: None) for n in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(writer)
        watcher.join()
        os.close(reader)
