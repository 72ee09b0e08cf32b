"""Ids to text while they are made, up to a stop string."""

import numpy as np

from lstm_jax.vocab import Vocab


class Writer:
    """Text of one row as it comes; holds back what may turn out to be the stop.

    `stopped` says whether the stop has come: nothing is written after it.
    """

    def __init__(self, vocab: Vocab, stop: str) -> None:
        self._decode = vocab.decoder()
        self._stop = stop
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
        if self._stop and self._stop in text:
            self.stopped = True
            return text[: text.index(self._stop)]
        safe = len(text) - _overlap(text, self._stop)
        self._held = text[safe:]
        return text[:safe]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of the stop."""
    sizes = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((n for n in sizes if text.endswith(stop[:n])), 0)
