"""Speech recognition: spoken digits, one at a time by class, joined ones by CTC.

Task      Log-mel frames go through two bidirectional LSTM layers. For an isolated digit
          their outputs are pooled into the score of ten classes; for joined digits
          every frame of 40 ms scores ten digits and a blank, trained by CTC and read by
          prefix beam search.
Data      The Free Spoken Digit Dataset: 6 speakers x 10 digits x 50 recordings, 8 kHz.
          --data is a folder with its WAV files, or zips of them, anywhere below it.
Protocol  Official: recordings 0 to 4 of each speaker and digit are the test, 300 files.
          Unseen speakers: each in turn is the test, with all his 500 files.
          Joined: 3 to 7 test recordings of one speaker with pauses of 0 to 0.4 s before,
          between and after, levels within 3 dB, and noise between white and pink, 10 to
          30 dB weaker; 5 rounds through the official test, 1 through each speaker.
Command   python -m experiments.speech --data PATH
          python -m experiments.speech predict FILE.wav
Expected  EXPECTED
"""

from __future__ import annotations

import dataclasses
import functools
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

import lstm_jax

NAMES = "0123456789"  # digit k is class k, and symbol k + 1 of CTC, whose 0 is a blank
EAR = lstm_jax.Ear(stack=4)
RATE = EAR.bands.rate
BEAM = 8
TESTED, VALIDATED = range(5), range(5, 10)  # numbers of recordings
JOINED = Path("joined.png")


