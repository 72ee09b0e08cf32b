"""Series and their windows: what is read, and what is refused in one line."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from experiments.anomaly.baseline import autoregression_errors, windowed_gaussian
from experiments.anomaly.data import (
    LABELS,
    describe_benchmark,
    probation_of,
    read_benchmark,
)
from experiments.anomaly.lines import LineSpec, Point, points_of
from lstm_jax.config import read_section
from lstm_jax.errors import InputError

TABLE = "timestamp,value\n" + "".join(
    f"2014-04-01 00:0{k}:00,{k}.5\n" for k in range(9)
)
WINDOWS = {"g/s.csv": [["2014-04-01 00:02:00.000000", "2014-04-01 00:04:00.000000"]]}


def a_folder(path: Path, table: str = TABLE, windows: object = WINDOWS) -> Path:
    for name, content in {"data/g/s.csv": table, LABELS: json.dumps(windows)}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    (path / "README").write_text("none of its files")
    return path


def test_a_folder_and_a_zip_of_it_are_the_same(tmp_path: Path) -> None:
    folder, packed = a_folder(tmp_path / "nab"), tmp_path / "nab.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for each in folder.rglob("*"):
            file.write(each, str(each.relative_to(folder)))
    for path in (folder, packed):
        (found,) = read_benchmark(path)
        assert (found.name, found.group) == ("g/s", "g")
        assert found.values.tolist() == [k + 0.5 for k in range(9)]
        assert np.diff(found.seconds).tolist() == [60.0] * 8
        assert found.windows == ((2, 4),)
    one, other = describe_benchmark(folder), describe_benchmark(packed)
    assert (one.sha256, one.bytes) == (other.sha256, other.bytes)
    assert one.name == "nab, 1 series"
    a_folder(folder, TABLE + "2014-04-01 00:09:00,1\n")
    assert describe_benchmark(folder).sha256 != one.sha256


def test_nab_scores_no_leading_point() -> None:
    assert [probation_of(n) for n in (0, 99, 4032, 22695)] == [0, 14, 604, 750]


def test_lines_are_read_as_they_come() -> None:
    read = []

    def lines() -> Iterator[bytes]:
        for line in (
            "\ufefftime,value",
            "1970-01-01T00:01:00,2e3",
            "",
            "1970-01-02,-1",
        ):
            read.append(line)
            yield line.encode() + b"\r\n"

    found = points_of(lines(), "x")
    assert next(found) == Point("1970-01-01T00:01:00", 60.0, 2000.0)
    assert len(read) == 2
    assert list(found) == [Point("1970-01-02", 86400.0, -1.0)]


def test_a_first_line_with_a_value_is_no_heading() -> None:
    with pytest.raises(InputError, match=r"^x: line 1: expected a time like .*-13-"):
        list(points_of([b"2014-13-01,1\n", b"2014-12-02,1\n"], "x"))
    lines = [b"\n", b"time,value\n", b"1970-01-02,-1\n"]
    assert list(points_of(lines, "x")) == [Point("1970-01-02", 86400.0, -1.0)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("yesterday,1", "a time like 2014-04-01 00:05:00, found 'yesterday'"),
        (",1", "a time like .*, found ''"),
        ("2014-04-01 00:05:00", "a finite value, found ''"),
        ("2014-04-01 00:05:00,1,2", "a time and a value, found 3 cells; a number with"),
        ("2014-04-01 00:05:00,21,450", "a time and a value, found 3 cells"),
        ('2014-04-01 00:05:00,"1,234",450', "a time and a value, found 3 cells"),
        ("2014-04-01 00:05:00,nan", "a finite value, found 'nan'"),
        ("2014-04-01 00:05:00,1e200", "a finite value, found '1e200'"),
        ("2014-04-01 00:05:00,\x00", "a finite value, found '.x00'"),
        ("9" * 5000 + ",1", "a time like .*, found '9{59}$"),
    ],
)
def test_a_bad_line_is_named(line: str, said: str) -> None:
    lines = ["timestamp,value", "2014-04-01 00:00:00,1", line]
    with pytest.raises(InputError, match=f"^x.csv: line 3: expected {said}") as raised:
        list(points_of((each.encode() for each in lines), "x.csv"))
    assert "\n" not in str(raised.value)


def values_of(text: str, **spec: str) -> list[float]:
    known = read_section(LineSpec, spec, "here")
    lines = (line.encode() for line in text.split("\n"))
    return [point.value for point in points_of(lines, "x", known)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("time;value\n2024-01-01;1,5\n2024-01-02;1.234,5", [1.5, 1234.5]),
        ("2024-01-01\t5\n2024-01-02\t1,25\n", [5, 1.25]),
        ("a|b\n2024-01-01|1.25", [1.25]),
        ('2024-01-01,"1,234.5"\n2024-01-02,2', [1234.5, 2]),
        ('time,value\n2024-01-01,"1,234"', [1234]),
        ("2024-01-01;1,234,567", [1234567]),
        ('"time","value"\n"2024-01-01","3"', [3]),
        ("2024-01-01,5%\n2024-01-02,6 %", [5, 6]),
    ],
)
def test_lines_are_read_as_people_write_them(text: str, expected: list) -> None:
    assert values_of(text) == expected


@pytest.mark.parametrize(
    "date",
    ["15.01.2024 01:00", "01/15/2024 1:00 AM", "1705280400", "15 Jan 2024 01:00"],
)
def test_dates_are_those_of_the_first_line(date: str) -> None:
    (found,) = points_of([f"{date};1".encode()], "x")
    assert found == Point(date, 1705280400.0, 1.0)
    lines = [f"{date};1".encode(), b"yesterday;2"]
    with pytest.raises(InputError, match="x: line 2: expected a time"):
        list(points_of(lines, "x"))


def test_what_the_lines_do_not_say_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"--decimal: .* x: line 2 says how 1,234"):
        values_of("2024-01-01;1\n2024-01-02;1,234")
    assert values_of("2024-01-01;1,5\n2024-01-02;1,234") == [1.5, 1.234]
    assert values_of("2024-01-01;1,234", decimal=",") == [1.234]
    assert values_of("2024-01-01;1,234", decimal=".") == [1234]
    with pytest.raises(InputError, match=r"--date-format: .* 01/02/2024"):
        values_of("01/02/2024,5")
    assert values_of("01/02/2024,5", date_format="%d/%m/%Y") == [5]
    with pytest.raises(InputError, match=r"line 2: expected a finite value.*'1\.5'"):
        values_of("2024-01-01;1,5\n2024-01-02;1.5")
    with pytest.raises(InputError, match="line 2: expected a value in the unit"):
        values_of("2024-01-01;5%\n2024-01-02;6")


@pytest.mark.parametrize("decimal", ["auto", ".", ","])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_further_column_is_no_part_of_a_number(decimal: str, separator: str) -> None:
    text = "timestamp,temp,co2\n2024-01-01 00:00:00,21,450".replace(",", separator)
    with pytest.raises(InputError, match=r"^x: line 2: .*and a value, found 3 cells"):
        values_of(text, decimal=decimal)


@pytest.mark.parametrize(
    ("dates", "days"),
    [
        (["01/01/2024", "13/01/2024", "01/02/2024"], [0, 12, 31]),
        (["01/01/2024", "01/13/2024", "01/02/2024"], [0, 12, 1]),
        (["01-01-2024 06:00", "01-13-2024 12:00"], [0.25, 12.5]),
        (["May 5, 2024", "Jun 6, 2024"], [125, 157]),
        (["May 5, 2024", "June 6, 2024"], [125, 157]),
    ],
)
def test_later_dates_say_what_the_first_does_not(dates: list, days: list) -> None:
    """A first one that is the same day in both orders does not say which it is."""
    points = points_of((f"{date};1".encode() for date in dates), "x")
    assert [(point.seconds - 1704067200) / 86400 for point in points] == days


def test_a_date_that_nothing_before_it_explains_is_asked_for() -> None:
    text = "01/01/2024,5\n01/02/2024,6\n01/13/2024,7"
    with pytest.raises(InputError, match=r"^--date-format: .* 01/02/2024 can be read"):
        values_of(text)
    assert values_of(text, date_format="%m/%d/%Y") == [5, 6, 7]


@pytest.mark.parametrize("missing", ["", "NA", "null", "-", "NaN"])
def test_missing_values_are_filled_on_request(missing: str) -> None:
    text = f"2024-01-01,5\n2024-01-02,{missing}\n2024-01-03,6"
    with pytest.raises(InputError, match=r"line 2: expected a finite value.*--fill"):
        values_of(text)
    assert values_of(text, fill="previous") == [5, 5, 6]
    assert values_of(text, fill="zero") == [5, 0, 6]
    with pytest.raises(InputError, match="line 1: expected a finite value"):
        values_of(f"2024-01-01,{missing}", fill="previous")


@pytest.mark.parametrize(
    ("table", "windows", "said"),
    [
        (TABLE, [], "windows by file in labels/combined_windows.json, found none"),
        (TABLE, {}, "expected windows of g/s.csv in labels"),
        (TABLE, {"g/s.csv": 3}, "pairs of times of data/g/s.csv, found 3"),
        (TABLE, {"g/s.csv": [["2014-04-01 00:02:00"]]}, "pairs of times of"),
        (TABLE, {"g/s.csv": [["2019-04-01 00:02:00"] * 2]}, "pairs of times of"),
        (TABLE, {"g/s.csv": [[1, 2]]}, "pairs of times of"),
        (TABLE, {"g/s.csv": [WINDOWS["g/s.csv"][0][::-1]]}, "pairs of times of"),
        ("timestamp,value\n", WINDOWS, "data/g/s.csv: expected a point, found none"),
        ("x,value\nx,1\n", WINDOWS, "data/g/s.csv: line 2: expected a time"),
    ],
)
def test_what_is_no_benchmark_is_refused(
    table: str, windows: object, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said) as raised:
        read_benchmark(a_folder(tmp_path, table, windows))
    assert "\n" not in str(raised.value)


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("data/g/s.csv", TABLE * 20)
    content = bytearray(path.read_bytes())
    content[42:62] = bytes(each ^ 0x5A for each in content[42:62])
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"expected a folder or a zip .*, found: Error"
    ):
        read_benchmark(path)


def test_endless_brackets_are_no_labels(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, TABLE, {})
    (folder / LABELS).write_text("[" * 100_000)
    with pytest.raises(InputError, match="expected windows by file"):
        read_benchmark(folder)


def test_files_that_are_no_zips_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 and nothing else")
    for path, said in (
        (tmp_path / "x.zip", "expected a folder or a zip .*, found: File is not a zip"),
        (tmp_path / "none", "expected a folder or a zip .*, found: No such file"),
        (tmp_path, "expected windows by file"),
    ):
        with pytest.raises(InputError, match=said):
            read_benchmark(path)
    (tmp_path / "labels").mkdir()
    (tmp_path / LABELS).write_text("{}")
    with pytest.raises(InputError, match=r"expected data/GROUP/NAME.csv, found none"):
        read_benchmark(tmp_path)


def test_the_windowed_gaussian_is_nabs() -> None:
    """Mean and deviation of all points before, or of a window that moves by 100."""
    values = np.random.default_rng(0).normal(5, 2, size=6750)
    found = windowed_gaussian(values)
    assert found[0] == 0
    for k, window in (
        (3, values[:3]),
        (6399, values[:6399]),
        (6499, values[:6400]),
        (6500, values[100:6500]),
        (6749, values[300:6700]),
    ):
        z = abs(values[k] - window.mean()) / window.std()
        np.testing.assert_allclose(found[k], norm.cdf(z), rtol=1e-9)
    assert windowed_gaussian(np.ones(5)).tolist() == [0, 0.5, 0.5, 0.5, 0.5]


def test_an_autoregression_has_no_errors_where_the_series_is_one() -> None:
    angle = 2 * np.pi / 24
    values = 7 + 3 * np.sin(angle * np.arange(400))
    values[300] += 1.0
    errors = autoregression_errors(values, 100)
    assert errors[:300].max() < 1e-3 and errors.argmax() == 300
    assert np.all(autoregression_errors(np.ones(50), 5) == 0)
