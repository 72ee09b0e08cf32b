"""The three commands as a person runs them: separate processes, files, exit codes."""

import atexit
import contextlib
import dataclasses
import functools
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import lstm_jax
from lstm_jax import generate, load, save, train
from lstm_jax.checkpoint import Checkpoints
from lstm_jax.config import load_config
from lstm_jax.devices import multiplies_bfloat16
from lstm_jax.errors import InputError
from lstm_jax.presets import preset

Run = subprocess.CompletedProcess[str]

WORDS = "the cat sat on a mat and ran to see what was in that hat of mine".split()
TEXT = " ".join(random.Random(0).choices(WORDS, k=600))[:2000]
SMALL = (
    *("--hidden", "16", "--layers", "1", "--batch", "4", "--length", "16"),
    *("--steps-per-call", "8"),
)
STEPS_PER_EPOCH = 29  # 1,800 characters to learn from, in 4 lanes of 16
BUDGET = 12  # seconds; compilation takes half of them on a busy machine
PATIENCE = 240  # seconds


def arguments(command: str, *given: object) -> list[str]:
    """The command line of a command."""
    return [sys.executable, "-m", f"lstm_jax.{command}", *map(str, given)]


@functools.cache
def environment() -> dict[str, str]:
    """The environment: the library under test comes first, no cache is the user's."""
    found = str(Path(lstm_jax.__file__).parents[1])
    paths = [found, *filter(None, [os.environ.get("PYTHONPATH")])]
    cache = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, cache)
    inherited = os.environ.copy()
    inherited.pop("JAX_COMPILATION_CACHE_DIR", None)
    return inherited | {"PYTHONPATH": os.pathsep.join(paths), "XDG_CACHE_HOME": cache}


def run(command: str, *given: object, cwd: Path) -> Run:
    """Run a command to its end."""
    return subprocess.run(
        arguments(command, *given),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE,
    )


