"""From labelled texts to a trained classifier, and from texts to their classes."""

import dataclasses
import functools
import operator
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.sentiment.baseline import (
    NaiveBayes,
    Terms,
    fit_naive_bayes,
    load_naive_bayes,
    with_pairs,
)
from experiments.sentiment.config import ClassifierConfig
from experiments.sentiment.data import LabelledTexts, Sequences, padded_batch
from experiments.sentiment.ngrams import (
    NgramModel,
    fit_ngrams,
    load_ngrams,
    ngrams_of,
    ratios_along,
)
from experiments.sentiment.ratios import (
    ClassRatios,
    count_classes,
    load_ratios,
)
from experiments.training import train_network
from lstm_jax import InputError, Task, make_optimizer
from lstm_jax.config import Precision, RegularizerConfig, RunConfig
from lstm_jax.data import (
    BucketedBatches,
    Picked,
    WordTokenizer,
    common_words,
    length_buckets,
    load_tokenizer,
    pick_epoch,
    save_tokenizer,
    tokens,
)
from lstm_jax.distributed import bounded_jit, is_primary
from lstm_jax.metrics import LossSums
from lstm_jax.models import ModelSpec, SavedModel, classifier_loss, load_model
from lstm_jax.training import (
    Callback,
    CompiledSteps,
    Trained,
    average_members,
    ensemble_loss,
    with_precision,
)
from lstm_jax.typing import BatchIds, LabelLogits, Lengths, Model, SideFeatures

_LOSS = ensemble_loss(classifier_loss)
# The parts of a classifier, and all of them together.
TOGETHER, NETWORKS, BAYES, NGRAMS = "together", "networks", "bayes", "ngrams"
_ROWS = 100  # texts classified at a time
_SHORTEST = 8  # steps that a shorter text is padded to
_NAME, _TOKENIZER = "sentiment", "tokenizer.json"
_BAYES_FILE, _RATIOS_FILE, _NGRAMS_FILE = "bayes.json", "ratios.json", "ngrams.json"


@dataclasses.dataclass(frozen=True)
class TextClassifier:
    """What it takes to classify a text: symbols, classes and stacked models.

    Attributes:
        words: the table of symbols.
        classes: their names.
        models: the networks, stacked.
        bayes: what has a say beside them.
        weight: of `bayes` in the log-probabilities.
        ratios: what the networks are told of every word, if anything.
        ngrams: a linear model that has a say, too.
        ngram_weight: of `ngrams` in the log-probabilities.
    """

    words: WordTokenizer
    classes: tuple[str, ...]
    models: Model
    bayes: NaiveBayes | None = None
    weight: float = 0.0
    ratios: ClassRatios | None = None
    ngrams: NgramModel | None = None
    ngram_weight: float = 0.0


def classifier_spec(recipe: ClassifierConfig, classes: int) -> ModelSpec:
    """Describe the models of a recipe, stacked.

    Their tables have a row for every symbol there may be, used or not, so that models
    of different texts have the same shapes.
    """
    arguments = {
        "features": recipe.features,
        "hidden_size": recipe.hidden,
        "num_layers": recipe.layers,
        "cell": recipe.cell,
        "classes": classes,
        "vocab_size": recipe.symbols,
        "dropout": recipe.dropout,
        "regularizer": RegularizerConfig(
            input_dropout=recipe.word_dropout, label_smoothing=recipe.label_smoothing
        ),
        **({"side_features": 3 * classes} if recipe.ratios else {}),
    }
    return ModelSpec("classifier", arguments, recipe.members)


def classifier_steps(
    recipe: ClassifierConfig, precision: Precision | None = None
) -> CompiledSteps:
    """Training programs, which all classifiers of a recipe share."""
    # The ensemble's gradient is that of one member, a member-th of it for each.
    clip_norm = recipe.members**-0.5
    optimizer = make_optimizer(recipe.weight_decay, clip_norm, beta2=0.99)
    return CompiledSteps(with_precision(_LOSS, precision), optimizer)


