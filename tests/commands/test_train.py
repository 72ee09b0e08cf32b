"""`python -m lstm_jax.train` as a person runs it."""

import re
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lstm_jax import save, train
from lstm_jax.distributed.host import multiplies_bfloat16
from lstm_jax.errors import InputError
from lstm_jax.lm import load_text
from lstm_jax.lm.config import load_config
from lstm_jax.lm.presets import preset
from lstm_jax.storage.checkpoints import Checkpoints
from tests.helpers.commands import (
    BUDGET,
    SMALL,
    STEPS_PER_EPOCH,
    TEXT,
    Trained,
    assert_done,
    assert_refused,
    contents,
    metrics,
    read_json,
    run,
    started,
    wait_for_a_line,
)

# Training.


@pytest.mark.parametrize("given", [(), ("--seed", 1), ("--seed", 2)], ids=str)
def test_without_arguments_it_learns_hello_world(
    given: Sequence[object], tmp_path: Path
) -> None:
    done = run("train", *given, cwd=tmp_path)
    assert_done(done)
    lines = done.stdout.splitlines()
    assert lines[-1] == "from 'hel': hello world"
    assert sum("train" in line and "epoch" in line for line in lines) >= 5
    assert "loss" in done.stdout and "accuracy" in done.stdout
    assert contents(tmp_path) == {}


def test_a_text_is_learned_and_kept(trained: Trained) -> None:
    assert_done(trained.done)
    assert trained.done.stdout.splitlines()[-1] == f"kept in {trained.path}"
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
    assert_refused(run("train", *given, cwd=copied.parent), str(copied), "--overwrite")
    assert contents(copied.parent) == {"run": None} | {
        f"run/{name}": raw for name, raw in before.items()
    }


