"""Words of the user's own: read character by character, or named as a whole.

    python -m experiments.speech --transcripts words.csv                   characters
    python -m experiments.speech --transcripts commands.csv --units words  classes

Characters are scored at frames of 20 ms and trained by CTC, as joined digits are; whole
transcripts are classes, named by four networks, as isolated digits are. A share of the
recordings, drawn at random, is the test. The floor is the transcript of the nearest
recording that was learned from.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import lstm_jax
from experiments import digits
from experiments.cli import command_line
from experiments.known_data import described
from experiments.results import DataFile, Result, describe_file, write_result
from experiments.runs import Clock, begun
from experiments.speech.augment import varied_frames, vary_speed
from experiments.speech.baseline import make_templates
from experiments.speech.data import FRONTEND, RATE, Recording, listed, words
from experiments.speech.features import LogMelFrontend
from experiments.speech.task import (
    APPLICATION,
    MANY_WORDS,
    Settings,
    isolated_batch,
    steps_of,
)
from experiments.speech.transcripts import Clip, read_clips
from lstm_jax.data import pad_frames
from lstm_jax.decoding import prefix_beam_search
from lstm_jax.errors import warn
from lstm_jax.metrics import Edits, count_all_edits
from lstm_jax.training import interruptible

if TYPE_CHECKING:
    from experiments.digits import TrainingSetup
    from experiments.speech.config import EvaluateOptions, Options, Unit
    from lstm_jax.models import SavedModel
    from lstm_jax.training import Stop
    from lstm_jax.typing import Model

CHARACTERS = Settings(96, steps=3000, rows=16, dropout=0.2, learning_rate=4e-3)
WORDS = Settings(64, steps=1200, rows=32, dropout=0.25)
FINE = LogMelFrontend(stack=2)  # frames of 20 ms: characters are shorter than digits


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What is read: characters, or whole transcripts. What it lacks has a number too.

    A character is its place and 1 more, for the blank; a whole transcript is its place.
    """

    units: Unit
    symbols: tuple[str, ...]

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {symbol: k for k, symbol in enumerate(self.symbols)}

    def encode(self, transcript: str) -> tuple[int, ...]:
        """Look up the symbols of a transcript; what is not there is the last one."""
        places = self._places
        if self.units == "words":
            return (places.get(transcript, len(places)),)
        return tuple(places.get(symbol, len(places)) + 1 for symbol in transcript)

    def decode(self, symbols: Sequence[int]) -> str:
        """Write out what was read."""
        first = 0 if self.units == "words" else 1
        return "".join(self.symbols[symbol - first] for symbol in symbols)


class Example(NamedTuple):
    """A recording [N] and the symbols of its transcript."""

    symbols: tuple[int, ...]
    samples: np.ndarray


class Score(NamedTuple):
    """What was made of a test: transcripts that are right, and edits of characters."""

    tested: int
    right: int
    edits: Edits

    def number(self, units: Unit) -> str:
        """Give the number of the table, in percent."""
        whole = 100 * self.right / self.tested
        if units == "words":
            return f"{whole:.2f}"
        error = 100 * self.edits.error_rate
        return f"{error:.2f} ({whole:.1f} % of the transcripts without one)"

    def record(self, units: Unit) -> dict[str, float]:
        """Make a JSON object of it."""
        found = {"recordings": self.tested, "accuracy": self.right / self.tested}
        if units == "characters":
            found["character_error_rate"] = self.edits.error_rate
        return found


METRICS = {"words": "accuracy, %", "characters": "character error rate, %"}


def vocabulary_of(saved: SavedModel) -> Vocabulary | None:
    """What a network reads; None if it reads digits.

    Raises:
        InputError: its settings are damaged.
    """
    if not saved.settings:
        return None
    units, symbols = (saved.settings.get(name) for name in ("units", "symbols"))
    good = isinstance(symbols, list) and all(isinstance(s, str) for s in symbols)
    if units not in METRICS or not good:
        raise lstm_jax.InputError(
            f"{saved.folder}: expected the symbols of a run on transcripts"
        )
    return Vocabulary(units, tuple(symbols))