def classifier_task(
    data: LabelledTexts,
    words: WordTokenizer,
    compiled: CompiledSteps,
    rows: int,
    seed: int,
    ratios: ClassRatios | None = None,
) -> Task:
    """Learning the classes of some texts.

    Args:
        data: what to learn from.
        words: the table of symbols.
        compiled: of `classifier_steps`.
        rows: of a batch.
        seed: decides the order of the texts.
        ratios: counted in these texts, if the networks read them.
    """
    sequences = sequences_of(words, ratios, data.texts, data.labels)
    rows = min(rows, len(data.texts))
    picks = BucketedBatches(length_buckets(sequences.ids), rows, seed)
    return Task(
        loss=compiled.loss,
        batch=lambda n: padded_batch(sequences, data.labels, picks(n)),
        rows=rows,
        steps_per_epoch=picks.steps_per_epoch,
        items_per_step=sum(map(len, sequences.ids)) // picks.steps_per_epoch,
        items="words" if words.level == "word" else "characters",
        unit="nats per text",
    )


def sequences_of(
    words: WordTokenizer,
    ratios: ClassRatios | None,
    texts: Sequence[str],
    labels: NDArray[np.integer] | None = None,
) -> Sequences:
    """What networks read of some texts.

    Args:
        words: the table of symbols.
        ratios: of words and of pairs of words, if they are read too.
        texts: the texts.
        labels: their classes, if they are those that the ratios were counted in.
    """
    ids = [words.encode(text) for text in texts]
    if ratios is None:
        return Sequences(ids)
    own = [None] * len(texts) if labels is None else labels.tolist()
    beside = [
        ratios_along(ratios, tokens(text, words.level, marks=words.marks), label)
        for text, label in zip(texts, own, strict=True)
    ]
    return Sequences(ids, beside)


def train_classifier(
    data: LabelledTexts,
    recipe: ClassifierConfig,
    run: RunConfig,
    *,
    compiled: CompiledSteps,
    held_out: LabelledTexts | None = None,
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
    show: bool = False,
) -> tuple[TextClassifier, Trained]:
    """Learn to classify texts, and the table of symbols, from these texts alone.

    Args:
        data: what to learn from.
        recipe: the models.
        run: how long, and how it is kept.
        compiled: those of `classifier_steps` that another training has filled.
        held_out: what the best models are chosen by, if that is wanted.
        folder: where to keep the run, if anywhere.
        callbacks: what looks on, and may stop.
        show: whether the progress is shown.

    Raises:
        InputError: there is no time for a step, or the loss is no longer a finite
            number.
    """
    words = _kept_words(folder) if folder and run.resume else None
    words = words or common_words(data.texts, recipe.level, recipe.symbols)
    ratios = _ratios_of(words, data) if recipe.ratios else None
    task = classifier_task(data, words, compiled, recipe.batch, run.seed, ratios)
    if held_out is not None:
        evaluate = functools.partial(evaluate_texts, words, held_out, ratios=ratios)
        task = dataclasses.replace(task, evaluate=evaluate)
    spec = classifier_spec(recipe, len(data.classes))
    bayes = _bayes_of(data) if recipe.bayes else None
    ngrams = _ngrams_of(data) if recipe.ngrams else None
    if folder and is_primary():
        folder.mkdir(parents=True, exist_ok=True)
        save_tokenizer(words, folder / _TOKENIZER)
        if bayes:
            bayes.save(folder / _BAYES_FILE)
        if ratios:
            ratios.save(folder / _RATIOS_FILE)
        if ngrams:
            ngrams.save(folder / _NGRAMS_FILE)
    assert run.epochs is not None, "Options has a default"
    trained = train_network(
        _NAME,
        spec,
        task,
        compiled,
        run,
        folder=folder,
        steps=run.epochs * task.steps_per_epoch,
        learning_rate=recipe.learning_rate,
        warmup=0.1,
        settings=_settings(recipe, data.classes),
        callbacks=callbacks,
        show=show,
    )
    classifier = TextClassifier(
        words,
        data.classes,
        trained.model,
        bayes,
        recipe.bayes,
        ratios,
        ngrams,
        recipe.ngrams,
    )
    return classifier, trained


