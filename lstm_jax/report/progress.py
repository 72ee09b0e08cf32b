"""The progress of a run: lines of text, and a bar with the time left in a terminal."""

import collections
from collections.abc import Callable, Sequence

from lstm_jax.report.activities import Activity, duration
from lstm_jax.training.callbacks import Callback
from lstm_jax.training.history import HistoryRow, Metrics
from lstm_jax.training.schedule import Schedule

_LINES = 20  # over a run, besides those with a validation
_SILENCE = 30.0  # seconds of a run without a line
_SURE, _WORTH = 3.0, 20.0  # seconds of calls to judge by; a run worth a forecast
_REMEMBERED = 40  # calls


class Progress(Callback):
    """Shows how far a run is: at every validation, and now and then between them.

    In a terminal there is a bar, too, with the time left.

    Args:
        schedule: of the run.
        items: what the task counts, for what is read per second.
        log: is handed a line of text.
        lines: whether rows become lines; without, only a long silence is broken.
        name: of what is trained, before the lines of a silence and the bar.
    """

    def __init__(
        self,
        schedule: Schedule,
        items: str = "items",
        log: Callable[[str], None] = print,
        *,
        lines: bool = True,
        name: str = "",
    ) -> None:
        self._schedule, self._items, self._log = schedule, items, log
        self._lines, self._name = lines, f"{name}: " if name else ""
        self._shown, self._said = 0, 0.0
        self._activity: Activity | None = None
        self._phase, self._losses, self._left = "getting ready", "", ""
        self._share: float | None = None
        self._before: HistoryRow | None = None
        self._taken = collections.deque[tuple[float, int]](maxlen=_REMEMBERED)
        self._foretold = schedule.max_seconds is not None or not lines

    def begin(self, history: Sequence[HistoryRow]) -> None:
        """Show that it begins, or goes on."""
        self._before = None
        self._said = history[-1].seconds if history else 0.0
        if self._activity is None:
            self._activity = Activity(f"{self._name}{self._phase}", self._log).begin()

    def on_phase(self, phase: str) -> None:
        """Show what the run is at."""
        self._phase = phase
        self._draw()

    def on_row(self, row: HistoryRow) -> None:
        """Show a row of history: as a line, if it is time for one."""
        self._share = self._schedule.progress(row.step, row.seconds)
        left = self._seconds_left(row)
        self._left = "" if left is None else f"{duration(left)} left"
        validation = f"  val {_loss_first(row.val)}" if row.val else ""
        self._losses = f"train {_loss_first(row.train)}{validation}"
        self._draw()
        if self._lines:
            self._foretell(row, left)
            self._say_line(row)

    def end(self) -> None:
        """Show it no longer."""
        if self._activity:
            self._activity.end()
            self._activity = None

    def _say_line(self, row: HistoryRow) -> None:
        share = self._schedule.progress(row.step, row.seconds)
        mark = int(share * _LINES)
        silent = row.seconds - self._said >= _SILENCE
        if mark == self._shown and row.val_loss is None and not silent:
            return
        self._shown, self._said = mark, row.seconds
        self._say(
            f"{share:4.0%}  step {row.step:>7,}  epoch {row.epoch:6.2f}  "
            f"{row.seconds:6.1f} s  {row.items_per_second:>9,.0f} {self._items}/s  "
            f"{self._losses}"
        )

    def _foretell(self, row: HistoryRow, left: float | None) -> None:
        """Say once how long the run will take, if nobody has said how long it may."""
        measured = sum(seconds for seconds, _ in self._taken)
        if self._foretold or left is None or measured < _SURE:
            return
        self._foretold = True
        if row.seconds + left >= _WORTH:
            self._say(
                f"about {duration(row.seconds + left)} in all, for "
                f"{self._schedule.total_steps:,} steps"
            )

    def _seconds_left(self, row: HistoryRow) -> float | None:
        """By the clock, or by the steps of late; None if nothing is known yet."""
        if self._before:
            steps = row.step - self._before.step
            self._taken.append((row.seconds - self._before.seconds, steps))
        self._before = row
        ends = []
        if self._schedule.max_seconds is not None:
            ends.append(self._schedule.max_seconds - row.seconds)
        # The slowest call is left out: it may have waited for a compiler.
        usual = sorted(self._taken, key=lambda taken: taken[0] / max(taken[1], 1))[:-1]
        steps = sum(each for _, each in usual)
        if self._schedule.total_steps is not None and steps:
            pace = sum(seconds for seconds, _ in usual) / steps
            ends.append(pace * (self._schedule.total_steps - row.step))
        return max(0.0, min(ends)) if ends else None

    def _draw(self) -> None:
        if self._activity:
            label = f"{self._name}{self._phase}"
            if self._losses:
                label += f"  {self._losses}"
            self._activity.show(label, self._share, self._left)

    def _say(self, text: str) -> None:
        if self._activity:
            self._activity.heard()
        self._log(text)


def _loss_first(metrics: Metrics) -> str:
    """The loss, and other metrics behind it in brackets."""
    others = [f"{_SHORT.get(n, n)} {x:.3f}" for n, x in metrics.items() if n != "loss"]
    return f"{metrics['loss']:.4f}" + (f" ({', '.join(others)})" if others else "")


_SHORT = {"accuracy": "acc", "characters": "chars"}
