"""How the next symbol is chosen from its logits: the rules, one pure function each.

In their order: a penalty on what was just said, the temperature, then the three ways
of ruling out the unlikely, top-k, top-p and min-p. What is left is drawn from its
softmax. The numbers are data, so that other numbers compile nothing anew; which rules
are in force is static, and the loop has no trace of the others.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.config import check_bounds
from lstm_jax.decoding.config import SamplingConfig
from lstm_jax.ops.argmax import argmax
from lstm_jax.typing import Count, PRNGKeys, RecentIds, Scalar, StepIds, StepLogits

_COLDEST = 1e-30  # below it a float32 is no number to divide by


class SamplingFlags(NamedTuple):
    """Which rules are in force: a static argument, a program for each combination."""

    chance: bool
    likely: bool
    share: bool
    penalty: bool


class Numbers(NamedTuple):
    """The numbers of a `SamplingConfig`, as data."""

    temperature: Scalar | float
    top_k: Count | int
    top_p: Scalar | float
    min_p: Scalar | float
    penalty: Scalar | float
    window: Count | int


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

    What is kept is the shortest head of the symbols, sorted by logit, whose
    probability reaches top_p (Holtzman et al. 2020); symbols of equal logit stay or
    fall together, and the likeliest always stays.
    """
    ordered = jnp.sort(logits, axis=-1, descending=True)
    rank = jnp.arange(logits.shape[-1])
    ordered = jnp.where(rank < top_k, ordered, -jnp.inf)
    chance = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(chance, axis=-1) - chance
    head = (before < top_p) & (ordered > -jnp.inf)
    lowest = jnp.min(jnp.where(head, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= lowest, logits, -jnp.inf)


def filter_min_p(logits: StepLogits, min_p: Scalar | float) -> StepLogits:
    """Rule out what is less probable than min_p times the likeliest (Nguyen 2024).

    The surer the model is, the less remains.
    """
    highest = jnp.max(logits, axis=-1, keepdims=True)
    return jnp.where(logits >= highest + jnp.log(min_p), logits, -jnp.inf)


def draw(keys: PRNGKeys, place: Count, logits: StepLogits) -> StepIds:
    """One symbol per row from the softmax of its logits."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, place)
    return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


def remember(recent: RecentIds, made: Array, count: Count) -> RecentIds:
    """The last symbols, once the first `count` of `made` [N, B] have come."""
    line = jnp.concatenate([recent, made.T.astype(recent.dtype)], axis=1)
    return jax.lax.dynamic_slice_in_dim(line, count, recent.shape[1], axis=1)
