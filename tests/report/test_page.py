"""`report.html`: what is in it, read from its data, and that nothing can break out."""

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_jax.errors import InputError
from lstm_jax.report.page.confusions import describe_confusion, read_confusion
from lstm_jax.report.page.curves import describe_history
from lstm_jax.report.page.pictures import describe_pictures
from lstm_jax.report.page.render import as_json, render
from lstm_jax.report.page.write import try_to_report, write_report
from lstm_jax.report.style import new_figure, save_figure
from lstm_jax.training.history import HistoryFile
from tests.report.test_curves import history

HOSTILE = "</script><img src=x onerror=alert(1)>{{script}}<!-- & \ud800"


class Parts(HTMLParser):
    """The elements of a page, and what stands in its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.policy = ""
        self.inside: dict[str, str] = {}
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of an element."""
        given = dict(attrs)
        assert not [name for name in given if name.startswith("on")]
        self.tags.append(tag)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""
        self._open = given.get("id") or tag

    def handle_data(self, data: str) -> None:
        """Keep what an element holds."""
        self.inside.setdefault(self._open, data)


def data_of(path: Path) -> dict[str, Any]:
    """What a page was made from."""
    return json.loads(Parts(path.read_text(encoding="utf-8")).inside["data"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with a history."""
    lines = history(validated=True, overfitting=True)
    HistoryFile(tmp_path / "metrics.jsonl").rewrite(lines)
    return tmp_path


def hostile_everywhere(value: object) -> object:
    """The same with every string and every key replaced."""
    if isinstance(value, dict):
        return {f"{key}{HOSTILE}": hostile_everywhere(x) for key, x in value.items()}
    if isinstance(value, list):
        return list(map(hostile_everywhere, value))
    return HOSTILE if isinstance(value, str) else value


def hostile_values(value: object) -> object:
    """The same with every string replaced, but for those that are looked up."""
    if isinstance(value, dict):
        looked_up = {"cells", "picture", "source"}
        return {k: x if k in looked_up else hostile_values(x) for k, x in value.items()}
    if isinstance(value, list):
        return list(map(hostile_values, value))
    return HOSTILE if isinstance(value, str) else value


def test_the_policy_allows_the_script_and_the_style_of_the_page_and_no_network() -> (
    None
):
    parts = Parts(render({"name": "x"}).decode())
    directives = dict(each.split(None, 1) for each in parts.policy.split("; "))
    assert directives.pop("default-src") == "'none'"
    for tag in ("script", "style"):
        digest = hashlib.sha256(parts.inside[tag].encode()).digest()
        expected = f"'sha256-{base64.b64encode(digest).decode()}'"
        assert directives.pop(f"{tag}-src") == expected
    assert directives == {
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_what_the_data_hold_is_no_markup() -> None:
    data = {"name": HOSTILE, HOSTILE: [HOSTILE, {"x": HOSTILE}]}
    page = render(data).decode()
    assert Parts(page).tags == Parts(render({"name": "x"}).decode()).tags
    assert json.loads(Parts(page).inside["data"]) == data


def test_what_is_no_number_is_null() -> None:
    text = as_json({"a": [math.nan, -math.inf, 1.5], "b": np.float32(2)})
    assert json.loads(text) == {"a": [None, None, 1.5], "b": "2.0"}


def test_a_history_is_told_as_it_is(folder: Path) -> None:
    lines = history(validated=True, overfitting=True)
    found = data_of(write_report(folder))["history"]
    assert found["step"] == [line.step for line in lines]
    assert found["epoch"] == [line.epoch for line in lines]
    assert found["seconds"] == [line.seconds for line in lines]
    curves = {curve["name"]: curve["parts"] for curve in found["curves"]}
    assert [*curves][:2] == ["loss", "accuracy"]
    for part in ("train", "train_eval", "val"):
        expected = [getattr(line, part).get("loss") for line in lines]
        np.testing.assert_allclose(
            np.array(curves["loss"][part], float), np.array(expected, float), rtol=1e-4
        )
    assert lines[found["best"]].step == 20
    assert lines[found["overfitting"]].step == 30


def test_a_long_history_keeps_its_validations_and_its_end() -> None:
    lines = history(validated=False, overfitting=False) * 1_000
    measured = history(validated=True, overfitting=False)[1]
    lines[4_321] = measured
    found = describe_history(lines)
    assert found and found["of"] == 12_000 and found["shown"] <= 1_502
    (at,) = [k for k, x in enumerate(found["curves"][0]["parts"]["val"]) if x]
    assert found["step"][at] == measured.step
    assert found["step"][-1] == lines[-1].step


def test_advice_comes_with_its_rule_and_its_picture(folder: Path) -> None:
    (advice,) = data_of(write_report(folder))["advice"]
    assert advice["text"].startswith("Overfitting began at step 30.")
    assert advice["picture"] == "curves" and "never came back" in advice["rule"]


def test_a_run_that_goes_on_is_not_told_to_train_longer(folder: Path) -> None:
    lines = history(validated=True, overfitting=False)
    HistoryFile(folder / "metrics.jsonl").rewrite(lines)
    (folder / "config.json").write_text('{"text": {}}')
    over, on = write_report(folder), None
    assert [x["text"][:15] for x in data_of(over)["advice"]] == ["Still improving"]
    on = data_of(write_report(folder, reload=3.0))
    assert (on["advice"], on["status"], on["reload"]) == ([], "running", 3.0)


def test_settings_data_versions_and_the_result_are_there(folder: Path) -> None:
    (folder / "experiment.json").write_text(
        json.dumps({"experiment": "speech", "options": {"run": {"seed": 3}}})
    )
    row = {"task": "Speech", "ours": "2.09 %", "command": "python -m experiments.x"}
    file = {"name": "a.wav", "bytes": 1234, "sha256": "ab12"}
    names = ("metric", "floor", "published", "best_known", "protocol", "data")
    row |= dict.fromkeys((*names, "licence"), "-") | {"files": [file], "minutes": 2}
    (folder / "result.json").write_text(json.dumps(row))
    (folder / "summary.json").write_text('{"versions": {"jax": "0.10.2"}}')
    data = data_of(write_report(folder))
    facts = {name: value for group in data["facts"] for name, value in group["rows"]}
    assert facts["run.seed"] == "3" and facts["versions.jax"] == "0.10.2"
    assert facts["command"] == "python -m experiments.x"
    assert facts["a.wav"] == "1,234 bytes\nSHA-256 ab12"
    assert ["this run", "2.09 %"] in data["result"] and data["about"] == "Speech"


def test_damaged_files_are_named_and_the_rest_is_shown(folder: Path) -> None:
    (folder / "summary.json").write_text("{")
    (folder / "result.json").write_text("[1]")
    (folder / "confusion.json").write_text('{"names": ["a"], "cells": [[0, 9, 1]]}')
    (folder / "broken.png").write_bytes(b"\x89PNG")
    (folder / "alarms.png").symlink_to("/etc/passwd")
    data = data_of(write_report(folder))
    (damage,) = [g for g in data["facts"] if g["heading"].startswith("Files that")]
    assert len(damage["rows"]) == 2
    assert data["confusion"] == [] and len(data["history"]["step"]) == 12
    (picture,) = data["pictures"]
    assert picture["name"] == "broken.png" and "source" not in picture


def test_a_picture_says_what_it_shows_and_large_ones_are_named(tmp_path: Path) -> None:
    save_figure(new_figure(2, 1), tmp_path / "a.png", 50, "Two words – 漢")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes() + bytes(10**7))
    small, large = describe_pictures([tmp_path / "a.png", tmp_path / "b.png"])
    assert small["alt"] == "Two words – 漢"
    assert (small["width"], small["height"]) == (100, 50)
    raw = (tmp_path / "a.png").read_bytes()
    assert base64.b64decode(small["source"].partition(",")[2]) == raw
    assert "10.0 MB" in large["left"] and "source" not in large


def test_a_confusion_matrix_keeps_its_counts_and_some_examples(tmp_path: Path) -> None:
    matrix = np.array([[5, 2, 0], [0, 0, 0], [1, 0, 3]])
    examples = [(0, 2, "never"), *[(0, 1, f"e{k}") for k in range(9)]]
    found = describe_confusion(matrix, ["a", "b", "c"], "t", examples)
    assert found["names"] == ["a", "b", "c"] and found["totals"] == [7, 0, 4]
    assert found["cells"] == [[0, 0, 5], [0, 1, 2], [2, 0, 1], [2, 2, 3]]
    assert found["examples"][1:] == [(0, 1, f"e{k}") for k in range(5)]
    path = tmp_path / "confusion.json"
    path.write_text(json.dumps(found))
    assert read_confusion(path) == json.loads(path.read_text())


@pytest.mark.parametrize(
    "change",
    [
        {"names": "ab"},
        {"names": [1, 2]},
        {"totals": [1]},
        {"totals": [True, 1]},
        {"cells": [[0, 2, 1]]},
        {"cells": [[0, -1, 1]]},
        {"cells": [[0, 1]]},
        {"cells": [[0, 1, "x"]]},
        {"examples": [[0, 1, 2]]},
        {"title": None},
    ],
)
def test_what_is_no_confusion_matrix_is_not_shown(
    change: dict[str, object], tmp_path: Path
) -> None:
    good = describe_confusion(np.eye(2, dtype=int), ["a", "b"])
    (tmp_path / "c.json").write_text(json.dumps(good))
    assert read_confusion(tmp_path / "c.json")
    (tmp_path / "c.json").write_text(json.dumps(good | change))
    assert read_confusion(tmp_path / "c.json") is None


def test_of_many_classes_the_most_frequent_are_shown() -> None:
    matrix = np.diag(np.arange(150))
    found = describe_confusion(matrix, list(map(str, range(150))))
    assert found["names"] == [str(k) for k in range(50, 150)]
    assert "The 100 most frequent of 149." in found["note"]


def test_hostile_records_are_text(folder: Path) -> None:
    record = {"task": "x", "ours": "x", "files": [{"name": "x", "sha256": "x"}]}
    for name in ("config", "experiment", "summary"):
        value = hostile_everywhere({"text": {"data": ["x"]}, "ended": "x"})
        (folder / f"{name}.json").write_text(json.dumps(value))
    row = {key: hostile_everywhere(value) for key, value in record.items()}
    (folder / "result.json").write_text(json.dumps(row))
    (folder / "samples.txt").write_text("</script><script>alert(1)</script>")
    path = write_report(folder)
    clean = Parts(render({"name": "x"}).decode())
    assert Parts(path.read_text(encoding="utf-8")).tags == clean.tags


def test_a_report_that_fails_is_a_line_and_no_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*given: object, **named: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("lstm_jax.report.page.write.describe", broken)
    try_to_report(folder)
    assert re.search("report.html: could not be written: a fault", caplog.text)
    (folder / "report.html").mkdir()
    with pytest.raises(InputError, match=r"report\.html: could not be written"):
        monkeypatch.undo()
        write_report(folder)
    try_to_report(folder)
