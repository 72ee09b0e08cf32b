"""A text of 1 GiB is encoded piece by piece: memory stays, and it says how fast.

`python -m pytest -m slow -n0 -s tests/data/test_large_text.py` prints megabytes per
second.
"""

import time
from pathlib import Path

import pytest

from lstm_jax.data.text import encode_files, survey_files
from lstm_jax.data.tokenizers.characters import Kind
from tests.helpers.memory import peak, peak_from_now_on

SIZE = 2**30  # bytes
PIECE = "It is a tale\ttold by an idiot: Ünïcödé, «é», 日本語.\n".encode() * 20_000
MEGABYTES = 300  # that reading may add to what is in use at the most


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["char", "byte"])
def test_memory_does_not_grow_with_the_text(kind: Kind, tmp_path: Path) -> None:
    text = tmp_path / "large.txt"
    with text.open("wb") as file:
        for _ in range(SIZE // len(PIECE) + 1):
            file.write(PIECE)
    size = text.stat().st_size
    before = peak_from_now_on()
    started = time.perf_counter()
    survey = survey_files([text], kind, 0.1)
    corpus = encode_files([text], survey, tmp_path / "ids.npy")
    seconds = time.perf_counter() - started
    grown = (peak() - before) / 2**20
    print(f"{kind}: {size / seconds / 1e6:.0f} MB/s, {grown:.0f} MiB more in use")
    assert grown < MEGABYTES
    whole = PIECE.decode() if kind == "char" else PIECE
    assert len(corpus.ids) == len(whole) * (size // len(PIECE))
    assert survey.vocab.decode(corpus.ids[-len(whole) :]).encode() == PIECE
