"""`python -m lstm_jax.train` as a person runs it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lstm_jax import save
from lstm_jax.distributed.host import multiplies_bfloat16
from lstm_jax.lm import load_text
from lstm_jax.lm.config import load_config
from lstm_jax.lm.presets import preset
from lstm_jax.storage.checkpoints import Checkpoints
from tests.helpers.clocks import TICK, tick_by_reading
from tests.helpers.commands import (
    SMALL,
    STEPS_PER_EPOCH,
    TEXT,
    Trained,
    assert_done,
    assert_refused,
    call,
    contents,
    environment,
    metrics,
    read_json,
    started,
    wait_for_a_line,
)
from tests.helpers.quick_compilation import XLA_FLAGS

# Training.


def test_without_arguments_it_learns_hello_world(tmp_path: Path) -> None:
    done = call("train", cwd=tmp_path)
    assert_done(done)
    lines = done.stdout.splitlines()
    assert lines[-1] == "from 'hel': hello world"
    assert sum("train" in line and "epoch" in line for line in lines) >= 5
    assert "loss" in done.stdout and "accuracy" in done.stdout
    assert contents(tmp_path) == {}


COUNTED = """
import jax

def note(event, seconds, **about):
    if event == "/jax/core/compile/backend_compile_duration":
        compiled.append(about.get("fun_name", "?"))

compiled = []
jax.monitoring.register_event_duration_secs_listener(note)
from lstm_jax.train import main
main([])
print(*compiled, sep="\\n")
"""


def test_few_programs_are_compiled_for_hello_world() -> None:
    """A small run is mostly compilation, and every operation by itself is a program."""
    done = subprocess.run(
        [sys.executable, "-c", COUNTED],
        env=environment() | {"XLA_FLAGS": XLA_FLAGS},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    compiled = lines[lines.index("from 'hel': hello world") + 1 :]
    assert "jit(first_state)" in compiled and len(compiled) <= 11, done.stderr


def test_a_text_is_learned_and_kept(trained: Trained) -> None:
    assert_done(trained.done)
    assert trained.done.stdout.splitlines()[-1] == (
        f"kept in {trained.path}; to look at: {trained.path / 'report.html'}"
    )
    lines = metrics(trained.path)
    assert lines[-1]["step"] == 2 * STEPS_PER_EPOCH
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    summary = read_json(trained.path / "summary.json")
    assert summary["ended"] == "finished" and summary["epochs"] == 2
    loss = summary["validation"]["window256"]["loss"]
    assert f"validation window256: loss {loss:.4f} nats" in trained.done.stdout
    # Nothing is left besides the text and the run.
    home = {path.name for path in trained.path.parent.iterdir()}
    assert home == {"text.txt", "run"}


def test_an_existing_run_is_not_overwritten(trained: Trained, copied: Path) -> None:
    before = contents(copied)
    given = ("--data", trained.text, "--run-dir", copied, *SMALL)
    assert_refused(call("train", *given, cwd=copied.parent), str(copied), "--overwrite")
    assert contents(copied.parent) == {"run": None} | {
        f"run/{name}": raw for name, raw in before.items()
    }


def test_a_run_is_replaced_on_request_and_keeps_its_time(
    trained: Trained, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick_by_reading(monkeypatch)
    budget = 6
    (copied / "summary.json").write_text("old")
    done = call(
        "train",
        *("--data", trained.text, "--run-dir", copied, "--overwrite"),
        *(*SMALL, "--max-seconds", budget),
        cwd=copied.parent,
    )
    assert_done(done)
    summary = read_json(copied / "summary.json")
    loop = summary["seconds"]["loop"]
    assert budget - 5 * TICK < loop < budget + 5 * TICK
    assert metrics(copied)[-1]["seconds"] == pytest.approx(loop)
    assert summary["seconds"]["final_evaluation"] > 0
    assert f"the loop took {loop:.1f} s" in done.stdout
    # The last rate belongs to the end of the run, not to an end that never came.
    rates = [line["learning_rate"] for line in metrics(copied)]
    assert rates[-1] < 0.1 * max(rates)
    assert metrics(copied)[0]["step"] < 2 * STEPS_PER_EPOCH


def test_a_budget_too_short_for_anything_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    given = ("--data", "text.txt", "--run-dir", "run", *SMALL, "--max-seconds", 0.01)
    done = call("train", *given, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: --max-seconds: expected time for a step")


def test_a_run_is_continued(trained: Trained, copied: Path) -> None:
    before = metrics(copied)
    done = call(
        "train", "--run_dir", copied, "--resume", "--epochs", 4, cwd=copied.parent
    )
    assert_done(done)
    after = metrics(copied)
    before[-1]["ended"] = None  # it went on
    assert after[: len(before)] == before
    steps = [line["step"] for line in after]
    assert steps == sorted(set(steps)) and steps[-1] == 4 * STEPS_PER_EPOCH
    seconds = [line["seconds"] for line in after]
    assert seconds == sorted(seconds)
    assert read_json(copied / "summary.json")["epochs"] == 4
    kept = read_json(copied / "config.json")["run"]
    assert (kept["epochs"], kept["resume"]) == (4, False)
    assert contents(trained.path)["metrics.jsonl"] != contents(copied)["metrics.jsonl"]


@pytest.fixture(scope="module")
def preset_run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An epoch with a preset, which has mixed precision, and flags beside it."""
    home = tmp_path_factory.mktemp("preset")
    (home / "text.txt").write_text(TEXT)
    given = ("--data", "text.txt", "--run-dir", "run", *SMALL, "--epochs", 1)
    named = ("--preset", "shakespeare-3min", "--mogrifier", 0)
    done = call("train", *given, *named, cwd=home)
    assert_done(done)
    return Trained(home / "run", home / "text.txt", done)


