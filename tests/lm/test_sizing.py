"""Sizes that follow from the text and the time."""

import contextlib
import functools
import typing
from pathlib import Path

import jax
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.config import RunConfig
from lstm_jax.distributed import multihost
from lstm_jax.lm.config import (
    HELLO_WORLD,
    DataConfig,
    ModelConfig,
    PresetName,
    TrainConfig,
    check,
)
from lstm_jax.lm.presets import preset
from lstm_jax.lm.run import begin_jointly, begin_run
from lstm_jax.lm.sizing import (
    fit_to,
    fitting_dropout,
    fitting_hidden,
    passes,
    square_matrices,
    waits_for_kernels,
)
from lstm_jax.lm.task import cell_of
from lstm_jax.models.language import LanguageModel

SHAKESPEARE = 1_003_853
ONE, TWO = (square_matrices(ModelConfig(layers=layers)) for layers in (1, 2))


@given(
    symbols=st.integers(1, 10**10),
    seconds=st.none() | st.floats(0.1, 1e6),
    layers=st.integers(1, 6),
    epochs=st.none() | st.integers(1, 1000),
)
def test_whatever_is_left_open_is_filled(
    symbols: int, seconds: float | None, layers: int, epochs: int | None
) -> None:
    run = RunConfig(max_seconds=seconds, epochs=epochs)
    config = TrainConfig(model=ModelConfig(layers=layers), run=run)
    found = fit_to(config, symbols)
    check(found)
    assert found.model.hidden is not None and found.model.dropout is not None
    assert found.model.hidden % 32 == 0 and 32 <= found.model.hidden <= 1024
    assert 0 <= found.model.dropout <= 0.5
    assert found.run.epochs or found.run.max_seconds
    assert fit_to(found, symbols) == found


@pytest.mark.parametrize("name", typing.get_args(PresetName))
def test_a_preset_makes_sense_and_is_kept(name: str) -> None:
    check(preset(name))
    assert fit_to(preset(name), SHAKESPEARE) == preset(name)


def test_small_networks_leave_a_gpu_waiting() -> None:
    large = TrainConfig(model=ModelConfig(layers=2, hidden=256, dropout=0.0))
    assert waits_for_kernels(HELLO_WORLD) and not waits_for_kernels(large)
    assert not waits_for_kernels(preset("shakespeare-gpu-3min"))


def test_what_was_said_is_kept() -> None:
    model, run = ModelConfig(hidden=777, dropout=0.0), RunConfig(max_seconds=1e5)
    assert fit_to(TrainConfig(model=model, run=run), 1000).model == model


@pytest.mark.parametrize(("devices", "expected"), [(None, 19), (2, 18), (8, 16)])
def test_a_batch_for_a_short_text_fits_the_devices(
    devices: int | None, expected: int
) -> None:
    config = TrainConfig(run=RunConfig(devices=devices))
    fitted = fit_to(config, 19 * config.optimizer.length)
    assert fitted.optimizer.batch == expected < config.optimizer.batch


def test_matrices_are_those_of_the_models() -> None:
    """Counted in the models themselves, at a width where nothing else is as large."""
    for config in (
        ModelConfig(layers=1),
        ModelConfig(layers=3),
        ModelConfig(layers=1, mogrifier=1),
        ModelConfig(layers=2, mogrifier=4),
        ModelConfig(layers=2, capped_gate=True),
        ModelConfig(layers=2, cell="gru"),
        ModelConfig(layers=2, cell="peephole"),
        ModelConfig(layers=2, cell="mogrifier"),
    ):
        build = functools.partial(
            LanguageModel, 5, 64, config.layers, cell=cell_of(config)
        )
        shapes = jax.eval_shape(lambda build=build: build(rngs=nnx.Rngs(0)))
        sizes = [leaf.size // 64**2 for leaf in jax.tree.leaves(shapes)]
        assert square_matrices(config) == sum(sizes)


def test_more_time_makes_it_wider_and_a_short_text_narrower() -> None:
    widths = [fitting_hidden(10**9, seconds, TWO) for seconds in (20, 180, 600, 3600)]
    assert widths == sorted(set(widths)) and widths[1] == 256
    widths = [fitting_hidden(symbols, 1e5, TWO) for symbols in (10**4, 10**5, 10**6)]
    assert widths == sorted(set(widths))
    assert fitting_hidden(SHAKESPEARE, 180, ONE) > fitting_hidden(SHAKESPEARE, 180, TWO)
    # Without a limit as with three minutes.
    assert fitting_hidden(SHAKESPEARE, None, TWO) == fitting_hidden(
        SHAKESPEARE, 180, TWO
    )


def test_a_text_that_is_read_more_often_gets_more_dropout() -> None:
    rates = [fitting_dropout(times) for times in (0.01, 1, 4, 8, 16, 32, 1e9)]
    assert rates == [0, 0, 0, 0.15, 0.3, 0.45, 0.5]


def test_a_short_text_is_read_more_often() -> None:
    """Until a thousand steps have been made, of 1,024 symbols each, at the least."""
    for symbols, epochs in ((10**8, 10), (10**6, 10), (10**5, 20), (2048, 500)):
        assert fit_to(TrainConfig(), symbols).run.epochs == epochs
    timed = TrainConfig(run=RunConfig(max_seconds=60.0))
    assert fit_to(timed, 10**4).run.epochs is None
    said = TrainConfig(run=RunConfig(epochs=3))
    assert fit_to(said, 10**4).run.epochs == 3


def test_how_often_a_text_is_read() -> None:
    assert passes(RunConfig(), 1000, 64, TWO) == 10
    assert passes(RunConfig(epochs=3), 1000, 64, TWO) == 3
    assert passes(RunConfig(epochs=3, max_seconds=1e9), 1000, 64, TWO) == 3
    once = passes(RunConfig(max_seconds=180), SHAKESPEARE, 256, TWO)
    assert 3 < once < 12
    for more, expected in (
        (passes(RunConfig(max_seconds=360), SHAKESPEARE, 256, TWO), 2 * once),
        (passes(RunConfig(max_seconds=180), SHAKESPEARE, 128, TWO), 4 * once),
        (passes(RunConfig(max_seconds=180), SHAKESPEARE, 256, ONE), 3 * once),
    ):
        assert more == pytest.approx(expected)


def test_all_processes_make_the_passes_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which alone has settled how many, by the text."""
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 90)
    text = DataConfig(data=(tmp_path / "text.txt",))
    asked = TrainConfig(text=text, run=RunConfig(run_dir=tmp_path / "run"))
    with contextlib.ExitStack() as held:
        first = begin_run(asked, held)
        assert first.run is not None
        first.run.history.path.touch()
        monkeypatch.setattr(multihost, "is_primary", lambda: False)
        monkeypatch.setattr(multihost, "any_process", lambda said: said)
        second = begin_jointly(asked, begin_run, held)
    assert second.config.run.epochs == first.config.run.epochs != 10
    assert second.config.model == first.config.model
