"""How the next symbol is chosen, as settings. Free of JAX: `--help` shows them."""

import dataclasses
from typing import Annotated

from lstm_jax.config import Range

MEMORY = 256  # symbols that a penalty can look back on


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How the next symbol is chosen."""

    temperature: Annotated[float, Range(0.0, words="a number at least 0")] = 0.0
    """0 always takes the likeliest symbol; 1 samples from the model's probabilities;
    between them likelier symbols are favored."""
    top_k: Annotated[int, Range(0, words="a number 0 or more")] = 0
    """Sample only from this many of the likeliest symbols; 0 for all."""
    top_p: Annotated[float, Range(0.0, 1.0, above=True)] = 1.0
    """Then only from the fewest symbols whose probabilities add up to this."""
    min_p: Annotated[float, Range(0.0, 1.0)] = 0.0
    """Then only from symbols at least this fraction as probable as the likeliest."""
    repetition_penalty: Annotated[float, Range(1.0, words="a number at least 1")] = 1.0
    """Factor of the log-probabilities of recent symbols; 1 for none."""
    repetition_window: Annotated[
        int, Range(1, MEMORY, f"a number in [1, {MEMORY}]")
    ] = 64
    """How many symbols back the penalty looks."""
    no_repeat_ngram: Annotated[int, Range(0, MEMORY, f"0 to {MEMORY}")] = 0
    """Never repeat a run of this many symbols, the prompt's included; 0 disables it."""

    @property
    def looks_back(self) -> bool:
        """Whether all of the text is asked for, and not only its last symbols."""
        return self.no_repeat_ngram > 0

    @property
    def greedy(self) -> bool:
        """Whether nothing is left to chance."""
        return self.temperature == 0


GREEDY = SamplingConfig()
