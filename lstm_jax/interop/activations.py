"""Activations of other systems, by ONNX's names: formulas, and ours that are the same.

https://onnx.ai/onnx/operators/onnx__LSTM.html lists them. Where ONNX does not say what
alpha and beta are by default, or runtimes do not agree, they have to be given.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.errors import InputError

Array = Any  # of NumPy or of JAX
_Formula = Callable[[Any, Array, float, float], Array]  # of a namespace, z, alpha, beta


def _hard_sigmoid(xp: Any, z: Array, a: float, b: float) -> Array:  # noqa: ANN401
    return xp.clip(a * z + b, 0, 1)


_FORMULAS: dict[str, _Formula] = {
    "Sigmoid": lambda xp, z, a, b: 0.5 * (1 + xp.tanh(0.5 * z)),
    "Tanh": lambda xp, z, a, b: xp.tanh(z),
    "Relu": lambda xp, z, a, b: xp.maximum(z, 0),
    "Softsign": lambda xp, z, a, b: z / (1 + xp.abs(z)),
    "Softplus": lambda xp, z, a, b: xp.logaddexp(z, 0),
    "HardSigmoid": _hard_sigmoid,
    "Affine": lambda xp, z, a, b: a * z + b,
    "ScaledTanh": lambda xp, z, a, b: a * xp.tanh(b * z),
    "LeakyRelu": lambda xp, z, a, b: xp.where(z >= 0, z, a * z),
    "ThresholdedRelu": lambda xp, z, a, b: xp.where(z > a, z, 0),
    "Elu": lambda xp, z, a, b: xp.where(z >= 0, z, a * xp.expm1(xp.minimum(z, 0))),
}
# Which of alpha and beta each takes, and what they are where a file does not say.
_NEEDS: dict[str, dict[str, float | None]] = {
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Affine": {"alpha": None, "beta": None},
    "ScaledTanh": {"alpha": None, "beta": None},
    "LeakyRelu": {"alpha": 0.01},
    "ThresholdedRelu": {"alpha": None},
    "Elu": {"alpha": 1.0},
}


@dataclasses.dataclass(frozen=True)
class Activation:
    """One of ONNX's activations, as a cell of ours takes a function.

    Attributes:
        name: as ONNX writes it.
        alpha: 0 for one that has none.
        beta: likewise.
    """

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, z: jax.Array) -> jax.Array:
        """Apply it."""
        return _FORMULAS[self.name](jnp, z, self.alpha, self.beta)

    def of(self, z: np.ndarray) -> np.ndarray:
        """Apply it in NumPy."""
        return _FORMULAS[self.name](np, z, self.alpha, self.beta)

    def check(self) -> "Activation":
        """Refuse one that there is not.

        Raises:
            ValueError: of this name, or with such numbers.
        """
        if self.name not in _FORMULAS or not np.isfinite([self.alpha, self.beta]).all():
            raise ValueError(f"no such activation: {dataclasses.astuple(self)!r:.60}")
        return self

    def __str__(self) -> str:
        numbers = ", ".join(f"{getattr(self, n):g}" for n in _NEEDS.get(self.name, {}))
        return f"{self.name}({numbers})" if numbers else self.name


SIGMOID, TANH = Activation("Sigmoid"), Activation("Tanh")
PLAIN = (SIGMOID, TANH, TANH)  # of an LSTM's gates, its candidate and its output


def _single(number: float) -> float:
    """As a file holds it, in single precision."""
    return float(np.float32(number))


# What `cells.variant.ACTIVATIONS` calls the same; nobody else has its others.
_OURS: dict[str, Activation] = {
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "relu": Activation("Relu"),
    "softsign": Activation("Softsign"),
    "softplus": Activation("Softplus"),
    "elu": Activation("Elu", 1.0),
    "linear": Activation("Affine", 1.0, 0.0),
    "hard_sigmoid": Activation("HardSigmoid", _single(1 / 6), 0.5),
}


def of_ours(activation: object) -> Activation:
    """What an activation of a cell of ours is for others.

    Args:
        activation: a name, or a function.

    Raises:
        InputError: nobody else has it.
    """
    if isinstance(activation, Activation):
        return activation
    found = _OURS.get(activation) if isinstance(activation, str) else None
    if found is None:
        name = activation if isinstance(activation, str) else "a function"
        raise InputError(
            f"activation: expected one of {', '.join(_OURS)}, found {name}"
        )
    return found


def as_ours(activation: Activation) -> str | Activation:
    """What a cell of ours takes for it: its name, if it has one, or itself."""
    for name, each in _OURS.items():
        if each == activation:
            return name
    return activation


def read_activations(
    names: list[str], alphas: list[float], betas: list[float]
) -> tuple[Activation, ...]:
    """Read what an operator of ONNX says of its activations.

    Args:
        names: of the activations, in any case.
        alphas: of those that take one, in their order.
        betas: likewise.

    Raises:
        InputError: there is no such activation, or a number is missing or left over.
    """
    known = {name.casefold(): name for name in _FORMULAS}
    left = {"alpha": iter(alphas), "beta": iter(betas)}
    found = tuple(_read(known.get(name.casefold()), name, left) for name in names)
    if more := [what for what, numbers in left.items() if list(numbers)]:
        raise InputError(
            f"activation_{more[0]}: expected a number for each of {', '.join(names)} "
            "that takes one, found more"
        )
    return found


def _read(known: str | None, name: str, left: dict[str, Iterator[float]]) -> Activation:
    if known is None:
        raise InputError(f"expected activations {', '.join(_FORMULAS)}, found {name}")
    numbers = {}
    for what, default in _NEEDS.get(known, {}).items():
        number = next(left[what], default)
        if number is None or not np.isfinite(number):
            raise InputError(
                f"expected activation_{what} for {known}, found {number or 'none'}"
            )
        numbers[what] = _single(number)
    return Activation(known, **numbers)


def as_attributes(activations: tuple[Activation, ...]) -> dict[str, list]:
    """What an operator of ONNX says of them; the inverse of `read_activations`."""
    found: dict[str, list] = {"activations": [each.name for each in activations]}
    for what in ("alpha", "beta"):
        numbers = [
            getattr(each, what)
            for each in activations
            if what in _NEEDS.get(each.name, {})
        ]
        if numbers:
            found[f"activation_{what}"] = numbers
    return found


def is_symmetric(activation: Activation) -> bool:
    """Whether f(-z) = 1 - f(z), so that a gate can be read the other way round."""
    hard = activation.name == "HardSigmoid" and activation.beta == 0.5
    return hard or activation == SIGMOID
