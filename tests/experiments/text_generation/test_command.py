"""The application's commands on what `lstm_jax.train` leaves, too."""

from pathlib import Path

import pytest

from experiments.text_generation import __main__ as text_generation
from lstm_jax import InputError
from lstm_jax.lm import save
from tests.helpers.tiny_models import untrained


def test_a_run_of_the_train_command_is_continued_and_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, text = tmp_path / "run", tmp_path / "text.txt"
    save(untrained("the cat sat"), run)
    text.write_text("the cat", encoding="utf-8")
    text_generation.main(["predict", str(run), "the", "--length", "4"])
    assert capsys.readouterr().out.startswith("the")
    text_generation.main(["evaluate", str(run), "--data", str(text)])
    assert capsys.readouterr().out.startswith("run: loss, nats")
    for verb, *more in (("predict", "the"), ("evaluate", "--data", str(text))):
        with pytest.raises(InputError, match="expected a run, found no seeds"):
            text_generation.main([verb, str(tmp_path), *more])
