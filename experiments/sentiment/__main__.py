"""Tell praise from blame: sentences of film reviews, or any texts with labels.

Task      One of the classes for each text. Words (or characters) are embedded and read
          by an LSTM both ways, whose outputs are pooled (mean and maximum) before the
          softmax. A few such models are trained side by side and their probabilities
          averaged; no vectors were learned elsewhere.
Data      rt-polarity, "sentence polarity dataset v1.0" (Pang & Lee 2005): 5,331
          praising and 5,331 blaming sentences, in rt-polarity.pos and rt-polarity.neg.
Protocol  10-fold cross-validation, stratified; vocabulary and models are made from the
          training part of each fold, whose test part is scored once, at the end. Naive
          Bayes on words and pairs of words is fitted to the same folds. Settings were
          chosen by a validation part inside the first fold's training part.
Command   python -m experiments.sentiment --data rt-polarity.pos rt-polarity.neg
          python -m experiments.sentiment --data my.csv --text-column body
          python -m experiments.sentiment --resume --run-dir RUN_DIR
          python -m experiments.sentiment evaluate RUN_DIR --data my.csv
          python -m experiments.sentiment predict RUN_DIR "a film to forget"
Published About 75 by LSTMs that start from nothing; 76.1 by a convolutional network
          that does, 81.5 by one with word2vec vectors (Kim 2014).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

import lstm_jax
from experiments import results
from experiments.cli import command_line, run_experiment
from experiments.known_data import described
from experiments.results import Result, describe_file
from experiments.runs import Clock, RunOptions, begun, check_options
from experiments.sentiment.baseline import fit_naive_bayes, with_pairs
from experiments.sentiment.config import ClassifierConfig
from experiments.sentiment.data import LabelledTexts, read_labelled
from lstm_jax.cli import run_command
from lstm_jax.config import Range, RunConfig
from lstm_jax.data import stratified_folds, tokens
from lstm_jax.training import (
    FoldOutcome,
    Stop,
    fold_folder,
    fold_table,
    interruptible,
)

if TYPE_CHECKING:  # JAX is imported where it is used, so that --help need not wait
    from experiments.results import DataFile
    from experiments.sentiment.task import TextClassifier
    from lstm_jax.metrics import ClassReport, Confusion
    from lstm_jax.training import CompiledSteps, CrossValidation

OURS, BAYES = "LSTM", "naive Bayes"
SMOKE = {
    **{"symbols": 40, "features": 8, "hidden": 8, "members": 2, "batch": 16},
    **{"dropout": 0.1, "word_dropout": 0.0, "learning_rate": 2e-2},
}


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Cross-validate a classifier on texts, then train one on all of them.

    Args:
        data: a file for each class, a text per line; or tables, `.csv` or `.tsv`.
        text_column: of a table: the column of texts.
        label_column: of a table: the column of labels.
        smoke: run in seconds, on a generated sample.
        folds: of the cross-validation.
        validation_fraction: share of the texts to learn from that is held out to choose
            the best step by, for --patience.
        recipe: the model and its training.
        run: how long, and where it is kept. Every fold gets its share of --max-seconds.
    """

    data: tuple[Path, ...] = ()
    text_column: str = "text"
    label_column: str = "label"
    smoke: bool = False
    folds: int = 10
    validation_fraction: Annotated[float, Range(0.0, 0.5)] = 0.0
    recipe: ClassifierConfig = dataclasses.field(default_factory=ClassifierConfig)
    run: RunConfig = dataclasses.field(
        default_factory=lambda: RunConfig(
            run_dir=Path("runs/sentiment"), epochs=6, steps_per_call=1
        )
    )


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score the model that a run has left on labelled texts of your own.

    Args:
        run_dir: folder of the run.
        data: files, as for the training.
        text_column: of a table: the column of texts.
        label_column: of a table: the column of labels.
        json: end with one line of JSON.
    """

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    data: tuple[Path, ...] = ()
    text_column: str = "text"
    label_column: str = "label"
    json: bool = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Classify texts with the model that a run has left.

    Args:
        run_dir: folder of the run.
        texts: in quotation marks, one each.
    """

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    texts: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="TEXT")
    ]


def generated(count: int = 160) -> LabelledTexts:
    """Sentences whose sense a "not" turns round."""
    random = np.random.default_rng(0)
    words = (("dull", "bad", "weak"), ("fine", "good", "wise"))
    turned, tone = random.integers(2, size=(2, count))
    texts = [
        f"{random.choice(('the film', 'this plot', 'it'))} is "
        f"{'not ' * int(t)}{random.choice(words[k])} {random.choice(('.', '!', 'now'))}"
        for t, k in zip(turned, tone, strict=True)
    ]
    return LabelledTexts(texts, tone ^ turned, ("neg", "pos"))


