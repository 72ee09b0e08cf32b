"""From pieces to a trained network: keys at every step, or chords note by note."""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.music.baseline import fit_keys
from experiments.music.config import MusicConfig
from experiments.music.data import (
    KEYS,
    LOWEST,
    SYMBOLS,
    Piece,
    picked_pieces,
    symbol_batch,
    symbols_of,
    transposed,
)
from experiments.music.reading import Reading, roll_batch
from experiments.training import train_network
from lstm_jax import Task, make_optimizer
from lstm_jax.config import Precision, RegularizerConfig, RunConfig
from lstm_jax.data import (
    Batch,
    BucketedBatches,
    Picked,
    length_buckets,
    pick_epoch,
)
from lstm_jax.distributed import bounded_jit
from lstm_jax.metrics import LossSums, cross_entropy, loss_sums
from lstm_jax.models import LanguageModel, ModelSpec, multilabel_loss
from lstm_jax.training import (
    Callback,
    CompiledSteps,
    Loss,
    Trained,
    ensemble_loss,
    with_precision,
)
from lstm_jax.typing import Model, PRNGKey

NAME = "music"
_ROWS, _FEWER_ROWS = 100, 16  # pieces side by side when nothing is learned
_REACH, _ECHO_REACH = 12, 2  # keys to each side, of chords and of their echoes
_PRIOR = 0.05  # that a key sounds: four of 88


@dataclasses.dataclass(frozen=True)
class Form:
    """What a network reads and writes: rolls of keys, or symbols of notes.

    Attributes:
        batch: pieces, and the length they are padded to, as the loss reads them.
        steps: how long a piece is there.
        loss: of one network.
        rows: pieces side by side when nothing is learned, at most.
    """

    batch: Callable[[Sequence[Piece], int], Batch]
    steps: Callable[[Piece], int]
    loss: Loss
    rows: int = _ROWS


def chord_loss(
    model: LanguageModel, carry: tuple[()], batch: dict[str, Array], key: PRNGKey | None
) -> tuple[LossSums, tuple[()]]:
    """Cross-entropy of the notes of chords, summed over them; counted per chord.

    By the chain rule it is the negative log-likelihood of whole chords: every set of
    notes is written in one way, falling, with a symbol for its end.

    Args:
        model: the model.
        carry: nothing; pieces do not go on from each other.
        batch: of `symbol_batch`.
        key: of dropout and its like, or None.
    """
    logits, _ = model(batch["inputs"], key=key, lengths=batch["lengths"])
    nats = cross_entropy(logits, batch["targets"]).loss
    return loss_sums(nats, jnp.sum(batch["chords"])), carry


def _piece_steps(piece: Piece) -> int:
    return len(piece) - 1


def _piece_symbols(piece: Piece) -> int:
    return len(symbols_of(piece)) - 1


def form_of(spec: ModelSpec, reading: Reading) -> Form:
    """The form of the batches of networks; chords are read as they are."""
    if spec.network == "language":
        return Form(symbol_batch, _piece_symbols, chord_loss)
    batch = functools.partial(roll_batch, reading=reading)
    rows = _FEWER_ROWS if spec.network == "keyboard" else _ROWS
    return Form(batch, _piece_steps, multilabel_loss, rows)


def reading_of(recipe: MusicConfig) -> Reading:
    """What networks of a recipe are shown at each step."""
    return Reading(recipe.context, recipe.beats, recipe.echo)


def network_spec(recipe: MusicConfig, training: Sequence[Piece] = ()) -> ModelSpec:
    """Describe the networks of a recipe, stacked.

    Args:
        recipe: of the networks.
        training: pieces that say how likely each key is at first, and which ones share
            a recurrence, if any do.
    """
    sizes = {
        **{"hidden_size": recipe.chosen.hidden, "num_layers": recipe.layers},
        **{"dropout": recipe.chosen.dropout, "cell": recipe.cell},
        "regularizer": RegularizerConfig(
            input_dropout=recipe.input_dropout, weight_drop=recipe.weight_drop
        ),
    }
    if recipe.outputs == "chords":
        arguments = {"vocab_size": SYMBOLS, **sizes}
        return ModelSpec("language", arguments, recipe.members)
    width = reading_of(recipe).width
    arguments = {"features": width, "labels": KEYS, "prior": _PRIOR, **sizes}
    if not recipe.key_units:
        return ModelSpec("multilabel", arguments, recipe.members)
    reach = (_REACH,) * recipe.context + (_ECHO_REACH,) * recipe.echo
    arguments |= {"key_size": recipe.key_units, "reach": reach}
    arguments["span"] = _span(recipe, training)
    if training:
        arguments["prior"] = tuple(fit_keys(training).marginal.tolist())
    return ModelSpec("keyboard", arguments, recipe.members)


