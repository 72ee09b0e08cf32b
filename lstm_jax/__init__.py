"""Long short-term memory networks in JAX.

The public names, fetched when first asked for: importing the package costs nothing, so
`--help` answers without waiting for JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lstm_jax.artifacts import DataFile as DataFile
    from lstm_jax.artifacts import Result as Result
    from lstm_jax.artifacts import describe_file as describe_file
    from lstm_jax.artifacts import load_model as load_model
    from lstm_jax.artifacts import load_settings as load_settings
    from lstm_jax.artifacts import new_experiment as new_experiment
    from lstm_jax.artifacts import read_result as read_result
    from lstm_jax.artifacts import save_model as save_model
    from lstm_jax.artifacts import write_result as write_result
    from lstm_jax.attention import attend as attend
    from lstm_jax.beam import Beams as Beams
    from lstm_jax.beam import beam_search as beam_search
    from lstm_jax.beam import greedy_search as greedy_search
    from lstm_jax.bounded import bounded_jit as bounded_jit
    from lstm_jax.bounded import take_turns as take_turns
    from lstm_jax.buckets import Bucket as Bucket
    from lstm_jax.buckets import BucketedBatches as BucketedBatches
    from lstm_jax.buckets import make_buckets as make_buckets
    from lstm_jax.cell import LSTMParams as LSTMParams
    from lstm_jax.cell import LSTMState as LSTMState
    from lstm_jax.cell import init_lstm as init_lstm
    from lstm_jax.cell import lstm_step as lstm_step
    from lstm_jax.classification.bayes import NaiveBayes as NaiveBayes
    from lstm_jax.classification.bayes import fit_naive_bayes as fit_naive_bayes
    from lstm_jax.classification.bayes import with_pairs as with_pairs
    from lstm_jax.classification.labelled import Labelled as Labelled
    from lstm_jax.classification.labelled import padded_batch as padded_batch
    from lstm_jax.classification.labelled import read_labelled as read_labelled
    from lstm_jax.classification.recipe import Recipe as Recipe
    from lstm_jax.classification.recipe import check_recipe as check_recipe
    from lstm_jax.classification.texts import TextClassifier as TextClassifier
    from lstm_jax.classification.texts import class_chances as class_chances
    from lstm_jax.classification.texts import classifier_programs as classifier_programs
    from lstm_jax.classification.texts import load_classifier as load_classifier
    from lstm_jax.classification.texts import save_classifier as save_classifier
    from lstm_jax.classification.texts import train_classifier as train_classifier
    from lstm_jax.classification.words import Words as Words
    from lstm_jax.classification.words import common_words as common_words
    from lstm_jax.classification.words import tokens as tokens
    from lstm_jax.cli import command_line as command_line
    from lstm_jax.cli import flags_of as flags_of
    from lstm_jax.cli import run_command as run_command
    from lstm_jax.cli import run_experiment as run_experiment
    from lstm_jax.config import DataConfig as DataConfig
    from lstm_jax.config import ModelConfig as ModelConfig
    from lstm_jax.config import OptimizerConfig as OptimizerConfig
    from lstm_jax.config import RegularizerConfig as RegularizerConfig
    from lstm_jax.config import RunConfig as RunConfig
    from lstm_jax.config import TrainConfig as TrainConfig
    from lstm_jax.config import check_flags as check_flags
    from lstm_jax.continuation import generate_text as generate_text
    from lstm_jax.continuation import score_text as score_text
    from lstm_jax.continuation import search_text as search_text
    from lstm_jax.data import lane_batch as lane_batch
    from lstm_jax.data import read_text as read_text
    from lstm_jax.decode import Snapshot as Snapshot
    from lstm_jax.decode import branch as branch
    from lstm_jax.decode import continue_from as continue_from
    from lstm_jax.decode import generate_ids as generate_ids
    from lstm_jax.decode import read_prompt as read_prompt
    from lstm_jax.decode import row_keys as row_keys
    from lstm_jax.decode import sample_keys as sample_keys
    from lstm_jax.devices import keep_programs as keep_programs
    from lstm_jax.devices import replicate as replicate
    from lstm_jax.devices import row_mesh as row_mesh
    from lstm_jax.devices import show_cores as show_cores
    from lstm_jax.devices import spread as spread
    from lstm_jax.devices import spread_batch as spread_batch
    from lstm_jax.dispatch import EngineChoice as EngineChoice
    from lstm_jax.dispatch import as_if_on as as_if_on
    from lstm_jax.dispatch import explain_engine as explain_engine
    from lstm_jax.dynamic import Adaptation as Adaptation
    from lstm_jax.dynamic import dynamic_measures as dynamic_measures
    from lstm_jax.ensemble import average_members as average_members
    from lstm_jax.ensemble import ensemble_loss as ensemble_loss
    from lstm_jax.ensemble import members_of as members_of
    from lstm_jax.ensemble import stack_members as stack_members
    from lstm_jax.errors import InputError as InputError
    from lstm_jax.fit import Task as Task
    from lstm_jax.folds import Fold as Fold
    from lstm_jax.folds import block_folds as block_folds
    from lstm_jax.folds import shuffled_folds as shuffled_folds
    from lstm_jax.folds import stratified_folds as stratified_folds
    from lstm_jax.forecasting.baselines import baseline_scores as baseline_scores
    from lstm_jax.forecasting.baselines import naive2 as naive2
    from lstm_jax.forecasting.baselines import rolling_baseline as rolling_baseline
    from lstm_jax.forecasting.baselines import seasonal_naive as seasonal_naive
    from lstm_jax.forecasting.forecast import forecast as forecast
    from lstm_jax.forecasting.forecast import forecast_task as forecast_task
    from lstm_jax.forecasting.forecast import rolling_forecast as rolling_forecast
    from lstm_jax.forecasting.picture import draw_forecasts as draw_forecasts
    from lstm_jax.forecasting.scores import IntervalScores as IntervalScores
    from lstm_jax.forecasting.scores import PointScores as PointScores
    from lstm_jax.forecasting.scores import score_intervals as score_intervals
    from lstm_jax.forecasting.scores import score_points as score_points
    from lstm_jax.forecasting.series import Frame as Frame
    from lstm_jax.forecasting.series import Panel as Panel
    from lstm_jax.forecasting.series import all_positive as all_positive
    from lstm_jax.forecasting.series import check_frame as check_frame
    from lstm_jax.forecasting.series import hold_out as hold_out
    from lstm_jax.forecasting.series import load_frame as load_frame
    from lstm_jax.forecasting.series import need_points as need_points
    from lstm_jax.forecasting.series import scale_series as scale_series
    from lstm_jax.forecasting.series_csv import read_series as read_series
    from lstm_jax.forecasting.series_csv import write_forecasts as write_forecasts
    from lstm_jax.layers import LSTM as LSTM
    from lstm_jax.layers import Bidirectional as Bidirectional
    from lstm_jax.layers import StackedLSTM as StackedLSTM
    from lstm_jax.likelihood import score_ids as score_ids
    from lstm_jax.likelihood import search_ids as search_ids
    from lstm_jax.losses import Sums as Sums
    from lstm_jax.losses import cross_entropy as cross_entropy
    from lstm_jax.metrics import ClassCounts as ClassCounts
    from lstm_jax.metrics import ClassReport as ClassReport
    from lstm_jax.metrics import Confusion as Confusion
    from lstm_jax.metrics import class_report as class_report
    from lstm_jax.metrics import confusion as confusion
    from lstm_jax.models.classify import SequenceClassifier as SequenceClassifier
    from lstm_jax.models.classify import classifier_loss as classifier_loss
    from lstm_jax.models.forecast import ForecastModel as ForecastModel
    from lstm_jax.models.forecast import build_ensemble as build_ensemble
    from lstm_jax.models.forecast import forecast_loss as forecast_loss
    from lstm_jax.models.forecast import pinball as pinball
    from lstm_jax.models.language import LanguageModel as LanguageModel
    from lstm_jax.models.language import language_loss as language_loss
    from lstm_jax.models.mogrifier import MogrifierModel as MogrifierModel
    from lstm_jax.models.transcribe import Transcriber as Transcriber
    from lstm_jax.models.transcribe import transcribe_loss as transcribe_loss
    from lstm_jax.models.translate import Translator as Translator
    from lstm_jax.models.translate import build_translator as build_translator
    from lstm_jax.models.translate import translation_loss as translation_loss
    from lstm_jax.mogrifier import MogrifierParams as MogrifierParams
    from lstm_jax.mogrifier import mogrifier_lstm as mogrifier_lstm
    from lstm_jax.mogrifier import mogrifier_step as mogrifier_step
    from lstm_jax.ngrams import witten_bell as witten_bell
    from lstm_jax.plots import new_figure as new_figure
    from lstm_jax.plots_confusion import draw_confusion as draw_confusion
    from lstm_jax.presets import preset as preset
    from lstm_jax.products import rounded_products as rounded_products
    from lstm_jax.programs import Programs as Programs
    from lstm_jax.recurrence import lstm as lstm
    from lstm_jax.regularize import LoopMasks as LoopMasks
    from lstm_jax.regularize import drop_connect as drop_connect
    from lstm_jax.regularize import dropout as dropout
    from lstm_jax.regularize import loop_masks as loop_masks
    from lstm_jax.runner import Trained as Trained
    from lstm_jax.runner import train_model as train_model
    from lstm_jax.sampling import Sampling as Sampling
    from lstm_jax.schedule import Plan as Plan
    from lstm_jax.signals import Interrupted as Interrupted
    from lstm_jax.signals import Stop as Stop
    from lstm_jax.signals import interruptible as interruptible
    from lstm_jax.sizing import worth_spreading as worth_spreading
    from lstm_jax.speech.audio import Sound as Sound
    from lstm_jax.speech.audio import decode_wav as decode_wav
    from lstm_jax.speech.audio import loud_pieces as loud_pieces
    from lstm_jax.speech.audio import read_wav as read_wav
    from lstm_jax.speech.audio import resample as resample
    from lstm_jax.speech.audio import wav_files as wav_files
    from lstm_jax.speech.audio import without_silence as without_silence
    from lstm_jax.speech.augment import Variation as Variation
    from lstm_jax.speech.augment import change_speed as change_speed
    from lstm_jax.speech.augment import coloured_noise as coloured_noise
    from lstm_jax.speech.augment import join_sounds as join_sounds
    from lstm_jax.speech.augment import mask as mask
    from lstm_jax.speech.augment import varied_frames as varied_frames
    from lstm_jax.speech.augment import vary_speed as vary_speed
    from lstm_jax.speech.augment import with_noise as with_noise
    from lstm_jax.speech.ctc import Hypothesis as Hypothesis
    from lstm_jax.speech.ctc import greedy_decode as greedy_decode
    from lstm_jax.speech.ctc import prefix_beam_search as prefix_beam_search
    from lstm_jax.speech.edits import Edits as Edits
    from lstm_jax.speech.edits import count_all_edits as count_all_edits
    from lstm_jax.speech.edits import count_edits as count_edits
    from lstm_jax.speech.mel import Ear as Ear
    from lstm_jax.speech.mel import MelBands as MelBands
    from lstm_jax.speech.mel import log_mel as log_mel
    from lstm_jax.speech.mel import mel_filters as mel_filters
    from lstm_jax.speech.mel import pad_frames as pad_frames
    from lstm_jax.speech.mel import stack_frames as stack_frames
    from lstm_jax.speech.picture import draw_transcript as draw_transcript
    from lstm_jax.speech.recognize import score_classes as score_classes
    from lstm_jax.speech.recognize import score_frames as score_frames
    from lstm_jax.speech.templates import Templates as Templates
    from lstm_jax.speech.templates import make_templates as make_templates
    from lstm_jax.step import TrainState as TrainState
    from lstm_jax.step import init_state as init_state
    from lstm_jax.step import make_optimizer as make_optimizer
    from lstm_jax.step import running_average as running_average
    from lstm_jax.step import train_step as train_step
    from lstm_jax.step import train_steps as train_steps
    from lstm_jax.text import TextModel as TextModel
    from lstm_jax.text import evaluate_text as evaluate_text
    from lstm_jax.text import fit_text as fit_text
    from lstm_jax.text import load as load
    from lstm_jax.text import save as save
    from lstm_jax.translation.lexicon import learn_lexicon as learn_lexicon
    from lstm_jax.translation.lexicon import translate_by_words as translate_by_words
    from lstm_jax.translation.pairs import Examples as Examples
    from lstm_jax.translation.pairs import encode_pairs as encode_pairs
    from lstm_jax.translation.pairs import translation_task as translation_task
    from lstm_jax.translation.parallel import ParallelParts as ParallelParts
    from lstm_jax.translation.parallel import part_files as part_files
    from lstm_jax.translation.parallel import read_parts as read_parts
    from lstm_jax.translation.parallel import split_pairs as split_pairs
    from lstm_jax.translation.picture import draw_attention as draw_attention
    from lstm_jax.translation.subwords import Subwords as Subwords
    from lstm_jax.translation.subwords import learn_subwords as learn_subwords
    from lstm_jax.translation.translate import Search as Search
    from lstm_jax.translation.translate import TextTranslator as TextTranslator
    from lstm_jax.translation.translate import attention_of as attention_of
    from lstm_jax.translation.translate import load_translator as load_translator
    from lstm_jax.translation.translate import save_translator as save_translator
    from lstm_jax.translation.translate import translate as translate
    from lstm_jax.validation import CrossValidation as CrossValidation
    from lstm_jax.validation import FoldOutcome as FoldOutcome
    from lstm_jax.validation import cross_validate as cross_validate
    from lstm_jax.validation import fold_table as fold_table

__version__ = "0.1.0"

_ROOMS = {
    "folds": ("Fold", "block_folds", "shuffled_folds", "stratified_folds"),
    "validation": ("CrossValidation", "FoldOutcome", "cross_validate", "fold_table"),
    "cell": ("LSTMParams", "LSTMState", "init_lstm", "lstm_step"),
    "regularize": ("LoopMasks", "drop_connect", "dropout", "loop_masks"),
    "data": ("lane_batch", "read_text"),
    "presets": ("preset",),
    "products": ("rounded_products",),
    "sizing": ("worth_spreading",),
    "ngrams": ("witten_bell",),
    "dynamic": ("Adaptation", "dynamic_measures"),
    "dispatch": ("EngineChoice", "as_if_on", "explain_engine"),
    "recurrence": ("lstm",),
    "layers": ("LSTM", "Bidirectional", "StackedLSTM"),
    "models.language": ("LanguageModel", "language_loss"),
    "models.mogrifier": ("MogrifierModel",),
    "mogrifier": ("MogrifierParams", "mogrifier_lstm", "mogrifier_step"),
    "step": (
        "TrainState",
        "init_state",
        "make_optimizer",
        "running_average",
        "train_step",
        "train_steps",
    ),
    "devices": (
        "keep_programs",
        "replicate",
        "row_mesh",
        "show_cores",
        "spread",
        "spread_batch",
    ),
    "beam": ("Beams", "beam_search", "greedy_search"),
    "sampling": ("Sampling",),
    "decode": (
        "Snapshot",
        "branch",
        "continue_from",
        "generate_ids",
        "read_prompt",
        "row_keys",
        "sample_keys",
    ),
    "likelihood": ("score_ids", "search_ids"),
    "continuation": ("generate_text", "score_text", "search_text"),
    "signals": ("Interrupted", "Stop", "interruptible"),
    "config": (
        "DataConfig",
        "ModelConfig",
        "OptimizerConfig",
        "RegularizerConfig",
        "RunConfig",
        "TrainConfig",
        "check_flags",
    ),
    "text": (
        "TextModel",
        "evaluate_text",
        "fit_text",
        "load",
        "save",
    ),
    "artifacts": (
        "DataFile",
        "Result",
        "describe_file",
        "load_model",
        "load_settings",
        "new_experiment",
        "read_result",
        "save_model",
        "write_result",
    ),
    "runner": ("Trained", "train_model"),
    "fit": ("Task",),
    "schedule": ("Plan",),
    "programs": ("Programs",),
    "losses": ("Sums", "cross_entropy"),
    "errors": ("InputError",),
    "cli": ("command_line", "flags_of", "run_command", "run_experiment"),
    "plots": ("new_figure",),
    "attention": ("attend",),
    "speech.audio": (
        "Sound",
        "decode_wav",
        "loud_pieces",
        "read_wav",
        "resample",
        "wav_files",
        "without_silence",
    ),
    "speech.mel": (
        "Ear",
        "MelBands",
        "log_mel",
        "mel_filters",
        "pad_frames",
        "stack_frames",
    ),
    "speech.augment": (
        "Variation",
        "change_speed",
        "coloured_noise",
        "join_sounds",
        "mask",
        "varied_frames",
        "vary_speed",
        "with_noise",
    ),
    "speech.templates": (
        "Templates",
        "make_templates",
    ),
    "speech.ctc": (
        "Hypothesis",
        "greedy_decode",
        "prefix_beam_search",
    ),
    "speech.edits": (
        "Edits",
        "count_all_edits",
        "count_edits",
    ),
    "models.transcribe": (
        "Transcriber",
        "transcribe_loss",
    ),
    "speech.recognize": (
        "score_classes",
        "score_frames",
    ),
    "speech.picture": ("draw_transcript",),
    "classification.bayes": ("NaiveBayes", "fit_naive_bayes", "with_pairs"),
    "bounded": ("bounded_jit", "take_turns"),
    "buckets": ("Bucket", "BucketedBatches", "make_buckets"),
    "translation.lexicon": ("learn_lexicon", "translate_by_words"),
    "models.translate": ("Translator", "build_translator", "translation_loss"),
    "translation.parallel": (
        "ParallelParts",
        "part_files",
        "read_parts",
        "split_pairs",
    ),
    "translation.picture": ("draw_attention",),
    "translation.pairs": ("Examples", "encode_pairs", "translation_task"),
    "translation.subwords": ("Subwords", "learn_subwords"),
    "translation.translate": (
        "Search",
        "TextTranslator",
        "attention_of",
        "load_translator",
        "save_translator",
        "translate",
    ),
    "forecasting.series": (
        "Frame",
        "Panel",
        "all_positive",
        "check_frame",
        "hold_out",
        "load_frame",
        "need_points",
        "scale_series",
    ),
    "forecasting.series_csv": (
        "read_series",
        "write_forecasts",
    ),
    "forecasting.baselines": (
        "baseline_scores",
        "naive2",
        "rolling_baseline",
        "seasonal_naive",
    ),
    "forecasting.scores": (
        "IntervalScores",
        "PointScores",
        "score_intervals",
        "score_points",
    ),
    "models.forecast": (
        "ForecastModel",
        "build_ensemble",
        "forecast_loss",
        "pinball",
    ),
    "forecasting.forecast": (
        "forecast",
        "forecast_task",
        "rolling_forecast",
    ),
    "forecasting.picture": ("draw_forecasts",),
    "classification.texts": (
        "TextClassifier",
        "class_chances",
        "classifier_programs",
        "load_classifier",
        "save_classifier",
        "train_classifier",
    ),
    "ensemble": ("average_members", "ensemble_loss", "members_of", "stack_members"),
    "classification.labelled": ("Labelled", "padded_batch", "read_labelled"),
    "metrics": ("ClassCounts", "ClassReport", "Confusion", "class_report", "confusion"),
    "models.classify": ("SequenceClassifier", "classifier_loss"),
    "plots_confusion": ("draw_confusion",),
    "classification.recipe": ("Recipe", "check_recipe"),
    "classification.words": ("Words", "common_words", "tokens"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = sorted(_ROOM_OF)


def __getattr__(name: str) -> object:
    """Import the room a public name lives in, the first time it is asked for."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'lstm_jax' has no attribute {name!r}")
    value = getattr(import_module(f"lstm_jax.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_ROOM_OF]
