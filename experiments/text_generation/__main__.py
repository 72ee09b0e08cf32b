"""Text generation: a character-level LSTM on tiny shakespeare, against the clock.

Task      Two Mogrifier LSTM layers read a text character by character
          and say what comes next. What is measured is the loss on held-out text.
Data      Tiny shakespeare, 1,115,394 characters: the file input.txt in the folder
          data/tinyshakespeare of github.com/karpathy/char-rnn; the plays are in the
          public domain. Any text will do.
Protocol  The first 90 % to learn from, the loss on every character of the rest:
          window256, windows of 256 characters, each from the zero state, and stream,
          one pass. The budget is the wall clock of training, with compilation, nothing
          being compiled before. Settings were chosen by the same held-out text, as in
          the published numbers.
Floor     A Witten-Bell 5-gram model.
Command   python -m experiments.text_generation --data FILE
          python -m experiments.text_generation --data FILE --max-seconds 600
          python -m experiments.text_generation --data FILE --preset shakespeare-10min
          python -m experiments.text_generation --data FILE --preset shakespeare-60min \
              --seeds 1
          python -m experiments.text_generation --data FILE --ablation cell optimizer
          python -m experiments.text_generation --resume --run-dir runs/text_generation
          python -m experiments.text_generation evaluate runs/text_generation \
              --data FILE
          python -m experiments.text_generation predict runs/text_generation "ROMEO:"
Others    nanoGPT 1.4697, 10.7 million parameters, 3 minutes on an A100, and 1.88, 3
          minutes on a laptop's CPU (its README); minLSTM 1.555 (Feng et al. 2024).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

import lstm_jax
from experiments.cli import command_line, flags_of, run_experiment
from experiments.known_data import described
from experiments.results import Result, describe_file, write_result
from experiments.runs import RunOptions, begun, check_options, words_of
from experiments.text_generation.baseline import witten_bell
from lstm_jax.cli import run_command
from lstm_jax.config import (
    Amount,
    ClusterConfig,
    OneOrMore,
    RunConfig,
    Seed,
    ZeroOrMore,
    check_bounds,
)
from lstm_jax.data import read_text
from lstm_jax.errors import Interrupted

if TYPE_CHECKING:
    from experiments.results import DataFile

Summary = dict[str, Any]  # of a run, see `lstm_jax.lm.console`
ANCHORS = {"nanoGPT, laptop CPU, 3 min": 1.88, "nanoGPT, A100, 3 min": 1.4697}
FEWEST = 11  # characters, of which the last two are held out
# An ablation gives one of these to each run; those that change nothing are left out.
CHANGES = {
    "cell": ("--mogrifier 0", "--mogrifier 4", "--capped-gate", "--top-only"),
    "optimizer": ("--precision float32", "--ema 0", "--reset-probability 0"),
    "regularizers": (
        *("--dropout 0", "--no-variational", "--weight-drop 0", "--weight-drop 0.2"),
        "--training-temperature 1",
    ),
}
_SECONDS = 180
_MOST_COUNTED = 10_000_000  # symbols of a text, for the floor
_OURS = ("run_dir", "overwrite", "resume", "seed")  # flags that are not handed on
Group = Literal["cell", "optimizer", "regularizers"]


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """What to learn from, and for how long.

    Args:
        data: a text file; `.gz` is decompressed.
        vocab: unit of the vocabulary, character or byte.
        preset: settings and time budget by name; without one, the settings are chosen
            for the text, the machine and --max-seconds, 180 by default.
        seeds: number of runs, with consecutive seeds from --seed on.
        ablation: instead, train one seed with one option changed at a time, of these
            groups.
        dynamic: also measure dynamic evaluation.
        smoke: run in seconds on a small generated text.
        run: where it is saved, and what overrides the preset.
    """

    data: Path | None = None
    vocab: Literal["char", "byte"] = "char"
    preset: str | None = None
    seeds: OneOrMore = 3
    ablation: tuple[Group, ...] = ()
    dynamic: bool = False
    smoke: bool = False
    run: RunConfig = dataclasses.field(
        default_factory=lambda: RunConfig(run_dir=Path("runs/text_generation"))
    )

    @property
    def trains_several(self) -> bool:
        """Whether there is a network for each of several seeds, or changes."""
        return self.seeds > 1 or bool(self.ablation)


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score the models of a run, one for each seed, on a text of your own.

    Args:
        run_dir: folder of a training run.
        data: the text; `.gz` is decompressed.
        json: print the results as a last line of JSON.
    """

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    data: Path | None = None
    json: bool = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Go on from a beginning of your own.

    Args:
        run_dir: folder of a training run.
        prompt: text to continue.
        length: number of characters to generate.
        temperature: sampling temperature; below 1 favors likely characters, 0 is
            greedy.
        seed: random seed.
    """

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    prompt: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PROMPT")]
    length: ZeroOrMore = 400
    temperature: Amount = 0.8
    seed: Seed = 0


def learn(options: Options) -> None:
    """Check everything, then run."""
    check_options(options, validated=True)
    if options.data is None and not options.smoke:
        raise lstm_jax.InputError("--data: expected a text file, found none")
    if options.preset:
        lstm_jax.preset(options.preset)  # refuses one that it does not know
    run_dir = options.run.run_dir
    assert run_dir is not None
    if options.smoke or options.data is None:
        text, source = generated(), run_dir / "generated.txt"
        options = dataclasses.replace(options, seeds=1)
    else:
        text, source = read_text([options.data], options.vocab), options.data
    if len(text) < FEWEST:
        raise lstm_jax.InputError(
            f"{source}: expected a text of {FEWEST} characters or more, the last tenth "
            f"of which is held out, found {len(text)}"
        )
    files = [] if options.smoke else [describe_file(source)]
    if options.cluster.process:  # the first process has the folder, and compares
        train_all(options, source, run_dir)
        return
    alone = dataclasses.replace(options, cluster=ClusterConfig())
    spare = [options.data] if options.data else []
    with begun("text_generation", alone, files=files, spare=spare):
        if options.smoke:
            source.write_text(generated(), encoding="utf-8")
        learn_from(options, source, text, files)


def learn_from(
    options: Options, source: Path, text: str | bytes, files: Sequence[DataFile]
) -> None:
    """Train once per seed, or once per change; compare; leave what was found."""
    run_dir = options.run.run_dir
    assert run_dir is not None
    if options.ablation:
        ablate(options, source, run_dir)
        return
    runs = train_all(options, source, run_dir)
    floor = five_grams(text)
    table = seeds_table(runs, options.run.seed)
    (run_dir / "results.md").write_text(table, encoding="utf-8")
    print(f"\n{table}\n5-grams {floor:.4f}")
    draw(run_dir, options.seeds, options.run.seed)
    write_result(run_dir, result(options, runs, floor, files))


def train_all(options: Options, source: Path, run_dir: Path) -> list[Summary]:
    """Train once per seed."""
    return [
        train(options, source, run_dir / f"seed-{k}", options.run.seed + k)
        for k in range(options.seeds)
    ]


def generated() -> str:
    """Sums, each of which can be foretold but for its first terms."""
    rng = np.random.default_rng(0)
    pairs = rng.integers(10, size=(600, 2))
    return "".join(f"{a} + {b} = {a + b}\n" for a, b in pairs)


def train(
    options: Options, source: Path, run_dir: Path, seed: int, *changes: str
) -> Summary:
    """Train in a process of its own, as a user would; nothing is compiled before.

    A run that is to be resumed goes on; of several, one that was finished is not run
    again.
    """
    kept = run_dir / "summary.json"
    if not (options.trains_several and options.run.resume and kept.exists()):
        words: list[object] = ["--run-dir", run_dir]
        if options.run.resume and (run_dir / "config.json").exists():
            words += ["--resume", *words_of(options.run, but=_OURS)]
        else:
            words += ["--data", source, "--overwrite", "--seed", seed]
            words += ["--vocab", options.vocab, *changes, *_budget(options)]
            words += words_of(options.run, but=_OURS)
            if options.precision:
                words += ["--precision", options.precision]
            if options.smoke:
                words += ["--hidden", 32, "--max-seconds", 3600, "--epochs", 20]
        for name, value in dataclasses.asdict(options.cluster).items():
            words += [f"--{name}", value] if value is not None else []
        call("train", *words)
    summary = json.loads(kept.read_text(encoding="utf-8"))
    if summary["epochs"] is None:
        raise lstm_jax.InputError(f"{run_dir}: expected a history, found none")
    if options.dynamic:
        said = call("evaluate", run_dir, "--dynamic", "--json")
        cards = json.loads(said.splitlines()[-1])
        summary["validation"]["dynamic"] = cards["dynamic"]
    return summary


def _budget(options: Options) -> list[object]:
    """The preset, or the time in whose place the user has given nothing."""
    if options.preset:
        return ["--preset", options.preset]
    told = options.run.max_seconds or options.run.epochs or options.smoke
    return [] if told else ["--max-seconds", _SECONDS]


def call(command: str, *words: object) -> str:
    """Run one of the library's commands, show what it says, and return it.

    Raises:
        Interrupted: a signal came, which the command was told of.
        InputError: the command failed.
    """
    with tempfile.TemporaryDirectory() as cache:
        process = subprocess.Popen(
            [sys.executable, "-m", f"lstm_jax.{command}", *map(str, words)],
            env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache},
            stdout=subprocess.PIPE,
            encoding="utf-8",
            process_group=0,  # a Ctrl-C reaches it through us, and once
        )
        assert process.stdout is not None
        said = []
        with handed_on(process) as signals, process.stdout:
            for line in process.stdout:
                said.append(line)
                if not line.startswith("{"):
                    print(f"  {line}", end="")
            process.wait()
    if signals:
        kept = "the model of the run above is kept as it says, unfinished, not scored"
        raise Interrupted(kept, 128 + signals[-1])
    if process.returncode:
        raise lstm_jax.InputError(f"{command}: it ended with {process.returncode}")
    return "".join(said)


@contextlib.contextmanager
def handed_on(process: subprocess.Popen[str]) -> Iterator[list[int]]:
    """While this is open, signals go to a process, which knows what to keep.

    Yields:
        The numbers of the signals that came.
    """
    came: list[int] = []

    def hand_on(number: int, frame: object) -> None:
        came.append(number)
        process.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, hand_on) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def five_grams(text: str | bytes) -> float:
    """The loss of the floor in nats per symbol, in one pass.

    Of a long text, of the symbols around the place where what is held out begins.
    """
    known = int(len(text) * 0.9)
    begin = max(0, known - _MOST_COUNTED * 9 // 10)
    text, known = text[begin : known + _MOST_COUNTED // 10], known - begin
    symbols, ids = np.unique(list(text), return_inverse=True)
    nats = witten_bell(ids[:known], ids[known:], len(symbols))
    return float(nats.mean())


def seeds_table(runs: Sequence[Summary], first: int) -> str:
    """A row per seed, and their mean."""
    protocols = list(runs[0]["validation"])
    lines = [
        _row(["seed", "parameters", "epochs", "seconds", *protocols]),
        _row(["---"] * (4 + len(protocols))),
    ]
    for seed, run in enumerate(runs, first):
        losses = [f"{run['validation'][name]['loss']:.4f}" for name in protocols]
        known = f"{run['parameters']:,}", f"{run['epochs']:.1f}"
        seconds = f"{run['seconds']['loop']:.1f}"
        lines.append(_row([str(seed), *known, seconds, *losses]))
    means = [f"{_losses(runs, name).mean():.4f}" for name in protocols]
    lines.append(_row(["mean", "", "", "", *means]))
    return "\n".join(lines) + "\n"


def ablate(options: Options, source: Path, run_dir: Path) -> None:
    """A row for the preset, and for every option that is switched."""
    preset = options.preset or "shakespeare-3min"
    options = dataclasses.replace(options, preset=preset)
    lines = [
        _row(["changed", "epochs", "window256", "difference", "stream"]),
        _row(["---"] * 5),
    ]
    base = None
    for change in ("nothing", *changes_of(preset, options.ablation)):
        words = [] if base is None else change.split()
        name = change.strip("-").replace(" ", "-")
        place, seed = run_dir / "ablation" / name, options.run.seed
        run = train(options, source, place, seed, *words)
        cut, whole = (run["validation"][p]["loss"] for p in ("window256", "stream"))
        base = cut if base is None else base
        losses = [f"{cut:.4f}", f"{cut - base:+.4f}", f"{whole:.4f}"]
        lines.append(_row([change, f"{run['epochs']:.1f}", *losses]))
        table = "\n".join(lines) + "\n"
        (run_dir / "ablation.md").write_text(table, encoding="utf-8")
        print(f"\n{table}")


def changes_of(preset: str, groups: Sequence[Group]) -> list[str]:
    """The changes of these groups that are one, of the settings of this preset."""
    settings = flags_of(lstm_jax.preset(preset))

    def differs(change: str) -> bool:
        flag, *values = change.removeprefix("--").split()
        wanted = not flag.startswith("no-")
        now = settings[flag.removeprefix("no-").replace("-", "_")]
        if not values:
            return now != wanted
        return str(now) != values[0] and (
            isinstance(now, str) or float(str(now)) != float(values[0])
        )

    return [change for group in groups for change in CHANGES[group] if differs(change)]


def _losses(runs: Sequence[Summary], protocol: str) -> np.ndarray:
    return np.array([run["validation"][protocol]["loss"] for run in runs])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def draw(run_dir: Path, seeds: int, first: int) -> None:
    """Validation losses over seconds, with other people's as lines."""
    figure = lstm_jax.report.new_figure(7.5, 4.5)
    axes = figure.subplots()
    for k in range(seeds):
        history = run_dir / f"seed-{k}" / "metrics.jsonl"
        lines = [json.loads(line) for line in history.read_text().splitlines()]
        measured = [line for line in lines if line["val_loss"] is not None]
        axes.plot(
            [line["seconds"] for line in measured],
            [line["val_loss"] for line in measured],
            "o-",
            markersize=3,
            label=f"seed {first + k}",
        )
    for (name, loss), style in zip(ANCHORS.items(), ("--", ":"), strict=True):
        axes.axhline(loss, color="#606060", linestyle=style, linewidth=1, label=name)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("validation loss, nats per character")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    shows = "Validation loss over seconds, a line for each seed."
    lstm_jax.report.save_figure(figure, run_dir / "curves.png", 110, shows)