def test_mixed_precision_says_what_came_of_it(preset_run: Trained) -> None:
    said = preset_run.done.stdout
    rounded = "factors of products in bfloat16" in said
    full = "all in float32: this processor multiplies bfloat16 no faster" in said
    assert (rounded, full) == (multiplies_bfloat16(), not multiplies_bfloat16())


def test_a_preset_is_where_to_begin(preset_run: Trained, tmp_path: Path) -> None:
    """Other flags still count, and a resumed run stays what it is."""
    kept = load_config(preset_run.path / "config.json")
    assert kept.run.max_seconds == preset("shakespeare-3min").run.max_seconds == 180
    assert kept.optimizer.ema == preset("shakespeare-3min").optimizer.ema == 0.999
    assert (kept.model.hidden, kept.model.mogrifier, kept.run.epochs) == (16, 0, 1)
    copied = shutil.copytree(preset_run.path, tmp_path / "run")
    longer = ("--resume", "--run-dir", copied, "--epochs", 2)
    assert_done(call("train", *longer, cwd=preset_run.text.parent))
    again = load_config(copied / "config.json")
    assert (again.run.max_seconds, again.run.epochs) == (180, 2)
    assert (again.optimizer, again.model) == (kept.optimizer, kept.model)


def test_a_preset_needs_a_text_and_a_name(place: Path) -> None:
    alone = call("train", "--preset", "shakespeare-3min", cwd=place)
    assert_refused(alone, "--preset: expected --data, found none")
    unknown = call("train", "--preset", "iliad", "--data", "good.txt", cwd=place)
    assert_refused(unknown, "--preset: expected one of shakespeare-3min", "found iliad")


def test_samples_are_shown_and_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    flags = ("--data", "text.txt", *SMALL, "--epochs", 1, "--evaluations", 2)
    plain = call("train", *flags, "--run-dir", "plain", cwd=tmp_path)
    shown = call(
        *("train", *flags, "--run-dir", "shown", "--sample-every", 2), cwd=tmp_path
    )
    assert_done(shown)
    lines = shown.stdout.splitlines()
    (start,) = (k for k, line in enumerate(lines) if line.startswith("--- step"))
    assert lines[start] == f"--- step {STEPS_PER_EPOCH}"
    assert len(lines[start + 1]) > 50
    assert "--- step" not in plain.stdout
    assert re.search(r"^  layer 1 +b \[64\], w_h \[16 x 64\]", plain.stdout, re.M)
    assert re.search(r"^[\d,]+ parameters$", plain.stdout, re.M)
    losses = [
        [
            (line["train_loss"], line.get("val_loss"))
            for line in metrics(tmp_path / name)
        ]
        for name in ("plain", "shown")
    ]
    assert losses[0] == losses[1]


