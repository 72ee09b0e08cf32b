"""The table of conversions: every system has its row, and what it can't hold none."""

import pytest

from experiments.benchmarks import conversions


def test_every_other_system_has_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "lstm_jax.interop.system.System.installed", property(lambda system: False)
    )
    conversions.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == [
        *("| PyTorch", "| Keras", "| Flax linen", "| Flax NNX"),
        *("| Haiku", "| Equinox", "| ONNX"),
    ]
    assert {row[3] for row in rows} == {"its equations"}
    assert all(float(row[4].rstrip(" |")) < 2e-6 for row in rows)
    assert rows[0][2] == "5 of 9" and rows[-1][2] == "8 of 9"
