"""The text generator: what the five commands call."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.config import RunConfig as RunConfig
    from lstm_jax.lm.claim import Claim as Claim
    from lstm_jax.lm.config import DataConfig as DataConfig
    from lstm_jax.lm.config import ModelConfig as ModelConfig
    from lstm_jax.lm.config import OptimizerConfig as OptimizerConfig
    from lstm_jax.lm.config import TrainConfig as TrainConfig
    from lstm_jax.lm.cross_validation import cross_validate_text as cross_validate_text
    from lstm_jax.lm.dynamic_evaluation import (
        DynamicEvaluationConfig as DynamicEvaluationConfig,
    )
    from lstm_jax.lm.dynamic_evaluation import dynamic_measures as dynamic_measures
    from lstm_jax.lm.generation import generate_text as generate_text
    from lstm_jax.lm.generation import generate_texts as generate_texts
    from lstm_jax.lm.generation import score_text as score_text
    from lstm_jax.lm.generation import search_text as search_text
    from lstm_jax.lm.loading import load as load
    from lstm_jax.lm.loading import load_text as load_text
    from lstm_jax.lm.presets import preset as preset
    from lstm_jax.lm.run_directory import open_run as open_run
    from lstm_jax.lm.text_model import TextModel as TextModel
    from lstm_jax.lm.text_model import evaluate_text as evaluate_text
    from lstm_jax.lm.text_model import load_text_model as load_text_model
    from lstm_jax.lm.text_model import save as save
    from lstm_jax.lm.training import fit_text as fit_text
    from lstm_jax.lm.training import train_text as train_text
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
