"""From a prompt to its continuation, as text."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from lstm_jax.data.tokenizers.characters import Kind
from lstm_jax.decoding.autoregressive import sample_keys
from lstm_jax.decoding.config import SamplingConfig
from lstm_jax.engines.native.build import why_not_built
from lstm_jax.errors import InputError
from lstm_jax.lm.generation import (
    generate_text,
    generate_texts,
    score_text,
    search_continuations,
    search_text,
    stream_text,
    stream_texts,
    write_texts,
)
from lstm_jax.lm.text_model import TextModel, evaluate_text
from tests.helpers.tiny_models import LESSON, lesson_learned, untrained

DRAWN = SamplingConfig(1.0)


@pytest.fixture(scope="module")
def learned() -> TextModel:
    return lesson_learned()


@pytest.mark.parametrize("temperature", [0.0, 0.2])
@pytest.mark.parametrize("prompt", ["a", "abcdé, ab", LESSON])
def test_what_was_learned_is_written(
    learned: TextModel, prompt: str, temperature: float
) -> None:
    made = generate_text(learned, prompt, 30, temperature=temperature)
    assert made == (LESSON * 2)[len(prompt) :][:30]


def test_settings_reach_the_sampler(learned: TextModel) -> None:
    """One symbol to choose from, by number or by share, is the greedy text."""
    free = [generate_text(learned, "a", 80, temperature=9.0, seed=s) for s in (0, 0, 1)]
    assert free[0] == free[1] != free[2]
    greedy = generate_text(learned, "a", 80)
    assert greedy != free[0]
    assert generate_text(learned, "a", 80, temperature=9.0, top_k=1) == greedy
    assert generate_text(learned, "a", 80, temperature=9.0, top_p=0.01) == greedy
    hot = SamplingConfig(9.0, repetition_penalty=3.0)
    punished = generate_text(learned, "a", 80, hot)
    assert punished == generate_text(
        learned, "a", 80, temperature=9.0, repetition_penalty=3.0
    )
    assert punished != free[0]
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
    hot = SamplingConfig(5.0)
    pieces = list(stream_texts(learned, "ab", 100, hot, samples=3, seed=2))
    texts = ["".join(parts) for parts in zip(*pieces, strict=True)]
    assert texts[0] == "".join(stream_text(learned, "ab", 100, hot, seed=2))
    assert len(set(texts)) == 3
    assert [len(text) for text in texts] == [100] * 3


@pytest.mark.parametrize("stop", ["dé", "é, abcdé", "\n"])
def test_a_text_ends_before_its_stop(learned: TextModel, stop: str) -> None:
    """What is known of the lesson is written up to there, and not one piece more."""
    pieces = list(stream_text(learned, "ab", 400, SamplingConfig(), stops=[stop]))
    assert "".join(pieces) == (LESSON * 2)[2:402].partition(stop)[0]
    chunk = 64 if why_not_built() else 256  # one call makes more than XLA's loop
    assert len(pieces) == (1 if stop in LESSON else 400 // chunk + 2)


def test_every_sample_has_its_own_end() -> None:
    """The text goes on until the last of them has come to its stop."""

    def write(stop: str) -> list[str]:
        pieces = stream_texts(clueless, "", 200, DRAWN, samples=5, seed=2, stops=[stop])
        return ["".join(parts) for parts in zip(*pieces, strict=True)]

    clueless = untrained("abc")
    free, ended = write(""), write("cabc")
    assert ended == [text.partition("cabc")[0] for text in free]
    lengths = sorted(map(len, ended))
    assert lengths[0] < 64 < lengths[-1] < 200  # one ends in the first piece, not all


def test_every_row_can_have_its_own_seed(learned: TextModel) -> None:
    """And is then the text that its seed alone makes."""
    hot = SamplingConfig(5.0)
    pieces = stream_texts(learned, "ab", 70, hot, seeds=[4, 9, 4])
    rows = ["".join(parts) for parts in zip(*pieces, strict=True)]
    alone = ["".join(stream_text(learned, "ab", 70, hot, seed=s)) for s in (4, 9)]
    assert rows == [alone[0], alone[1], alone[0]]
    assert alone[0] != alone[1]


def test_a_beam_writes_what_was_learned(learned: TextModel) -> None:
    best, *others = search_text(learned, "ab", 20, width=3)
    assert best == (LESSON * 2)[2:22]
    assert len(others) == 2 and len({best, *others}) == 3
    scores = [score_text(learned, text, "ab").sum() for text in (best, *others)]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("stops", "expected"),
    [
        ([","], "cdé"),
        (["é, "], "cd"),
        (["x", "é", ","], "cd"),
        ([",", "é"], "cd"),
        (["", "xyz", "d"], "c"),
    ],
)
def test_a_beam_ends_at_every_stop(
    learned: TextModel, stops: list[str], expected: str
) -> None:
    """Of one character or several, first or last, known to the model or not."""
    found = search_text(learned, "ab", 20, width=3, stops=stops)
    assert found[0] == expected
    assert len(set(found)) == len(found) == 3
    assert not any(stop and stop in text for stop in stops for text in found)


def test_a_beam_finds_what_its_stops_leave() -> None:
    """Of a model that knows nothing all the shortest texts are about as likely."""
    model = untrained("abc!?")
    one, other = (
        search_continuations(model, "", 4, 6, stops=stops)
        for stops in (["!", "c?", "x"], ["c?", "!"])
    )
    assert [each.text for each in one] == [each.text for each in other]
    assert len({each.text for each in one}) == 6
    for each in one:
        assert model.vocab.decode(each.ids) == each.text
        assert "!" not in each.text and "c?" not in each.text


@pytest.mark.parametrize(("width", "alpha"), [(0, 0.0), (2, -1.0)])
def test_a_beam_without_sense_is_refused(
    learned: TextModel, width: int, alpha: float
) -> None:
    with pytest.raises(InputError, match=f"width {width}.*alpha {alpha}"):
        search_text(learned, "ab", 5, width=width, alpha=alpha)


def test_scores_are_those_of_the_evaluation(learned: TextModel) -> None:
    """The mean of them, the first symbol's aside, is the loss of the stream."""
    found = score_text(learned, LESSON[1:], LESSON[:1])
    loss = evaluate_text(learned, LESSON)["stream"]["loss"]
    np.testing.assert_allclose(-found.mean(), loss, rtol=1e-4)
    with pytest.raises(InputError, match="found 'x'"):
        score_text(learned, "x")


