"""Attention: for every query a mean of values, weighted by how well their keys match.

Scores are dot products (Luong et al. 2015, equation 8): with keys that are a linear map
of the values this is their "general" score. All queries are answered at once.
"""

import jax
import jax.numpy as jnp

from lstm_jax.engines.padding import only_real
from lstm_jax.typing import AttentionWeights, Contexts, Keys, Lengths, Queries, Values

_NEVER = -1e30  # a finite score, so that a row of length 0 has no NaN


def attend(
    queries: Queries, keys: Keys, values: Values, lengths: Lengths
) -> tuple[Contexts, AttentionWeights]:
    """softmax(queries · keys) over the real steps of each row, and its mean of values.

    Args:
        queries: [B, T, A].
        keys: [B, S, A].
        values: [B, S, C].
        lengths: [B], how many of the S steps are real, the rest being padding.

    Returns:
        The contexts [B, T, C], and the weights [B, T, S], which add up to 1. A row of
        length 0 has zeros for both.
    """
    real = jnp.arange(keys.shape[1]) < lengths[:, None]
    keys, values = only_real(keys, real), only_real(values, real)
    scores = jnp.einsum("bta,bsa->bts", queries, keys)
    real = real[:, None]
    weights = jax.nn.softmax(jnp.where(real, scores, _NEVER), axis=-1)
    weights = jnp.where(real, weights, 0)
    return jnp.einsum("bts,bsc->btc", weights, values), weights
