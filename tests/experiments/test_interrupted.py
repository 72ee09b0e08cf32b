"""What a Ctrl-C leaves of an application: a model, no result, and a run to resume."""

import contextlib
import importlib
import json
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
from lstm_jax import InputError, cli, crossval
from lstm_jax.errors import Interrupted
from lstm_jax.training.history import HistoryRow
from lstm_jax.training.signals import Stop, interruptible
from tests.helpers.experiment_runs import environment, run

PATIENCE = 240  # seconds
PAGES = {
    "forecast": forecast,
    "sentiment": sentiment,
    "speech": speech,
    "translate": translate,
}


class After(Stop):
    """Is asked to stop when it has seen so many rows of history, of all trainings."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._left = rows

    def on_row(self, row: HistoryRow) -> str | None:
        self._left -= 1
        if self._left <= 0:
            self._number = signal.SIGINT
        return super().on_row(row)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has every training from now on asked to stop after so many rows.

    Nothing is set up for the whole process.
    """
    for name in ("enable_compilation_cache", "set_cpu_device_count"):
        monkeypatch.setattr(f"lstm_jax.distributed.host.{name}", lambda *given: None)
        monkeypatch.setattr(lstm_jax.distributed, name, lambda *given: None)

    def after(rows: int) -> None:
        @contextlib.contextmanager
        def answered() -> Iterator[Stop]:
            yield After(rows)

        for page in (*PAGES.values(), crossval):
            monkeypatch.setattr(page, "interruptible", answered)

    return after


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


# One run for each application, which nobody stops.
WHOLE: dict[str, Path] = {}


