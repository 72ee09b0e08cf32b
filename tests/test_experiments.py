"""What all applications share: smoke runs, and the table of their results."""

import dataclasses
import importlib
import json
import re
from pathlib import Path

import pytest
from experiment_runs import run

from experiments import __main__ as table
from experiments.text_generation import changes_of
from lstm_jax import (
    InputError,
    Result,
    command_line,
    new_experiment,
    read_result,
    run_experiment,
    write_result,
)
from lstm_jax.claim import WRITTEN

FOLDER = Path(table.__file__).parent
NO_APPLICATION = {"__init__", "__main__", "hello_world"}
APPLICATIONS = sorted({path.stem for path in FOLDER.glob("*.py")} - NO_APPLICATION)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_smoke_run_leaves_what_a_run_leaves(name: str, tmp_path: Path) -> None:
    done = run(name, "--smoke", "--run-dir", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result = read_result(tmp_path / "new")
    assert json.loads(done.stdout.splitlines()[-1]) == dataclasses.asdict(result)
    assert f"experiments.{name} " in result.command and "--smoke" in result.command
    assert re.search(r"\d", result.ours) and re.search(r"\d", result.floor)
    kept = {path.name for path in (tmp_path / "new").rglob("*.*")}
    own, ours = {"model.npz", "settings.json"}, {"model.safetensors", "config.json"}
    assert own <= kept or ours <= kept
    assert [name for name in kept if name.endswith(".png")]
    # A second run replaces it on request, and then all of it.
    before = contents(tmp_path)
    again = run(name, "--smoke", "--run-dir", tmp_path / "new")
    assert again.returncode == 2 and contents(tmp_path) == before
    assert again.stderr == (
        f"error: {tmp_path}/new: expected a new folder, found a run of {name}; "
        "--overwrite replaces it\n"
    )
    with new_experiment(name, tmp_path / "new", overwrite=True):
        assert [path.name for path in (tmp_path / "new").iterdir()] == [
            "experiment.json"
        ]


@pytest.mark.parametrize("name", APPLICATIONS)
def test_nonsense_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    done = run(name, "--data", missing, "--run-dir", tmp_path / "new")
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"error: .*missing.*\n", done.stderr), done.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_place_that_cannot_be_written_to_is_found_before_training(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = run(name, "--smoke", "--run-dir", tmp_path / "file" / "run")
    assert done.returncode == 2 and done.stdout == ""
    place = re.escape(str(tmp_path / "file" / "run"))
    expected = f"error: {place}: expected a folder to write to: Not a directory\n"
    assert re.fullmatch(expected, done.stderr), done.stderr


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_has_overwrite_and_names_of_its_own(name: str) -> None:
    assert WRITTEN[name]
    options = importlib.import_module(f"experiments.{name}").Options
    asked = options(smoke=True, overwrite=True, run_dir=Path("x"))
    assert command_line(name, asked) == f"python -m experiments.{name} --smoke"
    asked = dataclasses.replace(asked, smoke=False)
    assert command_line(name, asked) == f"python -m experiments.{name}"


def contents(path: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def a_result(
    task: str = "some task",
    ours: str = "some ours",
    protocol: str = "some protocol",
    command: str = "some command",
) -> Result:
    return Result(
        task=task,
        data="some data",
        licence="some licence",
        protocol=protocol,
        metric="some metric",
        ours=ours,
        floor="some floor",
        published="some published",
        best_known="some best_known",
        minutes=12.34,
        command=command,
    )


def test_a_row_says_all_of_a_result() -> None:
    *_, row = table.table([a_result(protocol="a | b\nc")]).splitlines()
    assert row == (
        r"| some task | some data, some licence | a \| b c | some metric: **some ours**"
        " | some floor | some published | some best_known | 12.3 | `some command` |"
    )


def test_the_table_takes_in_runs_and_leaves_the_prose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "FOLDER", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    write_result(tmp_path / "run1", a_result(task="Task: ONE", ours="0.1"))
    write_result(tmp_path / "run2", a_result(task="Task: two", ours="0.2"))
    table.main([str(tmp_path / "run1"), str(tmp_path / "run2")])
    write_result(tmp_path / "run1", a_result(task="Task: ONE", ours="0.3"))
    table.main([str(tmp_path / "run1")])
    rows = [
        a_result(task="Task: ONE", ours="0.3"),
        a_result(task="Task: two", ours="0.2"),
    ]
    expected = f"{table.BEGIN}\n\n{table.table(rows)}\n\n{table.END}"
    assert readme.read_text() == f"before\n{expected}\nafter\n"
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "task-one",
        "task-two",
    }


def test_smoke_runs_and_unfinished_runs_do_not_get_into_the_table(
    tmp_path: Path,
) -> None:
    write_result(tmp_path / "good", a_result())
    write_result(tmp_path / "smoke", a_result(command="python -m x --smoke"))
    for bad in ("smoke", "none"):
        with pytest.raises(InputError, match=f"{bad}.*: expected"):
            table.take_in([tmp_path / "good", tmp_path / bad], tmp_path / "results")
    assert not (tmp_path / "results").exists()


@dataclasses.dataclass(frozen=True)
class Options:
    """Some options."""

    size: int = 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [("", ("learn", 1)), ("--size 2", ("learn", 2)), ("predict", ("predict", 1))],
)
def test_the_first_word_chooses_what_is_done(words: str, expected: tuple) -> None:
    done = []
    run_experiment(
        "some",
        "help",
        words.split(),
        learn=(Options, lambda options: done.append(("learn", options.size))),
        predict=(Options, lambda options: done.append(("predict", options.size))),
    )
    assert done == [expected]


def test_the_table_in_the_readme_is_what_the_results_say() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert table.rewritten(text, FOLDER / "results") == text
    assert text.count(table.BEGIN) == text.count(table.END) == 1


def test_an_ablation_changes_what_the_preset_is_not_already() -> None:
    changes = {*changes_of("shakespeare-3min", ("cell", "optimizer", "regularizers"))}
    assert {"--dropout 0", "--average 0", "--mogrifier 0", "--top-only"} <= changes
    assert {"--no-variational", "--precision float32"} <= changes
    assert "--weight-drop 0" not in changes
    assert "--weight-drop 0" in changes_of("shakespeare-60min", ("regularizers",))
    assert "--mogrifier 0" not in changes_of("shakespeare-3min", ("regularizers",))
