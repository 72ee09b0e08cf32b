"""What a detector finds in labelled series, and how good that is beside the floors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from experiments.anomaly.baseline import autoregression_errors, windowed_gaussian
from experiments.anomaly.data import Series, Window
from experiments.anomaly.evidence import expected, judge
from experiments.anomaly.features import side_by_side
from experiments.anomaly.nab import Scores, best_threshold, nab_score, random_score
from experiments.anomaly.segments import Counts, overlap_counts, segments_of

if TYPE_CHECKING:
    from experiments.anomaly.task import Detector

# The series of NAB that Orion does not have: settings were chosen on them.
_DEVELOPMENT_GROUPS = ("artificialNoAnomaly", "realKnownCause")
_DEVELOPMENT = "realAdExchange/exchange-4_cpc_results"


@dataclasses.dataclass(frozen=True)
class NabReport:
    """NAB's scores.

    Attributes:
        series: how many were scored.
        convention: with the threshold that is best for the labels.
        ours: with the alarm level of the run.
        unseen: likewise, of the series that no setting was chosen on.
        floors: by NAB's convention, by the name of the method.
    """

    series: int
    convention: float
    ours: float
    unseen: float
    floors: Mapping[str, float]

    def __str__(self) -> str:
        return (
            f"{self.convention:.1f} by NAB's convention; {self.ours:.1f} with the "
            f"threshold chosen beforehand, {self.unseen:.1f} on the series that "
            "nothing was chosen on"
        )


@dataclasses.dataclass(frozen=True)
class SegmentReport:
    """Segments against windows, pooled over series.

    Attributes:
        series: how many were scored.
        ours: the counts.
        share: of all points, how many lie in our segments.
        labelled: of all points, how many lie in windows.
        floors: the counts of other methods, by name.
    """

    series: int
    ours: Counts
    share: float
    labelled: float
    floors: Mapping[str, Counts]


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found, and both scores of it.

    Attributes:
        alarms: [N] of each series, whether one is given.
        segments: of each series.
        nab: NAB's score.
        f1: of segments.
    """

    alarms: Sequence[NDArray[np.bool_]]
    segments: Sequence[Sequence[Window]]
    nab: NabReport
    f1: SegmentReport

    def numbers(self) -> dict[str, float]:
        """The scores by name."""
        return {
            "nab_convention": self.nab.convention,
            "nab": self.nab.ours,
            "f1": self.f1.ours.f1(),
            "precision": self.f1.ours.precision(),
            "recall": self.f1.ours.recall(),
            "share_of_points": self.f1.share,
        }

    def __str__(self) -> str:
        nab, f1 = self.nab, self.f1
        return "\n".join(
            [
                f"\nNAB, standard profile, {nab.series} series",
                f"  LSTM {nab}",
                *(f"  {name} {score:.1f}" for name, score in nab.floors.items()),
                f"F1 (precision, recall) of segments, {f1.series} series",
                f"  LSTM {f1.ours}; {f1.share:.1%} of the points lie in segments, "
                f"{f1.labelled:.1%} in labelled windows",
                *(f"  {name} {counts}" for name, counts in f1.floors.items()),
            ]
        )


def report_on(detector: Detector, series: list[Series]) -> Report:
    """Read all series from their first point to their last, and score what was found.

    Args:
        detector: the networks, and the alarm level.
        series: with their labels.
    """
    from experiments.anomaly.task import surprises_of

    surprise = surprises_of(detector.models, series)
    linear = [autoregression_errors(each.values, each.probation) for each in series]
    # What is left of our steps if the network has nothing to say.
    nothing = [np.zeros(len(each.values)) for each in series]
    news, *steps = (judged(series, each)[1] for each in (surprise, linear, nothing))
    rare, *rare_steps = map(rarities, (news, *steps))
    names = "AR(10)", "beyond the range"
    floors = dict(zip(names, rare_steps, strict=True))
    gaussian = [windowed_gaussian(each.values) for each in series]
    level = detector.false_alarms
    alarms = [
        (mine >= -level) & (np.arange(len(mine)) >= each.probation)
        for each, mine in zip(series, rare, strict=True)
    ]
    segments = all_segments(series, news)
    return Report(
        alarms,
        segments,
        _nab(series, rare, -level, {"windowed Gaussian": gaussian} | floors),
        _segments(
            series,
            segments,
            {
                name: all_segments(series, each)
                for name, each in zip(names, steps, strict=True)
            },
        ),
    )


def judged(series: Sequence[Series], surprise: Scores) -> tuple[Scores, Scores]:
    """The evidence of every point, and what of it is news: [N] of each series."""
    lengths = [len(each.values) for each in series]
    values = side_by_side([each.values for each in series])
    both = judge(side_by_side(surprise), values)
    evidence, news = (
        [row[:n] for row, n in zip(rows, lengths, strict=True)] for rows in both
    )
    return evidence, news


def rarities(news: Scores) -> Scores:
    """Scores of all points, the higher the stranger: minus what chance has as strange.

    In the series so far; see `expected`.
    """
    return [-expected(mine, np.arange(1, len(mine) + 1)) for mine in news]


def all_segments(series: Sequence[Series], news: Scores) -> list[list[Window]]:
    """The segments of every series."""
    pairs = zip(series, news, strict=True)
    return [segments_of(each, mine) for each, mine in pairs]


def is_unseen(series: Series) -> bool:
    """Whether no setting was chosen on it, by its name in NAB."""
    return series.group not in _DEVELOPMENT_GROUPS and series.name != _DEVELOPMENT


def _nab(
    series: Sequence[Series],
    scores: Scores,
    alarm: float,
    floors: Mapping[str, Scores],
) -> NabReport:
    unseen = [k for k, each in enumerate(series) if is_unseen(each)]
    return NabReport(
        len(series),
        best_threshold(series, scores)[1],
        nab_score(series, scores, alarm),
        nab_score([series[k] for k in unseen], [scores[k] for k in unseen], alarm),
        {
            **{name: best_threshold(series, each)[1] for name, each in floors.items()},
            "random": random_score(series),
        },
    )


def _segments(
    series: Sequence[Series],
    segments: Sequence[Sequence[Window]],
    floors: Mapping[str, Sequence[Sequence[Window]]],
) -> SegmentReport:
    """Of the series that no setting was chosen on."""
    unseen = [k for k, each in enumerate(series) if is_unseen(each)]

    def counts(found: Sequence[Sequence[Window]]) -> Counts:
        pairs = (overlap_counts(series[k].windows, found[k]) for k in unseen)
        return sum(pairs, Counts())

    def share(found: Sequence[Sequence[Window]]) -> float:
        inside = sum(b - a + 1 for k in unseen for a, b in found[k])
        return inside / max(sum(len(series[k].values) for k in unseen), 1)

    return SegmentReport(
        len(unseen),
        counts(segments),
        share(segments),
        share([each.windows for each in series]),
        {name: counts(found) for name, found in floors.items()},
    )
