"""Classify texts: the sentiment of film reviews, or labelled texts of your own.

Task      One of the classes for each text. Words (or characters) are embedded and read
          by an LSTM both ways, whose outputs are pooled (mean and maximum) before the
          softmax. Beside each embedding it reads log-count ratios: what the word, the
          pair it ends and its character n-grams say of the classes, counted in all
          training texts but the one that is read. A few such models are trained side by
          side and their probabilities averaged, then mixed with those of a linear model
          of n-grams; no vectors were learned elsewhere.
Data      rt-polarity, "sentence polarity dataset v1.0" (Pang & Lee 2005): 5,331
          praising and 5,331 blaming sentences, in rt-polarity.pos and rt-polarity.neg.
Protocol  10-fold cross-validation, stratified; vocabulary and models are made from the
          training part of each fold, whose test part is scored once, at the end. Naive
          Bayes on words and pairs of words is fitted to the same folds. Settings were
          chosen by inner folds of the first fold's training part, whose texts are test
          texts of other folds.
Command   python -m experiments.sentiment --data rt-polarity.pos rt-polarity.neg
          python -m experiments.sentiment --data my.csv --text-column body
          python -m experiments.sentiment --data my.csv --folds 0 --patience 3
          python -m experiments.sentiment --resume --run-dir RUN_DIR
          python -m experiments.sentiment evaluate RUN_DIR --data my.csv
          python -m experiments.sentiment predict RUN_DIR "a film to forget"
          python -m experiments.sentiment predict RUN_DIR my.csv --out classes.csv
          python -m experiments.sentiment predict RUN_DIR "so dull" --picture words.png
Published About 75 by LSTMs that start from nothing; 76.1 by a convolutional network
          that does, 81.5 by one with word2vec vectors (Kim 2014).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

import lstm_jax
from experiments import results
from experiments.cli import command_line, run_experiment
from experiments.known_data import described
from experiments.results import Result
from experiments.runs import Clock, RunOptions, begun, check_options
from experiments.sentiment.baseline import fit_naive_bayes
from experiments.sentiment.config import RECIPE, ClassifierConfig
from experiments.sentiment.data import (
    OLD,
    LabelledTexts,
    Parts,
    class_files,
    part,
    read_labelled,
    split,
    with_classes,
)
from experiments.sentiment.evaluation import confusion, report
from experiments.texts import check_out, given_texts, write_rows
from lstm_jax.cli import RunDir, run_command
from lstm_jax.config import Range, RunConfig, ZeroOrMore
from lstm_jax.data import stratified_folds
from lstm_jax.errors import warn
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
    from lstm_jax.training import CompiledSteps, CrossValidation

OURS, BAYES = "LSTM", "naive Bayes"
PARTS = NETWORKS_ALONE, NGRAMS_ALONE = "LSTM alone", "n-grams alone"  # of OURS
Scores = dict[str, float]  # accuracy, and macro averages
VALIDATION = 0.1  # of the texts to learn from, without cross-validation
SMOKE = {
    **{"symbols": 40, "features": 8, "hidden": 8, "members": 2, "batch": 16},
    **{"dropout": 0.1, "word_dropout": 0.0, "learning_rate": 2e-2},
}


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Cross-validate a classifier, then train one on all the texts.

    With --folds 0 a single model is trained, and scored on held-out texts.

    Args:
        data: one file per class with a text on each line; or .csv or .tsv tables; or a
            folder of either; or a folder with a subfolder per class and a file per
            text.
        text_column: table column that holds the texts: its name, or its number counted
            from 1 if the table has no header.
        label_column: table column that holds the labels, likewise.
        smoke: quick trial run on generated data, in seconds.
        folds: number of cross-validation folds; 0 for a single train/test split.
        test: test files, in the formats of --data, to score the final model on.
        validation: validation files, in the formats of --data, to choose the best step
            by, and for --patience.
        test_fraction: fraction of the texts held out as the test set, with --folds 0
            and no --test.
        validation_fraction: fraction of the training texts held out to choose the best
            step by, if there is no --validation. Default: 0.1 with --folds 0, otherwise
            none.
        recipe: model and training.
        run: training run. Each fold gets an equal share of --max-seconds.
    """

    data: tuple[Path, ...] = ()
    text_column: str = "text"
    label_column: str = "label"
    smoke: bool = False
    folds: ZeroOrMore = 10
    test: tuple[Path, ...] = ()
    validation: tuple[Path, ...] = ()
    test_fraction: Annotated[float, Range(0.0, 0.5, above=True)] = 0.1
    validation_fraction: Annotated[float, Range(0.0, 0.5)] | None = None
    recipe: ClassifierConfig = RECIPE
    run: RunConfig = dataclasses.field(
        default_factory=lambda: RunConfig(
            run_dir=Path("runs/sentiment"), epochs=6, steps_per_call=1
        )
    )

    @property
    def trains_several(self) -> bool:
        """Whether there is a network for each fold."""
        return self.folds > 1

    @property
    def held_out(self) -> float:
        """The share of the texts to learn from that chooses the best step."""
        if self.validation_fraction is None:
            return 0.0 if self.folds > 1 or self.validation else VALIDATION
        return self.validation_fraction


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score a trained model on labelled texts of your own.

    Args:
        run_dir: folder of the training run.
        data: labelled texts, in the formats used for training; - reads a table from the
            standard input.
        text_column: table column that holds the texts, by name or number.
        label_column: table column that holds the labels, by name or number.
        out: write the texts and their predicted classes to this CSV file, like
            `predict`, with the true label in the column expected.
        json: print the scores as a last line of JSON.
    """

    run_dir: RunDir
    data: tuple[Path, ...] = ()
    text_column: str = "text"
    label_column: str = "label"
    out: Path | None = None
    json: bool = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Classify texts with a trained model.

    Texts given on the command line are printed with their classes. For files and the
    standard input the output is a CSV table with the columns text, label and p_CLASS,
    the probability of each class, and one row per text, in input order.

    Args:
        run_dir: folder of the training run.
        texts: texts to classify, each in quotation marks; or files, as for --data; or -
            for the standard input, which is also the default.
        data: files with a text on each line, or .csv or .tsv tables.
        text_column: table column that holds the texts: its name, or its number counted
            from 1 if the table has no header.
        out: write the CSV table to this file instead of the standard output.
        picture: draw the first texts to this file, each word in the color of the class
            it speaks for, darker the more the prediction depends on it.
    """

    run_dir: RunDir
    texts: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="TEXT")
    ] = ()
    data: tuple[Path, ...] = ()
    text_column: str = "text"
    out: Path | None = None
    picture: Path | None = None


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


