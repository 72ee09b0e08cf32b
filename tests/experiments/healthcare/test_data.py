"""Files of stays: both formats, any packing, and what is no stay."""

import dataclasses
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.healthcare.data import HOURS, VARIABLES, Data, Stays, read_data
from experiments.healthcare.inputs import (
    as_preparation,
    as_record,
    gridded,
    prepare,
    step_ends,
    step_of,
)
from lstm_jax.errors import InputError

ROWS = {
    "7": ["00:00,RecordID,7", "00:00,Age,54", "00:00,Height,-1", "07:30,HR,72"],
    "12": ["00:00,RecordID,12", "00:00,Height,170", "48:00,pH,7.4", "00:10,Weight,-1"],
}
OUTCOMES = "RecordID,SAPS-I,SOFA,In-hospital_death\n12,6,1,0\n7,-1,8,1\n"


def write_one_by_one(folder: Path) -> list[Path]:
    """As PhysioNet has them."""
    (folder / "set-a").mkdir()
    for name, rows in ROWS.items():
        text = "\r\n".join(["Time,Parameter,Value", *rows, ""])
        (folder / "set-a" / f"{name}.txt").write_bytes(text.encode())
    (folder / "Outcomes-a.txt").write_text(OUTCOMES)
    return [folder / "set-a", folder / "Outcomes-a.txt"]


def write_together(folder: Path) -> list[Path]:
    """As tables with a column more, packed, beside the outcomes."""
    for name, rows in ROWS.items():
        lines = ["RecordID,Time,Parameter,Value", *(f"{name},{row}" for row in rows)]
        packed = lzma.compress("\n".join(lines).encode())
        (folder / f"part{name}.csv.xz").write_bytes(packed)
    (folder / "outcomes.csv").write_text(OUTCOMES)
    return [folder]


@pytest.mark.parametrize("write", [write_one_by_one, write_together])
def test_stays_are_read_from_either_format(
    tmp_path: Path, write: Callable[[Path], list[Path]]
) -> None:
    data = read_data(write(tmp_path))
    stays = data.stays
    assert stays.names == ("12", "7")
    np.testing.assert_array_equal(stays.fixed[:, 0], [np.nan, 54])
    np.testing.assert_array_equal(stays.fixed[:, 2], [170, np.nan])
    assert [VARIABLES[v] for v in stays.variables] == ["pH", "HR"]
    assert stays.hours.tolist() == [48, 7.5] and stays.values.tolist() == [7.4, 72]
    assert stays.last_hours.tolist() == [48, 7.5]
    assert data.died().tolist() == [False, True]
    assert data.outcomes.severity == {"12": 6}
    assert data.files[0].name == "2 stays"


def test_the_checksum_does_not_heed_the_packing(tmp_path: Path) -> None:
    found: list[Data] = []
    for number, write in enumerate((write_one_by_one, write_together)):
        (tmp_path / str(number)).mkdir()
        found.append(read_data(write(tmp_path / str(number))))
    sums = [[file.sha256 for file in data.files] for data in found]
    assert sums[0] == sums[1] and len(sums[0]) == 2


def test_stays_are_picked_with_their_observations(tmp_path: Path) -> None:
    stays = read_data(write_together(tmp_path)).stays
    turned = stays.pick(np.array([1, 0]))
    assert turned.names == ("7", "12") and turned.values.tolist() == [72, 7.4]
    assert turned.rows.tolist() == [0, 1]
    assert stays.pick(np.array([1])).values.tolist() == [72]