def load(options: Options) -> tuple[LabelledTexts, Options]:
    """Read the texts; the options are then those that suit them."""
    if options.smoke:
        recipe = dataclasses.replace(options.recipe, **SMOKE)
        run = dataclasses.replace(options.run, epochs=15)
        return generated(), dataclasses.replace(
            options, folds=2, recipe=recipe, run=run
        )
    if not options.data:
        raise lstm_jax.InputError("--data: expected files, found none (or --smoke)")
    columns = options.text_column, options.label_column
    return read_labelled(options.data, *columns), options


def part(data: LabelledTexts, rows: np.ndarray) -> LabelledTexts:
    """Some of the texts."""
    texts = [data.texts[k] for k in rows]
    return LabelledTexts(texts, data.labels[rows], data.classes)


def cross_validate(
    data: LabelledTexts, options: Options, compiled: CompiledSteps, stop: Stop
) -> CrossValidation:
    """Fit both methods to the training part of every fold, and test them."""
    from experiments.sentiment.task import predict_proba

    assert options.run.run_dir is not None
    folder = options.run.run_dir / "folds"
    terms = [with_pairs(tokens(text, "word")) for text in data.texts]

    def fit_and_predict(train: np.ndarray, test: np.ndarray, k: int) -> FoldOutcome:
        labels = data.labels[train]
        counts = (terms[row] for row in train)
        bayes = fit_naive_bayes(counts, labels, len(data.classes))
        classifier = fit(
            part(data, train), options, compiled, fold_folder(folder, k), stop
        )
        stop.check(
            f"fold {k + 1} of {options.folds} is not finished; --resume goes on with it"
        )
        chances = predict_proba(classifier, part(data, test).texts)
        by_counts = bayes.scores(terms[row] for row in test)
        found = {OURS: chances.argmax(1), BAYES: by_counts.argmax(1)}
        right = {
            name: float(np.mean(classes == data.labels[test]))
            for name, classes in found.items()
        }
        scores = ", ".join(f"{name} {share:.4f}" for name, share in right.items())
        print(f"fold {k + 1} of {options.folds}: {scores}", flush=True)
        return FoldOutcome(right, found | {"chances": chances})

    folds = stratified_folds(data.labels, options.folds, options.run.seed)
    return lstm_jax.training.cross_validate(fit_and_predict, folds, folder)


def fit(
    data: LabelledTexts,
    options: Options,
    compiled: CompiledSteps,
    folder: Path,
    stop: Stop,
    *,
    show: bool = False,
) -> TextClassifier:
    """Train a classifier in a folder, for its share of the time."""
    from experiments.sentiment.task import train_classifier

    seconds = options.run.max_seconds
    share = None if seconds is None else seconds / (options.folds + 1)
    held_out = None
    if options.validation_fraction:
        data, held_out = split(data, options)
    classifier, _ = train_classifier(
        data,
        options.recipe,
        dataclasses.replace(options.run, max_seconds=share),
        compiled=compiled,
        held_out=held_out,
        folder=folder,
        callbacks=[stop],
        show=show,
    )
    return classifier


def split(data: LabelledTexts, options: Options) -> tuple[LabelledTexts, LabelledTexts]:
    """Hold out some texts of every class."""
    count = round(1 / options.validation_fraction)
    fold = stratified_folds(data.labels, count, options.run.seed)[0]
    return part(data, fold.train), part(data, fold.test)


def confusion(labels: np.ndarray, found: np.ndarray, classes: int) -> Confusion:
    """How often each class was taken for which, over all folds."""
    import jax.numpy as jnp

    everywhere = jnp.ones(len(labels), bool)
    return lstm_jax.metrics.confusion(
        jnp.asarray(found), jnp.asarray(labels), everywhere, classes
    )


def report(counts: Confusion, classes: Sequence[str], title: str) -> ClassReport:
    """Print precision, recall and F1 of each class, and the confusion matrix."""
    found = lstm_jax.metrics.class_report(counts.classes())
    width = max(5, *map(len, classes))
    print(f"\n{title}\n{'':{width}}  precision  recall      F1   taken for")
    columns = found.precision, found.recall, found.f1, counts.matrix.tolist()
    for name, *row in zip(classes, *columns, strict=True):
        print("{:>{}}  {:9.4f}  {:6.4f}  {:6.4f}   {}".format(name, width, *row))
    mean = found.averages["macro"].values()
    print("{:>{}}  {:9.4f}  {:6.4f}  {:6.4f}".format("macro", width, *mean))
    return found


def learn(options: Options) -> None:
    """Check everything, then run."""
    clock = Clock()
    check_options(options, validated=options.validation_fraction > 0)
    data, options = load(options)
    stratified_folds(data.labels, options.folds)  # refuses what can't be done
    paths = () if options.smoke else options.data
    files = [describe_file(path) for path in paths]
    rows = options.recipe.batch
    with begun(
        "sentiment", options, rows=rows, files=files, spare=options.data, clock=clock
    ):
        learn_from(options, data, files, clock)


