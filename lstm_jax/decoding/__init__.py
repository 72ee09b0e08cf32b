"""From logits to sequences: sampling, beam search, CTC. Knows no text."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.decoding.autoregressive import DecoderState as DecoderState
    from lstm_jax.decoding.autoregressive import generate_from as generate_from
    from lstm_jax.decoding.autoregressive import generate_ids as generate_ids
    from lstm_jax.decoding.autoregressive import memory_for as memory_for
    from lstm_jax.decoding.autoregressive import read_prompt as read_prompt
    from lstm_jax.decoding.autoregressive import read_prompts as read_prompts
    from lstm_jax.decoding.autoregressive import repeat_rows as repeat_rows
    from lstm_jax.decoding.autoregressive import row_keys as row_keys
    from lstm_jax.decoding.autoregressive import sample_keys as sample_keys
    from lstm_jax.decoding.beam import Beams as Beams
    from lstm_jax.decoding.beam import beam_search as beam_search
    from lstm_jax.decoding.beam import greedy_search as greedy_search
    from lstm_jax.decoding.config import SamplingConfig as SamplingConfig
    from lstm_jax.decoding.ctc import Hypothesis as Hypothesis
    from lstm_jax.decoding.ctc import align_transcript as align_transcript
    from lstm_jax.decoding.ctc import greedy_decode as greedy_decode
    from lstm_jax.decoding.ctc import prefix_beam_search as prefix_beam_search
    from lstm_jax.decoding.likelihood import score_ids as score_ids
    from lstm_jax.decoding.likelihood import search_ids as search_ids
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
