"""Machine translation: German to English, an LSTM encoder-decoder with attention.

Task      A bidirectional LSTM reads a sentence as subwords (byte-pair encoding, learned
          from the training part). An LSTM writes its translation: it asks the memory by
          attention at every step, and a second LSTM keeps account of the answers.
Data      Multi30k, task 1 (captions of photographs): 29,000 pairs to learn from, 1,014
          to choose the best model by, 1,000 to test on: the folder data/task1/raw of
          github.com/multi30k/dataset; for non-commercial use. Any two parallel text
          files will do: --data FILE FILE.
Protocol  All in lower case. sacreBLEU with its own tokenization against the raw
          reference of test_2016_flickr; nothing was chosen by that set.
Floor     Word by word, with a dictionary learned by IBM model 1.
Command   python -m experiments.translate --data FOLDER
          python -m experiments.translate --resume --run-dir runs/translate
          python -m experiments.translate evaluate runs/translate --data FILE FILE
          python -m experiments.translate predict runs/translate "Ein Hund läuft."
          python -m experiments.translate predict runs/translate my.de --out my.en
Others    LSTM without attention 13.8, GRU with attention 28.3, Transformer 36.5, greedy
          (the notebooks of bentrevett/pytorch-seq2seq, other tokenization).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import random
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

import lstm_jax
from experiments.cli import command_line, run_experiment
from experiments.known_data import described
from experiments.results import Result, describe_file, write_result
from experiments.runs import RunOptions, begun, check_options
from experiments.texts import STDIN, check_out, given_texts, write_rows, write_text
from experiments.translate.baseline import learn_lexicon, translate_by_words
from experiments.translate.data import (
    ParallelParts,
    part_files,
    read_lines,
    read_parallel,
    read_parts,
    split_pairs,
)
from lstm_jax.cli import RunDir, run_command
from lstm_jax.config import (
    MOST,
    CellName,
    OneOrMore,
    Positive,
    Range,
    RunConfig,
    Share,
    ZeroOrMore,
    check_bounds,
)
from lstm_jax.training import Stop, interruptible

if TYPE_CHECKING:  # JAX is imported where it is used, so that --help need not wait
    from sacrebleu.metrics.bleu import BLEUScore

    from experiments.results import DataFile
    from experiments.translate.inference import TextTranslator

BEAM, ALPHA = 5, 1.0  # width, and length penalty, chosen by val
BUCKETS = 6  # shapes of batches
SMOOTHING = 0.1  # share of each target spread evenly over all symbols
_MOST_COUNTED = 50_000  # pairs, for the dictionary: each takes some 60 kB


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Train a translator, and score it by BLEU.

    Args:
        data: a folder with {train,val,test_2016_flickr}.{de,en}; or two parallel files,
            one sentence per line, the ends of which are held out. .gz files are
            unpacked.
        languages: file extensions of the source and the target language in a folder.
        test: name of the test files in a folder.
        smoke: quick trial run on a small generated language, in seconds.
        capitals: keep upper case; by default all text is lowercased.
        symbols: vocabulary size of each language, in subwords.
        embedding: width of the embeddings.
        hidden: units per decoder layer; each encoder direction has half as many.
        cell: recurrent cell.
        dropout: dropout rate.
        learning_rate: peak learning rate.
        batch: sentence pairs per optimizer step.
        run: training run.
    """

    data: tuple[Path, ...] = ()
    languages: tuple[str, str] = ("de", "en")
    test: str = "test_2016_flickr"
    smoke: bool = False
    capitals: bool = False
    symbols: OneOrMore = 4000
    embedding: OneOrMore = 256
    hidden: Annotated[int, Range(2, MOST, "2 or more")] = 256
    cell: CellName = "lstm"
    dropout: Share = 0.3
    learning_rate: Positive = 2e-3
    batch: OneOrMore = 64
    run: RunConfig = dataclasses.field(
        default_factory=lambda: RunConfig(
            run_dir=Path("runs/translate"), epochs=12, evaluations=12, steps_per_call=1
        )
    )


