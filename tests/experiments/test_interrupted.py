"""What a Ctrl-C leaves of an application: a model, no result, and a run to resume."""

import contextlib
import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from matplotlib.figure import Figure

import lstm_jax
from experiments import digits, training
from experiments.anomaly import __main__ as anomaly
from experiments.forecast import __main__ as forecast
from experiments.handwriting import __main__ as handwriting
from experiments.handwriting.data import scribbles
from experiments.healthcare import __main__ as healthcare
from experiments.healthcare.data import generated as generated_stays
from experiments.music import __main__ as music
from experiments.sentiment import __main__ as sentiment
from experiments.speech import __main__ as speech
from experiments.text_generation import __main__ as text_generation
from experiments.translate import __main__ as translate
from experiments.translate.inference import load_translator
from experiments.video import __main__ as video
from lstm_jax import InputError, cli, crossval
from lstm_jax.errors import Interrupted
from lstm_jax.report import run
from lstm_jax.training.history import HistoryRow
from lstm_jax.training.signals import Stop, interruptible
from tests.helpers.experiment_runs import (
    SETTINGS_OF_THE_PROCESS,
    assert_complete,
    assert_replaced_on_request,
    call,
    environment,
)
from tests.helpers.stops import After

PATIENCE = 240  # seconds
Use = Callable[[Path, pytest.CaptureFixture[str]], None]
PAGES = {
    "anomaly": anomaly,
    "forecast": forecast,
    "healthcare": healthcare,
    "handwriting": handwriting,
    "music": music,
    "sentiment": sentiment,
    "speech": speech,
    "translate": translate,
    "video": video,
}


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has every training from now on asked to stop after so many rows.

    Nothing is set up for the whole process.
    """
    for name in SETTINGS_OF_THE_PROCESS:
        monkeypatch.setattr(f"lstm_jax.distributed.host.{name}", lambda *given: None)
        monkeypatch.setattr(lstm_jax.distributed, name, lambda *given: None)

    def after(rows: int) -> None:
        @contextlib.contextmanager
        def answered() -> Iterator[Stop]:
            yield After(rows)

        for page in (*PAGES.values(), crossval):
            monkeypatch.setattr(page, "interruptible", answered)

    return after


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smoke runs of little data and few steps: how good they get is not looked at."""
    # 16 steps: 2 calls.
    monkeypatch.setattr(forecast, "SMOKE", forecast.SMOKE | {"steps": 16})
    # 12 epochs: 2 calls for each of two folds, 3 for the last networks.
    stays = generated_stays(40)
    monkeypatch.setattr(healthcare, "generated", lambda: stays)
    # 15 epochs: 15 calls for each of two folds, 30 for the last classifier.
    texts = sentiment.generated(32)
    monkeypatch.setattr(sentiment, "generated", lambda: texts)
    # 40 epochs: 80 calls, a validation after 40.
    pairs = translate.generated()[:20]
    monkeypatch.setattr(translate, "generated", lambda: pairs)
    # 2 calls for each of two networks.
    short = dataclasses.replace(handwriting.TINY, steps=16, rows=4)
    monkeypatch.setattr(handwriting, "TINY", short)
    monkeypatch.setattr(handwriting, "scribbles", lambda: scribbles(1))
    # 2 calls for each of six networks, all of which are kept to be compared.
    for each in ("TINY", "TINY_JOINED"):
        short = dataclasses.replace(getattr(speech, each), steps=8, rows=4)
        monkeypatch.setattr(speech, each, short)
    few = [r for r in speech.tones() if r.digit < 3 and r.number in (4, 5)]
    monkeypatch.setattr(speech, "tones", lambda: few)
    monkeypatch.setattr(speech, "shutil", Mock())
    monkeypatch.setattr(digits, "BEAM", 2)
    # 12 epochs of 16 steps: 2 calls for all actions and 2 for the one set of them.
    monkeypatch.setattr(video, "picture", Mock())


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


def use_anomaly(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir.parent / "own.csv").write_text("2014-04-01 00:05:00,7\n")
    anomaly.main(["predict", str(run_dir), str(run_dir.parent / "own.csv")])
    assert capsys.readouterr().out.endswith("2014-04-01 00:05:00,7,0.0000,0\n")