def test_help_shows_the_defaults_for_a_text_of_ones_own(tmp_path: Path) -> None:
    shown = call("train", "--help", cwd=tmp_path).stdout
    assert re.search(r"--batch N[^-]*default: 32", shown)


@pytest.mark.parametrize(
    ("flag", "value", "kept"),
    [
        ("--hidden", 17, "16"),
        ("--length", 8, "16"),
        ("--dropout", 0.5, "0.0"),
        ("--seed", 3, "0"),
        ("--vocab", "byte", "char"),
        ("--data", "other.txt", "text.txt"),
        ("--preset", "shakespeare-3min", "None"),
    ],
)
def test_a_run_is_not_continued_as_another(
    flag: str, value: object, kept: str, trained: Trained, copied: Path
) -> None:
    before = contents(copied)
    given = ("--run-dir", copied, "--resume", flag, value)
    done = call("train", *given, cwd=copied.parent)
    assert_refused(done, "--resume", flag, kept, str(value))
    assert contents(copied) == before


def test_an_interrupted_run_is_kept_and_continued(tmp_path: Path) -> None:
    """Begun without a --run-dir, so that it has the place that runs have by default."""
    (tmp_path / "my.text.txt").write_text(TEXT, encoding="utf-8")
    path = tmp_path / "runs" / "my"
    given = ("--data", "my.text.txt", *SMALL, "--epochs", 10**6)
    with started("train", *given, cwd=tmp_path) as process:
        # What is printed into a pipe or a file is there while the run goes on.
        assert process.stdout and "to learn from" in process.stdout.readline()
        before = interrupted(process, signal.SIGINT, path)
    assert read_json(path / "config.json")["run"]["epochs"] == 10**6
    resume = ("train", "--run-dir", path, "--resume")
    with started(*resume, cwd=tmp_path) as process:
        between = interrupted(process, signal.SIGTERM, path, len(before))
    assert_goes_on(between, before)
    last = between[-1]["step"]
    epochs = last // STEPS_PER_EPOCH + 2
    assert_done(call(*resume, "--epochs", epochs, cwd=tmp_path))
    after = metrics(path)
    assert_goes_on(after, between)
    assert after[-1]["ended"] == "finished"
    assert after[-1]["step"] == epochs * STEPS_PER_EPOCH
    assert read_json(path / "summary.json")["ended"] == "finished"


def interrupted(
    process: subprocess.Popen[str], number: signal.Signals, path: Path, lines: int = 0
) -> list[dict[str, Any]]:
    """The history that a run leaves which is interrupted after so many lines."""
    wait_for_a_line(process, path / "metrics.jsonl", lines)
    process.send_signal(number)
    stdout, stderr = process.communicate()
    assert process.returncode == 128 + number
    assert stderr == "stopping after this call; once more to stop at once\n"
    assert "--resume" in stdout.splitlines()[-1]
    found = metrics(path)
    assert found[-1]["ended"] == "interrupted"
    assert (path / "curves.png").exists()
    steps = {saved.name for saved in (path / "checkpoints").iterdir()}
    assert str(found[-1]["step"]) in steps
    return found


