"""Stays in intensive care: files to observations, and those to what a network reads.

The text format is that of the PhysioNet/Computing in Cardiology Challenge 2012, a line
per observation: `Time,Parameter,Value`, a file for each stay; or many stays in a table,
with `RecordID` before. -1 stands for what is not known. NumPy only.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.results import DataFile, describe_file
from lstm_jax import InputError
from lstm_jax.data import bytes_of

HOURS = 48  # that are observed
_LARGEST = 1e15  # value, in whatever unit: float32 can hold its square
FIXED = ("Age", "Gender", "Height", "ICUType")
UNITS = {
    **{"Albumin": "g/dL", "ALP": "IU/L", "ALT": "IU/L", "AST": "IU/L"},
    **{"Bilirubin": "mg/dL", "BUN": "mg/dL", "Cholesterol": "mg/dL"},
    **{"Creatinine": "mg/dL", "DiasABP": "mmHg", "FiO2": "0-1", "GCS": "3-15"},
    **{"Glucose": "mg/dL", "HCO3": "mmol/L", "HCT": "%", "HR": "/min", "K": "mEq/L"},
    **{"Lactate": "mmol/L", "Mg": "mmol/L", "MAP": "mmHg", "MechVent": "yes"},
    **{"Na": "mEq/L", "NIDiasABP": "mmHg", "NIMAP": "mmHg", "NISysABP": "mmHg"},
    **{"PaCO2": "mmHg", "PaO2": "mmHg", "pH": "0-14", "Platelets": "cells/nL"},
    **{"RespRate": "/min", "SaO2": "%", "SysABP": "mmHg", "Temp": "°C"},
    **{"TroponinI": "μg/L", "TroponinT": "μg/L", "Urine": "mL", "WBC": "cells/nL"},
    "Weight": "kg",
}
VARIABLES = tuple(UNITS)
_PLACES = {name: place for place, name in enumerate(VARIABLES)}
_ONE, _MANY = "Time,Parameter,Value", "RecordID,Time,Parameter,Value"
_DEATH, _SAPS = "In-hospital_death", "SAPS-I"
_TABLES = (".txt", ".csv", ".csv.gz", ".csv.xz", ".txt.gz", ".txt.xz")
Lines = dict[str, list[str]]  # "Time,Parameter,Value" of each stay


@dataclasses.dataclass(frozen=True)
class Stays:
    """N stays, and M observations of them.

    Attributes:
        names: RecordID of each.
        fixed: age, gender, height and type of the unit, [N, 4]; NaN where not known.
        rows: whose each observation is, [M], rising.
        hours: when it was made, [M], from 0 to 48.
        variables: of what, [M], an index of `VARIABLES`.
        values: [M].
    """

    names: tuple[str, ...]
    fixed: NDArray[np.float64]
    rows: NDArray[np.int64]
    hours: NDArray[np.float64]
    variables: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def last_hours(self) -> NDArray[np.float64]:
        """When each stay was last observed, [N]; 0 if it never was."""
        last = np.zeros(len(self.names))
        np.maximum.at(last, self.rows, self.hours)
        return last

    def pick(self, chosen: NDArray[np.integer]) -> "Stays":
        """Some of the stays, in the order given, each once."""
        place = np.full(len(self.names), -1)
        place[chosen] = np.arange(len(chosen))
        kept = np.flatnonzero(place[self.rows] >= 0)
        kept = kept[np.argsort(place[self.rows[kept]], kind="stable")]
        return Stays(
            tuple(self.names[k] for k in chosen),
            self.fixed[chosen],
            place[self.rows[kept]],
            self.hours[kept],
            self.variables[kept],
            self.values[kept],
        )


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What became of stays.

    Attributes:
        died: in hospital, by RecordID.
        severity: SAPS-I, for those that have one.
    """

    died: dict[str, bool]
    severity: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Data:
    """What some files hold: stays, outcomes as far as they are told; what was read."""

    stays: Stays
    outcomes: Outcomes
    files: tuple[DataFile, ...]

    def died(self) -> NDArray[np.bool_]:
        """Which stays ended in death, [N].

        Raises:
            InputError: of one it is not told.
        """
        told = self.outcomes.died
        for name in self.stays.names:
            if name not in told:
                raise InputError(
                    f"expected an outcome of stay {name}, {_DEATH} in a table, found "
                    "none"
                )
        return np.array([told[name] for name in self.stays.names])


def read_data(paths: Sequence[Path]) -> Data:
    """Read stays and outcomes; what a file is, its first line says.

    Args:
        paths: files of either format, `.gz` and `.xz` unpacked, tables of outcomes
            (`RecordID,...,In-hospital_death`), or folders of such files.

    Raises:
        InputError: a file is missing, damaged or something else, or a stay is in two.
    """
    lines: Lines = {}
    outcomes, tables = Outcomes({}, {}), []
    for path in _files(paths):
        head, *rows = _lines_of(path)
        if head == _ONE:
            found = {_name_of(rows, path): rows}
        elif head == _MANY:
            found = _by_stay(rows, path)
        elif _DEATH in head.split(","):
            _read_outcomes(head.split(","), rows, path, outcomes)
            tables.append(describe_file(path))
            continue
        else:
            raise InputError(
                f"{path}: expected {_ONE}, with or without RecordID, or a table with "
                f"{_DEATH}, found {head!r:.60}"
            )
        if twice := sorted(lines.keys() & found.keys()):
            raise InputError(f"{path}: expected new stays, found {twice[0]} once more")
        lines |= found
    if not lines:
        raise InputError(f"{_listed(paths)}: expected stays, found none")
    lines = dict(sorted(lines.items()))
    stays = parse_stays(lines)
    return Data(stays, outcomes, (describe_stays(lines), *tables))