def _settings(recipe: ClassifierConfig, classes: tuple[str, ...]) -> dict[str, object]:
    """What `load_classifier` has to know."""
    settings: dict[str, object] = {"classes": classes}
    if recipe.bayes:
        settings["bayes"] = recipe.bayes
    if recipe.ratios:
        settings["ratios"] = True
    if recipe.ngrams:
        settings["ngrams"] = recipe.ngrams
    return settings


def _ratios_of(words: WordTokenizer, data: LabelledTexts) -> ClassRatios:
    """Counts of the symbols and pairs of the texts that the networks learn from."""
    found = (tokens(text, words.level, marks=words.marks) for text in data.texts)
    return count_classes(map(ngrams_of, found), data.labels, len(data.classes))


def _bayes_of(data: LabelledTexts) -> NaiveBayes:
    """Naive Bayes fitted to the texts that the networks learn from."""
    return fit_naive_bayes(terms_of(data.texts), data.labels, len(data.classes))


def _ngrams_of(data: LabelledTexts) -> NgramModel:
    """The linear model fitted to the texts that the networks learn from."""
    return fit_ngrams(_ngram_terms(data.texts), data.labels, len(data.classes))


def _ngram_terms(texts: Sequence[str]) -> list[list[str]]:
    return [ngrams_of(tokens(text, "word")) for text in texts]


def terms_of(texts: Sequence[str]) -> list[Terms]:
    """The words of each text, and its pairs of neighbours."""
    return [with_pairs(tokens(text, "word")) for text in texts]


def _kept_words(folder: Path) -> WordTokenizer | None:
    """The table that a run was begun with, which may be one of a former version."""
    path = folder / _TOKENIZER
    kept = load_tokenizer(path) if path.exists() else None
    return kept if isinstance(kept, WordTokenizer) else None


def evaluate_texts(
    words: WordTokenizer,
    data: LabelledTexts,
    models: Model,
    ratios: ClassRatios | None = None,
) -> LossSums:
    """The sums of the members' loss over labelled texts, without dropout."""
    sequences = sequences_of(words, ratios, data.texts)
    rows = min(_ROWS, len(data.texts))
    parts = [
        _measure(models, padded_batch(sequences, data.labels, picked))
        for picked in pick_epoch(length_buckets(sequences.ids), rows, seed=0, epoch=0)
    ]
    return functools.reduce(operator.add, parts)


@bounded_jit
def _measure(models: Model, batch: dict[str, jax.Array]) -> LossSums:
    return _LOSS(models, (), batch, None)[0]


def predict_proba(
    classifier: TextClassifier, texts: Sequence[str]
) -> NDArray[np.float32]:
    """The probability of every class for each text, [N, classes].

    They do not depend on which texts are classified together, to the last bit: each is
    padded to the next power of two, and always has as many neighbours.
    """
    return proba_of_parts(classifier, texts)[TOGETHER]