@contextlib.contextmanager
def started(
    command: str, *given: object, cwd: Path
) -> Generator[subprocess.Popen[str]]:
    """A command that runs meanwhile, but not for ever."""
    with subprocess.Popen(
        arguments(command, *given),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        watch = threading.Timer(PATIENCE, process.kill)
        watch.start()
        try:
            yield process
        finally:
            watch.cancel()
            process.kill()


def assert_done(done: Run) -> None:
    """The command did what it was asked to, and had nothing to complain of."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def assert_refused(done: Run, *mentioned: str) -> None:
    """One clear line, and nothing else."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1, done.stderr
    for text in mentioned:
        assert text in done.stderr


def contents(path: Path) -> dict[str, bytes | None]:
    """All folders and files under a folder, and what is in them."""
    return {
        str(found.relative_to(path)): found.read_bytes() if found.is_file() else None
        for found in sorted(path.rglob("*"))
    }


def metrics(path: Path) -> list[dict[str, Any]]:
    """The history of a run."""
    lines = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object."""
    return json.loads(path.read_text(encoding="utf-8"))


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run that was trained once, the text it was trained on, and what was printed."""

    path: Path
    text: Path
    done: Run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two epochs of a tiny model. To be copied before it is changed."""
    home = tmp_path_factory.mktemp("trained")
    text = home / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    given = ("--data", text, "--run-dir", home / "run", *SMALL, "--epochs", 2)
    return Trained(home / "run", text, run("train", *given, cwd=home))


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the trained run, to be damaged."""
    return shutil.copytree(trained.path, tmp_path / "run")


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


def test_dynamic_evaluation_has_a_column_of_its_own(
    trained: Trained, tmp_path: Path
) -> None:
    shown = run("evaluate", trained.path, "--dynamic", "--json", cwd=tmp_path).stdout
    assert re.search(r"window256 +stream +dynamic", shown)
    found = json.loads(shown.splitlines()[-1])
    assert found["dynamic"]["characters"] == found["stream"]["characters"]
    assert found["dynamic"]["loss"] != found["stream"]["loss"]


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


def wait_for_a_line(process: subprocess.Popen[str], path: Path) -> None:
    """Wait for the first line of a file that a process writes."""
    while not path.exists() or b"\n" not in path.read_bytes():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


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


# Evaluation.

SCORES = {"loss", "bits_per_char", "perplexity", "accuracy"}


def last_json(done: Run) -> dict[str, Any]:
    """The JSON object on the last line."""
    return json.loads(done.stdout.splitlines()[-1])


def test_a_run_is_evaluated(trained: Trained, tmp_path: Path) -> None:
    before = contents(trained.path)
    before.pop("confusion.png", None)
    done = run("evaluate", trained.path, "--json", cwd=tmp_path)
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
    done = run("evaluate", *given, cwd=tmp_path)
    assert_done(done)
    found = last_json(done)
    assert found["source"] == "other.txt" and "other.txt" in done.stdout
    losses = [found[protocol]["loss"] for protocol in ("window256", "stream")]
    assert found["stream"]["characters"] == found["window256"]["characters"] == 500
    held_out = read_json(trained.path / "summary.json")["validation"]["stream"]["loss"]
    assert losses[0] != losses[1] and min(losses) > held_out  # backwards is harder


# Inspection.


def test_a_run_is_inspected(copied: Path) -> None:
    before = contents(copied)
    done = run("inspect", copied, "--text", "the cat", "--json", cwd=copied.parent)
    assert_done(done)
    found = last_json(done)
    (layer,) = found["layers"]
    assert layer["units"] == 16 and len(layer["memory"]) == 3
    assert len(found["norms"]) == 200 and 0 < found["reach"] < 200
    for text in ("forget gate closed", "memory", "dead units", *found["advice"]):
        assert text in done.stdout
    pictures = {"gates.png", "lags.png", "units.png"}
    assert {path.name for path in (copied / "inspect").iterdir()} == pictures
    assert {name: contents(copied)[name] for name in before} == before


def test_inspection_names_an_unknown_character(copied: Path) -> None:
    done = run("inspect", copied, "--text", "Ω", cwd=copied.parent)
    assert_refused(done, "'Ω' (U+03A9)")


# Generation.


def made(trained: Trained, *given: object) -> str:
    """What the generate command prints."""
    done = run("generate", trained.path, *given, cwd=trained.path.parent)
    assert_done(done)
    return done.stdout


def test_greedy_is_one_text(trained: Trained) -> None:
    before = contents(trained.path)
    given = ("--prompt", "the cat", "--length", 100)
    text = made(trained, *given)
    assert text.startswith("the cat") and text.endswith("\n")
    assert len(text) == len("the cat") + 100 + 1
    # The same whatever the seed; with a stop it ends before that.
    continuation = text[len("the cat") : -1]
    stop = continuation[70:74]
    expected = "the cat" + continuation[: continuation.index(stop)]
    assert made(trained, *given, "--seed", 9, "--stop", stop) == expected + "\n"
    assert contents(trained.path) == before


def test_draws_are_decided_by_the_seed(trained: Trained) -> None:
    given = ("--prompt", "the ", "--length", 60, "--temperature", 1)
    one, other = (made(trained, *given, "--seed", seed) for seed in (1, 2))
    three = made(trained, *given, "--seed", 1, "--samples", 3)
    parts = three.split("--- sample ")[1:]
    assert [part.split("\n", 1)[0] for part in parts] == ["1", "2", "3"]
    texts = [part.split("\n", 1)[1] for part in parts]
    assert texts[0] == one, "the first sample does not depend on how many there are"
    assert len({*texts, other}) == 4
    for text in (*texts, other):
        assert text.startswith("the ") and len(text) == len("the ") + 60 + 1


def test_text_is_shown_as_it_is_made(trained: Trained) -> None:
    """The beginning of an endless text is there at once; who has enough may leave."""
    given = (trained.path, "--prompt", "the", "--length", 10**8, "--temperature", 1)
    with started("generate", *given, cwd=trained.path.parent) as process:
        assert process.stdout and process.stderr
        text = process.stdout.read(500)
        process.stdout.close()
        errors = process.stderr.read()
        code = process.wait()
    assert text.startswith("the") and len(text) == 500
    assert (code, errors) == (141, "")


def test_a_reader_that_left_is_no_error(tmp_path: Path) -> None:
    """Whatever is still in Python's buffers, which it flushes once more at its end."""
    script = tmp_path / "half.py"
    script.write_text(
        "import sys\n"
        "from lstm_jax.cli import run_command\n"
        "def main():\n"
        "    sys.stdin.read()\n"
        "    print('half a line', end='')\n"
        "    raise BrokenPipeError\n"
        "run_command(main)\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, str(script)],
        env={**environment(), "PYTHONUNBUFFERED": ""},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)


def test_an_unknown_character_is_named(trained: Trained, tmp_path: Path) -> None:
    given = (trained.path, "--prompt", "the Ω cat", "--length", 10)
    done = run("generate", *given, cwd=tmp_path)
    assert_refused(done, "prompt", "'Ω' (U+03A9)")


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command that is called here leave JAX's own cache as it is."""
    monkeypatch.setattr("lstm_jax.devices.keep_programs", lambda: None)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *(("--length", value) for value in ("-1",)),
        *(("--samples", value) for value in ("0", "-2")),
        *(("--seed", value) for value in ("-1", str(2**64))),
        *(("--temperature", value) for value in ("-1", "nan", "inf")),
        *(("--top-k", value) for value in ("-1",)),
        *(("--top-p", value) for value in ("0", "1.5", "nan")),
        *(("--min-p", value) for value in ("-0.1", "1.5")),
        *(("--repetition-penalty", value) for value in ("0.5",)),
        *(("--repetition-window", value) for value in ("0", "257")),
    ],
)
@pytest.mark.usefixtures("in_process")
def test_generation_refuses_nonsense(flag: str, value: str, trained: Trained) -> None:
    name = flag.strip("-").replace("-", "[-_]")
    with pytest.raises(InputError, match=rf"{name}: expected .*, found {value}"):
        generate.main(
            [
                *(str(trained.path), "--prompt", "the", "--length", "3"),
                *(() if flag == "--temperature" else ("--temperature", "1")),
                *(flag, value),
            ]
        )


