"""The place of the highest score, beside NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.ops.argmax import argmax


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 1), (5, 65), (2, 3, 300)])
@pytest.mark.parametrize("values", [3, 1000], ids=["with ties", "mostly different"])
def test_it_is_the_first_highest(shape: tuple[int, ...], values: int) -> None:
    rng = np.random.default_rng(sum(shape) + values)
    logits = rng.integers(-values, values, shape).astype(np.float32)
    logits[rng.random(shape) < 0.1] = -np.inf
    for dtype in (jnp.float32, jnp.bfloat16):
        given = jnp.asarray(logits, dtype)
        found = jax.jit(argmax)(given)
        assert found.dtype == jnp.int32
        np.testing.assert_array_equal(found, np.asarray(given, np.float32).argmax(-1))


def test_nothing_but_minus_infinity_and_no_number_at_all_have_a_place() -> None:
    logits = np.full((3, 5), -np.inf, np.float32)
    logits[1:] = np.nan
    logits[2, 1] = 7.0
    found = np.asarray(argmax(jnp.asarray(logits)))
    assert found[0] == 0
    assert ((found >= 0) & (found < 5)).all()


def test_other_devices_reduce_pairs() -> None:
    """There it is one operation, which counts where launches do."""
    lowered = jax.jit(argmax).trace(jnp.ones((4, 9)))
    reductions = {
        platform: lowered.lower(lowering_platforms=(platform,))
        .as_text()
        .count("stablehlo.reduce")
        for platform in ("cpu", "cuda", "tpu")
    }
    assert reductions == {"cpu": 2, "cuda": 1, "tpu": 1}
