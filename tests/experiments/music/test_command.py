"""The command of music."""

import dataclasses
from pathlib import Path

from experiments.music import __main__ as music
from experiments.music.config import MusicConfig
from lstm_jax.config import RunConfig


def test_a_former_trial_run_is_resumed_with_its_own_network() -> None:
    run = RunConfig(run_dir=Path("run"), resume=True)
    former = music.Options(smoke=True, recipe=MusicConfig(hidden=16), run=run)
    assert music.load(former)[1].recipe == former.recipe
    again = dataclasses.replace(former, run=dataclasses.replace(run, resume=False))
    assert music.load(again)[1].recipe.key_units
