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


@pytest.mark.parametrize("vocab", ["char", "byte"])
def test_a_text_without_a_part_to_hold_out_is_refused(
    vocab: str, tmp_path: Path
) -> None:
    """Before anything is trained: nothing could be compared."""
    (text := tmp_path / "a.txt").write_text("0123456789")
    words = ["--data", str(text), "--vocab", vocab, "--run-dir", str(tmp_path / "run")]
    with pytest.raises(InputError, match=r"a\.txt: expected a text of 11 .* found 10$"):
        text_generation.main(words)
    assert not (tmp_path / "run").exists()
