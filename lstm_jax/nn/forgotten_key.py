"""A layer with dropout that is trained without a key: told once, as a warning.

Without a key there is no noise, which is what evaluation wants and what training hardly
ever does. The two differ in that training takes a derivative, and that can be seen.
"""

import warnings
from typing import TypeVar

import jax

Outcome = TypeVar("Outcome")


def without_noise(who: str, outcome: Outcome) -> Outcome:
    """Give what a layer made without its noise; its derivative comes with a warning."""

    @jax.custom_jvp
    def made(outcome: Outcome) -> Outcome:
        return outcome

    @made.defjvp
    def derivative(primals: tuple, tangents: tuple) -> tuple:
        warnings.warn(
            f"{who}: its dropout and other noise are off in training, because no key "
            "was given; pass key=jax.random.key(...), another one at every step",
            stacklevel=1,
        )
        return primals[0], tangents[0]

    return made(outcome)
