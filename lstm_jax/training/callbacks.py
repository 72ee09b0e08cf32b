"""What may look on while a model trains: early stopping, a progress bar, TensorBoard.

A callback is told of every row of history, and may end the run by saying why.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from lstm_jax.training.history import HistoryRow, out_of_patience

INTERRUPTED = "interrupted"  # the reason of a run that was asked to stop


class Callback:
    """Looks on while a model trains; what a subclass does not need it leaves alone.

    Of several processes each has callbacks of its own; if one of them ends the run, all
    processes end it together.
    """

    def begin(self, history: Sequence[HistoryRow]) -> str | None:
        """Take note of the history so far, before the first call.

        Called again with a shorter one when the run goes back to a checkpoint.

        Returns:
            Why there is nothing left to do, or None.
        """

    def on_row(self, row: HistoryRow) -> str | None:
        """Take note of a row of history.

        Returns:
            Why the run is to end here, or None.
        """

    def on_phase(self, phase: str) -> None:
        """Take note of what the run is at: compiling, training or validating."""

    def on_validation(self, row: HistoryRow, model: Any) -> None:  # noqa: ANN401
        """Take note of a row that was validated, and of the model as it is.

        The model is valid until this returns.
        """

    def end(self) -> None:
        """Let go: the run is over, or has failed."""


class EarlyStopping(Callback):
    """Ends a run that has not improved for some validations.

    Args:
        patience: how many; None for any number.
        min_improvement: by how much the loss must fall to count as improved.
    """

    def __init__(self, patience: int | None, min_improvement: float = 0.0) -> None:
        self._patience, self._min_improvement = patience, min_improvement
        self._history: list[HistoryRow] = []

    def begin(self, history: Sequence[HistoryRow]) -> str | None:
        """Count the validations of a run that goes on."""
        self._history = list(history)
        return self._verdict()

    def on_row(self, row: HistoryRow) -> str | None:
        """Count one more."""
        self._history.append(row)
        return self._verdict()

    def _verdict(self) -> str | None:
        return out_of_patience(self._history, self._patience, self._min_improvement)


def begin_all(
    callbacks: Iterable[Callback], history: Sequence[HistoryRow]
) -> str | None:
    """Begin every callback; the first reason not to train, or None."""
    reasons = [callback.begin(history) for callback in callbacks]
    return next(filter(None, reasons), None)


def tell_all(callbacks: Iterable[Callback], row: HistoryRow) -> str | None:
    """Tell every callback of a row; the first reason to end the run, or None."""
    reasons = [callback.on_row(row) for callback in callbacks]
    return next(filter(None, reasons), None)
