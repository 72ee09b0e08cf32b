"""How good risks are: ranking with intervals, calibration, what an alarm is worth."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_jax.metrics import (
    Interval,
    Operation,
    Reliability,
    auroc,
    auroc_interval,
    average_precision,
    bootstrap_interval,
    brier_score,
    reliability,
)


@dataclasses.dataclass(frozen=True)
class Scores:
    """What some risks are worth; intervals hold 95 %.

    Attributes:
        auroc: the area under the ROC curve.
        auroc_interval: DeLong's.
        auprc: the average precision.
        auprc_interval: of a bootstrap.
        brier: the mean squared error of the risks.
        reliability: forecast and outcome in ten bins.
    """

    auroc: float
    auroc_interval: Interval
    auprc: float
    auprc_interval: Interval
    brier: float
    reliability: Reliability

    def __str__(self) -> str:
        return (
            f"AUROC {self.auroc:.4f} ({shown(self.auroc_interval)}), "
            f"AUPRC {self.auprc:.4f} ({shown(self.auprc_interval)}), "
            f"Brier {self.brier:.4f}, calibration error {self.reliability.error:.4f}"
        )

    def record(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return {
            "auroc": self.auroc,
            "auroc_95": list(self.auroc_interval),
            "auprc": self.auprc,
            "auprc_95": list(self.auprc_interval),
            "brier": self.brier,
            "calibration_error": self.reliability.error,
        }


def score(died: NDArray[np.bool_], risk: NDArray[np.floating]) -> Scores:
    """Score risks, [N], of stays.

    Raises:
        InputError: there are not two stays of either outcome.
    """
    return Scores(
        auroc(died, risk),
        auroc_interval(died, risk),
        average_precision(died, risk),
        bootstrap_interval(average_precision, died, risk),
        brier_score(died, risk),
        reliability(died, risk),
    )


def shown(interval: Interval) -> str:
    """An interval as people read it."""
    return f"{interval.low:.3f} to {interval.high:.3f}"


def calibration_table(found: Reliability) -> str:
    """Forecast beside what happened, a line per bin."""
    columns = found.count, found.forecast, found.observed
    lines = [f"{n:6}  {p:8.3f}  {o:8.3f}" for n, p, o in zip(*columns, strict=True)]
    return "\n".join([" stays  forecast      died", *lines])


def alarms(operation: Operation, threshold: float) -> str:
    """What alarms at a threshold are worth, in a sentence."""
    return (
        f"alarms at a risk of {threshold:.3f}: sensitivity "
        f"{operation.sensitivity:.3f}, precision {operation.precision:.3f}, the "
        f"smaller {operation.smaller:.3f}"
    )