def test_a_run_is_replaced_on_request_and_keeps_its_time(
    trained: Trained, copied: Path
) -> None:
    (copied / "summary.json").write_text("old")
    done = run(
        "train",
        *("--data", trained.text, "--run-dir", copied, "--overwrite"),
        *(*SMALL, "--max-seconds", BUDGET),
        cwd=copied.parent,
    )
    assert_done(done)
    summary = read_json(copied / "summary.json")
    loop = summary["seconds"]["loop"]
    assert 0.7 * BUDGET < loop <= 1.05 * BUDGET
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
    done = run("train", *given, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: --max-seconds: expected time for a step")


def test_a_run_is_continued(trained: Trained, copied: Path) -> None:
    before = metrics(copied)
    done = run(
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


def test_mixed_precision_says_what_came_of_it(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    words = ("--data", "text.txt", "--run-dir", "run", *SMALL, "--epochs", 1)
    done = run("train", *words, "--precision", "mixed", cwd=tmp_path)
    assert_done(done)
    rounded = "factors of products in bfloat16" in done.stdout
    full = "all in float32: this processor multiplies bfloat16 no faster" in done.stdout
    assert (rounded, full) == (multiplies_bfloat16(), not multiplies_bfloat16())


def test_a_preset_is_where_to_begin(tmp_path: Path) -> None:
    """Other flags still count, and a resumed run stays what it is."""
    (tmp_path / "text.txt").write_text(TEXT)
    given = ("--data", "text.txt", "--run-dir", "run", *SMALL, "--epochs", 1)
    named = ("--preset", "shakespeare-3min", *given)
    assert_done(run("train", *named, cwd=tmp_path))
    kept = load_config(tmp_path / "run" / "config.json")
    assert kept.run.max_seconds == preset("shakespeare-3min").run.max_seconds == 180
    assert (kept.model.hidden, kept.run.epochs) == (16, 1)
    longer = ("--resume", "--run-dir", "run", "--epochs", 2)
    assert_done(run("train", *longer, cwd=tmp_path))
    again = load_config(tmp_path / "run" / "config.json")
    assert (again.run.max_seconds, again.run.epochs) == (180, 2)
    alone = run("train", "--preset", "shakespeare-3min", cwd=tmp_path)
    assert_refused(alone, "--preset: expected --data, found none")
    unknown = run("train", "--preset", "iliad", *given, cwd=tmp_path)
    assert_refused(unknown, "--preset: expected one of shakespeare-3min", "found iliad")


def test_help_shows_the_defaults_for_a_text_of_ones_own(tmp_path: Path) -> None:
    shown = run("train", "--help", cwd=tmp_path).stdout
    assert re.search(r"--batch INT[^-]*default: 32", shown)


@pytest.mark.parametrize(
    ("flag", "value", "kept"),
    [
        ("--hidden", 17, "16"),
        ("--length", 8, "16"),
        ("--dropout", 0.5, "0.0"),
        ("--seed", 3, "0"),
        ("--vocab", "byte", "char"),
        ("--data", "other.txt", "text.txt"),
    ],
)
def test_a_run_is_not_continued_as_another(
    flag: str, value: object, kept: str, trained: Trained, copied: Path
) -> None:
    before = contents(copied)
    given = ("--run-dir", copied, "--resume", flag, value)
    done = run("train", *given, cwd=copied.parent)
    assert_refused(done, "--resume", flag, kept, str(value))
    assert contents(copied) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_kept_and_continued(
    number: signal.Signals, tmp_path: Path
) -> None:
    """Begun without a --run-dir, so that it has the place that runs have by default."""
    (tmp_path / "my.text.txt").write_text(TEXT, encoding="utf-8")
    path = tmp_path / "runs" / "my"
    given = ("--data", "my.text.txt", *SMALL, "--epochs", 10**6)
    with started("train", *given, cwd=tmp_path) as process:
        # What is printed into a pipe or a file is there while the run goes on.
        assert process.stdout and "to learn from" in process.stdout.readline()
        wait_for_a_line(process, path / "metrics.jsonl")
        assert read_json(path / "config.json")["run"]["epochs"] == 10**6
        process.send_signal(number)
        stdout, stderr = process.communicate()
    assert process.returncode == 128 + number
    assert stderr == "stopping after this call; once more to stop at once\n"
    assert "--resume" in stdout.splitlines()[-1]
    before = metrics(path)
    last = before[-1]["step"]
    assert before[-1]["ended"] == "interrupted"
    assert str(last) in {found.name for found in (path / "checkpoints").iterdir()}

    epochs = last // STEPS_PER_EPOCH + 2
    done = run("train", "--run-dir", path, "--resume", "--epochs", epochs, cwd=tmp_path)
    assert_done(done)
    after = metrics(path)
    before[-1]["ended"] = None  # it went on
    assert after[: len(before)] == before
    assert after[-1]["ended"] == "finished"
    assert after[len(before)]["step"] == last + 8
    assert after[-1]["step"] == epochs * STEPS_PER_EPOCH
    assert read_json(path / "summary.json")["ended"] == "finished"


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """Also inside a call that takes minutes; what was saved before it is kept."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    given = ("--data", "text.txt", *SMALL, "--steps-per-call", 20_000)
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
    given = ("--run-dir", path, "--resume", "--steps-per-call", 8, "--epochs", 1)
    assert_done(run("train", *given, cwd=tmp_path))
    assert metrics(path)[-1]["step"] == 32


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
    done = run("train", "--data", name, "--run-dir", "new/run", cwd=place)
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
    assert_refused(run("train", *given, cwd=place), flag, value.lstrip("-"))


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
    assert_refused(run("train", "--data", "good.txt", *given, cwd=place), message)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command that is called here leave this process's JAX as it is."""
    for name in ("enable_compilation_cache", "set_cpu_device_count"):
        monkeypatch.setattr(
            f"lstm_jax.distributed.host.{name}", lambda *given, **named: None
        )


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--engine cudnn", "--engine: engine 'cudnn': needs a CUDA device"),
        ("--engine pallas_tpu", "--engine: engine 'pallas_tpu': needs"),
        ("--devices 3", "--devices: expected at most 2"),
        ("--batch 5 --devices 2", "--batch: expected a multiple of the 2 devices"),
        ("--max-seconds 1e-9", "--max-seconds: expected time for a step"),
    ],
)
@pytest.mark.usefixtures("one_process")
def test_what_is_refused_is_in_nobodys_way(
    given: str, message: str, overwrite: bool, trained: Trained, tmp_path: Path
) -> None:
    """No folder is left, and an old run is still there if all could be known before."""
    path = tmp_path / "runs" / "it"
    if overwrite:
        shutil.copytree(trained.path, path)
    before = contents(tmp_path)
    words = ["--data", str(trained.text), "--run-dir", str(path), *SMALL]
    words += ["--overwrite"] * overwrite
    with pytest.raises(InputError, match=message):
        train.main([*words, *given.split()])
    if overwrite and "--max-seconds" in given:
        before = {"runs": None, "runs/it": None}
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("one_process")
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
        train.main(["--data", str(trained.text), "--run-dir", f"{tmp_path}/a", *SMALL])
    assert seen and "a/checkpoints/0/record.json" in seen[0]
    assert contents(tmp_path) == {}


def test_only_what_a_run_wrote_is_replaced(trained: Trained, copied: Path) -> None:
    for command in ("evaluate", "inspect"):  # they leave pictures
        assert_done(run(command, copied, cwd=copied.parent))
    for name in ("notes.txt", "checkpoints/notes.txt", "inspect/mine.png", "my/a"):
        (copied / name).parent.mkdir(exist_ok=True)
        (copied / name).write_text(name)
    given = ("--data", trained.text, "--run-dir", copied, *SMALL, "--epochs", 1)
    done = run("train", *given, "--overwrite", cwd=copied.parent)
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
            done = run("train", *given, *more, cwd=bert.parent)
            assert_refused(done, "expected an empty folder or a run", "config.json")
        assert contents(bert) == before
    finally:
        shutil.rmtree(bert)


@pytest.mark.usefixtures("one_process")
def test_a_hidden_file_has_a_run_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by what is before the first dot, its folder was once runs/ itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".bash_history").write_text(TEXT)
    train.main(["--data", ".bash_history", *SMALL, "--epochs", "1"])
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["bash_history"]
    with pytest.raises(InputError, match=r"runs/bash_history: .*found a run"):
        train.main(["--data", ".bash_history", *SMALL])
    train.main(["--resume", "--data", ".bash_history"])


@pytest.mark.usefixtures("one_process")
def test_a_tilde_that_the_shell_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "text.txt").write_text(TEXT)
    given = ("--run-dir", "~/run")
    train.main(["--data", "~/text.txt", *given, *SMALL, "--epochs", "1"])
    train.main(["--resume", *given, "--epochs", "2"])
    save(load_text("~/run"), "~/saved")
    assert not any((tmp_path / "here").iterdir())
    assert metrics(tmp_path / "run")[-1]["step"] == 2 * STEPS_PER_EPOCH
    assert (tmp_path / "saved" / "config.json").exists()


def test_resume_without_a_run_is_refused(place: Path) -> None:
    assert_refused(run("train", "--resume", cwd=place), "--resume", "--run-dir")