@pytest.mark.usefixtures("in_process")
def test_a_beam_and_its_scores(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sorted, and with the log-probability of every character."""
    given = [str(trained.path), "--prompt", "the", "--length", "12", "--beam", "3"]
    generate.main([*given, "--samples", "2", "--json"])
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["sample"] for record in records] == [1, 2]
    for record in records:
        assert len(record["text"]) == len(record["log_probs"]) == 12
        assert record["log_prob"] == pytest.approx(sum(record["log_probs"]), abs=1e-2)
    assert records[0]["log_prob"] > records[1]["log_prob"]
    generate.main(given)
    assert capsys.readouterr().out == "the" + records[0]["text"] + "\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--beam", "2", "--samples", "3"], "--samples: expected at most the --beam"),
        (["--beam", "2", "--temperature", "1"], "--temperature: expected none"),
        (["--beam", "2", "--seed", "1"], "--seed: expected none"),
        (["--beam", "-1"], "--beam: expected 0 or more, found -1"),
        (["--length-penalty", "1"], "--length-penalty: expected none without --beam"),
    ],
)
def test_a_beam_draws_nothing(given: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        generate.main([str(tmp_path), *given])


@pytest.mark.usefixtures("in_process")
def test_more_candidates_than_symbols_are_all_of_them(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(trained.path), "--prompt", "the", "--temperature", "1"]
    for k in (0, 1_000, 2**40):
        generate.main([*given, "--length", "40", "--top-k", str(k)])
    texts = capsys.readouterr().out.splitlines()
    assert len(texts) == 3 and len(set(texts)) == 1


# Bad input. Before each: the working directory holds these.

GOOD = "the cat sat on the mat"
FILES: dict[str, bytes] = {
    "good.txt": GOOD.encode(),
    "empty.txt": b"",
    "one.txt": b"x",
    "binary.txt": bytes(range(256)),
    "latin1.txt": "über".encode("latin-1"),
    "cut.txt": "abcü".encode()[:-1],
    "broken.gz": b"this is no archive",
    "folder/thesis.txt": b"precious",
}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder of files, which nothing that is refused may change."""
    for name, raw in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(raw)
    before = contents(tmp_path)
    yield tmp_path
    assert contents(tmp_path) == before


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
    for name in ("keep_programs", "show_cores"):
        monkeypatch.setattr(f"lstm_jax.devices.{name}", lambda *given, **named: None)


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
    monkeypatch.setattr("lstm_jax.text.fit", out_of_memory)
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
    save(load("~/run"), "~/saved")
    assert not any((tmp_path / "here").iterdir())
    assert metrics(tmp_path / "run")[-1]["step"] == 2 * STEPS_PER_EPOCH
    assert (tmp_path / "saved" / "config.json").exists()


def test_resume_without_a_run_is_refused(place: Path) -> None:
    assert_refused(run("train", "--resume", cwd=place), "--resume", "--run-dir")


def _edit(name: str, change: Callable[[Any], None]) -> Callable[[Path], None]:
    """Damage: change a JSON file."""

    def damage(path: Path) -> None:
        record = read_json(path / name)
        del record["sha256"]  # as who edits on purpose does
        change(record)
        (path / name).write_text(json.dumps(record), encoding="utf-8")

    return damage


def _cut(pattern: str) -> Callable[[Path], None]:
    """Damage: cut files to half their size."""

    def damage(path: Path) -> None:
        files = [found for found in path.glob(pattern) if found.is_file()]
        assert files, pattern
        for file in files:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "found no folder"),
    "no config": (lambda path: (path / "config.json").unlink(), "config.json"),
    "cut config": (_cut("config.json"), "damaged file"),
    "other width": (
        _edit("config.json", lambda record: record["model"].update(hidden=24)),
        "to be float32(96,), found float32(64,)",
    ),
    "nonsense": (
        _edit("config.json", lambda record: record["model"].update(hidden=-24)),
        "--hidden",
    ),
    "no vocabulary": (lambda path: (path / "vocab.json").unlink(), "vocab.json"),
    "cut vocabulary": (_cut("vocab.json"), "vocab.json"),
    "other vocabulary": (
        _edit("vocab.json", lambda record: record["characters"].append("Z")),
        "to be float32(17,), found float32(16,)",
    ),
    "no checkpoints": (
        lambda path: shutil.rmtree(path / "checkpoints"),
        "found none",
    ),
    "cut arrays": (_cut("checkpoints/*/*.safetensors"), "checkpoints"),
    "cut checkpoint": (_cut("checkpoints/*/*"), "checkpoints"),
}


