"""What to do about a loss that is no finite number: go back, and learn more slowly."""

import dataclasses
from pathlib import Path

from lstm_jax.errors import warn
from lstm_jax.training.loop import NotFinite
from lstm_jax.training.recorder import RunRecorder
from lstm_jax.training.step import TrainState

_LEAST_SCALE = 2.0**-10  # of the learning rate, after which backing off is given up


class BackOff:
    """Goes back to the last good checkpoint, each time with half the learning rate.

    Args:
        recorder: of the run; its `rate_scale` is what is left of the learning rate.
    """

    def __init__(self, recorder: RunRecorder) -> None:
        self._recorder = recorder
        self._backed_to: int | None = None

    def __call__(self, like: TrainState, why: NotFinite) -> TrainState | Path:
        """Read the state to go on from, or find the folder of its parts.

        A checkpoint that the run has failed from before, without another having been
        saved since, was not good: the one before it is taken then.

        Args:
            like: the shapes of the state.
            why: where the run failed.

        Raises:
            NotFinite: there is no checkpoint left, or it was tried too often.
        """
        recorder = self._recorder
        scale = recorder.rate_scale / 2
        saved = recorder.saved_steps()
        again = bool(saved) and saved[0] == self._backed_to
        if not saved or scale < _LEAST_SCALE or (again and len(saved) == 1):
            raise why
        timer = dataclasses.replace(recorder.timer)
        state = recorder.resume(like, before=saved[0] if again else None)
        recorder.timer.go_on_from(timer)  # the time is spent, if in vain
        recorder.rate_scale, self._backed_to = scale, recorder.saved_step
        warn(
            f"step {why.step}: the loss or its gradient is no finite number; going on "
            f"from step {recorder.saved_step} at {scale:g} of the learning rate"
        )
        return state
