"""Data for the applications, from where they were published, checked by their sums.

    python -m experiments.fetch                     what there is
    python -m experiments.fetch tinyshakespeare     into data/tinyshakespeare
    python -m experiments.speech --fetch            what the application wants, and go

A data set is there whole or not at all: it is made in a folder of its own beside the
place, verified, and renamed. Nothing is executed; of a zip only the files that are
wanted are written, under names that the pattern allows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import json
import os
import re
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from experiments.data_sets import DATA_SETS, DataSet
from lstm_jax import InputError
from lstm_jax.cli import parse, run_command

FOLDER = Path("data")
_PIECE = 1 << 16  # bytes read at a time
_SECONDS = 60.0  # without a byte, until the connection is given up
_FILES = 10_000  # of a data set, at most
_AGENT = {"User-Agent": "lstm_jax"}
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError)


@dataclasses.dataclass(frozen=True)
class Options:
    """Fetch data sets by name; without one, list them.

    Attributes:
        names: data sets to download.
        folder: where each gets a folder of its own.
    """

    names: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="NAME")
    ] = ()
    folder: Path = FOLDER


def fetch(name: str, folder: Path = FOLDER) -> list[Path]:
    """Have a data set in a folder; it is fetched unless it is there.

    Returns:
        What `--data` is to be given.

    Raises:
        InputError: there is no such data set, it is not to be fetched, can't be
            reached, is not what it was, or there are other files in its place.
    """
    if name not in DATA_SETS:
        known = ", ".join(DATA_SETS)
        raise InputError(f"expected a data set, one of {known}, found {name}")
    data_set = DATA_SETS[name]
    if data_set.terms:
        raise InputError(
            f"{data_set.title}: expected --data; {data_set.terms}, {data_set.home}"
        )
    place = folder / name
    if place.exists():
        _verify(place, data_set, f"{place}: expected {name} or nothing there, found")
    else:
        _make(place, name, data_set)
    return [place / each for each in data_set.data] or [place]


def fetch_for(application: str, folder: Path = FOLDER) -> list[Path]:
    """The same by the name of the application.

    Raises:
        InputError: see `fetch`; or no data set is known for it.
    """
    for name, data_set in DATA_SETS.items():
        if data_set.application == application:
            return fetch(name, folder)
    raise InputError(
        f"--fetch: expected an application with a data set, found {application}"
    )


def sum_of(sums: dict[str, str]) -> str:
    """The SHA-256 of files as one, by those of each.

    It is that of a line for each, in the order of their names, as `sha256sum` writes
    it.
    """
    lines = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    return hashlib.sha256(lines.encode()).hexdigest()


def _make(place: Path, name: str, data_set: DataSet) -> None:
    """Fetch, verify, and put in its place."""
    print(f"{name}: {data_set.title}, {data_set.licence}, from {data_set.home}")
    new = not place.parent.exists()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=place.parent, prefix=f".{name}-", ignore_cleanup_errors=True
        ) as made:
            draft = Path(made) / name
            draft.mkdir()
            _get(draft, data_set)
            where = data_set.archive or data_set.files[0].url
            _verify(draft, data_set, f"{where}: expected what it was, found")
            os.replace(draft, place)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{place}: expected a place to write to: {reason}") from None
    finally:
        if new:
            with contextlib.suppress(OSError):  # there is something in it
                place.parent.rmdir()
    print(f"{place}: {data_set.megabytes:g} MB, of the expected checksum")


def _get(draft: Path, data_set: DataSet) -> None:
    """Fetch all files of a data set into a folder."""
    most = int(4e6 * data_set.megabytes)  # bytes; the sums say more
    for remote in data_set.files:
        _download(remote.url, draft / remote.name, most)
    if data_set.listing:
        address, before = data_set.listed
        for inner in _listed(draft, data_set):
            _download(address + inner, draft / before / inner, most)
    if data_set.archive:
        packed = draft.parent / "archive.zip"
        _download(data_set.archive, packed, most)
        _unpack(packed, draft, data_set, most)


def _listed(draft: Path, data_set: DataSet) -> list[str]:
    """The names in a listing, whose sum is known: it is what it was."""
    path = draft / data_set.listing
    expected = {remote.name: remote.sha256 for remote in data_set.files}
    if _sha256(path) != expected[data_set.listing]:
        raise InputError(
            f"{data_set.files[0].url}: expected what it was, found another"
        )
    return list(json.loads(path.read_bytes()))


def _download(url: str, path: Path, most: int) -> None:
    """Write what an address has into a new file.

    Raises:
        InputError: it can't be reached, breaks off, or has more than `most` bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    got = 0
    try:
        request = urllib.request.Request(url, headers=_AGENT)
        with (
            urllib.request.urlopen(request, timeout=_SECONDS) as answer,
            path.open("xb") as file,
        ):
            while piece := _next_piece(answer, url):
                got += len(piece)
                if got > most:
                    raise InputError(f"{url}: expected {most:,} bytes at most")
                file.write(piece)
            announced = answer.headers.get("Content-Length", "")
    except urllib.error.HTTPError as error:
        error.close()
        raise InputError(_unreachable(url, f"{error.code} {error.reason}")) from None
    except urllib.error.URLError as error:
        raise InputError(_unreachable(url, error.reason)) from None
    except (http.client.HTTPException, TimeoutError) as error:
        raise InputError(_unreachable(url, repr(error))) from None
    if announced.isdecimal() and int(announced) != got:
        raise InputError(_unreachable(url, f"{got:,} of {int(announced):,} bytes"))


