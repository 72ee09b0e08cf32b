"""From text to text: learn a little text, write it, score it, keep it."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_jax.config import (
    DataConfig,
    Kind,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    TrainConfig,
)
from lstm_jax.data import encode_text
from lstm_jax.decode import Sampling
from lstm_jax.errors import InputError
from lstm_jax.task import build_model
from lstm_jax.text import (
    TextModel,
    evaluate_text,
    fit_text,
    generate_text,
    load,
    save,
    stream_text,
    stream_texts,
)

LESSON = "abcdé, " * 40
DRAWN = Sampling(1.0)


def config(kind: Kind = "char", **optimizer: float) -> TrainConfig:
    """A small network that learns fast."""
    return TrainConfig(
        text=DataConfig(vocab=kind),
        model=ModelConfig(layers=1, hidden=16, dropout=0.0),
        optimizer=OptimizerConfig(batch=4, length=16, learning_rate=0.03, **optimizer),
        run=RunConfig(epochs=40, evaluations=2),
    )


@pytest.fixture(scope="module")
def learned() -> TextModel:
    """A model that knows the lesson."""
    return fit_text(LESSON, config())


def untrained(text: str, kind: Kind = "char") -> TextModel:
    """A model that knows the symbols of a text, and nothing else."""
    _, vocab = encode_text(text, kind, 0.0)
    return TextModel(config(kind), vocab, build_model(config(kind), vocab))


# Learning.


def test_a_lesson_is_learned(learned: TextModel) -> None:
    """Guessing among seven characters costs ln 7 = 1.95 nats; knowing, nothing."""
    for found in evaluate_text(learned, LESSON).values():
        assert found["loss"] < 0.1
        assert found["accuracy"] > 0.97
        assert found["characters"] == len(LESSON) - 1
    nonsense = evaluate_text(learned, LESSON[::-1])["stream"]
    assert nonsense["loss"] > 1


@pytest.mark.parametrize("temperature", [0.0, 0.2])
@pytest.mark.parametrize("prompt", ["a", "abcdé, ab", LESSON])
def test_what_was_learned_is_written(
    learned: TextModel, prompt: str, temperature: float
) -> None:
    made = generate_text(learned, prompt, 30, temperature=temperature)
    assert made == (LESSON * 2)[len(prompt) :][:30]


def test_learning_is_repeatable(learned: TextModel) -> None:
    again = fit_text(LESSON, config())
    assert evaluate_text(again, LESSON) == evaluate_text(learned, LESSON)


def test_a_short_text_makes_a_small_batch() -> None:
    """Of eleven characters nine are for learning: eight pairs, in a single row."""
    trained = fit_text("hello world", config())
    assert trained.config.optimizer.batch == 1
    assert trained.config.optimizer.length == 8
    assert trained.vocab.characters == " ehlorw"
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
    loaded = load(tmp_path / "run")
    assert (loaded.config, loaded.vocab) == (learned.config, learned.vocab)
    assert evaluate_text(loaded, LESSON) == evaluate_text(learned, LESSON)
    for temperature in (0.0, 1.5):
        texts = [
            generate_text(trained, "cd", 100, temperature=temperature, seed=3)
            for trained in (learned, loaded)
        ]
        assert texts[0] == texts[1]
    with pytest.raises(InputError, match="found a run"):
        save(learned, tmp_path / "run")


def test_what_is_not_there_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no folder"):
        load(tmp_path / "run")


# Writing.


def test_settings_reach_the_sampler(learned: TextModel) -> None:
    """One symbol to choose from, by number or by share, is the greedy text."""
    free = [generate_text(learned, "a", 80, temperature=9.0, seed=s) for s in (0, 0, 1)]
    assert free[0] == free[1] != free[2]
    greedy = generate_text(learned, "a", 80)
    assert greedy != free[0]
    assert generate_text(learned, "a", 80, temperature=9.0, top_k=1) == greedy
    assert generate_text(learned, "a", 80, temperature=9.0, top_p=0.01) == greedy
    with pytest.raises(InputError, match="temperature: expected"):
        generate_text(learned, "a", 80, temperature=-1.0)


def test_unknown_is_never_written() -> None:
    """Not even by a model that has no idea, in 300 characters at a high temperature."""
    made = generate_text(untrained("abc"), "", 300, temperature=5.0)
    assert set(made) == set("abc")
    assert len(made) == 300


@pytest.mark.parametrize("write", [generate_text, stream_text, stream_texts])
def test_unknown_characters_of_a_prompt_are_named(
    learned: TextModel, write: Callable
) -> None:
    """At the call, in one line: who prints pieces has printed nothing yet."""
    message = (
        "the prompt: expected characters of the training text (7 different ones), "
        "found 'x' (U+0078), '\\n' (U+000A), 'Z' (U+005A)"
    )
    sampling = () if write is generate_text else (DRAWN,)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        write(learned, "abxa\nxZb", 10, *sampling)
    assert "\n" not in str(caught.value)


def test_any_prompt_is_known_to_a_model_of_bytes() -> None:
    of_bytes = untrained("any", "byte")
    assert len(generate_text(of_bytes, "x\n€\U0001f600\0", 20)) > 0


@pytest.mark.parametrize("length", [0, 1, 64, 150])
def test_streamed_pieces_are_the_text(learned: TextModel, length: int) -> None:
    pieces = list(stream_text(learned, "ab", length, DRAWN, seed=2))
    whole = generate_text(learned, "ab", length, temperature=1.0, seed=2)
    assert "".join(pieces) == whole
    assert len(whole) == length
    assert sum(map(bool, pieces)) == -(-length // 64)


def test_samples_are_written_side_by_side(learned: TextModel) -> None:
    hot = Sampling(5.0)
    pieces = list(stream_texts(learned, "ab", 100, hot, samples=3, seed=2))
    texts = ["".join(parts) for parts in zip(*pieces, strict=True)]
    assert texts[0] == "".join(stream_text(learned, "ab", 100, hot, seed=2))
    assert len(set(texts)) == 3
    assert [len(text) for text in texts] == [100] * 3


@pytest.mark.parametrize("stop", ["dé", "é, abcdé", "\n"])
def test_a_text_ends_before_its_stop(learned: TextModel, stop: str) -> None:
    """What is known of the lesson is written up to there, and not one piece more."""
    pieces = list(stream_text(learned, "ab", 400, Sampling(), stop=stop))
    assert "".join(pieces) == (LESSON * 2)[2:402].partition(stop)[0]
    assert len(pieces) == (1 if stop in LESSON else 400 // 64 + 2)


def test_every_sample_has_its_own_end() -> None:
    """The text goes on until the last of them has come to its stop."""

    def write(stop: str) -> list[str]:
        pieces = stream_texts(clueless, "", 200, DRAWN, samples=5, seed=2, stop=stop)
        return ["".join(parts) for parts in zip(*pieces, strict=True)]

    clueless = untrained("abc")
    free, ended = write(""), write("cabc")
    assert ended == [text.partition("cabc")[0] for text in free]
    lengths = sorted(map(len, ended))
    assert lengths[0] < 64 < lengths[-1] < 200  # one ends in the first piece, not all


def test_an_engine_that_is_not_here(tmp_path: Path) -> None:
    """A run trained elsewhere is read by another one; a new run is refused."""
    trained = untrained(LESSON)
    model = dataclasses.replace(config().model, engine="cudnn")
    elsewhere = dataclasses.replace(config(), model=model)
    save(dataclasses.replace(trained, config=elsewhere), tmp_path / "run")
    loaded = load(tmp_path / "run")
    assert loaded.config == config()
    assert evaluate_text(loaded, LESSON) == evaluate_text(trained, LESSON)
    with pytest.raises(InputError, match="--engine: engine 'cudnn': needs"):
        fit_text(LESSON, elsewhere)
