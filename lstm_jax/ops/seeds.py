"""Keys of random numbers from seeds of 63 bits, of which JAX takes 32."""

import jax
import numpy as np

from lstm_jax.config import MAX_SEED
from lstm_jax.errors import InputError
from lstm_jax.typing import PRNGKey

_BITS = 32


def seed_key(seed: int) -> PRNGKey:
    """The key of a seed, of which every bit matters.

    `jax.random.key` drops all above the 32nd where there is no float64. Below 2^32 it
    is the key of `jax.random.key`; above, the upper half is folded in.

    Args:
        seed: 0 or more, below 2^63.

    Raises:
        InputError: it is not.
    """
    check_seed(seed)
    low, high = seed % 2**_BITS, seed >> _BITS
    key = jax.random.key(np.uint32(low))
    return jax.random.fold_in(key, np.uint32(high)) if high else key


def check_seed(seed: int) -> None:
    """Refuse a seed of which there is no key.

    Raises:
        InputError: it is below 0, or 2^63 or more.
    """
    if not 0 <= seed < MAX_SEED:
        raise InputError(f"seed: expected 0 to {MAX_SEED - 1}, found {seed}")
