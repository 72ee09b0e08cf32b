"""A clock that runs by being read, for budgets on a machine that is busy."""

import itertools
import types

import pytest

from lstm_jax.training.loop import Timer

TICK = 1 / 32  # seconds, between two readings


def tick_by_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the training loop have such a clock."""
    readings = itertools.count()

    def read() -> float:
        return next(readings) * TICK

    clock = types.SimpleNamespace(perf_counter=read)
    monkeypatch.setattr("lstm_jax.training.loop.time", clock)
    monkeypatch.setattr(
        "lstm_jax.training.trainer.Timer",
        lambda **given: Timer(started=read(), **given),
    )
