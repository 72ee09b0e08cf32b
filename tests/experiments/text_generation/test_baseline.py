"""The n-gram model against a loop over the text and its contexts."""

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.text_generation.baseline import witten_bell


def by_hand(train: NDArray, test: NDArray, symbols: int, longest: int) -> NDArray:
    """Witten and Bell's recursion as it is written down."""
    known, found = list(train), []
    for place in range(1, len(test)):
        chance = 1 / symbols
        for length in range(min(longest, place) + 1):
            context = list(test[place - length : place])
            after = [
                known[k]
                for k in range(length, len(known))
                if known[k - length : k] == context
            ]
            if after:
                different = len(set(after))
                times = after.count(test[place])
                chance = (times + different * chance) / (len(after) + different)
        found.append(-np.log(chance))
    return np.array(found)


@pytest.mark.parametrize("longest", [0, 1, 4])
@pytest.mark.parametrize("used", [3, 5])
def test_it_is_witten_and_bells(used: int, longest: int) -> None:
    """With symbols of which some were never seen, and contexts that were not."""
    rng = np.random.default_rng(longest)
    train, test = rng.integers(used - 1, size=70), rng.integers(used, size=40)
    found = witten_bell(train, test, 6, longest)
    np.testing.assert_allclose(found, by_hand(train, test, 6, longest), rtol=1e-12)


def test_chances_of_all_symbols_add_up() -> None:
    rng = np.random.default_rng(0)
    train, before = rng.integers(4, size=90), rng.integers(4, size=9)
    total = sum(
        np.exp(-witten_bell(train, np.append(before, symbol), 5)[-1])
        for symbol in range(5)
    )
    np.testing.assert_allclose(total, 1, rtol=1e-12)


def test_a_text_that_repeats_is_foretold() -> None:
    text = np.tile(np.arange(7), 50)
    assert witten_bell(text[:300], text[300:], 7)[10:].max() < 0.1
