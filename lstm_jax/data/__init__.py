"""Files to arrays, arrays to batches. NumPy only.

Batch n is a function of (seed, n).
"""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.data.bptt import Batch as Batch
    from lstm_jax.data.bptt import tbptt_batch as tbptt_batch
    from lstm_jax.data.buckets import Bucket as Bucket
    from lstm_jax.data.buckets import BucketedBatches as BucketedBatches
    from lstm_jax.data.buckets import Picked as Picked
    from lstm_jax.data.buckets import length_buckets as length_buckets
    from lstm_jax.data.buckets import make_buckets as make_buckets
    from lstm_jax.data.buckets import pad as pad
    from lstm_jax.data.buckets import pad_frames as pad_frames
    from lstm_jax.data.buckets import pick_epoch as pick_epoch
    from lstm_jax.data.date_notations import DateNotation as DateNotation
    from lstm_jax.data.date_notations import notations_of as notations_of
    from lstm_jax.data.folds import Fold as Fold
    from lstm_jax.data.folds import block_folds as block_folds
    from lstm_jax.data.folds import shuffled_folds as shuffled_folds
    from lstm_jax.data.folds import stratified_folds as stratified_folds
    from lstm_jax.data.folds import stratified_split as stratified_split
    from lstm_jax.data.irregular import ObservedScale as ObservedScale
    from lstm_jax.data.irregular import carry_forward as carry_forward
    from lstm_jax.data.irregular import fit_scale as fit_scale
    from lstm_jax.data.irregular import on_grid as on_grid
    from lstm_jax.data.irregular import time_gaps as time_gaps
    from lstm_jax.data.plain_text import decode_plain as decode_plain
    from lstm_jax.data.plain_text import plain_lines as plain_lines
    from lstm_jax.data.plain_text import read_plain as read_plain
    from lstm_jax.data.series import Named as Named
    from lstm_jax.data.series import Panel as Panel
    from lstm_jax.data.series import WindowSpec as WindowSpec
    from lstm_jax.data.series import all_positive as all_positive
    from lstm_jax.data.series import check_window_spec as check_window_spec
    from lstm_jax.data.series import hold_out as hold_out
    from lstm_jax.data.series import need_points as need_points
    from lstm_jax.data.series import scale_series as scale_series
    from lstm_jax.data.series import seasonal_change as seasonal_change
    from lstm_jax.data.series_csv import SeriesSpec as SeriesSpec
    from lstm_jax.data.series_csv import SeriesTable as SeriesTable
    from lstm_jax.data.series_csv import read_series as read_series
    from lstm_jax.data.series_csv import read_series_table as read_series_table
    from lstm_jax.data.series_csv import write_forecasts as write_forecasts
    from lstm_jax.data.special_ids import END as END
    from lstm_jax.data.special_ids import IGNORED as IGNORED
    from lstm_jax.data.special_ids import START as START
    from lstm_jax.data.table import Table as Table
    from lstm_jax.data.table import read_table as read_table
    from lstm_jax.data.table_numbers import DecimalSign as DecimalSign
    from lstm_jax.data.table_numbers import decimal_sign as decimal_sign
    from lstm_jax.data.table_numbers import is_missing as is_missing
    from lstm_jax.data.table_numbers import quantity_of as quantity_of
    from lstm_jax.data.table_rows import decode_table as decode_table
    from lstm_jax.data.table_rows import find_separator as find_separator
    from lstm_jax.data.text import Corpus as Corpus
    from lstm_jax.data.text import bytes_of as bytes_of
    from lstm_jax.data.text import encode_text as encode_text
    from lstm_jax.data.text import read_text as read_text
    from lstm_jax.data.text import unpacked_name as unpacked_name
    from lstm_jax.data.time_axis import Step as Step
    from lstm_jax.data.time_axis import TimeAxis as TimeAxis
    from lstm_jax.data.tokenizers.characters import CharTokenizer as CharTokenizer
    from lstm_jax.data.tokenizers.letters import composed as composed
    from lstm_jax.data.tokenizers.saved import load_tokenizer as load_tokenizer
    from lstm_jax.data.tokenizers.saved import save_tokenizer as save_tokenizer
    from lstm_jax.data.tokenizers.subwords import BPETokenizer as BPETokenizer
    from lstm_jax.data.tokenizers.subwords import learn_subwords as learn_subwords
    from lstm_jax.data.tokenizers.subwords import split_words as split_words
    from lstm_jax.data.tokenizers.words import Level as Level
    from lstm_jax.data.tokenizers.words import WordTokenizer as WordTokenizer
    from lstm_jax.data.tokenizers.words import common_words as common_words
    from lstm_jax.data.tokenizers.words import tokens as tokens
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
