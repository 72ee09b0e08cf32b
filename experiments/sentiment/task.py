"""From labelled texts to a trained classifier, and from texts to their classes."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from experiments.sentiment.config import Recipe
from experiments.sentiment.data import ROW_AXES, Labelled, padded_batch
from lstm_jax import (
    InputError,
    Plan,
    RegularizerConfig,
    SequenceClassifier,
    Task,
    make_optimizer,
    train_model,
)
from lstm_jax.config import check_bounds, read_section
from lstm_jax.data import (
    BucketedBatches,
    Words,
    common_words,
    length_buckets,
    pick_epoch,
)
from lstm_jax.distributed import bounded_jit
from lstm_jax.models import classifier_loss
from lstm_jax.report import draw_curves
from lstm_jax.storage import load_model, load_settings, save_model
from lstm_jax.training import Programs, average_members, ensemble_loss, stack_members
from lstm_jax.typing import Ids, LabelScores, Lengths, Model, PRNGKey

_LOSS = ensemble_loss(classifier_loss)
_WARMUP = 0.1  # share of the run in which the learning rate rises
_ROWS = 100  # texts classified at a time


@dataclasses.dataclass(frozen=True)
class TextClassifier:
    """What it takes to classify a text: symbols, classes and stacked models."""

    recipe: Recipe
    words: Words
    classes: tuple[str, ...]
    models: Model


def build_classifiers(recipe: Recipe, classes: int) -> Model:
    """The untrained models of a recipe, stacked.

    Their tables have a row for every symbol there may be, used or not, so that models
    of different texts have the same shapes.
    """

    def build(key: PRNGKey) -> SequenceClassifier:
        return SequenceClassifier(
            recipe.features,
            recipe.hidden,
            recipe.layers,
            classes,
            rngs=nnx.Rngs(params=key),
            vocab_size=recipe.symbols,
            dropout=recipe.dropout,
            regularizer=RegularizerConfig(
                input_dropout=recipe.word_dropout,
                label_smoothing=recipe.label_smoothing,
            ),
        )

    return stack_members(build, jax.random.key(recipe.seed), recipe.members)


def classifier_programs(recipe: Recipe) -> Programs:
    """Training programs, which all classifiers of a recipe share."""
    # The ensemble's gradient is that of one member, a member-th of it for each.
    clip_norm = recipe.members**-0.5
    return Programs(_LOSS, make_optimizer(recipe.weight_decay, clip_norm, beta2=0.99))


def train_classifier(
    data: Labelled,
    recipe: Recipe,
    *,
    programs: Programs | None = None,
    max_seconds: float | None = None,
    run_dir: Path | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> TextClassifier:
    """Learn to classify texts, and the table of symbols, from these texts alone.

    Args:
        data: what to learn from.
        recipe: how.
        programs: those of `classifier_programs` that another training has filled.
        max_seconds: end after so long, if the epochs are not over before.
        run_dir: where to leave the curves, if anywhere.
        interrupted: asked now and then; True ends the training early.

    Raises:
        InputError: there is no time for a step, or the loss is no longer a finite
            number.
    """
    words = common_words(data.texts, recipe.level, recipe.symbols)
    sequences = [words.encode(text) for text in data.texts]
    rows = min(recipe.batch, len(sequences))
    picks = BucketedBatches(length_buckets(sequences), rows, recipe.seed)
    task = Task(
        loss=_LOSS,
        batch=lambda n: padded_batch(sequences, data.labels, picks(n)),
        row_axes=ROW_AXES,
        rows=rows,
        steps_per_epoch=picks.steps_per_epoch,
        symbols_per_step=sum(map(len, sequences)) // picks.steps_per_epoch,
    )
    steps = recipe.epochs * picks.steps_per_epoch
    trained = train_model(
        task,
        bounded_jit(build_classifiers, static_argnums=(0, 1))(
            recipe, len(data.classes)
        ),
        Plan(steps, max_seconds, recipe.learning_rate, _WARMUP, final_rate=0.0),
        programs or classifier_programs(recipe),
        seed=recipe.seed,
        evaluations=0,
        run_dir=run_dir,
        interrupted=interrupted,
    )
    if run_dir:
        draw_curves(trained.lines, run_dir / "curves.png", "nats per text")
    return TextClassifier(recipe, words, data.classes, trained.model)


def class_chances(
    classifier: TextClassifier, texts: Sequence[str]
) -> NDArray[np.float32]:
    """The probability of every class for each text, [N, classes].

    They do not depend on which texts are classified together.
    """
    sequences = [classifier.words.encode(text) for text in texts]
    nothing = np.zeros(len(texts), int)
    chances = np.zeros((len(texts), len(classifier.classes)), np.float32)
    if not texts:
        return chances
    rows = min(_ROWS, len(texts))
    models = jax.device_put(classifier.models)
    for picked in pick_epoch(length_buckets(sequences), rows, seed=0, epoch=0):
        batch = padded_batch(sequences, nothing, picked)
        logs = np.asarray(_scores(models, batch["inputs"], batch["lengths"]))
        real = picked.rows >= 0
        chances[picked.rows[real]] = np.exp(logs[real])
    return chances


@bounded_jit
def _scores(models: Model, inputs: Ids, lengths: Lengths) -> LabelScores:
    return average_members(jax.vmap(lambda model: model(inputs, lengths))(models))


def save_classifier(run_dir: Path, classifier: TextClassifier) -> None:
    """Keep a classifier: `model.npz` and `settings.json`."""
    settings = {
        "recipe": dataclasses.asdict(classifier.recipe),
        "classes": classifier.classes,
        "symbols": classifier.words.symbols,
    }
    save_model(run_dir, classifier.models, settings)


def load_classifier(run_dir: Path) -> TextClassifier:
    """The classifier that `save_classifier` kept.

    Raises:
        InputError: there is none, or it is damaged.
    """
    settings = load_settings(run_dir)
    try:
        recipe = read_section(Recipe, settings["recipe"], "recipe")
        check_bounds(recipe)
        classes, symbols = tuple(settings["classes"]), tuple(settings["symbols"])
    except (InputError, KeyError, TypeError) as error:
        raise InputError(
            f"{run_dir}: expected the settings of a classifier, found: {error!r}"
        ) from None
    like = jax.eval_shape(lambda: build_classifiers(recipe, len(classes)))
    models = load_model(run_dir, like)
    return TextClassifier(recipe, Words(recipe.level, symbols), classes, models)
