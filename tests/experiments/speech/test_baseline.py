"""The nearest template against a plain loop."""

import numpy as np

from experiments.speech.baseline import make_templates, stretched


def test_a_sequence_is_most_like_itself_at_another_pace_and_loudness() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(int(rng.integers(20, 40)), 3)) for _ in range(6)]
    templates = make_templates(rows, np.array([5, 4, 3, 2, 1, 0]))
    slower = [3.0 * np.repeat(row, 2, axis=0) for row in rows]
    np.testing.assert_array_equal(templates.nearest(slower), [5, 4, 3, 2, 1, 0])


def test_the_nearest_is_by_cosine() -> None:
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=(16, 2)) for _ in range(20)]
    others = [rng.normal(size=(16, 2)) for _ in range(10)]
    found = make_templates(rows, np.arange(20)).nearest(others)
    for other, chosen in zip(others, found, strict=True):
        cosines = [
            (other * row).sum() / np.sqrt((other**2).sum() * (row**2).sum())
            for row in rows
        ]
        assert chosen == np.argmax(cosines)


def test_stretching_is_linear_in_time() -> None:
    ramp = np.linspace(1, 2, 7)[:, None]
    expected = np.linspace(1, 2, 16)
    np.testing.assert_allclose(stretched(ramp), expected / np.linalg.norm(expected))
    one = stretched(np.ones((1, 4)))
    np.testing.assert_allclose(one, np.full(64, 1 / 8))
    assert not stretched(np.zeros((5, 2))).any()