SMOKE = {
    **{"symbols": 100, "embedding": 32, "hidden": 32, "dropout": 0.0},
    **{"batch": 16, "learning_rate": 1e-2},
}


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score a trained translator on texts of your own, by BLEU.

    Args:
        run_dir: folder of the training run.
        data: two parallel files, one sentence per line: source, then reference.
        out: write the sources, references and translations (by beam search) to this
            .csv or .tsv file.
        json: print the scores as a last line of JSON.
    """

    run_dir: RunDir
    data: tuple[Path, ...] = ()
    out: Path | None = None
    json: bool = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Translate sentences of your own.

    The output has one line per sentence, in input order; empty lines stay empty.

    Args:
        run_dir: folder of the training run.
        sentences: sentences to translate, each in quotation marks; or files, as for
            --data; or - for the standard input, which is also the default.
        data: files with a sentence on each line, or .csv or .tsv tables.
        text_column: table column that holds the sentences: its name, or its number
            counted from 1 if the table has no header.
        references: file with a reference translation for each sentence, to compute
            BLEU.
        out: write the translations to this file instead of the standard output; a .csv
            or .tsv file gets the sentences as well.
        beam: beam width; 0 for greedy decoding.
        picture: draw the attention for the first non-empty sentence to this file.
    """

    run_dir: RunDir
    sentences: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="SENTENCE")
    ] = ()
    data: tuple[Path, ...] = ()
    text_column: str = "text"
    references: Path | None = None
    out: Path | None = None
    beam: ZeroOrMore = BEAM
    picture: Path | None = None


def generated() -> list[tuple[str, str]]:
    """The sentences of a small language whose translations have another order."""
    who = {"hund": "dog", "mann": "man", "ball": "ball", "vogel": "bird", "igel": "hog"}
    how = {"rote": "red", "kleine": "little", "alte": "old"}
    does = {"sucht": "seeks", "sieht": "sees", "hat": "has"}
    pairs = [
        (f"den {a} {d} der {b} {c}.", f"the {how[b]} {who[c]} {does[d]} the {who[a]}.")
        for a, b, c, d in itertools.product(who, how, who, does)
    ]
    random.Random(0).shuffle(pairs)
    return pairs


def check(options: Options) -> None:
    """Refuse numbers that make no sense."""
    check_options(options, validated=True)
    if options.hidden % 2:
        raise lstm_jax.InputError(
            f"--hidden: expected an even number, found {options.hidden}"
        )


def files_of(options: Options) -> list[DataFile]:
    """The files that are read: source and target of each part."""
    if options.smoke:
        return []
    pairs = part_files(options.data, options.languages, options.test)
    return [describe_file(path) for pair in pairs for path in pair]


def learn(options: Options) -> None:
    """Check everything, then run."""
    check(options)
    if options.smoke:
        run = dataclasses.replace(options.run, epochs=40, evaluations=2)
        options = dataclasses.replace(options, **SMOKE, run=run)
        parts = split_pairs(generated())
    else:
        parts = read_parts(options.data, options.languages, options.test)
    need_sacrebleu()
    if not options.capitals:
        parts = parts.in_lower_case()
    files = files_of(options)
    with begun("translate", options, files=files, spare=options.data):
        learn_from(options, parts, files)


def learn_from(
    options: Options, parts: ParallelParts, files: Sequence[DataFile]
) -> None:
    """Train, translate the test set, leave everything in the run directory."""
    from experiments.translate.inference import Search, attention_of
    from experiments.translate.plots import draw_attention

    run_dir = options.run.run_dir
    assert run_dir is not None
    with interruptible() as stop:
        translator, seconds = train(options, parts, run_dir, stop)
    stop.check(
        f"the best model so far is kept in {run_dir}, not scored; --resume goes on"
    )
    if not lstm_jax.distributed.is_primary():
        return
    sources = [source for source, _ in parts.test]
    search = Search(BEAM, ALPHA)
    greedy, beam, written = score_both(translator, parts.test)
    text = "".join(f"{line}\n" for line in written)
    (run_dir / "test_translations.txt").write_text(text, encoding="utf-8")
    lexicon = learn_lexicon(parts.train[:_MOST_COUNTED])
    by_words = [translate_by_words(lexicon, source) for source in sources]
    floor = score(translator, by_words, parts.test)
    picture = attention_of(translator, sources[0], search)
    draw_attention(*picture, run_dir / "attention.png")
    for (source, reference), ours in zip(parts.test[:5], written[:5], strict=True):
        print(f"\n  {source}\n  ours       {ours}\n  reference  {reference}")
    print(f"\nword by word {floor}\ngreedy       {greedy}\nbeam         {beam}")
    row = result(options, files, greedy, beam, floor, seconds / 60)
    write_result(run_dir, row)


