"""One layer in float64 NumPy, forward and backward, written out by hand."""

import numpy as np

from experiments.benchmarks.speed.shapes import (
    Array,
    Shape,
    draw_inputs,
    draw_weights,
)


def layer_in_float64(shape: Shape) -> dict[str, Array]:
    """What the case `layer` computes: outputs, and the gradients of all it is given."""
    weights = draw_weights(shape).layers[0]
    w_x, w_h, b = (array.astype(np.float64) for array in weights)
    xs, dys = (array.astype(np.float64) for array in draw_inputs(shape))
    h = c = np.zeros((shape.batch, shape.hidden))
    ys, kept = np.zeros_like(xs), []
    for t, z in enumerate(xs @ w_x + b):
        z_i, z_f, z_g, z_o = np.split(z + h @ w_h, 4, axis=-1)
        i, f, g, o = _sigmoid(z_i), _sigmoid(z_f), np.tanh(z_g), _sigmoid(z_o)
        kept.append((i, f, g, o, c, h))
        c = f * c + i * g
        h = ys[t] = o * np.tanh(c)
    dh = dc = np.zeros_like(h)
    dz = np.zeros((*xs.shape[:2], 4 * shape.hidden))
    dw_h = np.zeros_like(w_h)
    for t in reversed(range(shape.steps)):
        i, f, g, o, c_before, h_before = kept[t]
        shown = np.tanh(f * c_before + i * g)
        dh = dh + dys[t]
        dc = dc + dh * o * (1 - shown**2)
        gates = (
            dc * g * i * (1 - i),
            dc * c_before * f * (1 - f),
            dc * i * (1 - g**2),
            dh * shown * o * (1 - o),
        )
        dz[t] = np.concatenate(gates, axis=-1)
        dw_h += h_before.T @ dz[t]
        dh, dc = dz[t] @ w_h.T, dc * f
    flat = xs.reshape(-1, shape.hidden).T @ dz.reshape(-1, 4 * shape.hidden)
    gradients = {"w_x": flat, "w_h": dw_h, "b": dz.sum((0, 1))}
    return {"ys": ys, "dxs": dz @ w_x.T, **gradients}


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))
