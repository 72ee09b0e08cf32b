"""Forecast many time series with one LSTM: M4 Hourly, or a CSV file of your own.

Task      The next 48 points of each of 414 hourly series, with intervals. One global
          model: an LSTM reads the last week, another writes the next two days, and what
          they find is added to a learned mix of the same hours of the last days and
          weeks. Quantiles by the pinball loss; the point forecast is the median.
Data      github.com/Mcompetitions/M4-methods, Dataset/Train and Test, Hourly-*.csv.
Protocol  Official: sMAPE, MASE (m = 24) and OWA at the one origin the competition had.
          Scales come from training parts only. Settings were chosen on the last 48
          training points, which --validate scores; then the model is trained on all
          training points, and the test part is scored once.
Command   python -m experiments.forecast --data FOLDER
          python -m experiments.forecast --data my.csv --horizon 24 --seasons 24 168
          python -m experiments.forecast --resume --run-dir RUN_DIR
          python -m experiments.forecast evaluate RUN_DIR --data my.csv
          python -m experiments.forecast predict RUN_DIR my.csv
Published OWA 0.440 by M4's winner, an LSTM with exponential smoothing (Smyl), 1.036 by
          the competition's own RNN; 0.627 by the seasonal naive forecast. Best: 0.410
          (Doornik). From the competition's "Evaluation and Ranks".
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

import lstm_jax
from experiments.cli import command_line, run_experiment
from experiments.forecast.baseline import baseline_scores
from experiments.forecast.metrics import score_intervals, score_points
from experiments.known_data import described
from experiments.results import Result, describe_file, write_result
from experiments.runs import RunOptions, begun, check_options
from lstm_jax.cli import run_command
from lstm_jax.config import CellName, OneOrMore, Positive, RunConfig, check_bounds
from lstm_jax.data import (
    WindowSpec,
    all_positive,
    check_window_spec,
    hold_out,
    need_points,
    read_series,
    scale_series,
    write_forecasts,
)
from lstm_jax.training import Stop, interruptible

if TYPE_CHECKING:  # JAX is imported where it is used, so that --help need not wait
    from experiments.results import DataFile
    from lstm_jax import ForecastModel
    from lstm_jax.models import ModelSpec
    from lstm_jax.training import TrainState

Series = dict[str, np.ndarray]
Word = tyro.conf.Positional[Path]
M4_FILES = ("Hourly-train.csv", "Hourly-test.csv")
NAME = "forecast"


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Train on all series but their last points, and score the forecasts of those.

    Args:
        data: a folder with M4's Hourly-train.csv and Hourly-test.csv, or a CSV file of
            series, in rows or in columns.
        smoke: run in seconds, on a generated sample.
        validate: score the last points of the training part, to choose settings by.
        origins: number of forecast horizons held out at the end of each series.
        frame: what a forecast looks at, and how far ahead it reaches.
        hidden: units of each LSTM.
        layers: of each LSTM.
        cell: what a layer repeats over time.
        members: models whose median is the forecast, trained side by side.
        batch: windows per member and step.
        steps: optimizer steps, unless --epochs says how many.
        learning_rate: its peak.
        run: how long, and where it is kept. With --patience the last points of the
            training part choose the best step, and are not learned from.
    """

    data: Path | None = None
    smoke: bool = False
    validate: bool = False
    origins: OneOrMore = 1
    frame: WindowSpec = dataclasses.field(default_factory=WindowSpec)
    hidden: OneOrMore = 64
    layers: OneOrMore = 1
    cell: CellName = "lstm"
    members: OneOrMore = 5
    batch: OneOrMore = 64
    steps: OneOrMore = 600
    learning_rate: Positive = 5e-3
    run: RunConfig = dataclasses.field(
        default_factory=lambda: RunConfig(
            run_dir=Path("runs/forecast"), steps_per_call=8
        )
    )


SMOKE = {
    "frame": WindowSpec(horizon=6, seasons=(4, 12), reads=12),
    **{"hidden": 8, "members": 2, "batch": 32, "steps": 48},
}


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score the forecasts of a trained model on series of your own.

    Args:
        run_dir: folder of a training run.
        data: a CSV file; the last points of each series are forecast and scored.
        origins: so many horizons are forecast, one after the other.
        json: end with one line of JSON.
    """

    run_dir: Annotated[Word, tyro.conf.arg(metavar="RUN_DIR")]
    data: Path | None = None
    origins: OneOrMore = 1
    json: bool = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Forecast what comes after the end of the series in a CSV file.

    Args:
        run_dir: folder of a training run.
        data: the file.
        out: the forecasts; a picture goes beside them.
    """

    run_dir: Annotated[Word, tyro.conf.arg(metavar="RUN_DIR")]
    data: Annotated[Word, tyro.conf.arg(metavar="CSV")]
    out: Path = Path("forecasts.csv")


