"""Say how likely death in hospital is, hour by hour, from the first 48 hours of a stay.

Not for clinical use: a demonstration on old data, of one method among others.

Task      The risk of in-hospital death after every two hours of the first 48 in
          intensive care, from 37 signals and laboratory values seen at irregular times,
          and age, sex, height and the kind of unit. An LSTM reads forward only: of each
          signal the last value, whether it was seen just now, and for how long it was
          not; its memory fades with those gaps, as GRU-D's does. A few such networks
          are trained side by side, their probabilities averaged.
Data      PhysioNet/Computing in Cardiology Challenge 2012, set-a (Silva et al. 2012):
          4,000 stays, 554 deaths; physionet.org/content/challenge-2012, ODC-By 1.0.
Protocol  5-fold cross-validation, stratified; scales, networks, floors and thresholds
          are made from the training part of each fold, whose test part is scored once,
          at the end. Settings were chosen on splits of the first fold's training part,
          such as --validate makes.
Command   python -m experiments.healthcare --data set-a Outcomes-a.txt
          python -m experiments.healthcare --resume --run-dir RUN_DIR
          python -m experiments.healthcare evaluate RUN_DIR --data FOLDER
          python -m experiments.healthcare predict RUN_DIR 132539.txt
Published AUROC on the same protocol by Che et al. (2018): LSTM on means 0.8025, GRU on
          means 0.8195, GRU-D 0.8424 ± 0.012; logistic regression 0.7625, random forest
          0.8157, support vectors 0.8277. The score SAPS-I, of stays that have one, has
          0.650.
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
from experiments.healthcare.baseline import FOREST, LOGISTIC, floors, need_sklearn
from experiments.healthcare.config import RiskConfig
from experiments.healthcare.data import Data, generated, read_data
from experiments.healthcare.evaluation import (
    Scores,
    alarms,
    calibration_table,
    score,
    shown,
)
from experiments.healthcare.inputs import step_ends, step_of
from experiments.known_data import described
from experiments.results import Result
from experiments.runs import Clock, RunOptions, begun, check_options
from lstm_jax.cli import run_command
from lstm_jax.config import Range, RunConfig
from lstm_jax.data import stratified_folds
from lstm_jax.metrics import auroc, average_precision
from lstm_jax.training import (
    FoldOutcome,
    Stop,
    fold_folder,
    fold_table,
    interruptible,
)

if TYPE_CHECKING:  # JAX is imported where it is used, so that --help need not wait
    from experiments.healthcare.data import Stays
    from experiments.healthcare.task import RiskModel
    from lstm_jax.training import CompiledSteps, CrossValidation

NAME, OURS = "healthcare", "LSTM"
CHALLENGE = "min(Se, P+)"  # the score of the challenge
AREAS = {"": auroc, " AUPRC": average_precision}  # by what follows a method's name
WARNING = "Not for clinical use."
SMOKE = {
    **{"hours": 8, "hidden": 8, "members": 2, "batch": 16},
    **{"input_dropout": 0.1, "dropout": 0.1, "learning_rate": 2e-2},
}


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Cross-validate networks of the risk of death, then train one set on all stays.

    Args:
        data: files or folders of stays, and a table of outcomes.
        smoke: run in seconds on a small generated data set.
        validate: leave the first fold's test part alone, and cross-validate inside its
            training part: to choose settings by.
        folds: number of cross-validation folds.
        validation_fraction: share of the stays to learn from that is held out to choose
            the best step by, for --patience.
        recipe: the networks and their training.
        run: how long, and where it is kept. Every fold gets its share of --max-seconds.
    """

    data: tuple[Path, ...] = ()
    smoke: bool = False
    validate: bool = False
    folds: int = 5
    validation_fraction: Annotated[float, Range(0.0, 0.5)] = 0.0
    recipe: RiskConfig = dataclasses.field(default_factory=RiskConfig)
    run: RunConfig = dataclasses.field(
        default_factory=lambda: RunConfig(
            run_dir=Path("runs/healthcare"), epochs=20, steps_per_call=10
        )
    )

    @property
    def trains_several(self) -> bool:
        """Whether there are networks for each fold."""
        return True


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score the networks that a run has left on stays of your own.

    Args:
        run_dir: folder of a training run.
        data: files or folders of stays, and a table of outcomes.
        json: print the results as a last line of JSON.
    """

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    data: tuple[Path, ...] = ()
    json: bool = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Say the risk of death after every six hours that a stay has been observed.

    Args:
        run_dir: folder of a training run.
        stays: files or folders, in the text format of the challenge.
        picture: where to draw the first stay.
    """

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    stays: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="STAY")
    ]
    picture: Path | None = None


def load(options: Options) -> tuple[Data, Options]:
    """Read the stays; the options are then those that suit them."""
    if options.smoke:
        recipe = dataclasses.replace(options.recipe, **SMOKE)
        run = dataclasses.replace(options.run, epochs=12)
        return generated(), dataclasses.replace(
            options, folds=2, recipe=recipe, run=run
        )
    return read_labelled(options.data), options