def train(
    options: Options, parts: ParallelParts, run_dir: Path, stop: Stop
) -> tuple[TextTranslator, float]:
    """Train a translator; the best one by validation loss, and the seconds it took."""
    from experiments.training import train_network
    from experiments.translate.inference import TextTranslator
    from experiments.translate.task import (
        NAME,
        encode_pairs,
        save_tables,
        tables_of,
        translation_task,
    )

    run = options.run
    folder = run_dir if run.resume else None
    source, target = tables_of(parts.train, options.symbols, folder)
    sizes = {
        **{"source_size": len(source), "target_size": len(target), "layers": 1},
        **{"embedding": options.embedding, "hidden": options.hidden},
        **{"dropout": options.dropout, "cell": options.cell},
    }
    spec = lstm_jax.models.ModelSpec("seq2seq", sizes)
    if lstm_jax.distributed.is_primary():
        save_tables((source, target), run_dir)
    loss = functools.partial(lstm_jax.models.seq2seq_loss, smoothing=SMOOTHING)
    compiled = lstm_jax.training.CompiledSteps(
        lstm_jax.training.with_precision(loss, options.precision),
        lstm_jax.make_optimizer(0.0, 1.0, 0.98),
    )
    task = translation_task(
        encode_pairs(parts.train, source, target),
        encode_pairs(parts.val, source, target),
        compiled.loss,
        rows=options.batch,
        buckets=1 if options.smoke else BUCKETS,
        seed=run.seed,
    )
    assert run.epochs is not None, "Options has a default"
    trained = train_network(
        NAME,
        spec,
        task,
        compiled,
        run,
        folder=run_dir,
        steps=run.epochs * task.steps_per_epoch,
        learning_rate=options.learning_rate,
        settings={"lower_case": not options.capitals},
        callbacks=[stop],
        show=True,
    )
    translator = TextTranslator(trained.model, source, target, not options.capitals)
    return translator, trained.timer.seconds()


def score_both(
    translator: TextTranslator, pairs: Sequence[tuple[str, str]]
) -> tuple[BLEUScore, BLEUScore, list[str]]:
    """Translate greedily and by beam search: both scores, and what the beam wrote."""
    from experiments.translate.inference import Search, translate

    sources = [source for source, _ in pairs]
    greedy = score(translator, translate(translator, sources), pairs)
    written = translate(translator, sources, Search(BEAM, ALPHA))
    return greedy, score(translator, written, pairs), written


def score(
    translator: TextTranslator, ours: list[str], pairs: Sequence[tuple[str, str]]
) -> BLEUScore:
    """BLEU of translations, with sacreBLEU's signature."""
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(lowercase=translator.lower_case)
    score = metric.corpus_score(ours, [[reference for _, reference in pairs]])
    score.name = f"BLEU|{metric.get_signature()}"
    return score


def need_sacrebleu() -> None:
    """Refuse to begin without the package that scores."""
    if find_spec("sacrebleu") is None:
        raise lstm_jax.InputError("expected sacrebleu: pip install -e '.[translate]'")


def evaluate(options: EvaluateOptions) -> None:
    """Score a trained translator on parallel texts."""
    from experiments.translate.inference import load_translator

    if len(options.data) != 2:
        raise lstm_jax.InputError(
            f"--data: expected two files, found {len(options.data)}"
        )
    need_sacrebleu()
    check_out(options.out, options.data)
    pairs = read_parallel(*options.data)
    translator = load_translator(options.run_dir)
    greedy, beam, written = score_both(translator, pairs)
    if options.out:
        rows = [(*pair, ours) for pair, ours in zip(pairs, written, strict=True)]
        write_rows(options.out, ("text", "reference", "translation"), rows)
    print(f"greedy {greedy}\nbeam   {beam}")
    if options.json:
        scores = {"greedy": greedy.score, "beam": beam.score}
        print(json.dumps({"metric": beam.name, "pairs": len(pairs), **scores}))


