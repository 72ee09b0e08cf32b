"""A network and its loss, a file per family. Arrays in, logits out."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.models.classifier import SequenceClassifier as SequenceClassifier
    from lstm_jax.models.classifier import classifier_loss as classifier_loss
    from lstm_jax.models.ctc import CTCModel as CTCModel
    from lstm_jax.models.ctc import ctc_loss as ctc_loss
    from lstm_jax.models.density import DensityModel as DensityModel
    from lstm_jax.models.density import LogisticMixture as LogisticMixture
    from lstm_jax.models.density import density_loss as density_loss
    from lstm_jax.models.event import EventModel as EventModel
    from lstm_jax.models.event import event_loss as event_loss
    from lstm_jax.models.forecaster import ForecastModel as ForecastModel
    from lstm_jax.models.forecaster import build_ensemble as build_ensemble
    from lstm_jax.models.forecaster import each_forecast as each_forecast
    from lstm_jax.models.forecaster import forecast_loss as forecast_loss
    from lstm_jax.models.forecaster import pinball as pinball
    from lstm_jax.models.frames import FrameModel as FrameModel
    from lstm_jax.models.frames import frame_loss as frame_loss
    from lstm_jax.models.keyboard import KeyboardModel as KeyboardModel
    from lstm_jax.models.language import LanguageModel as LanguageModel
    from lstm_jax.models.language import language_loss as language_loss
    from lstm_jax.models.multilabel import MultiLabelModel as MultiLabelModel
    from lstm_jax.models.multilabel import multilabel_loss as multilabel_loss
    from lstm_jax.models.ragged import score_classes as score_classes
    from lstm_jax.models.ragged import score_frames as score_frames
    from lstm_jax.models.saved import ModelSpec as ModelSpec
    from lstm_jax.models.saved import SavedModel as SavedModel
    from lstm_jax.models.saved import load_model as load_model
    from lstm_jax.models.saved import save_model as save_model
    from lstm_jax.models.saved import write_spec as write_spec
    from lstm_jax.models.seq2seq import DecoderStates as DecoderStates
    from lstm_jax.models.seq2seq import Seq2Seq as Seq2Seq
    from lstm_jax.models.seq2seq import build_seq2seq as build_seq2seq
    from lstm_jax.models.seq2seq import seq2seq_loss as seq2seq_loss
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
