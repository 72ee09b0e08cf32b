"""The forecasting experiment: what it reads, and what a trained run does for a user."""

import csv
import dataclasses
import datetime
import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.cli import command_line
from experiments.forecast import __main__ as forecast
from experiments.forecast import plots
from experiments.forecast.__main__ import Options, generated, load
from experiments.forecast.data import Data, choose_window
from lstm_jax import InputError
from lstm_jax.config import RunConfig
from lstm_jax.data import SeriesSpec, SeriesTable, WindowSpec
from lstm_jax.data.dates import read_dates
from tests.helpers.experiment_runs import call

SMALL = Options(frame=WindowSpec(horizon=2, seasons=(2, 3), reads=3))


def write_rows(path: Path, series: dict[str, list[int]]) -> None:
    """As the M4 files are: a header, and a line per series."""
    with path.open("w", newline="") as file:
        lines = [[name, *points] for name, points in series.items()]
        csv.writer(file).writerows([["V1", *(["V2"] * len(lines[0]))], *lines])


def parts(options: Options) -> tuple[dict, dict]:
    """What is known, and what is to be forecast."""
    data = load(options)
    return data.known, data.truth


def m4_folder(path: Path, test_points: int = 2) -> Path:
    train, test = (path / name for name in forecast.M4_FILES)
    write_rows(train, {"H1": [1, 2, 3, 4, 5], "H2": [6, 7, 8, 9]})
    write_rows(test, {"H1": [10, 11][:test_points], "H2": [12, 13]})
    return path


def test_m4_is_read_as_the_competition_cut_it(tmp_path: Path) -> None:
    options = dataclasses.replace(SMALL, data=m4_folder(tmp_path))
    known, truth = parts(options)
    assert known["H1"].tolist() == [1, 2, 3, 4, 5]
    assert truth["H1"].tolist() == [10, 11] and truth["H2"].tolist() == [12, 13]


def test_validation_does_not_see_the_test_part(tmp_path: Path) -> None:
    folder = m4_folder(tmp_path)
    known, truth = parts(dataclasses.replace(SMALL, data=folder, validate=True))
    assert known["H1"].tolist() == [1, 2, 3] and truth["H1"].tolist() == [4, 5]
    assert known["H2"].tolist() == [6, 7] and truth["H2"].tolist() == [8, 9]
    (tmp_path / "some.csv").write_text("x\n" + "\n".join("123456789"))
    own = dataclasses.replace(SMALL, data=tmp_path / "some.csv", validate=True)
    known, truth = parts(own)
    assert known["x"].tolist() == [1, 2, 3, 4, 5] and truth["x"].tolist() == [6, 7]
    known, truth = parts(dataclasses.replace(own, validate=False, origins=2))
    assert known["x"].tolist() == [1, 2, 3, 4, 5] and len(truth["x"]) == 4


