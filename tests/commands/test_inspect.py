"""`python -m lstm_jax.inspect` as a person runs it."""

import re
import signal
import time
from pathlib import Path

import pytest

from lstm_jax.errors import InputError
from lstm_jax.lm import looking, save
from lstm_jax.lm.looking import watch_run
from lstm_jax.storage.lock import is_locked, locked
from tests.helpers.commands import (
    Trained,
    assert_done,
    assert_refused,
    call,
    contents,
    last_json,
    started,
    wait_for_a_line,
)
from tests.helpers.tiny_models import untrained
from tests.report.test_page import data_of

# Inspection.


def test_a_run_is_inspected(copied: Path) -> None:
    before = contents(copied)
    done = call("inspect", copied, "--text", "the cat", "--json", cwd=copied.parent)
    assert_done(done)
    found = last_json(done)
    (layer,) = found["layers"]
    assert layer["units"] == 16 and len(layer["memory"]) == 3
    assert len(found["norms"]) == 200 and 0 < found["reach"] < 200
    for text in ("forget gate closed", "memory", "dead units", *found["advice"]):
        assert text in done.stdout
    pictures = {"gates.png", "lags.png", "units.png"}
    assert {path.name for path in (copied / "inspect").iterdir()} == pictures
    assert {name: contents(copied)[name] for name in before} == before


def test_inspection_names_an_unknown_character(copied: Path) -> None:
    done = call("inspect", copied, "--text", "Ω", cwd=copied.parent)
    assert_refused(done, "'Ω' (U+03A9)")


# The report.


def test_a_training_leaves_a_page_and_inspect_writes_it_again(
    trained: Trained, copied: Path
) -> None:
    path = trained.path / "report.html"
    data = data_of(path)
    assert data["reading"]["ids"] and data["status"] == "finished"
    assert f"to look at: {path}" in trained.done.stdout
    (copied / "report.html").unlink()
    done = call("inspect", copied, "--html", "--text", "the cat", cwd=copied.parent)
    assert done.returncode == 0, done.stderr
    again = data_of(copied / "report.html")
    assert "".join(again["reading"]["symbols"][k] for k in again["reading"]["ids"]) == (
        "the cat"
    )
    assert again["network"] == data["network"] and again["advice"] == data["advice"]


def test_a_folder_of_an_application_has_a_page_and_others_are_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "result.json").write_text('{"task": "Speech"}')
    for flag in ("--html", "--watch"):
        done = call("inspect", tmp_path / "app", flag, cwd=tmp_path)
        assert done.returncode == 0 and "report.html" in done.stdout
        assert data_of(tmp_path / "app" / "report.html")["about"] == "Speech"
    (tmp_path / "empty").mkdir()
    before = contents(tmp_path)
    for name in ("empty", "missing"):
        done = call("inspect", tmp_path / name, "--watch", cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert contents(tmp_path) == before


def test_a_lock_is_seen_and_not_taken(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    with pytest.raises(InputError, match="expected a run directory"):
        is_locked(tmp_path / "missing")


def test_a_run_is_watched_to_its_end(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(seconds: float) -> None:
        seen.append(data_of(copied / "report.html"))

    answers = iter([True, True, True, False])
    monkeypatch.setattr(looking, "is_locked", lambda path: next(answers))
    monkeypatch.setattr(looking, "time", type("", (), {"sleep": staticmethod(look)}))
    watch_run(copied, every=2.0)
    assert [each["status"] for each in seen] == ["running", "running"]
    assert seen[0]["reload"] == 2.0 and "reading" not in seen[0]
    last = data_of(copied / "report.html")
    assert last["reading"]["ids"] and last["status"] == "finished"
    assert "reload" not in last


def test_ctrl_c_ends_the_watching_and_leaves_a_page_that_waits_for_nothing(
    copied: Path,
) -> None:
    path = copied / "report.html"
    path.unlink()
    with (
        locked(copied),
        started("inspect", copied, "--watch", cwd=copied.parent) as process,
    ):
        wait_for_a_line(process, path)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate()
    assert process.returncode == 130 and complained == ""
    assert re.fullmatch(r"report in .*report\.html; open it in a browser\n", said)
    assert "reload" not in data_of(path)


def test_a_model_that_was_kept_without_its_text_is_inspected(tmp_path: Path) -> None:
    """With one that is given, short or in a file; without one it says what it needs."""
    run, file = tmp_path / "kept", tmp_path / "other.txt"
    save(untrained("the cat sat"), run)
    file.write_text("the cat sat on the hat" * 9, encoding="utf-8")
    assert_refused(call("inspect", run, cwd=tmp_path), "expected --data")
    for given in (("--text", "the cat"), ("--data", file)):
        done = call("inspect", run, *given, "--json", cwd=tmp_path)
        assert_done(done)
        assert last_json(done)["layers"][0]["units"] == 16
        assert (run / "inspect" / "units.png").exists()
    assert_done(call("inspect", run, "--text", "the cat", "--html", cwd=tmp_path))
    assert "reading" in data_of(run / "report.html")
    for given in (("--text", "the cat"), ("--data", file), ("--json",)):
        done = call("inspect", run, "--watch", *given, cwd=tmp_path)
        assert_refused(done, f"{given[0]}: expected no --watch beside it")


def test_a_run_that_kept_no_text_has_a_page_without_a_look_inside(
    copied: Path,
) -> None:
    (copied / "corpus.npy").unlink()
    done = call("inspect", copied, "--html", cwd=copied.parent)
    assert done.returncode == 0, done.stderr
    data = data_of(copied / "report.html")
    assert "reading" not in data and data["history"]["step"]


def test_the_matrix_of_evaluate_is_shown_too(copied: Path) -> None:
    assert_done(call("evaluate", copied, cwd=copied.parent))
    assert_done(call("inspect", copied, "--html", cwd=copied.parent))
    found = data_of(copied / "report.html")["confusion"]
    titles = [each["title"] for each in found]
    assert titles[0].startswith("Likeliest next symbol, on ")
    assert "the held-out text, stream" in titles[1:]
