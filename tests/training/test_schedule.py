"""The plan of a run: how far it is, how fast it learns, when it is over."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.training.schedule import Schedule

BY_STEPS = Schedule(
    total_steps=100, max_seconds=None, peak=0.5, warmup=0.2, final_rate=0.1
)
BY_TIME = dataclasses.replace(BY_STEPS, total_steps=None, max_seconds=50.0)
BY_BOTH = dataclasses.replace(BY_STEPS, max_seconds=50.0)

shares = st.floats(0, 1)
ends = st.sampled_from([(100, None), (None, 50.0), (100, 50.0), (7, 1e6), (10**6, 3.0)])
paces = st.floats(1e-6, 1e3)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Any plan that the settings allow."""
    steps, seconds = draw(ends)
    peak = draw(st.floats(1e-6, 10))
    return Schedule(steps, seconds, peak, warmup=draw(shares), final_rate=draw(shares))


@pytest.mark.parametrize(
    ("schedule", "step", "seconds", "expected"),
    [
        (BY_STEPS, 0, 0.0, 0.0),
        (BY_STEPS, 25, 1e9, 0.25),
        (BY_STEPS, 100, 0.0, 1.0),
        (BY_STEPS, 101, 0.0, 1.0),
        (BY_TIME, 10**9, 0.0, 0.0),
        (BY_TIME, 3, 12.5, 0.25),
        (BY_TIME, 3, 51.0, 1.0),
        (BY_BOTH, 30, 10.0, 0.3),
        (BY_BOTH, 30, 20.0, 0.4),
        (BY_BOTH, 30, 99.0, 1.0),
        (BY_BOTH, 100, 1.0, 1.0),
    ],
)
def test_progress_is_the_larger_share(
    schedule: Schedule, step: int, seconds: float, expected: float
) -> None:
    assert schedule.progress(step, seconds) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0.0, 0.0),
        (0.05, 0.125),
        (0.1, 0.25),
        (0.2, 0.5),
        (0.4, 0.3875),  # a quarter of the way down from 0.5 to 0.05
        (0.6, 0.275),
        (1.0, 0.05),
    ],
)
def test_learning_rate_rises_and_falls_linearly(
    progress: float, expected: float
) -> None:
    assert BY_STEPS.learning_rate(progress) == pytest.approx(expected)


@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_learning_rate_ends_at_zero_by_default(warmup: float) -> None:
    schedule = dataclasses.replace(BY_STEPS, warmup=warmup, final_rate=0.0)
    assert schedule.learning_rate(1.0) == 0
    assert schedule.learning_rate(warmup) == pytest.approx(schedule.peak)


def test_constant_learning_rate() -> None:
    schedule = dataclasses.replace(BY_STEPS, warmup=0.0, final_rate=1.0)
    assert {schedule.learning_rate(k / 7) for k in range(8)} == {0.5}


@given(schedules(), shares)
def test_learning_rate_stays_below_the_peak(
    schedule: Schedule, progress: float
) -> None:
    """Up to rounding; and behind the warm-up it never falls below its end."""
    rate = schedule.learning_rate(progress)
    assert 0 <= rate <= schedule.peak * (1 + 1e-9)
    if progress >= schedule.warmup:
        assert rate >= schedule.peak * schedule.final_rate * (1 - 1e-9)


@given(schedules(), shares, shares)
def test_learning_rate_rises_then_falls(schedule: Schedule, a: float, b: float) -> None:
    a, b = sorted([a, b])
    slack = schedule.peak * 1e-9
    if b < schedule.warmup:
        assert schedule.learning_rate(a) <= schedule.learning_rate(b) + slack
    if a >= schedule.warmup:
        assert schedule.learning_rate(b) <= schedule.learning_rate(a) + slack


def test_rates_by_steps_are_those_in_the_middle_of_each_step() -> None:
    """So neither the first nor the last step is wasted on a rate of 0."""
    schedule = dataclasses.replace(BY_STEPS, final_rate=0.0)
    rates = schedule.rates(0, 0.0, 0.0, 100)
    assert rates[:2] == pytest.approx([0.5 * 0.5 / 20, 0.5 * 1.5 / 20])
    assert rates[-2:] == pytest.approx([0.5 * 1.5 / 80, 0.5 * 0.5 / 80])
    assert max(rates) == pytest.approx(rates[20], rel=1e-2)


