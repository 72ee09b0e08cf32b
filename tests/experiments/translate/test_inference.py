"""Sentences as a task, and a translator at work: searching, keeping, looking."""

import functools
import math
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.translate.inference import (
    Search,
    TextTranslator,
    attention_of,
    load_translator,
    translate,
    translate_ids,
)
from experiments.translate.plots import draw_attention
from experiments.translate.task import (
    NAME,
    TOKENIZERS,
    Examples,
    encode_pairs,
    evaluate_pairs,
    save_tables,
    tables_of,
    translation_task,
)
from lstm_jax.data.special_ids import END, IGNORED, START, UNKNOWN
from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.data.tokenizers.saved import save_tokenizer
from lstm_jax.data.tokenizers.subwords import BPETokenizer, learn_subwords
from lstm_jax.errors import InputError
from lstm_jax.models.saved import ModelSpec, save_model
from lstm_jax.models.seq2seq import Seq2Seq, build_seq2seq, seq2seq_loss

PAIRS = [("der hund", "the dog runs"), ("ein", "a"), ("der alte hund da", "old dog")]
GERMAN, ENGLISH = (learn_subwords([p[k] for p in 2 * PAIRS], 60) for k in (0, 1))
LIMIT = math.ceil(1.5 * 8) + 10  # of sources that are rounded up to 8 symbols
EXAMPLES = encode_pairs(PAIRS, GERMAN, ENGLISH)
forward = jax.jit(Seq2Seq.__call__)


@functools.cache
def translator() -> TextTranslator:
    """Untrained, but with opinions."""
    sizes = {"embedding": 6, "hidden": 8, "layers": 1}
    model = build_seq2seq(len(GERMAN), len(ENGLISH), 3, **sizes)
    model = jax.tree.map(lambda a: a * 4, model)
    model.b_out[END] += 0.5  # or it would never stop
    model.b_out[UNKNOWN] += 9.0  # what it likes most, and must not write
    return TextTranslator(model, GERMAN, ENGLISH, lower_case=True)


def slow_greedy(source: np.ndarray) -> list[int]:
    """The whole translation read anew for every symbol."""
    written: list[int] = []
    while len(written) < LIMIT:
        inputs = np.zeros((1, LIMIT), np.int32)
        inputs[0, : len(written) + 1] = [START, *written]
        sizes = np.array([len(source)], np.int32)
        scores = forward(translator().model, source[None], sizes, inputs)
        best = np.array(scores[0, len(written)])
        best[[UNKNOWN, START]] = -np.inf
        if best.argmax() == END:
            break
        written.append(int(best.argmax()))
    return written


def chance(source: np.ndarray, written: list[int]) -> float:
    """Ln P(translation and its END), as the search has it."""
    inputs = np.zeros((1, LIMIT), np.int32)
    inputs[0, : len(written) + 1] = [START, *written]
    sizes = np.array([len(source)], np.int32)
    scores = np.array(forward(translator().model, source[None], sizes, inputs)[0])
    scores[:, [UNKNOWN, START]] = -np.inf
    logs = jax.nn.log_softmax(scores[: len(written) + 1])
    ids = [*written, END][: len(logs)]
    return float(sum(logs[k, symbol] for k, symbol in enumerate(ids)))


def test_greedy_takes_the_likeliest_symbol_each_time() -> None:
    found = translate_ids(translator().model, EXAMPLES.sources)
    assert len(set(map(tuple, found))) > 1 and max(map(len, found)) > 1
    for source, ids in zip(EXAMPLES.sources, found, strict=True):
        assert ids == slow_greedy(source)


def test_a_beam_finds_what_is_likelier() -> None:
    greedy = translate_ids(translator().model, EXAMPLES.sources)
    beam = translate_ids(translator().model, EXAMPLES.sources, Search(8))
    gains = [
        chance(source, theirs) - chance(source, ours)
        for source, ours, theirs in zip(EXAMPLES.sources, greedy, beam, strict=True)
    ]
    assert min(gains) > -1e-3 and max(gains) > 0.1


def test_texts_come_back_in_their_order() -> None:
    texts = ["Der alte Hund da", "", "ein", " "]
    found = translate(translator(), texts)
    assert found[1] == found[3] == ""
    for text, translation in zip(texts, found, strict=True):
        assert translate(translator(), [text.lower()]) == [translation]
    assert translate(translator(), []) == []


