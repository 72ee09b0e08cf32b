"""The floors, against sums by hand."""

import math

import numpy as np
import pytest

from experiments.music.baseline import fit_keys, nats_per_step, transitions

# Key 60 sounds, sounds, is silent; key 62 comes at the last step. Two transitions.
PIECE = ((60,), (60,), (62,))


def test_steps_are_paired_within_pieces() -> None:
    before, after = transitions([PIECE, ((64,), (65,))])
    assert before.shape == after.shape == (3, 88)
    keys = [set(np.flatnonzero(row) + 21) for row in (*before, *after)]
    assert keys == [{60}, {60}, {64}, {60}, {62}, {65}]


def test_every_key_is_counted_by_itself() -> None:
    """With half a count added to either side."""
    counts = fit_keys([PIECE])
    assert counts.marginal[60 - 21] == pytest.approx(1.5 / 3)
    assert counts.marginal[62 - 21] == pytest.approx(1.5 / 3)
    assert counts.marginal[0] == pytest.approx(0.5 / 3)
    assert counts.stays[60 - 21] == pytest.approx(1.5 / 3)
    assert counts.begins[60 - 21] == pytest.approx(0.5)  # it was never silent
    assert counts.begins[62 - 21] == pytest.approx(1.5 / 3)
    assert counts.stays[62 - 21] == pytest.approx(0.5)
    assert counts.begins[0] == pytest.approx(0.5 / 3)


def test_the_nats_of_a_step_are_summed_over_keys() -> None:
    marginal, chain = fit_keys([PIECE]).nats([PIECE])
    silent = 86 * -math.log(2.5 / 3)
    assert marginal == pytest.approx(2 * math.log(2) + silent)
    assert chain == pytest.approx(2 * math.log(2) + silent)
    chances, sounding = np.array([0.25, 0.5]), np.array([[True, False], [False, True]])
    expected = (math.log(4) - math.log(0.75)) / 2 + math.log(2)
    assert nats_per_step(chances, sounding) == pytest.approx(expected)
