"""The command line, read in two passes by one parser."""

import dataclasses
from pathlib import Path

import pytest

from lstm_jax import cli


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
