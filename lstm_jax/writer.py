"""Ids to text while they are made, up to a stop string."""

from collections.abc import Sequence

import numpy as np

from lstm_jax.vocab import Vocab


class Writer:
    """Text of one row as it comes; holds back what may turn out to be a stop.

    The stop that is complete first ends the text, and of two that end together the
    longer; so it does not matter in which pieces the text comes. `stopped` says
    whether one has come: nothing is written after it.
    """

    def __init__(self, vocab: Vocab, stops: Sequence[str] = ()) -> None:
        self._decode = vocab.decoder()
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False

    def write(self, ids: np.ndarray) -> str:
        """The text that these ids add, as far as it is certain."""
        return self._release(self._decode(ids))

    def finish(self) -> str:
        """What was held back, once nothing more comes."""
        text = self._release(self._decode((), final=True))
        return text if self.stopped else text + self._held

    def _release(self, text: str) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        ends = [
            (text.index(stop) + len(stop), text.index(stop))
            for stop in self._stops
            if stop in text
        ]
        if ends:
            self.stopped = True
            return text[: min(ends)[1]]
        safe = len(text) - max(
            (_overlap(text, stop) for stop in self._stops), default=0
        )
        self._held = text[safe:]
        return text[:safe]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of the stop."""
    sizes = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((n for n in sizes if text.endswith(stop[:n])), 0)
