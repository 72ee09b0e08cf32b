"""What a Ctrl-C leaves of an application: a model where there is one, and no result."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lstm_jax
from experiments.forecast import __main__ as forecast
from experiments.sentiment import __main__ as sentiment
from experiments.speech import __main__ as speech
from experiments.translate import __main__ as translate
from experiments.translate.inference import load_translator
from lstm_jax import cli, crossval
from lstm_jax.errors import Interrupted
from lstm_jax.training import Stop
from lstm_jax.training.compiled import Programs
from lstm_jax.training.loop import Clock, Task
from lstm_jax.training.schedule import Plan
from lstm_jax.training.signals import interruptible
from lstm_jax.training.trainer import Trained
from lstm_jax.typing import Model
from tests.helpers.experiment_runs import environment, run

PATIENCE = 240  # seconds


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the next trainings ones that are asked to stop, or are not.

    Models stay untrained, and nothing is set up for the whole process.
    """
    for name in ("keep_programs", "show_cores"):
        monkeypatch.setattr(f"lstm_jax.distributed.host.{name}", lambda *given: None)
        monkeypatch.setattr(lstm_jax.distributed, name, lambda *given: None)

    def untrained(
        task: Task,
        model: Model,
        plan: Plan,
        programs: Programs,
        *,
        interrupted: Stop,
        **settings: object,
    ) -> Trained:
        ended = "interrupted" if interrupted() else "finished"
        line = {"step": 1, "seconds": 1.0, "train_loss": 1.0}
        return Trained(model, 1, [line], Clock(), ended)

    monkeypatch.setattr(lstm_jax, "train_model", untrained)
    monkeypatch.setattr(lstm_jax.report, "draw_curves", lambda *given: None)
    monkeypatch.setattr("experiments.sentiment.task.draw_curves", lambda *given: None)
    monkeypatch.setattr("experiments.sentiment.task.train_model", untrained)

    def ask(*answers: bool) -> None:
        left = iter(answers)

        @contextlib.contextmanager
        def answered() -> Iterator[Stop]:
            stop = Stop()
            if next(left):
                stop._number = signal.SIGINT
            yield stop

        for page in (forecast, sentiment, speech, translate):
            monkeypatch.setattr(page, "interruptible", answered)
        monkeypatch.setattr(crossval, "interruptible", answered)

    return ask


def test_it_is_said_and_the_exit_code_tells(capsys: pytest.CaptureFixture[str]) -> None:
    stop = Stop()
    stop.check("all is well")
    stop._number = signal.SIGTERM
    with pytest.raises(SystemExit) as ended:
        cli.run_command(lambda: stop.check("a model is kept in runs/x"))
    assert ended.value.code == 143
    assert capsys.readouterr() == ("interrupted: a model is kept in runs/x\n", "")


def test_a_signal_is_only_asked_about() -> None:
    with interruptible() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        while not stop():
            pass
        with pytest.raises(Interrupted) as raised:
            stop.check("this")
    assert raised.value.code == 130


