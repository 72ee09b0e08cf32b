"""From a prompt to a continuation: read it, then choose symbol after symbol.

The prompt is read by the same recurrence that trains, in pieces of one size. The loop
that follows runs inside one compiled program, a piece of the text at a time, so that
it can be shown as it is made. Neither a longer prompt nor a longer text compiles
anything anew. All randomness comes from a key per row and the place in the text.
"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.models.language import LanguageModel, States
from lstm_jax.notation import Count, Ids, PRNGKeys, StepIds, StepLogits

_PIECE = 64  # symbols per compiled call
_COLDEST = 1e-30  # below it a float32 is no number to divide by


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the next symbol is chosen.

    Attributes:
        temperature: 0 takes the highest score; otherwise scores are divided by it and
            a symbol is drawn from their softmax.
        top_k: draw only from this many of the highest scores; 0 for all.
        top_p: then only from the fewest symbols whose probability reaches this.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        for name, value, expected, holds in (
            ("temperature", self.temperature, "at least 0", 0 <= self.temperature),
            ("top_k", self.top_k, "0 or more", self.top_k >= 0),
            ("top_p", self.top_p, "in (0, 1]", 0 < self.top_p <= 1),
        ):
            if not (holds and value < float("inf")):
                raise InputError(f"{name}: expected a number {expected}, found {value}")

    @property
    def greedy(self) -> bool:
        """Whether nothing is left to chance."""
        return self.temperature == 0


GREEDY = Sampling()


def generate_ids(
    model: LanguageModel,
    prompt: np.ndarray,
    length: int,
    sampling: Sampling = GREEDY,
    *,
    samples: int = 1,
    seed: int = 0,
    allowed: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Continue a prompt.

    Args:
        model: the model.
        prompt: ids, any number, none included.
        length: how many symbols to make.
        sampling: how to choose them.
        samples: how many continuations, side by side; each has its own key.
        seed: decides all of them. Sample n does not depend on how many there are.
        allowed: [V], symbols that may appear; all if None.

    Yields:
        Pieces of the continuation, ids [at most 64, samples].
    """
    vocab_size = model.b_out.shape[0]
    if allowed is None:
        allowed = np.ones(vocab_size, bool)
    states = read_prompt(model, prompt)
    states = jax.tree.map(lambda a: jnp.repeat(a, samples, axis=0), states)
    keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(
        jnp.arange(samples)
    )
    filtered = sampling.top_k > 0 or sampling.top_p < 1
    for start in range(0, length, _PIECE):
        count = min(_PIECE, length - start)
        states, ids = _continue(
            model,
            states,
            keys,
            jnp.asarray(allowed),
            jnp.int32(start),
            jnp.int32(count),
            jnp.float32(max(sampling.temperature, _COLDEST)),
            jnp.int32(min(sampling.top_k or vocab_size, vocab_size)),
            jnp.float32(sampling.top_p),
            greedy=sampling.greedy,
            filtered=filtered and not sampling.greedy,
        )
        yield np.asarray(ids)[:count]


def read_prompt(model: LanguageModel, prompt: np.ndarray) -> States:
    """The states of one row after a prompt."""
    states = model.blank(1)
    for start in range(0, len(prompt), _PIECE):
        piece = prompt[start : start + _PIECE]
        ids = np.zeros((_PIECE, 1), np.int32)
        ids[: len(piece), 0] = piece
        states = _read(model, states, ids, np.array([len(piece)], np.int32))
    return states


@jax.jit
def _read(model: LanguageModel, states: States, ids: Ids, lengths: StepIds) -> States:
    return model.read(ids, states, lengths=lengths)[1]


@functools.partial(jax.jit, static_argnames=("greedy", "filtered"))
def _continue(
    model: LanguageModel,
    states: States,
    keys: PRNGKeys,
    allowed: jax.Array,
    start: Count,
    count: Count,
    temperature: jax.Array,
    top_k: Count,
    top_p: jax.Array,
    *,
    greedy: bool,
    filtered: bool,
) -> tuple[States, Ids]:
    """The next `count` symbols of every row, from place `start` on."""

    def one(k: jax.Array, carried: tuple[States, Ids]) -> tuple[States, Ids]:
        states, made = carried
        scores = model.next_scores(states).astype(jnp.float32)
        scores = jnp.where(allowed, scores, -jnp.inf)
        if greedy:
            ids = jnp.argmax(scores, axis=-1).astype(jnp.int32)
        else:
            # From the highest score down, so that no temperature is too low.
            scores = (scores - jnp.max(scores, axis=-1, keepdims=True)) / temperature
            if filtered:
                scores = keep_likely(scores, top_k, top_p)
            ids = draw(keys, start + k, scores)
        return model.step(ids, states), made.at[k].set(ids)

    made = jnp.zeros((_PIECE, len(keys)), jnp.int32)
    return jax.lax.fori_loop(0, count, one, (states, made))


def keep_likely(scores: StepLogits, top_k: Count, top_p: jax.Array) -> StepLogits:
    """Rule out all but the top_k highest scores, and of these all but top_p's share.

    What is kept is the shortest head of the symbols, sorted by score, whose
    probability reaches top_p (Holtzman et al. 2020); symbols of equal score stay or
    fall together, and the likeliest always stays.
    """
    ordered = jnp.sort(scores, axis=-1, descending=True)
    rank = jnp.arange(scores.shape[-1])
    ordered = jnp.where(rank < top_k, ordered, -jnp.inf)
    chance = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(chance, axis=-1) - chance
    head = (before < top_p) & (ordered > -jnp.inf)
    lowest = jnp.min(jnp.where(head, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(scores >= lowest, scores, -jnp.inf)


def draw(keys: PRNGKeys, place: Count, scores: StepLogits) -> StepIds:
    """One symbol per row from the softmax of its scores."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, place)
    return jax.vmap(jax.random.categorical)(keys, scores).astype(jnp.int32)