@pytest.fixture
def whole(
    request: pytest.FixtureRequest,
    ask: Callable[[int], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    name = request.getfixturevalue("name")
    if name not in WHOLE:
        WHOLE[name] = tmp_path_factory.mktemp("whole") / name
        ask(10**9)
        PAGES[name].main(["--smoke", "--run-dir", str(WHOLE[name])])
    return WHOLE[name]


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("forecast", 3, r"the last model is kept in .*not scored"),
        ("sentiment", 100, r"fold 2 of 2 is not finished"),
        ("sentiment", 200, r"the folds' scores and the last classifier"),
        ("speech", 45, r"the last network, unfinished, is in .*speakers.high.isolated"),
        ("translate", 20, r"the best model so far is kept in .*not scored"),
    ],
)
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    name: str,
    rows: int,
    said: str,
    whole: Path,
    ask: Callable[[int], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page, run_dir = PAGES[name], tmp_path / "stopped"
    ask(rows)
    with pytest.raises(Interrupted, match=f"{said}.*--resume goes on"):
        page.main(["--smoke", "--run-dir", str(run_dir)])
    assert not (run_dir / "result.json").exists()
    capsys.readouterr()
    ask(10**9)
    page.main(["--resume", "--smoke", "--run-dir", str(run_dir)])
    assert capsys.readouterr().out.endswith("}\n")
    results = [json.loads((p / "result.json").read_text()) for p in (whole, run_dir)]
    for result in results:
        result.pop("minutes")
    assert results[0] == results[1]
    assert models(whole) == models(run_dir)


def models(run_dir: Path) -> dict[str, bytes]:
    """The last parameters that a run has left of every network."""
    found = {}
    for folder in run_dir.rglob("checkpoints"):
        step = max(int(path.name) for path in folder.iterdir())
        kept = folder / str(step) / "model.safetensors"
        found[str(kept.relative_to(run_dir))] = kept.read_bytes()
    return found


def test_a_model_of_a_stopped_run_can_be_used(
    ask: Callable[[int], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(3)
    for name in ("forecast", "translate", "speech"):
        with pytest.raises(Interrupted):
            PAGES[name].main(["--smoke", "--run-dir", str(tmp_path / name)])
    points = forecast.generated()["S3"]
    (tmp_path / "own.csv").write_text("load\n" + "\n".join(map(str, points)))
    words = [tmp_path / "forecast", tmp_path / "own.csv", tmp_path / "f.csv"]
    forecast.predict(forecast.PredictOptions(*words))
    assert len((tmp_path / "f.csv").read_text().splitlines()) == 1 + 6
    assert load_translator(tmp_path / "translate").source.names([]) == []
    saved = lstm_jax.load(tmp_path / "speech" / "isolated")
    assert isinstance(saved, lstm_jax.models.SavedModel)
    assert str(saved).startswith("speech: SequenceClassifier of ")
    ask(200)
    with pytest.raises(Interrupted):
        sentiment.main(["--smoke", "--run-dir", str(tmp_path / "sentiment")])
    capsys.readouterr()
    sentiment.predict(
        sentiment.PredictOptions(tmp_path / "sentiment", ("it is good .",))
    )
    assert capsys.readouterr().out.endswith("it is good .\n")


def test_a_run_goes_on_as_it_began_or_not_at_all(
    ask: Callable[[int], None], tmp_path: Path
) -> None:
    ask(3)
    (tmp_path / "t.csv").write_text("text,label\na b,x\nb c,y\n" * 20)
    run_dir = tmp_path / "run"
    small = "--folds 2 --symbols 9 --features 4 --hidden 4 --members 1 --batch 4"
    words = ["--data", f"{tmp_path}/t.csv", "--run-dir", str(run_dir), *small.split()]
    with pytest.raises(Interrupted):
        sentiment.main(words)
    with pytest.raises(InputError, match=r"expected a new folder, found a run of sent"):
        sentiment.main(words)
    again = ["--resume", "--run-dir", str(run_dir)]
    with pytest.raises(InputError, match="--resume: expected --hidden as the run has"):
        sentiment.main([*again, "--hidden", "5"])
    with pytest.raises(InputError, match="expected --resume or --overwrite, found bot"):
        sentiment.main([*again, "--overwrite"])
    with pytest.raises(InputError, match="expected a run of forecast, found 'sentim"):
        forecast.main(again)
    (tmp_path / "t.csv").write_text("text,label\na b,x\nb c,y\n" * 21)
    with pytest.raises(InputError, match=r"expected the data that .* was begun with"):
        sentiment.main(again)
    with pytest.raises(InputError, match=r"expected a run of sentiment at .*none"):
        sentiment.main(["--resume", "--run-dir", str(tmp_path / "none")])
    (tmp_path / "t.csv").write_text("text,label\na b,x\nb c,y\n" * 20)
    ask(10**9)
    sentiment.main([*again, "--epochs", "3"])
    assert (run_dir / "result.json").exists()


@pytest.mark.parametrize("name", [*PAGES, "text_generation"])
def test_patience_needs_something_held_out(name: str) -> None:
    page = importlib.import_module(f"experiments.{name}.__main__")
    with pytest.raises(InputError, match=r"^--patience: expected --evaluations and a"):
        page.main(["--smoke", "--patience", "2", "--evaluations", "0"])


@pytest.mark.parametrize("jointly", [False, True])
def test_of_a_cross_validation_the_finished_seeds_are_kept(
    jointly: bool,
    ask: Callable[[int], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "t.txt").write_text("abc abd " * 60)
    small = "--hidden 8 --layers 1 --batch 2 --length 8 --epochs 1 --folds 2 --seeds 2"
    words = ["--data", f"{tmp_path}/t.txt", "--run-dir", f"{tmp_path}/run"]
    words += [*small.split(), *["--jointly"] * jointly]
    ask(1 if jointly else 3)  # a fold is a call
    with pytest.raises(Interrupted, match=r"fold.*not finished|no fold is finished"):
        crossval.main(words)
    printed = capsys.readouterr().out
    assert ("seed 0, fold 2 of 2" in printed) == (not jointly)
    assert "seed 1, fold 2 of 2" not in printed and "means over folds" not in printed
    kept = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("crossval.json")]
    assert kept == ([] if jointly else ["run/seed-0/crossval.json"])


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
    small = ("--embedding", 16, "--hidden", 16, "--symbols", 400)
    # So many epochs that an hour sees none of it: a validation every few seconds.
    given = ("--data", *files, "--run-dir", run_dir, *small, "--epochs", 10**5)
    with running("translate", *given, "--evaluations", 10**6) as process:
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
    with running("text_generation", *given, "--seeds", 1) as process:
        read_until(process, "step")
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate()
    assert process.returncode == 143, stderr
    assert "--resume continues" in stdout
    assert stdout.splitlines()[-1].startswith("interrupted: the model of the run")
    assert not (run_dir / "result.json").exists()
    done = run("text_generation", "predict", run_dir, "the", "--length", 5)
    assert done.returncode == 0 and len(done.stdout.strip()) >= 3, done.stderr
    done = run("text_generation", "--resume", "--run-dir", run_dir, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert (run_dir / "result.json").exists()