def proba_of_parts(
    classifier: TextClassifier, texts: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """The probabilities of `predict_proba`, and those of its parts if it has several.

    By TOGETHER, NETWORKS, BAYES and NGRAMS; [N, classes] each.
    """
    chances, bayes = _network_proba(classifier, texts), classifier.bayes
    logs = {NETWORKS: np.log(np.maximum(chances, np.finfo(np.float32).tiny))}
    weights = {}
    if bayes is not None:
        logs[BAYES] = bayes.log_proba(terms_of(texts))
        weights[BAYES] = classifier.weight
    if classifier.ngrams is not None:
        logs[NGRAMS] = classifier.ngrams.log_proba(_ngram_terms(texts))
        weights[NGRAMS] = classifier.ngram_weight
    if not weights:
        return {TOGETHER: chances}
    weights = {NETWORKS: 1 - sum(weights.values()), **weights}
    parts = {name: np.exp(each).astype(np.float32) for name, each in logs.items()}
    return {TOGETHER: _geometric_mean(logs, weights), **parts}


def _geometric_mean(
    logs: Mapping[str, NDArray[np.floating]], weights: Mapping[str, float]
) -> NDArray[np.float32]:
    """The weighted geometric mean of some probabilities, [N, classes]."""
    terms = (weight * logs[name] for name, weight in weights.items())
    mean = functools.reduce(operator.iadd, terms)  # in float32, the networks' type
    mean -= np.logaddexp.reduce(mean, axis=1, keepdims=True)
    return np.exp(mean).astype(np.float32)


def _network_proba(
    classifier: TextClassifier, texts: Sequence[str]
) -> NDArray[np.float32]:
    """The mean of the networks' probabilities, [N, classes]."""
    sequences = sequences_of(classifier.words, classifier.ratios, texts)
    nothing = np.zeros(len(texts), int)
    chances = np.zeros((len(texts), len(classifier.classes)), np.float32)
    if not texts:
        return chances
    models = jax.device_put(classifier.models)
    for picked in _alike([len(ids) for ids in sequences.ids]):
        batch = padded_batch(sequences, nothing, picked)
        beside = batch.get("beside")
        logs = np.asarray(_logits(models, batch["inputs"], batch["lengths"], beside))
        real = picked.rows >= 0
        chances[picked.rows[real]] = np.exp(logs[real])
    return chances


def word_weights(
    classifier: TextClassifier, words: Sequence[str], of: int
) -> NDArray[np.float32]:
    """How much each word of a text speaks for a class: what is lost without it.

    The log-odds of the class for the text less those without the word, by itself (Li,
    Monroe & Jurafsky 2016, "Understanding neural networks through representation
    erasure").

    Args:
        classifier: the model.
        words: of the text, in their order.
        of: the class.

    Returns:
        [words], in nats.
    """
    without = [" ".join([*words[:k], *words[k + 1 :]]) for k in range(len(words))]
    chances = predict_proba(classifier, [" ".join(words), *without])[:, of]
    tiny = np.finfo(np.float32).eps
    inside = np.clip(chances, tiny, 1 - tiny)
    odds = np.log(inside / (1 - inside))
    return odds[0] - odds[1:]


def _alike(lengths: Sequence[int]) -> Iterator[Picked]:
    """Which texts are read together, _ROWS at a time, and what they are padded to."""
    steps = np.array([max(_SHORTEST, 1 << (n - 1).bit_length()) for n in lengths])
    for shape in np.unique(steps):
        members = np.flatnonzero(steps == shape)
        members = np.pad(members, (0, -len(members) % _ROWS), constant_values=-1)
        for rows in members.reshape(-1, _ROWS):
            yield Picked((int(shape),), rows)


@bounded_jit
def _logits(
    models: Model, inputs: BatchIds, lengths: Lengths, beside: SideFeatures | None
) -> LabelLogits:
    def one(model: Model) -> LabelLogits:
        return model(inputs, lengths, beside=beside)

    return average_members(jax.vmap(one)(models))


def load_classifier(run_dir: Path) -> TextClassifier:
    """Load the classifier that a run has left.

    Raises:
        InputError: there is none, or it is damaged.
    """
    saved = load_model(run_dir, _NAME)
    words, classes = load_tokenizer(run_dir / _TOKENIZER), saved.settings.get("classes")
    if not isinstance(words, WordTokenizer) or not isinstance(classes, list):
        raise InputError(f"{run_dir}: expected a table of words and its classes")
    names = tuple(map(str, classes))
    weight = _weight_of(saved, "bayes")
    ngram_weight = _weight_of(saved, "ngrams")
    if (both := weight + ngram_weight) >= 1:
        raise InputError(f"{run_dir}: expected weights below 1, found {both:g} in all")
    bayes = load_naive_bayes(run_dir / _BAYES_FILE, len(names)) if weight else None
    ngrams = load_ngrams(run_dir / _NGRAMS_FILE, len(names)) if ngram_weight else None
    ratios = None
    if saved.settings.get("ratios"):
        ratios = load_ratios(run_dir / _RATIOS_FILE, len(names))
    return TextClassifier(
        words, names, saved.model, bayes, weight, ratios, ngrams, ngram_weight
    )


def _weight_of(saved: SavedModel, name: str) -> float:
    """What weight another model has beside the networks."""
    weight = saved.settings.get(name, 0.0)
    if not isinstance(weight, float) or not 0 <= weight < 1:
        raise InputError(
            f"{saved.folder}: expected a weight below 1, found {weight!r:.60}"
        )
    return weight
