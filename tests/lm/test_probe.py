"""How fast a machine trains: what is measured."""

import pytest

from lstm_jax.lm import probe
from lstm_jax.lm.config import TrainConfig
from lstm_jax.lm.recipe import Given


@pytest.mark.parametrize(
    ("batch", "devices", "measured"),
    [(100_000, None, 64), (3000, 3, 66), (64, None, 64), (7, None, 7)],
)
def test_no_more_rows_are_measured_than_keep_a_cpu_busy(
    batch: int,
    devices: int | None,
    measured: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def operations_per_second(rows: int, *_: object) -> float:
        asked.append(rows)
        return 1e9

    monkeypatch.setattr(probe, "operations_per_second", operations_per_second)
    machine = probe.measured_machine(Given(batch=batch), devices)
    assert asked == [measured] and machine.rows == batch


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Given(), ("lstm", 2, "mixed", "auto")),
        (Given(cell="gru", precision="float32"), ("gru", 0, "float32", "auto")),
        (Given(engine="cudnn"), ("lstm", 0, "mixed", "cudnn")),
        (Given(mogrifier=5, engine="scan"), ("lstm", 5, "mixed", "scan")),
    ],
)
def test_what_is_measured_is_what_will_be_trained(
    given: Given, expected: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reached(Exception):
        pass

    def set_up(config: TrainConfig, *_: object) -> None:
        model = config.model
        found = model.cell, model.mogrifier, model.precision, model.engine
        assert (found, model.layers, model.hidden) == (expected, 1, 256)
        raise Reached

    monkeypatch.setattr(probe, "set_up", set_up)
    with pytest.raises(Reached):
        probe.operations_per_second(16, given)