HEAD = "Time,Parameter,Value\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected Time,Parameter,Value, with or without RecordID, .*found ''"),
        ("a,b\n1,2\n", "expected Time,Parameter,Value, .*found 'a,b'"),
        (f"{HEAD}00:00\n", "stay x: expected a line like 07:30,HR,72, found '00:00'"),
        (f"{HEAD}07:30,HR,\n", "expected a line like 07:30,HR,72, found '07:30,HR,'"),
        (f"{HEAD}07:30,HR,fast\n", "expected a line like 07:30,HR,72, found"),
        (f"{HEAD}48:01,HR,72\n", "expected times from 00:00 to 48:00 .*'48:01,HR,72'"),
        (f"{HEAD}01:00,HR,nan\n", "expected times from .* and numbers up to"),
        (f"{HEAD}01:00,HR,1e30\n", r"and numbers up to 1e\+15, found '01:00,HR,1e30'"),
        (f"{HEAD}01:60,HR,72\n", "expected a line like .*, found '01:60,HR,72'"),
        (f"{HEAD}01:00,Hr,72\n", "expected one of the variables .*, found 'Hr'"),
        ("RecordID,Time,Parameter,Value\n5\n", "expected RecordID,Time,.*, found '5'"),
        ("RecordID,In-hospital_death\n7,2\n", "expected RecordID and .*, found '7,2'"),
        (
            "RecordID,In-hospital_death\n7,1\n7,1\n7,0\n",
            "expected one outcome of stay 7, found both",
        ),
        ("RecordID,In-hospital_death\n7,1\n", "expected stays, found none"),
    ],
)
def test_what_is_no_stay_is_refused_in_one_line(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        read_data([tmp_path / "x.txt"])
    assert "\n" not in str(raised.value)


def test_upper_case_names_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "7.TXT").write_text(f"{HEAD}01:00,HR,72\n")
    packed = gzip.compress(f"{HEAD}02:00,HR,80\n".encode())
    (tmp_path / "8.TXT.GZ").write_bytes(packed)
    assert read_data([tmp_path]).stays.names == ("7", "8")


def test_a_stay_is_read_once_and_has_an_outcome(tmp_path: Path) -> None:
    data = read_data(write_together(tmp_path))
    again = tmp_path / "again.txt"
    again.write_text(f"{HEAD}00:00,RecordID,7\n")
    with pytest.raises(InputError, match=r"expected new stays, found 7 once more"):
        read_data([tmp_path / "part7.csv.xz", again])
    del data.outcomes.died["7"]
    with pytest.raises(
        InputError, match="expected an outcome of stay 7, In-hospital_death"
    ):
        data.died()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: expected .txt or .csv files, found"):
        read_data([tmp_path / "empty"])
    again.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="expected a text file, found other bytes"):
        read_data([again])


def until(stays: Stays, hour: float) -> Stays:
    """The stays as they were known then."""
    kept = stays.hours < hour
    return dataclasses.replace(
        stays,
        rows=stays.rows[kept],
        hours=stays.hours[kept],
        variables=stays.variables[kept],
        values=stays.values[kept],
    )


def test_a_network_reads_what_was_seen_and_nothing_later(tmp_path: Path) -> None:
    """By hand: the stay with one heart rate, after seven and a half hours."""
    stays = read_data(write_together(tmp_path)).stays
    preparation = prepare(stays, 6)
    inputs, count = preparation(stays), len(VARIABLES)
    assert inputs.shape == (2, 8, 3 * count + 9)
    seen = inputs[1, :, count + VARIABLES.index("HR")]
    assert seen.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    gaps = inputs[1, :, -count + VARIABLES.index("HR")]
    hours = [0, 6, 6, 12, 18, 24, 30, 36]
    np.testing.assert_allclose(gaps, np.log1p(hours) / 2, rtol=1e-6)
    cut = until(stays, 12)
    np.testing.assert_array_equal(preparation(cut)[:, :2], inputs[:, :2])
    again = as_preparation(as_record(preparation))
    np.testing.assert_array_equal(again(stays), inputs)


@pytest.mark.parametrize("hours", [1, 2, 5, 48])
def test_an_hour_lies_in_the_step_that_reads_it(hours: int) -> None:
    """A stay for each quarter of an hour, each observed then and at no other time."""
    rows = np.arange(4 * HOURS + 1)
    names, fixed = tuple(map(str, rows)), np.full((len(rows), 4), np.nan)
    stays = Stays(names, fixed, rows, rows / 4, np.zeros_like(rows), np.ones(len(rows)))
    _, observed = gridded(stays, hours)
    found = [step_of(hour, step_ends(hours)) for hour in stays.hours]
    assert found == observed[..., 0].argmax(axis=1).tolist()
