"""How fast a machine trains: what is measured."""

import pytest

from lstm_jax.lm import probe
from lstm_jax.lm.recipe import Given
from tests.helpers.experiment_runs import SETTINGS_OF_THE_PROCESS


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
    for setting in SETTINGS_OF_THE_PROCESS:
        monkeypatch.setattr(probe, setting, lambda *_: None)
    machine = probe.measured_machine(Given(batch=batch), devices)
    assert asked == [measured] and machine.rows == batch
