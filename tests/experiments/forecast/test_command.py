"""The forecasting experiment: what it reads, and what a trained run does for a user."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from experiments.cli import command_line
from experiments.forecast import __main__ as forecast
from experiments.forecast.__main__ import Options, generated, load
from lstm_jax import InputError
from lstm_jax.config import RunConfig
from lstm_jax.data import WindowSpec
from tests.helpers.experiment_runs import call

SMALL = Options(frame=WindowSpec(horizon=2, seasons=(2, 3), reads=3))


def write_rows(path: Path, series: dict[str, list[int]]) -> None:
    """As the M4 files are: a header, and a line per series."""
    with path.open("w", newline="") as file:
        lines = [[name, *points] for name, points in series.items()]
        csv.writer(file).writerows([["V1", *(["V2"] * len(lines[0]))], *lines])


def m4_folder(path: Path, test_points: int = 2) -> Path:
    train, test = (path / name for name in forecast.M4_FILES)
    write_rows(train, {"H1": [1, 2, 3, 4, 5], "H2": [6, 7, 8, 9]})
    write_rows(test, {"H1": [10, 11][:test_points], "H2": [12, 13]})
    return path


def test_m4_is_read_as_the_competition_cut_it(tmp_path: Path) -> None:
    options = dataclasses.replace(SMALL, data=m4_folder(tmp_path))
    known, truth = load(options)
    assert known["H1"].tolist() == [1, 2, 3, 4, 5]
    assert truth["H1"].tolist() == [10, 11] and truth["H2"].tolist() == [12, 13]


def test_validation_does_not_see_the_test_part(tmp_path: Path) -> None:
    folder = m4_folder(tmp_path)
    known, truth = load(dataclasses.replace(SMALL, data=folder, validate=True))
    assert known["H1"].tolist() == [1, 2, 3] and truth["H1"].tolist() == [4, 5]
    assert known["H2"].tolist() == [6, 7] and truth["H2"].tolist() == [8, 9]
    (tmp_path / "some.csv").write_text("x\n" + "\n".join("123456789"))
    own = dataclasses.replace(SMALL, data=tmp_path / "some.csv", validate=True)
    known, truth = load(own)
    assert known["x"].tolist() == [1, 2, 3, 4, 5] and truth["x"].tolist() == [6, 7]
    known, truth = load(dataclasses.replace(own, validate=False, origins=2))
    assert known["x"].tolist() == [1, 2, 3, 4, 5] and len(truth["x"]) == 4


def test_another_test_part_is_refused(tmp_path: Path) -> None:
    options = dataclasses.replace(SMALL, data=m4_folder(tmp_path, test_points=1))
    with pytest.raises(InputError, match=r"test\.csv: expected 2 points of each"):
        load(options)
    with pytest.raises(InputError, match="--data: expected a path"):
        load(SMALL)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"members": 0}, "--members: expected 1 or more, found 0"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"run": RunConfig(seed=-1)}, "--seed"),
        ({"frame": WindowSpec(seasons=(7, 3))}, "--seasons"),
        ({"data": Path("none.csv")}, r"none\.csv: expected a CSV file"),
    ],
)
def test_nonsense_is_refused_before_any_work(changed: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        forecast.learn(dataclasses.replace(SMALL, **changed))


def test_a_trained_run_forecasts_a_users_series(tmp_path: Path) -> None:
    """The sample's own series go on as a column; the forecast is near its formula."""
    assert call("forecast", "--smoke", "--run-dir", tmp_path / "run").returncode == 0
    points = generated()["S3"]
    table = "\n".join(f"day {t},{y}" for t, y in enumerate(points[:-6]))
    (tmp_path / "own.csv").write_text(f"when,load\n{table}\n")
    out = tmp_path / "f.csv"
    done = call(
        "forecast", "predict", tmp_path / "run", tmp_path / "own.csv", "--out", out
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["series"] for row in rows] == ["load"] * 6
    median = np.array([float(row["q0.5"]) for row in rows])
    assert np.abs(median / points[-6:] - 1).mean() < 0.15
    assert all(float(row["q0.025"]) < float(row["q0.975"]) for row in rows)
    assert out.with_suffix(".png").stat().st_size > 10_000

    (tmp_path / "own.csv").write_text("load\n" + "1\n" * 23)
    for words, message in (
        (
            [tmp_path / "run", tmp_path / "own.csv"],
            "expected 24 points or more, found 23",
        ),
        ([tmp_path / "none", tmp_path / "own.csv"], "expected the configuration"),
    ):
        done = call("forecast", "predict", *words)
        assert done.returncode == 2 and done.stdout == ""
        assert message in done.stderr and done.stderr.count("\n") == 1


def test_the_command_of_a_result_says_what_was_asked_for() -> None:
    run = dataclasses.replace(SMALL.run, max_seconds=9.0, run_dir=Path("/home/me"))
    asked = dataclasses.replace(SMALL, data=Path("/home/me/own.csv"), run=run)
    assert command_line("forecast", asked) == (
        "python -m experiments.forecast --data own.csv --horizon 2 --seasons 2 3 "
        "--reads 3 --max-seconds 9"
    )
    plain = Options(data=Path("some/m4"), validate=True)
    assert command_line("forecast", plain).endswith("forecast --data m4 --validate")
    tried = dataclasses.replace(asked, smoke=True)
    assert command_line("forecast", tried) == "python -m experiments.forecast --smoke"