def learn_transcribed(options: Options, clock: Clock) -> None:
    """Learn what a table says of recordings, and score it on those held out.

    Raises:
        InputError: another flag contradicts it, or there is nothing to learn from.
    """
    assert options.transcripts is not None
    for name in ("validate", "smoke"):
        if getattr(options, name):
            raise lstm_jax.InputError(f"--{name}: expected no --transcripts beside it")
    folder = options.data or options.transcripts.parent
    clips = clips_of(options.transcripts, folder, options.longest)
    if options.units == "characters":
        clips = with_room(options.transcripts, clips)
    symbols = {clip.transcript for clip in clips}
    if options.units == "characters":
        symbols = set("".join(symbols))
    elif len(symbols) < 2:
        raise lstm_jax.InputError(
            f"{options.transcripts}: expected two words or more, found {len(symbols)}"
        )
    vocabulary = Vocabulary(options.units, tuple(sorted(symbols)))
    known, tested = held_out(clips, options.test_fraction, options.run.seed)
    files = [describe_file(options.transcripts), describe_clips(folder, clips)]
    spare = [options.transcripts, folder]
    with begun("speech", options, files=files, spare=spare, clock=clock):
        print(
            f"{len(known)} recordings to learn from, {len(tested)} to test with, "
            f"{len(symbols)} {options.units}"
        )
        with interruptible() as stop:
            model = fit(options, vocabulary, known, stop)
        if not tested:
            print("nothing held out, so there is no result")
        if not tested or not lstm_jax.distributed.is_primary():
            return
        ours = examine(model, vocabulary, tested)
        floor = examine_nearest(known, vocabulary, tested)
        result = Result(
            **described(
                f"Speech recognition, own {options.units}",
                f"{len(tested)} of {len(clips)} recordings held out at random",
                files,
                f"{options.transcripts.name}, {len(clips):,} recordings",
            ),
            metric=METRICS[options.units],
            ours=ours.number(options.units),
            floor=f"nearest recording: {floor.number(options.units)}",
            minutes=clock.minutes,
            command=command_line("speech", options),
        )
        assert options.run.run_dir is not None
        write_result(options.run.run_dir, result)


def evaluate_transcribed(
    options: EvaluateOptions, model: Model, vocabulary: Vocabulary
) -> Score:
    """Score a network on the recordings of a table.

    Raises:
        InputError: there is no table, or none of its recordings can be scored.
    """
    if options.transcripts is None:
        raise lstm_jax.InputError("--transcripts: expected a table, found none")
    folder = options.data or options.transcripts.parent
    clips = clips_of(options.transcripts, folder)
    unknown = {s for clip in clips for s in symbols_of(clip, vocabulary.units)}
    if missing := sorted(unknown - set(vocabulary.symbols)):
        warn(listed("counted as wrong, for they were never learned: ", missing))
    return examine(model, vocabulary, clips)


def symbols_of(clip: Clip, units: Unit) -> Sequence[str]:
    """The symbols of a transcript."""
    return clip.transcript if units == "characters" else [clip.transcript]


def clips_of(table: Path, folder: Path, longest: float = np.inf) -> list[Clip]:
    """Read the recordings of a table; those that are too long are named in a note.

    Raises:
        InputError: there are none.
    """
    notes: dict[str, list[str]] = {}
    clips = read_clips(table, folder, longest, RATE, notes)
    for reason, names in notes.items():
        warn(listed(f"{table}: {len(names):,} {reason}: ", names))
    if not clips:
        raise lstm_jax.InputError(f"{table}: expected recordings, found none to use")
    return clips


def with_room(table: Path, clips: Sequence[Clip]) -> list[Clip]:
    """The recordings that are long enough for CTC; the others are named in a note.

    Raises:
        InputError: there are none.
    """
    found = [clip for clip in clips if leaves_room(clip)]
    short = [clip.name for clip in clips if not leaves_room(clip)]
    if short:
        reason = f"{len(short):,} too short for their transcripts"
        warn(listed(f"{table}: {reason}, left out: ", short))
    if not found:
        raise lstm_jax.InputError(
            f"{table}: expected recordings with time for their transcripts, found none"
        )
    return found


def leaves_room(clip: Clip) -> bool:
    """Whether there is a frame for each character, also if it is played faster.

    CTC needs one more between two that are the same.
    """
    text = clip.transcript
    fastest = clip.samples[: int(len(clip.samples) / (1 + MANY_WORDS.speed))]
    doubled = sum(a == b for a, b in itertools.pairwise(text))
    return len(FINE.frames(fastest)) >= len(text) + doubled


def held_out(
    clips: Sequence[Clip], share: float, seed: int
) -> tuple[list[Clip], list[Clip]]:
    """Those to learn from and those of the test, drawn at random.

    Raises:
        InputError: nothing is left to learn from.
    """
    count = max(1, round(share * len(clips))) if share else 0
    if count == len(clips):
        raise lstm_jax.InputError(
            f"--test-fraction: expected recordings left to learn from, found {count} "
            "in all"
        )
    order = np.random.default_rng(seed).permutation(len(clips))
    parts = sorted(order[count:]), sorted(order[:count])
    known, tested = ([clips[k] for k in part] for part in parts)
    return known, tested


def describe_clips(folder: Path, clips: Sequence[Clip]) -> DataFile:
    """All recordings as one: how many bytes of samples they are, and their sum."""
    digest, size = hashlib.sha256(), 0
    for clip in clips:
        digest.update(clip.samples.tobytes())
        size += clip.samples.nbytes
    name = f"{folder.resolve().name}, {len(clips):,} recordings"
    return DataFile(name, size, digest.hexdigest())


def settings_of(units: Unit, clips: Sequence[Clip]) -> Settings:
    """A network and how it learns, with rows that hold the longest recording."""
    longest = max(len(clip.samples) for clip in clips) / RATE / (1 - MANY_WORDS.speed)
    how = WORDS if units == "words" else CHARACTERS
    return dataclasses.replace(how, seconds=longest + 0.1)


