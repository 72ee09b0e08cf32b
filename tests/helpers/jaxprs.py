"""Looking into programs."""

from collections.abc import Iterator

import jax
from jax.extend.core import JaxprEqn


def equations(program: object) -> Iterator[JaxprEqn]:
    """All equations of a program or of an equation, inner programs included."""
    if isinstance(program, JaxprEqn):
        for inner in jax.tree.leaves(list(program.params.values())):
            yield from equations(inner)
    program = getattr(program, "jaxpr", program)
    for equation in getattr(program, "eqns", ()):
        yield equation
        yield from equations(equation)
