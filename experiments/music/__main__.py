"""Write music: chorales in four voices, new ones or the rest of one that is given.

Task      What sounds at the next quarter note, given all before it: 88 probabilities,
          of every key of a piano by itself. Each key has the same LSTM, which reads
          what stands around it and what came next when the same chords or melody
          were last heard in the piece; another LSTM sees all keys. With --outputs
          chords the notes of a chord one after the other, the highest first, each
          given those above it; that writes the better chorales, and its likelihoods
          are of another class.
Data      JSB chorales in quarter notes: 229 + 76 + 77 chorales by J. S. Bach as a JSON
          object of train, valid and test, lists of pieces, which are lists of chords,
          which are lists of MIDI pitches. Or a folder of MIDI files.
Protocol  The parts are the official ones. Nats per step: of every chord given those
          before it the negative log-likelihoods of 88 keys are summed, and the mean is
          taken over all steps of the test part but each piece's first. Settings and the
          best step are chosen by the validation part. How often a key sounds, and how
          often it stays, are counted in the training part: the floors.
Command   python -m experiments.music --data jsb-chorales-quarter.json
          python -m experiments.music --data FOLDER_OF_MIDI_FILES --outputs chords
          python -m experiments.music --resume --run-dir RUN_DIR
          python -m experiments.music evaluate RUN_DIR --data FILE_OR_FOLDER
          python -m experiments.music predict RUN_DIR my.mid --out continued.mid
          python -m experiments.music generate RUN_DIR --count 3 --folder chorales
Published 8.45 by an LSTM, 8.43 by a GRU and 8.10 by a convolutional network (TCN) of
          about 300,000 parameters each (Bai et al. 2018). By models of whole chords
          6.27, RNN-RBM, and 5.56, RNN-NADE (Boulanger-Lewandowski et al. 2012).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

import lstm_jax
from experiments.cli import command_line, keep_inputs, run_experiment
from experiments.known_data import described
from experiments.music.baseline import fit_keys
from experiments.music.config import MusicConfig
from experiments.music.data import (
    Piece,
    describe_data,
    describe_pieces,
    read_parts,
    read_pieces,
    write_piece,
)
from experiments.music.midi import need_mido
from experiments.music.plots import draw_rolls
from experiments.results import DataFile, Result, write_result
from experiments.runs import Clock, RunOptions, begun, check_options
from lstm_jax.cli import run_command
from lstm_jax.config import (
    Amount,
    Count,
    OneOrMore,
    Range,
    RunConfig,
    Seed32,
    check_bounds,
)
from lstm_jax.training import interruptible

if TYPE_CHECKING:  # JAX is imported where it is used, so that --help need not wait
    from experiments.music.inference import Musician

NAME = "music"
SMALL = 300_000  # parameters of the published networks, about
Parts = Mapping[str, Sequence[Piece]]
Tempo = Annotated[float, Range(4.0, 400.0)]
Length = Annotated[int, Range(1, 10_000)]
Word = tyro.conf.Positional[Path]
_SHOWN = 16  # chords that are given in the picture of a run
# An earlier run, which says nothing of these, is as it was without them.
RECIPE = MusicConfig(beats=16, echo=2, key_units=64)
SMOKE = {
    **{"hidden": 16, "batch": 8, "dropout": 0.1, "learning_rate": 2e-2},
    **{"input_dropout": 0.0, "weight_drop": 0.0},
    **{"layers": 1, "members": 2, "transposed": 0.5},
    **{"key_units": 4, "echo": 2, "beats": 4},
}


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Train a network on pieces, score it on others, and have it write one.

    Args:
        data: a JSON file of train, valid and test; or a folder of MIDI files, which are
            divided into 60, 20 and 20 %.
        smoke: run in seconds on a small generated data set.
        recipe: the network and its training.
        run: how long, and where it is kept.
    """

    data: Path | None = None
    smoke: bool = False
    recipe: MusicConfig = RECIPE
    run: RunConfig = dataclasses.field(
        default_factory=lambda: RunConfig(
            run_dir=Path("runs/music"), epochs=16, evaluations=20, steps_per_call=1
        )
    )


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score the network that a run has left on pieces of your own.

    Args:
        run_dir: folder of a training run.
        data: a MIDI file, a folder of them, or a JSON file of pieces or of parts, whose
            "test" is scored.
        json: print the results as a last line of JSON.
    """

    run_dir: Annotated[Word, tyro.conf.arg(metavar="RUN_DIR")]
    data: Path | None = None
    json: bool = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Continue a piece with the network that a run has left.

    Args:
        run_dir: folder of a training run.
        piece: a MIDI file, or a JSON file whose first piece is taken.
        out: what was given and how it goes on, .mid or .json; a picture goes beside it.
        keep: number of quarter notes of the piece to start from. Default: all.
        length: number of quarter notes to generate.
        temperature: sampling temperature; below 1 favors likely notes, 0 is greedy.
        tempo: quarter notes per minute.
        seed: random seed.
    """

    run_dir: Annotated[Word, tyro.conf.arg(metavar="RUN_DIR")]
    piece: Annotated[Word, tyro.conf.arg(metavar="PIECE")]
    out: Path = Path("continued.mid")
    keep: Count | None = None
    length: Length = 32
    temperature: Amount = 1.0
    tempo: Tempo = 80.0
    seed: Seed32 = 0