def setup_of(
    vocabulary: Vocabulary, clips: Sequence[Clip], options: Options
) -> TrainingSetup:
    """What is learned, and how."""
    how = settings_of(vocabulary.units, clips)
    how = dataclasses.replace(how, cell=options.cell)
    count = len(vocabulary.symbols)
    if vocabulary.units == "words":
        batch = functools.partial(isolated_batch, how)
        setup = digits.isolated_setup(
            how, FRONTEND.features, batch, options.precision, count
        )
        return dataclasses.replace(setup, unit="nats per word")
    batch = functools.partial(transcribed_batch, how)
    setup = digits.joined_setup(how, FINE.features, batch, options.precision, count)
    return dataclasses.replace(setup, unit="nats per character")


def examples_of(vocabulary: Vocabulary, clips: Sequence[Clip]) -> list:
    """What a batch is drawn from: recordings of classes, or of transcripts."""
    coded = [vocabulary.encode(clip.transcript) for clip in clips]
    pairs = list(zip(coded, clips, strict=True))
    if vocabulary.units == "words":
        return words([Recording("", k, 0, clip.samples) for (k,), clip in pairs])
    return [Example(symbols, clip.samples) for symbols, clip in pairs]


def transcribed_batch(
    how: Settings, examples: Sequence[Example], seed: int, n: int
) -> digits.Batch:
    """Batch n for `ctc_loss`: recordings drawn at random, each varied."""
    rng = np.random.default_rng([seed, n])
    some = [examples[k] for k in rng.integers(len(examples), size=how.rows)]
    rows = []
    for example in some:
        samples = vary_speed(rng, example.samples, MANY_WORDS)
        rows.append(varied_frames(rng, samples, MANY_WORDS, FINE))
    frames, lengths = pad_frames(rows, steps_of(how, FINE))
    longest = max(len(example.symbols) for example in examples)
    transcripts = np.zeros((how.rows, longest), np.int32)
    for place, example in zip(transcripts, some, strict=True):
        place[: len(example.symbols)] = example.symbols
    return {"frames": frames, "lengths": lengths, "transcripts": transcripts}


def fit(
    options: Options, vocabulary: Vocabulary, known: Sequence[Clip], stop: Stop
) -> Model:
    """Train the network, in the folder of the run.

    Raises:
        InputError: nothing is left to learn from.
        Interrupted: that was asked for; --resume goes on.
    """
    setup = setup_of(vocabulary, known, options)
    learned, chosen_by = list(known), None
    if options.validation_fraction:
        seed = options.run.seed + 1  # another draw than that of the test
        learned, chosen_by = held_out(known, options.validation_fraction, seed)
    assert options.run.run_dir is not None
    model = digits.fit(
        APPLICATION,
        setup,
        examples_of(vocabulary, learned),
        len(learned),
        options.run,
        folder=options.run.run_dir,
        stop=stop,
        held_out=examples_of(vocabulary, chosen_by) if chosen_by else None,
        settings=dataclasses.asdict(vocabulary),
    )
    stop.check(
        f"the network, unfinished, is in {options.run.run_dir}; --resume goes on"
    )
    return model


def examine(model: Model, vocabulary: Vocabulary, clips: Sequence[Clip]) -> Score:
    """What a network makes of some recordings."""
    if vocabulary.units == "words":
        named = name_words(model, [clip.samples for clip in clips]).argmax(axis=1)
        return score(vocabulary, clips, [(k,) for k in named.tolist()])
    logits = read_characters(model, [clip.samples for clip in clips])
    read = [prefix_beam_search(some, digits.BEAM)[0].symbols for some in logits]
    return score(vocabulary, clips, read)


def name_words(model: Model, sounds: Sequence[np.ndarray]) -> np.ndarray:
    """Log-probabilities [N, C] of the class of each sound at 8 kHz."""
    trimmed = words([Recording("", 0, 0, samples) for samples in sounds])
    rows = [FRONTEND.frames(recording.samples) for recording in trimmed]
    return digits.score_by_members(model, rows)


def read_characters(model: Model, sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
    """CTC logits [T, 1 + C] of each sound at 8 kHz."""
    return lstm_jax.models.score_frames(model, [FINE.frames(s) for s in sounds])


def examine_nearest(
    known: Sequence[Clip], vocabulary: Vocabulary, clips: Sequence[Clip]
) -> Score:
    """The floor: the transcript of the nearest recording that was learned from."""

    def views(some: Sequence[Clip]) -> list[np.ndarray]:
        trimmed = words([Recording("", 0, 0, clip.samples) for clip in some])
        return [FRONTEND.spectrogram(recording.samples) for recording in trimmed]

    templates = make_templates(views(known), np.arange(len(known)))
    found = [known[k].transcript for k in templates.nearest(views(clips))]
    return score(vocabulary, clips, [vocabulary.encode(text) for text in found])


def score(
    vocabulary: Vocabulary, clips: Sequence[Clip], read: Sequence[tuple[int, ...]]
) -> Score:
    """Transcripts beside what was read."""
    true = [vocabulary.encode(clip.transcript) for clip in clips]
    right = sum(one == other for one, other in zip(true, read, strict=True))
    return Score(len(clips), right, count_all_edits(true, read))
