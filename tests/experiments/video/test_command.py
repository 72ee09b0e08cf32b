"""Networks that recognize actions: they learn, come back from disk, and are asked."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image, ImageSequence

from experiments.known_data import BENCHMARKS
from experiments.results import DataFile
from experiments.video import __main__ as video
from experiments.video.config import VideoConfig
from experiments.video.data import ACTIONS, Movements
from experiments.video.generated import generated
from experiments.video.skeleton import JOINTS, body_centred
from experiments.video.task import (
    Recognizer,
    load_recognizer,
    predict_proba,
    recognizer_steps,
    train_recognizer,
    training_batch,
)
from lstm_jax.config import RunConfig
from lstm_jax.errors import InputError
from lstm_jax.training.signals import Stop

TRAIN, TEST = generated(0), generated(1)
RUN = RunConfig(epochs=40, steps_per_call=8)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def recognizer(run_dir: Path) -> Recognizer:
    compiled = recognizer_steps(video.SMOKE)
    found, _ = train_recognizer(
        TRAIN, video.SMOKE, RUN, compiled=compiled, folder=run_dir
    )
    return found


def save(path: Path, data: Movements) -> Path:
    """An archive as `read_movements` takes it."""
    np.savez(
        path,
        xyz=np.concatenate(data.sequences),
        lengths=[len(frames) for frames in data.sequences],
        action=[data.classes[label] for label in data.labels],
        subject=data.subjects,
    )
    return path


def test_it_learns_and_company_makes_no_difference(recognizer: Recognizer) -> None:
    chances = predict_proba(recognizer, TEST.sequences)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    assert (chances.argmax(axis=1) == TEST.labels).mean() > 0.9
    alone = [predict_proba(recognizer, [frames])[0] for frames in TEST.sequences[:3]]
    np.testing.assert_allclose(chances[:3], alone, atol=1e-6)
    assert predict_proba(recognizer, []).shape == (0, 8)
    many = predict_proba(recognizer, TEST.sequences * 3)  # more than go at a time
    np.testing.assert_allclose(many[-len(chances) :], chances, atol=1e-6)


def test_batch_n_is_a_function_of_n(recognizer: Recognizer) -> None:
    sequences = [body_centred(frames) for frames in TRAIN.sequences]
    recipe = dataclasses.replace(VideoConfig(), batch=7, frames=5)

    def labels_of(n: int, seed: int = 0) -> list[int]:
        batch = training_batch(n, sequences, np.arange(len(TRAIN)), recipe, seed)
        assert batch["inputs"].shape == (7, 5, 120)
        return batch["targets"].tolist()

    # Batches run on over the ends of passes: each of 24 sequences once in 24 rows.
    epochs = np.concatenate([labels_of(n) for n in range(24)])
    for epoch in epochs.reshape(7, 24):
        assert sorted(epoch) == list(range(24))
    assert labels_of(3) == labels_of(3) != labels_of(3, seed=1)
    one, again = (
        training_batch(4, sequences, TRAIN.labels, recipe, 0)["inputs"] for _ in "ab"
    )
    np.testing.assert_array_equal(one, again)


def test_it_comes_back_and_says_what_is_done(
    recognizer: Recognizer,
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = load_recognizer(run_dir)
    assert kept.classes == recognizer.classes and kept.frames == 12
    ours, theirs = map(jax.tree.leaves, (recognizer.models, kept.models))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    table = tmp_path / "mine.csv"
    columns = [f"{joint}_{axis}" for joint in JOINTS for axis in "xyz"]
    rows = TEST.sequences[0].reshape(-1, 60)
    np.savetxt(table, rows, delimiter=",", header=",".join(columns), comments="")
    movie, still = tmp_path / "mine.gif", tmp_path / "mine.png"
    for path in (movie, still):
        video.main(["predict", str(run_dir), str(table), "--picture", str(path)])
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("   1  high arm wave 0.") and ", then " in line
    with Image.open(movie) as moving:
        assert len(list(ImageSequence.Iterator(moving))) == len(rows)
        assert moving.info["duration"] in (60, 70)  # milliseconds: 15 a second
    with Image.open(still) as drawn:
        assert drawn.size[0] > 1000
    for name in ("a.png", "a.gif"):
        place = tmp_path / "none" / name
        with pytest.raises(InputError, match=f"{place}: could not be written: No such"):
            video.main(["predict", str(run_dir), str(table), "--picture", str(place)])
    with pytest.raises(InputError, match=r"--picture: expected a \.png or a \.gif"):
        video.main(["predict", str(run_dir), str(table), "--picture", "a.mp4"])


def test_it_is_scored_on_files_of_the_users(
    recognizer: Recognizer,
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = save(tmp_path / "some_test.npz", TEST.rows(np.arange(1, 24)))
    for data in (path, tmp_path):
        given = ["evaluate", str(run_dir), "--data", str(data), "--json"]
        video.main(given)
        lines = capsys.readouterr().out.splitlines()
        expected = predict_proba(recognizer, TEST.sequences).argmax(axis=1)
        right = (expected == TEST.labels)[1:]
        assert json.loads(lines[-1]) == {"accuracy": right.mean(), "sequences": 23}
        assert lines[0].split() == [
            "high",
            "arm",
            "wave",
            str(right[:2].sum()),
            *"of 2".split(),
        ]
    # One action of those that the networks know.
    path = save(tmp_path / "one.npz", TEST.rows(TEST.labels == 0))
    video.main(["evaluate", str(run_dir), "--data", str(path), "--json"])
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2
    # A name of two lines is said in one.
    odd = dataclasses.replace(TEST, classes=(*TEST.classes[:-1], "sit\ndown"))
    with pytest.raises(InputError, match=r"found sit down$"):
        odd_path = save(tmp_path / "odd.npz", odd)
        video.main(["evaluate", str(run_dir), "--data", str(odd_path)])
    other = dataclasses.replace(TEST, classes=(*TEST.classes[:-1], "sit"))
    foreign = save(tmp_path / "other.npz", other)
    with pytest.raises(InputError, match=r"expected the actions high arm wave, .*sit$"):
        video.main(["evaluate", str(run_dir), "--data", str(foreign)])


def test_settings_are_chosen_without_the_test(tmp_path: Path) -> None:
    """People to learn from are held out, and the file of the test need not be there."""
    paths = save(tmp_path / "a_train.npz", TRAIN), tmp_path / "a_test.npz"
    options = video.Options(data=paths, hold_out=(2, 3))
    train, test, _ = video.load(options)
    assert set(train.subjects.tolist()) == {1}
    assert set(test.subjects.tolist()) == {2, 3}
    assert train.classes == test.classes
    for held, found in (((1, 2, 3), "0 and 24"), ((7,), "24 and 0")):
        options = video.Options(data=paths, hold_out=held)
        with pytest.raises(InputError, match=f"^--hold-out: .* found {found}$"):
            video.load(options)


@pytest.mark.parametrize(
    ("changed", "licence"),
    [({}, "none stated"), ({"hold_out": (7,)}, "-"), ({"subsets": False}, "-")],
)
def test_a_row_is_about_the_whole_protocol(changed: dict, licence: str) -> None:
    (known,) = (b for b in BENCHMARKS if b.task == "Video")
    files = [DataFile(f"file{k}", 1, sum) for k, sum in enumerate(known.sha256)]
    options = dataclasses.replace(video.Options(), **changed)
    train = dataclasses.replace(TRAIN, classes=ACTIONS)
    score = video.Score(np.arange(4), np.array([0, 1, 2, 0]), np.array([0, 1, 0, 0]))
    names = [video.ALL, *video.subsets_in(ACTIONS, options)]
    row = video.result(options, train, files, dict.fromkeys(names, score), 1.0)
    assert row.licence.startswith(licence)
    if options.subsets:
        shares = "75.00; 75.00 (AS1 75.00, AS2 75.00, AS3 75.00)"
        assert row.ours == shares and row.floor.endswith(shares.replace("75", "50"))
    else:
        assert row.ours == "75.00"


def test_trainings_share_the_seconds() -> None:
    run = dataclasses.replace(video.Options().run, max_seconds=100.0)
    teach = video.Teacher(video.Options(run=run), 4, Stop())
    assert teach._run.max_seconds == 25.0
