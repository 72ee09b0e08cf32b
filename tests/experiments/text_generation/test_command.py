"""The application's commands on what `lstm_jax.train` leaves, too."""

from pathlib import Path

import numpy as np
import pytest

from experiments.text_generation import __main__ as text_generation
from experiments.text_generation.baseline import witten_bell
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


def test_seeds_are_called_by_their_numbers() -> None:
    run = {
        "validation": {"window256": {"loss": 1.5}},
        "parameters": 3,
        "epochs": 1.0,
        "seconds": {"loop": 2.0},
    }
    rows = text_generation.seeds_table([run, run], 7).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["7", "8", "mean"]


def test_the_floor_of_a_long_text_is_of_a_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of what stands before and behind the place where held-out text begins."""
    monkeypatch.setattr(text_generation, "_MOST_COUNTED", 50)
    text = "".join(np.random.default_rng(0).choice(list("abcd"), 1000))
    ids = np.unique(list(text[855:905]), return_inverse=True)[1]
    expected = witten_bell(ids[:45], ids[45:], 4).mean()
    assert text_generation.five_grams(text) == pytest.approx(expected)


def test_a_trial_run_makes_its_own_text() -> None:
    with pytest.raises(InputError, match=r"^--smoke: expected no --data beside it"):
        text_generation.main(["--smoke", "--data", "mine.txt"])


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
