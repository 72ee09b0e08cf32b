"""The language model as a task: what a configuration and a text make of the loop.

The pieces a run is built from: model, optimizer, first state, batches, plan. `set_up`
makes them once, and everything that trains or tells of a run is handed its `Setup`.
"""

import dataclasses

import numpy as np
import optax
from flax import nnx

from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.named import as_cell
from lstm_jax.cells.protocol import Cell
from lstm_jax.data.bptt import steps_per_epoch, tbptt_batch
from lstm_jax.data.text import Corpus
from lstm_jax.data.tokenizers.vocabulary import Vocabulary, symbols_of
from lstm_jax.distributed.host import multiplies_bfloat16
from lstm_jax.distributed.mesh import row_mesh
from lstm_jax.engines.dispatch import EngineChoice, explain_engine
from lstm_jax.errors import InputError
from lstm_jax.lm.config import ModelConfig, TrainConfig
from lstm_jax.lm.evaluation import WINDOW, window256
from lstm_jax.lm.sizing import DEFAULT_EPOCHS
from lstm_jax.models.language import LanguageModel, language_loss
from lstm_jax.ops.matmul import rounded_products
from lstm_jax.ops.seeds import seed_key
from lstm_jax.training.loop import Task
from lstm_jax.training.optimizer import make_optimizer
from lstm_jax.training.schedule import Schedule
from lstm_jax.training.step import Loss, TrainState, init_state

_VALIDATION_WINDOWS = 128  # while training; afterwards all of them count


def cell_of(model: ModelConfig) -> Cell:
    """The cell of every layer."""
    if model.mogrifier or model.capped_gate:
        return MogrifierCell(rounds=model.mogrifier, capped=model.capped_gate)
    return as_cell(model.cell)


def engine_of(config: TrainConfig) -> EngineChoice:
    """The engine a run's model is run by on this machine, and why.

    Raises:
        InputError: the one asked for by name can't run it here.
    """
    assert config.model.hidden is not None, "fit_to has been called"
    cell = cell_of(config.model)
    try:
        return explain_engine(
            config.model.engine,
            steps=config.optimizer.length,
            rows=config.optimizer.batch,
            hidden=config.model.hidden,
            dtype=config.model.dtype,
            inputs=config.model.tie_embedding or not cell.projects,
            masks=config.regularizer.in_loop,
            cell=cell,
        )
    except ValueError as error:
        raise InputError(f"--engine: {error}") from None


def check_machine(config: TrainConfig) -> None:
    """Refuse a run that this machine can't do, before anything is written for it.

    Args:
        config: its settings, which have been through `fit_to`.

    Raises:
        InputError: the engine can't run here, or there are no such devices.
    """
    engine_of(config)
    row_mesh(config.optimizer.batch, config.run.devices)


def build_model(config: TrainConfig, vocab: Vocabulary) -> LanguageModel:
    """The untrained model of a run, whose settings have been through `fit_to`."""
    model = config.model
    assert model.hidden is not None and model.dropout is not None
    return LanguageModel(
        len(vocab),
        model.hidden,
        model.layers,
        rngs=nnx.Rngs(seed_key(config.run.seed)),
        dropout=model.dropout,
        dtype=model.dtype,
        engine=model.engine,
        remat=model.remat,
        regularizer=config.regularizer,
        top_only=model.top_only,
        tie_embedding=model.tie_embedding,
        cell=cell_of(model),
    )


def first_state(
    config: TrainConfig, vocab: Vocabulary, start: LanguageModel | None = None
) -> TrainState:
    """The state of a run before its first step, with a new model or with `start`."""
    model = build_model(config, vocab) if start is None else start
    carry = model.initial_state(config.optimizer.batch)
    key = seed_key(config.run.seed)
    return init_state(model, build_optimizer(config), carry, key)


def build_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """The optimizer of a run."""
    chosen = config.optimizer
    return make_optimizer(
        chosen.weight_decay, chosen.clip_norm, chosen.beta2, chosen.ema
    )


def loss_of(config: TrainConfig) -> Loss:
    """What the optimizer of a run sees; validations have `language_loss` itself."""
    return (
        rounded_products(language_loss) if multiplies_rounded(config) else language_loss
    )


def multiplies_rounded(config: TrainConfig) -> bool:
    """Whether training rounds the factors of products: asked for, and faster here."""
    return config.model.precision == "mixed" and multiplies_bfloat16()


@dataclasses.dataclass(frozen=True)
class Setup:
    """All that a run is made of, made once.

    Attributes:
        config: the resolved settings.
        corpus: what is learned from.
        vocab: its vocabulary.
        task: batches and validation.
        schedule: when the run ends, and the learning rate until then.
        optimizer: the optax chain.
        engine: what runs the recurrence, and why.
        start: the model to begin with; None for a new one.
    """

    config: TrainConfig
    corpus: Corpus
    vocab: Vocabulary
    task: Task
    schedule: Schedule
    optimizer: optax.GradientTransformation
    engine: EngineChoice
    start: LanguageModel | None = None

    def first_state(self) -> TrainState:
        """Make the state before the first step."""
        return first_state(self.config, self.vocab, self.start)


def set_up(
    config: TrainConfig,
    corpus: Corpus,
    vocab: Vocabulary,
    start: LanguageModel | None = None,
) -> Setup:
    """Make what a run is made of.

    Args:
        config: the settings, which have been through `fit_to`.
        corpus: what to learn from.
        vocab: its vocabulary.
        start: the model to begin with; None for a new one.

    Raises:
        InputError: the engine asked for by name can't run here.
    """
    engine = engine_of(config)
    task = dataclasses.replace(text_task(config, corpus), items=symbols_of(vocab))
    schedule = schedule_of(config, task.steps_per_epoch)
    optimizer = build_optimizer(config)
    return Setup(config, corpus, vocab, task, schedule, optimizer, engine, start)


def text_task(config: TrainConfig, corpus: Corpus) -> Task:
    """Learning to predict the next symbol of a corpus."""
    batch, length = config.optimizer.batch, config.optimizer.length

    def segment_batch(n: int, rows: slice = slice(None)) -> dict[str, np.ndarray]:
        return tbptt_batch(
            corpus.train,
            n,
            batch=batch,
            length=length,
            seed=config.run.seed,
            reset_probability=config.optimizer.reset_probability,
            rows=rows,
            seam=corpus.seam,
        )

    # As many windows of the training text as of what was held out, spread over it.
    held_out = -(-(len(corpus.validation) - 1) // WINDOW)
    limit = min(_VALIDATION_WINDOWS, held_out)
    validated = corpus.has_validation
    return Task(
        loss=loss_of(config),
        batch=segment_batch,
        batch_rows=segment_batch,
        rows=batch,
        steps_per_epoch=steps_per_epoch(corpus.train_size, batch, length),
        items_per_step=batch * length,
        evaluate=(lambda model: window256(model, corpus.validation, limit))
        if validated
        else None,
        evaluate_training=(lambda model: window256(model, corpus.train, limit))
        if validated
        else None,
    )


def schedule_of(config: TrainConfig, epoch_steps: int) -> Schedule:
    """When a run ends."""
    epochs, seconds = config.run.epochs, config.run.max_seconds
    if epochs is None and seconds is None:  # as runs were kept at first
        epochs = DEFAULT_EPOCHS
    return Schedule(
        total_steps=None if epochs is None else epochs * epoch_steps,
        max_seconds=seconds,
        peak=config.optimizer.learning_rate,
        warmup=config.optimizer.warmup,
        final_rate=config.optimizer.final_rate,
    )
