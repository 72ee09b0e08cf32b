"""Every sentence: what makes it said, and that little less does not."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from lstm_jax.report.advice import RULES, advise, advise_on_history
from lstm_jax.report.inspection import Findings, LayerFindings
from lstm_jax.training.history import HistoryRow

LENGTH = 8
SETTINGS = {"length": LENGTH, "clip_norm": 1.0}
HEALTHY = LayerFindings(
    units=100,
    closed={"i": 0.1, "f": 0.1, "o": 0.2},
    open={"i": 0.2, "f": 0.3, "o": 0.2},
    memory=(0.5, 2.0, 30.0),
    dead=4,
    hidden=9,
)


def found(
    layer: LayerFindings = HEALTHY, at_length: float = 0.1, reach: int = 2
) -> Findings:
    """A network: what is left of its gradient where training cuts it off."""
    norms = np.array([0.0, *np.full(LENGTH - 1, 2.0), 2 * at_length, 0.0])
    return Findings((HEALTHY, layer), norms, reach)


def history(
    training: list[float],
    held_out: list[float],
    seen: list[float] | None = None,
    norm: float = 0.5,
) -> list[HistoryRow]:
    """Lines with a validation each."""
    return [
        HistoryRow(
            *(step, float(step), step, float(step), 0.1, norm, 1.0),
            train={"loss": loss},
            train_eval={"loss": trained},
            val={"loss": validated},
        )
        for step, (loss, trained, validated) in enumerate(
            zip(seen or training, training, held_out, strict=True), 1
        )
    ]


# Neither overfitting nor unfinished: the last validation is not the best.
CALM = history([3.0, 2.0, 1.9, 1.9], [3.0, 2.0, 1.8, 1.9])


def test_nothing_stands_out() -> None:
    assert advise(found(), CALM, **SETTINGS) == []
    assert advise(found(), [], **SETTINGS) == []


LAYERS: dict[str, dict[str, Any]] = {
    "Layer 2: 5 of 100 units are dead": {"dead": 5},
    "Layer 2: the output gates of 10 of 100 units never open": {"hidden": 10},
    "Layer 2: hardly a unit remembers 2 symbols": {"memory": (0.1, 0.2, 1.99)},
}


@pytest.mark.parametrize("sentence", LAYERS)
def test_layers(sentence: str) -> None:
    layer = dataclasses.replace(HEALTHY, **LAYERS[sentence])
    (said,) = advise(found(layer), CALM, **SETTINGS)
    assert str(said).startswith(sentence) and " Try " in said.text


@pytest.mark.parametrize(
    ("findings", "sentence"),
    [
        (found(at_length=0.11), "Learning is cut off: 8 symbols back .* 11% of"),
        (found(reach=1), "The gradient reaches 1 symbols back"),
    ],
)
def test_truncation(findings: Findings, sentence: str) -> None:
    (said,) = advise(findings, CALM, **SETTINGS)
    assert re.match(sentence, said.text) and "--length" in said.text


def test_no_clipping_is_not_too_much_of_it() -> None:
    lines = history([3.0, 2, 2, 2], [3.0, 2, 1.8, 1.9], norm=1.1)
    assert not advise(found(), lines, length=LENGTH, clip_norm=0.0)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (
            history([3.0, 2, 2, 2], [3.0, 2, 1.8, 1.9], seen=[3, 2.0, 2.6, 2]),
            "The training loss jumped by 0.6 nats at step 3.",
        ),
        (
            history([3.0, 2, 2, 2], [3.0, 2, 1.8, 1.9], norm=1.1),
            "Most gradients are longer than --clip-norm 1.",
        ),
        (
            history([3.0, 2.0, 1.5, 1.4], [3.0, 2.0, 2.1, 2.2]),
            "Overfitting began at step 3.",
        ),
        (
            history([3.0, 2.0, 1.5], [3.0, 2.0, 1.55]),
            "Still improving at the end, with training and validation loss 0.05 nats",
        ),
    ],
)
def test_history(lines: list[HistoryRow], sentence: str) -> None:
    (said,) = advise(found(), lines, **SETTINGS)
    assert str(said).startswith(sentence)


def test_a_small_jump_is_none_and_a_wide_gap_is_no_call_for_more() -> None:
    calm = history([3.0, 2, 2, 2], [3.0, 2, 1.8, 1.9], seen=[3, 2.0, 2.5, 2])
    assert advise(found(), calm, **SETTINGS) == []
    gap = history([3.0, 2.0, 1.5], [3.0, 2.0, 1.65])
    assert advise(found(), gap, **SETTINGS) == []


def test_of_a_network_that_counts_otherwise_thresholds_in_nats_say_nothing() -> None:
    over = history([3.0, 2.0, 1.5, 1.4], [3.0, 2.0, 2.1, 2.2], seen=[1.0, 9, 9, 9])
    said = advise_on_history(over, "squared error")
    assert [each.rule for each in said] == ["overfitting"]
    both = advise_on_history(over, "nats per symbol")
    assert [each.rule for each in both] == ["jumps", "overfitting"]


def test_every_advice_has_a_rule_and_a_picture() -> None:
    worst = dataclasses.replace(HEALTHY, dead=50, memory=(0.1, 0.2, 0.3))
    lines = history([3.0, 2.0, 1.5, 1.4], [3.0, 2.0, 2.1, 2.2], norm=9.0)
    said = advise(found(worst, reach=1), lines, **SETTINGS)
    assert {"dead", "overfitting"} <= {each.rule for each in said} <= set(RULES)
    for each in said:
        fields = each.fields()
        assert fields["rule"] == RULES[each.rule] and str(each) == fields["text"]
        assert fields["picture"] in {"curves", "lags", "gates"}
