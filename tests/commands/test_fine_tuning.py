"""`train --from RUN`: a run that begins with the model of another one."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lstm_jax.lm import load_text, score_text
from lstm_jax.lm.config import load_config
from tests.helpers.commands import (
    TEXT,
    Trained,
    assert_done,
    assert_refused,
    call,
    contents,
    last_json,
    metrics,
)

OTHER = TEXT[::-1] * 2
BRIEF = ("--batch", 4, "--length", 16, "--epochs", 1, "--evaluations", 1)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with another text, and with one that has characters of its own."""
    (tmp_path / "other.txt").write_text(OTHER, encoding="utf-8")
    (tmp_path / "new.txt").write_text(OTHER.replace("tac", "Käse"), encoding="utf-8")
    return tmp_path


def test_it_begins_where_the_other_run_ended(trained: Trained, place: Path) -> None:
    """The losses before any step are those that `evaluate` finds on that text."""
    cut = int(len(OTHER) * 0.9)
    (place / "held-out.txt").write_text(OTHER[cut - 1 :], encoding="utf-8")
    flags = ("--from", trained.path, "--data", "other.txt", *BRIEF)
    tuned = call("train", *flags, "--learning-rate", 1e-30, cwd=place)
    assert_done(tuned)
    scored = call(
        "evaluate", trained.path, "--data", "held-out.txt", "--json", cwd=place
    )
    expected = last_json(scored)["window256"]
    (found,) = re.findall(r"before any step: val (\S+) \(acc (\S+)\)", tuned.stdout)
    assert float(found[0]) == pytest.approx(expected["loss"], abs=6e-5)
    assert float(found[1]) == pytest.approx(expected["accuracy"], abs=6e-4)
    line = metrics(place / "runs" / "other")[-1]
    assert line["val_loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_it_learns_the_other_text(trained: Trained, place: Path) -> None:
    before = contents(trained.path)
    flags = ("--from", trained.path, "--data", "other.txt", *BRIEF)
    assert_done(call("train", *flags, "--dropout", 0.1, "--run-dir", "x", cwd=place))
    assert contents(trained.path) == before
    config = load_config(place / "x" / "config.json")
    kept = load_config(trained.path / "config.json")
    assert config.from_run == trained.path
    assert (config.model.hidden, config.model.layers) == (16, 1)
    assert (config.model.dropout, kept.model.dropout) == (0.1, 0.0)
    line = metrics(place / "x")[-1]
    alone = call("evaluate", trained.path, "--data", "other.txt", "--json", cwd=place)
    assert line["val_loss"] < last_json(alone)["window256"]["loss"] - 0.05
    longer = ("--resume", "--run-dir", "x", "--epochs", 2)
    assert_done(call("train", *longer, cwd=place))
    assert_refused(
        call("train", *longer, "--from", "x", cwd=place), "--resume: expected --from"
    )


def test_new_characters_are_added_and_share_what_the_unknown_had(
    trained: Trained, place: Path
) -> None:
    flags = ("--from", trained.path, "--data", "new.txt", *BRIEF)
    done = call("train", *flags, "--learning-rate", 1e-30, cwd=place)
    assert_done(done)
    assert "note: 2 new characters beside the " in done.stdout
    assert done.stdout.splitlines()[0].endswith(": K ä")
    old, new = load_text(trained.path), load_text(place / "runs" / "new")
    assert len(new.vocab) == len(old.vocab) + 2
    text = "the hat"
    np.testing.assert_allclose(
        score_text(new, text), score_text(old, text), rtol=2e-5, atol=2e-5
    )
    both = score_text(new, "K", text), score_text(new, "ä", text)
    np.testing.assert_allclose(*both, rtol=1e-5)
    assert "K" in new.vocab.decode(new.vocab.encode("Kä"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--hidden", 17), "--hidden: expected 16, as the run of --from has it"),
        (("--cell", "gru"), "--cell: expected lstm"),
        (("--top-only",), "--top-only: expected False"),
        (("--tie-embedding",), "--tie-embedding: expected False"),
        (("--vocab", "byte"), "--vocab: expected char"),
        (("--mogrifier", 2), "--mogrifier: expected 0"),
    ],
)
def test_another_network_is_refused(
    trained: Trained, flags: Sequence[object], message: str, place: Path
) -> None:
    given = ("--from", trained.path, "--data", "other.txt")
    assert_refused(call("train", *given, *flags, cwd=place), message)
    assert not (place / "runs").exists()


def test_what_is_no_run_is_refused(trained: Trained, place: Path) -> None:
    missing = call("train", "--from", "none", "--data", "other.txt", cwd=place)
    assert_refused(missing, "--from: none: expected a run directory")
    alone = call("train", "--from", trained.path, cwd=place)
    assert_refused(alone, "--from: expected --data, found none")
    over = ("--from", trained.path, "--run-dir", trained.path, "--overwrite")
    onto = call("train", *over, "--data", "other.txt", cwd=place)
    assert_refused(onto, str(trained.path))
    assert (trained.path / "config.json").exists()
