"""A stop that is asked for when so much was done, and not when a clock says so."""

import signal

from lstm_jax.training.history import HistoryRow
from lstm_jax.training.signals import Stop


class After(Stop):
    """Is asked to stop when it has seen so many rows of history, of all trainings.

    Attributes:
        seen: how many it has.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._last, self.seen = rows, 0

    def on_row(self, row: HistoryRow) -> str | None:
        self.seen += 1
        if self.seen >= self._last:
            self._number = signal.SIGINT
        return super().on_row(row)