def load(options: Options) -> tuple[Parts, Options]:
    """Read the texts; the options are then those that suit them."""
    if options.smoke:
        recipe = dataclasses.replace(options.recipe, **SMOKE)
        run = dataclasses.replace(options.run, epochs=15)
        folds = min(options.folds, 2)
        options = dataclasses.replace(options, folds=folds, recipe=recipe, run=run)
        data = generated()
    elif not options.data:
        raise lstm_jax.InputError("--data: expected files, found none (or --smoke)")
    else:
        data = read_labelled(options.data, options.text_column, options.label_column)
    validation = others(options, data.classes, "validation")
    test = others(options, data.classes, "test")
    known = {*data.texts}
    if test and (both := sum(text in known for text in test.texts)):
        warn(f"--test: of {len(test.texts)} texts {both} are among --data too")
    if options.folds < 2 and test is None:
        data, test = split(data, options.test_fraction, options.run.seed)
    return Parts(data, validation, test), options


def others(options: Options, classes: Sequence[str], name: str) -> LabelledTexts | None:
    """The texts of --validation or --test, of known classes; None if there are none."""
    paths = getattr(options, name)
    if not paths:
        return None
    columns = options.text_column, options.label_column
    data = read_labelled(paths, *columns, fewest=1)
    return with_classes(data, classes, f"--{name}")


def check(options: Options) -> None:
    """Refuse options that make no sense together."""
    validated = bool(options.validation) or options.held_out > 0
    check_options(options, validated=validated)
    if options.validation and options.validation_fraction:
        raise lstm_jax.InputError(
            "--validation-fraction: expected none beside --validation, found "
            f"{options.validation_fraction:g}"
        )
    if options.recipe.bayes + options.recipe.ngrams >= 1:
        raise lstm_jax.InputError(
            "--ngrams: expected a weight that leaves some to the networks beside "
            f"--bayes {options.recipe.bayes:g}, found {options.recipe.ngrams:g}"
        )