def assert_goes_on(after: list[dict[str, Any]], before: list[dict[str, Any]]) -> None:
    """A history has all of an earlier one, and the next step."""
    *others, last = before
    assert after[: len(before)] == [*others, {**last, "ended": None}]
    assert after[len(before)]["step"] == last["step"] + 8


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """Also inside a call that takes minutes; what was saved before it is kept."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    given = ("--data", "text.txt", *SMALL[2:-2], "--steps-per-call", 20_000)
    epochs = ("--epochs", 10**6, "--validation-fraction", 0, "--hidden", 128)
    path = tmp_path / "runs" / "text"
    with started("train", *given, *epochs, cwd=tmp_path) as process:
        while not (path / "checkpoints" / "0").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stderr and "once more" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        before = time.monotonic()
        process.communicate()
        assert time.monotonic() - before < 20
    assert process.returncode == 143 and not (path / "metrics.jsonl").exists()
    assert load_text(path).config.model.hidden == 128, "the state before the first step"


def test_training_refuses_a_pipe_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = call("train", "--data", "pipe", "--run-dir", "new", cwd=tmp_path)
    assert_refused(done, "pipe: expected a file, which can be read twice, found a pipe")


def test_samples_need_something_held_out(place: Path) -> None:
    given = ("--data", "good.txt", "--sample-every", 1, "--validation-fraction", 0)
    assert_refused(call("train", *given, cwd=place), "--sample-every: expected --eval")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.txt", "found nothing"),
        ("empty.txt", "at least 2 characters, found 0"),
        ("one.txt", "at least 2 characters, found 1"),
        ("binary.txt", "expected UTF-8 text"),
        ("latin1.txt", "expected UTF-8 text"),
        ("cut.txt", "expected UTF-8 text"),
        ("broken.gz", "expected"),
        ("folder", "found a folder"),
    ],
)
def test_training_refuses_what_is_no_text(name: str, message: str, place: Path) -> None:
    done = call("train", "--data", name, "--run-dir", "new/run", cwd=place)
    assert_refused(done, name, message)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--hidden", "0"),
        ("--layers", "-1"),
        ("--batch", "0"),
        ("--length", "-5"),
        ("--epochs", "0"),
        ("--max-seconds", "0"),
        ("--max-seconds", "nan"),
        ("--learning-rate", "nan"),
        ("--dropout", "1"),
        ("--validation-fraction", "-0.1"),
        ("--seed", "-1"),
    ],
)
def test_training_refuses_nonsense(flag: str, value: str, place: Path) -> None:
    # "=" so that a minus is not taken for another flag.
    given = ("--data", "good.txt", "--run-dir", "new", f"{flag}={value}")
    assert_refused(call("train", *given, cwd=place), flag, value.lstrip("-"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--run-dir", "good.txt"), "found a file"),
        (("--run-dir", "good.txt", "--overwrite"), "found a file"),
        (("--run-dir", "folder"), "found other files"),
        (("--run-dir", "folder", "--overwrite"), "found other files"),
        (("--run-dir", "/dev/null"), "expected a folder"),
        (("--run-dir", "new", "--resume"), "found no folder"),
        (("--run-dir", "folder", "--resume"), "without config.json"),
        (("--resume", "--overwrite", "--run-dir", "new"), "run directory"),
    ],
)
def test_training_refuses_other_places(
    given: Sequence[str], message: str, place: Path
) -> None:
    assert_refused(call("train", "--data", "good.txt", *given, cwd=place), message)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--engine cudnn", "--engine: engine 'cudnn': needs a CUDA device"),
        ("--engine pallas_gpu", "--engine: engine 'pallas_gpu': needs"),
        ("--engine pallas_tpu", "--engine: engine 'pallas_tpu': needs"),
        ("--devices 3", "--devices: expected at most 2"),
        ("--batch 5 --devices 2", "--batch: expected a multiple of the 2 devices"),
        ("--max-seconds 1e-9", "--max-seconds: expected time for a step"),
    ],
)
def test_what_is_refused_is_in_nobodys_way(
    given: str, message: str, overwrite: bool, trained: Trained, tmp_path: Path
) -> None:
    """No folder is left, and an old run is still there if all could be known before."""
    path = tmp_path / "runs" / "it"
    if overwrite:
        shutil.copytree(trained.path, path)
    before = contents(tmp_path)
    small = SMALL[:4] + SMALL[6:] if "--batch" in given else SMALL
    words = ("--data", trained.text, "--run-dir", path, *small, *given.split())
    done = call("train", *words, *["--overwrite"] * overwrite, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {message}")
    if overwrite and "--max-seconds" in given:
        before = {"runs": None, "runs/it": None}
    assert contents(tmp_path) == before


def test_a_failure_before_the_first_step_leaves_nothing(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even what is being written beside the loop meanwhile."""
    write, seen = Checkpoints._write, []

    def slowly(self: Checkpoints, *given: Any) -> None:  # noqa: ANN401
        time.sleep(0.5)
        write(self, *given)
        seen.append(contents(tmp_path).keys())

    def out_of_memory(*given: object, **named: object) -> Iterator[None]:
        raise RuntimeError("out of memory")
        yield

    monkeypatch.setattr(Checkpoints, "_write", slowly)
    monkeypatch.setattr("lstm_jax.training.trainer.fit", out_of_memory)
    with pytest.raises(RuntimeError, match="out of memory"):
        call("train", "--data", trained.text, "--run-dir", "a", *SMALL, cwd=tmp_path)
    assert seen and "a/checkpoints/0/record.json" in seen[0]
    assert contents(tmp_path) == {}


