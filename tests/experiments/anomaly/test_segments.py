"""Segments, the alarms around which they lie, and overlaps counted by hand."""

import numpy as np

from experiments.anomaly.data import Series
from experiments.anomaly.segments import Counts, overlap_counts, runs_of, segments_of


def test_overlaps_by_hand() -> None:
    """Two segments find one window; one segment finds two; a common point is enough."""
    windows = [(10, 20), (30, 40), (45, 50), (90, 99)]
    segments = [(5, 10), (15, 16), (38, 46), (60, 70), (100, 110)]
    assert overlap_counts(windows, segments) == Counts(found=3, missed=1, false=2)
    assert overlap_counts([], [(1, 2)]) == Counts(false=1)
    assert overlap_counts([(1, 2)], []) == Counts(missed=1)


def test_counts_add_up_to_an_f1() -> None:
    """Orion's published run of AER on the 45 series: F1 0.663."""
    total = Counts(60, 20, 40) + Counts(8, 6, 3)
    assert total == Counts(68, 26, 43)
    assert str(total) == "0.663 (0.613, 0.723)"
    assert Counts().f1() == Counts().precision() == Counts().recall() == 0


def test_runs_are_widened_and_joined() -> None:
    flags = np.zeros(30, bool)
    flags[[1, 10, 11, 16, 28]] = True
    assert runs_of(flags) == [(1, 1), (10, 11), (16, 16), (28, 28)]
    assert runs_of(flags, 2) == [(0, 3), (8, 18), (26, 29)]
    assert runs_of(np.zeros(3, bool), 2) == []


def test_segments_are_widened_by_time_and_begin_behind_the_leading_part() -> None:
    """They lie around points of which 1000 have less than one by chance: ln 1000."""
    evidence = np.zeros(1000)
    evidence[[100, 400, 800]] = 7.0, 7.0, 6.9
    for step, padding in ((300.0, 100), (600.0, 50), (3600.0, 50)):
        series = Series("g/s", np.arange(0.0, 1000 * step, step), np.zeros(1000))
        expected = [(400 - padding, 400 + padding)]
        assert segments_of(series, evidence) == expected
