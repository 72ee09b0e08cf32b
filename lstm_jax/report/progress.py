"""The progress of a run as lines of text."""

from collections.abc import Callable

from lstm_jax.training.callbacks import Callback
from lstm_jax.training.history import HistoryRow, Metrics
from lstm_jax.training.schedule import Schedule

_LINES = 20  # over a run, besides those with a validation


class Progress(Callback):
    """Shows how far a run is: at every validation, and now and then between them.

    Args:
        schedule: of the run.
        items: what the task counts, for what is read per second.
        log: is handed a line of text.
    """

    def __init__(
        self,
        schedule: Schedule,
        items: str = "items",
        log: Callable[[str], None] = print,
    ) -> None:
        self._schedule, self._items, self._say = schedule, items, log
        self._shown = 0

    def on_row(self, row: HistoryRow) -> None:
        """Show a line of history, if it is time for one."""
        share = self._schedule.progress(row.step, row.seconds)
        mark = int(share * _LINES)
        if mark == self._shown and row.val_loss is None:
            return
        self._shown = mark
        validation = f"  val {_loss_first(row.val)}" if row.val else ""
        self._say(
            f"{share:4.0%}  step {row.step:>7,}  epoch {row.epoch:6.2f}  "
            f"{row.seconds:6.1f} s  {row.items_per_second:>9,.0f} {self._items}/s  "
            f"train {_loss_first(row.train)}{validation}"
        )


def _loss_first(metrics: Metrics) -> str:
    """The loss, and other metrics behind it in brackets."""
    others = [f"{_SHORT.get(n, n)} {x:.3f}" for n, x in metrics.items() if n != "loss"]
    return f"{metrics['loss']:.4f}" + (f" ({', '.join(others)})" if others else "")


_SHORT = {"accuracy": "acc", "characters": "chars"}