def test_only_what_a_run_wrote_is_replaced(trained: Trained, copied: Path) -> None:
    for command in ("evaluate", "inspect"):  # they leave pictures
        assert_done(call(command, copied, cwd=copied.parent))
    for name in ("notes.txt", "checkpoints/notes.txt", "inspect/mine.png", "my/a"):
        (copied / name).parent.mkdir(exist_ok=True)
        (copied / name).write_text(name)
    given = ("--data", trained.text, "--run-dir", copied, *SMALL, "--epochs", 1)
    done = call("train", *given, "--overwrite", cwd=copied.parent)
    assert done.returncode == 0 and done.stderr == (
        f"note: {copied}: checkpoints/notes.txt, inspect/mine.png, my/a and 1 more "
        "stay; only files of runs are replaced\n"
    )
    found = contents(copied)
    assert not {"confusion.png", "inspect/gates.png"} & found.keys()
    assert found["notes.txt"] == b"notes.txt" and "summary.json" in found
    assert metrics(copied)[-1]["step"] == STEPS_PER_EPOCH


def test_a_folder_that_is_no_run_is_never_emptied(trained: Trained) -> None:
    bert = trained.path.parent / "bert"
    bert.mkdir()
    (bert / "config.json").write_text('{"model_type": "bert", "hidden_size": 768}')
    (bert / "pytorch_model.bin").write_text("weights of months")
    before = contents(bert)
    given = ("--data", trained.text, "--run-dir", bert, *SMALL)
    try:
        for more in ((), ("--overwrite",)):
            done = call("train", *given, *more, cwd=bert.parent)
            assert_refused(done, "expected an empty folder or a run", "config.json")
        assert contents(bert) == before
    finally:
        shutil.rmtree(bert)


def test_a_hidden_file_has_a_run_of_its_own(tmp_path: Path) -> None:
    """Named by what is before the first dot, its folder was once runs/ itself."""
    (tmp_path / ".bash_history").write_text(TEXT)
    given = ("train", "--data", ".bash_history")
    assert_done(call(*given, *SMALL, "--epochs", 1, cwd=tmp_path))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["bash_history"]
    again = call(*given, *SMALL, cwd=tmp_path)
    assert_refused(again, "runs/bash_history: ", "found a run")
    assert_done(call(*given, "--resume", cwd=tmp_path))


def test_a_tilde_that_the_shell_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "text.txt").write_text(TEXT)
    given = ("train", "--run-dir", "~/run")
    begun = call(*given, "--data", "~/text.txt", *SMALL, "--epochs", 1, cwd=here)
    assert_done(begun)
    assert_done(call(*given, "--resume", "--epochs", 2, cwd=here))
    with contextlib.chdir(here):
        save(load_text("~/run"), "~/saved")
    assert not any(here.iterdir())
    assert metrics(tmp_path / "run")[-1]["step"] == 2 * STEPS_PER_EPOCH
    assert (tmp_path / "saved" / "config.json").exists()


def test_resume_without_a_run_is_refused(place: Path) -> None:
    assert_refused(call("train", "--resume", cwd=place), "--resume", "--run-dir")
