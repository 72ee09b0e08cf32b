"""Using a trained network: how likely a piece is, and how it could go on."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

from experiments.music.data import (
    CHORD_END,
    KEYS,
    LOWEST,
    Chord,
    Piece,
    checked_piece,
    is_piece,
    picked_pieces,
    symbols_of,
)
from experiments.music.reading import CHORD_ALONE, Reading
from experiments.music.task import NAME, Form, form_of, whole_batches
from lstm_jax import InputError
from lstm_jax.config import check_bounds, read_section
from lstm_jax.distributed import bounded_jit
from lstm_jax.metrics import cross_entropy
from lstm_jax.models import ModelSpec, SavedModel, load_model
from lstm_jax.training import average_members
from lstm_jax.typing import Model

_NETWORKS = ("multilabel", "keyboard", "language")
_FULLEST = 16  # notes of a chord that is made


@dataclasses.dataclass(frozen=True)
class Musician:
    """Trained networks, and what their pieces may begin with.

    Attributes:
        spec: what the networks are.
        networks: stacked.
        openings: first chords of the pieces that were learned from.
        reading: what networks of keys are shown at each step.
    """

    spec: ModelSpec
    networks: Model
    openings: Sequence[Chord]
    reading: Reading = CHORD_ALONE

    @property
    def form(self) -> Form:
        """What the networks read and write."""
        return form_of(self.spec, self.reading)

    @property
    def jointly(self) -> bool:
        """Whether the notes of a chord are written one after the other."""
        return self.spec.network == "language"


def load_musician(run_dir: Path) -> Musician:
    """Load the networks that a run has left.

    Raises:
        InputError: there are none, or they are damaged.
    """
    saved = load_model(run_dir, NAME)
    return musician_of(saved)


def musician_of(saved: SavedModel) -> Musician:
    """The networks of a folder, and their openings.

    Raises:
        InputError: it has other networks, or no openings.
    """
    openings, network = saved.settings.get("openings"), saved.spec.network
    if network not in _NETWORKS or not saved.spec.members or not is_piece(openings):
        raise InputError(f"{saved.folder}: expected a network for music, found another")
    chords = checked_piece(openings, str(saved.folder))
    return Musician(saved.spec, saved.model, chords, _reading_of(saved))


def _reading_of(saved: SavedModel) -> Reading:
    """What networks are shown; those that do not say it are shown chords alone."""
    width = saved.spec.arguments.get("features", KEYS)
    kept = saved.settings.get("reading", {"context": width // KEYS})
    reading = read_section(Reading, kept, str(saved.folder))
    check_bounds(reading)
    if saved.spec.network != "language" and reading.width != width:
        raise InputError(
            f"{saved.folder}: expected {width} numbers at each step, "
            f"found {reading.width}"
        )
    return reading


# How likely pieces are.


def nats_per_chord(musician: Musician, pieces: Sequence[Piece]) -> float:
    """Negative log-likelihood of chords, each given those before it: their mean.

    Each piece's first chord is not counted. The members' probabilities are averaged.
    """
    form = musician.form
    total = _chords_nats if musician.jointly else _keys_nats
    networks, nats = jax.device_put(musician.networks), 0.0
    for picked, steps in whole_batches(pieces, form):
        nats += total(networks, form.batch(picked_pieces(pieces, picked), steps))
    return nats / sum(len(piece) - 1 for piece in pieces)


def _keys_nats(networks: Model, batch: dict[str, Any]) -> float:
    """Of all chords of a batch: the sums over 88 independent keys."""
    logits = _key_logits(networks, batch["inputs"], batch["lengths"])
    toward = np.where(batch["targets"] > 0, 1.0, -1.0) * np.asarray(logits, np.float64)
    nats = -np.log(expit(toward).mean(axis=0)).sum(axis=-1)
    steps = np.arange(nats.shape[1])
    return float(nats[steps < batch["lengths"][:, None]].sum())


def _chords_nats(networks: Model, batch: dict[str, Any]) -> float:
    """Of all chords of a batch: the sums over their notes."""
    return float(_symbol_nats(networks, batch))


@bounded_jit
def _key_logits(networks: Model, inputs: Array, lengths: Array) -> Array:
    """Logits of all members, [members, B, T, 88]."""
    return jax.vmap(lambda one: one(inputs, lengths=lengths)[0])(networks)


@bounded_jit
def _symbol_nats(networks: Model, batch: dict[str, Array]) -> Array:
    def read(one: Model) -> Array:
        return one(batch["inputs"], lengths=batch["lengths"])[0]

    logits = average_members(jax.vmap(read)(networks))
    return cross_entropy(logits, batch["targets"]).loss


# How pieces could go on.


def continued(
    musician: Musician, given: Piece, length: int, temperature: float, seed: int
) -> Piece:
    """What could come after a piece.

    Args:
        musician: the networks.
        given: what came before, a chord at least.
        length: how many chords to make.
        temperature: below 1 what is likely comes more often; at 0 nothing else comes.
        seed: of the draws.

    Returns:
        The new chords alone.
    """
    rng = np.random.default_rng(seed)
    networks = jax.device_put(musician.networks)
    if musician.jointly:
        return _write_chords(networks, given, length, temperature, rng)
    placed = dataclasses.replace(musician, networks=networks)
    return _write_keys(placed, given, length, temperature, rng)


def opening(musician: Musician, seed: int) -> Piece:
    """A chord with which a piece that was learned from begins."""
    chosen = np.random.default_rng(seed).integers(len(musician.openings))
    return (musician.openings[int(chosen)],)


def _write_keys(
    musician: Musician,
    given: Piece,
    length: int,
    temperature: float,
    rng: np.random.Generator,
) -> Piece:
    """Chords whose keys are drawn independently of each other."""
    networks, reading = musician.networks, musician.reading
    whole = given
    logits, states = _read_rolls(networks, reading.inputs(whole), None)
    while len(whole) < len(given) + length:
        chances = expit(np.asarray(logits, np.float64)).mean(axis=0)
        whole += (_draw_keys(chances, temperature, rng),)
        logits, states = _read_rolls(networks, reading.newest(whole), states)
    return whole[len(given) :]


def _draw_keys(
    chances: NDArray[np.float64], temperature: float, rng: np.random.Generator
) -> Chord:
    """Every key by itself, at the odds that a temperature makes of its probability."""
    drawn = rng.random(KEYS)
    if temperature:
        odds = np.log(chances) - np.log1p(-chances)
        chosen = drawn < expit(odds / temperature)
    else:
        chosen = chances > 0.5
    return tuple(int(key) + LOWEST for key in np.flatnonzero(chosen))


@bounded_jit
def _read_rolls(networks: Model, roll: Array, states: Any) -> tuple[Array, Any]:  # noqa: ANN401
    """Logits [members, 88] of what comes after a roll [T, 88], and the states then."""

    def read(one: Model, before: Any) -> tuple[Array, Any]:  # noqa: ANN401
        logits, after = one(roll[None], before)
        return logits[0, -1], after

    return jax.vmap(read)(networks, states)


def _write_chords(
    networks: Model,
    given: Piece,
    length: int,
    temperature: float,
    rng: np.random.Generator,
) -> Piece:
    """Chords whose notes are drawn from the highest down, each given those above it."""
    symbols = jnp.asarray(symbols_of(given), jnp.int32)
    logits, states = _read_symbols(networks, symbols, None)
    made: list[Chord] = []
    while len(made) < length:
        notes: list[int] = []
        while True:
            symbol = _draw_symbol(logits, notes, temperature, rng)
            read = jnp.asarray([symbol], jnp.int32)
            logits, states = _read_symbols(networks, read, states)
            if symbol == CHORD_END:
                break
            notes.append(symbol)
        made.append(tuple(key + LOWEST for key in reversed(notes)))
    return tuple(made)


def _draw_symbol(
    logits: Array, notes: Sequence[int], temperature: float, rng: np.random.Generator
) -> int:
    """A note below all others of its chord, or the chord's end."""
    logs = log_softmax(np.asarray(logits, np.float64))
    below = notes[-1] if len(notes) else KEYS
    below = 0 if len(notes) == _FULLEST else below
    allowed = np.arange(CHORD_END + 1) < below
    allowed[CHORD_END] = True
    logs = np.where(allowed, logs, -np.inf)
    if not temperature:
        return int(logs.argmax())
    chances = np.exp(log_softmax(logs / temperature))
    return int(rng.choice(len(chances), p=chances / chances.sum()))


@bounded_jit
def _read_symbols(networks: Model, symbols: Array, states: Any) -> tuple[Array, Any]:  # noqa: ANN401
    """Logits [V] of what comes after symbols [T], and the members' states then."""

    def read(one: Model, before: Any) -> tuple[Array, Any]:  # noqa: ANN401
        logits, after = one(symbols[None], before)
        return logits[0, -1], after

    logits, states = jax.vmap(read)(networks, states)
    return average_members(logits), states