def load(options: Options) -> tuple[Series, Series]:
    """What is known, and what is to be forecast."""
    held_out = options.origins * options.frame.horizon
    if options.smoke:
        return hold_out(generated(), held_out)
    if options.data is None:
        raise lstm_jax.InputError("--data: expected a path, found none (or --smoke)")
    if options.data.is_dir():
        train, test = (options.data / name for name in M4_FILES)
        known, truth = (read_series(file, "rows") for file in (train, test))
        if list(known) != list(truth) or {*map(len, truth.values())} != {held_out}:
            raise lstm_jax.InputError(
                f"{test}: expected {held_out} points of each series of {train}"
            )
    else:
        known, truth = hold_out(read_series(options.data), held_out)
    return hold_out(known, held_out) if options.validate else (known, truth)


def files_of(options: Options) -> list[DataFile]:
    """The files that `load` reads."""
    if options.smoke or options.data is None:
        return []
    is_m4 = options.data.is_dir()
    paths = [options.data / name for name in M4_FILES] if is_m4 else [options.data]
    return [describe_file(path) for path in paths]


def generated() -> Series:
    """A small sample: days within weeks, each series at a level of its own."""
    rng, t = np.random.default_rng(0), np.arange(150)
    series = {}
    for k in range(8):
        waves = np.sin(t * np.pi / 2 + k) + np.sin(t * np.pi / 6 - k)
        series[f"S{k + 1}"] = np.exp(k + 0.2 * waves + 0.05 * rng.normal(size=150))
    return series


def model_spec(options: Options) -> ModelSpec:
    """Describe the ensemble of a run."""
    sizes = {
        **{"window": options.frame, "hidden_size": options.hidden},
        **{"num_layers": options.layers, "cell": options.cell},
    }
    return lstm_jax.models.ModelSpec("forecaster", sizes, options.members)


def train(
    options: Options,
    known: Series,
    log: bool,
    yardstick: tuple[float, float],
    stop: Stop,
) -> tuple[ForecastModel, float]:
    """Train the ensemble; with --patience the best step of it, else the last.

    Returns:
        The models, and the seconds it took.
    """
    from experiments.forecast.task import forecast_task

    run, frame = options.run, options.frame
    assert run.run_dir is not None
    spec = model_spec(options)
    if lstm_jax.distributed.is_primary():
        lstm_jax.models.write_spec(run.run_dir, NAME, spec, {"log": log})
    whole, held_out = scale_series(known, frame, log), None
    learned = whole
    if run.patience:
        before, _ = hold_out(known, frame.horizon)
        learned, held_out = scale_series(before, frame, log), whole
    task = forecast_task(
        learned,
        frame,
        batch=options.batch,
        members=options.members,
        seed=run.seed,
        yardstick=yardstick,
        loss=lstm_jax.training.with_precision(
            lstm_jax.models.forecast_loss, options.precision
        ),
        held_out=held_out,
    )
    # The gradients of all members are clipped as one.
    optimizer = lstm_jax.make_optimizer(0.01, options.members**0.5, 0.99)
    compiled = lstm_jax.training.CompiledSteps(task.loss, optimizer)
    epochs = run.epochs
    steps = options.steps if epochs is None else epochs * task.steps_per_epoch
    schedule = lstm_jax.Schedule(
        steps, run.max_seconds, options.learning_rate, 0.05, 0.0
    )

    def first_state() -> TrainState:
        models = lstm_jax.models.build_ensemble(
            frame,
            options.hidden,
            options.layers,
            members=options.members,
            seed=run.seed,
            cell=options.cell,
        )
        key = lstm_jax.ops.seed_key(run.seed)
        return lstm_jax.init_state(models, optimizer, (), key)

    trained = lstm_jax.train_model(
        task,
        first_state,
        schedule,
        compiled,
        run,
        folder=run.run_dir,
        callbacks=[stop, lstm_jax.report.Progress(schedule, task.items)],
    )
    lstm_jax.report.report_run(run.run_dir, trained, task)
    return trained.model, trained.timer.seconds()


def compare(
    known: Series, truth: Series, medians: np.ndarray, stride: int, season: int
) -> dict[str, str]:
    """The scores of our forecasts, and of others that need no learning, in words."""
    scores = baseline_scores(known, truth, stride, season)
    scores["LSTM"] = score_points(medians, truth.values(), known.values(), season)
    print(f"\n{stride} ahead             OWA")
    yardstick = scores["Naive2"].means()
    described = {name: score.described(yardstick) for name, score in scores.items()}
    for name, words in described.items():
        print(f"  {name:16} {words}")
    return described


def learn(options: Options) -> None:
    """Train, forecast what was held out, and say how good that is."""
    check_options(options, validated=True)
    if options.smoke:
        options = dataclasses.replace(options, **SMOKE)
    frame = check_window_spec(options.frame)
    known, truth = load(options)
    horizons = 2 if options.run.patience else 1  # one of them held out
    need_points(known, frame.context + horizons * frame.horizon)
    files = files_of(options)
    spare, rows = [options.data] if options.data else [], options.batch
    with begun(NAME, options, rows=rows, files=files, spare=spare):
        learn_from(options, known, truth, files)