# With all that the command can.


def test_samples_and_stops_from_python(learned: TextModel) -> None:
    hot = {"temperature": 5.0, "seed": 2}
    texts = generate_text(learned, "ab", 30, samples=3, **hot)
    assert len(texts) == 3 and texts[0] == generate_text(learned, "ab", 30, **hot)
    ended = generate_text(learned, "ab", 30, samples=3, stop=["d", "zzz"], **hot)
    assert ended == [text.partition("d")[0] for text in texts]
    assert generate_text(learned, "ab", stop="dé") == "c"
    assert len(generate_text(learned, "ab")) == 400
    with pytest.raises(InputError, match=r"expected one of temperature, .*found temp$"):
        generate_text(learned, "ab", temp=1.0)
    with pytest.raises(InputError, match="samples: expected 1 or more, found 0"):
        generate_text(learned, "ab", samples=0)


def test_prompts_of_any_length_are_continued_as_each_alone(learned: TextModel) -> None:
    prompts = ["ab", "", LESSON, "é, a"]
    rules = {"temperature": 1.5, "top_p": 0.9, "no_repeat_ngram": 6}
    found = generate_texts(learned, prompts, 40, samples=2, seed=3, stop="bb", **rules)
    for prompt, texts in zip(prompts, found, strict=True):
        alone = generate_text(
            learned, prompt, 40, samples=2, seed=3, stop="bb", **rules
        )
        assert texts == alone
    with pytest.raises(InputError, match="prompts: expected a list of texts"):
        generate_texts(learned, "ab")
    with pytest.raises(InputError, match="prompts: expected 1 or more, found 0"):
        generate_texts(learned, [])


def test_no_run_of_characters_is_repeated(learned: TextModel) -> None:
    """The lesson itself may then come once only, the prompt's part of it included."""
    made = "abcdé, abc" + generate_text(learned, "abcdé, abc", 30, no_repeat_ngram=4)
    runs = [made[k : k + 4] for k in range(len(made) - 3)]
    assert len(set(runs)) == len(runs)


@pytest.mark.parametrize("kind", ["byte", "char"])
@pytest.mark.parametrize("stops", [(), ("a", "\x01b")])
def test_ids_are_those_of_the_text(kind: Kind, stops: tuple[str, ...]) -> None:
    """Of bytes as they were made, most of which are no UTF-8, and without the stop."""
    model = untrained("abc\x01", kind)
    keys = sample_keys(5, 6)
    writers, pieces = write_texts(model, ["", "c"], 150, DRAWN, keys, stops)
    texts = ["".join(parts) for parts in zip(*pieces, strict=True)]
    ended = 0
    for writer, text in zip(writers, texts, strict=True):
        made = writer.continuation()
        assert made.text == text == model.vocab.decode(made.ids)
        ended += len(made.ids) < 150
        assert not any(stop in text for stop in stops)
    assert bool(ended) == bool(stops)
    if kind == "byte" and not stops:
        assert any("\ufffd" in text for text in texts)
        assert [len(writer.continuation().ids) for writer in writers] == [150] * 12
