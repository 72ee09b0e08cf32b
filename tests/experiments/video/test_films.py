"""Networks that predict frames, asked about a user's own films."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image, ImageSequence

from experiments.video import __main__ as video
from experiments.video import pixels
from experiments.video.digits import Scene
from experiments.video.frames import read_films, write_films, write_movie
from experiments.video.pixel_task import frame_spec, load_predictor, predict_frames
from lstm_jax.errors import InputError
from lstm_jax.models.saved import save_model

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (2, 7, 10, 10), np.uint8)
GREY = (BYTES / 255).astype(np.float32)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves, untrained: 2 frames shown, 2 predicted, 10 pixels across."""
    found = tmp_path_factory.mktemp("films") / "run"
    scene, settings = Scene(10, 1, 2, 2), {"past": 2, "future": 2}
    for folder, flat in ((found, False), (found / "flat", True)):
        spec = frame_spec(pixels.SMOKE, scene, flat=flat)
        model = spec.build(jax.random.key(0))
        save_model(folder, pixels.NAME, spec, model, settings)
    return found


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, allow_pickle=True, **arrays)
    return path


def gif(path: Path, film: np.ndarray) -> Path:
    first, *others = map(Image.fromarray, film)
    first.save(path, save_all=True, append_images=others, duration=100)
    return path


def test_films_are_read_as_they_are(tmp_path: Path) -> None:
    for given, expected in (
        (BYTES, GREY),
        (BYTES[0], GREY[:1]),
        (BYTES.astype(np.float64) / 255, GREY),
        (BYTES > 99, (BYTES > 99).astype(np.float32)),
    ):
        for name in ("frames", "arr_0"):
            found = read_films(save(tmp_path / "mine.npz", **{name: given}))
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_array_equal(
        read_films(gif(tmp_path / "mine.gif", BYTES[1])), GREY[1:]
    )
    write_films(tmp_path / "again.npz", GREY)
    np.testing.assert_array_equal(read_films(tmp_path / "again.npz"), GREY)


def test_a_movie_shows_what_was_seen_and_then_what_was_predicted(
    tmp_path: Path,
) -> None:
    write_movie(tmp_path / "a.gif", GREY[:, :3], GREY[:, 3:])
    with Image.open(tmp_path / "a.gif") as movie:
        pages = [
            np.asarray(page.convert("RGB")) for page in ImageSequence.Iterator(movie)
        ]
    assert len(pages) == 7
    for number, page in enumerate(pages):
        assert page.shape == (168, 336, 3)
        edges = {tuple(page[2, 2].tolist()), tuple(page[165, 168 + 165].tolist())}
        assert edges == {(110, 110, 110) if number < 3 else (230, 159, 0)}
        for k in (0, 1):
            shown = page[4:164:16, 168 * k + 4 : 168 * k + 164 : 16]
            np.testing.assert_allclose(shown[..., 0], BYTES[k, number], atol=2)


@pytest.mark.parametrize("past", [None, 5])
def test_the_next_frames_of_a_film(
    run_dir: Path, tmp_path: Path, past: int | None
) -> None:
    file, out = save(tmp_path / "mine.npz", frames=BYTES), tmp_path / "next.npz"
    words = ["pixels", "predict", str(run_dir), str(file), "--out", str(out)]
    video.main([*words, "--frames", "3", *(["--past", "5"] if past else [])])
    model = load_predictor(run_dir).model
    seen = GREY[:, -(past or 2) :].reshape(2, -1, 100)
    expected = predict_frames(model, seen, 3).reshape(2, 3, 10, 10)
    np.testing.assert_allclose(read_films(out), expected, atol=1e-6)
    with Image.open(out.with_suffix(".gif")) as movie:
        assert len(list(ImageSequence.Iterator(movie))) == (past or 2) + 3


def test_a_film_of_another_size(run_dir: Path, tmp_path: Path) -> None:
    """For the ConvLSTM, in the midst of more black; the LSTM has learned places."""
    film = np.zeros((1, 2, 30, 26), np.float32)
    film[:, :, 14:16, 12:14] = RANDOM.uniform(size=(2, 2, 2))
    found = {}
    for name, part in (("large", film), ("small", film[:, :, 8:24, 6:22])):
        file = save(tmp_path / f"{name}.npz", frames=part)
        out = tmp_path / f"{name}-next.npz"
        words = ["pixels", "predict", str(run_dir), str(file), "--out", str(out)]
        video.main([*words, "--frames", "1"])
        found[name] = read_films(out)
    inside = found["small"][:, :, 4:12, 4:12]
    np.testing.assert_allclose(found["large"][:, :, 12:20, 10:18], inside, atol=1e-6)
    words = ["pixels", "predict", str(run_dir / "flat"), str(tmp_path / "large.npz")]
    with pytest.raises(InputError, match=r"expected frames of 10 x 10 pixels, as an L"):
        video.main([*words, "--out", str(tmp_path / "flat.npz")])
    assert not (tmp_path / "flat.npz").exists()