def test_gaps_are_filled_without_what_is_held_out(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("x\n1\n2\n3\n4\nNA\n6\n7\n8\n9")
    own = dataclasses.replace(SMALL, data=tmp_path / "some.csv")
    with pytest.raises(InputError, match=r"line 6, column 1, series x: .*--fill"):
        load(own)
    own = dataclasses.replace(own, table=SeriesSpec(fill="linear"))
    known, truth = parts(own)
    assert known["x"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert truth["x"].tolist() == [8, 9]
    known, truth = parts(dataclasses.replace(own, validate=True))
    assert known["x"].tolist() == [1, 2, 3, 4, 4] and truth["x"].tolist() == [6, 7]
    with pytest.raises(InputError, match="no gap in the last 6 points, which are held"):
        load(dataclasses.replace(own, origins=3))


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
        (
            {"smoke": True, "table": SeriesSpec(covariates=("x",))},
            "--covariates: expected --data of a CSV file",
        ),
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
        assert done.returncode == 2
        assert message in done.stderr and done.stderr.count("\n") == 1


TINY = "--hidden 4 --members 1 --steps 8 --batch 8".split()
HOURS = np.arange(120)
STILL = {
    "sine": np.sin(2 * np.pi * HOURS / 24),
    "constant": 5 + 0.0 * HOURS,
    "ends flat": 50 + np.minimum(HOURS % 7 + HOURS, 60),
}


@pytest.mark.parametrize("name", STILL)
def test_series_that_naive2_knows_can_be_forecast(tmp_path: Path, name: str) -> None:
    """It makes no error, or MASE has no scale: no yardstick to weigh errors by."""
    table = "".join(f"h{k},{y:.3f}\n" for k, y in enumerate(STILL[name]))
    (tmp_path / "x.csv").write_text(f"hour,y\n{table}")
    frame = "--horizon 12 --seasons 24 --reads 24".split()
    done = call(
        *("forecast", "--data", tmp_path / "x.csv", "--run-dir", tmp_path / "r"),
        *(*frame, *TINY),
    )
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((tmp_path / "r/result.json").read_text())
    assert "nan" not in done.stdout.lower() and "inf" not in result["ours"]
    assert result["ours"].startswith("— (sMAPE")
    assert "no scale" in result["ours"] or "no error" in result["ours"]


def test_a_zero_that_is_held_out_does_not_end_a_run(tmp_path: Path) -> None:
    """It has no logarithm: then none is taken, of a series that else has them taken."""
    points = 5 + HOURS % 7 + np.sin(2 * np.pi * HOURS / 24)
    for last, log in ((3.0, True), (0.0, False)):
        points[-1] = last
        (tmp_path / "x.csv").write_text("y\n" + "".join(f"{y:.3f}\n" for y in points))
        run = tmp_path / f"{last:.0f}"
        frame = "--horizon 12 --seasons 24 --reads 24".split()
        done = call(
            *("forecast", "--data", tmp_path / "x.csv", "--run-dir", run),
            *(*frame, *TINY),
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads((run / "config.json").read_text())["settings"]["log"] == log
        assert (run / "forecasts.csv").exists()


def daily(path: Path, days: int, mark: str = ".") -> Path:
    """Sales on days, which a price sets a day later; with this decimal sign."""
    first, rng = datetime.date(2024, 1, 1), np.random.default_rng(0)
    price = rng.choice([1.0, 3.0], days)
    rows = ["date;sales $_{x$;price"]
    for k in range(days):
        sales = 50 + 10 * np.sin(2 * np.pi * k / 7) - 8 * price[max(0, k - 1)]
        day = first + datetime.timedelta(k)
        row = f"{day:%d.%m.%Y};{sales:.2f};{price[k]:.1f}"
        rows.append(row if mark == "." else _european(row))
    path.write_text("\n".join(rows))
    return path


def _european(row: str) -> str:
    date, *numbers = row.split(";")
    return ";".join([date, *(number.replace(".", ",") for number in numbers)])


def test_a_users_table_is_forecast_with_its_dates_and_covariates(
    tmp_path: Path,
) -> None:
    own, run = daily(tmp_path / "own.csv", 120, ","), tmp_path / "run"
    asked = ["--target", "sales $_{x$", "--covariates", "price", "--horizon", "3"]
    done = call("forecast", "--data", own, "--run-dir", run, *asked, *TINY)
    assert (done.returncode, done.stderr) == (0, "")
    assert "120 points, 01.01.2024 to 29.04.2024, 1 day apart" in done.stdout
    assert "covariates: price; known up to each forecast, and not after" in done.stdout
    assert "seasons of 7 points, for steps of 1 day" in done.stdout
    config = json.loads((run / "config.json").read_text())
    assert config["model"]["arguments"]["window"]["seasons"] == [7]
    assert config["settings"]["covariates"]["names"] == ["price"]
    rows = list(csv.DictReader((run / "forecasts.csv").read_text().splitlines()))
    dates = [row["date"] for row in rows]
    assert dates == ["27.04.2024", "28.04.2024", "29.04.2024"]

    out = tmp_path / "f.csv"
    done = call("forecast", "predict", run, own, "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["date"] for row in rows] == ["30.04.2024", "01.05.2024", "02.05.2024"]
    assert out.with_suffix(".png").stat().st_size > 10_000
    scored = ["--out", tmp_path / "e.csv", "--origins", 2, "--json"]
    done = call("forecast", "evaluate", run, "--data", own, *scored)
    assert (done.returncode, done.stderr) == (0, "")
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["series"], last["points"]) == (1, 6)
    assert len((tmp_path / "e.csv").read_text().splitlines()) == 1 + 6

    # A point of the covariate on the last known day matters, none after it does.
    text = own.read_text().splitlines()
    for changed, matters in ((-1, True), (None, False)):
        lines = [*text, "30.04.2024;;9,0"] if changed is None else [*text]
        if changed is not None:
            lines[changed] = lines[changed].rpartition(";")[0] + ";9,0"
        (tmp_path / "c.csv").write_text("\n".join(lines))
        other = tmp_path / "o.csv"
        done = call("forecast", "predict", run, tmp_path / "c.csv", "--out", other)
        assert (done.returncode, done.stderr) == (0, "")
        assert (other.read_text() != out.read_text()) == matters

    for lines, message in (
        ([line.rpartition(";")[0] for line in text], "--covariates: .* found price"),
        ([*text[:-1], f"{text[-1].rpartition(';')[0]};"], "found none at 29.04.2024"),
        ([text[0], *text[1::2]], "expected dates 1 day apart, as in training.* 2 days"),
    ):
        (tmp_path / "c.csv").write_text("\n".join(lines))
        done = call("forecast", "predict", run, tmp_path / "c.csv", "--out", out)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert re.search(message, done.stderr), done.stderr
    done = call("forecast", "predict", run, own, "--out", tmp_path / "f.png")
    assert "--out: expected the name of a table" in done.stderr
    done = call("forecast", "predict", run, own, "--covariates", "sales $_{x$")
    assert "--covariates: expected those of the run, price" in done.stderr


def data_of(points: int, labels: list[str] | None = None) -> Data:
    axis = None
    if labels:
        found = read_dates(labels, labels)
        assert found
        axis = found[0]
    series = {"x": np.arange(float(points))}
    return Data(series, {}, SeriesTable(series, {}, {"x": 0}, points, axis, ()))


def test_seasons_follow_from_the_dates(capsys: pytest.CaptureFixture[str]) -> None:
    months = ["2024-01", "2024-02", "2024-03"]
    hours = ["2024-01-01 00:00", "2024-01-01 01:00"]
    asked = WindowSpec(horizon=6, seasons=(), reads=0)

    def chosen(
        data: Data, seasons: tuple[int, ...] = (), reads: int = 0
    ) -> tuple[tuple[int, ...], int]:
        given = dataclasses.replace(asked, seasons=seasons, reads=reads)
        window = choose_window(given, data, 1)
        return window.seasons, window.reads

    assert chosen(data_of(400)) == ((24, 168), 168)  # as before
    assert "for want of dates" in capsys.readouterr().out
    assert chosen(data_of(800, hours)) == ((24, 168), 168)
    assert chosen(data_of(200, hours)) == ((24,), 64)
    assert "those of 24 and 168 need longer series" in capsys.readouterr().out
    assert chosen(data_of(200, months)) == ((12,), 48)
    assert chosen(data_of(20, months)) == ((1,), 4)
    assert chosen(data_of(200, months), seasons=(3, 12)) == ((3, 12), 168)
    assert chosen(data_of(100, months), seasons=(3,)) == ((3,), 91)
    assert chosen(data_of(100), seasons=(7,), reads=9) == ((7,), 9)
    with pytest.raises(InputError, match=r"expected 342 points .* --seasons and --r"):
        chosen(data_of(100))


def test_the_picture_has_no_empty_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(
        plots, "save_figure", lambda figure, *_, **__: drawn.append(figure)
    )
    window = WindowSpec(horizon=4, seasons=(3,), reads=6)
    for count in (1, 3, 5):
        names = [f"gross_$ vs net_${k}^" for k in range(count)]
        known = {name: np.arange(30.0) for name in names}
        truth = {name: np.arange(30.0, 34.0) for name in names}
        quantiles = np.tile(np.linspace(29, 33, 5), (count, 4, 1))
        levels = [0.025, 0.25, 0.5, 0.75, 0.975]
        plots.draw_forecasts(Path("x"), Data(known, truth), quantiles, levels, window)
        figure = drawn[-1]
        assert len(figure.axes) == min(count, 6)
        for axes in figure.axes:
            lines = {
                line.get_label(): np.stack(line.get_data()) for line in axes.get_lines()
            }
            known_line, forecast_line = lines["known"], lines["forecast"]
            assert known_line[:, -1].tolist() == forecast_line[:, 0].tolist() == [0, 29]
            assert known_line.shape[1] == 13  # three horizons, and the last point
            assert all(tick == round(tick) for tick in axes.get_xticks())
            assert r"\$" in axes.get_title(loc="left")
    drawn[0].canvas.draw()


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