@dataclasses.dataclass(frozen=True)
class GenerateOptions:
    """Write new pieces, each from a chord that a piece of the training begins with.

    Args:
        run_dir: folder of a training run.
        folder: where generated-1.mid and so on are written, and a picture of them.
        count: number of pieces.
        length: of each piece, in quarter notes.
        temperature: sampling temperature; below 1 favors likely notes, 0 is greedy.
        tempo: quarter notes per minute.
        seed: random seed.
    """

    run_dir: Annotated[Word, tyro.conf.arg(metavar="RUN_DIR")]
    folder: Path = Path()
    count: OneOrMore = 3
    length: Length = 64
    temperature: Amount = 1.0
    tempo: Tempo = 80.0
    seed: Seed32 = 0


def generated() -> Parts:
    """Pieces of triads that go round by fifths, in a key that stays."""
    rng = np.random.default_rng(0)

    def piece() -> Piece:
        tonic, length = 60 + int(rng.integers(4)), int(rng.integers(10, 18))
        roots = [tonic + (0, 5, 7, 0)[step % 4] for step in range(length)]
        return tuple((root - 12, root, root + 4, root + 7) for root in roots)

    sizes = {"train": 24, "valid": 6, "test": 6}
    return {name: [piece() for _ in range(count)] for name, count in sizes.items()}


def load(options: Options) -> tuple[Parts, Options]:
    """Read the pieces; the options are then those that suit them."""
    if options.smoke:
        # A run that is resumed has its own, perhaps those of a former version.
        recipe = options.recipe
        if not options.run.resume:
            recipe = dataclasses.replace(recipe, **SMOKE)
        run = dataclasses.replace(options.run, epochs=8, evaluations=4)
        return generated(), dataclasses.replace(options, recipe=recipe, run=run)
    if options.data is None:
        raise lstm_jax.InputError("--data: expected a path, found none (or --smoke)")
    return read_parts(options.data), options


def learn(options: Options) -> None:
    """Check everything, then run."""
    clock = Clock()
    check_options(options, validated=True)
    parts, options = load(options)
    paths = [options.data] if options.data and not options.smoke else []
    files = [describe_data(path) for path in paths]
    with begun(NAME, options, files=files, spare=paths, clock=clock):
        learn_from(options, parts, files, clock)


def learn_from(
    options: Options, parts: Parts, files: Sequence[DataFile], clock: Clock
) -> None:
    """Train, score what was trained beside the floors, and have it write a piece."""
    from experiments.music.inference import load_musician, nats_per_chord
    from experiments.music.task import parameter_count, train_music

    run_dir = options.run.run_dir
    assert run_dir is not None
    print(f"train / valid / test: {describe_pieces(parts)}", flush=True)
    with interruptible() as stop:
        train_music(
            parts["train"],
            parts["valid"],
            options.recipe,
            options.run,
            precision=options.precision,
            callbacks=[stop],
        )
        stop.check(
            f"the best network so far is kept in {run_dir}, not scored; --resume "
            "goes on"
        )
    if not lstm_jax.distributed.is_primary():
        return
    musician = load_musician(run_dir)
    scores = {name: nats_per_chord(musician, parts[name]) for name in parts}
    count = parameter_count(musician.networks)
    floors = fit_keys(parts["train"]).nats(parts["test"])
    show_scores(scores, floors, count)
    show_chorale(musician, parts["test"], run_dir)
    minutes = clock.minutes
    write_result(run_dir, result(options, parts, files, scores, floors, count, minutes))


def show_scores(
    scores: Mapping[str, float], floors: tuple[float, float], count: int
) -> None:
    """Print the nats per step of the parts, and those of the floors."""
    print(f"\n{count:,} parameters\n{'nats per step':24}{'  '.join(scores)}")
    print(f"{'network':24}{'  '.join(f'{nats:.3f}' for nats in scores.values())}")
    for name, nats in zip(("marginal", "Markov, per key"), floors, strict=True):
        print(f"{name:24}{nats:.3f} (test)")


