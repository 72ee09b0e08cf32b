"""Tables of series as people have them: what is read, asked for, and refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from lstm_jax.config import read_section
from lstm_jax.data.series_csv import SeriesSpec, read_series, read_series_table
from lstm_jax.errors import InputError

DAYS = [f"2024-01-{day:02}" for day in range(1, 11)]


def written(path: Path, content: str | bytes) -> Path:
    file = path / "some.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def panel(stores: int, weeks: int, head: str, corner: str = "store") -> str:
    lines = [",".join([corner, *(head.format(week) for week in range(1, weeks + 1))])]
    for k in range(stores):
        points = (str(100 * k + week) for week in range(weeks))
        lines.append(",".join([f"S{k}", *points]))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"V1","V2","V3"\n"H1","1","2"\n', {"H1": [1, 2]}),  # M4's own layout
        ("V1,V2,V3,V4\nH1,1,2,3\nH2,4,5,\n", {"H1": [1, 2, 3], "H2": [4, 5]}),
        ("date,x,y\nmon,1,\ntue,2,5\nwed,3,6\n", {"x": [1, 2, 3], "y": [5, 6]}),
        ("load\n1.5\n2e3\n-3\n", {"load": [1.5, 2000, -3]}),
        ("1\n2\n3\n", {"1": [1, 2, 3]}),
        ("1,2,3\n", {"1": [1, 2, 3]}),
        ("\ufeffx\r\n1\r\n2\r\n\r\n", {"x": [1, 2]}),
        # separators and decimal commas
        ("date;load\n2024-01-01;1,5\n2024-01-02;2,25\n", {"load": [1.5, 2.25]}),
        ("date\tload\n2024-01-01\t1,5\n2024-01-02\t2\n", {"load": [1.5, 2]}),
        ("a;b\n1.234,5;12,5\n2;3\n", {"a": [1234.5, 2], "b": [12.5, 3]}),
        ("x|y\n1|2\n3|4\n", {"x": [1, 3], "y": [2, 4]}),
        ("sep=;\nx;y\n1;2\n3;4\n", {"x": [1, 3], "y": [2, 4]}),
        ("load\n1,5\n2,25\n", {"load": [1.5, 2.25]}),
        ('x,y\n"1,5",2\n"2,75",3\n', {"x": [1.5, 2.75], "y": [2, 3]}),
        ('load\n"1,234.5"\n"2,345"\n', {"load": [1234.5, 2345]}),
        ("load\n1.234\n2.345\n", {"load": [1.234, 2.345]}),  # a point is one
        ("x;y\n0,123;1\n1,234;2\n", {"x": [0.123, 1.234], "y": [1, 2]}),
        ("x\r1\r2\r", {"x": [1, 2]}),  # old line ends
        # headers of numbers
        (
            "date,101,102\n2024-01-01,5,7\n2024-01-02,6,8\n",
            {"101": [5, 6], "102": [7, 8]},
        ),
        ("month,2019,2020\njan,1,2\nfeb,4,5\n", {"2019": [1, 4], "2020": [2, 5]}),
        (",0,1\n0,5,7\n1,6,8\n", {"0": [5, 6], "1": [7, 8]}),  # as pandas writes it
        ("thing,2024-01,2024-02\n7,1,2\n9,4,5\n", {"7": [1, 2], "9": [4, 5]}),
        ("store,2019,2020\n1,1,2\n2,4,5\n", {"1": [1, 2], "2": [4, 5]}),
        ("week,2019,2020\nweek 0,1,2\nweek 1,4,5\n", {"2019": [1, 4], "2020": [2, 5]}),
        (
            "date,2019,2020\n2024-01-01,1,2\n2024-01-02,4,5\n",
            {"2019": [1, 4], "2020": [2, 5]},
        ),
        (
            "thing,20230131,20230201,20230202\na,1,2,3\nb,3,4,5\n",
            {"a": [1, 2, 3], "b": [3, 4, 5]},
        ),
        # columns that are no series
        ("20240101,5\n20240102,6\n20240103,7\n", {"1": [5, 6, 7]}),
        ("x,load\n20240101,5\n20240102,6\n20240103,7\n", {"load": [5, 6, 7]}),
        (",load\n0,5\n1,6\n2,7\n", {"load": [5, 6, 7]}),
        ("id,load\n1,5\n2,6\n3,4\n", {"load": [5, 6, 4]}),
        ("x,y\n1,5\n2,6\n3,4\n", {"x": [1, 2, 3], "y": [5, 6, 4]}),
        ("time,x\n0.0,5\n0.1,6\n0.2,7\n", {"x": [5, 6, 7]}),
        ("year,x\n1990,5\n1991,6\n", {"x": [5, 6]}),
        ("load,date\n5,2024-01-01\n6,2024-01-02\n", {"load": [5, 6]}),
        ("x,,y\n1,,2\n3,,4\n", {"x": [1, 3], "y": [2, 4]}),
        (
            "store,item,2024-01,2024-02\nA,x,1,2\nA,y,4,5\n",
            {"A x": [1, 2], "A y": [4, 5]},
        ),
        ("load\n1.234.567\n2.345\n", {"load": [1234567, 2345]}),
        # begins late, ends early
        ("x,y\n-,2\n1,3\n2,n/a\n", {"x": [1, 2], "y": [2, 3]}),
        ("x\n5 %\n6%\n", {"x": [5, 6]}),
        ("x\n$5\n-$6\n($7)\n", {"x": [5, -6, -7]}),
    ],
)
def test_series_are_read(tmp_path: Path, text: str, expected: dict) -> None:
    found = read_series(written(tmp_path, text))
    assert {name: points.tolist() for name, points in found.items()} == expected


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_any_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    text = "Größe;y\r\n1,5;2\r\n2,5;3\r\n"
    found = read_series(written(tmp_path, text.encode(encoding)))
    assert {n: p.tolist() for n, p in found.items()} == {
        "Größe": [1.5, 2.5],
        "y": [2, 3],
    }


def test_a_packed_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"x\n1\n2\n"))
    assert read_series(tmp_path / "x.csv.gz")["x"].tolist() == [1, 2]


def test_the_layout_can_be_said(tmp_path: Path) -> None:
    file = written(tmp_path, "name,s1,s2\na,1,2\nb,3,4\nc,5,6\n")
    assert read_series(file, "rows")["b"].tolist() == [3, 4]
    assert read_series(file, "columns")["s2"].tolist() == [2, 4, 6]


@pytest.mark.parametrize(
    ("head", "corner"),
    [("2024-W{:02}", "x"), ("d_{}", "id"), ("week {}", "store"), ("{}", "shop")],
)
def test_a_panel_may_be_longer_than_wide(
    tmp_path: Path, head: str, corner: str
) -> None:
    """60 stores of 40 weeks, a store in a row: time is not the longer side."""
    found = read_series(written(tmp_path, panel(60, 40, head, corner)))
    assert list(found) == [f"S{k}" for k in range(60)]
    assert found["S2"].tolist() == [200.0 + week for week in range(40)]


def test_a_panel_may_be_wider_than_long(tmp_path: Path) -> None:
    """12 shops on 10 days, a shop in a column."""
    shops = [f"shop {name}" for name in "abcdefghijkl"]
    days = [",".join([day, *map(str, range(k, k + 12))]) for k, day in enumerate(DAYS)]
    for corner in ("date", "x"):
        text = "\n".join([",".join([corner, *shops]), *days])
        found = read_series(written(tmp_path, text))
        assert list(found) == shops
        assert found["shop b"].tolist() == [1.0 + k for k in range(10)]
    bare = [line.partition(",")[2] for line in text.splitlines()]
    assert list(read_series(written(tmp_path, "\n".join(bare)))) == shops


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("linear", [1, 2, 3, 4, 5, 7]),
        ("previous", [1, 1, 3, 3, 5, 7]),
        ("zero", [1, 0, 3, 0, 5, 7]),
    ],
)
@pytest.mark.parametrize("missing", ["", "NA", "n/a", "NaN", "null", "-", "#N/A", "."])
def test_gaps_are_filled_on_request(
    tmp_path: Path, fill: str, expected: list, missing: str
) -> None:
    points = f"1,{missing},3,{missing},5,7".split(",")
    table = "\n".join(["date,x", *map(",".join, zip(DAYS, points, strict=False))])
    with pytest.raises(InputError, match=r"line 3, column 2, series x: .*--fill"):
        read_series(written(tmp_path, table))
    spec = read_section(SeriesSpec, {"fill": fill}, "here")
    found = read_series_table(written(tmp_path, table), spec)
    assert found.series["x"].tolist() == expected
    assert f"x: 2 missing points filled, {fill}" in found.notes


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("linear", [1, 2, 3, 3, 3, 9, 8]),
        ("previous", [1, 1, 3, 3, 3, 9, 8]),
        ("zero", [1, 0, 3, 0, 0, 9, 8]),
    ],
)
def test_gaps_are_filled_without_what_is_held_out(
    tmp_path: Path, fill: str, expected: list
) -> None:
    file = written(tmp_path, "x\n1\nNA\n3\nNA\nNA\n9\n8\n")
    spec = read_section(SeriesSpec, {"fill": fill}, "here")
    assert read_series_table(file, spec, 2).series["x"].tolist() == expected
    with pytest.raises(
        InputError, match=r"x: expected no gap in the last 3 .* the last 2 have none"
    ):
        read_series_table(file, spec, 3)


def test_covariates_are_filled_without_what_is_held_out(tmp_path: Path) -> None:
    """A gap between points held out has the one before; x ends before its price."""
    points = ("0,1", "1,", "2,3", "3,", "4,8", "5,", ",20")
    rows = [f"{day},{both}" for day, both in zip(DAYS, points, strict=False)]
    file = written(tmp_path, "\n".join(["date,x,price", *rows]))
    spec = SeriesSpec(covariates=("price",), fill="linear")
    for held_out, expected in (
        (2, [1, 2, 3, 3, 8, 8, 20]),
        (0, [1, 2, 3, 5.5, 8, 8, 20]),
    ):
        found = read_series_table(file, spec, held_out)
        assert found.covariates["price"].tolist() == expected
        assert found.series["x"].tolist() == [0, 1, 2, 3, 4, 5]


def test_missing_dates_are_gaps(tmp_path: Path) -> None:
    days = [DAYS[k] for k in (0, 1, 2, 5, 6)]
    table = "\n".join(["date,x", *(f"{day},{day[-1]}" for day in days)])
    with pytest.raises(
        InputError, match=r"line 5.*1 day after 2024-01-03.*01-06; --fill"
    ):
        read_series(written(tmp_path, table))
    found = read_series_table(written(tmp_path, table), SeriesSpec(fill="linear"))
    assert found.series["x"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert found.axis and found.axis.label(7) == "2024-01-08"


def test_a_blank_line_is_a_gap(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 3, column 1, series x"):
        read_series(written(tmp_path, "x\n1\n\n3\n"))
    spec = SeriesSpec(fill="previous")
    found = read_series_table(written(tmp_path, "\nx\n\n1\n\n3\n\n"), spec)
    assert found.series["x"].tolist() == [1, 1, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found nothing in it"),
        ("\n,,\n", "found nothing in it"),
        ("x\n1\n2\noops\n4\n", "line 4, column 1, series x: .* found 'oops'"),
        ("x\n1\n\n,\noops\n4\n", "line 3, column 1, series x: expected a number"),
        ("x,y\n1,2\n3,\n5,6\n", "line 3, column 2, series y: .* found none; --fill"),
        ("x,y\n1,2\noops,3\n4,4\n", "line 3, column 1, series x: .*'oops'"),
        ("x\n1\ninf\n3\n", "line 3, column 1.* found 'inf'"),
        ("x\n1\n1e999\n3\n", "line 3, column 1.* found '1e999'"),
        (
            "date,x,x\nmon,1,2\ntue,3,4\n",
            "line 2, column 3: .*different names.*'x' again",
        ),
        ("V1,V2,V3\na,,\n", "series a: expected numbers, found none"),
        ("date,load\n", "line 1: expected points below the header, found none"),
        ("a,b\n1,2\n3,4,5\n", "line 3: expected 2 cells as in the header, found 3"),
        ("a,b,c\n1,2,3\n3,4\n", "line 3: expected 3 cells, found 2"),
        ("a,b\n1,2,\n3,4,9\n", "line 3: expected 2 cells as in the header, found 3"),
        ("date,load\n2024-01-01,1,5\n2024-01-02,2,5\n", "line 2: .*quotation marks"),
        ("a,\n1,2\n3,4\n", "line 2, column 2: expected .*|line 2: expected 1 cells"),
        ("load\n1,234\n2,345\n", "--decimal: .*1,234 is 1234 or 1.234"),
        ("1,5\n2,5\n3,5\n", "--decimal: .*1,5 is one number or two"),
        ('x,y\n"1,234",5\n"2,345",5\n', "--decimal"),
        ("a;b\n1.234;2\n3.456;1\n", "--decimal"),
        ("x;y\n1,5;2.5\n2;3\n", "expected a number"),
        ("x;y\n5%;1\n6;2\n", "line 3, column 1.*in the unit of line 2, column 1, 5%"),
        ("2019,2020,2021\n1,2,3\n7,5,6\n4,8,9\n", "--header: expected yes or no"),
        ("0,1\n0.5,0.6\n0.7,0.1\n0.8,0.9\n", "--header: expected yes or no"),
        ("101\n5\n6\n7\n8\n", "--header: expected yes or no"),
        ("x y\n1 2\n3 4\n", "expected cells apart by comma, semicolon, tab"),
        ('x,y\n1,2\n3,4\n"5,6\n7,8\n', "expected a CSV file"),
        ("date,x\n2024-01-01,1\n2024-01-01,2\n", "line 3, column 1: .*-01 again"),
        ("date,x\n2024-01-03,1\n2024-01-02,2\n", "line 3, column 1: .*a date after"),
        ("date,x\n2024-01-03,1\n,2\n2024-01-05,2\n", "line 3, column 1: .*a date like"),
        (",x\n0,1\n1,2\n3,3\n4,3\n", "line 4, column 1: .*next one after 1, found 3"),
        ("a,b,c\nx,2024-01-01,1\nx,2024-01-02,2\n", "column 1, series a: .* found 'x'"),
        (
            "a,b,c\n2024-01-01,2024-01-02,1\n2024-01-02,2024-01-03,2\n",
            "--dates: .*a and b",
        ),
    ],
)
def test_what_is_no_series_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_series(written(tmp_path, text))


def test_a_layout_that_is_not_said_is_asked_for(tmp_path: Path) -> None:
    table = panel(60, 40, "x{}y", "thing")
    with pytest.raises(InputError, match=r"--layout: .* 60 rows and 40 columns"):
        read_series(written(tmp_path, table))
    assert len(read_series(written(tmp_path, table), "columns")) == 40


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        (",2015,2016\n0,5,7\n1,6,8\n2,7,9\n", "--layout"),  # years, or names
        (",0,1,2\n100,5,7,9\n101,6,8,9\n103,7,9,9\n", "--layout"),
        (
            "2015,1.5,2.5,3.5,7.5\n2016,2.5,3.5,4.5,9.5\n2017,2.5,8.5,8.5,1.5\n",
            "--layout",
        ),
        ("1.5,2.5\n3.5,9.5\n", "--layout"),
        ("thing,0,1,2\n7,5,7,9\n9,6,8,9\n", "--layout"),
        ("100,101\n1.5,2.5\n3.5,9.5\n1.5,2.5\n3.5,9.5\n4.5,9.0\n", "--header"),
        ("100\n61.5\n82.5\n93.5\n129.5\n101.0\n", "--header"),
    ],
)
def test_what_may_be_a_name_or_a_point_is_asked_for(
    tmp_path: Path, text: str, flag: str
) -> None:
    with pytest.raises(InputError, match=flag):
        read_series(written(tmp_path, text))


def test_what_is_asked_for_can_be_said(tmp_path: Path) -> None:
    def read(text: str, **spec: str) -> dict[str, list[float]]:
        known = read_section(SeriesSpec, spec, "here")
        found = read_series_table(written(tmp_path, text), known).series
        return {name: points.tolist() for name, points in found.items()}

    assert read("load\n1,234\n2,345\n", decimal=",") == {"load": [1.234, 2.345]}
    assert read("load\n1,234\n2,345\n", decimal=".") == {"load": [1234, 2345]}
    assert read("a;b\n1.234;2\n3.456;1\n", decimal=".")["a"] == [1.234, 3.456]
    assert read("2019,2020\n1,2\n7,5\n", header="yes") == {
        "2019": [1, 7],
        "2020": [2, 5],
    }
    assert read("2019,2020\n1,2\n7,5\n", header="no")["1"] == [2019, 1, 7]
    dates = "a,b,c\n2024-01-01,2024-01-03,1\n2024-01-02,2024-01-04,2\n"
    with pytest.raises(InputError, match="series a: expected a number"):
        read(dates, dates="b")
    with pytest.raises(InputError, match=r"--dates: expected one of \[.*found z"):
        read(dates, dates="z")
    ambiguous = "date,x\n01/02/2024,1\n01/03/2024,2\n01/04/2024,3\n"
    with pytest.raises(InputError, match="--date-format"):
        read(ambiguous)
    assert read(ambiguous, date_format="%d/%m/%Y") == {"x": [1, 2, 3]}


def test_targets_and_covariates_are_chosen_by_name(tmp_path: Path) -> None:
    table = "date,x,price,shop\n" + "".join(
        f"{day},{k},{k / 2},north\n" for k, day in enumerate(DAYS[:5])
    )
    file = written(tmp_path, table)
    spec = SeriesSpec(target=("x",), covariates=("price",))
    found = read_series_table(file, spec)
    assert list(found.series) == ["x"] and list(found.covariates) == ["price"]
    assert found.covariates["price"].tolist() == [0, 0.5, 1, 1.5, 2]
    for flag in ("target", "covariates"):
        with pytest.raises(InputError, match=rf"--{flag}: .*x, price, shop.*found z"):
            read_series_table(file, read_section(SeriesSpec, {flag: ["z"]}, "here"))
    with pytest.raises(InputError, match="--covariates: expected other series"):
        read_series_table(file, SeriesSpec(target=("x",), covariates=("x",)))


def test_a_series_that_ends_early_has_its_own_next_date(tmp_path: Path) -> None:
    table = "date,x,y\n" + "".join(
        f"{day},{k},{k if 0 < k < 4 else ''}\n" for k, day in enumerate(DAYS[:6])
    )
    found = read_series_table(written(tmp_path, table))
    assert found.starts == {"x": 0, "y": 1} and found.ends() == {"x": 6, "y": 4}
    assert found.axis and found.axis.label(4) == DAYS[4]
    assert found.series["y"].tolist() == [1, 2, 3]
    assert {"these begin late: y by 1", "these end early: y by 2"} <= {*found.notes}


def test_dates_across_are_kept(tmp_path: Path) -> None:
    found = read_series_table(written(tmp_path, panel(3, 4, "2024-{:02}")))
    assert found.axis and found.axis.label(4) == "2024-05"
    assert np.array_equal(found.series["S1"], [100, 101, 102, 103])


def test_no_other_file_is_taken_for_a_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: expected a CSV file"):
        read_series(tmp_path / "none.csv")
    for content, message in (
        (b"\xff\xfe\x00", "expected UTF-16 text"),
        (b"\x00\x01\x02\x03", "expected text, found a NUL"),
        (b"x\n\x01\n", "expected a CSV file"),
        (b"x\n\x81\xff\n", "expected a CSV file"),
        (b"PK\x03\x04 and more", "found a spreadsheet; save it as CSV"),
    ):
        with pytest.raises(InputError, match=message):
            read_series(written(tmp_path, content))
