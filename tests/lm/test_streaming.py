"""Text that ends before its stop, wherever the pieces it comes in are cut."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.lm.generation import TextStreamer

ABC, BYTES = CharTokenizer("char", "abc"), CharTokenizer("byte")
cuts = st.lists(st.integers(0, 30))
utf8_text = st.text(max_size=12)


def write(vocab: CharTokenizer, text: str, cuts: list[int], *stops: str) -> list[str]:
    """What is written of a text that comes in these pieces, and at its end."""
    ids = vocab.encode(text)
    bounds = sorted(min(cut, len(ids)) for cut in [0, *cuts, len(ids)])
    writer = TextStreamer(vocab, stops)
    pieces = [writer.write(ids[start:end]) for start, end in pairwise(bounds)]
    assert writer.stopped == any(stop and stop in text for stop in stops)
    return [*pieces, writer.finish()]


@given(st.text("ab", max_size=30), cuts, st.text("abc", max_size=4))
@example("aabaab", [1, 2, 3, 4, 5], "aabb")
@example("aaab", [3], "aab")
@example("abab", [2], "abc")
@example("ab", [1], "")
def test_a_text_ends_before_its_stop(text: str, cuts: list[int], stop: str) -> None:
    """And what only begins like the stop is not lost."""
    expected = text.partition(stop)[0] if stop else text
    assert "".join(write(ABC, text, cuts, stop)) == expected


@given(st.text("ab", max_size=20), cuts, st.lists(st.text("ab", max_size=4)))
@example("abab", [1], ["abb", "ba"])
@example("aabb", [1, 2, 3], ["ab", "aab"])
def test_of_several_stops_the_first_complete_one_counts(
    text: str, cuts: list[int], stops: list[str]
) -> None:
    """However the text is cut into pieces; found by trying every length."""
    expected = text
    for size in range(1, len(text) + 1):
        done = [stop for stop in stops if stop and text[:size].endswith(stop)]
        if done:
            expected = text[: size - max(map(len, done))]
            break
    assert "".join(write(ABC, text, cuts, *stops)) == expected


@given(utf8_text, cuts, utf8_text)
@example("é€\U0001f600é", [1, 2, 3, 4, 5, 6, 7, 8], "\U0001f600")
@example("aé", [2], "é")
def test_bytes_may_be_cut_anywhere(text: str, cuts: list[int], stop: str) -> None:
    """Inside a character of the text, or of the stop."""
    expected = text.partition(stop)[0] if stop else text
    assert "".join(write(BYTES, text, cuts, stop)) == expected


@pytest.mark.parametrize(
    ("stop", "pieces"),
    [
        ("", ["a", "b", "a", "c", ""]),
        ("ac", ["", "ab", "", "", ""]),
        ("bc", ["a", "", "ba", "c", ""]),
        ("aca", ["", "ab", "", "", "ac"]),
        ("acb", ["", "ab", "", "", "ac"]),
    ],
)
def test_only_what_may_be_the_stop_is_held_back(stop: str, pieces: list[str]) -> None:
    """All else is written as soon as it comes, here in pieces of one symbol."""
    assert write(ABC, "abac", [1, 2, 3], stop) == pieces


def test_an_unfinished_character_is_shown_as_such() -> None:
    """A text of bytes may end inside a character."""
    writer = TextStreamer(BYTES)
    ids = BYTES.encode("a€".encode()[:-1])
    assert writer.write(ids) + writer.finish() == "a\ufffd"