def describe_stays(lines: Lines) -> DataFile:
    """All stays as one file: its checksum does not heed how they are packed.

    It is that of a table of them, without its head, in the order of their RecordID.
    """
    size, digest = 0, hashlib.sha256()
    for name in lines:
        piece = "".join(f"{name},{line}\n" for line in lines[name]).encode()
        size += len(piece)
        digest.update(piece)
    return DataFile(f"{len(lines):,} stays", size, digest.hexdigest())


def parse_stays(lines: Lines) -> Stays:
    """Take the observations out of lines.

    What is negative is not known: -1 says so, and none of these can be.

    Args:
        lines: `Time,Parameter,Value` by RecordID.

    Raises:
        InputError: a line is none of an observation.
    """
    fixed = np.full((len(lines), len(FIXED)), np.nan)
    found: list[tuple[int, float, int, float]] = []
    for row, (name, of_stay) in enumerate(lines.items()):
        for line in of_stay:
            hours, parameter, value = _parse(line, name)
            if parameter in FIXED:
                fixed[row, FIXED.index(parameter)] = value if value >= 0 else np.nan
            elif parameter != "RecordID" and value >= 0:
                found.append((row, hours, _place_of(parameter, name), value))
    rows, hours, variables, values = np.array(found, float).reshape(-1, 4).T
    return Stays(
        tuple(lines), fixed, rows.astype(int), hours, variables.astype(int), values
    )


def _parse(line: str, name: str) -> tuple[float, str, float]:
    """Hours, parameter and value of an observation."""
    try:
        clock, parameter, number = line.split(",")
        hour, minute = clock.split(":")
        hours, value = int(hour) + int(minute) / 60, float(number)
        if not 0 <= int(minute) < 60:
            raise ValueError
    except ValueError:
        raise InputError(
            f"stay {name}: expected a line like 07:30,HR,72, found {line!r:.60}"
        ) from None
    if not 0 <= hours <= HOURS or not abs(value) <= _LARGEST:
        raise InputError(
            f"stay {name}: expected times from 00:00 to {HOURS}:00 and numbers up to "
            f"{_LARGEST:g}, found {line!r:.60}"
        )
    return hours, parameter, value


def _place_of(parameter: str, name: str) -> int:
    if parameter not in _PLACES:
        raise InputError(
            f"stay {name}: expected one of the variables of the challenge, found "
            f"{parameter!r:.40}"
        )
    return _PLACES[parameter]


def _by_stay(rows: Iterable[str], path: Path) -> Lines:
    """The lines of a table, by RecordID."""
    found: Lines = {}
    for row in rows:
        name, comma, line = row.partition(",")
        if not comma or not name:
            raise InputError(f"{path}: expected {_MANY}, found {row!r:.60}")
        found.setdefault(name, []).append(line)
    return found


def _name_of(rows: Sequence[str], path: Path) -> str:
    """What the file of one stay says its RecordID is, or else its own name."""
    for row in rows:
        if ",RecordID," in row:
            return row.rpartition(",")[2]
    return path.name.split(".")[0]


def _read_outcomes(
    head: Sequence[str], rows: Iterable[str], path: Path, outcomes: Outcomes
) -> None:
    """Add what a table says of outcomes."""
    for row in rows:
        fields = dict(zip(head, row.split(","), strict=False))
        name, died = fields.get("RecordID"), fields.get(_DEATH)
        if not name or died not in ("0", "1"):
            raise InputError(
                f"{path}: expected RecordID and {_DEATH}, 0 or 1, found {row!r:.60}"
            )
        if outcomes.died.get(name, died == "1") != (died == "1"):
            raise InputError(f"{path}: expected one outcome of stay {name}, found both")
        outcomes.died[name] = died == "1"
        severity = fields.get(_SAPS, "-1")
        if severity.isdecimal():
            outcomes.severity[name] = float(severity)


def _files(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and those in folders that may be such."""
    found = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [each for each in path.iterdir() if _is_table(each)]
        if not inside:
            raise InputError(f"{path}: expected .txt or .csv files, found none")
        found += sorted(inside)
    return found


def _is_table(path: Path) -> bool:
    return path.name.lower().endswith(_TABLES)


def _lines_of(path: Path) -> list[str]:
    """The lines of a file that are not empty, one at least."""
    try:
        text = b"".join(bytes_of(path)).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected a text file, found other bytes") from None
    lines = [line.strip() for line in text.split("\n")]
    return [line for line in lines if line] or [""]


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths)) or "no files"


def generated(count: int = 80) -> Data:
    """Stays in which hearts that race and lactate that rises are a bad sign."""
    rng = np.random.default_rng(0)
    lines, outcomes = {}, Outcomes({}, {})
    for number in range(count):
        name, died = str(1000 + number), bool(rng.random() < 0.4)
        outcomes.died[name] = died
        outcomes.severity[name] = float(rng.integers(5, 20) + 3 * died)
        age, height = rng.integers(20, 90), rng.choice([-1, 165, 180])
        rows = [f"00:00,Age,{age}", f"00:00,Height,{height}", "00:00,ICUType,2"]
        for hour in np.sort(rng.choice(HOURS, 12, replace=False)):
            worse = died * hour / HOURS
            pulse, lactate = rng.normal([80 + 30 * worse, 1.5 + 4 * worse], [8, 0.3])
            rows.append(f"{hour:02}:{rng.integers(60):02},HR,{pulse:.0f}")
            if rng.random() < 0.4:
                rows.append(f"{hour:02}:30,Lactate,{lactate:.1f}")
        lines[name] = rows
    return Data(parse_stays(lines), outcomes, ())
