"""`python -m lstm_jax.evaluate` as a person runs it."""

import json
import math
import re
from pathlib import Path

import pytest

from tests.helpers.commands import (
    TEXT,
    Trained,
    assert_done,
    assert_refused,
    call,
    contents,
    last_json,
    read_json,
)


def test_dynamic_evaluation_has_a_column_of_its_own(
    trained: Trained, tmp_path: Path
) -> None:
    shown = call("evaluate", trained.path, "--dynamic", "--json", cwd=tmp_path).stdout
    assert re.search(r"window256 +stream +dynamic", shown)
    found = json.loads(shown.splitlines()[-1])
    assert found["dynamic"]["characters"] == found["stream"]["characters"]
    assert found["dynamic"]["loss"] != found["stream"]["loss"]


# Evaluation.

SCORES = {"loss", "bits_per_char", "perplexity", "accuracy"}


def test_a_run_is_evaluated(trained: Trained, tmp_path: Path) -> None:
    before = contents(trained.path)
    before.pop("confusion.png", None)
    done = call("evaluate", trained.path, "--json", cwd=tmp_path)
    assert_done(done)
    found = last_json(done)
    summary = read_json(trained.path / "summary.json")
    for protocol in ("window256", "stream"):
        scores = found[protocol]
        assert scores.keys() >= SCORES
        assert scores["characters"] == 200
        assert scores["bits_per_char"] == pytest.approx(scores["loss"] / math.log(2))
        assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]))
        assert 0 < scores["accuracy"] < 1
        for name, value in summary["validation"][protocol].items():
            assert scores[name] == pytest.approx(value, rel=1e-4)
        assert sum(each["support"] for each in scores["classes"]) == 200
        assert sum(map(sum, scores["confusion"])) == 200
        counts = {each["name"]: each["support"] for each in scores["classes"]}
        held_out = TEXT[-200:]
        assert counts["t"] == held_out.count("t")
        assert counts["␣"] == held_out.count(" ") and counts["unknown"] == 0
    printed = done.stdout.replace(json.dumps(found), "")
    for text in ("window256", "stream", "bits per character", "perplexity"):
        assert text in printed
    for text in ("accuracy", "top-5", "calibration", "precision", "weighted"):
        assert text in printed
    after = contents(trained.path)
    picture = after.pop("confusion.png")
    assert picture and picture.startswith(b"\x89PNG")
    assert after == before and contents(tmp_path) == {}


def test_another_text_is_evaluated(trained: Trained, tmp_path: Path) -> None:
    # More than a window, so that the protocols differ; Z was never seen.
    (tmp_path / "other.txt").write_text(TEXT[::-1][:500] + "Z", encoding="utf-8")
    given = (trained.path, "--data", "other.txt", "--json")
    done = call("evaluate", *given, cwd=tmp_path)
    assert_done(done)
    found = last_json(done)
    assert found["source"] == "other.txt" and "other.txt" in done.stdout
    losses = [found[protocol]["loss"] for protocol in ("window256", "stream")]
    assert found["stream"]["characters"] == found["window256"]["characters"] == 500
    held_out = read_json(trained.path / "summary.json")["validation"]["stream"]["loss"]
    assert losses[0] != losses[1] and min(losses) > held_out  # backwards is harder


@pytest.mark.parametrize("name", ["one.txt", "missing.txt", "binary.txt"])
def test_evaluation_refuses_what_is_no_text(
    name: str, trained: Trained, place: Path
) -> None:
    assert_refused(call("evaluate", trained.path, "--data", name, cwd=place), name)


def test_the_picture_of_another_text_leaves_the_own_one_alone(copied: Path) -> None:
    assert_done(call("evaluate", copied, cwd=copied.parent))
    before = contents(copied)
    (copied.parent / "unheard.txt").write_text(TEXT[:300], encoding="utf-8")
    done = call("evaluate", copied, "--data", "unheard.txt", cwd=copied.parent)
    assert_done(done)
    assert f"confusion matrix in {copied / 'confusion-unheard.txt.png'}" in done.stdout
    after = contents(copied)
    assert {name: after[name] for name in before} == before
    assert {*after} - {*before} >= {"confusion-unheard.txt.png"}


@pytest.mark.parametrize("command", ["evaluate", "inspect"])
def test_what_was_found_is_printed_though_nothing_can_be_written(
    command: str, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table, the JSON and a note; nobody may write there, not even root."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "somewhere")

    for name in ("lstm_jax.report.style.replace_file", "pathlib.Path.mkdir"):
        monkeypatch.setattr(name, refuse)
    done = call(command, copied, "--json", cwd=copied.parent)
    assert done.returncode == 0 and last_json(done)
    (line,) = done.stderr.splitlines()
    assert line.startswith("note: no ") and "Permission denied" in line