def test_rates_do_not_depend_on_the_calls_they_are_asked_in() -> None:
    whole = BY_STEPS.rates(0, 0.0, 0.1, 100)
    parts = [BY_STEPS.rates(start, 0.0, 0.1, 20) for start in range(0, 100, 20)]
    assert [rate for part in parts for rate in part] == whole


def test_rates_by_time_follow_the_pace() -> None:
    """At half a second per step, the next steps are a hundredth of the run each."""
    rates = BY_TIME.rates(7, 10.0, 0.5, 3)
    expected = [BY_TIME.learning_rate(0.2 + s) for s in (0.005, 0.015, 0.025)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "step", "seconds", "pace", "expected"),
    [
        (BY_STEPS, 0, 0.0, 0.0, 100),
        (BY_STEPS, 98, 1e9, 3.0, 2),
        (BY_STEPS, 100, 0.0, 1.0, 0),
        (BY_STEPS, 105, 0.0, 1.0, 0),
        (BY_TIME, 10**6, 40.0, 3.0, 3),
        (BY_TIME, 0, 50.0, 0.1, 0),
        (BY_TIME, 0, 60.0, 0.1, 0),
        (BY_TIME, 0, 49.0, 1.5, 0),
        (BY_TIME, 0, 0.0, 0.0, 1),  # no pace is known yet: try one
        (BY_TIME, 0, 51.0, 0.0, 0),
        (BY_BOTH, 95, 0.0, 1.0, 5),
        (BY_BOTH, 10, 45.0, 1.0, 5),
        (BY_BOTH, 0, 0.0, 0.0, 1),
        (BY_BOTH, 100, 0.0, 0.0, 0),
    ],
)
def test_steps_left(
    schedule: Schedule, step: int, seconds: float, pace: float, expected: int
) -> None:
    assert schedule.steps_left(step, seconds, pace) == expected


@given(schedules(), st.integers(0, 200), st.floats(0, 100), paces)
def test_steps_left_overshoot_nothing_and_waste_nothing(
    schedule: Schedule, step: int, seconds: float, pace: float
) -> None:
    count = schedule.steps_left(step, seconds, pace)
    assert count >= 0
    if count and schedule.total_steps is not None:
        assert step + count <= schedule.total_steps
    if count and schedule.max_seconds is not None:
        assert seconds + count * pace <= schedule.max_seconds * (1 + 1e-9)
    if schedule.progress(step, seconds) == 1:
        assert count == 0
    more = schedule.progress(step + count + 1, seconds + (count + 1) * pace)
    assert more == pytest.approx(1)


def play(schedule: Schedule, pace: float, per_call: int) -> list[float]:
    """The learning rates of a whole run whose every step takes `pace` seconds."""
    rates: list[float] = []
    while count := schedule.steps_left(len(rates), len(rates) * pace, pace):
        now = len(rates) * pace
        rates += schedule.rates(len(rates), now, pace, min(count, per_call))
    return rates


@pytest.mark.parametrize("schedule", [BY_STEPS, BY_TIME, BY_BOTH])
@pytest.mark.parametrize("per_call", [1, 16, 1000])
def test_a_run_ends_with_its_decay(schedule: Schedule, per_call: int) -> None:
    """A hundred steps or fifty seconds, at half a second each: the same run."""
    rates = play(dataclasses.replace(schedule, final_rate=0.0), 0.5, per_call)
    rise = [0.5 * (k + 0.5) / 20 for k in range(20)]
    fall = [0.5 * (k + 0.5) / 80 for k in range(80)]
    assert rates == pytest.approx(rise + fall[::-1])


@given(schedules(), st.floats(1e-2, 1), st.integers(1, 20))
def test_a_run_ends_in_time_and_not_early(
    schedule: Schedule, pace: float, per_call: int
) -> None:
    schedule = dataclasses.replace(
        schedule, total_steps=min(schedule.total_steps or 500, 500)
    )
    steps = len(play(schedule, pace, per_call))
    assert steps <= (schedule.total_steps or steps)
    assert steps * pace <= (schedule.max_seconds or steps * pace) * (1 + 1e-9)
    assert schedule.progress(steps + 1, (steps + 1) * pace) == 1
