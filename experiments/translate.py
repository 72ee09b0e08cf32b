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
          python -m experiments.translate predict runs/translate "Ein Hund läuft."
Others    LSTM without attention 13.8, GRU with attention 28.3, Transformer 36.5, greedy
          (the notebooks of bentrevett/pytorch-seq2seq, other tokenization).
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import tyro

import lstm_jax

if TYPE_CHECKING:  # JAX is imported where it is used, so that --help need not wait
    from sacrebleu.metrics.bleu import BLEUScore

HELD_OUT = 1000  # pairs for validation, and for the test, of one pair of files at most
BEAM, ALPHA = 5, 1.0

Pairs = list[tuple[str, str]]  # a sentence and its translation


@dataclasses.dataclass(frozen=True)
class Options:
    """What to learn from, and how.

    Args:
        data: a folder with {train,val,test_2016_flickr}.{de,en}, or two files that are
            parallel line by line, whose ends are held out. `.gz` is unpacked.
        languages: the endings of the files in a folder: from, to.
        test: the name of the test files in a folder.
        run_dir: where to leave the model, the pictures and the result.
        max_seconds: of training; the learning rate reaches zero when they are over.
        epochs: passes over the training pairs, if time allows.
        smoke: a small generated language instead, in seconds.
        capitals: keep them.
        symbols: subwords of each language.
        embedding: width of the embeddings.
        hidden: units of each layer of the decoder; half of them for each direction of
            the encoder.
        layers: of the encoder.
        dropout: share of activations dropped.
        smoothing: share of each target spread evenly over all symbols.
        learning_rate: peak of the schedule.
        batch: pairs per step.
        buckets: the most shapes of batches.
        evaluations: validations in the course of the training.
        seed: of all that is random.
    """

    data: tuple[Path, ...] = ()
    languages: tuple[str, str] = ("de", "en")
    test: str = "test_2016_flickr"
    run_dir: Path = Path("runs/translate")
    max_seconds: float | None = None
    epochs: int = 12
    smoke: bool = False
    capitals: bool = False
    symbols: int = 4000
    embedding: int = 256
    hidden: int = 256
    layers: int = 1
    dropout: float = 0.3
    smoothing: float = 0.1
    learning_rate: float = 2e-3
    batch: int = 64
    buckets: int = 6
    evaluations: int = 12
    seed: int = 0