def show_chorale(musician: Musician, pieces: Sequence[Piece], run_dir: Path) -> None:
    """Draw how a piece begins, how it goes on, and how the network would go on."""
    from experiments.music.inference import continued, opening

    piece = next((p for p in pieces if len(p) >= 2 * _SHOWN), pieces[0])
    given, length = piece[:_SHOWN], max(1, len(piece) - _SHOWN)
    own = opening(musician, 0)
    rows = {
        "a piece of the test part, as it was written": (piece, ()),
        "its beginning, continued": (given, continued(musician, given, length, 1.0, 0)),
        "a new one": (own, continued(musician, own, len(piece) - 1, 1.0, 0)),
    }
    draw_rolls(run_dir / "chorales.png", rows, "Given, and made after it")


def result(
    options: Options,
    parts: Parts,
    files: Sequence[DataFile],
    scores: Mapping[str, float],
    floors: tuple[float, float],
    count: int,
    minutes: float,
) -> Result:
    """Say what the table of applications wants to know."""
    jointly = options.recipe.outputs == "chords"
    size = f"at most {SMALL:,} parameters" if count <= SMALL else "any size"
    classed = "chords note by note" if jointly else "keys independent"
    name = files[0].name if files else "generated"
    return Result(
        **described(
            f"Music generation, {'whole chords' if jointly else size}",
            f"official test part, {classed}",
            files,
            f"{name}, {describe_pieces(parts)}",
        ),
        metric="negative log-likelihood, nats per step",
        ours=f"{scores['test']:.3f} ({count:,} parameters; validation part "
        f"{scores['valid']:.3f})",
        floor=f"{floors[0]:.2f} how often a key sounds, {floors[1]:.2f} how often it "
        "stays (Markov)",
        minutes=minutes,
        command=command_line(NAME, options),
    )


def evaluate(options: EvaluateOptions) -> None:
    """Score a trained network on pieces."""
    from experiments.music.inference import load_musician, nats_per_chord

    if options.data is None:
        raise lstm_jax.InputError("--data: expected a path, found none")
    pieces = [piece for piece in read_pieces(options.data) if len(piece) > 1]
    if not pieces:
        raise lstm_jax.InputError(
            f"{options.data}: expected a piece of 2 steps or more, found none"
        )
    nats = nats_per_chord(load_musician(options.run_dir), pieces)
    steps = sum(len(piece) - 1 for piece in pieces)
    print(f"{nats:.4f} nats per step, {len(pieces)} pieces, {steps:,} steps")
    if options.json:
        print(json.dumps({"nats": nats, "pieces": len(pieces), "steps": steps}))


def predict(options: PredictOptions) -> None:
    """Continue a piece, and write it down."""
    check_bounds(options)
    check_target(options.out)
    keep_inputs(options.out, [options.piece])
    given = read_pieces(options.piece)[0][: options.keep]
    from experiments.music.inference import continued, load_musician

    musician = load_musician(options.run_dir)
    made = continued(musician, given, options.length, options.temperature, options.seed)
    write_piece(options.out, given + made, options.tempo)
    picture = options.out.with_suffix(".png")
    draw_rolls(picture, {options.piece.name: (given, made)}, "Given and continued")
    print(f"written: {options.out}, {picture}")


def generate(options: GenerateOptions) -> None:
    """Write new pieces."""
    check_bounds(options)
    need_mido()
    from experiments.music.inference import continued, load_musician, opening

    musician = load_musician(options.run_dir)
    with lstm_jax.storage.writing(options.folder):
        options.folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    for number in range(options.count):
        seed = options.seed + number
        first = opening(musician, seed)
        rest = continued(musician, first, options.length - 1, options.temperature, seed)
        path = options.folder / f"generated-{number + 1}.mid"
        write_piece(path, first + rest, options.tempo)
        print(f"written: {path}")
        rows[path.name] = first, rest
    picture = options.folder / "generated.png"
    draw_rolls(picture, dict([*rows.items()][:4]), "New pieces")
    print(f"written: {picture}")


def check_target(path: Path) -> None:
    """Refuse to write what can't be written, before anything is computed."""
    suffix = path.suffix.lower()
    if suffix not in (".mid", ".midi", ".json"):
        raise lstm_jax.InputError(f"--out: expected .mid or .json, found {path}")
    if suffix != ".json":
        need_mido()


def main(arguments: Sequence[str] | None = None) -> int | None:
    """The command; returns its exit code."""
    return run_experiment(
        NAME,
        __doc__,
        arguments,
        learn=(Options, learn),
        evaluate=(EvaluateOptions, evaluate),
        predict=(PredictOptions, predict),
        generate=(GenerateOptions, generate),
    )


if __name__ == "__main__":
    run_command(main)
