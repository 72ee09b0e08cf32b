"""Find anomalies in time series, point by point as they come.

Task      A score for every point of a series from that point and those before it, and
          an alarm where something is wrong. Twelve LSTMs say how the point is
          distributed, from 1, 12, 24 and 48 points before it; each begins from a linear
          forecast that is fitted as the points come. How far out a point lies is held
          against the surprises of its series so far. They read all series, none by
          name.
Data      NAB, the Numenta Anomaly Benchmark (MIT): 58 series of 1,127 to 22,695
          points, 116 labelled windows. `--data` is a zip or a folder with data/ and
          labels/; in a run, labels decide nothing but the scores.
Protocol  The network learns from the leading part of each series that NAB does not
          score, 15 % and 750 points at most. NAB's score, standard profile, on all 58
          series: by NAB's convention, which takes the threshold that is best for the
          labels, and with the alarm level that was chosen beforehand. F1 of segments
          that overlap, as Orion counts it, on the 45 series it has; they lie around
          points of which the whole series has less than one by chance. Settings were
          chosen by the labels of the other 13.
Command   python -m experiments.anomaly --data nab_data_labels.zip
          python -m experiments.anomaly --resume --run-dir RUN_DIR
          python -m experiments.anomaly evaluate RUN_DIR --data my_folder
          python -m experiments.anomaly predict RUN_DIR my.csv
          tail -f my.csv | python -m experiments.anomaly predict RUN_DIR -
Published F1: AER 0.663, LSTM autoencoder 0.600, LSTM with dynamic threshold 0.586
          (Orion 0.7.1). NAB: ARTime 74.9, Numenta's HTM 70.1, KNN-CAD 58.0, windowed
          Gaussian 39.6, random 11.0.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

import lstm_jax
from experiments.anomaly.config import DetectorConfig
from experiments.anomaly.data import (
    Series,
    describe_benchmark,
    read_benchmark,
)
from experiments.anomaly.lines import LineSpec, points_of
from experiments.anomaly.scoring import Report, report_on
from experiments.cli import command_line, run_experiment
from experiments.known_data import described
from experiments.results import DataFile, Result, write_result
from experiments.runs import RunOptions, begun, check_options
from lstm_jax.cli import run_command
from lstm_jax.config import Positive, RunConfig, check_bounds
from lstm_jax.data import decode_table
from lstm_jax.training import interruptible

NAME = "anomaly"
RunDir = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
SMOKE = {"hidden": 8, "rows": 8, "length": 64, "steps": 24}


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Train on the leading parts of all series, and score the rest.

    Args:
        data: a zip or a folder laid out as NAB is: data/GROUP/NAME.csv, lines of
            timestamp,value, and labels/combined_windows.json.
        smoke: run in seconds on a small generated data set.
        recipe: the network and its training.
        run: how long, and where it is kept.
    """

    data: Path | None = None
    smoke: bool = False
    recipe: DetectorConfig = dataclasses.field(default_factory=DetectorConfig)
    run: RunConfig = dataclasses.field(
        default_factory=lambda: RunConfig(run_dir=Path("runs/anomaly"))
    )


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score the detector that a run has left on labelled series of your own.

    Args:
        run_dir: folder of a training run.
        data: a zip or a folder, as for the training.
        json: print the results as a last line of JSON.
    """

    run_dir: RunDir
    data: Path | None = None
    json: bool = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Score the points of a series as they come, a line for each before the next.

    The columns are the time as it was given, the value, the score, -ln of the
    probability of a point as strange, and 1 where an alarm is given. The first points
    only show what the series is like: 50 have no score.

    Args:
        run_dir: folder of a training run.
        data: a file of lines timestamp,value; - is the standard input.
        false_alarms: an alarm is a point so strange that a series as long as it is so
            far has fewer such points by chance than this. Default: that of the run.
        lines: how they are read.
    """

    run_dir: RunDir
    data: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CSV")]
    false_alarms: Positive | None = None
    lines: LineSpec = dataclasses.field(default_factory=LineSpec)


def generated() -> list[Series]:
    """Hourly series of days, in each of which a day goes wrong."""
    rng, hours = np.random.default_rng(0), np.arange(600)
    made = []
    for k in range(4):
        values = np.sin(hours * np.pi / 12 + k) + 0.1 * rng.normal(size=600)
        first = 300 + 50 * k
        values[first : first + 24] += 3.0
        window = (first, first + 23)
        seconds = np.add(1.4e9, 3600.0 * hours, dtype=np.float64)
        made.append(Series(f"made/{k}", seconds, 10**k * values, (window,)))
    return made


def load(options: Options) -> tuple[list[Series], Options]:
    """Read the series; the options are then those that suit them."""
    if options.smoke:
        recipe = dataclasses.replace(options.recipe, **SMOKE)
        return generated(), dataclasses.replace(options, recipe=recipe)
    if options.data is None:
        raise lstm_jax.InputError("--data: expected a path, found none (or --smoke)")
    return read_benchmark(options.data), options


