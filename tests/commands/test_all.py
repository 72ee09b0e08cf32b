"""What all commands have in common: help, mistyped flags, damaged runs."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import (
    PATIENCE,
    assert_refused,
    call,
    contents,
    environment,
    read_json,
)


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
        done = call("generate", copied, "--prompt", "the", "--length", 3, cwd=cwd)
    elif command == "evaluate":
        done = call("evaluate", copied, cwd=cwd)
    else:
        done = call("train", "--run-dir", copied, "--resume", "--epochs", 9, cwd=cwd)
        done.stdout = ""  # the text is announced before the checkpoint is read
    assert_refused(done, message, str(copied))
    assert contents(copied.parent) == before


# Help.

HEAVY = {"jax", "jaxlib", "flax", "optax", "orbax", "matplotlib", "scipy"}
FLAGS = {
    "train": """--data --vocab --layers --cell --hidden --dropout --precision --engine
        --batch --mogrifier --capped-gate --top-only --length --learning-rate
        --weight-decay --ema --run-dir --epochs --max-seconds --seed --preset
        --checkpoint-seconds --checkpoint-steps --on-nan
        --patience --min-improvement --tensorboard --variational --input-dropout
        --weight-drop --recurrent-dropout --zoneout-hidden --zoneout-cell
        --label-smoothing --training-temperature
        --l1 --l2 --activation-penalty --temporal-penalty
        --resume --overwrite""",
    "generate": """RUN_DIR --prompt --prompts --length --temperature --top-k --top-p
        --min-p --repetition-penalty --repetition-window --no-repeat-ngram
        --beam --length-penalty --stop --samples --seed --json""",
    "evaluate": "RUN_DIR --data --dynamic --json",
    "inspect": "RUN_DIR --text --json",
    "crossval": """--data --folds --seeds --jointly --epochs --max-seconds --hidden
        --dropout --learning-rate --weight-drop --run-dir --overwrite""",
}


# Every --help, one after the other as a process of its own would answer it, and then
# the packages that were imported for it.
ALL_HELP = """
import contextlib, io, json, runpy, sys
answers = {}
for command in sys.argv[1:]:
    sys.argv = [command, "--help"]
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(said):
        try:
            name = f"lstm_jax.{command}"
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            code = ended.code
    imported = sorted({name.split(".")[0] for name in sys.modules})
    said.seek(0)
    answers[command] = code, said.read(), imported
print(json.dumps(answers))
"""


def test_help_answers_without_jax(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALL_HELP, *FLAGS],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    answers = json.loads(done.stdout)
    for command, flags in FLAGS.items():
        code, said, imported = answers[command]
        assert code == 0
        for flag in flags.split():
            described = said[said.index(f"\n  {flag}") + 1 :].split("\n  --")[0]
            assert len(described.split()) > 3, flag
        assert "(default: )" not in said and "(default: None)" not in said
        assert {"lstm_jax", "argparse"} <= {*imported}
        assert not {*imported} & HEAVY, command


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
    done = call(command, *given, cwd=place)
    assert_refused(done, f"no such flag; did you mean {meant}?")


@pytest.mark.parametrize(
    "given", [("--hidden", "many"), ("--precision", "float8"), ("--epochs", "1.5")]
)
def test_a_value_of_another_kind_is_refused(given: Sequence[str], place: Path) -> None:
    done = call("train", *given, cwd=place)
    assert_refused(done, f"{given[0]}: expected ", given[1])
