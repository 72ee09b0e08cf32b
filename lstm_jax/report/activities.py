"""What a program is at, shown while it lasts, so that nobody takes it for dead.

In a terminal that is a line at its bottom with a bar, redrawn twice a second by a
thread of its own and gone in the end. Elsewhere, in a file or a notebook, a line of
text is written whenever nothing was said for half a minute.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SILENCE = 30.0  # seconds without a line, where there is no terminal
_REDRAWN = 2  # times a second
_lock = threading.RLock()
_activities: list["Activity"] = []  # the last one is what the program is at
_screen: "Progress | None" = None


class Activity:
    """Something that takes a while, shown until it is ended.

    Of several, one inside the other, the innermost is shown.

    Args:
        label: what it is: compiling, evaluating.
        say: is handed a line of text where there is no terminal; None for no lines.
        silence: seconds after which it is.
    """

    def __init__(
        self,
        label: str,
        say: Callable[[str], None] | None = print,
        silence: float = SILENCE,
    ) -> None:
        self._label, self._say, self._silence = label, say, silence
        self._began = self._heard = time.monotonic()
        self._over = threading.Event()
        self._task: TaskID | None = None
        self._watch: threading.Thread | None = None

    def begin(self) -> "Activity":
        """Show it from now on."""
        with _lock:
            _activities.append(self)
            if on_terminal():
                self._task = _shown().add_task(self._label, total=None, left="")
                _show_innermost()
        if self._task is None and self._say is not None:
            self._watch = threading.Thread(target=self._speak_up, daemon=True)
            self._watch.start()
        return self

    def show(self, label: str, share: float | None = None, left: str = "") -> None:
        """Say what it is at, how much of it is done, and how long it will last."""
        self._label = label
        if self._task is not None and _screen is not None:
            total = None if share is None else 1.0
            _screen.update(
                self._task, description=label, completed=share, total=total, left=left
            )

    def heard(self) -> None:
        """Take note that a line was written."""
        self._heard = time.monotonic()

    def end(self) -> None:
        """Show it no longer."""
        global _screen
        self._over.set()
        with _lock:
            if self in _activities:
                _activities.remove(self)
            if self._task is not None and _screen is not None:
                _screen.remove_task(self._task)
                self._task = None
                if not _screen.task_ids:
                    _screen.stop()
                    _screen = None
                _show_innermost()
        if self._watch is not None:
            self._watch.join()

    def _speak_up(self) -> None:
        """Write a line whenever nothing was said for a while."""
        assert self._say is not None
        while not self._over.wait(max(0.0, self._heard + self._silence - _now())):
            silent = _now() - self._heard >= self._silence
            if silent and _activities[-1:] == [self]:
                self._say(f"{self._label}, for {duration(_now() - self._began)} so far")
            if silent:
                self.heard()


@contextlib.contextmanager
def activity(
    label: str, say: Callable[[str], None] | None = print
) -> Iterator[Activity]:
    """Show what a program is at while this is open."""
    shown = Activity(label, say).begin()
    try:
        yield shown
    finally:
        shown.end()


def on_terminal() -> bool:
    """Whether what is printed is seen on a terminal that can be drawn on."""
    out = sys.stdout
    with contextlib.suppress(AttributeError, ValueError):  # replaced, or closed
        return out.isatty() and os.environ.get("TERM") != "dumb"
    return False


def duration(seconds: float) -> str:
    """A time as people say it: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _now() -> float:
    return time.monotonic()


def _shown() -> "Progress":
    """The bottom of the terminal, taken by the first activity."""
    global _screen
    if _screen is None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        _screen = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=Console(highlight=False, emoji=False, force_terminal=True),
            refresh_per_second=_REDRAWN,
            transient=True,
        )
        _screen.start()
    return _screen


def _show_innermost() -> None:
    if _screen is None:
        return
    tasks = [each._task for each in _activities if each._task is not None]
    for task in tasks:
        _screen.update(task, visible=task == tasks[-1])
