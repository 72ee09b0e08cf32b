"""How exactly weights are converted: the table in README.md.

Commands  python -m experiments.benchmarks.conversions
Needs     what libraries there are (pip install -e '.[peers,interop]' and onnxruntime);
          the equations of the others stand in for them, and the table says so.

For every system layers of each kind that it has are drawn, one seed each, and run on
ragged rows with initial states by us and by the library, in float32. What is shown is
the largest error of outputs and last states.
"""

from collections.abc import Iterator

import numpy as np

from lstm_jax.interop import (
    SYSTEMS,
    Activation,
    Direction,
    Stack,
    Style,
    agreement,
    can_hold,
    endings_of,
)

Weights = Stack[Direction]
_INPUTS, _UNITS = 24, 32
_OTHER = Style(
    clip=0.75,
    activations=(
        Activation("HardSigmoid", 0.25, 0.5),
        Activation("Softsign"),
        Activation("LeakyRelu", 0.125),
    ),
)


def main() -> None:
    """Print the table."""
    print("| system | files | kinds of layers | run by | largest error |")
    print("|---|---|---|---|---|")
    layers = dict(draw_layers())
    for name, system in SYSTEMS.items():
        if name == "lstm_jax":
            continue
        held = {k: w for k, w in layers.items() if can_hold(system, w)}
        error = max(agreement(system, weights) for weights in held.values())
        by = "itself" if system.installed else "its equations"
        files = ", ".join(endings_of(system))
        count = f"{len(held)} of {len(layers)}"
        print(
            f"| {system.title} | {files} | {count} | {by} | {error:.1e} |", flush=True
        )


def draw_layers() -> Iterator[tuple[str, Weights]]:
    """Draw two layers of each kind, by its name."""
    yield "LSTM", _stack(Style(), 1)
    yield "LSTM in two directions", _stack(Style(), 2)
    yield "LSTM without biases", _stack(Style(), 1, bias=False)
    yield "LSTM with peepholes", _stack(Style(), 2, peepholes=True)
    yield "projected LSTM", _stack(Style(), 2, outputs=16)
    yield "coupled LSTM", _stack(Style(coupled=True), 1)
    yield "clipped LSTM with other activations", _stack(_OTHER, 1)
    yield "GRU", _stack(Style("gru"), 1)
    yield "GRU that resets first", _stack(Style("gru", reset_after=False), 1)


def _stack(
    style: Style,
    ways: int,
    bias: bool = True,
    peepholes: bool = False,
    outputs: int = 0,
) -> Weights:
    """Two layers with weights as PyTorch draws them, but larger."""
    rng = np.random.default_rng(0)
    columns = _UNITS * (3 if style.kind == "gru" else 4)
    out = outputs or _UNITS

    def normal(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * _UNITS**-0.5).astype(np.float32)

    def one(inputs: int) -> Direction:
        return Direction(
            normal(inputs, columns),
            normal(out, columns),
            normal(columns) if bias else None,
            p=normal(3 * _UNITS) if peepholes else None,
            proj=normal(_UNITS, outputs) if outputs else None,
        )

    widths = (_INPUTS, ways * out)
    return Stack(style, tuple(tuple(one(d) for _ in range(ways)) for d in widths))


if __name__ == "__main__":
    main()