def read_labelled(paths: Sequence[Path]) -> Data:
    """Stays with an outcome each."""
    if not paths:
        raise lstm_jax.InputError("--data: expected files, found none")
    data = read_data(paths)
    data.died()  # refuses what has none
    return data


def cross_validate(
    data: Data, options: Options, compiled: CompiledSteps, stop: Stop
) -> CrossValidation:
    """Fit all methods to the training part of every fold, and test them."""
    from experiments.healthcare.task import predict_risk

    assert options.run.run_dir is not None
    folder = options.run.run_dir / "folds"
    died = data.died()

    def fit_and_predict(train: np.ndarray, test: np.ndarray, k: int) -> FoldOutcome:
        known, others = data.stays.pick(train), data.stays.pick(test)
        risk = fit(known, died[train], options, compiled, fold_folder(folder, k), stop)
        stop.check(
            f"fold {k + 1} of {options.folds} is not finished; --resume goes on with it"
        )
        by_hour = predict_risk(risk, others)
        found = {OURS: by_hour[:, -1], **floors(known, died[train], others)}
        areas = {
            f"{name}{kind}": area(died[test], chances)
            for name, chances in found.items()
            for kind, area in AREAS.items()
        }
        assert risk.threshold is not None
        worth = lstm_jax.metrics.operation(died[test], found[OURS], risk.threshold)
        told = ", ".join(f"{name} {areas[name]:.4f}" for name in found)
        print(f"fold {k + 1} of {options.folds}: AUROC {told}", flush=True)
        return FoldOutcome(
            {**areas, CHALLENGE: worth.smaller}, {**found, "by hour": by_hour}
        )

    folds = stratified_folds(died, options.folds, options.run.seed)
    return lstm_jax.training.cross_validate(fit_and_predict, folds, folder)


def fit(
    stays: Stays,
    died: np.ndarray,
    options: Options,
    compiled: CompiledSteps,
    folder: Path,
    stop: Stop,
    *,
    show: bool = False,
) -> RiskModel:
    """Train networks in a folder, for their share of the time."""
    from experiments.healthcare.task import train_risk

    seconds = options.run.max_seconds
    share = None if seconds is None else seconds / (options.folds + 1)
    held_out = None
    if options.validation_fraction:
        count = round(1 / options.validation_fraction)
        fold = stratified_folds(died, count, options.run.seed)[0]
        held_out = stays.pick(fold.test), died[fold.test]
        stays, died = stays.pick(fold.train), died[fold.train]
    return train_risk(
        stays,
        died,
        options.recipe,
        dataclasses.replace(options.run, max_seconds=share),
        compiled=compiled,
        held_out=held_out,
        folder=folder,
        callbacks=[stop],
        show=show,
    )


def learn(options: Options) -> None:
    """Check everything, then run."""
    clock = Clock()
    check_options(options, validated=options.validation_fraction > 0)
    need_sklearn()
    data, options = load(options)
    data = first_training_part(data, options) if options.validate else data
    check_folds(data.died(), options.folds)
    with begun(
        NAME,
        options,
        files=data.files,
        spare=options.data,
        clock=clock,
    ):
        learn_from(options, data, clock)


def check_folds(died: np.ndarray, folds: int) -> None:
    """Refuse more folds than there are stays of either outcome.

    Raises:
        InputError: naming the flag.
    """
    most = min(died.sum(), (~died).sum())
    if not 2 <= folds <= most:
        raise lstm_jax.InputError(
            f"--folds: expected 2 or more, and at most {most}, the stays of the rarer "
            f"outcome, found {folds}"
        )


def first_training_part(data: Data, options: Options) -> Data:
    """The stays that the first fold learns from: its test part is not looked at."""
    died = data.died()
    fold = stratified_folds(died, options.folds, options.run.seed)[0]
    return dataclasses.replace(data, stays=data.stays.pick(fold.train))


def learn_from(options: Options, data: Data, clock: Clock) -> None:
    """Cross-validate, then train the networks that are kept."""
    from experiments.healthcare.task import risk_steps

    run_dir = options.run.run_dir
    assert run_dir is not None
    died = data.died()
    compiled = risk_steps(options.recipe, options.precision)
    print(f"{len(died):,} stays, {died.sum():,} deaths. {WARNING}")
    with interruptible() as stop:
        result = cross_validate(data, options, compiled, stop)
        fit(data.stays, died, options, compiled, run_dir, stop, show=True)
        stop.check(
            "the folds' scores and the last networks, unfinished, are kept in "
            f"{run_dir}; --resume goes on"
        )
    if not lstm_jax.distributed.is_primary():
        return
    result.save(run_dir)
    print("\n" + fold_table(result))
    scores = {
        name: score(died, result.predictions[name]) for name in (OURS, LOGISTIC, FOREST)
    }
    for name, found in scores.items():
        print(f"{name}, all stays: {found}")
    print(f"\n{OURS}\n{calibration_table(scores[OURS].reliability)}")
    draw(options, data, died, result, run_dir)
    minutes = clock.minutes
    write_result(options, data, result, scores, minutes)


