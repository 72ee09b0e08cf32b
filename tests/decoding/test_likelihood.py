"""Log-probabilities equal the full forward pass; a wide beam equals brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.decoding.likelihood import score_ids, search_ids
from lstm_jax.models.language import LanguageModel

V = 4
RNG = np.random.default_rng(5)
TEXT = RNG.integers(V, size=150)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """A model of strong opinions."""
    blank = LanguageModel(V, 6, 2, rngs=nnx.Rngs(0))
    return jax.tree.map(lambda a: jnp.asarray(RNG.normal(size=a.shape), a.dtype), blank)


def by_hand(model: LanguageModel, ids: np.ndarray) -> np.ndarray:
    """The log-probability of every symbol of a text, in float64 from the scores."""
    states = model.initial_state(1)
    scores = [np.asarray(model.next_logits(states)[0])]
    forward = jax.jit(LanguageModel.__call__)
    scores.extend(np.asarray(forward(model, jnp.asarray(ids)[None])[0][0, :-1]))
    rows = np.stack(scores).astype(np.float64)
    rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return rows[np.arange(len(ids)), ids]


@pytest.mark.parametrize("split", [0, 1, 64, 100])
def test_scores_of_a_text(model: LanguageModel, split: int) -> None:
    """However much of it is the prompt."""
    found = score_ids(model, TEXT[split:], TEXT[:split])
    np.testing.assert_allclose(found, by_hand(model, TEXT)[split:], atol=1e-4)
    assert len(score_ids(model, TEXT[:0])) == 0


@pytest.mark.parametrize("end", [-1, 2])
def test_a_beam_that_holds_everything_finds_the_best(
    model: LanguageModel, end: int
) -> None:
    """Against all texts of three symbols, of which the third is ruled out."""
    prompt, length, allowed = TEXT[:9], 3, np.array([True, True, True, False])
    texts = []
    for text in itertools.product(range(3), repeat=length):
        stop = text.index(end) + 1 if end in text else length
        if not any(text[stop:]):  # one of those that agree up to their end
            texts.append(text[:stop])
    # Among the allowed: the chances of one step are those of three symbols.
    best = max(texts, key=lambda text: restricted(model, prompt, text, allowed))
    found = search_ids(
        model, prompt, length, width=27, alpha=0.0, end=end, allowed=allowed
    )
    size = int(found.lengths[0, 0])
    assert tuple(np.asarray(found.ids[0, 0, :size])) == best
    score = restricted(model, prompt, best, allowed)
    np.testing.assert_allclose(found.scores[0, 0], score, atol=1e-4)


def restricted(
    model: LanguageModel, prompt: np.ndarray, text: tuple[int, ...], allowed: np.ndarray
) -> float:
    """Nats of a text, when only the allowed symbols may appear."""
    total = 0.0
    for place, symbol in enumerate(text):
        before = np.concatenate([prompt, text[:place]]).astype(int)
        row = np.array(
            [by_hand(model, np.append(before, s))[-1] for s in np.flatnonzero(allowed)]
        )
        total += row[symbol] - np.log(np.exp(row).sum())
    return total