def _span(recipe: MusicConfig, pieces: Sequence[Piece]) -> tuple[int, int]:
    """The keys that pieces have, from and to before; all if there are no pieces."""
    heard = [pitch - LOWEST for piece in pieces for chord in piece for pitch in chord]
    more = recipe.semitones if recipe.transposed else 0
    low, high = min(heard, default=0) - more, max(heard, default=KEYS) + more + 1
    return max(0, low), min(KEYS, high)


def music_steps(recipe: MusicConfig, precision: Precision | None) -> CompiledSteps:
    """The training programs of a recipe."""
    # The gradient of several networks is that of one, a member-th of it for each.
    optimizer = make_optimizer(
        recipe.weight_decay, recipe.members**-0.5, beta2=0.99, ema=recipe.ema
    )
    loss = ensemble_loss(form_of(network_spec(recipe), reading_of(recipe)).loss)
    return CompiledSteps(with_precision(loss, precision), optimizer)


def music_task(
    training: Sequence[Piece],
    held_out: Sequence[Piece],
    recipe: MusicConfig,
    loss: Loss,
    seed: int,
) -> Task:
    """Learning what comes next in pieces.

    Args:
        training: what is learned from.
        held_out: what the best networks are chosen by.
        recipe: of the networks.
        loss: of `music_steps`.
        seed: decides the order of the pieces, and which ones are transposed.
    """
    form = form_of(network_spec(recipe), reading_of(recipe))
    lengths = [np.empty(form.steps(piece)) for piece in training]
    rows = min(recipe.chosen.batch, len(training))
    picks = BucketedBatches(length_buckets(lengths), rows, seed)

    def batch(n: int) -> Batch:
        picked = picks(n)
        rng = np.random.default_rng([seed, n])
        pieces = picked_pieces(training, picked)
        return form.batch([_varied(rng, p, recipe) for p in pieces], picked.shape[0])

    return Task(
        loss=loss,
        batch=batch,
        rows=rows,
        steps_per_epoch=picks.steps_per_epoch,
        items_per_step=sum(len(piece) - 1 for piece in training)
        // picks.steps_per_epoch,
        items="chords",
        unit="nats per chord",
        evaluate=functools.partial(held_out_sums, held_out, form),
    )


def _varied(rng: np.random.Generator, piece: Piece, recipe: MusicConfig) -> Piece:
    """The piece, or now and then itself in another key."""
    chosen, semitones = rng.random(), recipe.semitones
    moved = int(rng.integers(-semitones, semitones + 1))
    return transposed(piece, moved) if chosen < recipe.transposed else piece


def held_out_sums(pieces: Sequence[Piece], form: Form, networks: Model) -> LossSums:
    """The mean over the networks of their sums over pieces, without dropout."""
    parts = [
        _measure(form.loss, networks, form.batch(picked_pieces(pieces, picked), steps))
        for picked, steps in whole_batches(pieces, form)
    ]
    return functools.reduce(operator.add, parts)


def whole_batches(pieces: Sequence[Piece], form: Form) -> list[tuple[Picked, int]]:
    """All pieces once, in batches of few shapes, and the length of each batch."""
    lengths = [np.empty(form.steps(piece)) for piece in pieces]
    rows = min(form.rows, len(pieces))
    picked = pick_epoch(length_buckets(lengths), rows, seed=0, epoch=0)
    return [(some, some.shape[0]) for some in picked]


@functools.partial(bounded_jit, static_argnums=0)
def _measure(loss: Loss, networks: Model, batch: dict[str, Array]) -> LossSums:
    return ensemble_loss(loss)(networks, (), batch, None)[0]


def train_music(
    training: Sequence[Piece],
    held_out: Sequence[Piece],
    recipe: MusicConfig,
    run: RunConfig,
    *,
    precision: Precision | None = None,
    callbacks: Sequence[Callback] = (),
) -> Trained:
    """Train the networks of a recipe, in the folder of the run.

    Args:
        training: what is learned from.
        held_out: what the best networks are chosen by.
        recipe: of the networks.
        run: how long, and how it is kept.
        precision: of the arithmetic.
        callbacks: what looks on, and may stop.

    Raises:
        InputError: there is no time for a step, or the loss is no longer a finite
            number.
    """
    compiled = music_steps(recipe, precision)
    task = music_task(training, held_out, recipe, compiled.loss, run.seed)
    openings = sorted({piece[0] for piece in training})
    assert run.epochs is not None, "Options has a default"
    return train_network(
        NAME,
        network_spec(recipe, training),
        task,
        compiled,
        run,
        folder=run.run_dir,
        steps=run.epochs * task.steps_per_epoch,
        learning_rate=recipe.chosen.learning_rate,
        settings={
            "openings": openings,
            "reading": dataclasses.asdict(reading_of(recipe)),
        },
        callbacks=callbacks,
        show=True,
    )


def parameter_count(networks: Model) -> int:
    """Numbers that were learned, of all members."""
    return sum(leaf.size for leaf in jax.tree.leaves(networks))