def learn_from(
    options: Options, data: LabelledTexts, files: Sequence[DataFile], clock: Clock
) -> None:
    """Cross-validate, then train the model that is kept."""
    from experiments.sentiment.task import classifier_steps

    run_dir = options.run.run_dir
    assert run_dir is not None
    compiled = classifier_steps(options.recipe, options.precision)
    with interruptible() as stop:
        result = cross_validate(data, options, compiled, stop)
        fit(data, options, compiled, run_dir, stop, show=True)
        stop.check(
            "the folds' scores and the last classifier, unfinished, are kept in "
            f"{run_dir}; --resume goes on"
        )
    if not lstm_jax.distributed.is_primary():
        return
    result.save(run_dir)
    print("\n" + fold_table(result))
    reports = {}
    for name in (OURS, BAYES):
        found = np.asarray(result.predictions[name])
        counts = confusion(data.labels, found, len(data.classes))
        reports[name] = report(counts, data.classes, name)
        picture = run_dir / f"confusion-{name.lower().replace(' ', '-')}.png"
        lstm_jax.report.draw_confusion(
            np.asarray(counts.matrix),
            data.classes,
            picture,
            name,
            list(zip(data.labels.tolist(), found.tolist(), data.texts, strict=True)),
        )
    best = max(result.mean, key=result.mean.__getitem__)
    print(f"\nThe higher mean accuracy is that of {best}.")
    minutes = clock.minutes
    write_result(options, data, files, result, reports, minutes)


def evaluate(options: EvaluateOptions) -> None:
    """Score a trained model on labelled texts."""
    from experiments.sentiment.task import load_classifier, predict_proba

    if not options.data:
        raise lstm_jax.InputError("--data: expected files, found none")
    columns = options.text_column, options.label_column
    data = read_labelled(options.data, *columns)
    classifier = load_classifier(options.run_dir)
    if foreign := sorted(set(data.classes) - set(classifier.classes)):
        known = ", ".join(classifier.classes)
        raise lstm_jax.InputError(
            f"--data: expected the labels {known}, found {', '.join(foreign)}"
        )
    names = np.array([classifier.classes.index(name) for name in data.classes])
    found = predict_proba(classifier, data.texts).argmax(axis=1)
    counts = confusion(names[data.labels], found, len(classifier.classes))
    scores = report(counts, classifier.classes, f"{len(data.texts):,} texts")
    accuracy = float(np.mean(found == names[data.labels]))
    print(f"accuracy {accuracy:.4f}")
    if options.json:
        macro = scores.averages["macro"]
        print(json.dumps({"accuracy": accuracy, "texts": len(data.texts), **macro}))


def write_result(
    options: Options,
    data: LabelledTexts,
    files: Sequence[DataFile],
    result: CrossValidation,
    reports: dict[str, ClassReport],
    minutes: float,
) -> None:
    """Leave what the table of applications wants to know."""

    def summary(name: str) -> str:
        mean, spread = result.mean[name], result.deviation[name]
        macro = reports[name].averages["macro"]
        scores = ", ".join(f"{each} {100 * macro[each]:.1f}" for each in macro)
        return f"{name} {100 * mean:.1f} ± {100 * spread:.1f} ({scores})"

    run_dir = options.run.run_dir
    assert run_dir is not None
    names = " ".join(file.name for file in files) or "generated"
    files = sorted(files, key=lambda file: file.sha256 or "")  # any order is the same
    results.write_result(
        run_dir,
        Result(
            **described(
                "Sentiment",
                f"{options.folds}-fold cross-validation, stratified",
                files,
                f"{names}, {len(data.texts):,} texts",
            ),
            metric="accuracy, %, mean ± s.d. over folds (macro averages)",
            ours=summary(OURS),
            floor=summary(BAYES) + ", words and pairs, same folds",
            minutes=minutes,
            command=command_line("sentiment", options),
        ),
    )


def predict(options: PredictOptions) -> None:
    """Print the class of each text, and how probable it is."""
    from experiments.sentiment.task import load_classifier, predict_proba

    if not options.texts:
        raise lstm_jax.InputError("predict: expected a text, found none")
    classifier = load_classifier(options.run_dir)
    chances = predict_proba(classifier, options.texts)
    for text, row in zip(options.texts, chances, strict=True):
        print(f"{classifier.classes[row.argmax()]}  {row.max():.3f}  {text}")


def main(arguments: Sequence[str] | None = None) -> int | None:
    """The command; returns its exit code."""
    return run_experiment(
        "sentiment",
        __doc__,
        arguments,
        learn=(Options, learn),
        evaluate=(EvaluateOptions, evaluate),
        predict=(PredictOptions, predict),
    )


if __name__ == "__main__":
    run_command(main)
