"""Every other cell in NumPy: its source's equations on one vector at a time.

As in `reference_lstm`, gate by gate and in float64, and ragged rows, resets and
reversal are done by hand: a row is cut into its sequences and each is run alone.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lstm_jax.cells.decay import DecayCell, DecayParams
from lstm_jax.cells.gru import GRUCell, GRUParams, GRUState
from lstm_jax.cells.lstm import LSTMState
from lstm_jax.cells.mogrifier import MogrifierCell, MogrifierParams
from lstm_jax.cells.peephole import PeepholeCell, PeepholeParams
from lstm_jax.cells.protocol import Cell, Params
from lstm_jax.cells.variant import CoupledCell, VariantCell, VariantParams

Vector = NDArray[np.float64]
State = tuple[Vector, ...]  # h, or h and c
Step = Callable[[Any, State, Vector], State]


class Reference(NamedTuple):
    """A cell of the library, and what it should do."""

    cell: Cell
    shapes: Callable[[int, int], Any]  # of D and H: parameters, with shapes as leaves
    step: Step
    state: type

    def __str__(self) -> str:
        """A name for the test."""
        options = "-".join(str(value) for value in vars(self.cell).values())
        return f"{self.cell.name}-{options}" if options else self.cell.name


def sigmoid(z: Vector) -> Vector:
    return 1 / (1 + np.exp(-z))


def gru_step(params: Params, state: State, x: Vector) -> State:
    """The equations of `torch.nn.GRU`, whose b_ir + b_hr and b_iz + b_hz are one."""
    (h,) = state
    w_ir, w_iz, w_in = np.split(params.w_x.T, 3)
    w_hr, w_hz, w_hn = np.split(params.w_h.T, 3)
    b_r, b_z, b_in = np.split(params.b, 3)
    r = sigmoid(w_ir @ x + w_hr @ h + b_r)
    z = sigmoid(w_iz @ x + w_hz @ h + b_z)
    n = np.tanh(w_in @ x + b_in + r * (w_hn @ h + params.b_hn))
    return ((1 - z) * n + z * h,)


def peephole_step(params: Params, state: State, x: Vector) -> State:
    """The equations of ONNX' operator LSTM, with its names."""
    h, c = state
    wi, wf, wc, wo = np.split(params.w_x.T, 4)
    ri, rf, rc, ro = np.split(params.w_h.T, 4)
    wbi, wbf, wbc, wbo = np.split(params.b, 4)
    pi, pf, po = np.split(params.p, 3)
    it = sigmoid(wi @ x + ri @ h + pi * c + wbi)
    ft = sigmoid(wf @ x + rf @ h + pf * c + wbf)
    ct = np.tanh(wc @ x + rc @ h + wbc)
    c = ft * c + it * ct
    ot = sigmoid(wo @ x + ro @ h + po * c + wbo)
    return ot * np.tanh(c), c


def gru_before_step(params: Params, state: State, x: Vector) -> State:
    """Cho et al.'s own, with the reset before the product: Keras' reset_after=False."""
    (h,) = state
    w_r, w_z, w_n = np.split(params.w_x, 3, axis=1)
    u_r, u_z, u_n = np.split(params.w_h, 3, axis=1)
    b_r, b_z, b_n = np.split(params.b, 3)
    r = sigmoid(x @ w_r + h @ u_r + b_r)
    z = sigmoid(x @ w_z + h @ u_z + b_z)
    return (z * h + (1 - z) * np.tanh(x @ w_n + (r * h) @ u_n + b_n),)


CLIP, CELL_CLIP = 1.5, 0.8


def variant_step(params: Params, state: State, x: Vector) -> State:
    """Sak et al.'s LSTMP with all bounds; relu, softsign, hard sigmoid and no bias."""
    h, c = state
    wi, wf, wc, wo = np.split(params.w_x.T, 4)
    ri, rf, rc, ro = np.split(params.w_h.T, 4)
    pi, pf, po = np.split(params.p, 3)

    def gate(z: Vector) -> Vector:
        return np.clip(np.clip(z, -CLIP, CLIP) / 6 + 0.5, 0, 1)

    i = gate(wi @ x + ri @ h + pi * c)
    f = gate(wf @ x + rf @ h + pf * c)
    z = np.clip(wc @ x + rc @ h, -CLIP, CLIP)
    c = np.clip(f * c + i * np.maximum(z, 0), -CELL_CLIP, CELL_CLIP)
    o = gate(wo @ x + ro @ h + po * c)
    return (o * c / (1 + np.abs(c))) @ params.w_hr, c


def coupled_step(params: Params, state: State, x: Vector) -> State:
    """Greff et al.'s CIFG, told by its forget gate."""
    h, c = state
    f, g, o = np.split(x @ params.w_x + h @ params.w_h + params.b, 3)
    c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def coupled_peephole_step(params: Params, state: State, x: Vector) -> State:
    """The same with peepholes, for f and o, and a projection."""
    h, c = state
    f, g, o = np.split(x @ params.w_x + h @ params.w_h + params.b, 3)
    p_f, p_o = np.split(params.p, 2)
    f = sigmoid(f + p_f * c)
    c = f * c + (1 - f) * np.tanh(g)
    return (sigmoid(o + p_o * c) * np.tanh(c)) @ params.w_hr, c


