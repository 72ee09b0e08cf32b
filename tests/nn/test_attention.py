"""Attention against loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.nn.attention import attend

B, T, S, A, C = 3, 2, 4, 5, 3
RNG = np.random.default_rng(0)
QUERIES, KEYS, VALUES = (RNG.normal(size=s) for s in ((B, T, A), (B, S, A), (B, S, C)))
LENGTHS = np.array([4, 2, 0])


def found() -> tuple[np.ndarray, np.ndarray]:
    arrays = (jnp.asarray(a, jnp.float32) for a in (QUERIES, KEYS, VALUES))
    contexts, weights = jax.jit(attend)(*arrays, jnp.asarray(LENGTHS))
    return np.asarray(contexts), np.asarray(weights)


def test_it_is_a_weighted_mean_of_what_is_real() -> None:
    contexts, weights = found()
    for row, length in enumerate(LENGTHS):
        for step in range(T):
            scores = [QUERIES[row, step] @ KEYS[row, s] for s in range(length)]
            expected = np.zeros(S)
            expected[:length] = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(weights[row, step], expected, rtol=1e-4)
            mean = expected @ VALUES[row]
            np.testing.assert_allclose(contexts[row, step], mean, rtol=1e-4, atol=1e-6)


def test_no_gradient_reaches_padding() -> None:
    def total(keys: jax.Array, values: jax.Array) -> jax.Array:
        queries = jnp.asarray(QUERIES, jnp.float32)
        contexts, _ = attend(queries, keys, values, jnp.asarray(LENGTHS))
        return jnp.sum(contexts**2)

    arrays = (jnp.asarray(a, jnp.float32) for a in (KEYS, VALUES))
    for gradient in jax.jit(jax.grad(total, argnums=(0, 1)))(*arrays):
        for row, length in enumerate(LENGTHS):
            assert np.all(gradient[row, length:] == 0)
            assert np.all(gradient[row, :length] != 0)
