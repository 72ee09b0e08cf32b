"""How the next symbol is chosen, as settings. Free of JAX: `--help` shows them."""

import dataclasses
from typing import Annotated

from lstm_jax.config import Range

MEMORY = 256  # symbols that a penalty can look back on


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How the next symbol is chosen."""

    temperature: Annotated[float, Range(0.0, words="a number at least 0")] = 0.0
    """0 takes the likeliest symbol; 1 draws as the model believes; between is safer."""
    top_k: Annotated[int, Range(0, words="a number 0 or more")] = 0
    """Draw only from this many of the likeliest symbols; 0 for all."""
    top_p: Annotated[float, Range(0.0, 1.0, above=True)] = 1.0
    """Then only from the fewest symbols that reach this probability together."""
    min_p: Annotated[float, Range(0.0, 1.0)] = 0.0
    """Then only from those at least this share as probable as the likeliest."""
    repetition_penalty: Annotated[float, Range(1.0, words="a number at least 1")] = 1.0
    """Log-probabilities of what was just said are multiplied by it; 1 for none."""
    repetition_window: Annotated[
        int, Range(1, MEMORY, f"a number in [1, {MEMORY}]")
    ] = 64
    """How many symbols back that is."""

    @property
    def greedy(self) -> bool:
        """Whether nothing is left to chance."""
        return self.temperature == 0


GREEDY = SamplingConfig()
