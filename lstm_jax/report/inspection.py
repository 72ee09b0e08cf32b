"""What an LSTM practitioner looks at, as numbers: gates, memory, gradients, units.

Everything is measured on excerpts of a text, ids [T + 1, B], each read from the zero
state: T symbols are read, and the last one is there to be predicted.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.protocol import Cell, State
from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.metrics.losses import cross_entropy
from lstm_jax.models.language import LanguageModel, States
from lstm_jax.typing import Gates, Hidden, Ids

CLOSED, OPEN = 0.1, 0.9  # a gate below or above is saturated
_OPERATIONS = 20_000_000_000  # of about a second on two cores
DEAD = 0.01  # a unit whose |h| never reaches this is
GATE_NAMES = {"i": "input", "f": "forget", "o": "output", "r": "reset", "z": "update"}


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer over a text: `z` [T, B, NH], what opens the gates, and `h` [T, B, H].

    The N blocks of z are those of the cell, whose gate names are used here.
    """

    z: Gates
    h: Hidden
    cell: Cell = LSTM_CELL

    @property
    def gates(self) -> tuple[str, ...]:
        """The names of the sigmoid gates, i, f and o of an LSTM."""
        return tuple(n for n in self.cell.blocks if n != self.cell.candidate)

    def gate(self, name: str) -> Hidden:
        """A sigmoid gate over the text, [T, B, H]."""
        return jax.nn.sigmoid(self._part(name))

    def time_constants(self) -> np.ndarray:
        """How many steps each unit remembers, [H]: -1 / ln f, f its usual forget gate.

        Or whatever gate says what is kept: of a GRU, z.
        After so many steps with such a gate 1/e of what was in the cell is left. Usual
        means the median over the text: a mean would tell of the few steps at which a
        unit forgets everything at once, as good units do.
        """
        kept = jax.nn.log_sigmoid(self._part(self.cell.keeps))
        # NumPy finds a median without sorting, and needs no program to be compiled.
        usual = np.median(np.asarray(kept, np.float64), axis=(0, 1))
        with np.errstate(divide="ignore"):  # a gate that is always open
            return -1 / usual

    def dead(self) -> np.ndarray:
        """The units that show nothing all through the text, [H]."""
        return np.max(np.abs(np.asarray(self.h, np.float64)), axis=(0, 1)) < DEAD

    def _part(self, name: str) -> Array:
        blocks = self.cell.blocks
        return jnp.split(self.z, len(blocks), axis=-1)[blocks.index(name)]


def symbols_in_time(model: LanguageModel, passes: int) -> int:
    """How many symbols a CPU reads in about a second, so that looking stays cheap.

    Args:
        model: that reads.
        passes: how often a weight is used per symbol: once forward, three times if
            there is a gradient.
    """
    recurrent = sum(2 * layer.w_h[...].size for layer in model.layers)
    tied = model.w_out is None
    readout = (model.embedding if tied else model.w_out)[...].size
    return _OPERATIONS // (2 * passes * (recurrent + readout))


def excerpts(ids: np.ndarray, steps: int, rows: int) -> Ids:
    """Up to `rows` pieces of a text, evenly spread, of `steps` symbols and one more.

    A text that is shorter is one piece.
    """
    steps = min(steps, len(ids) - 1)
    rows = min(rows, len(ids) - steps)
    starts = np.linspace(0, len(ids) - steps - 1, rows).astype(int)
    return jnp.asarray(ids[starts + np.arange(steps + 1)[:, None]], jnp.int32)


@bounded_jit
def watch(model: LanguageModel, ids: Ids) -> list[tuple[Gates, Hidden]]:
    """Every layer's pre-activations and outputs while it reads ids [T, B]."""
    blank = model.initial_state(ids.shape[1])

    def step(before: States, symbols: Array) -> tuple[States, tuple[States, States]]:
        after = model.step(symbols, before)
        return after, (before, after)

    _, (before, after) = jax.lax.scan(step, blank, ids)
    seen = []
    for depth, state in enumerate(after):
        below = after[depth - 1].h if depth else ids
        seen.append((model.preactivations(depth, below, before[depth]), state.h))
    return seen


def layers_of(model: LanguageModel, ids: Ids) -> list[Layer]:
    """The layers of a model over a text."""
    return [Layer(z, h, model.cell) for z, h in watch(model, ids)]