def _next_piece(answer: http.client.HTTPResponse, url: str) -> bytes:
    """Read on; a connection that breaks is told apart from a disk that is full."""
    try:
        return answer.read(_PIECE)
    except OSError as error:
        raise InputError(_unreachable(url, error.strerror or error)) from None


def _unreachable(url: str, reason: object) -> str:
    return (
        f"{url}: expected a download, found: {reason}; if you have the data, pass them "
        "with --data"
    )


def _unpack(packed: Path, draft: Path, data_set: DataSet, most: int) -> None:
    """Write the members of a zip that are wanted, no more than so many bytes."""
    wanted, total = re.compile(data_set.members), 0
    try:
        with zipfile.ZipFile(packed) as archive:
            for member in archive.infolist()[: 10 * _FILES]:
                found = wanted.fullmatch(member.filename)
                if not found or ".." in member.filename.split("/"):
                    continue
                path = draft / found[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as file:
                    content = file.read(most - total + 1)
                total += len(content)
                if total > most:
                    raise InputError(
                        f"{data_set.archive}: expected {most:,} bytes at most"
                    )
                path.write_bytes(content)
    except _DAMAGED as error:
        raise InputError(f"{data_set.archive}: expected a zip: {error}") from None


def _verify(place: Path, data_set: DataSet, complaint: str) -> None:
    """Refuse a folder that does not have the files of a data set, and no others.

    Raises:
        InputError: the complaint, and what was found.
    """
    files = sorted(path for path in place.rglob("*") if path.is_file())
    if len(files) > _FILES:
        raise InputError(f"{complaint} {len(files):,} files")
    sums = {path.relative_to(place).as_posix(): _sha256(path) for path in files}
    each = {remote.name: remote.sha256 for remote in data_set.files}
    if sum_of(sums) != (data_set.total or sum_of(each)):
        raise InputError(
            f"{complaint} {len(files):,} files of another checksum ({sum_of(sums):.8})"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing() -> str:
    """A line for each data set: what it is, its licence, and whether it is fetched."""
    lines = []
    for name, each in DATA_SETS.items():
        how = f"{each.terms}, {each.home}" if each.terms else f"{each.megabytes:g} MB"
        what = f"{each.title}; {each.licence}; {how}"
        lines.append(f"{name:16}{each.application:17}{what}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    about = (__doc__ or "").split("\n\n")[0]
    about += "\n\nWithout a name, lists them with their licences and addresses."
    options = parse(Options, "fetch", about, argv, package="experiments")
    if not options.names:
        print(listing())
    for name in options.names:
        print("--data", *fetch(name, options.folder))


if __name__ == "__main__":
    run_command(main)