@dataclasses.dataclass(frozen=True)
class Options:
    """Train on the official split and without each speaker, and report both.

    Args:
        data: a folder with the recordings of FSDD.
        run_dir: where networks, picture and results go.
        max_seconds: most seconds of training, all fits together.
        seed: of initial weights and of training batches.
        validate: how the settings were chosen: the official split only, recordings 5 to
            9 being the test and 0 to 4 left alone.
        smoke: a tiny run on generated tones.
    """

    data: Path | None = None
    run_dir: Path = Path("runs/speech")
    max_seconds: float = 1800.0
    seed: int = 0
    validate: bool = False
    smoke: bool = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Read digits off a WAV file of any rate, mono or stereo.

    Args:
        file: the sound.
        run_dir: a finished run.
        picture: where to draw what was heard.
    """

    file: tyro.conf.Positional[Path]
    run_dir: Path = Path("runs/speech")
    picture: Path | None = None


@dataclasses.dataclass(frozen=True)
class Settings:
    """One network and how it learns."""

    hidden: int
    steps: int
    rows: int
    seconds: float  # of a row, at most
    layers: int = 2
    dropout: float = 0.3
    learning_rate: float = 4e-3


ISOLATED = Settings(hidden=96, steps=700, rows=64, seconds=0.8)
JOINED_DIGITS = Settings(hidden=96, steps=700, rows=32, seconds=2.4, dropout=0.2)
TINY = Settings(24, 100, 16, 0.4, layers=1, dropout=0.0, learning_rate=1e-2)
SMOKE = (TINY, dataclasses.replace(TINY, seconds=1.2))
VARIATION = lstm_jax.Variation(speed=0.12)


class Recording(NamedTuple):
    """One spoken digit."""

    speaker: str
    digit: int
    number: int
    samples: np.ndarray


class Networks(NamedTuple):
    """That for isolated digits, and that for joined ones."""

    isolated: lstm_jax.SequenceClassifier
    joined: lstm_jax.Transcriber


class Report(NamedTuple):
    """What was made of a test: classes of digits, transcripts of joined ones."""

    right: int
    tested: int
    greedy: lstm_jax.Edits
    beam: lstm_jax.Edits

    @property
    def accuracy(self) -> float:
        """Percent of the isolated digits."""
        return 100 * self.right / self.tested

    def __str__(self) -> str:
        return (
            f"isolated {self.right}/{self.tested} = {self.accuracy:.2f} %; joined, "
            f"errors in {self.beam.length} digits: greedy "
            f"{100 * self.greedy.error_rate:.2f} %, beam "
            f"{100 * self.beam.error_rate:.2f} %"
        )


def add_up(reports: Sequence[Report]) -> Report:
    """Several tests as one."""
    rights, tests, greedy, beam = zip(*reports, strict=True)
    nothing = lstm_jax.Edits()
    return Report(sum(rights), sum(tests), sum(greedy, nothing), sum(beam, nothing))


def read_recordings(folder: Path) -> list[Recording]:
    """Every DIGIT_SPEAKER_NUMBER.wav in a folder and in zips there."""
    found = []
    for name, content in lstm_jax.wav_files(folder):
        if match := re.fullmatch(r"(\d)_(\w+)_(\d+)\.wav", name):
            digit, speaker, number = match.groups()
            sound = lstm_jax.resample(lstm_jax.decode_wav(content, name), RATE)
            found.append(Recording(speaker, int(digit), int(number), sound.samples))
    if not found:
        raise lstm_jax.InputError(
            f"{folder}: expected WAV files like 7_jackson_32.wav, or zips of them, "
            "found none"
        )
    return sorted(found, key=lambda r: r[:3])


def tones() -> list[Recording]:
    """A stand-in for FSDD: each digit is a pair of tones, each speaker a pitch."""
    rng = np.random.default_rng(0)
    made = []
    for pitch, digit, number in np.ndindex(2, 10, 8):
        seconds = np.arange(int(rng.uniform(0.15, 0.3) * RATE)) / RATE
        low, high = 300 * 1.3 ** (digit // 4), 1000 * 1.3 ** (digit % 4)
        turns = 2 * np.pi * (1 + 0.05 * pitch) * seconds
        samples = np.sin(low * turns) + np.sin(high * turns)
        speaker = ("low", "high")[pitch]
        made.append(Recording(speaker, digit, number, samples.astype(np.float32)))
    return made


def by_speaker(recordings: Sequence[Recording]) -> dict[str, list[Recording]]:
    """The recordings of each speaker."""
    found: dict[str, list[Recording]] = {}
    for recording in recordings:
        found.setdefault(recording.speaker, []).append(recording)
    return found


def utterances(
    recordings: Sequence[Recording], rounds: int
) -> tuple[list[np.ndarray], list[tuple[int, ...]]]:
    """The joined digits of a test and their transcripts, the same in every run.

    Each round uses every recording once, but for 1 or 2 that a speaker may have left.
    """
    rng = np.random.default_rng(0)
    sounds, transcripts = [], []
    for mine in list(by_speaker(recordings).values()) * rounds:
        order = rng.permutation(len(mine)).tolist()
        while len(order) >= 3:
            count = min(int(rng.integers(3, 8)), len(order))
            some = [mine[order.pop()] for _ in range(count)]
            parts = [recording.samples for recording in some]
            whole = lstm_jax.join_sounds(rng, parts, gap=int(0.4 * RATE), decibels=3.0)
            sounds.append(lstm_jax.with_noise(rng, whole, rng.uniform(10, 30)))
            transcripts.append(tuple(recording.digit + 1 for recording in some))
    return sounds, transcripts


def isolated_batch(
    recordings: Sequence[Recording], how: Settings, seed: int, n: int
) -> dict[str, np.ndarray]:
    """Batch n: recordings drawn at random, each varied."""
    rng = np.random.default_rng([seed, n])
    some = [recordings[k] for k in rng.integers(len(recordings), size=how.rows)]
    rows = []
    for recording in some:
        samples = lstm_jax.vary_speed(rng, recording.samples, VARIATION)
        samples = samples[: int(how.seconds * RATE)]
        rows.append(lstm_jax.varied_frames(rng, samples, VARIATION, EAR))
    frames, lengths = lstm_jax.pad_frames(rows, steps_of(how, EAR))
    targets = np.array([recording.digit for recording in some], np.int32)
    return {"inputs": frames.swapaxes(0, 1), "lengths": lengths, "targets": targets}


def joined_batch(
    recordings: Sequence[Recording], how: Settings, seed: int, n: int
) -> dict[str, np.ndarray]:
    """Batch n: rows of 1 to 7 recordings of one speaker each, as many as there is room.

    A quarter of the rows has no pauses.
    """
    rng = np.random.default_rng([seed, n])
    speakers = list(by_speaker(recordings).values())
    rows, transcripts = [], np.zeros((how.rows, 7), np.int32)
    for transcript in transcripts:
        mine = speakers[rng.integers(len(speakers))]
        gap = int(rng.choice([0.0, 0.4, 0.4, 0.4]) * RATE)
        room, parts = int(how.seconds * RATE) - gap, []
        for place in range(int(rng.integers(1, 8))):
            recording = mine[rng.integers(len(mine))]
            samples = lstm_jax.vary_speed(rng, recording.samples, VARIATION)
            room -= len(samples) + gap
            if parts and room < 0:
                break
            parts.append(samples)
            transcript[place] = recording.digit + 1
        whole = lstm_jax.join_sounds(rng, parts, gap=gap, decibels=3.0)
        whole = whole[: int(how.seconds * RATE)]
        rows.append(lstm_jax.varied_frames(rng, whole, VARIATION, EAR))
    frames, lengths = lstm_jax.pad_frames(rows, steps_of(how, EAR))
    return {"frames": frames, "lengths": lengths, "transcripts": transcripts}


def steps_of(how: Settings, ear: lstm_jax.Ear) -> int:
    """Frames of a row."""
    return len(ear.frames(np.zeros(int(how.seconds * RATE), np.float32)))


class Course(NamedTuple):
    """What one kind of network learns, and how."""

    how: Settings
    build: Callable[[Settings, int], Any]
    batch: Callable[[Sequence[Recording], Settings, int, int], dict[str, np.ndarray]]
    row_axes: dict[str, int]
    programs: lstm_jax.Programs
    loss: Any


def isolated_course(how: Settings) -> Course:
    """Naming isolated digits."""
    axes = {"inputs": 1, "lengths": 0, "targets": 0}
    loss = lstm_jax.classifier_loss
    programs = lstm_jax.Programs(loss, lstm_jax.make_optimizer(0.01, 1.0, 0.99))
    return Course(how, build_isolated, isolated_batch, axes, programs, loss)


def joined_course(how: Settings) -> Course:
    """Reading joined digits."""
    axes = {"frames": 0, "lengths": 0, "transcripts": 0}
    loss = lstm_jax.transcribe_loss
    programs = lstm_jax.Programs(loss, lstm_jax.make_optimizer(0.01, 1.0, 0.99))
    return Course(how, build_joined, joined_batch, axes, programs, loss)


def build_isolated(how: Settings, seed: int) -> lstm_jax.SequenceClassifier:
    """The untrained network for isolated digits."""
    from flax import nnx

    return lstm_jax.SequenceClassifier(
        EAR.features,
        how.hidden,
        how.layers,
        len(NAMES),
        rngs=nnx.Rngs(seed),
        dropout=how.dropout,
    )


def build_joined(how: Settings, seed: int) -> lstm_jax.Transcriber:
    """The untrained network for joined digits."""
    from flax import nnx

    return lstm_jax.Transcriber(
        EAR.features,
        1 + len(NAMES),
        how.hidden,
        how.layers,
        rngs=nnx.Rngs(seed),
        dropout=how.dropout,
    )


def learn(
    course: Course,
    recordings: Sequence[Recording],
    seed: int,
    seconds: float,
    run_dir: Path | None = None,
) -> Any:
    """A network that has taken a course on some recordings."""
    how = course.how
    task = lstm_jax.Task(
        loss=course.loss,
        batch=functools.partial(course.batch, recordings, how, seed),
        row_axes=course.row_axes,
        rows=how.rows,
        steps_per_epoch=max(1, len(recordings) // how.rows),
        symbols_per_step=how.rows,
    )
    trained = lstm_jax.train_model(
        task,
        course.build(how, seed),
        lstm_jax.Plan(how.steps, seconds, how.learning_rate, 0.05, final_rate=0.0),
        course.programs,
        seed=seed,
        steps_per_call=4,
        run_dir=run_dir,
    )
    last = trained.lines[-1]
    loss = f"{last['train_loss']:.3f} nats per digit"
    print(f"  {last['step']} steps in {last['seconds']:.0f} s, training loss {loss}")
    if run_dir:
        settings = {"settings": dataclasses.asdict(how)}
        lstm_jax.save_model(run_dir, trained.model, settings)
    return trained.model


def examine(networks: Networks, tested: Sequence[Recording], rounds: int) -> Report:
    """What the networks make of a test."""
    rows = [EAR.frames(recording.samples) for recording in tested]
    classes = lstm_jax.score_classes(networks.isolated, rows).argmax(axis=1)
    sounds, references = utterances(tested, rounds)
    rows = [EAR.frames(samples) for samples in sounds]
    scores = lstm_jax.score_frames(networks.joined, rows)
    greedy = [lstm_jax.greedy_decode(some) for some in scores]
    beam = [lstm_jax.prefix_beam_search(some, BEAM)[0].symbols for some in scores]
    return report(tested, classes, references, greedy, beam)


def examine_templates(
    known: Sequence[Recording], tested: Sequence[Recording], rounds: int
) -> Report:
    """The floor: the nearest training recording; joined digits are cut at pauses."""
    rows = [EAR.spectrogram(recording.samples) for recording in known]
    digits = np.array([recording.digit for recording in known])
    templates = lstm_jax.make_templates(rows, digits)

    def name(sounds: Sequence[np.ndarray]) -> np.ndarray:
        return templates.nearest([EAR.spectrogram(samples) for samples in sounds])

    sounds, references = utterances(tested, rounds)
    cut = [lstm_jax.loud_pieces(lstm_jax.Sound(s, RATE)) for s in sounds]
    found = [tuple(name([p.samples for p in pieces]) + 1) for pieces in cut]
    classes = name([recording.samples for recording in tested])
    return report(tested, classes, references, found, found)


def report(
    tested: Sequence[Recording],
    classes: np.ndarray,
    references: Sequence[tuple[int, ...]],
    greedy: Sequence[tuple[int, ...]],
    beam: Sequence[tuple[int, ...]],
) -> Report:
    """Answers beside what was said."""
    digits = np.array([recording.digit for recording in tested])
    count = lstm_jax.count_all_edits
    return Report(
        right=int((classes == digits).sum()),
        tested=len(tested),
        greedy=count(references, greedy),
        beam=count(references, beam),
    )


def learn_all(options: Options) -> None:
    """The experiment."""
    started = time.perf_counter()
    if options.smoke:
        recordings = tones()
        isolated, joined = SMOKE
    elif options.data:
        recordings = read_recordings(options.data)
        isolated, joined = ISOLATED, JOINED_DIGITS
    else:
        raise lstm_jax.InputError("--data: expected a folder, found none")
    lstm_jax.keep_programs()
    lstm_jax.show_cores(min(isolated.rows, joined.rows))
    courses = (isolated_course(isolated), joined_course(joined))
    speakers = by_speaker(recordings)
    held_out = VALIDATED if options.validate else TESTED
    known = [r for r in recordings if r.number not in (*TESTED, *held_out)]
    tested = [r for r in recordings if r.number in held_out]

    def both(some: Sequence[Recording], keep: bool = False) -> Networks:
        share = options.max_seconds / (2 + 2 * len(speakers) * (not options.validate))
        places = (options.run_dir / "isolated", options.run_dir)
        return Networks(
            *(
                learn(course, some, options.seed, share, place if keep else None)
                for course, place in zip(courses, places, strict=True)
            )
        )

    print(f"official split, {len(known)} recordings to learn from")
    networks = both(known, keep=True)
    official = examine(networks, tested, rounds=5)
    floor = examine_templates(known, tested, rounds=5)
    print(f"  networks   {official}\n  templates  {floor}")
    draw(networks.joined, tested, options.run_dir / JOINED)
    if options.validate:
        return
    unseen, unseen_floor = {}, {}
    for speaker, mine in speakers.items():
        others = [r for r in recordings if r.speaker != speaker]
        print(f"without {speaker}, {len(others)} recordings to learn from")
        unseen[speaker] = examine(both(others), mine, rounds=1)
        unseen_floor[speaker] = examine_templates(others, mine, rounds=1)
        print(f"  networks   {unseen[speaker]}\n  templates  {unseen_floor[speaker]}")
    minutes = (time.perf_counter() - started) / 60
    write_results(options, official, unseen, floor, unseen_floor, minutes)


def write_results(
    options: Options,
    official: Report,
    unseen: dict[str, Report],
    floor: Report,
    unseen_floor: dict[str, Report],
    minutes: float,
) -> None:
    """One result for isolated digits, one for joined ones."""
    where = "--smoke" if options.smoke else "--data PATH"
    shared = {
        "data": "generated tones" if options.smoke else "FSDD, 3,000 recordings",
        "licence": "none" if options.smoke else "CC BY-SA 4.0",
        "minutes": minutes,
        "command": f"python -m experiments.speech {where}",
    }
    lstm_jax.write_result(
        options.run_dir / "isolated",
        lstm_jax.Result(
            task="Speech recognition, isolated digits",
            protocol="recordings 0-4 of each speaker and digit; mean over speakers that "
            "were not trained on",
            metric="accuracy, %",
            ours=accuracies(official, unseen),
            floor=f"{accuracies(floor, unseen_floor)} (nearest template)",
            published="98.41 BiLSTM, DTW 98.41, on a random split of 4 speakers "
            "(eonu/fsdd)",
            best_known="none known on this split",
            **shared,
        ),
    )
    lstm_jax.write_result(
        options.run_dir,
        lstm_jax.Result(
            task="Speech recognition, joined digits",
            protocol="3 to 7 recordings joined, pauses up to 0.4 s, noise 10-30 dB "
            "weaker; same splits",
            metric="digit error rate, %, CTC with prefix beam",
            ours=error_rates(official, unseen),
            floor=f"{error_rates(floor, unseen_floor)} (cut at pauses, templates)",
            published="none, the test is ours",
            best_known="none, the test is ours",
            **shared,
        ),
    )


def accuracies(official: Report, unseen: dict[str, Report]) -> str:
    """Of isolated digits."""
    each = ", ".join(f"{name} {r.accuracy:.1f}" for name, r in unseen.items())
    mean = np.mean([r.accuracy for r in unseen.values()])
    return f"{official.accuracy:.2f}; unseen speakers {mean:.2f} ({each})"


def error_rates(official: Report, unseen: dict[str, Report]) -> str:
    """Of joined digits."""
    each = ", ".join(f"{n} {100 * r.beam.error_rate:.1f}" for n, r in unseen.items())
    mean = 100 * np.mean([r.beam.error_rate for r in unseen.values()])
    greedy = 100 * official.greedy.error_rate
    return (
        f"{100 * official.beam.error_rate:.2f} (greedy {greedy:.2f}); unseen speakers "
        f"{mean:.2f} ({each})"
    )


def draw(
    network: lstm_jax.Transcriber, tested: Sequence[Recording], path: Path
) -> None:
    """The longest of the first joined utterances, and what was heard in it."""
    sounds, references = utterances(tested, rounds=1)
    samples, said = max(
        zip(sounds[:8], references[:8], strict=True), key=lambda pair: len(pair[1])
    )
    scores = lstm_jax.score_frames(network, [EAR.frames(samples)])[0]
    picture(path, samples, scores, f"said: {names(said)}   ")


def picture(path: Path, samples: np.ndarray, scores: np.ndarray, before: str) -> None:
    """A sound and what was heard in it."""
    best = lstm_jax.prefix_beam_search(scores, BEAM)[0]
    lstm_jax.draw_transcript(
        path,
        lstm_jax.log_mel(samples, EAR.bands),
        EAR.bands,
        np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)),
        EAR.seconds,
        NAMES,
        f"{before}heard: {names(best.symbols)}",
    )


def names(symbols: Sequence[int]) -> str:
    """Digits of symbols."""
    return " ".join(NAMES[symbol - 1] for symbol in symbols) or "nothing"


def predict(options: PredictOptions) -> None:
    """Say what is heard in a file."""
    sound = lstm_jax.resample(lstm_jax.read_wav(options.file), RATE)
    networks = load(options.run_dir)
    rows = [EAR.frames(sound.samples)]
    scores = lstm_jax.score_frames(networks.joined, rows)[0]
    for hypothesis in lstm_jax.prefix_beam_search(scores, BEAM)[:3]:
        share = np.exp(hypothesis.log_probability)
        print(f"heard: {names(hypothesis.symbols)}   (probability {share:.3f})")
    classes = lstm_jax.score_classes(networks.isolated, [EAR.frames(sound.samples)])[0]
    print(f"if it is one digit: {NAMES[classes.argmax()]}")
    if options.picture:
        picture(options.picture, sound.samples, scores, "")


def load(run_dir: Path) -> Networks:
    """The networks of a finished run."""
    import jax

    def one(place: Path, build: Callable[[Settings, int], Any]) -> Any:
        how = Settings(**lstm_jax.load_settings(place)["settings"])
        return lstm_jax.load_model(place, jax.eval_shape(lambda: build(how, 0)))

    return Networks(
        one(run_dir / "isolated", build_isolated), one(run_dir, build_joined)
    )


def main(argv: Sequence[str] | None = None) -> int | None:
    """The command."""
    return lstm_jax.run_experiment(
        "speech",
        __doc__,
        argv,
        learn=(Options, learn_all),
        predict=(PredictOptions, predict),
    )


if __name__ == "__main__":
    lstm_jax.run_command(main)
