"""The experiment on spoken digits: its splits, its batches, a file of the user's."""

import dataclasses
import hashlib
import json
import wave
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from experiments import digits
from experiments.known_data import FSDD
from experiments.results import DataFile
from experiments.speech import __main__ as speech
from experiments.speech import data, evaluation, task
from experiments.speech.config import former_order
from experiments.speech.features import log_mel
from experiments.speech.plots import draw_transcript
from lstm_jax import InputError
from lstm_jax.metrics import Edits
from lstm_jax.models import write_spec
from tests.helpers.random_networks import save_random_networks

RECORDINGS = data.tones()
SMALL = task.Settings(4, 1, 6, layers=1, seconds=1.2)


def write_wav(path: Path, samples: np.ndarray, rate: int, channels: int) -> None:
    whole = np.repeat(np.int16(20000 * samples / np.abs(samples).max()), channels)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.astype("<i2").tobytes())


def test_recordings_are_read_by_their_names(tmp_path: Path) -> None:
    for name, rate in (("3_ann_12", 8000), ("0_bob_1", 16000), ("not_one", 8000)):
        write_wav(tmp_path / f"{name}.wav", np.ones(rate // 10), rate, 1)
    found = data.read_recordings(tmp_path)
    assert [r[:3] for r in found] == [("ann", 3, 12), ("bob", 0, 1)]
    assert [len(r.samples) for r in found] == [800, 800]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected WAV files like 7_jackson_32"):
        data.read_recordings(tmp_path / "empty")


SPEAKERS = ("anna-lena", "st.john", "josé", "李雷", "a b_c", "..", "7", "x" * 240)


def test_a_speaker_may_have_any_name(tmp_path: Path) -> None:
    for speaker in SPEAKERS:
        write_wav(tmp_path / f"7_{speaker}_0.WAV", np.ones(800), 8000, 1)
    found = data.read_recordings(tmp_path)
    assert {r.speaker for r in found} == set(SPEAKERS)
    folders = [data.folder_name(speaker) for speaker in SPEAKERS]
    assert len(set(folders)) == len(SPEAKERS)
    assert folders[2:4] == ["josé", "李雷"] and folders[6] == "7"
    for name in folders:
        (tmp_path / f"{name}.json").touch()  # a name that the system takes
        assert (tmp_path / name).resolve() == tmp_path / name


def test_what_is_left_out_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "again").mkdir()
    for name in ("7_ann_0.wav", "12_ann_0.wav", "seven.wav", "again/7_ann_0.wav"):
        write_wav(tmp_path / name, np.ones(800), 8000, 1)
    (tmp_path / "cut_7_0.wav").touch()
    write_wav(tmp_path / "8_ann_0.wav", np.ones(800), 8000, 1)
    whole = (tmp_path / "8_ann_0.wav").read_bytes()
    (tmp_path / "8_ann_0.wav").write_bytes(whole[:-200])
    assert [r[:3] for r in data.read_recordings(tmp_path)] == [
        *[("ann", 7, 0), ("ann", 8, 0)]
    ]
    assert [record.getMessage() for record in caplog.records] == [
        f"note: {tmp_path}: left out: 12_ann_0.wav is not named "
        "DIGIT_SPEAKER_NUMBER.wav, again/7_ann_0.wav is there twice, cut_7_0.wav is "
        "not named DIGIT_SPEAKER_NUMBER.wav, 1 more",
        f"note: {tmp_path}: cut short: 8_ann_0.wav (100 samples missing)",
    ]
    assert data.describe_recordings(tmp_path).name.endswith(", 2 recordings")


def test_nothing_that_is_a_recording_says_what_else_was_there(tmp_path: Path) -> None:
    write_wav(tmp_path / "seven.wav", np.ones(800), 8000, 1)
    with pytest.raises(InputError, match=r"found none; left out: seven\.wav is not na"):
        data.read_recordings(tmp_path)


@pytest.mark.parametrize(
    ("numbers", "tests", "validation"),
    [
        (range(50), range(5), range(5, 10)),
        (range(1, 11), range(1, 5), range(5, 10)),
        (range(100, 150), range(100, 105), range(105, 110)),
        (range(5, 11), (5, 6), (7, 8)),
        ((8, 9), (8,), (9,)),
        (range(3), (0,), (1,)),
        ((2024010112, 2024010118, 7), (7,), (2024010112,)),
    ],
)
def test_recordings_may_be_numbered_in_any_way(
    numbers: Sequence[int], tests: Sequence[int], validation: Sequence[int]
) -> None:
    made = [data.Recording("x", d, n, np.zeros(1)) for d in (1, 2) for n in numbers]
    known, tested = data.official_split(made, validate=False)
    assert {r.number for r in tested} == set(tests)
    assert known == [r for r in made if r.number not in set(tests)]
    if len(numbers) == 2:
        with pytest.raises(InputError, match="--data: expected 3 or more recordi"):
            data.official_split(made, validate=True)
        return
    known, tested = data.official_split(made, validate=True)
    assert {r.number for r in tested} == set(validation)
    left = set(numbers) - set(validation) - set(tests)
    assert {r.number for r in known} == left
    with pytest.raises(InputError, match="--data: expected 2 or more recordings of"):
        data.official_split(made[:1], validate=False)


@pytest.mark.parametrize("validate", [False, True])
def test_the_parts_of_a_split_have_nothing_in_common(validate: bool) -> None:
    made = [data.Recording("x", 0, n, np.zeros(1)) for n in range(50)]
    known, tested = data.official_split(made, validate)
    numbers = [r.number for r in tested]
    assert numbers == (list(range(5, 10)) if validate else list(range(5)))
    assert [r.number for r in known] == list(range(max(numbers) + 1, 50))


def test_utterances_join_each_recording_of_one_speaker_once_a_round() -> None:
    # A sample of its own for each: silence and noise are all there is besides.
    marked = [r._replace(digit=k % 10) for k, r in enumerate(RECORDINGS)]
    sounds, transcripts = data.utterances(marked, rounds=2)
    assert {len(t) for t in transcripts} == set(range(3, 8))
    used = Counter(symbol - 1 for t in transcripts for symbol in t)
    there = Counter(r.digit for r in marked)
    left = sum(2 * there[d] - used[d] for d in there)
    assert 0 <= left <= 2 * 2 * 2 and all(used[d] <= 2 * there[d] for d in there)
    again, _ = data.utterances(marked, rounds=2)
    for one, other in zip(sounds, again, strict=True):
        np.testing.assert_array_equal(one, other)
    one_speaker = [r for r in marked if r.speaker == "low"]
    alone, _ = data.utterances(one_speaker, rounds=1)
    assert sum(map(len, alone)) > sum(len(r.samples) for r in one_speaker[:-2])


def test_batches_are_functions_of_seed_and_number() -> None:
    for make in (task.isolated_batch, task.joined_batch):
        one, same, other, seed = (
            make(SMALL, RECORDINGS, *place)
            for place in ((0, 3), (0, 3), (0, 4), (1, 3))
        )
        for name in one:
            np.testing.assert_array_equal(one[name], same[name])
            assert one[name].shape == other[name].shape == seed[name].shape
        name = "frames" if "frames" in one else "inputs"
        assert not np.array_equal(one[name], other[name])
        assert not np.array_equal(one[name], seed[name])


def test_a_joined_batch_says_what_is_in_it() -> None:
    batch = task.joined_batch(SMALL, RECORDINGS, 0, 0)
    assert batch["frames"].shape == (6, 30, 160)
    assert batch["transcripts"].min() == 0 and batch["transcripts"].max() <= 10
    counts = (batch["transcripts"] > 0).sum(axis=1)
    assert counts.min() >= 1
    # A recording takes 0.15 s at least, played 12 % faster at most.
    assert (counts * 0.15 / 1.12 <= batch["lengths"] * 0.04 + 0.04).all()
    batch = task.isolated_batch(SMALL, RECORDINGS, 0, 0)
    assert batch["inputs"].shape == (6, 30, 160) and batch["lengths"].max() <= 9


def test_templates_name_tones_and_what_is_between_pauses() -> None:
    known, tested = data.official_split(RECORDINGS, validate=False)
    found = evaluation.examine_templates(known, tested, rounds=1)
    assert found.accuracy > 80 and found.beam.error_rate < 0.6
    assert found.tested == 100


def test_a_result_holds_every_number(tmp_path: Path) -> None:
    edits = Edits(1, 2, 3, 600, 100, 5)
    one = digits.Report(297, 300, edits, edits)
    other = one._replace(right=240)
    official = evaluation.Comparison(one, other)
    unseen = {"ann": official, "bob": evaluation.Comparison(other, other)}
    evaluation.write_results(tmp_path, False, "some command", official, unseen, 1.5)
    isolated = json.loads((tmp_path / "isolated" / "result.json").read_text())
    joined = json.loads((tmp_path / "result.json").read_text())
    assert isolated["ours"] == "99.00; unseen speakers 89.50 (ann 99.0, bob 80.0)"
    assert "80.00; unseen speakers 80.00 (ann" in isolated["floor"]
    assert joined["ours"] == "1.00; unseen speakers 1.00 (ann 1.0, bob 1.0)"
    assert isolated["task"] != joined["task"]
    for own in (isolated, joined):
        assert own["data"] == "2 speakers" and own["licence"] == own["published"] == "-"
    files = [DataFile("wav, 3,000 recordings", 1, *FSDD["sha256"])]
    results = official, unseen, 1.5
    evaluation.write_results(tmp_path, False, "some command", *results, files)
    for place in (tmp_path, tmp_path / "isolated"):
        row = json.loads((place / "result.json").read_text())
        assert row["data"] == FSDD["data"] and row["licence"] == "CC BY-SA 4.0"
    evaluation.write_results(tmp_path, True, "some command", *results)
    row = json.loads((tmp_path / "result.json").read_text())
    assert row["data"] == "generated tones, 2 speakers"


def test_a_result_of_one_speaker_who_said_little(tmp_path: Path) -> None:
    nothing = Edits(0, 0, 0, 0, 0, 0)
    one = digits.Report(2, 3, nothing, nothing)
    official = evaluation.Comparison(one, one)
    evaluation.write_results(
        tmp_path, False, "c", official, {}, 1.0, held_out="the first of each"
    )
    isolated = json.loads((tmp_path / "isolated" / "result.json").read_text())
    assert isolated["ours"] == "66.67" and isolated["data"] == "1 speaker"
    assert isolated["protocol"] == "test, the first of each"
    joined = json.loads((tmp_path / "result.json").read_text())
    assert joined["ours"] == "too few recordings to be joined"


def test_one_speaker_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the training: what is trained on what, and what is said of it."""
    fits, known = [], []

    def teacher(options: speech.Options, count: int) -> Callable[..., None]:
        fits.append(count)
        return lambda recordings, folder, stop: known.append(len(recordings))

    nothing = Edits(0, 0, 0, 0, 0, 0)
    found = evaluation.Comparison(*2 * [digits.Report(2, 4, nothing, nothing)])
    monkeypatch.setattr(speech, "Teacher", teacher)
    monkeypatch.setattr(speech, "compare", lambda *given, rounds: found)
    few = [r._replace(number=r.number + 1) for r in RECORDINGS[:16] if r.number < 2]
    monkeypatch.setattr(speech, "tones", lambda: few)
    speech.main(["--smoke", "--run-dir", str(tmp_path / "run")])
    out = capsys.readouterr().out
    assert (fits, known) == ([2], [2])
    assert "one speaker, so none is left out" in out
    assert "no picture of a joined one" in out
    row = json.loads((tmp_path / "run" / "isolated" / "result.json").read_text())
    assert row["ours"] == "50.00"
    assert row["protocol"] == "test, the first third of each speaker's digit, 5 at most"


def test_recordings_are_described_whether_packed_or_not(tmp_path: Path) -> None:
    contents = {"3_ann_12.wav": b"three", "0_bob_1.wav": b"nought"}
    for name, content in {**contents, "song.wav": b"no digit"}.items():
        (tmp_path / "plain").mkdir(exist_ok=True)
        (tmp_path / "plain" / name).write_bytes(content)
    (tmp_path / "packed").mkdir()
    for k, name in enumerate(contents):
        with zipfile.ZipFile(tmp_path / "packed" / f"{k}.zip", "w") as archive:
            archive.writestr(f"deep/{name}", contents[name])
    plain, packed = (
        data.describe_recordings(tmp_path / name) for name in ("plain", "packed")
    )
    # printf nought | sha256sum and printf three | sha256sum, a line for each.
    lines = "".join(
        f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n"
        for name in sorted(contents)
    )
    assert plain == DataFile(
        "plain, 2 recordings", 11, hashlib.sha256(lines.encode()).hexdigest()
    )
    assert packed == dataclasses.replace(plain, name="packed, 2 recordings")


@pytest.mark.parametrize(
    ("flag", "value"), [("--seed", "-1"), ("--seed", "9223372036854775808")]
)
def test_flags_that_make_no_sense_are_refused(flag: str, value: str) -> None:
    with pytest.raises(InputError, match=f"{flag}: expected 0 or more, found"):
        speech.main(["--smoke", flag, value])


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves, with networks of random weights."""
    path = tmp_path_factory.mktemp("run")
    setups = task.isolated_setup(SMALL, None), task.joined_setup(SMALL, None)
    save_random_networks(path, task.APPLICATION, *setups)
    return path


def test_it_is_scored_on_recordings_of_the_users(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, digit in enumerate("0123"):
        write_wav(
            tmp_path / f"{digit}_ann_{number}.wav", RECORDINGS[0].samples, 8000, 1
        )
    speech.main(["evaluate", str(run_dir), "--data", str(tmp_path), "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    # The same sound four times: one digit is named, of the four that were said.
    assert found["recordings"] == 4 and found["accuracy"] in (0.0, 0.25)
    assert found["joined_digits"] >= 3 and found["digit_error_rate"] > 0
    with pytest.raises(InputError, match="--data: expected a folder of recordings"):
        speech.main(["evaluate", str(run_dir)])


def test_a_file_of_the_users_is_heard(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    samples = np.sin(np.arange(16000) / 10)
    for rate, channels in ((8000, 1), (16000, 2)):
        path = tmp_path / f"{rate}.wav"
        write_wav(path, samples[: rate // 2], rate, channels)
        picture = tmp_path / "heard.png"
        words = [str(run_dir), str(path), "--picture", str(picture)]
        speech.main(["predict", *words])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("heard: ") and "(probability 0." in lines[0]
        assert (
            lines[-1][:-1] == "if it is one digit: " and lines[-1][-1] in "0123456789"
        )
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_other_files_and_other_runs_are_refused(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "song.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match=r"song\.wav: expected a (WAV|sound)"):
        speech.main(["predict", str(run_dir), str(tmp_path / "song.wav")])
    with pytest.raises(InputError, match=r"--picture: expected a name that ends in"):
        speech.main(["predict", str(tmp_path / "song.wav"), "--picture", "x.doc"])
    write_wav(tmp_path / "good.wav", np.ones(800), 8000, 1)
    spec = task.joined_setup(SMALL, None).spec
    write_spec(tmp_path / "other", "forecast", spec)
    with pytest.raises(InputError, match="expected a model of speech, found 'for"):
        speech.main(["predict", f"{tmp_path}/other", str(tmp_path / "good.wav")])
    with pytest.raises(InputError, match="--data: expected a folder of recordings"):
        speech.main(["--run-dir", str(tmp_path / "new")])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("predict run a.wav", "predict run a.wav"),
        ("predict run a.wav --picture p.png", "predict run a.wav --picture p.png"),
        ("predict --picture=p.png run a.wav", "predict run a.wav --picture p.png"),
        ("predict a.wav run", "predict run a.wav"),
        ("predict missing.wav run", "predict missing.wav run"),
        ("predict a.wav", "predict runs/speech a.wav"),
        ("predict missing.wav", "predict runs/speech missing.wav"),
        ("predict a.wav --run-dir run", "predict run a.wav"),
        ("predict --run-dir=run a.wav", "predict run a.wav"),
        ("predict --run-dir run", "predict --run-dir run"),
        ("predict run", "predict run"),
        ("predict --help", "predict --help"),
        ("predict run a.wav --loud", "predict run a.wav --loud"),
        ("evaluate a.wav run", "evaluate a.wav run"),
        ("--run-dir run", "--run-dir run"),
    ],
)
def test_the_former_order_of_words_is_understood(
    words: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.wav").touch()
    Path("run").mkdir()
    assert former_order(words.split()) == expected.split()


def test_the_picture_names_what_is_likely(tmp_path: Path) -> None:
    features = log_mel(RECORDINGS[0].samples, data.FRONTEND.bands)
    posteriors = np.full((4, 11), 0.01)
    posteriors[:, 0] = 0.9
    posteriors[2] = 0.01
    posteriors[2, 3] = 0.9
    path = tmp_path / "one.png"
    bands, names = data.FRONTEND.bands, digits.NAMES
    draw_transcript(path, features, bands, posteriors, 0.04, names, "a title")
    likely = path.read_bytes()
    posteriors[2] = posteriors[0]
    draw_transcript(path, features, bands, posteriors, 0.04, names, "a title")
    assert len(likely) > 5000 and likely != path.read_bytes()