def languages_of(options: Options, files: Sequence[DataFile]) -> tuple[str, str]:
    """From and to: of two files, what tells their names apart."""
    if len(files) != 2 or options.languages != Options.languages:
        return options.languages
    paths = [Path(file.name) for file in files]
    by_ending = tuple(path.suffix.removeprefix(".") for path in paths)
    source, target = by_ending if len({*by_ending}) == 2 else (p.stem for p in paths)
    return source or paths[0].name, target or paths[1].name


def result(
    options: Options,
    files: Sequence[DataFile],
    greedy: BLEUScore,
    beam: BLEUScore,
    floor: BLEUScore,
    minutes: float,
) -> Result:
    """The row of the table of applications."""
    tested = f"test on {options.test}" if len(options.data) == 1 else "ends held out"
    return Result(
        **described(
            f"Machine translation, {' to '.join(languages_of(options, files))}",
            f"{'capitals' if options.capitals else 'lower case'}, {tested}",
            files,
            " ".join(file.name for file in files) or "generated",
        ),
        metric=beam.name,
        ours=f"{beam.score:.1f} (beam {BEAM}), {greedy.score:.1f} (greedy)",
        floor=f"{floor.score:.1f}, word by word (IBM model 1)",
        minutes=round(minutes, 1),
        command=command_line("translate", options),
    )


def predict(options: PredictOptions) -> None:
    """Print a translation for every sentence."""
    from experiments.translate.inference import (
        Search,
        attention_of,
        load_translator,
        translate,
    )
    from experiments.translate.plots import draw_attention

    check_bounds(options)
    lstm_jax.report.check_picture(options.picture)
    read = *options.sentences, *options.data, options.references or STDIN
    check_out(options.out, read)
    sentences, _ = given_texts(options.sentences, options.data, options.text_column)
    references = references_for(sentences, options.references)
    translator = load_translator(options.run_dir)
    search = Search(options.beam, ALPHA)
    written = translate(translator, sentences, search)
    write_translations(options.out, sentences, references, written)
    if references is not None:
        columns = zip(sentences, references, written, strict=True)
        scored = [each for each in columns if each[0] and each[1]]
        pairs = [(sentence, reference) for sentence, reference, _ in scored]
        # Beside the translations, if they are on the standard output.
        aside = None if options.out else sys.stderr
        print(score(translator, [ours for _, _, ours in scored], pairs), file=aside)
    if options.picture:
        first = next(filter(str.strip, sentences), None)
        if first is None:
            raise lstm_jax.InputError("--picture: expected a sentence, found none")
        picture = attention_of(translator, first, search)
        draw_attention(*picture, options.picture)


def references_for(sentences: Sequence[str], path: Path | None) -> list[str] | None:
    """The references in a file, one for each sentence."""
    if path is None:
        return None
    need_sacrebleu()
    references = read_lines(path)
    if len(references) != len(sentences) or not any(references):
        raise lstm_jax.InputError(
            f"--references: expected {len(sentences)} lines, one for each sentence, "
            f"found {len(references)} in {path}"
        )
    return references


def write_translations(
    out: Path | None,
    sentences: Sequence[str],
    references: Sequence[str] | None,
    written: Sequence[str],
) -> None:
    """Write translations, a line each; or a table, if the file's name says so."""
    if out is None or out.suffix.lower() not in (".csv", ".tsv"):
        write_text(out, "".join(f"{line}\n" for line in written))
        return
    columns = {"text": sentences, "translation": written}
    if references is not None:
        columns["reference"] = references
    write_rows(out, [*columns], zip(*columns.values(), strict=True))


def main(argv: Sequence[str] | None = None) -> int | None:
    """The command; returns its exit code."""
    return run_experiment(
        "translate",
        __doc__,
        argv,
        learn=(Options, learn),
        evaluate=(EvaluateOptions, evaluate),
        predict=(PredictOptions, predict),
    )


if __name__ == "__main__":
    run_command(main)
