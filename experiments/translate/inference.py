"""A trained translator at work: from text to text, greedy or by beam search."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from experiments.translate.task import NAME, load_tables, pad_sources
from lstm_jax import Seq2Seq, beam_search, greedy_search
from lstm_jax.data import END, START, BPETokenizer
from lstm_jax.distributed import bounded_jit
from lstm_jax.models import DecoderStates, load_model
from lstm_jax.typing import (
    AttentionWeights,
    BatchIds,
    Lengths,
    SourceIds,
    StepIds,
    StepLogits,
)

_LONGER = (1.5, 10)  # a translation has at most 1.5 times as many symbols, and 10 more
_SHORTEST = 8  # what a shorter sentence is padded to
_ROWS = 32  # sentences side by side, however many there are


@dataclasses.dataclass(frozen=True)
class Search:
    """How a translation is looked for.

    Attributes:
        width: W of the beam; 0 takes the likeliest symbol each time (greedy).
        alpha: strength of the beam's length penalty, see `lstm_jax.decoding.beam`.
    """

    width: int = 0
    alpha: float = 0.0


GREEDY_SEARCH = Search()


@dataclasses.dataclass(frozen=True)
class TextTranslator:
    """A model, the tables of its languages, and whether they have capitals."""

    model: Seq2Seq
    source: BPETokenizer
    target: BPETokenizer
    lower_case: bool

    def encode(self, text: str) -> np.ndarray:
        """The ids of a source text."""
        text = text.lower() if self.lower_case else text
        return np.array(self.source.encode(text), np.int32)


def load_translator(run_dir: Path) -> TextTranslator:
    """Load the translator that a run has left.

    Raises:
        InputError: there is none, or it is damaged.
    """
    saved = load_model(run_dir, NAME)
    lower_case = bool(saved.settings.get("lower_case"))
    return TextTranslator(saved.model, *load_tables(run_dir), lower_case)


def translate(
    translator: TextTranslator, texts: Sequence[str], search: Search = GREEDY_SEARCH
) -> list[str]:
    """The translations of sentences; that of an empty one is empty.

    None depends on the others: see `translate_ids`.
    """
    sources = [translator.encode(text) for text in texts]
    found = translate_ids(translator.model, sources, search)
    return [translator.target.decode(ids) for ids in found]


def translate_ids(
    model: Seq2Seq, sources: Sequence[np.ndarray], search: Search = GREEDY_SEARCH
) -> list[list[int]]:
    """`translate`, from ids to ids, without START and END.

    A sentence is padded to the next power of two, which also says how long its
    translation may be, and always has as many neighbours, be they empty. So a longer
    one beside it changes nothing, and matrix products are summed in the same order.
    """
    found: list[list[int]] = [[] for _ in sources]
    for places, steps in _alike([len(source) for source in sources]):
        batch = pad_sources([sources[k] for k in places], _ROWS, steps)
        limit = math.ceil(_LONGER[0] * steps) + _LONGER[1]
        ids = np.asarray(_search(model, **batch, search=search, limit=limit))
        for place, row in zip(places, ids, strict=False):
            found[place] = _until_end(row.tolist())
    return found


def _alike(lengths: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """Which sentences are read together, and the length they are padded to."""
    steps = [max(_SHORTEST, 1 << (n - 1).bit_length()) for n in lengths]
    for shape in sorted(set(steps)):
        places = [k for k, n in enumerate(lengths) if n and steps[k] == shape]
        for first in range(0, len(places), _ROWS):
            yield places[first : first + _ROWS], shape


def attention_of(
    translator: TextTranslator, text: str, search: Search = GREEDY_SEARCH
) -> tuple[list[str], list[str], np.ndarray]:
    """Where a translator looked: pieces of a text and of its translation, END included.

    Returns:
        The S pieces of the text, the T of the translation, and the weights [T, S].
    """
    source = translator.encode(text)
    (target,) = translate_ids(translator.model, [source], search)
    batch = pad_sources([source], 1, len(source))
    inputs = np.array([[START, *target]], np.int32)
    weights = _look(translator.model, **batch, inputs=inputs)
    names = translator.target.names([*target, END])
    return translator.source.names(source.tolist()), names, np.asarray(weights[0])


@bounded_jit
def _look(
    model: Seq2Seq, sources: SourceIds, lengths: Lengths, inputs: BatchIds
) -> AttentionWeights:
    memory, states = model.encode(sources, lengths)
    return model.decode(inputs, states, memory)[1]


@functools.partial(bounded_jit, static_argnames=("search", "limit"))
def _search(
    model: Seq2Seq,
    sources: SourceIds,
    lengths: Lengths,
    search: Search,
    limit: int,
) -> BatchIds:
    """The best translation of every row, [B, limit], END included."""
    memory, states = model.encode(sources, lengths)

    def step(states: DecoderStates, ids: StepIds) -> tuple[StepLogits, DecoderStates]:
        logits, _, states = model.decode(ids[:, None], states, memory)
        # A translation has neither unknown characters nor a second start.
        return logits[:, 0].at[:, :END].set(-jnp.inf), states

    logits, states = step(states, jnp.full(len(sources), START))
    if search.width == 0:
        return greedy_search(step, states, logits, length=limit, end=END)
    beams = beam_search(
        step,
        states,
        logits,
        width=search.width,
        length=limit,
        end=END,
        alpha=search.alpha,
    )
    return beams.ids[:, 0]


def _until_end(ids: list[int]) -> list[int]:
    return ids[: ids.index(END)] if END in ids else ids
