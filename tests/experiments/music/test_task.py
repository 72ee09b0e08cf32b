"""Networks for music: their metric, what they write, and the verbs."""

import dataclasses
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_softmax

from experiments.music import __main__ as music
from experiments.music.config import MusicConfig
from experiments.music.data import (
    CHORD_END,
    piano_roll,
    read_pieces,
    symbols_of,
    transposed,
)
from experiments.music.inference import (
    Musician,
    continued,
    load_musician,
    nats_per_chord,
    opening,
)
from experiments.music.reading import Reading
from experiments.music.task import held_out_sums, music_task, network_spec, reading_of
from lstm_jax import InputError
from lstm_jax.config import read_section
from lstm_jax.models import multilabel_loss, save_model

PARTS = music.generated()
TEST = PARTS["test"][:3]
SMALL = dataclasses.replace(MusicConfig(), hidden=6, members=2)
OPENINGS = [(48, 60, 64, 67), (50, 62, 66, 69)]


def musician(recipe: MusicConfig) -> Musician:
    spec = network_spec(recipe)
    networks = jax.jit(spec.build)(jax.random.key(0))
    return Musician(spec, networks, OPENINGS, reading_of(recipe))


@pytest.fixture(scope="module")
def keys() -> Musician:
    """Shown two chords at each step."""
    return musician(dataclasses.replace(SMALL, context=2))


@pytest.fixture(scope="module")
def chords() -> Musician:
    return musician(dataclasses.replace(SMALL, outputs="chords"))


@pytest.fixture(scope="module")
def shared() -> Musician:
    """A recurrence for every key, which knows the beat and what it heard before."""
    return musician(dataclasses.replace(SMALL, key_units=3, beats=4, echo=2))


def member(found: Musician, number: int) -> object:
    return jax.tree.map(lambda leaf: leaf[number], found.networks)


def test_keys_are_independent_and_members_averaged(keys: Musician) -> None:
    """Piece by piece, member by member: another way to the same number."""
    nats, steps = 0.0, 0
    read = jax.jit(lambda model, roll: model(roll[None])[0][0])
    for piece in TEST:
        roll = piano_roll(piece)
        seen = np.concatenate([roll[:-1], np.zeros((1, 88)), roll[:-2]])
        seen = seen.reshape(2, len(roll) - 1, 88).swapaxes(0, 1).reshape(-1, 2 * 88)
        logits = [np.asarray(read(member(keys, k), seen)) for k in range(2)]
        chances = np.mean([expit(each.astype(float)) for each in logits], axis=0)
        sounds = roll[1:] > 0
        nats -= np.log(np.where(sounds, chances, 1 - chances)).sum()
        steps += len(piece) - 1
    assert nats_per_chord(keys, TEST) == pytest.approx(nats / steps, rel=1e-5)


def test_chords_are_written_note_by_note(chords: Musician) -> None:
    nats, steps = 0.0, 0
    read = jax.jit(lambda model, ids: model(ids[None])[0][0])
    for piece in TEST:
        symbols = symbols_of(piece)
        logits = np.array(
            [read(member(chords, k), jnp.array(symbols[:-1])) for k in range(2)], float
        )
        chances = np.exp(log_softmax(logits, axis=-1)).mean(axis=0)
        logs = np.log(chances[np.arange(len(symbols) - 1), symbols[1:]])
        nats -= logs[len(piece[0]) :].sum()
        steps += len(piece) - 1
    assert nats_per_chord(chords, TEST) == pytest.approx(nats / steps, rel=1e-5)


@pytest.mark.parametrize("outputs", ["keys", "chords", "shared"])
def test_an_untrained_network_is_worth_what_chance_is(
    outputs: str, request: pytest.FixtureRequest
) -> None:
    """With all weights at zero every symbol, or side of a coin, is as likely."""
    found = request.getfixturevalue(outputs)
    blank = jax.tree.map(jnp.zeros_like, found.networks)
    expected = 5 * math.log(89) if outputs == "chords" else 88 * math.log(2)
    silent = dataclasses.replace(found, networks=blank)
    assert nats_per_chord(silent, TEST) == pytest.approx(expected, rel=1e-5)
    sums = held_out_sums(TEST, found.form, blank)
    assert sums.mean_loss() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("outputs", ["keys", "chords", "shared"])
