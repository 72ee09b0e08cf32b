"""The command line, read in two passes by one parser."""

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import jax.numpy as jnp
import pytest

from lstm_jax import cli
from lstm_jax.errors import InputError, device_trouble


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
        ("--run_dir=x --data c --run-dir y", Few((Path("c"),), Path("y"))),
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


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 GiB\n...",
            "error: out of memory on the device: a smaller --batch, --length or "
            "--hidden needs less, and so does --remat; checkpoints are kept "
            "[RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 GiB]",
        ),
        (
            "Unable to initialize backend 'cuda': CUDA driver version is "
            "insufficient for CUDA runtime version",
            "error: the NVIDIA driver is older than this CUDA needs",
        ),
        ("Unable to initialize backend 'tpu': UNKNOWN", "error: no device of the plat"),
    ],
)
def test_trouble_with_a_device_is_one_line(
    said: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise RuntimeError(said)

    with pytest.raises(SystemExit) as ended:
        cli.run_command(command)
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and line.startswith(expected)


def test_what_is_no_trouble_of_a_device_stays_an_error() -> None:
    def command() -> None:
        raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError, match="a mistake of ours"):
        cli.run_command(command)


def test_xla_out_of_memory_is_a_trouble_of_the_device() -> None:
    with pytest.raises(RuntimeError) as raised:
        jnp.zeros(2**46).block_until_ready()
    assert "--batch" in (device_trouble(raised.value) or "")