@pytest.mark.parametrize("search", [Search(), Search(3, 1.0)], ids=["greedy", "beam"])
def test_a_translation_does_not_depend_on_its_neighbours(search: Search) -> None:
    """A long one beside it, which would let it be longer and the beam look further."""
    restless = jax.tree.map(lambda a: a, translator().model)
    restless.b_out[END] -= 8.0
    draw = np.random.default_rng(0)
    lengths = [3, 20, 1, 8, 5]
    sources = [draw.integers(3, len(GERMAN), n).astype(np.int32) for n in lengths]
    together = translate_ids(restless, sources, search)
    assert max(map(len, together)) > LIMIT
    for source, found in zip(sources, together, strict=True):
        assert translate_ids(restless, [source], search) == [found]
    assert translate_ids(restless, sources[::-1] * 7, search) == together[::-1] * 7


def test_where_it_looked(tmp_path: Path) -> None:
    read, written, weights = attention_of(translator(), "Der Hund")
    assert "".join(read) == " der hund" and written[-1] == ""
    assert "".join(written).strip() == translate(translator(), ["der hund"])[0]
    assert weights.shape == (len(written), len(read))
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    draw_attention(read, written, weights, tmp_path / "attention.png")
    assert (tmp_path / "attention.png").stat().st_size > 5000


def keep(run_dir: Path, application: str = NAME) -> None:
    """Leave what a run leaves of the translator."""
    sizes = {"source_size": len(GERMAN), "target_size": len(ENGLISH), "layers": 1}
    spec = ModelSpec("seq2seq", {**sizes, "embedding": 6, "hidden": 8})
    save_model(run_dir, application, spec, translator().model, {"lower_case": True})
    for tokenizer, file in zip((GERMAN, ENGLISH), TOKENIZERS, strict=True):
        save_tokenizer(tokenizer, run_dir / file)


def test_a_translator_comes_back(tmp_path: Path) -> None:
    keep(tmp_path)
    found = load_translator(tmp_path)
    assert translate(found, ["der hund"]) == translate(translator(), ["der hund"])
    assert (found.source, found.target) == (GERMAN, ENGLISH)


def test_another_run_is_no_translator(tmp_path: Path) -> None:
    keep(tmp_path / "other", "dictionary")
    with pytest.raises(InputError, match="expected a model of translate, found 'dict"):
        load_translator(tmp_path / "other")
    keep(tmp_path)
    save_tokenizer(CharTokenizer("char", "ab"), tmp_path / TOKENIZERS[1])
    with pytest.raises(InputError, match="expected tables of subwords, found others"):
        load_translator(tmp_path)


# The task.


def test_a_batch_is_what_the_loss_reads() -> None:
    batch = EXAMPLES.batch(np.array([1, 0, -1]), (5, 6))
    a, dog = EXAMPLES.targets[1].tolist(), EXAMPLES.targets[0].tolist()
    assert batch["lengths"].tolist() == [1, len(EXAMPLES.sources[0]), 0]
    assert batch["inputs"][0].tolist() == [START, *a] + [END] * (5 - len(a))
    assert batch["targets"][0].tolist() == [*a, END] + [IGNORED] * (5 - len(a))
    assert batch["targets"][1, : len(dog) + 1].tolist() == [*dog, END]
    assert np.all(batch["targets"][2] == IGNORED) and np.all(batch["sources"][2] == 0)


def test_the_sums_of_all_are_those_of_each() -> None:
    model = translator().model
    total = evaluate_pairs(model, EXAMPLES)
    alone = [
        evaluate_pairs(model, Examples([source], [target]))
        for source, target in zip(EXAMPLES.sources, EXAMPLES.targets, strict=True)
    ]
    assert total.count == EXAMPLES.lengths[:, 1].sum()
    np.testing.assert_allclose(total.loss, sum(s.loss for s in alone), rtol=1e-5)


def test_the_task_goes_over_all_pairs() -> None:
    task = translation_task(EXAMPLES, EXAMPLES, seq2seq_loss, rows=2, buckets=2, seed=0)
    assert task.steps_per_epoch == 2
    batches = [task.batch(n) for n in range(2)]
    counted = sum((batch["targets"] != IGNORED).sum() for batch in batches)
    assert counted == EXAMPLES.lengths[:, 1].sum()
    assert task.items_per_step == counted // 2


def test_a_resumed_run_keeps_its_tables(tmp_path: Path) -> None:
    """Be they of a former version, which cut words at their marks."""
    old = BPETokenizer(GERMAN.symbols, marks=False)
    assert tables_of(PAIRS, 60, tmp_path) == tables_of(PAIRS, 60, None)
    save_tables((old, ENGLISH), tmp_path)
    assert tables_of(PAIRS, 60, tmp_path) == (old, ENGLISH)
    assert tables_of(PAIRS, 60, None)[0].marks


@pytest.mark.parametrize("piece", [" $$", " $%$", "a_$x_{", "$_{", " \u0301", "\u4e2d"])
def test_any_piece_can_be_drawn(piece: str, tmp_path: Path) -> None:
    """Dollar signs are no mathematics."""
    names = ["cost", piece]
    draw_attention(names, names, np.full((2, 2), 0.5), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
