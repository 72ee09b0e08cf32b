"""Data sets from a server on this machine; no other is ever asked."""

import dataclasses
import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import fetch as fetching
from experiments import known_data
from experiments.data_sets import DATA_SETS, DataSet, Remote
from experiments.fetch import fetch, main, sum_of
from experiments.handwriting import __main__ as handwriting
from experiments.healthcare import __main__ as healthcare
from experiments.runs import run_folder
from lstm_jax import InputError
from tests.helpers.experiment_runs import contents

A, B = b"abc\n", b"line\r\n" * 40_000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def packed(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


INDEX = b'{"a/a.csv": [], "b.csv": []}'
SERVED = {
    "/a.txt": A,
    "/b.txt": B,
    "/index.json": INDEX,
    "/data/a/a.csv": A,
    "/data/b.csv": B,
    "/all.zip": packed(
        **{"top/in/a.txt": A, "top/in/b.txt": B, "top/read.me": b"X"},
        **{"../in/c.txt": b"X", "top/in/../d.txt": b"X", "/in/e.txt": b"X"},
    ),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves SERVED, and what a server should not do."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        content = SERVED.get(self.path.removeprefix("/cut"))
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        if "endless" not in self.path:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:-1] if self.path.startswith("/cut") else content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address. Its data sets are the only ones."""
    monkeypatch.setattr(Handler, "asked", [], raising=False)
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{found.server_port}"
        monkeypatch.setattr(fetching, "DATA_SETS", data_sets(address))
        yield address
        found.shutdown()
        thread.join()


def data_sets(address: str) -> dict[str, DataSet]:
    common = DataSet("handwriting", "some data", "CC0", "https://home", megabytes=1.0)
    one = (Remote(f"{address}/a.txt", "a.txt", sha256(A)),)
    two = (*one, Remote(f"{address}/b.txt", "b.txt", sha256(B)))
    index = (Remote(f"{address}/index.json", "index.json", sha256(INDEX)),)
    sums = {"a.txt": sha256(A), "b.txt": sha256(B)}
    more = {"index.json": sha256(INDEX), "d/a/a.csv": sha256(A), "d/b.csv": sha256(B)}
    return {
        "one": dataclasses.replace(
            common, application="healthcare", files=one, data=("a.txt",)
        ),
        "two": dataclasses.replace(common, files=two),
        "listed": dataclasses.replace(
            common,
            files=index,
            listing="index.json",
            listed=(f"{address}/data/", "d/"),
            total=sum_of(more),
        ),
        "packed": dataclasses.replace(
            common,
            archive=f"{address}/all.zip",
            members=r"[^/]+/in/(.+\.txt)",
            total=sum_of(sums),
        ),
        "kept": dataclasses.replace(common, application="video", terms="no licence"),
    }


def change(name: str, **changes: Any) -> None:  # noqa: ANN401
    changed = dataclasses.replace(fetching.DATA_SETS[name], **changes)
    fetching.DATA_SETS[name] = changed


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("one", "one/a.txt", {"a.txt": A}),
        ("two", "two", {"a.txt": A, "b.txt": B}),
        ("listed", "listed", {"d/a/a.csv": A, "d/b.csv": B, "index.json": INDEX}),
        ("packed", "packed", {"a.txt": A, "b.txt": B}),
    ],
)
def test_a_data_set_is_fetched_once(
    name: str,
    data: str,
    expected: dict[str, bytes],
    server: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main([name, "--folder", str(tmp_path / "data")])
    assert capsys.readouterr().out.splitlines()[-1] == f"--data {tmp_path}/data/{data}"
    assert contents(tmp_path / "data" / name) == expected
    assert [path.name for path in (tmp_path / "data").iterdir()] == [name]
    asked = len(Handler.asked)
    assert fetch(name, tmp_path / "data") == [tmp_path / "data" / data]
    assert len(Handler.asked) == asked


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"files": (("/no.txt", "a.txt"),)},
            "/no.txt: expected a download, found: 4",
        ),
        ({"files": (("/cut/a.txt", "a.txt"),)}, "/cut/a.txt: expected a download"),
        ({"files": (("/b.txt", "a.txt"),)}, "/b.txt: expected what it was, found 1 fi"),
        ({"megabytes": 0.05}, "/b.txt: expected 200,000 bytes at most"),
        ({"archive": "/a.txt"}, "/a.txt: expected a zip: File is not a zip file"),
        ({"archive": "/all.zip"}, r"/all.zip: expected what it was, found \d files"),
        ({"archive": "/all.zip", "megabytes": 0.001}, "/all.zip: expected 4,000 bytes"),
        ({"listing": "a.txt"}, "b.txt: expected what it was, found another"),
    ],
)
def test_what_fails_leaves_nothing(
    changes: dict[str, Any], message: str, server: str, tmp_path: Path
) -> None:
    if "files" in changes:
        ((path, name),) = changes["files"]
        changes["files"] = (Remote(server + path, name, sha256(A)),)
    if "archive" in changes:
        changes |= {"files": (), "archive": f"{server}{changes['archive']}"}
        changes["members"] = "top/(.*)"
    if "listing" in changes:
        changes["files"] = (Remote(f"{server}/b.txt", "a.txt", sha256(A)),)
    change("two", **changes)
    with pytest.raises(InputError, match=message) as caught:
        fetch("two", tmp_path / "data")
    assert "\n" not in str(caught.value) and not (tmp_path / "data").exists()


def test_a_server_that_is_not_there_is_one_line(server: str, tmp_path: Path) -> None:
    change("one", files=(Remote("http://127.0.0.1:9/a.txt", "a.txt", sha256(A)),))
    with pytest.raises(InputError, match=r"found: .*refused; if you have the data, p"):
        fetch("one", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_files_stay_where_they_are(server: str, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "thesis.txt").write_text("mine")
    message = "one: expected one or nothing there, found 1 files of another checksum"
    with pytest.raises(InputError, match=message):
        fetch("one", tmp_path)
    assert (tmp_path / "one" / "thesis.txt").read_text() == "mine"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="two: expected a place to write to: File"):
        fetch("two", tmp_path / "file")


def test_terms_are_told(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="expected --data; no licence, https://home"):
        fetch("kept")
    with pytest.raises(InputError, match="one of one, two, listed, packed, kept, f"):
        fetch("three")
    main([])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and Handler.asked == []
    assert lines[1] == "two             handwriting      some data; CC0; 1 MB"
    assert lines[4].endswith(
        "video            some data; CC0; no licence, https://home"
    )


def test_an_application_has_its_data_fetched(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen = []
    for experiment in (healthcare, handwriting):
        monkeypatch.setattr(experiment, "learn", seen.append)
        experiment.main(["--fetch", "--run-dir", "run"])
    assert [options.data for options in seen] == [
        *[(Path("data/one/a.txt"),), Path("data/two")]
    ]
    assert not any(options.fetch for options in seen)
    for words, flag in ((["--data", "x"], "--data"), (["--smoke"], "--smoke")):
        with pytest.raises(InputError, match=f"--fetch: expected no {flag} beside it"):
            handwriting.main(["--fetch", *words])


def test_a_run_that_is_continued_has_its_data(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first command with --resume behind it is a command."""
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(handwriting, "learn", seen.append)
    words = ["--fetch", "--run-dir", "run"]
    handwriting.main(words)
    (begun,) = seen
    with run_folder("handwriting", begun):
        pass
    handwriting.main([*words, "--resume"])
    assert seen[1].data == begun.data == Path("data/two") and not seen[1].fetch


def test_what_is_fetched_is_what_the_table_was_made_of() -> None:
    known = {sha256 for b in known_data.BENCHMARKS for sha256 in b.sha256}
    folder = Path(known_data.__file__).parent
    for name, data_set in DATA_SETS.items():
        assert (folder / data_set.application / "__main__.py").exists()
        assert data_set.home.startswith("https://")
        assert bool(data_set.terms) == (not data_set.files and not data_set.archive)
        if data_set.terms:
            continue
        assert data_set.megabytes > 0
        if data_set.total:
            # Of the stays the table has the sum of another form.
            assert data_set.total in known or name == "physionet2012"
        else:
            assert {remote.sha256 for remote in data_set.files} <= known
        for url in (data_set.archive, *(remote.url for remote in data_set.files)):
            assert not url or url.startswith("https://")
