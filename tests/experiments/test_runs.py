"""What the runs of all applications share: how one is resumed, and how long it took."""

import dataclasses

import pytest

from experiments.runs import RunOptions, refuse_changes
from lstm_jax import InputError
from lstm_jax.config import RunConfig

LASTING = {"epochs": 9, "max_seconds": 5.0, "steps_per_call": 1, "devices": 2}


def test_a_run_may_last_longer_but_draws_as_it_began() -> None:
    kept = RunOptions()
    refuse_changes(kept, RunOptions(run=RunConfig(**LASTING, evaluations=3)))
    with pytest.raises(
        InputError, match=r"^--resume: expected --seed as .* 0, found 5"
    ):
        refuse_changes(kept, RunOptions(run=RunConfig(seed=5)))
    with pytest.raises(InputError, match=r"^--resume: expected --precision as the run"):
        refuse_changes(kept, dataclasses.replace(kept, precision="mixed"))
