"""Moving digits, and networks that predict their next frames."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.results import read_result
from experiments.video import __main__ as video
from experiments.video import pixels
from experiments.video.digits import Scene, digit_images, moving_digits, reflected
from experiments.video.pixel_config import PixelConfig
from experiments.video.pixel_task import predict_frames, training_batch
from lstm_jax.errors import InputError, Interrupted
from lstm_jax.models.frames import FrameModel, frame_loss
from lstm_jax.training.signals import Stop
from tests.experiments.test_interrupted import After
from tests.helpers.experiment_runs import SETTINGS_OF_THE_PROCESS

SCENE = Scene(size=12, digits=1, past=3, future=4)


def test_a_digit_moves_whole_and_in_small_steps() -> None:
    images = digit_images(True)[:9]
    frames = moving_digits(images, SCENE, 6, np.random.default_rng(0))
    assert frames.shape == (6, 7, 144) and 0 == frames.min() < frames.max() == 1
    for sequence in frames.reshape(6, 7, 12, 12):
        places = []
        for frame in sequence:
            found = [
                (row, column)
                for row in range(5)
                for column in range(5)
                for image in images
                if np.array_equal(frame[row : row + 8, column : column + 8], image)
                and frame.sum() == image.sum()
            ]
            assert found
            places.append(found[0])
        steps = np.abs(np.diff(places, axis=0))
        assert steps.max() <= 2 and steps.sum() > 0


def test_a_line_is_folded_as_if_it_bounced() -> None:
    place, velocity, expected = 3.0, 1.3, []
    for _ in range(20):
        expected.append(place)
        place += velocity
        if not 0 <= place <= 5:
            place, velocity = (10 - place if place > 5 else -place), -velocity
    line = np.linspace(3.0, 3.0 + 1.3 * 19, 20)
    np.testing.assert_allclose(reflected(line, 5.0), expected, atol=1e-9)


def test_two_digits_overlap_and_nothing_else_is_drawn_twice() -> None:
    one = np.full((1, 8, 8), 0.5, np.float32)
    both = moving_digits(one, Scene(10, 2, 2, 2), 4, np.random.default_rng(0))
    assert set(np.unique(both)) == {0.0, 0.5}  # the brighter pixel, and no sum


def test_the_digits_of_the_test_are_others() -> None:
    learned, tested = digit_images(False), digit_images(True)
    assert len(learned) == 1500 and len(tested) == 297
    assert learned.max() == tested.max() == 1


def test_batch_n_is_a_function_of_n() -> None:
    recipe = PixelConfig(batch=2)
    one, same, other, seeded = (
        training_batch(n, recipe, SCENE, seed)["past"]
        for n, seed in ((3, 0), (3, 0), (4, 0), (3, 1))
    )
    assert one.shape == (2, 3, 144) and (one == same).all()
    assert (one != other).any() and (one != seeded).any()


@pytest.mark.parametrize("kernel", [3, 0])
def test_frames_to_come_are_made_from_those_seen(kernel: int) -> None:
    model = FrameModel(3, 4, 2, 2, rngs=nnx.Rngs(0), kernel=kernel)
    past = jax.random.uniform(jax.random.key(0), (5, 2, 12))
    call = jax.jit(lambda model, past, count: model(past, count), static_argnums=2)
    found = call(model, past, 3)
    assert found.shape == (5, 3, 12)
    np.testing.assert_allclose(found[:, :1], call(model, past, 1), atol=1e-6)
    # Of five rows, each by itself, in rows of 50 that are filled up.
    grey = predict_frames(model, np.asarray(past), 3)
    np.testing.assert_allclose(grey, jax.nn.sigmoid(found), atol=1e-6)
    future = np.random.default_rng(1).uniform(size=(5, 3, 12)).astype(np.float32)
    batch = {"past": past, "future": jnp.asarray(future)}
    sums, _ = frame_loss(model, (), batch, None)
    nats = -future * np.log(grey) - (1 - future) * np.log(1 - grey)
    assert sums.metrics["loss"].value() == pytest.approx(nats.sum() / 15, rel=1e-4)
    squared = ((grey - future) ** 2).sum() / 15
    assert sums.metrics["squared_error"].value() == pytest.approx(squared, rel=1e-4)
    by_frame = pixels.squared_errors(grey, future)
    assert by_frame.mean() == pytest.approx(squared, rel=1e-4) and len(by_frame) == 3


def test_a_convolution_knows_no_place() -> None:
    """Far from the edges a picture moved by one is predicted moved by one."""
    model = FrameModel(9, 9, 2, 1, rngs=nnx.Rngs(0))
    picture = np.zeros((1, 2, 9, 9), np.float32)
    picture[:, :, 3:5, 3:6] = np.random.default_rng(0).uniform(size=(2, 2, 3))
    moved = np.roll(picture, 1, axis=3)
    here, there = (
        predict_frames(model, each.reshape(1, 2, 81), 1).reshape(9, 9)
        for each in (picture, moved)
    )
    assert np.ptp(here) > 1e-3
    np.testing.assert_allclose(there[1:8, 2:8], here[1:8, 1:7], atol=1e-6)


def test_it_goes_on_to_the_bit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Stopped in the second network."""
    for name in SETTINGS_OF_THE_PROCESS:
        monkeypatch.setattr(f"lstm_jax.distributed.{name}", lambda *given: None)

    def run(path: Path, rows: int, *words: str) -> None:
        @contextlib.contextmanager
        def answered() -> Iterator[Stop]:
            yield After(rows)

        monkeypatch.setattr(pixels, "interruptible", answered)
        asked = ["pixels", "--smoke", "--steps-per-call", "2", "--run-dir", str(path)]
        video.main([*asked, *words])

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(whole, 10**9)
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["ours"].startswith("ConvLSTM ") and (whole / "frames.png").exists()
    assert last["command"] == "python -m experiments.video pixels --smoke"
    # Its own test is generated again.
    video.main(["pixels", "evaluate", str(whole), "--json"])
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])["squared_error"]
    assert last["ours"] == f"{pixels.CONV} {scores[pixels.CONV]:.3f}"
    assert last["floor"] == "; ".join(
        f"{name} {scores[name]:.3f}" for name in (pixels.FLAT, pixels.COPY)
    )
    with pytest.raises(Interrupted, match=r"in .*stopped/flat; --resume goes on"):
        run(stopped, 3)
    with pytest.raises(
        InputError, match=r"^--resume: expected --channels as the run has"
    ):
        run(stopped, 3, "--resume", "--channels", "1")
    run(stopped, 10**9, "--resume")
    assert read_result(whole).ours == read_result(stopped).ours
    for place in (".", "flat"):
        path = Path(place, "checkpoints", "4", "model.safetensors")
        assert (whole / path).read_bytes() == (stopped / path).read_bytes()
    with pytest.raises(
        InputError, match=r"expected a new folder, found a run of video"
    ):
        run(whole, 10**9)


def test_an_even_kernel_is_refused(tmp_path: Path) -> None:
    words = ["pixels", "--kernel", "4", "--run-dir", str(tmp_path / "new")]
    with pytest.raises(InputError, match=r"^--kernel: expected an odd number, found 4"):
        video.main(words)
    assert not (tmp_path / "new").exists()