def mogrifier_step(capped: bool) -> Step:
    """The paper's equations: rounds are counted from 1, the odd ones scale x."""

    def step(params: Params, state: State, x: Vector) -> State:
        h, c = state
        for n, matrix in enumerate(params.rounds, 1):
            if n % 2:
                x = 2 * sigmoid(h @ matrix) * x
            else:
                h = 2 * sigmoid(x @ matrix) * h
        i, f, g, o = np.split(x @ params.w_x + h @ params.w_h + params.b, 4)
        i, f = sigmoid(i), sigmoid(f)
        if capped:
            i = np.minimum(i, 1 - f)
        c = f * c + i * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    return step


def decay_step(params: Params, state: State, x: Vector) -> State:
    """Che et al.'s decay, of h and of c, and then the textbook's LSTM."""
    gaps = x[-len(params.w_decay) :]
    left = np.exp(-np.maximum(0, params.w_decay.T @ gaps + params.b_decay))
    h, c = left * state[0], left * state[1]
    i, f, g, o = np.split(params.w_x.T @ x + params.w_h.T @ h + params.b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def mogrifier(rounds: int, capped: bool) -> Reference:
    def shapes(d: int, h: int) -> MogrifierParams:
        matrices: Any = tuple(((h, d), (d, h))[n % 2] for n in range(rounds))
        w_x, w_h, b = cast("Any", ((d, 4 * h), (h, 4 * h), (4 * h,)))
        return MogrifierParams(w_x, w_h, b, matrices)

    cell = MogrifierCell(rounds, capped)
    return Reference(cell, shapes, mogrifier_step(capped), LSTMState)


def _gru_shapes(d: int, h: int) -> GRUParams:
    shapes: Any = ((d, 3 * h), (h, 3 * h), (3 * h,), (h,))
    return GRUParams(*shapes)


def _gru_before_shapes(d: int, h: int) -> GRUParams:
    shapes: Any = ((d, 3 * h), (h, 3 * h), (3 * h,))
    return GRUParams(*shapes)


def _variant_shapes(d: int, h: int) -> VariantParams:
    shapes: Any = ((d, 4 * h), (2, 4 * h), None, (3 * h,), (h, 2))
    return VariantParams(*shapes)


def _coupled_shapes(d: int, h: int) -> VariantParams:
    shapes: Any = ((d, 3 * h), (h, 3 * h), (3 * h,))
    return VariantParams(*shapes)


def _coupled_peephole_shapes(d: int, h: int) -> VariantParams:
    shapes: Any = ((d, 3 * h), (2, 3 * h), (3 * h,), (2 * h,), (h, 2))
    return VariantParams(*shapes)


def _peephole_shapes(d: int, h: int) -> PeepholeParams:
    shapes: Any = ((d, 4 * h), (h, 4 * h), (4 * h,), (3 * h,))
    return PeepholeParams(*shapes)


def _decay_shapes(d: int, h: int) -> DecayParams:
    shapes: Any = ((d, 4 * h), (h, 4 * h), (4 * h,), (1, h), (h,))
    return DecayParams(*shapes)


DECAY = Reference(DecayCell(1), _decay_shapes, decay_step, LSTMState)
GRU = Reference(GRUCell(), _gru_shapes, gru_step, GRUState)
GRU_BEFORE = Reference(
    GRUCell(reset_after=False), _gru_before_shapes, gru_before_step, GRUState
)
VARIANT = Reference(
    VariantCell(
        peepholes=True,
        proj_size=2,
        clip=CLIP,
        cell_clip=CELL_CLIP,
        gate_activation="hard_sigmoid",
        candidate_activation="relu",
        output_activation="softsign",
    ),
    _variant_shapes,
    variant_step,
    LSTMState,
)
COUPLED = Reference(CoupledCell(), _coupled_shapes, coupled_step, LSTMState)
COUPLED_PEEPHOLE = Reference(
    CoupledCell(peepholes=True, proj_size=2),
    _coupled_peephole_shapes,
    coupled_peephole_step,
    LSTMState,
)
PEEPHOLE = Reference(PeepholeCell(), _peephole_shapes, peephole_step, LSTMState)


def sequence(
    step: Step,
    params: Params,
    xs: Vector,
    start: State,
    lengths: NDArray[np.int_] | None = None,
    resets: NDArray[np.bool_] | None = None,
    reverse: bool = False,
) -> tuple[Vector, State]:
    """Outputs [T, B, H] and the last state, arrays [B, H], row after row.

    The first sequence that is entered goes on from `start`, the others from zero. Where
    a flag stands at t = 0, the first one is empty: it takes `start` and does nothing.
    """
    steps, rows, _ = xs.shape
    ys = np.zeros((steps, *start[0].shape))
    last = tuple(np.zeros_like(part) for part in start)
    for row in range(rows):
        length = steps if lengths is None else int(lengths[row])
        begins = [] if resets is None else np.flatnonzero(resets[:length, row])
        pieces = list(pairwise([0, *map(int, begins), length]))
        state = entered = tuple(part[row] for part in start)
        for first, end in pieces[::-1] if reverse else pieces:
            at = entered
            for t in range(first, end)[:: -1 if reverse else 1]:
                at = state = step(params, at, xs[t, row])
                ys[t, row] = state[0]
            entered = tuple(np.zeros_like(part) for part in entered)
        for whole, part in zip(last, state, strict=True):
            whole[row] = part
    return ys, last