def test_a_forecaster_is_kept(
    asked: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(True)
    with pytest.raises(Interrupted, match=r"the last model is kept in .*not scored"):
        forecast.learn(forecast.Options(smoke=True, run_dir=tmp_path / "run"))
    assert "OWA" not in capsys.readouterr().out
    assert not (tmp_path / "run" / "result.json").exists()
    points = forecast.generated()["S3"]
    (tmp_path / "own.csv").write_text("load\n" + "\n".join(map(str, points)))
    words = [tmp_path / "run", tmp_path / "own.csv", tmp_path / "f.csv"]
    forecast.predict(forecast.PredictOptions(*words))
    assert len((tmp_path / "f.csv").read_text().splitlines()) == 1 + 6


def test_of_a_sentiment_run_the_folds_are_kept(
    asked: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = sentiment.Options(smoke=True, run_dir=tmp_path)
    asked(True)
    with pytest.raises(Interrupted, match=r"fold 1 of 2 is not finished.* no model"):
        sentiment.learn(options)
    assert not list(tmp_path.iterdir())
    asked(False, True)
    with pytest.raises(Interrupted, match="the folds' scores and the last classifier"):
        sentiment.learn(options)
    assert "fold 2 of 2" in capsys.readouterr().out
    kept = {path.name for path in tmp_path.iterdir()}
    assert {"crossval.json", "model.npz"} <= kept and "result.json" not in kept
    sentiment.predict(sentiment.PredictOptions(tmp_path, ("it is good .",)))
    assert capsys.readouterr().out.endswith("it is good .\n")


def test_a_translator_is_kept(
    asked: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(True)
    with pytest.raises(Interrupted, match=r"the best model so far is kept in .*not sc"):
        translate.learn(translate.Options(smoke=True, run_dir=tmp_path))
    assert capsys.readouterr().out == ""
    kept = {path.name for path in tmp_path.iterdir()}
    assert {"model.npz", "settings.json"} <= kept and "result.json" not in kept
    assert not load_translator(tmp_path).source.names([]), "it can be used"


def test_of_a_speech_run_the_networks_are_kept(
    asked: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(speech, "compare", lambda *given, rounds: print("networks"))
    monkeypatch.setattr(speech, "draw", lambda *given: None)
    asked(False, True)
    with pytest.raises(Interrupted, match="what the official split gave is kept"):
        speech.learn_all(speech.Options(smoke=True, run_dir=tmp_path / "one"))
    printed = capsys.readouterr().out
    assert printed.count("networks") == 1 and "without high" not in printed
    assert not list(tmp_path.rglob("result.json"))
    assert isinstance(speech.load(tmp_path / "one").joined, lstm_jax.Transcriber)
    asked(True)
    with pytest.raises(Interrupted, match=r"the last network is kept in .*isolated"):
        speech.learn_all(speech.Options(smoke=True, run_dir=tmp_path / "two"))


@pytest.mark.parametrize("together", [False, True])
def test_of_a_cross_validation_the_finished_seeds_are_kept(
    together: bool,
    asked: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked(False)
    (tmp_path / "t.txt").write_text("abc abd " * 60)
    small = "--hidden 8 --layers 1 --batch 2 --length 8 --epochs 1 --folds 2 --seeds 2"
    words = ["--data", f"{tmp_path}/t.txt", "--run-dir", f"{tmp_path}/run"]
    words += [*small.split(), *["--together"] * together]
    answers = iter([True] if together else [False] * 6)  # a call and a check per fold

    def third_fold(stop: Stop) -> bool:
        return next(answers, True)

    monkeypatch.setattr(Stop, "__call__", third_fold)
    with pytest.raises(Interrupted, match=r"fold.*not finished|no fold is finished"):
        crossval.main(words)
    printed = capsys.readouterr().out
    assert ("seed 0, fold 2 of 2" in printed) == (not together)
    assert "seed 1, fold 2 of 2" not in printed and "means over folds" not in printed
    kept = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("crossval.json")]
    assert kept == ([] if together else ["run/seed-0/crossval.json"])


@contextlib.contextmanager
def running(name: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """An experiment that runs meanwhile, but not for ever."""
    with subprocess.Popen(
        [sys.executable, "-m", f"experiments.{name}", *map(str, words)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        watch = threading.Timer(PATIENCE, process.kill)
        watch.start()
        try:
            yield process
        finally:
            watch.cancel()
            process.kill()


def read_until(process: subprocess.Popen[str], mark: str) -> None:
    """Read what a process prints up to a line with a mark in it."""
    assert process.stdout
    assert any(mark in line for line in process.stdout), process.communicate()


def test_a_real_signal_ends_a_translation(tmp_path: Path) -> None:
    for name, k in (("a.de", 0), ("a.en", 1)):
        lines = "".join(f"{pair[k]}\n" for pair in translate.generated())
        (tmp_path / name).write_text(lines)
    files, run_dir = (tmp_path / "a.de", tmp_path / "a.en"), tmp_path / "run"
    small = ("--embedding", 16, "--hidden", 16, "--symbols", 400, "--epochs", 10**5)
    given = ("--data", *files, "--run-dir", run_dir, *small)
    with running("translate", *given) as process:
        read_until(process, "val ")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert process.returncode == 130
    assert stderr == "stopping after this call; once more to stop at once\n"
    last = stdout.splitlines()[-1]
    assert last.startswith("interrupted: the best model so far is kept in"), stdout
    assert not (run_dir / "result.json").exists()
    done = run("translate", "predict", run_dir, "der rote mann.", "--beam", 0)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.strip()


def test_a_real_signal_reaches_the_process_that_trains(tmp_path: Path) -> None:
    """Sent to the experiment alone, as `kill` does; nothing goes on behind its back."""
    (tmp_path / "t.txt").write_text("the cat sat on the mat; " * 400)
    run_dir = tmp_path / "run"
    given = ("--data", tmp_path / "t.txt", "--run-dir", run_dir, "--vocab", "byte")
    with running("text_generation", *given) as process:
        read_until(process, "step")
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate()
    assert process.returncode == 143, stderr
    assert "--resume continues" in stdout
    assert stdout.splitlines()[-1].startswith("interrupted: the model of the run")
    assert not (run_dir / "result.json").exists()
    done = run("text_generation", "predict", run_dir, "the", "--length", 5)
    assert done.returncode == 0 and len(done.stdout.strip()) >= 3, done.stderr
