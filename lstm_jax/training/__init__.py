"""The one loop: a task in, a trained state and its history out."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.training.callbacks import INTERRUPTED as INTERRUPTED
    from lstm_jax.training.callbacks import Callback as Callback
    from lstm_jax.training.callbacks import EarlyStopping as EarlyStopping
    from lstm_jax.training.compiled import CompiledSteps as CompiledSteps
    from lstm_jax.training.cross_validation import CrossValidation as CrossValidation
    from lstm_jax.training.cross_validation import FoldOutcome as FoldOutcome
    from lstm_jax.training.cross_validation import cross_validate as cross_validate
    from lstm_jax.training.cross_validation import fold_folder as fold_folder
    from lstm_jax.training.cross_validation import fold_table as fold_table
    from lstm_jax.training.ensemble import average_members as average_members
    from lstm_jax.training.ensemble import ensemble_loss as ensemble_loss
    from lstm_jax.training.ensemble import members_of as members_of
    from lstm_jax.training.ensemble import stack_members as stack_members
    from lstm_jax.training.history import HistoryFile as HistoryFile
    from lstm_jax.training.history import HistoryRow as HistoryRow
    from lstm_jax.training.loop import NotFinite as NotFinite
    from lstm_jax.training.loop import Task as Task
    from lstm_jax.training.loop import fit as fit
    from lstm_jax.training.optimizer import make_optimizer as make_optimizer
    from lstm_jax.training.optimizer import params_ema as params_ema
    from lstm_jax.training.precision import with_precision as with_precision
    from lstm_jax.training.schedule import Schedule as Schedule
    from lstm_jax.training.signals import Stop as Stop
    from lstm_jax.training.signals import interruptible as interruptible
    from lstm_jax.training.step import Loss as Loss
    from lstm_jax.training.step import TrainState as TrainState
    from lstm_jax.training.step import init_state as init_state
    from lstm_jax.training.step import train_step as train_step
    from lstm_jax.training.step import train_steps as train_steps
    from lstm_jax.training.trainer import Trained as Trained
    from lstm_jax.training.trainer import train_model as train_model
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
