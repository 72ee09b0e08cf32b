"""From a text to a model: learn a little text, score it, keep it."""

import dataclasses
import errno
from pathlib import Path

import pytest

from lstm_jax.config import RunConfig
from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.errors import InputError
from lstm_jax.lm.config import DataConfig
from lstm_jax.lm.generation import generate_text
from lstm_jax.lm.run_directory import open_run
from lstm_jax.lm.text_model import TextModel, evaluate_text, load_text_model, save
from lstm_jax.lm.training import fit_text
from lstm_jax.training.callbacks import Callback
from lstm_jax.training.history import HistoryRow
from tests.helpers.tiny_models import LESSON, config, lesson_learned, untrained


@pytest.fixture(scope="module")
def learned() -> TextModel:
    return lesson_learned()


# Learning.


def test_a_lesson_is_learned(learned: TextModel) -> None:
    """Guessing among seven characters costs ln 7 = 1.95 nats; knowing, nothing."""
    for found in evaluate_text(learned, LESSON).values():
        assert found["loss"] < 0.1
        assert found["accuracy"] > 0.97
        assert found["characters"] == len(LESSON) - 1
    nonsense = evaluate_text(learned, LESSON[::-1])["stream"]
    assert nonsense["loss"] > 1


def test_learning_is_repeatable(learned: TextModel) -> None:
    again = fit_text(LESSON, config())
    assert evaluate_text(again, LESSON) == evaluate_text(learned, LESSON)


def test_a_run_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    seen: list[HistoryRow] = []

    class Seen(Callback):
        def on_row(self, row: HistoryRow) -> None:
            seen.append(row)

    asked = config()
    run = dataclasses.replace(asked.run, run_dir=tmp_path / "run", epochs=2)
    asked = dataclasses.replace(
        asked, run=run, text=DataConfig(validation_fraction=0.2, vocab="bpe")
    )
    trained = fit_text(LESSON, asked, callbacks=[Seen()])
    kept = load_text_model(tmp_path / "run")
    assert evaluate_text(kept, LESSON) == evaluate_text(trained, LESSON)
    found = open_run(tmp_path / "run")
    corpus = found.corpus(kept.config, kept.vocab)
    assert kept.vocab.decode(corpus.ids) == LESSON
    assert kept.vocab.decode(corpus.train) == LESSON[: int(0.8 * len(LESSON))]
    assert [r.step for r in found.history.read()] == [r.step for r in seen]
    assert (tmp_path / "run" / "curves.png").exists()
    with pytest.raises(InputError, match="overwrite=True replaces it"):
        fit_text(LESSON, asked)


@pytest.mark.parametrize("setting", ["resume", "tensorboard"])
def test_settings_without_a_folder_are_refused(setting: str) -> None:
    asked = config()
    flags = {"resume": False, "tensorboard": False} | {setting: True}
    run = RunConfig(resume=flags["resume"], tensorboard=flags["tensorboard"])
    with pytest.raises(InputError, match=setting):
        fit_text(LESSON, dataclasses.replace(asked, run=run))


def test_a_model_is_tuned_to_another_text(learned: TextModel) -> None:
    """Nothing is lost at first, and a new character has a symbol of its own."""
    slow = config()
    slow = dataclasses.replace(
        slow, optimizer=dataclasses.replace(slow.optimizer, learning_rate=1e-30)
    )
    other = LESSON[::-1]
    tuned = fit_text(other, slow, start=learned)
    assert tuned.vocab == learned.vocab
    expected = evaluate_text(learned, other)["stream"]["loss"]
    assert evaluate_text(tuned, other)["stream"]["loss"] == pytest.approx(expected)
    more = fit_text("Z" * 8 + other, slow, start=learned)
    assert len(more.vocab) == len(learned.vocab) + 1
    found = evaluate_text(more, other)["stream"]["loss"]
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_short_text_makes_a_small_batch() -> None:
    """Of eleven characters nine are for learning: eight pairs, in a single row."""
    trained = fit_text("hello world", config())
    assert trained.config.optimizer.batch == 1
    assert trained.config.optimizer.length == 8
    assert trained.vocab == CharTokenizer("char", " ehlorw")
    assert len(generate_text(trained, "hel", 8)) == 8


@pytest.mark.parametrize("text", ["", "a"])
def test_too_short_texts_are_refused(learned: TextModel, text: str) -> None:
    message = f"expected a text of at least 2 characters, found {len(text)}"
    with pytest.raises(InputError, match=message):
        fit_text(text)
    with pytest.raises(InputError, match=message):
        evaluate_text(learned, text)


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="--beta2: expected"):
        fit_text(LESSON, config(beta2=1.5))


def test_unknown_characters_can_be_scored(learned: TextModel) -> None:
    """As one symbol the model never saw: it costs, and its neighbours are affected."""
    known = evaluate_text(learned, "abcdé, abcdé, ")["stream"]
    foreign = evaluate_text(learned, "abcdé, xyzdé, ")["stream"]
    assert foreign["characters"] == known["characters"]
    assert foreign["loss"] > known["loss"] + 0.5


# Keeping.


def test_a_saved_model_is_the_same_model(learned: TextModel, tmp_path: Path) -> None:
    save(learned, tmp_path / "run")
    loaded = load_text_model(str(tmp_path / "run"))
    assert (loaded.config, loaded.vocab) == (learned.config, learned.vocab)
    assert evaluate_text(loaded, LESSON) == evaluate_text(learned, LESSON)
    for temperature in (0.0, 1.5):
        texts = [
            generate_text(trained, "cd", 100, temperature=temperature, seed=3)
            for trained in (learned, loaded)
        ]
        assert texts[0] == texts[1]


def test_a_saved_model_is_replaced_on_request(
    learned: TextModel, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    save(untrained(LESSON), path)
    with pytest.raises(InputError, match=r"a run; overwrite=True replaces it$"):
        save(learned, path)
    save(learned, path, overwrite=True)
    assert evaluate_text(load_text_model(path), LESSON) == evaluate_text(
        learned, LESSON
    )
    (path / "config.json").write_text("{}")
    (path / "notes.txt").write_text("precious")
    with pytest.raises(InputError, match="expected an empty folder or a run"):
        save(learned, path, overwrite=True)
    assert (path / "notes.txt").read_text() == "precious"


def test_what_cannot_be_saved_leaves_nothing(
    learned: TextModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("lstm_jax.storage.checkpoints.write_parts", full)
        with pytest.raises(InputError, match="No space left"):
            save(learned, tmp_path / "run")
    assert not any(tmp_path.iterdir())
    save(learned, tmp_path / "run")


def test_what_is_not_there_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no folder"):
        load_text_model(tmp_path / "run")


def test_an_engine_that_is_not_here(tmp_path: Path) -> None:
    """A run trained elsewhere is read by another one; a new run is refused."""
    trained = untrained(LESSON)
    model = dataclasses.replace(config().model, engine="cudnn")
    elsewhere = dataclasses.replace(config(), model=model)
    save(dataclasses.replace(trained, config=elsewhere), tmp_path / "run")
    loaded = load_text_model(tmp_path / "run")
    assert loaded.config == config()
    assert evaluate_text(loaded, LESSON) == evaluate_text(trained, LESSON)
    with pytest.raises(InputError, match="--engine: engine 'cudnn': needs"):
        fit_text(LESSON, elsewhere)
