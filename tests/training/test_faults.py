"""Damage, full disks, rights, clocks, two processes: said in a line, nothing lost."""

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

from lstm_jax.errors import InputError
from lstm_jax.lm.run_directory import RunDirectory, open_run
from lstm_jax.lm.task import set_up
from lstm_jax.lm.text_model import load_text_model
from lstm_jax.lm.training import train_text
from lstm_jax.storage.checkpoints import Checkpoints
from lstm_jax.storage.lock import locked
from lstm_jax.training.callbacks import Callback
from lstm_jax.training.history import HistoryRow
from lstm_jax.training.trainer import Trained
from tests.helpers.commands import SMALL, call, contents, environment
from tests.helpers.tiny_models import create_run
from tests.helpers.tiny_runs import (
    CONFIG,
    CORPUS,
    VOCAB,
    assert_same,
    checkpoint_steps,
    compiled_steps,
    new_run,
    run_once,
)
from tests.training.test_resume import assert_same_run

# Damaged files.

Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "empty": lambda raw: b"",
    "truncated": lambda raw: raw[: len(raw) // 2],
    "flipped": lambda raw: _flip(raw, len(raw) // 2),
    "flipped early": lambda raw: _flip(raw, 1),
    "flipped late": lambda raw: _flip(raw, len(raw) - 2),
}
CHECKED = {"config.json", "vocab.json", "corpus.npy", "corpus.sha256", "metrics.jsonl"}


def _flip(raw: bytes, place: int) -> bytes:
    """One bit is another; of an empty file, none."""
    place = max(0, min(place, len(raw) - 1))
    return (
        raw[:place]
        + bytes(byte ^ 4 for byte in raw[place : place + 1])
        + raw[place + 1 :]
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Trained]:
    """A whole run with its text: steps 24, the best, 27 and 30 are on disk."""
    run = new_run(tmp_path_factory.mktemp("finished") / "run")
    run.save_corpus(CORPUS)
    run_once(run, calls=9)
    return run, run_once(run, resume=True)


def resumed(path: Path) -> Trained:
    """What `train --resume` does with a run directory that is all there."""
    run = open_run(path)
    config, vocab = run.config(), run.vocab()
    corpus = run.corpus(config, vocab)
    return run_once(run, config, resume=True, corpus=corpus, vocab=vocab)


def files_of(path: Path) -> list[str]:
    """Every file of a run."""
    return [name for name, raw in contents(path).items() if raw is not None]


def assert_survives(
    damage: Damage, name: str, copy: Path, finished: tuple[RunDirectory, Trained]
) -> None:
    """A damaged file is refused in one line, or what is left comes to the same."""
    raw = (copy / name).read_bytes()
    (copy / name).write_bytes(damage(raw))
    before = contents(copy)
    for use in (load_text_model, resumed):
        try:
            found = use(copy)
        except InputError as error:
            assert "\n" not in str(error) and str(copy) in str(error), name
            assert contents(copy) == before, "nothing is overwritten"
            assert name in CHECKED, "a checkpoint has another to take its place"
        else:
            assert name not in {"config.json", "vocab.json"} or damage(raw) == raw
            if isinstance(found, Trained):
                assert name not in CHECKED or damage(raw) == raw
                assert found.ended == "finished"
                # Up to the best model, which may be lost: the weights are the same.
                assert found.history[-1].step == 30
                last = found.history[-1].train_loss
                assert last == finished[1].history[-1].train_loss


def newest_and_root(name: str) -> bool:
    """The files outside of checkpoints, and those of the newest one."""
    return not name.startswith("checkpoints") or (name.startswith("checkpoints/30/"))


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_file_is_noticed(
    damage: str, finished: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    names = [name for name in files_of(finished[0].path) if newest_and_root(name)]
    assert CHECKED < set(names)
    for number, name in enumerate(names):
        copy = shutil.copytree(finished[0].path, tmp_path / str(number))
        assert_survives(DAMAGES[damage], name, copy, finished)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damaged_file_is_noticed(
    damage: str, finished: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    for number, name in enumerate(files_of(finished[0].path)):
        copy = shutil.copytree(finished[0].path, tmp_path / str(number))
        assert_survives(DAMAGES[damage], name, copy, finished)
        shutil.rmtree(copy)


@pytest.mark.parametrize(
    "removed",
    [
        *("30", "30/record.json", "30/model.safetensors", "30/training.safetensors"),
        "30 24",
    ],
)
def test_half_a_checkpoint_is_passed_over(
    removed: str,
    finished: tuple[RunDirectory, Trained],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Steps 24, the best before the last, 27, and 30, the best of all, are there."""
    copy = shutil.copytree(finished[0].path, tmp_path / "run")
    for name in removed.split():
        place = copy / "checkpoints" / name
        place.unlink() if place.is_file() else shutil.rmtree(place)
    model = load_text_model(copy).model  # the best of the last that is good
    like = jax.eval_shape(lambda: model)
    with Checkpoints(finished[0].checkpoint_path) as checkpoints:
        best = {"30/training.safetensors": 30, "30 24": 27}.get(removed, 24)
        assert_same(model, checkpoints.load_model(best, like))
    outcome = resumed(copy)
    assert_same_run(RunDirectory(copy), outcome, finished)
    if "/" in removed:
        said = caplog.messages[-1]
        assert said.startswith("note: expected ") and removed in said
        assert said.endswith("; step 27 takes its place") and "\n" not in said
        assert (copy / "checkpoints" / "30.aside").is_dir(), "and is not deleted"
    if removed == "30 24":
        assert "the best model so far is lost" in caplog.messages[-1]


def test_if_all_are_damaged_it_is_said_and_nothing_is_changed(
    finished: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    copy = shutil.copytree(finished[0].path, tmp_path / "run")
    for step in checkpoint_steps(finished[0]):
        (copy / "checkpoints" / str(step) / "model.safetensors").unlink()
    before = contents(copy)
    for use in (load_text_model, resumed):
        with pytest.raises(InputError, match="found a damaged one"):
            use(copy)
    assert contents(copy) == before


def test_what_arrays_say_is_compared_with_what_was_saved(
    finished: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    """Another checkpoint's arrays are readable, and not those of this record."""
    copy = shutil.copytree(finished[0].path, tmp_path / "run")
    older, newer = (copy / "checkpoints" / step for step in ("27", "30"))
    shutil.copy(older / "training.safetensors", newer / "training.safetensors")
    outcome = resumed(copy)
    assert (copy / "checkpoints" / "30.aside").is_dir()
    assert_same_run(RunDirectory(copy), outcome, finished)


# The disk.


@pytest.fixture
def small_files() -> Iterator[Callable[[], None]]:
    """From when it is called on, no file grows beyond some kilobytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_the_run_and_spoils_nothing(
    small_files: Callable[[], None],
    finished: tuple[RunDirectory, Trained],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    run = new_run(tmp_path / "run")
    run_once(run, calls=3)
    good = contents(run.checkpoint_path)
    with capfd.disabled():
        seen: list[object] = []

        class Fill(Callback):
            def on_row(self, row: HistoryRow) -> None:
                seen.append(row)
                small_files()

        settings = dataclasses.replace(CONFIG.run, resume=True)
        setup = set_up(dataclasses.replace(CONFIG, run=settings), CORPUS, VOCAB)
        with pytest.raises(InputError, match="written: File too large") as raised:
            compiled = compiled_steps(setup)
            train_text(setup, run, callbacks=[Fill()], compiled=compiled)
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    assert seen and "\n" not in str(raised.value)
    after = contents(run.checkpoint_path)
    assert good.items() <= after.items(), "the last good checkpoint is as it was"
    assert_same_run(run, run_once(run, resume=True), finished)
    assert not any(run.checkpoint_path.glob("*.draft")), "what was half written is gone"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize(
    "kilobytes", [200, *(pytest.param(k, marks=pytest.mark.slow) for k in (16, 600))]
)
def test_a_disk_full_from_the_start_is_said_in_one_line(
    kilobytes: int, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 4000)
        given = ("--data", "text.txt", "--run-dir", disk / "run")
        sizes = ("--hidden", 128, "--layers", 1, "--batch", 8, "--length", 16)
        done = call("train", *given, *sizes, "--epochs", 1, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert "No space left" in done.stderr and str(disk) in done.stderr
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def without_privileges(command: list[str]) -> list[str]:
    """A command for which rights count, even if we are root."""
    if os.geteuid() != 0:
        return command
    if not shutil.which("setpriv"):
        pytest.skip("root may write anywhere, and setpriv is missing")
    less = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={less}", f"--inh-caps={less}", *command]


# Two commands in one process, which starts without privileges: codes and complaints.
READ_ONLY = """
import json, pathlib, sys
from tests.helpers.commands import call
path, here = sys.argv[1], pathlib.Path.cwd()
made = call("generate", path, "--prompt", "the", "--length", 3, cwd=here)
longer = call("train", "--run-dir", path, "--resume", "--epochs", 9, cwd=here)
print(json.dumps([(done.returncode, done.stderr) for done in (made, longer)]))
"""


def test_a_folder_that_can_only_be_read(
    finished: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    """It can be used, but not trained in."""
    copy = shutil.copytree(finished[0].path, tmp_path / "run")
    before = contents(copy)
    folders = [copy, *(path for path in copy.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        done = subprocess.run(
            without_privileges([sys.executable, "-c", READ_ONLY, str(copy)]),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**environment(), "LSTM_JAX_NATIVE": "0"},  # it would be built there
        )
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert (done.returncode, done.stderr) == (0, "")
    made, (code, said) = json.loads(done.stdout)
    assert made == [0, ""]
    assert code == 2 and "Permission denied" in said
    assert "Traceback" not in said and said.count("\n") == 1
    assert contents(copy) == before


# Two processes.


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(InputError, match=r"expected no other process .*found one"):
            with locked(tmp_path):
                pass
        with pytest.raises(InputError, match="expected no other process"):
            create_run(tmp_path)
    with locked(tmp_path):
        pass
    assert not any(tmp_path.iterdir()), "a lock leaves nothing behind"


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from lstm_jax.storage.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(99)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="found one at work"):
            with locked(tmp_path):
                pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locked(tmp_path):
        pass


def test_a_run_at_work_is_left_alone(
    finished: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    copy = shutil.copytree(finished[0].path, tmp_path / "run")
    before = contents(copy)
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 9)
    with locked(copy):
        for given in (
            ("--resume", "--epochs", 9),
            ("--data", "text.txt", "--overwrite", *SMALL),
        ):
            done = call("train", "--run-dir", copy, *given, cwd=tmp_path)
            assert done.returncode == 2 and "found one at work" in done.stderr
        load_text_model(copy)  # to read is no harm
    assert contents(copy) == before


@pytest.mark.parametrize("left", ["config.json.draft", "corpus.npy.draft vocab.json"])
def test_a_start_cut_short_is_in_nobodys_way(left: str, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run")
    run.announce()
    for name in left.split():
        (run.path / name).write_text("")
    assert create_run(run.path).path == run.path
    assert not any(run.path.iterdir())
    (run.path / "corpus.npy").write_text("of somebody else")
    with pytest.raises(InputError, match="found other files"):
        create_run(run.path)


def test_nothing_is_written_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    run = new_run(tmp_path / "run")
    (run.path / "metrics.jsonl.draft").symlink_to(tmp_path / "precious")
    run.history.rewrite([])
    (run.path / "samples.txt").symlink_to(tmp_path / "precious")
    run.write_samples("text")
    assert (tmp_path / "precious").read_text() == "precious"
    (run.path / "tensorboard").symlink_to(tmp_path)
    with pytest.raises(InputError, match="tensorboard: expected no link"):
        run_once(run, resume=True)


# The clock.


def test_a_clock_that_jumps_changes_nothing(
    finished: tuple[RunDirectory, Trained],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest, calls = time.time, [0]

    def jumping() -> float:
        calls[0] += 1
        return honest() + (-1) ** calls[0] * 86_400 * calls[0]

    monkeypatch.setattr(time, "time", jumping)
    run = new_run(tmp_path / "run")
    run_once(run, calls=4)
    assert calls[0] and run.history.read()[-1].seconds < 3600
    settings = dataclasses.replace(CONFIG.run, checkpoint_seconds=3600.0)
    config = dataclasses.replace(CONFIG, run=settings)
    assert_same_run(run, run_once(run, config, resume=True), finished)
