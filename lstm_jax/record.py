"""What a checkpoint says beside the state: where the run was, and how it stood."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Record:
    """What the loop knows beside the state, kept with every checkpoint.

    `loss` is the validation loss measured at this step, None if there was none;
    `best_step` and `best_loss` are those of the lowest so far. `rate_scale` is what
    backing off has left of the learning rate. `history` identifies the lines up to
    here (see `history.Fingerprint`); records of older runs have none.
    """

    step: int
    loss: float | None
    best_step: int
    best_loss: float | None
    seconds: float
    compile_seconds: float
    evaluate_seconds: float
    save_seconds: float = 0.0
    rate_scale: float = 1.0
    history: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no run can have written: a record comes from a file."""
        counts = (self.step, self.best_step)
        seconds = (self.seconds, self.compile_seconds, self.evaluate_seconds)
        losses = (self.loss, self.best_loss)
        holds = (
            all(type(count) is int and 0 <= count < 2**31 for count in counts)
            and all(_is_real(s) and s >= 0 for s in (*seconds, self.save_seconds))
            and all(loss is None or _is_real(loss) for loss in losses)
            and _is_real(self.rate_scale)
            and 0 < self.rate_scale <= 1
            and isinstance(self.history, str | None)
        )
        if not holds:
            raise ValueError(f"expected the numbers of a run, found {self}")


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
