"""Settings that are chosen for a text, a time and a machine."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.engines.dispatch import ENGINES
from lstm_jax.lm.config import TrainConfig, check
from lstm_jax.lm.recipe import CHOSEN, Given, Machine, Recipe, choose

SHAKESPEARE = 1_003_854
# Two cores of a server: what the rules were made on.
CORES = Machine(rows=16, operations_per_second=2.2e11)


def of(
    seconds: float,
    symbols: int = SHAKESPEARE,
    speed: float = 1.0,
    **said: Any,  # noqa: ANN401
) -> Recipe:
    machine = dataclasses.replace(
        CORES, operations_per_second=speed * CORES.operations_per_second
    )
    return choose(symbols, 65, seconds, machine, Given(**said))


@given(
    symbols=st.integers(1, 10**11),
    vocab_size=st.integers(1, 10**5),
    seconds=st.floats(0, 1e7),
    speed=st.floats(1e3, 1e17),
    rows=st.integers(1, 4096),
)
def test_whatever_comes_makes_sense(
    symbols: int, vocab_size: int, seconds: float, speed: float, rows: int
) -> None:
    found = choose(symbols, vocab_size, seconds, Machine(rows, speed))
    config = dataclasses.replace(
        found.config, run=dataclasses.replace(found.config.run, max_seconds=1.0)
    )
    check(config)
    model = config.model
    assert model.hidden and model.hidden % 32 == 0 and 32 <= model.hidden <= 1024
    assert model.dropout is not None and 0 <= model.dropout <= 0.5
    assert 0 < config.optimizer.ema < 1


def test_more_time_and_a_faster_machine_are_the_same_to_it() -> None:
    """What counts is the work, but for the seconds in which none is done."""
    slow, fast = of(6 + 600), of(6 + 60, speed=10)
    assert slow.work == pytest.approx(fast.work)
    assert dataclasses.replace(slow.config, run=fast.config.run) == fast.config


def test_more_work_makes_it_wider_up_to_what_the_text_can_teach() -> None:
    widths = [of(s, 10**10).config.model.hidden or 0 for s in (30, 180, 600, 3600)]
    assert widths == sorted(set(widths))
    limited = [of(1e6, n).config.model.hidden or 0 for n in (10**4, 10**5, 10**6)]
    assert limited == sorted(set(limited))


def test_a_text_that_is_read_more_often_is_regularized_more() -> None:
    found = [of(600, n) for n in (10**8, 10**6, 10**5)]
    assert [f.passes for f in found] == sorted(f.passes for f in found)
    dropouts = [f.config.model.dropout or 0 for f in found]
    assert dropouts[0] == 0 and dropouts == sorted(set(dropouts))
    temperatures = [f.config.regularizer.training_temperature for f in found]
    assert temperatures[0] == 0.87 and temperatures == sorted(temperatures)[::-1]


def test_a_text_is_not_read_until_it_is_known_by_heart() -> None:
    """Of 20 KB, 2 minutes are 1,900 passes, and the best network was seen by the 50th.

    Shorter texts are read more often, by more units for each symbol.
    """
    short, longer, longest = (of(3600, n, speed=10) for n in (18_000, 90_000, 10**6))
    assert [short.config.run.epochs, longer.config.run.epochs] == [67, 41]
    assert longest.passes == longest.config.run.epochs == 20
    assert "no more than 67 passes" in "\n".join(short.reasons(short.config))
    hour, day = of(3600, 18_000), of(86_400, 18_000)
    assert dataclasses.replace(hour.config, run=day.config.run) == day.config
    assert (short.config.model.hidden, longer.config.model.hidden) == (160, 320)
    in_time = of(180)
    assert not in_time.soon and in_time.passes < 20 < (in_time.config.run.epochs or 0)
    assert "no more" not in "\n".join(in_time.reasons(in_time.config))


def test_a_machine_found_busy_makes_no_more_passes() -> None:
    """It may turn out faster than it was measured."""
    busy, free = of(3600), of(3600, speed=2)
    assert busy.passes < free.passes == 20
    for found in (busy, free):
        assert found.soon and found.config.run.epochs == 20
        assert found.config.run.evaluations == 24


def test_a_network_small_for_its_text_may_read_it_more_often() -> None:
    epochs = [of(180, hidden=h).config.run.epochs or 0 for h in (64, 256, 704, 1024)]
    assert epochs[0] > 1000 and epochs == sorted(epochs)[::-1] and epochs[2] <= 21
    assert of(180, hidden=64).passes > 40


def test_every_device_has_as_many_rows_of_a_short_text() -> None:
    for devices in (3, 6, 8):
        machine = Machine(24 * devices, 1e11, devices)
        for symbols in (2_000, 18_000, 90_000):
            batch = choose(symbols, 65, 60, machine).config.optimizer.batch
            assert batch % devices == 0


def test_a_wide_machine_takes_fewer_rows_of_a_short_text() -> None:
    """So that all passes have a thousand steps."""
    wide = Machine(rows=256, operations_per_second=1e13)
    for symbols in (2_000, 18_000, 90_000, 10**6, 10**7):
        optimizer = choose(symbols, 65, 600, wide).config.optimizer
        passes = 20 * max(1, (1e6 / symbols) ** 0.3)
        steps = passes * symbols / (optimizer.batch * optimizer.length)
        assert optimizer.batch == 256 or 1000 < steps < 2200


def test_what_was_said_is_kept_and_counts() -> None:
    model = of(180, cell="gru", layers=1).config.model
    assert (model.cell, model.layers, model.mogrifier) == ("gru", 1, 0)
    assert not model.capped_gate
    plain = of(180, mogrifier=0).config.model
    assert (plain.mogrifier, plain.capped_gate) == (0, False)
    wide, narrow = of(180, hidden=512), of(180, hidden=64)
    assert (wide.config.model.hidden, narrow.config.model.hidden) == (512, 64)
    # A narrower network reads the text more often.
    assert narrow.passes > 8 * wide.passes
    tiny, small = of(60, hidden=1), of(60, hidden=64)
    assert tiny.passes == pytest.approx(small.passes, rel=0.1)
    assert not tiny.soon and not small.soon
    assert (narrow.config.model.dropout or 0) > (wide.config.model.dropout or 0)
    assert of(180, precision="float32").config.model.precision == "float32"


def test_an_engine_is_given_a_cell_that_it_has_a_loop_for() -> None:
    for name, engine in ENGINES.items():
        model = of(180, engine=name).config.model
        able = engine.run_of(MogrifierCell(2)) is not None
        assert (model.mogrifier, model.capped_gate) == (
            (2, True) if able else (0, False)
        )


def test_a_machine_that_is_measured_again_compiles_nothing_anew() -> None:
    """Settings are on a coarse grid: a tenth more speed changes few, one at a time."""

    def compiled(found: Recipe) -> tuple[object, ...]:
        regularizer = found.config.regularizer
        rates = regularizer.weight_drop, regularizer.training_temperature
        model = found.config.model
        return model.hidden, model.dropout, *rates, found.config.optimizer.ema

    for seconds in (30, 180, 600, 3600):
        speeds = [1 + k / 1000 for k in range(-50, 50)]
        assert len({compiled(of(seconds, speed=speed)) for speed in speeds}) <= 4


def test_a_given_step_decides_what_is_averaged() -> None:
    """A fifth of the run, however long its steps are."""
    usual, small = of(60), of(60, batch=8, length=32)
    optimizer = small.config.optimizer
    assert (optimizer.batch, optimizer.length) == (8, 32)
    assert usual.config.optimizer.ema < optimizer.ema
    assert of(60, length=200).config.optimizer.reset_probability == 0.2


def test_what_is_chosen_is_listed() -> None:
    usual, found = TrainConfig(), set[str]()
    for config in (of(30).config, of(3600).config):
        for part in ("model", "optimizer", "regularizer"):
            values = dataclasses.asdict(getattr(config, part))
            before = dataclasses.asdict(getattr(usual, part))
            found |= {name for name in values if values[name] != before[name]}
    of_run = {"evaluations", "epochs"}
    assert found <= CHOSEN <= found | {"layers", "batch", "length"} | of_run


def test_a_large_vocabulary_takes_time_from_reading() -> None:
    few, many = (choose(SHAKESPEARE, n, 180, CORES) for n in (65, 8000))
    assert many.passes < few.passes / 2


def test_reasons_tell_of_what_is_done() -> None:
    found = of(180)
    model = dataclasses.replace(found.config.model, hidden=99)
    said = "\n".join(found.reasons(dataclasses.replace(found.config, model=model)))
    assert "2 layers of 99 units, Mogrifiers of 2 rounds with capped gates" in said
    assert "1,003,854 symbols" in said and f"{found.passes:.1f} passes" in said
    gru = of(180, cell="gru")
    assert "cell gru" in "\n".join(gru.reasons(gru.config))
    assert isinstance(found.config, TrainConfig)