def cross_validate(
    parts: Parts, options: Options, compiled: CompiledSteps, stop: Stop
) -> CrossValidation:
    """Fit both methods to the training part of every fold, and test them."""
    from experiments.sentiment.task import terms_of

    assert options.run.run_dir is not None
    data, folder = parts.train, options.run.run_dir / "folds"
    terms = terms_of(data.texts)

    def fit_and_predict(train: np.ndarray, test: np.ndarray, k: int) -> FoldOutcome:
        labels = data.labels[train]
        counts = (terms[row] for row in train)
        bayes = fit_naive_bayes(counts, labels, len(data.classes))
        fold = dataclasses.replace(parts, train=part(data, train))
        classifier = fit(fold, options, compiled, fold_folder(folder, k), stop)
        stop.check(
            f"fold {k + 1} of {options.folds} is not finished; --resume goes on with it"
        )
        chances, found = classes_by_part(classifier, part(data, test).texts)
        found[BAYES] = bayes.scores(terms[row] for row in test).argmax(1)
        right = {
            name: float(np.mean(classes == data.labels[test]))
            for name, classes in found.items()
        }
        scores = ", ".join(f"{name} {share:.4f}" for name, share in right.items())
        print(f"fold {k + 1} of {options.folds}: {scores}", flush=True)
        return FoldOutcome(right, found | {"chances": chances})

    folds = stratified_folds(data.labels, options.folds, options.run.seed)
    return lstm_jax.training.cross_validate(fit_and_predict, folds, folder)


def classes_by_part(
    classifier: TextClassifier, texts: Sequence[str]
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.integer]]]:
    """The probabilities [N, classes], and the classes by them and by their parts."""
    from experiments.sentiment.task import NETWORKS, NGRAMS, TOGETHER, proba_of_parts

    chances = proba_of_parts(classifier, texts)
    names = {TOGETHER: OURS}
    if NGRAMS in chances:
        names |= {NETWORKS: NETWORKS_ALONE, NGRAMS: NGRAMS_ALONE}
    found = {name: chances[part].argmax(axis=1) for part, name in names.items()}
    return chances[TOGETHER], found