def use_forecasts(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = forecast.generated()["S3"]
    (run_dir.parent / "own.csv").write_text("load\n" + "\n".join(map(str, points)))
    own, out = run_dir.parent / "own.csv", run_dir.parent / "f.csv"
    forecast.predict(forecast.PredictOptions(run_dir, own, out))
    assert len((run_dir.parent / "f.csv").read_text().splitlines()) == 1 + 6


def use_healthcare(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir.parent / "7.txt").write_text("Time,Parameter,Value\n09:30,HR,72\n")
    healthcare.main(["predict", str(run_dir), str(run_dir.parent / "7.txt")])
    assert capsys.readouterr().out.splitlines()[-1].startswith("7  0.")


def use_sentiment(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentiment.predict(sentiment.PredictOptions(run_dir, ("it is good .",)))
    assert capsys.readouterr().out.endswith("it is good .\n")


def use_handwriting(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = lstm_jax.load(run_dir / "isolated")
    assert isinstance(saved, lstm_jax.models.SavedModel)
    assert str(saved).startswith("handwriting: SequenceClassifier of ")


def use_speech(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in (run_dir / "isolated", run_dir / "speakers" / "high" / "isolated"):
        saved = lstm_jax.load(place)
        assert isinstance(saved, lstm_jax.models.SavedModel)
        assert str(saved).startswith("speech: SequenceClassifier of ")


def use_music(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir.parent / "own.json").write_text("[[60, 64], [62, 65]]")
    out = run_dir.parent / "made.json"
    words = [run_dir, run_dir.parent / "own.json"]
    music.predict(music.PredictOptions(*words, out=out, length=3))
    assert len(json.loads(out.read_text())) == 2 + 3


def use_translate(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_translator(run_dir).source.names([]) == []


def use_video(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moves = video.generated(2).sequences[:2]
    path = run_dir.parent / "own.npz"
    np.savez(path, xyz=np.concatenate(moves), lengths=[len(move) for move in moves])
    video.predict(video.PredictOptions(run_dir, path))
    assert len(capsys.readouterr().out.splitlines()) == 2


def use_nothing(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is none yet."""


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("name", "stops"),
    [
        ("anomaly", [(1, r"the last model is kept in .*not scored", use_anomaly)]),
        ("forecast", [(1, r"the last model is kept in .*not scored", use_forecasts)]),
        ("music", [(9, r"the best network so far is kept in .*not scored", use_music)]),
        (
            "healthcare",
            [
                (3, r"fold 2 of 2 is not finished", use_nothing),
                (3, r"the folds' scores and the last networks", use_healthcare),
            ],
        ),
        (
            "sentiment",
            [
                (20, r"fold 2 of 2 is not finished", use_nothing),
                (20, r"the folds' scores and the last classifier", use_sentiment),
            ],
        ),
        (
            "handwriting",
            [
                (1, r"the last network, unfinished, .*stopped.isolated", use_nothing),
                (2, r"the last network, unfinished, .*stopped", use_handwriting),
            ],
        ),
        (
            "speech",
            [(9, r"the last network, unfinished, .*speakers.high.iso", use_speech)],
        ),
        (
            "translate",
            [(45, r"the best model so far is kept in .*not scored", use_translate)],
        ),
        ("video", [(3, r"the last networks, unfinished, .*subsets.AS2;", use_video)]),
    ],
)
def test_a_run_leaves_what_runs_leave_and_goes_on_bit_for_bit_when_stopped(
    name: str,
    stops: Sequence[tuple[int, str, Use]],
    ask: Callable[[int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """However often it is stopped, and with a model to use meanwhile.

    And its networks have the cell that was asked for, which is not the usual one.
    """
    page, whole, run_dir = PAGES[name], tmp_path / "whole", tmp_path / "stopped"
    asked = ["--smoke", "--cell", "gru"]
    assert_complete(name, whole, call(name, *asked, "--run-dir", whole))
    monkeypatch.setattr(Figure, "savefig", lambda *given, **named: None)
    monkeypatch.setattr(run, "draw_curves", lambda *given, **named: None)
    words = [*asked, "--run-dir", str(run_dir)]
    for rows, said, use in stops:
        ask(rows)
        with pytest.raises(Interrupted, match=f"{said}.*--resume goes on"):
            page.main(words)
        assert not (run_dir / "result.json").exists()
        capsys.readouterr()
        use(run_dir, capsys)
        words = ["--resume", *asked, "--run-dir", str(run_dir)]
    ask(10**9)
    page.main(words)
    assert capsys.readouterr().out.endswith("}\n")
    assert_same_run(name, whole, run_dir)


def assert_same_run(name: str, whole: Path, run_dir: Path) -> None:
    """A run of GRUs came to what the one that was not stopped came to."""
    assert score(whole) == score(run_dir)
    assert models(whole) == models(run_dir)
    assert all(b"/b_hn/" in kept for kept in models(whole).values())  # of a GRU alone
    assert_replaced_on_request(name, whole)


def score(run_dir: Path) -> dict[str, object]:
    """The result of a run, but for the time it took."""
    result = json.loads((run_dir / "result.json").read_text())
    result.pop("minutes")
    return result


def models(run_dir: Path) -> dict[str, bytes]:
    """The last parameters that a run has left of every network."""
    found = {}
    for folder in run_dir.rglob("checkpoints"):
        step = max(int(path.name) for path in folder.iterdir())
        kept = folder / str(step) / "model.safetensors"
        found[str(kept.relative_to(run_dir))] = kept.read_bytes()
    return found


def test_a_run_goes_on_as_it_began_or_not_at_all(
    ask: Callable[[int], None], tmp_path: Path
) -> None:
    ask(3)
    texts = "text,label\n" + "a b,x\nb c,y\n" * 16
    (tmp_path / "t.csv").write_text(texts)
    run_dir = tmp_path / "run"
    # The shapes of a smoke run, compiled already.
    small = "--folds 2 --symbols 40 --features 8 --hidden 8 --members 2 --batch 16"
    small += " --dropout 0.1 --word-dropout 0 --cell gru"
    words = ["--data", f"{tmp_path}/t.csv", "--run-dir", str(run_dir), *small.split()]
    with pytest.raises(Interrupted):
        sentiment.main(words)
    with pytest.raises(InputError, match=r"expected a new folder, found a run of sent"):
        sentiment.main(words)
    again = ["--resume", "--run-dir", str(run_dir)]
    with pytest.raises(InputError, match="--resume: expected --hidden as the run has"):
        sentiment.main([*again, "--hidden", "5"])
    with pytest.raises(InputError, match="--resume: expected --epochs as the run has"):
        sentiment.main([*again, "--epochs", "3"])  # unlike the folds that are finished
    with pytest.raises(InputError, match="expected --resume or --overwrite, found bot"):
        sentiment.main([*again, "--overwrite"])
    with pytest.raises(InputError, match="expected a run of forecast, found 'sentim"):
        forecast.main(again)
    (tmp_path / "t.csv").write_text(texts + "a c,x\n")
    with pytest.raises(InputError, match=r"expected the data that .* was begun with"):
        sentiment.main(again)
    with pytest.raises(InputError, match=r"expected a run of sentiment at .*none"):
        sentiment.main(["--resume", "--run-dir", str(tmp_path / "none")])
    (tmp_path / "t.csv").write_text(texts)
    ask(10**9)
    sentiment.main([*again, "--steps-per-call", "2"])
    assert (run_dir / "result.json").exists()


@pytest.mark.parametrize("name", [*PAGES, "text_generation"])
def test_patience_needs_something_held_out(name: str) -> None:
    page = importlib.import_module(f"experiments.{name}.__main__")
    with pytest.raises(InputError, match=r"^--patience: expected --evaluations and a"):
        page.main(["--smoke", "--patience", "2", "--evaluations", "0"])


def test_a_cross_validation_goes_on_bit_for_bit_when_stopped(
    ask: Callable[[int], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what the finished seeds came to is there meanwhile."""
    (tmp_path / "t.txt").write_text("abc abd " * 9)
    small = "--hidden 2 --layers 1 --batch 2 --length 8 --epochs 2 --folds 2 --seeds 2"
    words = ["--data", f"{tmp_path}/t.txt", *small.split(), "--steps-per-call", "2"]
    ask(10**9)
    crossval.main([*words, "--run-dir", f"{tmp_path}/whole"])
    capsys.readouterr()
    ask(8)  # a fold is three calls
    with pytest.raises(Interrupted, match="fold 1 of 2 is not finished; --resume goes"):
        crossval.main([*words, "--run-dir", f"{tmp_path}/run"])
    printed = capsys.readouterr().out
    assert "seed 0, fold 2 of 2" in printed and "means over folds" not in printed
    kept = [str(path.relative_to(tmp_path / "run")) for path in results(tmp_path)]
    assert kept == ["seed-0/crossval.json"]
    ask(10**9)
    crossval.main(["--resume", "--run-dir", f"{tmp_path}/run"])
    printed = capsys.readouterr().out
    assert "seed 0, fold" not in printed, "no finished fold is done again"
    assert "seed 1, fold 1 of 2" in printed and "means over folds" in printed
    assert len(results(tmp_path)) == 2
    for path in results(tmp_path):
        whole = tmp_path / "whole" / path.relative_to(tmp_path / "run")
        assert path.read_bytes() == whole.read_bytes()
        ours, theirs = (np.load(p.parent / "predictions.npz") for p in (path, whole))
        for name in theirs.files:
            np.testing.assert_array_equal(ours[name], theirs[name])
    assert not list(tmp_path.rglob("checkpoints"))
    crossval.main(["--resume", "--run-dir", f"{tmp_path}/run"])  # as often as one likes
    again = capsys.readouterr().out
    assert again == "".join(
        line for line in printed.splitlines(keepends=True) if "trained in" not in line
    )


def results(path: Path) -> list[Path]:
    """What the seeds of the run that was stopped came to."""
    return sorted(path.glob("run/seed-*/crossval.json"))


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


@pytest.mark.usefixtures("tiny")
def test_a_translation_that_a_real_signal_ends_goes_on_bit_for_bit(
    ask: Callable[[int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It comes at the first validation, and is waited for."""
    whole, run_dir = tmp_path / "whole", tmp_path / "run"
    asked = ["--smoke", "--cell", "gru"]
    assert_complete("translate", whole, call("translate", *asked, "--run-dir", whole))
    monkeypatch.setattr(Figure, "savefig", lambda *given, **named: None)
    monkeypatch.setattr(run, "draw_curves", lambda *given, **named: None)
    asked += ["--run-dir", str(run_dir)]
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        send_at_the_first_validation(patch)
        capfd.readouterr()
        cli.run_command(lambda: translate.main(asked))
    assert ended.value.code == 130
    stdout, stderr = capfd.readouterr()
    assert stderr == "stopping after this call; once more to stop at once\n"
    last = stdout.splitlines()[-1]
    assert last.startswith("interrupted: the best model so far is kept in"), stdout
    assert "not scored" in last and "--resume goes on" in last
    assert not (run_dir / "result.json").exists()
    assert load_translator(run_dir).source.names([]) == []
    translate.main(["predict", str(run_dir), "der rote mann.", "--beam", "0"])
    stdout, stderr = capfd.readouterr()
    assert stdout.strip() and not stderr
    ask(10**9)
    translate.main(["--resume", *asked])
    assert capfd.readouterr().out.endswith("}\n")
    assert_same_run("translate", whole, run_dir)


def send_at_the_first_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a translation send a signal to itself, and wait until it was heard."""
    asked: list[Stop] = []

    @contextlib.contextmanager
    def seen() -> Iterator[Stop]:
        with interruptible() as stop:
            asked.append(stop)
            yield stop

    class Sender(lstm_jax.report.Progress):
        def on_row(self, row: HistoryRow) -> None:
            super().on_row(row)
            if row.val and not asked[0]():
                os.kill(os.getpid(), signal.SIGINT)
                while not asked[0]():
                    pass

    monkeypatch.setattr(translate, "interruptible", seen)
    monkeypatch.setattr(training, "Progress", Sender)


def test_a_real_signal_reaches_the_process_that_trains(
    ask: Callable[[int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Sent to the experiment alone, as `kill` does; nothing goes on behind its back."""
    (tmp_path / "t.txt").write_text("the cat sat on the mat; " * 50)
    run_dir = tmp_path / "run"
    given = ("--data", tmp_path / "t.txt", "--run-dir", run_dir, "--vocab", "byte")
    with running("text_generation", *given, "--seeds", 1) as process:
        read_until(process, "epoch")
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate()
    assert process.returncode == 143, stderr
    assert "--resume continues" in stdout
    assert stdout.splitlines()[-1].startswith("interrupted: the model of the run")
    assert not (run_dir / "result.json").exists()
    text_generation.main(["predict", str(run_dir), "the", "--length", "5"])
    assert len(capsys.readouterr().out.strip()) >= 3
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    text_generation.main(["--resume", "--run-dir", str(run_dir), "--epochs", "1"])
    assert (run_dir / "result.json").exists()