def saturation(gate: Hidden) -> tuple[np.ndarray, np.ndarray]:
    """The shares of the text in which each unit's gate is closed, and open, [H]."""
    values = np.asarray(gate, np.float64)
    closed = np.mean(values < CLOSED, axis=(0, 1))
    return closed, np.mean(values > OPEN, axis=(0, 1))


@bounded_jit
def gradient_by_lag(model: LanguageModel, ids: Ids) -> list[State]:
    """How strongly the last loss depends on the states before: norms [T] by lag.

    The loss is that of the last symbol of ids [T + 1, B]. Entry k of `h` and `c` is the
    norm of its gradient with respect to a layer's h and c after the symbol k places
    before the last one read; that of every row, and the mean of those. It is how far
    back learning reaches: what is nothing here cannot be learned from so far away.
    """
    read, last = ids[:-1], ids[-1]
    blank = model.initial_state(ids.shape[1])
    nudges = jax.tree.map(lambda a: jnp.zeros((len(read), *a.shape), a.dtype), blank)

    def loss(nudges: States) -> Array:
        def step(states: States, inputs: tuple) -> tuple[States, None]:
            symbols, nudge = inputs
            return jax.tree.map(jnp.add, model.step(symbols, states), nudge), None

        states, _ = jax.lax.scan(step, blank, (read, nudges))
        return cross_entropy(model.next_logits(states)[None], last[None]).loss

    def norms(slope: Array) -> Array:
        return jnp.linalg.norm(slope, axis=-1).mean(axis=-1)[::-1]

    return list(jax.tree.map(norms, jax.grad(loss)(nudges)))


def cell_norms(lags: Sequence[State]) -> np.ndarray:
    """The gradient with respect to the memory of all layers together, [T] by lag.

    The memory is c, and h where there is no other, as in a GRU.
    """
    memories = [getattr(layer, "c", layer.h) for layer in lags]
    return np.sqrt(sum(np.asarray(memory, np.float64) ** 2 for memory in memories))


def reach(norms: np.ndarray, share: float = 0.01) -> int:
    """The largest lag at which there is still this share of the largest norm."""
    return int(np.flatnonzero(norms >= share * norms.max()).max())


@dataclasses.dataclass(frozen=True)
class LayerFindings:
    """What was measured of one layer of `units`.

    `closed` and `open` are the mean shares of saturated gates by the gate's name;
    `memory` the 10th, 50th and 90th percentile of the time constants, in symbols;
    `dead` and `hidden` count units that show nothing, and whose output gate, if
    there is one, is closed.
    """

    units: int
    closed: dict[str, float]
    open: dict[str, float]
    memory: tuple[float, float, float]
    dead: int
    hidden: int


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was measured of a model; `norms` is the gradient by lag, `reach` its end."""

    layers: tuple[LayerFindings, ...]
    norms: np.ndarray
    reach: int


def find(layers: Sequence[Layer], lags: Sequence[State]) -> Findings:
    """The few numbers in which all that was measured is told."""
    norms = cell_norms(lags)
    found = tuple(_find_layer(layer) for layer in layers)
    return Findings(found, norms, reach(norms))


def _find_layer(layer: Layer) -> LayerFindings:
    shares = {name: saturation(layer.gate(name)) for name in layer.gates}
    low, middle, high = np.quantile(layer.time_constants(), (0.1, 0.5, 0.9)).tolist()
    return LayerFindings(
        units=layer.h.shape[-1],
        closed={name: float(closed.mean()) for name, (closed, _) in shares.items()},
        open={name: float(opened.mean()) for name, (_, opened) in shares.items()},
        memory=(low, middle, high),
        dead=int(layer.dead().sum()),
        hidden=int((shares["o"][0] == 1).sum()) if "o" in shares else 0,
    )


def table_of(findings: Findings) -> dict[str, list[str]]:
    """The findings in words: a value of each layer by what it is."""
    layers, rows = findings.layers, {}
    for key in layers[0].closed:
        gate = GATE_NAMES.get(key, key)
        rows[f"{gate} gate closed"] = [f"{layer.closed[key]:.0%}" for layer in layers]
        rows[f"{gate} gate open"] = [f"{layer.open[key]:.0%}" for layer in layers]
    for k, percentile in enumerate(("10th", "50th", "90th")):
        name = f"memory, symbols, {percentile} percentile"
        rows[name] = [f"{layer.memory[k]:.1f}" for layer in layers]
    rows["dead units"] = [f"{layer.dead} of {layer.units}" for layer in layers]
    if "o" in layers[0].closed:
        rows["output gate never open"] = [
            f"{layer.hidden} of {layer.units}" for layer in layers
        ]
    return rows