def result(
    options: Options, runs: Sequence[Summary], floor: float, files: Sequence[DataFile]
) -> Result:
    """The row of the table of applications."""
    cut, whole = _losses(runs, "window256"), _losses(runs, "stream")
    minutes = float(np.mean([run["seconds"]["loop"] for run in runs])) / 60
    # A run that ends before its time is named after what it was given.
    given = (options.run.max_seconds or 60 * minutes) / 60
    symbol = "byte" if options.vocab == "byte" else "character"
    held_out = f"{'bytes, ' * (symbol == 'byte')}last 10 % held out"
    spread = f" ± {cut.std(ddof=1):.4f}" if len(runs) > 1 else ""
    averaged = f"mean of {len(runs)} seeds" if len(runs) > 1 else "one seed"
    return Result(
        **described(
            f"Text generation, {given:.0f} minutes",
            f"{held_out}, {averaged}",
            files,
            files[0].name if files else "generated",
        ),
        metric=f"loss, nats per {symbol} (window256)",
        ours=f"{cut.mean():.4f}{spread}; stream {whole.mean():.4f}",
        floor=f"{floor:.4f}, 5-grams (Witten-Bell), stream",
        minutes=round(minutes, 1),
        command=command_line("text_generation", options),
    )


def evaluate(options: EvaluateOptions) -> None:
    """Score the model of every seed on a text."""
    if options.data is None:
        raise lstm_jax.InputError("--data: expected a text file, found none")
    found = {}
    for run_dir in _runs_in(options.run_dir):
        trained = lstm_jax.lm.load_text(run_dir)
        text = read_text([options.data], trained.config.text.vocab)
        found[run_dir.name] = lstm_jax.evaluate_text(trained, text)
        losses = ", ".join(
            f"{protocol} {scores['loss']:.4f}"
            for protocol, scores in found[run_dir.name].items()
        )
        print(f"{run_dir.name}: loss, nats per symbol: {losses}")
    if options.json:
        print(json.dumps(found))


def _runs_in(folder: Path) -> list[Path]:
    """The runs of all seeds, or the folder itself if it is a run of lstm_jax.train."""
    seeds = sorted(folder.glob("seed-*"))
    if not seeds and (folder / "vocab.json").exists():
        return [folder]
    if not seeds:
        raise lstm_jax.InputError(f"{folder}: expected a run, found no seeds")
    return seeds


def predict(options: PredictOptions) -> None:
    """Print the beginning and what the first model makes of it."""
    check_bounds(options)
    trained = lstm_jax.lm.load_text(_runs_in(options.run_dir)[0])
    made = lstm_jax.generate_text(
        trained,
        options.prompt,
        options.length,
        temperature=options.temperature,
        seed=options.seed,
    )
    print(options.prompt + made)


def main(argv: Sequence[str] | None = None) -> int | None:
    """The command; returns its exit code."""
    return run_experiment(
        "text_generation",
        __doc__,
        argv,
        learn=(Options, learn),
        evaluate=(EvaluateOptions, evaluate),
        predict=(PredictOptions, predict),
    )


if __name__ == "__main__":
    run_command(main)
