"""What is said and shown while something is computed."""

import io
import sys
import threading

import jax
import pytest
from flax import nnx

from lstm_jax.models.language import LanguageModel
from lstm_jax.report import activities
from lstm_jax.report.activities import Activity, activity, duration
from lstm_jax.report.parameters import parameter_table
from lstm_jax.report.progress import Progress
from lstm_jax.training.history import HistoryRow
from lstm_jax.training.schedule import Schedule

BY_STEPS = Schedule(1000, None, 1e-3, warmup=0.0, final_rate=1.0)
BY_TIME = Schedule(None, 3600.0, 1e-3, warmup=0.0, final_rate=1.0)


def row(step: int, seconds: float, val: float | None = None) -> HistoryRow:
    """A row of history."""
    return HistoryRow(
        step=step,
        epoch=0.0,
        items=step,
        seconds=seconds,
        learning_rate=1e-3,
        gradient_norm=1.0,
        items_per_second=1.0,
        train={"loss": 2.0},
        train_eval={},
        val={} if val is None else {"loss": val},
    )


def said_of(
    schedule: Schedule, rows: list[HistoryRow], lines: bool = True
) -> list[str]:
    """The lines of a run."""
    said: list[str] = []
    progress = Progress(schedule, "chars", said.append, lines=lines)
    progress.begin([])
    for each in rows:
        progress.on_row(each)
    progress.end()
    return said


def test_a_run_is_never_silent_for_long() -> None:
    rows = [row(n, 10.0 * n) for n in range(1, 19)]  # 3 minutes: 5 % of an hour
    lines = said_of(BY_TIME, rows)
    assert [float(line.split()[5]) for line in lines] == [30, 60, 90, 120, 150, 180]
    assert said_of(BY_TIME, rows, lines=False) == []


def test_the_length_of_a_run_is_foretold_once() -> None:
    """A second a step, but for the first two calls, which were compiled."""
    times = [50.0, 55.0, *(55.0 + n for n in range(1, 20))]
    rows = [row(1 + n, seconds) for n, seconds in enumerate(times)]
    (line,) = (line for line in said_of(BY_STEPS, rows) if "in all" in line)
    assert line.startswith("about 17 min ") and line.endswith(" for 1,000 steps")
    assert not any("in all" in line for line in said_of(BY_TIME, rows))
    assert not any("in all" in s for s in said_of(BY_STEPS, rows, lines=False))


def test_a_short_run_is_not_foretold() -> None:
    rows = [row(100 * n, 1.0 * n) for n in range(1, 11)]
    assert not any("in all" in line for line in said_of(BY_STEPS, rows))


def test_silence_is_broken_where_there_is_no_terminal() -> None:
    spoken, said = threading.Event(), list[str]()

    def say(text: str) -> None:
        said.append(text)
        spoken.set()

    outer = Activity("training", say, silence=0.01).begin()
    assert spoken.wait(30)
    outer.end()
    assert said[0].startswith("training, for ")
    assert not activities._activities and threading.active_count() >= 1


def test_only_the_innermost_speaks() -> None:
    spoken, outer_said = threading.Event(), list[str]()
    outer = Activity("outside", outer_said.append, silence=0.01)
    inner = Activity("inside", lambda text: spoken.set(), silence=0.03)
    with activity("nothing", None):
        pass
    inner_first = inner.begin()
    activities._activities.insert(0, outer)
    assert spoken.wait(30)
    inner_first.end()
    activities._activities.remove(outer)
    assert outer_said == []


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_bar_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    progress = Progress(BY_STEPS, "chars", print, name="fold 1")
    with activity("working"):
        progress.begin([])
        progress.on_phase("compiling")
        activities._shown().refresh()
        for n in range(1, 6):
            progress.on_row(row(100 * n, 60.0 * n, val=1.5))
        progress.on_phase("validating")
        activities._shown().refresh()
        progress.end()
        activities._shown().refresh()
    shown = terminal.getvalue()
    for text in ("fold 1: compiling", "fold 1: validating", "val 1.5000", "5 min left"):
        assert text in shown
    assert " 50%  step     500" in shown
    assert shown.rindex("working") > shown.rindex("validating")
    assert shown.endswith("\x1b[2K") or "\x1b[?25h" in shown[-40:]
    assert activities._screen is None


def test_a_pipe_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    with activity("working"):
        print("a line")
    assert capsys.readouterr().out == "a line\n"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599.7, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_times_are_said_as_people_say_them(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize("cell", ["lstm", "mogrifier"])
def test_parameters_are_listed_by_layer(cell: str) -> None:
    made = LanguageModel(65, 16, 2, rngs=nnx.Rngs(0), cell=cell)
    count = sum(leaf.size for leaf in jax.tree.leaves(made))
    shapes = jax.eval_shape(
        lambda: LanguageModel(65, 16, 2, rngs=nnx.Rngs(0), cell=cell)
    )
    for model in (made, shapes):
        *lines, last = parameter_table(model).splitlines()
        assert last == f"{count:,} parameters"
        assert sum(int(line.split()[-1].replace(",", "")) for line in lines) == count
        names = [line.split("  ")[1] for line in lines]
        assert names[-2:] == ["b_out", "w_out"]
        assert names[:-2] == [*(["embedding"] if cell != "lstm" else []), *LAYERS]


LAYERS = ["layer 1", "layer 2"]
