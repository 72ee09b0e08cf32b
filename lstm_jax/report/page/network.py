"""Gates, memory and the reach of the gradient, as the page draws them."""

from collections.abc import Sequence

import numpy as np

from lstm_jax.cells.protocol import State
from lstm_jax.report.inspection import (
    GATE_NAMES,
    Findings,
    Layer,
    saturation,
)
from lstm_jax.storage.files import Fields


def describe_network(
    layers: Sequence[Layer],
    lags: Sequence[State],
    findings: Findings,
    table: dict[str, list[str]],
    length: int,
) -> Fields:
    """Describe what was measured of a network.

    Args:
        layers: over a text.
        lags: the gradient by lag.
        findings: the few numbers in which all of it is told.
        table: a value of each layer by what it is.
        length: symbols through which gradients flow.
    """
    return {
        "table": [[name, *values] for name, values in table.items()],
        "length": length,
        "reach": findings.reach,
        "lags": [
            {"depth": depth, "dotted": name == "h", **_norms(layer, name, depth)}
            for depth, layer in enumerate(lags)
            for name in ("c", "h")
            if hasattr(layer, name)
        ],
        "layers": [_layer(layer) for layer in layers],
    }


def _norms(layer: State, name: str, depth: int) -> Fields:
    norms = np.asarray(getattr(layer, name), np.float64)
    return {"name": f"layer {depth + 1}, {name}", "values": _short(norms)}


def _layer(layer: Layer) -> Fields:
    gates = []
    for name in layer.gates:
        closed, opened = saturation(layer.gate(name))
        said = GATE_NAMES.get(name, name)
        gates.append({"name": said, "closed": _short(closed), "open": _short(opened)})
    memory = np.clip(np.asarray(layer.time_constants()), 0.1, 1e4)
    return {"gates": gates, "memory": _short(memory)}


def _short(values: object) -> list[float]:
    """Three digits, which is more than a picture shows."""
    return [float(f"{x:.3g}") for x in np.asarray(values, np.float64).tolist()]