def draw(
    options: Options,
    data: Data,
    died: np.ndarray,
    result: CrossValidation,
    run_dir: Path,
) -> None:
    """Draw a stay with its risk over time, and the calibration.

    The stay is that of a death which was foreseen neither better nor worse than most:
    the last risk is the median of those who died. No network had learned from it.
    """
    from experiments.healthcare.plots import draw_calibration, draw_stay

    risks = result.predictions["by hour"]
    deaths = np.flatnonzero(died)
    middle = deaths[np.argsort(risks[deaths, -1])[len(deaths) // 2]]
    stay = data.stays.pick(np.array([middle]))
    ends = step_ends(options.recipe.hours)
    draw_stay(run_dir / "stay.png", stay, ends, risks[middle], float(died.mean()))
    draw_calibration(
        run_dir / "calibration.png",
        {name: (died, result.predictions[name]) for name in (OURS, LOGISTIC, FOREST)},
    )


def severity_area(data: Data) -> str:
    """The AUROC of SAPS-I on stays that have it, if there are any of both outcomes."""
    known = [name for name in data.stays.names if name in data.outcomes.severity]
    died = np.array([data.outcomes.died[name] for name in known], bool)
    if died.all() or not died.any():
        return ""
    found = AREAS[""](died, [data.outcomes.severity[name] for name in known])
    return f"; SAPS-I {found:.4f} on {len(known):,} stays"


def protocol_of(options: Options) -> str:
    """How the result was come by."""
    protocol = f"{options.folds}-fold cross-validation, stratified"
    if options.validate:
        return f"validation, {protocol}, inside the first fold's training part"
    return protocol


def write_result(
    options: Options,
    data: Data,
    result: CrossValidation,
    scores: dict[str, Scores],
    minutes: float,
) -> None:
    """Leave what the table of applications wants to know."""

    def summary(name: str) -> str:
        both = [
            f"{kind} {result.mean[key]:.4f} ± {result.deviation[key]:.4f}"
            for kind, key in (("AUROC", name), ("AUPRC", f"{name} AUPRC"))
        ]
        return f"{name} {', '.join(both)}"

    run_dir, ours = options.run.run_dir, scores[OURS]
    assert run_dir is not None
    names = " ".join(path.name for path in options.data) or "generated"
    results.write_result(
        run_dir,
        Result(
            **described(
                "Healthcare",
                protocol_of(options),
                data.files,
                f"{names}, {len(data.stays.names):,} stays",
            ),
            metric="in-hospital death, mean ± s.d. over folds",
            ours=(
                f"{summary(OURS)}, {CHALLENGE} {result.mean[CHALLENGE]:.3f}; all "
                f"stays: AUROC {shown(ours.auroc_interval)} (95 %), Brier "
                f"{ours.brier:.4f}, calibration error {ours.reliability.error:.4f}. "
                f"{WARNING}"
            ),
            floor=f"{summary(LOGISTIC)}; {summary(FOREST)}{severity_area(data)}",
            minutes=minutes,
            command=command_line(NAME, options),
        ),
    )


def evaluate(options: EvaluateOptions) -> None:
    """Score trained networks on stays with outcomes."""
    from experiments.healthcare.task import load_risk, predict_risk

    data = read_labelled(options.data)
    died = data.died()
    risk = load_risk(options.run_dir)
    last = predict_risk(risk, data.stays)[:, -1]
    found = score(died, last)
    print(f"{len(died):,} stays, {died.sum():,} deaths. {WARNING}\n{found}")
    print(calibration_table(found.reliability))
    record = {"stays": len(died), "deaths": int(died.sum()), **found.record()}
    if risk.threshold is not None:
        worth = lstm_jax.metrics.operation(died, last, risk.threshold)
        print(alarms(worth, risk.threshold))
        record |= worth._asdict()
    if options.json:
        print(json.dumps(record))


def predict(options: PredictOptions) -> None:
    """Print the risk of each stay over time, as far as it was observed."""
    from experiments.healthcare.task import load_risk, predict_risk

    if not options.stays:
        raise lstm_jax.InputError("predict: expected files of stays, found none")
    lstm_jax.report.check_picture(options.picture)
    stays = read_data(options.stays).stays
    risk = load_risk(options.run_dir)
    ends = step_ends(risk.preparation.hours)
    risks = predict_risk(risk, stays)
    print(f"Risk of death in hospital. {WARNING}")
    for name, of_stay, last in zip(stays.names, risks, stays.last_hours, strict=True):
        seen = step_of(last, ends)
        print(f"{name}  {over_time(ends[: seen + 1], of_stay)}", end="")
        alarm = risk.threshold is not None and of_stay[seen] >= risk.threshold
        print("  ALARM" if alarm else "")
    if options.picture:
        from experiments.healthcare.plots import draw_stay

        first = stays.pick(np.array([0]))
        draw_stay(options.picture, first, ends, risks[0], None)


def over_time(ends: np.ndarray, risks: np.ndarray) -> str:
    """The risk after every six hours, and after the last step."""
    told = [k for k, end in enumerate(ends) if end % 6 == 0 or k == len(ends) - 1]
    return ", ".join(f"{risks[k]:.3f} after {ends[k]} h" for k in told)


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
