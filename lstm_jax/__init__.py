"""Long short-term memory networks in JAX.

The public names, fetched when first asked for: importing the package costs nothing, so
`--help` answers without waiting for JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lstm_jax.artifacts import Result as Result
    from lstm_jax.artifacts import load_model as load_model
    from lstm_jax.artifacts import load_settings as load_settings
    from lstm_jax.artifacts import make_run_dir as make_run_dir
    from lstm_jax.artifacts import read_result as read_result
    from lstm_jax.artifacts import save_model as save_model
    from lstm_jax.artifacts import write_result as write_result
    from lstm_jax.baselines import baseline_scores as baseline_scores
    from lstm_jax.baselines import naive2 as naive2
    from lstm_jax.baselines import rolling_baseline as rolling_baseline
    from lstm_jax.baselines import seasonal_naive as seasonal_naive
    from lstm_jax.beam import Beams as Beams
    from lstm_jax.beam import beam_search as beam_search
    from lstm_jax.cell import LSTMParams as LSTMParams
    from lstm_jax.cell import LSTMState as LSTMState
    from lstm_jax.cell import init_lstm as init_lstm
    from lstm_jax.cell import lstm_step as lstm_step
    from lstm_jax.cli import run_command as run_command
    from lstm_jax.cli import run_experiment as run_experiment
    from lstm_jax.config import DataConfig as DataConfig
    from lstm_jax.config import ModelConfig as ModelConfig
    from lstm_jax.config import OptimizerConfig as OptimizerConfig
    from lstm_jax.config import RegularizerConfig as RegularizerConfig
    from lstm_jax.config import RunConfig as RunConfig
    from lstm_jax.config import TrainConfig as TrainConfig
    from lstm_jax.continuation import generate_text as generate_text
    from lstm_jax.continuation import score_text as score_text
    from lstm_jax.continuation import search_text as search_text
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
    from lstm_jax.dispatch import explain_engine as explain_engine
    from lstm_jax.errors import InputError as InputError
    from lstm_jax.fit import Task as Task
    from lstm_jax.forecast_scores import IntervalScores as IntervalScores
    from lstm_jax.forecast_scores import PointScores as PointScores
    from lstm_jax.forecast_scores import score_intervals as score_intervals
    from lstm_jax.forecast_scores import score_points as score_points
    from lstm_jax.forecasting import forecast as forecast
    from lstm_jax.forecasting import forecast_task as forecast_task
    from lstm_jax.forecasting import rolling_forecast as rolling_forecast
    from lstm_jax.layers import LSTM as LSTM
    from lstm_jax.layers import Bidirectional as Bidirectional
    from lstm_jax.layers import StackedLSTM as StackedLSTM
    from lstm_jax.likelihood import score_ids as score_ids
    from lstm_jax.likelihood import search_ids as search_ids
    from lstm_jax.losses import Sums as Sums
    from lstm_jax.losses import cross_entropy as cross_entropy
    from lstm_jax.models.forecast import ForecastModel as ForecastModel
    from lstm_jax.models.forecast import build_ensemble as build_ensemble
    from lstm_jax.models.forecast import forecast_loss as forecast_loss
    from lstm_jax.models.forecast import pinball as pinball
    from lstm_jax.models.language import LanguageModel as LanguageModel
    from lstm_jax.models.language import language_loss as language_loss
    from lstm_jax.plots import new_figure as new_figure
    from lstm_jax.plots_forecast import draw_forecasts as draw_forecasts
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
    from lstm_jax.series import Frame as Frame
    from lstm_jax.series import Panel as Panel
    from lstm_jax.series import all_positive as all_positive
    from lstm_jax.series import check_frame as check_frame
    from lstm_jax.series import hold_out as hold_out
    from lstm_jax.series import load_frame as load_frame
    from lstm_jax.series import need_points as need_points
    from lstm_jax.series import scale_series as scale_series
    from lstm_jax.series_csv import read_series as read_series
    from lstm_jax.series_csv import write_forecasts as write_forecasts
    from lstm_jax.step import TrainState as TrainState
    from lstm_jax.step import init_state as init_state
    from lstm_jax.step import make_optimizer as make_optimizer
    from lstm_jax.step import train_step as train_step
    from lstm_jax.step import train_steps as train_steps
    from lstm_jax.text import TextModel as TextModel
    from lstm_jax.text import evaluate_text as evaluate_text
    from lstm_jax.text import fit_text as fit_text
    from lstm_jax.text import load as load
    from lstm_jax.text import save as save

__version__ = "0.1.0"

_ROOMS = {
    "cell": ("LSTMParams", "LSTMState", "init_lstm", "lstm_step"),
    "regularize": ("LoopMasks", "drop_connect", "dropout", "loop_masks"),
    "dispatch": ("EngineChoice", "explain_engine"),
    "recurrence": ("lstm",),
    "layers": ("LSTM", "Bidirectional", "StackedLSTM"),
    "models.language": ("LanguageModel", "language_loss"),
    "step": ("TrainState", "init_state", "make_optimizer", "train_step", "train_steps"),
    "devices": (
        "keep_programs",
        "replicate",
        "row_mesh",
        "show_cores",
        "spread",
        "spread_batch",
    ),
    "beam": ("Beams", "beam_search"),
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
    "config": (
        "DataConfig",
        "ModelConfig",
        "OptimizerConfig",
        "RegularizerConfig",
        "RunConfig",
        "TrainConfig",
    ),
    "text": (
        "TextModel",
        "evaluate_text",
        "fit_text",
        "load",
        "save",
    ),
    "artifacts": (
        "Result",
        "load_model",
        "load_settings",
        "make_run_dir",
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
    "cli": ("run_command", "run_experiment"),
    "plots": ("new_figure",),
    "series": (
        "Frame",
        "Panel",
        "all_positive",
        "check_frame",
        "hold_out",
        "load_frame",
        "need_points",
        "scale_series",
    ),
    "series_csv": (
        "read_series",
        "write_forecasts",
    ),
    "baselines": (
        "baseline_scores",
        "naive2",
        "rolling_baseline",
        "seasonal_naive",
    ),
    "forecast_scores": (
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
    "forecasting": (
        "forecast",
        "forecast_task",
        "rolling_forecast",
    ),
    "plots_forecast": ("draw_forecasts",),
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