def learn_from(
    options: Options, known: Series, truth: Series, files: Sequence[DataFile]
) -> None:
    """The run, in its folder."""
    frame, season = options.frame, options.frame.seasons[0]
    run_dir = options.run.run_dir
    assert run_dir is not None
    log = all_positive(known)
    # Errors weigh as in OWA, with what Naive2 reaches at the end of the training part.
    before = hold_out(known, frame.horizon)
    naive2 = baseline_scores(*before, frame.horizon, season)["Naive2"]
    print(f"{len(known)} series", flush=True)
    with interruptible() as stop:
        model, seconds = train(options, known, log, naive2.means(), stop)
    stop.check(
        f"the last model is kept in {run_dir}, unfinished, not scored; --resume goes on"
    )
    if not lstm_jax.distributed.is_primary():
        return
    points = options.origins * frame.horizon
    quantiles, scores = score_all(model, known, truth, points, log)
    keep(run_dir / "forecasts.csv", known, model, quantiles, truth)
    row = result(options, scores, seconds / 60, len(known), files)
    write_result(run_dir, row)


def score_all(
    model: ForecastModel, known: Series, truth: Series, points: int, log: bool
) -> tuple[np.ndarray, dict[str, str]]:
    """Forecast what is known to come, and hold it against simple methods.

    Returns:
        The quantiles [N, points, Q], as far ahead as the model reaches each time; and
        the scores of every method, in words.
    """
    from experiments.forecast.task import rolling_forecast

    frame, season = model.frame, model.frame.seasons[0]
    panel = scale_series(known, frame, log)
    whole, middle = panel.extended(truth), model.levels.index(0.5)
    for stride in (1, frame.horizon):  # rolling one step ahead, then many
        quantiles = rolling_forecast(model, whole, panel.known, points, stride)
        scores = compare(known, truth, quantiles[..., middle], stride, season)
    low, high = quantiles[..., 0], quantiles[..., -1]
    band = score_intervals(low, high, truth.values(), known.values(), season)
    print(f"95 % intervals: {band.coverage:.1%} of points inside, MSIS {band.msis:.3f}")
    return quantiles, scores


def keep(
    path: Path,
    known: Series,
    model: ForecastModel,
    quantiles: np.ndarray,
    truth: Series | None = None,
) -> None:
    """Write forecasts as a table and as a picture."""
    from experiments.forecast.plots import draw_forecasts

    write_forecasts(path, list(known), model.levels, quantiles)
    past, picture = model.frame.seasons[-1], path.with_suffix(".png")
    draw_forecasts(picture, known, quantiles, model.levels, past, truth)
    print(f"{len(known)} series: {path}, {picture}")


def result(
    options: Options,
    scores: dict[str, str],
    minutes: float,
    series: int,
    files: Sequence[DataFile],
) -> Result:
    """The row of the table of applications."""
    part = "test part" if len(files) == 2 and not options.validate else "last points"
    horizon, season = options.frame.horizon, options.frame.seasons[0]
    names = " ".join(file.name for file in files) or "generated"
    return Result(
        **described(
            "time-series prediction",
            f"{part}, horizon {horizon}, m = {season}",
            files,
            f"{names}, {series} series",
        ),
        metric="OWA",
        ours=scores["LSTM"],
        floor=f"seasonal naive {scores['seasonal naive']}",
        minutes=minutes,
        command=command_line("forecast", options),
    )


def load_forecaster(run_dir: Path) -> tuple[ForecastModel, bool]:
    """Load the models of a run, and whether they forecast logarithms.

    Raises:
        InputError: there are none, or they are damaged.
    """
    saved = lstm_jax.models.load_model(run_dir, NAME)
    return saved.model, bool(saved.settings.get("log"))


def evaluate(options: EvaluateOptions) -> None:
    """Score a trained model on the last points of series."""
    check_bounds(options)
    if options.data is None:
        raise lstm_jax.InputError("--data: expected a CSV file, found none")
    model, log = load_forecaster(options.run_dir)
    frame, points = model.frame, options.origins * model.frame.horizon
    known, truth = hold_out(read_series(options.data), points)
    need_points(known, frame.context)
    _, scores = score_all(model, known, truth, points, log)
    if options.json:
        print(json.dumps({"series": len(known), "points": points, "OWA": scores}))


def predict(options: PredictOptions) -> None:
    """Forecast what nobody knows yet."""
    from experiments.forecast.task import forecast

    lstm_jax.distributed.enable_compilation_cache()
    model, log = load_forecaster(options.run_dir)
    series = read_series(options.data)
    need_points(series, model.frame.context)
    panel = scale_series(series, model.frame, log)
    quantiles = forecast(model, panel, panel.known)
    keep(options.out, series, model, quantiles)


def main(argv: Sequence[str] | None = None) -> int | None:
    """The command."""
    verbs: dict[str, Any] = {
        "learn": (Options, learn),
        "evaluate": (EvaluateOptions, evaluate),
        "predict": (PredictOptions, predict),
    }
    return run_experiment("forecast", __doc__, argv, **verbs)


if __name__ == "__main__":
    run_command(main)
