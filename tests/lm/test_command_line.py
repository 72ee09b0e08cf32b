"""The command that a run was: asked again, it has the same settings."""

import shlex
from pathlib import Path

import pytest

from lstm_jax.lm.command_line import command_of
from lstm_jax.train import _configure

COMMANDS = {
    "": "",
    "--data a.txt": "--data a.txt --run-dir runs/a",
    "--data 'my text.txt' b.gz --hidden 9 --variational --seed 3 --run-dir x": None,
    "--data a.txt --preset shakespeare-3min --no-variational --dropout 0.5": None,
    "--data a.txt --epochs 3 --patience 2 --tensorboard --clip-norm 0": None,
    "--epochs 3 --hidden 7 --precision bfloat16": None,
}


@pytest.mark.parametrize("words", COMMANDS)
def test_asked_again_a_command_has_the_same_settings(words: str) -> None:
    config, _ = _configure(shlex.split(words))
    command = command_of(config)
    begin = "python -m lstm_jax.train"
    assert command.startswith(begin)
    expected = COMMANDS[words]
    if expected is not None:
        assert command == f"{begin} {expected}".rstrip()
    again, _ = _configure(shlex.split(command)[3:])
    assert again == config


def test_how_a_run_was_opened_is_no_part_of_it(tmp_path: Path) -> None:
    config, _ = _configure(["--data", "a.txt", "--overwrite", "--devices", "2"])
    assert "overwrite" not in command_of(config)
    assert "--devices 2" in command_of(config)
