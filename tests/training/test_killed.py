"""Real training processes, killed at random moments, come to what they would have.

SIGKILL leaves a process no time for anything. Some hit it while a checkpoint is being
written: what is found half written afterwards is counted.
"""

import contextlib
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from lstm_jax.lm.config import load_config
from lstm_jax.lm.run_directory import RunDirectory, open_run
from lstm_jax.lm.task import first_state
from lstm_jax.lm.text_model import load_text_model
from lstm_jax.storage.checkpoints import Checkpoints
from lstm_jax.training.states import resume_state
from lstm_jax.training.step import TrainState
from tests.helpers.commands import (
    PATIENCE,
    TEXT,
    arguments,
    assert_done,
    environment,
    run,
)
from tests.helpers.tiny_runs import assert_same, computed

# Dropout and resets draw from the key; a call of 3 steps ends anywhere in an epoch.
SETTINGS = (
    *("--hidden", "16", "--layers", "2", "--batch", "16", "--length", "8"),
    *("--dropout", "0.3", "--reset-probability", "0.2", "--steps-per-call", "3"),
    *("--evaluations", "12", "--checkpoint-steps", "9", "--patience", "50"),
)
EPOCHS_PER_KILL = 4  # of 15 steps


@contextlib.contextmanager
def training(*given: object, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A training process that ends with this block."""
    with subprocess.Popen(
        arguments("train", *given),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def half_written(path: Path) -> set[tuple[str, int]]:
    """What is being written of checkpoints, or was when its process died; and since."""
    found = set()
    for draft in path.glob("checkpoints/*.draft"):
        with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
            found.add((draft.name, draft.stat().st_ctime_ns))
    return found


def lines_of(path: Path) -> int:
    """How far the history is."""
    with contextlib.suppress(FileNotFoundError):
        return (path / "metrics.jsonl").read_bytes().count(b"\n")
    return 0


def wait_for_a_bad_moment(
    process: subprocess.Popen[bytes], path: Path, chance: random.Random
) -> None:
    """At once, some lines further, or just when a checkpoint is being written."""
    kind = chance.choice(("early", "lines", "write", "write"))
    if kind == "early":
        return time.sleep(chance.uniform(0, 4))
    before, wanted = lines_of(path), chance.randint(1, 8)
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        moved = lines_of(path) - before  # negative once what came later is forgotten
        if moved >= wanted if kind == "lines" else moved > 0 and half_written(path):
            break
    return time.sleep(chance.uniform(0, 0.03))


def last_state(found: RunDirectory) -> TrainState:
    """The state of the latest checkpoint."""
    config, vocab = found.config(), found.vocab()
    like = jax.eval_shape(lambda: first_state(config, vocab))
    with Checkpoints(found.checkpoint_path) as checkpoints:
        return resume_state(checkpoints, like)[1]


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_a_killed_run_comes_to_the_same(kills: int, tmp_path: Path) -> None:
    chance = random.Random(kills)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    epochs = ("--epochs", EPOCHS_PER_KILL * kills)
    begin = ("--data", "text.txt", *SETTINGS, *epochs)
    assert_done(run("train", *begin, "--run-dir", "whole", cwd=tmp_path))
    path = tmp_path / "run"
    torn = killed = 0
    while killed < kills:
        is_run, before = (path / "config.json").exists(), half_written(path)
        given = ("--resume",) if is_run else begin
        with training(*given, "--run-dir", path, cwd=tmp_path) as process:
            wait_for_a_bad_moment(process, path, chance)
            process.send_signal(signal.SIGKILL)
            assert process.wait() in (-signal.SIGKILL, 0)
            killed += process.returncode != 0
            assert process.returncode or killed, "over before the first kill"
            if process.returncode == 0:
                break
        torn += bool(half_written(path) - before)
    print(f"{killed} kills, {torn} of them while a checkpoint was being written")
    given = ("--resume",) if (path / "config.json").exists() else begin
    assert_done(run("train", *given, "--run-dir", path, cwd=tmp_path))
    assert kills < 10 or (killed >= 25 and torn >= 3)

    whole, found = open_run(tmp_path / "whole"), open_run(path)
    assert_same(last_state(found), last_state(whole))
    assert_same(load_text_model(path).model, load_text_model(whole.path).model)
    assert computed(found.history.read()) == computed(whole.history.read())
    steps = [line.step for line in found.history.read()]
    assert steps == sorted(set(steps)) and steps[-1] == EPOCHS_PER_KILL * kills * 15
    before, after = load_config(whole.path / "config.json"), found.config()
    assert before.optimizer == after.optimizer and before.text == after.text
    assert not half_written(path), "what was never finished is removed"
