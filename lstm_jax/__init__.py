"""Long short-term memory networks in JAX.

What most programs need is here; the packages have the rest. All of it is fetched when
first asked for: importing the package costs nothing, so `--help` answers without
waiting for JAX.
"""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax import cells as cells
    from lstm_jax import data as data
    from lstm_jax import decoding as decoding
    from lstm_jax import distributed as distributed
    from lstm_jax import engines as engines
    from lstm_jax import interop as interop
    from lstm_jax import lm as lm
    from lstm_jax import metrics as metrics
    from lstm_jax import models as models
    from lstm_jax import nn as nn
    from lstm_jax import ops as ops
    from lstm_jax import report as report
    from lstm_jax import storage as storage
    from lstm_jax import training as training
    from lstm_jax.cells.lstm import LSTMParams as LSTMParams
    from lstm_jax.cells.lstm import LSTMState as LSTMState
    from lstm_jax.cells.lstm import init_lstm as init_lstm
    from lstm_jax.cells.lstm import lstm_step as lstm_step
    from lstm_jax.config import RegularizerConfig as RegularizerConfig
    from lstm_jax.config import RunConfig as RunConfig
    from lstm_jax.decoding.autoregressive import generate_ids as generate_ids
    from lstm_jax.decoding.beam import beam_search as beam_search
    from lstm_jax.decoding.beam import greedy_search as greedy_search
    from lstm_jax.decoding.config import SamplingConfig as SamplingConfig
    from lstm_jax.decoding.likelihood import score_ids as score_ids
    from lstm_jax.engines.dispatch import explain_engine as explain_engine
    from lstm_jax.errors import InputError as InputError
    from lstm_jax.lm.config import DataConfig as DataConfig
    from lstm_jax.lm.config import ModelConfig as ModelConfig
    from lstm_jax.lm.config import OptimizerConfig as OptimizerConfig
    from lstm_jax.lm.config import TrainConfig as TrainConfig
    from lstm_jax.lm.generation import generate_text as generate_text
    from lstm_jax.lm.loading import load as load
    from lstm_jax.lm.presets import preset as preset
    from lstm_jax.lm.text_model import TextModel as TextModel
    from lstm_jax.lm.text_model import evaluate_text as evaluate_text
    from lstm_jax.lm.text_model import save as save
    from lstm_jax.lm.training import fit_text as fit_text
    from lstm_jax.models.classifier import SequenceClassifier as SequenceClassifier
    from lstm_jax.models.ctc import CTCModel as CTCModel
    from lstm_jax.models.forecaster import ForecastModel as ForecastModel
    from lstm_jax.models.language import LanguageModel as LanguageModel
    from lstm_jax.models.seq2seq import Seq2Seq as Seq2Seq
    from lstm_jax.nn.layers import LSTM as LSTM
    from lstm_jax.nn.layers import Bidirectional as Bidirectional
    from lstm_jax.nn.layers import StackedLSTM as StackedLSTM
    from lstm_jax.nn.recurrence import lstm as lstm
    from lstm_jax.nn.recurrence import unroll as unroll
    from lstm_jax.training.loop import Task as Task
    from lstm_jax.training.optimizer import make_optimizer as make_optimizer
    from lstm_jax.training.schedule import Schedule as Schedule
    from lstm_jax.training.step import TrainState as TrainState
    from lstm_jax.training.step import init_state as init_state
    from lstm_jax.training.step import train_step as train_step
    from lstm_jax.training.step import train_steps as train_steps
    from lstm_jax.training.trainer import train_model as train_model
else:
    __getattr__, __dir__, __all__ = lazy(__name__)

__version__ = "0.1.0"
