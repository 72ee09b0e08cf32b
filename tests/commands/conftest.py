"""A run that the tests of the commands share, and a place with good and bad files."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.commands import SMALL, TEXT, Trained, call, contents


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two epochs of a tiny model. To be copied before it is changed."""
    home = tmp_path_factory.mktemp("trained")
    text = home / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    given = ("--data", text, "--run-dir", home / "run", *SMALL, "--epochs", 2)
    return Trained(home / "run", text, call("train", *given, cwd=home))


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the trained run, to be damaged."""
    return shutil.copytree(trained.path, tmp_path / "run")


# Bad input. Before each: the working directory holds these.

GOOD = "the cat sat on the mat"
FILES: dict[str, bytes] = {
    "good.txt": GOOD.encode(),
    "empty.txt": b"",
    "one.txt": b"x",
    "binary.txt": bytes(range(256)),
    "latin1.txt": "über".encode("latin-1"),
    "cut.txt": "abcü".encode()[:-1],
    "broken.gz": b"this is no archive",
    "folder/thesis.txt": b"precious",
}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder of files, which nothing that is refused may change."""
    for name, raw in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(raw)
    before = contents(tmp_path)
    yield tmp_path
    assert contents(tmp_path) == before
