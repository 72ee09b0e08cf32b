"""How the next symbol is chosen from its logits: the rules, one pure function each.

In their order: a penalty on what was just said, n-grams that may not come twice, the
temperature, then the three ways of ruling out the unlikely, top-k, top-p and min-p.
What is left is drawn from its softmax. The numbers are data, so that other numbers
compile nothing anew; which rules are in force is static, and the loop has no trace of
the others.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.config import check_bounds
from lstm_jax.data.special_ids import NO_SYMBOL
from lstm_jax.decoding.config import SamplingConfig
from lstm_jax.ops.argmax import argmax
from lstm_jax.typing import (
    Count,
    Noise,
    PRNGKeys,
    RecentIds,
    Scalar,
    StepIds,
    StepLogits,
)

_COLDEST = 1e-30  # below it a float32 is no number to divide by
_ROUNDING = 4e-6  # relative error of sums of probabilities in float32
_ULP = 2.0**-24  # error of a float32 below 1


class SamplingFlags(NamedTuple):
    """Which rules are in force: a static argument, a program for each combination."""

    chance: bool
    likely: bool
    share: bool
    penalty: bool
    ngram: int = 0

    @property
    def looks_back(self) -> bool:
        """Whether what was said before matters."""
        return self.penalty or self.ngram > 0

    @property
    def plain(self) -> bool:
        """Whether nothing but a temperature stands between scores and choice."""
        return not (self.likely or self.share or self.looks_back)


class Numbers(NamedTuple):
    """The numbers of a `SamplingConfig`, as data."""

    temperature: Scalar | float
    top_k: Count | int
    top_p: Scalar | float
    min_p: Scalar | float
    penalty: Scalar | float
    window: Count | int


@functools.lru_cache(maxsize=64)
def rules_of(
    sampling: SamplingConfig, vocab_size: int
) -> tuple[SamplingFlags, Numbers]:
    """What `sample` takes.

    Raises:
        InputError: a number of them makes no sense.
    """
    check_bounds(sampling)
    chance = not sampling.greedy
    flags = SamplingFlags(
        chance=chance,
        likely=chance and (sampling.top_k > 0 or sampling.top_p < 1),
        share=chance and sampling.min_p > 0,
        penalty=sampling.repetition_penalty > 1,
        ngram=sampling.no_repeat_ngram,
    )
    numbers = Numbers(
        temperature=max(float(sampling.temperature), _COLDEST),
        top_k=min(sampling.top_k or vocab_size, vocab_size),
        top_p=float(sampling.top_p),
        min_p=float(sampling.min_p),
        penalty=float(sampling.repetition_penalty),
        window=sampling.repetition_window,
    )
    return flags, numbers


def sample(
    logits: StepLogits,
    recent: RecentIds,
    keys: PRNGKeys,
    place: Count,
    flags: SamplingFlags,
    numbers: Numbers,
) -> StepIds:
    """The next symbol of every row.

    Args:
        logits: float32, -inf for what may not appear.
        recent: what was read or made last, the newest at the end; only a penalty asks.
        keys: one per row.
        place: of the symbol in the text that is made.
        flags: of `rules_of`, static.
        numbers: of `rules_of`.
    """
    if flags.penalty:
        logits = penalize(logits, recent, numbers.penalty, numbers.window)
    if flags.ngram:
        logits = block_ngrams(logits, recent, flags.ngram)
    if not flags.chance:
        return argmax(logits)
    # From the highest logit down, so that no temperature is too low.
    logits = logits - jnp.max(logits, axis=-1, keepdims=True)
    logits = logits / numbers.temperature
    if flags.likely:
        logits = filter_top_k_top_p(logits, numbers.top_k, numbers.top_p)
    if flags.share:
        logits = filter_min_p(logits, numbers.min_p)
    return draw(keys, place, logits)


def penalize(
    logits: StepLogits, recent: RecentIds, penalty: Scalar | float, window: Count | int
) -> StepLogits:
    """Log-probabilities, those of the last `window` symbols times the penalty.

    A chance p becomes p to the power of the penalty, before all are normalised again.
    Keskar et al. 2019 (CTRL) divide logits; log-probabilities have no arbitrary
    constant in them, which would decide what dividing does.
    """
    counts = jnp.arange(recent.shape[-1]) >= recent.shape[-1] - window
    symbols = jnp.arange(logits.shape[-1])
    same = recent[..., None] == symbols
    said = jnp.any(same & counts[:, None], axis=-2)
    chances = jax.nn.log_softmax(logits, axis=-1)
    return jnp.where(said, chances * penalty, chances)


def filter_top_k_top_p(
    logits: StepLogits, top_k: Count | int, top_p: Scalar | float
) -> StepLogits:
    """Rule out all but the top_k highest logits, and of these all but top_p's share.

    As `TopKLogitsWarper` and `TopPLogitsWarper` of Hugging Face's transformers, one
    after the other. Whatever equals the last of the top_k stays with it. Of what is
    left the least likely are removed, as long as their probabilities add up to at most
    1 - top_p (Holtzman et al. 2020); of equal ones the first ones go first. The
    likeliest always stays.
    """
    last = logits.shape[-1] - 1
    order = jnp.argsort(logits, axis=-1, stable=True)
    ordered = jnp.take_along_axis(logits, order, axis=-1)
    least = jnp.take(ordered, jnp.maximum(last + 1 - top_k, 0), axis=-1)
    ordered = jnp.where(ordered >= least[..., None], ordered, -jnp.inf)
    tail = jnp.cumsum(jax.nn.softmax(ordered, axis=-1), axis=-1)
    # A sum that is 1 - top_p but for rounding, that of top_p included, is not above it.
    most = jnp.where(top_p < 1, (1 - top_p) * (1 + _ROUNDING) + _ULP, 0)
    kept = (tail > most) | (jnp.arange(last + 1) == last)
    ordered = jnp.where(kept, ordered, -jnp.inf)
    places = jnp.argsort(order, axis=-1)
    return jnp.take_along_axis(ordered, places, axis=-1)


def filter_min_p(logits: StepLogits, min_p: Scalar | float) -> StepLogits:
    """Rule out what is less probable than min_p times the likeliest (Nguyen 2024).

    The surer the model is, the less remains. What is exactly so probable stays.
    """
    highest = jnp.max(logits, axis=-1, keepdims=True)
    least = highest + jnp.log(min_p) - _ROUNDING
    return jnp.where(logits >= least, logits, -jnp.inf)


def block_ngrams(logits: StepLogits, recent: RecentIds, size: int) -> StepLogits:
    """Rule out whatever would end an n-gram that is in the text already.

    As `NoRepeatNGramLogitsProcessor` of Hugging Face's transformers, over as many
    symbols as are remembered. A row in which nothing would be left is not touched.

    Args:
        logits: -inf for what may not appear.
        recent: what was read or made, the newest at the end.
        size: n, in symbols; 1 lets no symbol appear twice.
    """
    length, symbols = recent.shape[-1], logits.shape[-1]
    begun = recent[:, length - size + 1 :]
    count = length - size + 1
    again = jnp.ones((len(recent), count), bool)
    for place in range(size - 1):
        again &= recent[:, place : place + count] == begun[:, place, None]
    followers = recent[:, size - 1 :]
    known = jnp.all(begun != NO_SYMBOL, axis=-1, keepdims=True)
    blocked = jnp.where(again & known & (followers >= 0), followers, symbols)
    rows = jnp.arange(len(recent))[:, None]
    left = logits.at[rows, blocked].set(-jnp.inf, mode="drop")
    return jnp.where(jnp.any(left > -jnp.inf, axis=-1, keepdims=True), left, logits)


def draw(keys: PRNGKeys, place: Count, logits: StepLogits) -> StepIds:
    """One symbol per row from the softmax of its logits."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, place)
    return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


def gumbel_noise(keys: PRNGKeys, place: Count, count: int, symbols: int) -> Noise:
    """What `draw` adds to the scores of this place and the next, before it chooses.

    Args:
        keys: one per row.
        place: of the first symbol.
        count: N, of how many.
        symbols: V.

    Returns:
        [N, B, V].
    """
    places = place + jnp.arange(count)
    at_places = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    at_rows = jax.vmap(at_places, in_axes=(0, None), out_axes=1)
    one = functools.partial(jax.random.gumbel, shape=(symbols,), dtype=jnp.float32)
    return jax.vmap(jax.vmap(one))(at_rows(keys, places))


def remember(recent: RecentIds, made: Array, count: Count) -> RecentIds:
    """The last symbols, once the first `count` of `made` [N, B] have come."""
    line = jnp.concatenate([recent, made.T.astype(recent.dtype)], axis=1)
    return jax.lax.dynamic_slice_in_dim(line, count, recent.shape[1], axis=1)
