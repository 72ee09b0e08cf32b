"""The command line, read in two passes by one parser."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Literal

import jax.numpy as jnp
import pytest

import experiments
from experiments.__main__ import main as applications
from lstm_jax import cli
from lstm_jax.__main__ import main as commands
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
        ("--run_dir=x --data c", Few((Path("c"),), Path("x"))),
        ("--run-dir=~/x", Few(run_dir=Path.home() / "x")),
    ],
)
def test_the_first_pass_leaves_what_it_does_not_know(words: str, expected: Few) -> None:
    assert cli.peek(Few, "train", words.split()) == expected


def test_the_first_pass_refuses_what_it_knows() -> None:
    with pytest.raises(
        InputError, match=r"^--run-dir: expected a path, found nothing$"
    ):
        cli.peek(Few, "train", ["--hidden", "3", "--run-dir"])


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


def test_what_is_no_choice_is_read() -> None:
    words = "--devices all --text=--preset --groups b a --cell-name gru".split()
    found = cli.parse(Choices, "train", "", words)
    assert found == Choices(Part("gru", "all"), groups=("b", "a"), text="--preset")
    assert cli.parse(Choices, "train", "", ["--preset", "None"]) == Choices()


@dataclasses.dataclass(frozen=True)
class Inner:
    """The network."""

    hidden: int | None = None
    """Units of
    each layer. Default: by the text."""
    learning_rate: float = 4e-3
    """Peak of the schedule."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command with all kinds of flags.

    Args:
        pictures: draw them.
        data: text files, read one after the other,
            and no others.
        run_dir: a folder.
    """

    run_dir: cli.RunDir
    data: tuple[Path, ...] = ()
    prompt: str = ""
    numbers: tuple[int, ...] = (1, 2)
    devices: int | Literal["all"] | None = None
    inner: Inner = dataclasses.field(default_factory=Inner)
    quiet: bool = False
    pictures: bool = True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("x --hidden abc", "--hidden: expected a whole number, found 'abc'"),
        ("x --hidden 1.5", "--hidden: expected a whole number, found '1.5'"),
        ("x --hidden=", "--hidden: expected a whole number, found ''"),
        ("x --hidden --quiet", "--hidden: expected a whole number, found nothing"),
        ("x --learning-rate 1,5", "--learning-rate: expected a number, found '1,5'"),
        ("x --learning_rate x", "--learning-rate: expected a number, found 'x'"),
        ("x --numbers 1 b", "--numbers: expected a whole number, found 'b'"),
        ("x --devices most", "--devices: expected a whole number or all, found 'most'"),
        ("x --lr 3", "--lr: no such flag; did you mean --learning-rate?"),
        ("x --hiden 3", "--hiden: no such flag; did you mean --hidden?"),
        ("x --learn 3", "--learn: no such flag; did you mean --learning-rate?"),
        ("x --quiet=maybe", "--quiet: expected no value, found 'maybe'"),
        ("x --zzz", "--zzz: no such flag; --help lists them"),
        ("x --no-hidden", "--no-hidden: no such flag; did you mean --hidden?"),
        ("x y", "expected flags, found 'y'; did you mean --data y?"),
        ("", "expected RUN_DIR, found nothing"),
        (
            "x --prompt -y",
            "--prompt: expected a text, found nothing; a text that begins with -: "
            "--prompt=-y",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError) as raised:
        cli.parse(Command, "train", "", words.split())
    assert str(raised.value) == message
    printed = capsys.readouterr()
    assert printed.out == printed.err == ""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Options of which one takes two values."""

    corners: tuple[int, int] = (0, 1)


def test_what_the_parser_complains_of_is_one_line_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InputError, match=r"Unrecognized options: 3$") as raised:
        cli.parse(Pair, "train", "", ["--corners", "1", "2", "3"])
    assert "\n" not in str(raised.value) and "\u2500" not in str(raised.value)
    assert capsys.readouterr().err == ""


def test_all_kinds_of_flags_are_read() -> None:
    words = ["x", "--prompt", "- item", "--hidden", "-3", "--no-pictures", "--numbers"]
    found = cli.parse(Command, "train", "", [*words, "-1", "2"])
    assert found.prompt == "- item" and found.inner.hidden == -3
    assert found.numbers == (-1, 2) and found.data == () and not found.pictures


def test_a_flag_of_several_values_has_one() -> None:
    """As `--data $BOOK` has not if the shell knows no BOOK."""
    for words in (["x", "--data"], ["x", "--data", "--hidden", "3"]):
        with pytest.raises(
            InputError, match=r"^--data: expected a path, found nothing"
        ):
            cli.parse(Command, "train", "", words)


def test_help_is_filled_and_has_no_noise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    with pytest.raises(SystemExit) as ended:
        cli.parse(Command, "train", "What it\ndoes.\n\n    as it is", ["--help"])
    assert ended.value.code == 0
    expected = """\
        usage: python -m lstm_jax.train RUN_DIR [FLAGS]

        What it does.

            as it is

          RUN_DIR                   A folder.

          --data PATH ...           Text files, read one after the other, and
                                    no others.
          --prompt TEXT
          --numbers N ...           (default: 1 2)
          --devices N|all
          --quiet
          --no-pictures             Turn off: draw them. (on by default)

        The network:
          --hidden N                Units of each layer. Default: by the text.
          --learning-rate X         Peak of the schedule. (default: 0.004)
        """
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in lines] == textwrap.dedent(expected).splitlines()


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_the_package_lists_its_commands(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    commands(words)
    lines = capsys.readouterr().out.splitlines()
    for name in ("train", "evaluate", "generate", "inspect", "crossval", "convert"):
        (line,) = (line for line in lines if line.split()[:1] == [name])
        assert len(line.split()) > 3 and "`" not in line


def test_the_package_runs_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        commands(["generate", "--help"])
    assert "python -m lstm_jax.generate RUN_DIR" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"expected one of train, .*found 'tarin'"):
        commands(["tarin"])


def test_experiments_list_the_applications(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        applications(["--help"])
    out = capsys.readouterr().out
    for path in Path(experiments.__file__).parent.glob("*/__main__.py"):
        assert f"\n  {path.parent.name} " in out


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


def test_a_platform_without_its_plugin_or_driver_is_one_line() -> None:
    program = "import jax, lstm_jax.cli; lstm_jax.cli.run_command(jax.devices)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": "none"},
    )
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert done.returncode == 2
    assert line.startswith("error: JAX_PLATFORMS=cuda: expected such a device, found")


def test_what_is_no_trouble_of_a_device_stays_an_error() -> None:
    def command() -> None:
        raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError, match="a mistake of ours"):
        cli.run_command(command)


def test_xla_out_of_memory_is_a_trouble_of_the_device() -> None:
    with pytest.raises(RuntimeError) as raised:
        jnp.zeros(2**46).block_until_ready()
    assert "--batch" in (device_trouble(raised.value) or "")


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


def test_a_flag_given_twice_counts_in_the_first_pass() -> None:
    found = cli.peek(Few, "train", "--data a --hidden 3 --data b --rate 1".split())
    assert found == Few(data=(Path("a"), Path("b")))


def test_python_does_not_look_through_everything_at_the_end() -> None:
    program = (
        "import atexit, gc\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0))\n"
        "from lstm_jax.cli import run_command\n"
        "run_command(lambda: 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
