"""How far a run has come, and the learning rate that belongs there.

A run ends after a number of steps or when its time is over, whichever is first. Its
progress is the larger of both shares, so the learning rate reaches its end when the
run does, on a fast machine and on a slow one. Pure functions of numbers.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The length of a run and the shape of its learning rate.

    `total_steps` or `max_seconds` is given, or both. `warmup` is a share of the run,
    `final_rate` a share of the peak.
    """

    total_steps: int | None
    max_seconds: float | None
    peak: float
    warmup: float
    final_rate: float

    def progress(self, step: float, seconds: float) -> float:
        """The share of the run that is behind, from 0 to 1."""
        by_steps = step / self.total_steps if self.total_steps else 0.0
        by_time = seconds / self.max_seconds if self.max_seconds else 0.0
        return min(1.0, max(by_steps, by_time))

    def learning_rate(self, progress: float) -> float:
        """Linear from 0 to the peak, then linear to the final rate."""
        if progress < self.warmup:
            return self.peak * progress / self.warmup
        left = (1 - progress) / max(1 - self.warmup, 1e-9)
        return self.peak * (self.final_rate + (1 - self.final_rate) * min(1.0, left))

    def rates(self, step: int, seconds: float, pace: float, count: int) -> list[float]:
        """Learning rates of the next `count` steps, taken at `pace` seconds each."""
        middles = (k + 0.5 for k in range(count))  # never 0, and never past the end
        return [
            self.learning_rate(self.progress(step + k, seconds + k * pace))
            for k in middles
        ]

    def steps_left(self, step: int, seconds: float, pace: float) -> int:
        """How many more steps fit, at `pace` seconds each; 0 when the run is over."""
        by_steps = by_time = 2**31
        if self.total_steps is not None:
            by_steps = self.total_steps - step
        if self.max_seconds is not None:
            left = self.max_seconds - seconds
            by_time = int(left / pace) if pace > 0 else int(left > 0)
        return max(0, min(by_steps, by_time))