@pytest.mark.parametrize(
    ("command", "damage"),
    [
        *(("generate", damage) for damage in DAMAGES),
        *(("evaluate", damage) for damage in ("no folder", "cut arrays")),
        *(("resume", damage) for damage in ("no config", "other width", "cut arrays")),
    ],
)
def test_a_damaged_run_is_refused(command: str, damage: str, copied: Path) -> None:
    inflict, message = DAMAGES[damage]
    inflict(copied)
    before = contents(copied.parent)
    cwd = copied.parent
    if command == "generate":
        done = run("generate", copied, "--prompt", "the", "--length", 3, cwd=cwd)
    elif command == "evaluate":
        done = run("evaluate", copied, cwd=cwd)
    else:
        done = run("train", "--run-dir", copied, "--resume", "--epochs", 9, cwd=cwd)
        done.stdout = ""  # the text is announced before the checkpoint is read
    assert_refused(done, message, str(copied))
    assert contents(copied.parent) == before


@pytest.mark.parametrize("name", ["one.txt", "missing.txt", "binary.txt"])
def test_evaluation_refuses_what_is_no_text(
    name: str, trained: Trained, place: Path
) -> None:
    assert_refused(run("evaluate", trained.path, "--data", name, cwd=place), name)


# Help.

HEAVY = {"jax", "jaxlib", "flax", "optax", "orbax", "matplotlib", "scipy"}
FLAGS = {
    "train": """--data --vocab --layers --hidden --dropout --precision --engine --batch
        --mogrifier --capped-gate --top-only --length --learning-rate
        --weight-decay --average --run-dir --epochs --max-seconds --seed --preset
        --checkpoint-seconds --checkpoint-steps --on-nan
        --patience --min-improvement --tensorboard --variational --input-dropout
        --weight-drop --recurrent-dropout --zoneout-hidden --zoneout-cell
        --label-smoothing --training-temperature
        --l1 --l2 --activation-penalty --temporal-penalty
        --resume --overwrite""",
    "generate": """RUN_DIR --prompt --length --temperature --top-k --top-p --min-p
        --repetition-penalty --repetition-window --beam --length-penalty --stop
        --samples --seed --json""",
    "evaluate": "RUN_DIR --data --dynamic --json",
    "inspect": "RUN_DIR --text --json",
    "crossval": """--data --folds --seeds --together --epochs --max-seconds --hidden
        --dropout --learning-rate --weight-drop --run-dir --overwrite""",
}


@pytest.mark.parametrize("command", FLAGS)
def test_help_answers_without_jax(command: str, tmp_path: Path) -> None:
    line = arguments(command, "--help")
    done = subprocess.run(
        [line[0], "-X", "importtime", *line[1:]],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0
    for flag in FLAGS[command].split():
        assert flag in done.stdout
        if flag != "RUN_DIR":
            described = done.stdout[done.stdout.index(f"│ {flag}") :]
            assert "(default: " in described.split("│ --")[1], flag
    imported = {
        found.rsplit("|", 1)[1].strip().split(".")[0]
        for found in done.stderr.splitlines()
        if found.startswith("import time:")
    }
    assert "lstm_jax" in imported and "argparse" in imported
    assert not imported & HEAVY


@pytest.mark.parametrize(
    ("command", "given", "meant"),
    [
        ("train", ("--hiden", "32"), "--hidden"),
        ("train", ("--max-second", "3"), "--max-seconds"),
        ("generate", ("run", "--temprature", "1"), "--temperature"),
        ("evaluate", ("run", "--jsn"), "--json"),
    ],
)
def test_a_mistyped_flag_says_what_was_meant(
    command: str, given: Sequence[str], meant: str, place: Path
) -> None:
    done = run(command, *given, cwd=place)
    assert done.returncode == 2 and done.stdout == ""
    assert meant in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "given", [("--hidden", "many"), ("--precision", "float8"), ("--epochs", "1.5")]
)
def test_a_value_of_another_kind_is_refused(given: Sequence[str], place: Path) -> None:
    done = run("train", *given, cwd=place)
    assert done.returncode == 2 and done.stdout == ""
    assert given[0] in done.stderr and given[1] in done.stderr
    assert "Traceback" not in done.stderr