def test_what_is_written_depends_on_what_was_given_and_the_seed(
    outputs: str, request: pytest.FixtureRequest
) -> None:
    """Writing goes on from its own state: made in two parts it is the same."""
    found, given = request.getfixturevalue(outputs), TEST[0][:4]
    made = continued(found, given, 5, 0.0, 0)
    again = continued(found, given + made[:2], 3, 0.0, 1)
    assert len(made) == 5 and made[2:] == again
    drawn = [continued(found, given, 5, 1.0, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    for chord in drawn[0]:
        assert list(chord) == sorted(set(chord)) and all(21 <= p <= 108 for p in chord)


def test_a_chord_has_an_end_however_unlikely(chords: Musician) -> None:
    """A network that never ends one is cut short at the lowest key, or sixteen."""
    endless = jax.tree.map(jnp.zeros_like, chords.networks)
    endless.b_out[...] = endless.b_out[...].at[:, CHORD_END].set(-50.0)
    found = dataclasses.replace(chords, networks=endless)
    (chord,) = continued(found, TEST[0], 1, 1.0, 0)
    assert 1 < len(chord) <= 16


def test_an_opening_is_one_of_those_that_were_learned(keys: Musician) -> None:
    assert {opening(keys, seed)[0] for seed in range(9)} == set(OPENINGS)


def test_some_pieces_are_read_in_another_key() -> None:
    """Batch n is a function of n, and all of its rows are pieces of the training."""
    recipe = dataclasses.replace(SMALL, transposed=0.5, semitones=3, batch=24)
    task = music_task(PARTS["train"], PARTS["valid"], recipe, multilabel_loss, 0)
    first, again = task.batch(3), task.batch(3)
    np.testing.assert_array_equal(first["inputs"], again["inputs"])
    known = {
        piano_roll(transposed(piece, k))[: len(piece) - 1].tobytes(): k
        for piece in PARTS["train"]
        for k in range(-3, 4)
    }
    rows = zip(first["inputs"], first["lengths"], strict=True)
    moved = [known[row[:length].tobytes()] for row, length in rows if length]
    assert len(moved) == 24 and 0 < sum(k != 0 for k in moved) < 24


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, chords: Musician) -> Path:
    folder = tmp_path_factory.mktemp("run")
    recipe = dataclasses.replace(SMALL, outputs="chords")
    settings = {"openings": OPENINGS}
    save_model(folder, "music", network_spec(recipe), chords.networks, settings)
    return folder


def test_it_comes_back_and_is_scored(
    run_dir: Path,
    chords: Musician,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    again = load_musician(run_dir)
    assert again.openings == tuple(OPENINGS) and again.jointly
    (tmp_path / "own.json").write_text(json.dumps(TEST))
    words = ["evaluate", str(run_dir), "--data", str(tmp_path / "own.json"), "--json"]
    music.main(words)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["nats"] == pytest.approx(nats_per_chord(chords, TEST))
    assert found["pieces"] == 3 and found["steps"] == sum(len(p) - 1 for p in TEST)


def test_it_comes_back_with_what_it_is_shown(shared: Musician, tmp_path: Path) -> None:
    reading = dataclasses.asdict(shared.reading)
    settings = {"openings": OPENINGS, "reading": reading}
    save_model(tmp_path, "music", shared.spec, shared.networks, settings)
    again = load_musician(tmp_path)
    assert (again.spec, again.reading) == (shared.spec, shared.reading)
    assert nats_per_chord(again, TEST) == pytest.approx(nats_per_chord(shared, TEST))


def test_a_network_that_does_not_say_what_it_is_shown(
    keys: Musician, tmp_path: Path
) -> None:
    """Those of earlier versions read chords alone, as many as their width tells."""
    settings = {"openings": OPENINGS}
    save_model(tmp_path, "music", keys.spec, keys.networks, settings)
    again = load_musician(tmp_path)
    assert again.reading == Reading(context=2)
    assert nats_per_chord(again, TEST) == pytest.approx(nats_per_chord(keys, TEST))


@pytest.mark.parametrize("suffix", ["mid", "json", "JSON"])
def test_a_piece_is_continued_and_written(
    suffix: str, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if suffix != "json":
        pytest.importorskip("mido")
    (tmp_path / "own.json").write_text(json.dumps(TEST[0]))
    out = tmp_path / f"made.{suffix}"
    words = ["predict", str(run_dir), str(tmp_path / "own.json"), "--out", str(out)]
    music.main([*words, "--keep", "4", "--length", "3"])
    expected = TEST[0][:4] + continued(load_musician(run_dir), TEST[0][:4], 3, 1.0, 0)
    assert read_pieces(out) == [expected]
    assert (tmp_path / "made.png").stat().st_size > 1000


def test_new_pieces_are_written(run_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("mido")
    words = ["generate", str(run_dir), "--folder", str(tmp_path / "new")]
    music.main([*words, "--count", "2", "--length", "6"])
    names = ["generated-1.mid", "generated-2.mid", "generated.png"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names
    for path in (tmp_path / "new").glob("*.mid"):
        (piece,) = read_pieces(path)
        assert len(piece) == 6 and piece[0] in OPENINGS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("predict RUN own.json --out a.txt", r"--out: expected .mid or .json, found a"),
        ("predict RUN none.mid --out a.json", "expected a MIDI file, found nothing"),
        ("predict RUN none.json --out a.json", "none.json: expected"),
        ("predict RUN own.json --temperature nan", "--temperature: expected a number"),
        ("predict RUN own.json --length 0", "--length: expected a number from 1"),
        ("generate RUN --count 0", "--count: expected 1 or more, found 0"),
        ("generate RUN --folder own.json", "own.json: could not be written: File ex"),
        ("generate RUN --tempo 0", "--tempo: expected a number in"),
        ("evaluate RUN", "--data: expected a path, found none"),
        ("evaluate RUN --data short.json", "expected a piece of 2 steps or more"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    words: str,
    message: str,
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("mido")
    monkeypatch.chdir(tmp_path)
    Path("own.json").write_text(json.dumps(TEST[0]))
    Path("short.json").write_text("[[[60]]]")
    with pytest.raises(InputError, match=message) as raised:
        music.main(words.replace("RUN", str(run_dir)).split())
    assert "\n" not in str(raised.value)
    assert {path.name for path in tmp_path.iterdir()} == {"own.json", "short.json"}


@pytest.mark.parametrize(
    "settings", [{}, {"openings": []}, {"openings": "no"}, {"openings": [[200]]}]
)
def test_a_network_without_openings_is_none_for_music(
    settings: dict, tmp_path: Path, chords: Musician
) -> None:
    recipe = dataclasses.replace(SMALL, outputs="chords")
    save_model(tmp_path, "music", network_spec(recipe), chords.networks, settings)
    expected = r"expected a network for music, found another|expected pitches"
    with pytest.raises(InputError, match=expected):
        load_musician(tmp_path)


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"context": 3}, "expected 176 numbers at each step, found 264"),
        ({"context": 0, "beats": 176}, "--context: expected a number from 1"),
        ({"context": "two"}, "context: expected .*int"),
        ("all", "expected .*'beats', 'context', 'echo'"),
    ],
)
def test_a_network_that_is_shown_something_else_is_refused(
    reading: object, message: str, tmp_path: Path, keys: Musician
) -> None:
    settings = {"openings": OPENINGS, "reading": reading}
    save_model(tmp_path, "music", keys.spec, keys.networks, settings)
    with pytest.raises(InputError, match=message):
        load_musician(tmp_path)


def test_keys_begin_as_likely_as_they_are_in_the_training() -> None:
    """And only those that were heard have the recurrence that keys share."""
    pieces = [((60, 64), (60,), (60, 90))] * 50
    recipe = dataclasses.replace(SMALL, key_units=3)
    arguments = network_spec(recipe, pieces).arguments
    assert arguments["span"] == (60 - 21, 90 - 21 + 1)
    chances = np.array(arguments["prior"])
    assert chances[[60 - 21, 90 - 21, 0]].round(1).tolist() == [1.0, 0.5, 0.0]
    moving = dataclasses.replace(recipe, transposed=0.5, semitones=3)
    assert network_spec(moving, pieces).arguments["span"] == (36, 73)


def test_a_run_of_an_earlier_version_goes_on_as_it_was() -> None:
    """It says nothing of what came later, whose defaults have changed since."""
    later = {"beats", "echo", "key_units"}
    record = dataclasses.asdict(MusicConfig())
    kept = {name: value for name, value in record.items() if name not in later}
    assert read_section(MusicConfig, kept, "a run") == MusicConfig()
    found = network_spec(read_section(MusicConfig, kept, "a run"), PARTS["train"])
    assert (found.network, found.arguments["features"]) == ("multilabel", 88)
    assert found.arguments["prior"] == 0.05


def test_what_was_not_given_suits_what_is_written() -> None:
    assert MusicConfig().chosen == (64, 0.3, 6e-3, 4)
    assert MusicConfig(outputs="chords").chosen == (200, 0.5, 8e-3, 16)
    given = MusicConfig(outputs="chords", dropout=0.0, batch=3)
    assert given.chosen == (200, 0.0, 8e-3, 3)