def fit(
    parts: Parts,
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
    if seconds is not None and options.folds > 1:
        seconds /= options.folds + 1
    data, held_out = parts.train, parts.validation
    if held_out is None and options.held_out:
        data, held_out = split(data, options.held_out, options.run.seed)
    classifier, _ = train_classifier(
        data,
        options.recipe,
        dataclasses.replace(options.run, max_seconds=seconds),
        compiled=compiled,
        held_out=held_out,
        folder=folder,
        callbacks=[stop],
        show=show,
    )
    return classifier


def learn(options: Options) -> None:
    """Check everything, then run."""
    clock = Clock()
    check(options)
    parts, options = load(options)
    if options.folds > 1:  # refuses what can't be done
        stratified_folds(parts.train.labels, options.folds)
    paths = () if options.smoke else (options.data, options.validation, options.test)
    files = [source.described() for each in paths for source in class_files(each)]
    spare = *options.data, *options.validation, *options.test
    with begun("sentiment", options, files=files, spare=spare, clock=clock):
        learn_from(options, parts, files, clock)


def learn_from(
    options: Options, parts: Parts, files: Sequence[DataFile], clock: Clock
) -> None:
    """Cross-validate, then train the model that is kept, and test it."""
    from experiments.sentiment.task import classifier_steps

    run_dir, result = options.run.run_dir, None
    assert run_dir is not None
    compiled = classifier_steps(options.recipe, options.precision)
    with interruptible() as stop:
        if options.folds > 1:
            result = cross_validate(parts, options, compiled, stop)
        classifier = fit(parts, options, compiled, run_dir, stop, show=True)
        kept = "the folds' scores and the last classifier, unfinished, are"
        stop.check(
            f"{kept if result else 'the best classifier so far is'} kept in {run_dir}; "
            "--resume goes on"
        )
    if not lstm_jax.distributed.is_primary():
        return
    scores = {}
    if result:
        result.save(run_dir)
        print("\n" + fold_table(result))
        scores["folds"] = scores_of(parts.train, result.predictions, run_dir)
        best = max(result.mean, key=result.mean.__getitem__)
        print(f"\n{best} has the highest mean accuracy.")
    if parts.test:
        found = predictions_of(classifier, parts)
        scores["test"] = scores_of(parts.test, found, None if result else run_dir)
    write_result(options, parts, files, result, scores, clock.minutes)


def predictions_of(
    classifier: TextClassifier, parts: Parts
) -> dict[str, NDArray[np.integer]]:
    """The classes of the test part by all methods."""
    from experiments.sentiment.task import terms_of

    assert parts.test is not None
    train, test = (terms_of(data.texts) for data in (parts.train, parts.test))
    bayes = fit_naive_bayes(train, parts.train.labels, len(parts.train.classes))
    _, found = classes_by_part(classifier, parts.test.texts)
    return {**found, BAYES: bayes.scores(test).argmax(axis=1)}


def scores_of(
    data: LabelledTexts, found: Mapping[str, np.ndarray], run_dir: Path | None
) -> dict[str, Scores]:
    """Report what was found by each method, with pictures if there is a folder.

    Of the parts of OURS there is the accuracy only.
    """
    scores: dict[str, Scores] = {
        name: {"accuracy": float(np.mean(found[name] == data.labels))}
        for name in (OURS, *PARTS, BAYES)
        if name in found
    }
    for name in (OURS, BAYES):
        counts = confusion(data.labels, found[name], len(data.classes))
        title = f"{name}, {len(data.texts):,} texts"
        scores[name] |= report(counts, data.classes, title).averages["macro"]
        if run_dir:
            lstm_jax.report.draw_confusion(
                np.asarray(counts.matrix),
                data.classes,
                run_dir / f"confusion-{name.lower().replace(' ', '-')}.png",
                name,
                list(
                    zip(
                        data.labels.tolist(),
                        np.asarray(found[name]).tolist(),
                        data.texts,
                        strict=True,
                    )
                ),
            )
    return scores


def evaluate(options: EvaluateOptions) -> None:
    """Score a trained model on labelled texts."""
    from experiments.sentiment.task import load_classifier, predict_proba

    if not options.data:
        raise lstm_jax.InputError("--data: expected files, found none")
    check_out(options.out, options.data)
    columns = options.text_column, options.label_column
    data = read_labelled(options.data, *columns, fewest=1)
    classifier = load_classifier(options.run_dir)
    data = with_classes(data, classifier.classes, "--data")
    chances = predict_proba(classifier, data.texts)
    found = chances.argmax(axis=1)
    if options.out:
        expected = [data.classes[label] for label in data.labels]
        write_rows(options.out, *table_of(classifier, data.texts, chances, expected))
    counts = confusion(data.labels, found, len(data.classes))
    scores = report(counts, data.classes, f"{len(data.texts):,} texts")
    accuracy = float(np.mean(found == data.labels))
    print(f"accuracy {accuracy:.4f}")
    if options.json:
        macro = scores.averages["macro"]
        print(json.dumps({"accuracy": accuracy, "texts": len(data.texts), **macro}))


def table_of(
    classifier: TextClassifier,
    texts: Sequence[str],
    chances: np.ndarray,
    expected: Sequence[str] | None = None,
) -> tuple[list[str], list[list[str]]]:
    """Texts with their classes, as a table: the names of its columns, and its rows."""
    names = ["text", "label", *(f"p_{name}" for name in classifier.classes)]
    rows = [
        [text, classifier.classes[row.argmax()], *(f"{chance:.6f}" for chance in row)]
        for text, row in zip(texts, chances, strict=True)
    ]
    if expected is None:
        return names, rows
    both = zip(rows, expected, strict=True)
    return [*names, "expected"], [[*row, label] for row, label in both]


def write_result(
    options: Options,
    parts: Parts,
    files: Sequence[DataFile],
    result: CrossValidation | None,
    scores: Mapping[str, Mapping[str, Scores]],
    minutes: float,
) -> None:
    """Leave what the table of applications wants to know."""

    def summary(name: str) -> str:
        found = [
            percent(name, each[name], result if where == "folds" else None)
            for where, each in scores.items()
        ]
        return "; test part ".join(found)

    def ours() -> str:
        others = {BAYES: options.recipe.bayes, "n-grams": options.recipe.ngrams}
        names = " and ".join(
            [OURS, *(name for name, weight in others.items() if weight)]
        )
        alone = [
            name for name in PARTS if all(name in each for each in scores.values())
        ]
        found = [summary(OURS).replace(OURS, names), *map(summary, alone)]
        return "; ".join(found)

    run_dir = options.run.run_dir
    assert run_dir is not None
    names = " ".join(file.name for file in files) or "generated"
    files = sorted(files, key=lambda file: file.sha256 or "")  # any order is the same
    every = (parts.train, parts.validation, parts.test)
    count = sum(len(data.texts) for data in every if data)
    spread, same = (", mean ± s.d. over folds", "folds") if result else ("", "parts")
    results.write_result(
        run_dir,
        Result(
            **described(
                "Sentiment",
                protocol_of(options, parts),
                files,
                f"{names}, {count:,} texts",
            ),
            metric=f"accuracy, %{spread} (macro averages)",
            ours=ours(),
            floor=f"{summary(BAYES)}, words and pairs, same {same}",
            minutes=minutes,
            command=command_line("sentiment", options),
        ),
    )


def percent(name: str, scores: Scores, result: CrossValidation | None) -> str:
    """A method's scores; with the mean and the spread over folds, if there are any."""
    accuracy = f"{100 * scores['accuracy']:.1f}"
    if result:
        mean, spread = result.mean[name], result.deviation[name]
        accuracy = f"{100 * mean:.1f} ± {100 * spread:.1f}"
    macro = {each: value for each, value in scores.items() if each != "accuracy"}
    shown = ", ".join(f"{each} {100 * value:.1f}" for each, value in macro.items())
    return f"{name} {accuracy} ({shown})" if macro else f"{name} {accuracy}"


def protocol_of(options: Options, parts: Parts) -> str:
    """What was scored on what."""
    folds = f"{options.folds}-fold cross-validation, stratified"
    if parts.test is None:
        return folds
    whose = "of their own" if options.test else "held out, stratified"
    tested = f"test on {len(parts.test.texts):,} texts {whose}"
    return tested if options.folds < 2 else f"{folds}, and {tested}"


def predict(options: PredictOptions) -> None:
    """Print the class of each text, and how probable it is; or a table of them."""
    from experiments.sentiment.task import load_classifier, predict_proba

    check_out(options.out, (*options.texts, *options.data))
    lstm_jax.report.check_picture(options.picture)
    texts, from_files = given_texts(
        options.texts, options.data, options.text_column, OLD
    )
    classifier = load_classifier(options.run_dir)
    chances = predict_proba(classifier, texts)
    if options.picture:
        draw(classifier, texts, chances, options.picture)
    if from_files or options.out:
        write_rows(options.out, *table_of(classifier, texts, chances))
        return
    for text, row in zip(texts, chances, strict=True):
        print(f"{classifier.classes[row.argmax()]}  {row.max():.3f}  {text}")


def draw(
    classifier: TextClassifier, texts: Sequence[str], chances: np.ndarray, path: Path
) -> None:
    """The first texts that have words, and what each word speaks for.

    Raises:
        InputError: none of them has any.
    """
    from experiments.sentiment.plots import SHOWN, WORDS, Reading, draw_readings
    from experiments.sentiment.task import word_weights

    readings = []
    for text, row in zip(texts, chances, strict=True):
        words, found = text.split(), int(row.argmax())
        if not words or len(readings) == SHOWN:
            continue
        # Of two classes, those words are alike that speak for the same one.
        weights = word_weights(classifier, words[:WORDS], found)
        sign = -1 if len(row) == 2 and found == 0 else 1
        title = f"{classifier.classes[found]} {row.max():.2f}"
        readings.append(Reading(title, words, sign * weights))
    if not readings:
        raise lstm_jax.InputError("--picture: expected a text with words, found none")
    names = classifier.classes
    draw_readings(
        path, readings, names if len(names) == 2 else ("against it", "for it")
    )


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