def learn(options: Options) -> None:
    """Check everything, then run."""
    check_options(options, validated=False)
    series, options = load(options)
    files = (
        [] if options.smoke or not options.data else [describe_benchmark(options.data)]
    )
    spare = [options.data] if options.data else []
    with begun(NAME, options, files=files, spare=spare):
        learn_from(options, series, files)


def learn_from(
    options: Options, series: list[Series], files: Sequence[DataFile]
) -> None:
    """The run, in its folder."""
    from experiments.anomaly.plots import draw_alarms
    from experiments.anomaly.task import Detector, train_detector

    run_dir = options.run.run_dir
    assert run_dir is not None
    with interruptible() as stop:
        trained = train_detector(
            series,
            options.recipe,
            options.run,
            precision=options.precision,
            folder=run_dir,
            callbacks=[stop],
        )
    stop.check(
        f"the last model is kept in {run_dir}, unfinished, not scored; --resume goes on"
    )
    if not lstm_jax.distributed.is_primary():
        return
    began = time.perf_counter()
    report = report_on(Detector(trained.model, options.recipe.false_alarms), series)
    print(report)
    draw_alarms(run_dir / "alarms.png", series, report.alarms, report.segments)
    scored = time.perf_counter() - began
    minutes = (trained.timer.seconds() + scored) / 60  # all parts of a resumed run
    for folder, result in results(options, report, files, minutes).items():
        write_result(run_dir / folder, result)


def results(
    options: Options, report: Report, files: Sequence[DataFile], minutes: float
) -> dict[str, Result]:
    """The two rows of the table, by the folder of the run that each is kept in."""
    names = " ".join(file.name for file in files) or "generated"
    shared = {"minutes": minutes, "command": command_line(NAME, options)}
    found, nab = report.f1, report.nab
    segments = Result(
        **described(
            "Anomaly detection, F1",
            f"{found.series} series, segments that overlap, pooled",
            files,
            names,
        ),
        metric="F1 (precision, recall)",
        ours=f"{found.ours}, {found.share:.0%} of the points in segments",
        floor="; ".join(f"{name} {counts}" for name, counts in found.floors.items()),
        **shared,
    )
    points = Result(
        **described(
            "Anomaly detection, NAB score",
            f"{nab.series} series, standard profile; the one threshold is the best for "
            "the labels, as on NAB's board",
            files,
            names,
        ),
        metric="NAB score",
        ours=str(nab),
        floor=", ".join(f"{name} {score:.1f}" for name, score in nab.floors.items()),
        **shared,
    )
    return {"f1": segments, ".": points}


def evaluate(options: EvaluateOptions) -> None:
    """Score a trained detector on labelled series."""
    from experiments.anomaly.task import load_detector

    if options.data is None:
        raise lstm_jax.InputError("--data: expected a path, found none")
    series = read_benchmark(options.data)
    report = report_on(load_detector(options.run_dir), series)
    print(report)
    if options.json:
        print(json.dumps(report.numbers()))


def predict(options: PredictOptions) -> None:
    """Print a line for every point, as soon as it has come."""
    from experiments.anomaly.inference import Stream
    from experiments.anomaly.task import load_detector

    check_bounds(options)
    detector = load_detector(options.run_dir)
    level = options.false_alarms or detector.false_alarms
    stream = Stream(detector.models)
    print("timestamp,value,score,alarm", flush=True)
    name = "standard input" if options.data == Path("-") else str(options.data)
    for point in points_of(lines_of(options.data), name, options.lines):
        verdict = stream.judge(point.seconds, point.value)
        flag = int(verdict.expected <= level)
        score = f"{verdict.score:.4f}"
        time = f'"{point.time}"' if "," in point.time else point.time
        print(f"{time},{point.value:.10g},{score},{flag}", flush=True)


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file, or those of the standard input as they come."""
    if path == Path("-"):
        if sys.stdin is None:  # closed by the shell
            raise lstm_jax.InputError("-: expected a standard input, found none")
        yield from sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise lstm_jax.InputError(
            f"{path}: expected a CSV file, found: {error.strerror}"
        ) from None
    with file:
        if file.peek(4)[:4].startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16, UTF-32
            text = decode_table(file.read(), path)
            yield from (line.encode() for line in text.split("\n"))
            return
        yield from file


def main(arguments: Sequence[str] | None = None) -> int | None:
    """The command; returns its exit code."""
    return run_experiment(
        NAME,
        __doc__,
        arguments,
        learn=(Options, learn),
        evaluate=(EvaluateOptions, evaluate),
        predict=(PredictOptions, predict),
    )


if __name__ == "__main__":
    run_command(main)
