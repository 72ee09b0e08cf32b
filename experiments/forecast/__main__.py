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
          python -m experiments.forecast --data my.csv --horizon 24
          python -m experiments.forecast --data my.csv --target load --covariates price
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
from experiments.cli import command_line, keep_inputs, run_experiment
from experiments.forecast.baseline import baseline_scores
from experiments.forecast.data import (
    Data,
    Scaling,
    Series,
    check_asked,
    choose_window,
    read_own,
)
from experiments.forecast.metrics import (
    score_intervals,
    score_points,
    weights_of,
    worded,
)
from experiments.known_data import described
from experiments.results import Result, describe_file, write_result
from experiments.runs import RunOptions, begun, check_options
from lstm_jax.cli import run_command
from lstm_jax.config import (
    CellName,
    OneOrMore,
    Positive,
    RunConfig,
    check_bounds,
    flag_of,
    read_section,
)
from lstm_jax.data import (
    Panel,
    SeriesSpec,
    WindowSpec,
    all_positive,
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

Word = tyro.conf.Positional[Path]
M4_FILES = ("Hourly-train.csv", "Hourly-test.csv")
NAME = "forecast"


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Train on all but the last points of each series, and score forecasts of those.

    Args:
        data: a folder with M4's Hourly-train.csv and Hourly-test.csv; or a CSV file
            with one series per row or column.
        smoke: quick trial run on generated data, in seconds.
        validate: score the last points of the training part instead of the test part,
            to tune settings.
        origins: number of forecast horizons held out at the end of each series.
        table: CSV format, where the file leaves it open.
        frame: forecast window. By default the seasons follow from the dates of the file
            (7 for daily data); without dates they are 24 and 168.
        hidden: units per LSTM layer.
        layers: layers of the encoder and of the decoder.
        cell: recurrent cell.
        members: ensemble size; the models are trained together, and the forecast is
            their median.
        batch: windows per ensemble member and optimizer step.
        steps: optimizer steps, unless --epochs is given.
        learning_rate: peak learning rate.
        run: training run. With --patience the last points of the training part are held
            out to choose the best step by.
    """

    data: Path | None = None
    smoke: bool = False
    validate: bool = False
    origins: OneOrMore = 1
    table: SeriesSpec = dataclasses.field(default_factory=SeriesSpec)
    frame: WindowSpec = dataclasses.field(
        default_factory=lambda: WindowSpec(seasons=(), reads=0)
    )
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


@dataclasses.dataclass(frozen=True)
class Forecaster:
    """A trained ensemble, and what it takes series to be.

    Attributes:
        model: the ensemble.
        log: whether it forecasts logarithms.
        scaling: of the covariates it reads.
        target: the series that were chosen by name; none if all were.
        step: between the dates it was trained on, in words; "" if there were none.
    """

    model: ForecastModel
    log: bool
    scaling: Scaling = dataclasses.field(default_factory=Scaling)
    target: tuple[str, ...] = ()
    step: str = ""

    def panel(self, data: Data) -> Panel:
        """The known parts of series as the models see them."""
        beside = data.beside(self.scaling)
        return scale_series(data.known, self.model.frame, self.log, beside)


SMOKE = {
    "frame": WindowSpec(horizon=6, seasons=(4, 12), reads=12),
    **{"hidden": 8, "members": 2, "batch": 32, "steps": 48},
}


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score the forecasts of a trained model on series of your own.

    Args:
        run_dir: folder of the training run.
        data: CSV file; the last points of each series are forecast and scored.
        origins: number of consecutive horizons to forecast and score.
        out: write the forecasts to this CSV file, and a picture of them beside it.
        table: CSV format. Covariates, and series chosen by name, default to those of
            the run.
        json: print the scores as a last line of JSON.
    """

    run_dir: Annotated[Word, tyro.conf.arg(metavar="RUN_DIR")]
    data: Path | None = None
    origins: OneOrMore = 1
    out: Path | None = None
    table: SeriesSpec = dataclasses.field(default_factory=SeriesSpec)
    json: bool = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Forecast the continuation of the series in a CSV file.

    Args:
        run_dir: folder of the training run.
        data: CSV file of series.
        out: CSV file to write the forecasts to; a picture is written beside it.
        table: CSV format. Covariates, and series chosen by name, default to those of
            the run.
    """

    run_dir: Annotated[Word, tyro.conf.arg(metavar="RUN_DIR")]
    data: Annotated[Word, tyro.conf.arg(metavar="CSV")]
    out: Path = Path("forecasts.csv")
    table: SeriesSpec = dataclasses.field(default_factory=SeriesSpec)


def load(options: Options) -> Data:
    """What is known, and what is to be forecast."""
    held_out = options.origins * options.frame.horizon
    if options.smoke or (options.data and options.data.is_dir()):
        for name, value in vars(options.table).items():
            if value != getattr(SeriesSpec, name):
                flag = flag_of(name)
                raise lstm_jax.InputError(f"{flag}: expected --data of a CSV file")
    if options.smoke:
        return Data(*hold_out(generated(), held_out))
    if options.data is None:
        raise lstm_jax.InputError("--data: expected a path, found none (or --smoke)")
    if options.data.is_dir():
        data = read_m4(options.data, held_out)
    else:
        times = 2 if options.validate else 1  # before the test part, as much once more
        data = read_own(options.data, options.table, held_out, times)
    if options.validate:
        known, truth = hold_out(data.known, held_out)
        return dataclasses.replace(data, known=known, truth=truth)
    return data


def read_m4(folder: Path, held_out: int) -> Data:
    """The competition's own two files."""
    train, test = (folder / name for name in M4_FILES)
    known, truth = (read_series(file, "rows") for file in (train, test))
    if list(known) != list(truth) or {*map(len, truth.values())} != {held_out}:
        raise lstm_jax.InputError(
            f"{test}: expected {held_out} points of each series of {train}"
        )
    return Data(known, truth)


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


def model_spec(options: Options, frame: WindowSpec) -> ModelSpec:
    """Describe the ensemble of a run."""
    sizes: dict[str, Any] = {
        **{"window": frame, "hidden_size": options.hidden},
        **{"num_layers": options.layers, "cell": options.cell},
    }
    if count := len(options.table.covariates):
        sizes["covariates"] = count
    return lstm_jax.models.ModelSpec("forecaster", sizes, options.members)


def settings_of(options: Options, data: Data, log: bool) -> dict[str, Any]:
    """What else it takes to use the models, as JSON."""
    settings: dict[str, Any] = {"log": log}
    if options.table.target:
        settings["target"] = options.table.target
    if options.table.covariates:
        settings["covariates"] = dataclasses.asdict(data.scaling())
    if data.step:
        settings["step"] = str(data.step)
    return settings


def train(
    options: Options,
    frame: WindowSpec,
    data: Data,
    yardstick: tuple[float, float],
    stop: Stop,
) -> tuple[Forecaster, float]:
    """Train the ensemble; with --patience the best step of it, else the last.

    Returns:
        The models, and the seconds it took.
    """
    from experiments.forecast.task import forecast_task

    run, known = options.run, data.known
    assert run.run_dir is not None
    # Forecasts go on from what is held out, too: if it has no logarithm, none is taken.
    # Of what is held out nothing but this sign is known before it is scored.
    log = all_positive(known) and all_positive(data.truth)
    spec, scaling = model_spec(options, frame), data.scaling()
    if lstm_jax.distributed.is_primary():
        settings = settings_of(options, data, log)
        lstm_jax.models.write_spec(run.run_dir, NAME, spec, settings)
    beside = data.beside(scaling)
    whole, held_out = scale_series(known, frame, log, beside), None
    learned = whole
    if run.patience:
        before, _ = hold_out(known, frame.horizon)
        learned, held_out = scale_series(before, frame, log, beside), whole
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
            covariates=len(scaling.names),
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
    return Forecaster(trained.model, log, scaling), trained.timer.seconds()


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
    check_asked(options.frame)
    data = load(options)
    horizons = 2 if options.run.patience else 1  # one of them held out
    frame = choose_window(options.frame, data, horizons)
    files = files_of(options)
    spare = [options.data] if options.data else []
    with begun(NAME, options, files=files, spare=spare):
        learn_from(options, frame, data, files)


def learn_from(
    options: Options, frame: WindowSpec, data: Data, files: Sequence[DataFile]
) -> None:
    """The run, in its folder."""
    run_dir = options.run.run_dir
    assert run_dir is not None
    # Errors weigh as in OWA, with what Naive2 reaches at the end of the training part.
    before = hold_out(data.known, frame.horizon)
    naive2 = baseline_scores(*before, frame.horizon, frame.seasons[0])["Naive2"]
    print(f"{len(data.known)} series", flush=True)
    with interruptible() as stop:
        yardstick = weights_of(naive2.means())
        forecaster, seconds = train(options, frame, data, yardstick, stop)
    stop.check(
        f"the last model is kept in {run_dir}, unfinished, not scored; --resume goes on"
    )
    if not lstm_jax.distributed.is_primary():
        return
    points = options.origins * frame.horizon
    quantiles, scores = score_all(forecaster, data, points)
    keep(run_dir / "forecasts.csv", forecaster, data, quantiles)
    resolved = dataclasses.replace(options, frame=frame)
    row = result(resolved, scores, seconds / 60, len(data.known), files)
    row = dataclasses.replace(row, command=command_line(NAME, options))
    write_result(run_dir, row)


def score_all(
    forecaster: Forecaster, data: Data, points: int
) -> tuple[np.ndarray, dict[str, str]]:
    """Forecast what is known to come, and hold it against simple methods.

    Returns:
        The quantiles [N, points, Q], as far ahead as the model reaches each time; and
        the scores of every method, in words.
    """
    from experiments.forecast.task import rolling_forecast

    model, known, truth = forecaster.model, data.known, data.truth
    frame, season = model.frame, model.frame.seasons[0]
    panel = forecaster.panel(data)
    whole, middle = panel.extended(truth), model.levels.index(0.5)
    for stride in (1, frame.horizon):  # rolling one step ahead, then many
        quantiles = rolling_forecast(model, whole, panel.known, points, stride)
        scores = compare(known, truth, quantiles[..., middle], stride, season)
    low, high = quantiles[..., 0], quantiles[..., -1]
    band = score_intervals(low, high, truth.values(), known.values(), season)
    msis = worded(band.msis, 3)
    print(f"95 % intervals: {band.coverage:.1%} of points inside, MSIS {msis}")
    return quantiles, scores


def keep(path: Path, forecaster: Forecaster, data: Data, quantiles: np.ndarray) -> None:
    """Write forecasts as a table and as a picture."""
    from experiments.forecast.plots import draw_forecasts

    names, levels = list(data.known), forecaster.model.levels
    dates = data.dates(quantiles.shape[1])
    write_forecasts(path, names, levels, quantiles, dates)
    picture = path.with_suffix(".png")
    draw_forecasts(picture, data, quantiles, levels, forecaster.model.frame)
    print(f"{len(names)} series: {path}, {picture}")


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


def load_forecaster(run_dir: Path) -> Forecaster:
    """Load the models of a run, and what they take series to be.

    Raises:
        InputError: there are none, or they are damaged.
    """
    saved = lstm_jax.models.load_model(run_dir, NAME)
    kept = saved.settings
    target, step = kept.get("target", []), kept.get("step", "")
    scaling = read_section(Scaling, kept.get("covariates", {}), str(run_dir))
    sizes = {len(scaling.names), len(scaling.means), len(scaling.spreads)}
    if sizes != {saved.model.covariates} or not isinstance(target, list):
        raise lstm_jax.InputError(
            f"{run_dir}: expected {saved.model.covariates} covariates, found {scaling}"
        )
    log = bool(kept.get("log"))
    return Forecaster(saved.model, log, scaling, tuple(map(str, target)), str(step))


def check_out(path: Path | None, data: Path | None) -> None:
    """Refuse a table by the name of the picture beside it, or of the one that is read.

    Raises:
        InputError: it has that name.
    """
    if path and data:
        keep_inputs(path, [data])
    if path and path == path.with_suffix(".png"):
        raise lstm_jax.InputError(f"--out: expected the name of a table, found {path}")


def own_data(
    forecaster: Forecaster, path: Path, asked: SeriesSpec, held_out: int
) -> Data:
    """Read series for a trained model: with the covariates that it has learned from."""
    names = forecaster.scaling.names
    if asked.covariates and asked.covariates != names:
        raise lstm_jax.InputError(
            f"--covariates: expected those of the run, {', '.join(names) or 'none'}, "
            f"found {', '.join(asked.covariates)}"
        )
    target = asked.target or forecaster.target
    table = dataclasses.replace(asked, covariates=names, target=target)
    data = read_own(path, table, held_out)
    step = str(data.step or "")
    if step and forecaster.step and step != forecaster.step:
        raise lstm_jax.InputError(
            f"{path}: expected dates {forecaster.step} apart, as in training, found "
            f"{step}"
        )
    need_points(data.known, forecaster.model.frame.context)
    return data


def evaluate(options: EvaluateOptions) -> None:
    """Score a trained model on the last points of series."""
    check_bounds(options)
    if options.data is None:
        raise lstm_jax.InputError("--data: expected a CSV file, found none")
    check_out(options.out, options.data)
    forecaster = load_forecaster(options.run_dir)
    points = options.origins * forecaster.model.frame.horizon
    data = own_data(forecaster, options.data, options.table, points)
    quantiles, scores = score_all(forecaster, data, points)
    if options.out:
        keep(options.out, forecaster, data, quantiles)
    if options.json:
        print(json.dumps({"series": len(data.known), "points": points, "OWA": scores}))


def predict(options: PredictOptions) -> None:
    """Forecast what nobody knows yet."""
    from experiments.forecast.task import forecast

    check_out(options.out, options.data)
    lstm_jax.distributed.enable_compilation_cache()
    forecaster = load_forecaster(options.run_dir)
    data = own_data(forecaster, options.data, options.table, 0)
    panel = forecaster.panel(data)
    quantiles = forecast(forecaster.model, panel, panel.known)
    keep(options.out, forecaster, data, quantiles)


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