SMALL = {"epochs": 20, "symbols": 100, "embedding": 32, "hidden": 32, "dropout": 0.0}
SMOKE = {**SMALL, "batch": 16, "buckets": 1, "learning_rate": 1e-2, "evaluations": 2}


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Translate sentences of your own.

    Args:
        run_dir: what the training has left.
        sentences: to be translated; without any, the lines of the standard input are.
        beam: width of the beam; 0 for the likeliest symbol each time.
        picture: where to draw the attention for the first sentence.
    """

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    sentences: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="SENTENCE")
    ] = ()
    beam: int = BEAM
    picture: Path | None = None


@dataclasses.dataclass(frozen=True)
class Parts:
    """The pairs of sentences, by what they are for."""

    train: Pairs
    val: Pairs
    test: Pairs


def read_parts(options: Options) -> Parts:
    """The files of a folder, or the parts of two files."""
    if options.smoke:
        return split(generated(400))
    if len(options.data) == 2:
        return split(lstm_jax.read_parallel(*options.data))
    if len(options.data) != 1:
        raise lstm_jax.InputError(
            f"--data: expected a folder or two files, found {len(options.data)} paths"
        )
    folder = options.data[0]
    names = ("train", "val", options.test)
    return Parts(*(lstm_jax.read_parallel(*files(folder, n, options)) for n in names))


def files(folder: Path, name: str, options: Options) -> list[Path]:
    """The two files of a part, packed if only that is there."""
    plain = [folder / f"{name}.{language}" for language in options.languages]
    packed = [path.with_name(path.name + ".gz") for path in plain]
    pairs = zip(plain, packed, strict=True)
    return [p if p.exists() or not q.exists() else q for p, q in pairs]


def split(pairs: Pairs) -> Parts:
    """A twentieth of the pairs, from the end, for the test; another for validation."""
    count = min(HELD_OUT, len(pairs) // 20)
    if not count:
        raise lstm_jax.InputError(
            f"--data: expected at least 20 pairs of sentences, found {len(pairs)}"
        )
    return Parts(pairs[: -2 * count], pairs[-2 * count : -count], pairs[-count:])


def generated(count: int) -> Pairs:
    """Sentences of a small language, and translations with other orders of words."""
    import numpy as np

    who = {"hund": "dog", "mann": "man", "ball": "ball", "vogel": "bird"}
    how = {"rote": "red", "kleine": "little", "alte": "old"}
    what = {"sucht": "seeks", "sieht": "sees"}
    pairs = []
    for k in np.random.default_rng(0).integers(0, 10_000, (count, 4)):
        a, b = (list(who.items())[i % 4] for i in k[:2])
        c, d = list(how.items())[k[2] % 3], list(what.items())[k[3] % 2]
        german = f"den {a[0]} {d[0]} der {c[0]} {b[0]}."
        pairs.append((german, f"the {c[1]} {b[1]} {d[1]} the {a[1]}."))
    return pairs


def learn(options: Options) -> None:
    """Train, translate the test set, leave everything in the run directory."""
    if find_spec("sacrebleu") is None:
        raise lstm_jax.InputError("expected sacrebleu: pip install -e '.[translate]'")
    if options.smoke:
        options = dataclasses.replace(options, **SMOKE)
    parts = read_parts(options)
    if not options.capitals:
        lower = lstm_jax.in_lower_case
        parts = Parts(lower(parts.train), lower(parts.val), lower(parts.test))
    lstm_jax.keep_programs()
    lstm_jax.show_cores(options.batch)
    started = perf_counter()
    translator = train(options, parts)
    minutes = (perf_counter() - started) / 60
    lstm_jax.save_translator(options.run_dir, translator)

    sources = [source for source, _ in parts.test]
    greedy = score(options, lstm_jax.translate(translator, sources), parts.test)
    search = lstm_jax.Search(BEAM, ALPHA)
    written = lstm_jax.translate(translator, sources, search)
    beam = score(options, written, parts.test)
    lexicon = lstm_jax.learn_lexicon(parts.train)
    by_words = [lstm_jax.translate_by_words(lexicon, source) for source in sources]
    floor = score(options, by_words, parts.test)
    text = "".join(f"{line}\n" for line in written)
    (options.run_dir / "test_translations.txt").write_text(text, encoding="utf-8")
    picture = lstm_jax.attention_of(translator, sources[0], search)
    lstm_jax.draw_attention(*picture, options.run_dir / "attention.png")
    for (source, reference), ours in list(zip(parts.test, written, strict=True))[:5]:
        print(f"\n  {source}\n  ours       {ours}\n  reference  {reference}")
    print(f"\nword by word {floor}\ngreedy       {greedy}\nbeam         {beam}")
    lstm_jax.write_result(
        options.run_dir, result(options, greedy, beam, floor, minutes)
    )


def train(options: Options, parts: Parts) -> lstm_jax.TextTranslator:
    """The best translator by validation loss."""
    source = lstm_jax.learn_subwords((s for s, _ in parts.train), options.symbols)
    target = lstm_jax.learn_subwords((t for _, t in parts.train), options.symbols)
    model = lstm_jax.build_translator(
        len(source),
        len(target),
        options.seed,
        embedding=options.embedding,
        hidden=options.hidden,
        layers=options.layers,
        dropout=options.dropout,
    )
    loss = functools.partial(lstm_jax.translation_loss, smoothing=options.smoothing)
    task = lstm_jax.translation_task(
        lstm_jax.encode_pairs(parts.train, source, target),
        lstm_jax.encode_pairs(parts.val, source, target),
        loss,
        rows=options.batch,
        buckets=options.buckets,
        seed=options.seed,
    )
    optimizer = lstm_jax.make_optimizer(0.0, clip_norm=1.0, beta2=0.98)
    plan = lstm_jax.Plan(
        total_steps=options.epochs * task.steps_per_epoch,
        max_seconds=options.max_seconds,
        peak=options.learning_rate,
        warmup=0.05,
        final_rate=0.0,
    )
    trained = lstm_jax.train_model(
        task,
        model,
        plan,
        lstm_jax.Programs(loss, optimizer),
        seed=options.seed,
        evaluations=options.evaluations,
        run_dir=options.run_dir,
        unit="nats per subword",
    )
    lower_case = not options.capitals
    return lstm_jax.TextTranslator(trained.model, source, target, lower_case)


def score(options: Options, ours: list[str], pairs: Pairs) -> BLEUScore:
    """BLEU of translations, with sacreBLEU's signature."""
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(lowercase=not options.capitals)
    score = metric.corpus_score(ours, [[reference for _, reference in pairs]])
    score.name = f"BLEU|{metric.get_signature()}"
    return score


def result(
    options: Options,
    greedy: BLEUScore,
    beam: BLEUScore,
    floor: BLEUScore,
    minutes: float,
) -> lstm_jax.Result:
    """The row of the table of applications."""
    data = " ".join(str(path.name) for path in options.data)
    where = "--smoke" if options.smoke else f"--data {data}"
    time = f" --max-seconds {options.max_seconds:g}" if options.max_seconds else ""
    direction = " to ".join(options.languages)
    return lstm_jax.Result(
        task=f"Machine translation, {direction}",
        data="Multi30k task 1",
        licence="non-commercial",
        protocol=f"train on train, choose by val, test on {options.test}",
        metric=f"{beam.name}",
        ours=f"{beam.score:.1f} (beam {BEAM}), {greedy.score:.1f} (greedy)",
        floor=f"{floor.score:.1f}, word by word (IBM model 1)",
        published="13.8 without attention, 28.3 GRU with attention",
        best_known="36.5, Transformer from scratch",
        minutes=round(minutes, 1),
        command=f"python -m experiments.translate {where}{time}",
    )


def predict(options: PredictOptions) -> None:
    """Print a translation for every sentence."""
    translator = lstm_jax.load_translator(options.run_dir)
    sentences = options.sentences or [line.strip() for line in sys.stdin]
    search = lstm_jax.Search(options.beam, ALPHA)
    for line in lstm_jax.translate(translator, sentences, search):
        print(line)
    if options.picture and sentences:
        picture = lstm_jax.attention_of(translator, sentences[0], search)
        lstm_jax.draw_attention(*picture, options.picture)


def main(argv: Sequence[str] | None = None) -> int | None:
    """The command; returns its exit code."""
    return lstm_jax.run_experiment(
        "translate",
        __doc__,
        argv,
        learn=(Options, learn),
        predict=(PredictOptions, predict),
    )


if __name__ == "__main__":
    lstm_jax.run_command(main)