def test_films_are_cut_into_stretches_and_scored(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pixels", "evaluate", str(run_dir), "--json"]
    # 7 frames are one stretch of 4, whose last 2 are scored; the other 3 are not.
    file = save(tmp_path / "mine.npz", frames=BYTES)
    video.main([*words, "--data", str(file), str(file)])
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    grey = BYTES.astype(np.float64) / 255
    errors = ((grey[:, 2:4] - grey[:, 1:2]) ** 2).sum(axis=(2, 3)).mean()
    assert scores["stretches"] == 4
    copied = scores["squared_error"][pixels.COPY]
    assert copied == pytest.approx(errors, rel=1e-5)
    # Of another size: no LSTM on flat frames.
    wide = save(tmp_path / "wide.npz", frames=BYTES[:, :, :, :9])
    video.main([*words, "--data", str(wide)])
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])["squared_error"]
    assert [*scores] == [pixels.CONV, pixels.COPY]
    with pytest.raises(InputError, match=r"^--data: expected frames of one size, foun"):
        video.main([*words, "--data", str(wide), str(file)])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "expected an array frames, found nothing"),
        ({"a": BYTES, "b": BYTES}, "expected an array frames, found a, b"),
        (
            {"frames": BYTES[0, 0]},
            r"expected frames of shape .*, found \[10, 10\] of u",
        ),
        ({"frames": BYTES.astype(int)}, "found .* of int64"),
        ({"frames": BYTES[:, :0]}, "expected frames, found none"),
        ({"frames": BYTES / 254}, "expected numbers from 0 to 1, found others"),
        ({"frames": np.full((2, 3, 3), np.nan)}, "expected numbers from 0 to 1"),
        ({"frames": np.zeros((1, 2, 600))}, "expected frames of 512 pixels .* 600 x 2"),
        ({"frames": np.array([[[{}]]])}, "expected a .npz, found: Object arrays"),
    ],
)
def test_what_is_no_film_is_refused(arrays: dict, message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "mine.npz", **arrays)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: .*{message}"):
        read_films(path)


def test_files_that_are_no_films(tmp_path: Path) -> None:
    good = gif(tmp_path / "good.gif", BYTES[0]).read_bytes()
    for name, raw in (
        ("mine.gif", b""),
        ("mine.gif", b"nothing of the sort"),
        ("mine.gif", good[:40]),
        ("mine.npz", good),
        ("mine.mp4", good),
    ):
        (path := tmp_path / name).write_bytes(raw)
        with pytest.raises(InputError, match=f"^{re.escape(str(path))}: exp") as raised:
            read_films(path)
        assert "\n" not in str(raised.value) and "BytesIO" not in str(raised.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "next.gif"], r"^--out: expected a \.npz, found next.gif"),
        (["--out", "mine.npz"], "^--out: expected another file than mine.gif, an i"),
        (["--out", "none/a.npz"], "^--out: expected a file in a folder that exists"),
        (["--frames", "0"], "^--frames: expected .*found 0"),
        (["--past", "0"], "^--past: expected .*found 0"),
    ],
)
def test_nothing_is_overwritten_or_begun(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The movie would have the name of the film. There is no run."""
    monkeypatch.chdir(tmp_path)
    before = gif(Path("mine.gif"), BYTES[0]).read_bytes()
    with pytest.raises(InputError, match=message):
        video.main(["pixels", "predict", "nowhere", "mine.gif", *words])
    assert [*Path().iterdir()] == [Path("mine.gif")]
    assert Path("mine.gif").read_bytes() == before


def test_a_film_that_is_too_short_to_be_scored(run_dir: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "short.npz", frames=BYTES[:, :3])
    with pytest.raises(InputError, match=f"^{path}: expected 4 frames or more, found "):
        video.main(["pixels", "evaluate", str(run_dir), "--data", str(path)])


def test_large_frames_are_predicted_few_at_a_time(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = load_predictor(run_dir)
    past = np.asarray(jax.random.uniform(jax.random.key(0), (5, 2, 100)))
    whole = predict_frames(predictor.model, past, 2)
    monkeypatch.setattr("experiments.video.pixel_task._PIXELS", 200)
    few = predict_frames(predictor.model, past, 2)
    np.testing.assert_allclose(few, whole, atol=1e-6)
