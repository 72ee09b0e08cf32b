"""The command line, read in two passes by one parser."""

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from lstm_jax import cli
from lstm_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Few:
    """What the defaults of all other flags depend on."""

    data: tuple[Path, ...] = ()
    run_dir: Path | None = None
    resume: bool = False


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", Few()),
        ("--help", Few()),
        ("--hidden -3 --no-variational -h --resume", Few(resume=True)),
        ("--data a b --hidden 3", Few(data=(Path("a"), Path("b")))),
        ("--run_dir=x --data c", Few((Path("c"),), Path("x"))),
        ("--run-dir=~/x", Few(run_dir=Path.home() / "x")),
        ("--data --resume", Few(resume=True)),
    ],
)
def test_the_first_pass_leaves_what_it_does_not_know(words: str, expected: Few) -> None:
    assert cli.peek(Few, "train", words.split()) == expected


def test_the_first_pass_refuses_what_it_knows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.peek(Few, "train", ["--hidden", "3", "--run-dir"])
    assert ended.value.code == 2 and "--run-dir" in capsys.readouterr().err


@dataclasses.dataclass(frozen=True)
class Renamed:
    """Options of which one was called --average before."""

    ema: float = 0.0
    jointly: bool = False


@pytest.mark.parametrize(
    "words",
    ["--average 0.5 --together", "--average=0.5 --jointly", "--ema 0.5 --together"],
)
def test_a_flag_has_its_former_name_for_a_release(
    words: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert cli.parse(Renamed, "train", "", words.split()) == Renamed(0.5, True)
    assert any("is now called --" in message for message in caplog.messages)
    assert "--average" not in " ".join(caplog.messages[1:])


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of some options."""

    cell_name: Literal["lstm", "gru"] = "lstm"
    devices: int | Literal["all"] = 1


@dataclasses.dataclass(frozen=True)
class Choices:
    """Options of which some have a few words to choose from."""

    part: Part = dataclasses.field(default_factory=Part)
    preset: Literal["short", "long"] | None = None
    groups: tuple[Literal["a", "b"], ...] = ()
    text: str = ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--cell-name grue", "--cell-name: expected one of lstm, gru, found grue"),
        ("--cell_name=grue", "--cell-name: expected one of lstm, gru, found grue"),
        (
            "--cell-name gru --preset x",
            "--preset: expected one of short, long, found x",
        ),
    ],
)
def test_a_word_that_is_none_of_the_choices_is_refused(
    words: str, expected: str
) -> None:
    with pytest.raises(InputError, match=f"^{expected}$"):
        cli.parse(Choices, "train", "", words.split())


def test_what_is_no_choice_is_left_to_the_parser(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = "--devices all --text=--preset --groups b a --cell-name gru".split()
    found = cli.parse(Choices, "train", "", words)
    assert found == Choices(Part("gru", "all"), groups=("b", "a"), text="--preset")
    assert cli.parse(Choices, "train", "", ["--preset", "None"]) == Choices()
    with pytest.raises(SystemExit) as ended:
        cli.parse(Choices, "train", "", ["--preset"])
    assert ended.value.code == 2 and "--preset" in capsys.readouterr().err


def test_who_interrupts_twice_sees_no_traceback() -> None:
    program = (
        "import atexit, os, signal\n"
        "from lstm_jax.cli import run_command\n"
        "again = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
        "atexit.register(again)\n"
        "run_command(again)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


@dataclasses.dataclass(frozen=True)
class Many:
    """Options of every kind."""

    run_dir: cli.RunDir
    data: tuple[Path, ...] = ()
    stop: tuple[str, ...] = ()
    rates: tuple[float, ...] = ()
    hidden: int | None = None
    prompt: str = ""
    json: bool = False
    learning_rate: float = 0.1
    part: Part = dataclasses.field(default_factory=Part)


def many(**given: object) -> Many:
    return Many(Path("run"), **given)  # pyrefly: ignore


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--data", "a", "--data", "b"], many(data=(Path("a"), Path("b")))),
        (["--stop=a", "--stop", "b", "c"], many(stop=("a", "b", "c"))),
        (["--stop", "--json", "--stop", "b"], many(json=True, stop=("b",))),
        (["--rates", "-1", "--rates=-2.5"], many(rates=(-1.0, -2.5))),
        (["--hidden", "3", "--json", "--json"], many(hidden=3, json=True)),
        (["--hidden", "3", "--hidden=3"], many(hidden=3)),
        (["--prompt", "- a b", "--stop", "- x", "--json"], None),
        (["--learning-rate", "1e-3", "--learning_rate=1e-3"], many(learning_rate=1e-3)),
        (["--devices", "all"], many(part=Part(devices="all"))),
    ],
)
def test_a_flag_given_twice_loses_nothing(
    words: list[str], expected: Many | None
) -> None:
    expected = expected or many(prompt="- a b", stop=("- x",), json=True)
    assert cli.parse(Many, "train", "", ["run", *words]) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--hidden 3 --hidden 4", "--hidden: expected one value, found 3 and 4"),
        ("--hidden 3 --json --hidden", "--hidden: expected one value, found 3 and"),
        ("--prompt a --prompt=b", "--prompt: expected one value, found a and b"),
        ("--cell-name gru --cell_name lstm", "--cell-name: expected one value, found"),
        ("--stop=-a --stop b", "--stop: expected it once, found it twice"),
        ("--json --no-json", "--no-json: expected it or --json, found both"),
    ],
)
def test_a_flag_given_twice_with_two_values_is_refused(
    words: str, message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        cli.parse(Many, "train", "", ["run", *words.split()])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run a.txt", "expected a flag before a.txt, found none; did you mean --data"),
        ("run a.txt b.txt --json", "did you mean --data a.txt b.txt?"),
        ("run --hidden 3 a.txt", "did you mean --data a.txt?"),
        ("run --json a.txt", "did you mean --data a.txt?"),
        ("run --hidden=3 a.txt", "did you mean --data a.txt?"),
        ("run --lr 1e-3", "--lr: no such flag; did you mean --learning-rate?"),
        ("run --hidden_size=3", "--hidden-size: no such flag; did you mean --hidden?"),
    ],
)
def test_what_was_meant_is_said(words: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        cli.parse(Many, "train", "", words.split())
    assert message in str(refused.value)


def test_a_flag_given_twice_counts_in_the_first_pass() -> None:
    found = cli.peek(Few, "train", "--data a --hidden 3 --data b --lr 1".split())
    assert found == Few(data=(Path("a"), Path("b")))
