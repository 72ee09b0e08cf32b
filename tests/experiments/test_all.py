"""What all applications share: smoke runs, and the table of their results."""

import dataclasses
import importlib
import inspect
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import __main__ as table
from experiments import known_data
from experiments.cli import command_line, run_experiment
from experiments.known_data import Benchmark
from experiments.results import (
    DataFile,
    Result,
    read_result,
    write_result,
)
from experiments.text_generation.__main__ import changes_of
from lstm_jax import InputError
from lstm_jax.config import Range, RunConfig
from lstm_jax.data import WindowSpec
from lstm_jax.lm.claim import WRITTEN
from tests.helpers.experiment_runs import (
    assert_complete,
    assert_replaced_on_request,
    call,
    run,
)

FOLDER = Path(table.__file__).parent
BY_DATA = {"folds", "reads", "seasons", "processes", "process"}
APPLICATIONS = sorted(path.parent.name for path in FOLDER.glob("*/__main__.py"))


def test_a_smoke_run_leaves_what_a_run_leaves(tmp_path: Path) -> None:
    """In a process of its own; of the others see `test_interrupted`."""
    run_dir = tmp_path / "new"
    done = run("text_generation", "--smoke", "--run-dir", run_dir)
    assert_complete("text_generation", run_dir, done)
    assert_replaced_on_request("text_generation", run_dir)


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
    done = call(name, "--smoke", "--run-dir", tmp_path / "file" / "run")
    assert done.returncode == 2 and done.stdout == ""
    place = re.escape(str(tmp_path / "file" / "run"))
    expected = f"error: {place}: expected a folder to write to: Not a directory\n"
    assert re.fullmatch(expected, done.stderr), done.stderr


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_has_overwrite_and_names_of_its_own(name: str) -> None:
    assert WRITTEN[name]
    options = importlib.import_module(f"experiments.{name}.__main__").Options
    run = dataclasses.replace(options().run, overwrite=True, run_dir=Path("x"))
    asked = options(smoke=True, run=run)
    assert command_line(name, asked) == f"python -m experiments.{name} --smoke"
    asked = dataclasses.replace(asked, smoke=False)
    assert command_line(name, asked) == f"python -m experiments.{name}"


@pytest.mark.parametrize("name", APPLICATIONS)
@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_help_is_about_what_was_asked(
    name: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = importlib.import_module(f"experiments.{name}.__main__")
    with pytest.raises(SystemExit):
        experiment.main([verb, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    options = getattr(experiment, f"{verb.capitalize()}Options")
    about = inspect.cleandoc(options.__doc__ or "").split("\n\nArgs:")[0]
    assert " ".join(about.split()) in shown
    assert f"{name} {verb} --help" not in shown and "--max-seconds" not in shown


def unbounded(hint: object) -> bool:
    """Whether an annotation has a number without bounds in it."""
    if hint in (int, float):
        return True
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return any(map(unbounded, hints_of(hint).values()))
    bounded = any(isinstance(part, Range) for part in typing.get_args(hint))
    return not bounded and any(map(unbounded, typing.get_args(hint)))


def hints_of(options: type) -> dict[str, object]:
    """The annotations of a dataclass, bounds included."""
    found = typing.get_type_hints(options, include_extras=True)
    # Bounded by what is in the files, and by each other: `check_window_spec`,
    # `check_cluster`.
    return {name: found[name] for name in found if name not in BY_DATA}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_every_number_of_an_application_has_bounds(name: str) -> None:
    experiment = importlib.import_module(f"experiments.{name}.__main__")
    assert not unbounded(experiment.Options)
    assert not unbounded(experiment.EvaluateOptions)
    assert not unbounded(experiment.PredictOptions)


@pytest.mark.parametrize("name", sorted({*APPLICATIONS} - {"text_generation"}))
@pytest.mark.parametrize("seconds", ["0", "-5", "nan", "inf"])
def test_a_budget_that_is_none_is_refused(name: str, seconds: str) -> None:
    """Before anything is read: there are no such data."""
    experiment = importlib.import_module(f"experiments.{name}.__main__")
    words = ["--data", "/nowhere", "--max-seconds", seconds]
    with pytest.raises(InputError, match=r"^--max-seconds: expected a positive"):
        experiment.main(words)


@pytest.mark.parametrize(
    "words", ["--length -1", "--temperature -1", "--temperature nan", "--seed -1"]
)
def test_numbers_without_sense_are_refused_by_predict(words: str) -> None:
    """Before the model is opened: there is none."""
    experiment = importlib.import_module("experiments.text_generation.__main__")
    flag, value = words.split()
    with pytest.raises(InputError, match=f"^{flag}: expected .*, found {value}"):
        experiment.main(["predict", "/nowhere", "ROMEO:", flag, value])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sentiment", "predict nowhere {mine} --out {mine}"),
        ("sentiment", "predict nowhere --data {mine} --out {mine}"),
        ("sentiment", "evaluate nowhere --data {mine} --out {mine}"),
        ("translate", "predict nowhere text {mine} --out {link}"),
        ("translate", "predict nowhere text --references {mine} --out {mine}"),
        ("translate", "evaluate nowhere --data other.csv {mine} --out {mine}"),
        ("forecast", "predict nowhere {mine} --out {mine}"),
        ("forecast", "evaluate nowhere --data {link} --out {mine}"),
        ("music", "predict nowhere {piece} --out {piece}"),
    ],
)
def test_what_is_read_is_not_written_over(
    name: str, words: str, tmp_path: Path
) -> None:
    """Found out first: there is no run."""
    paths = {"mine": tmp_path / "mine.csv", "piece": tmp_path / "a.json"}
    for path in paths.values():
        path.write_text("text\nmine\n")
    (tmp_path / "link.csv").symlink_to(paths["mine"])
    given = words.format(**paths, link=tmp_path / "link.csv").split()
    experiment = importlib.import_module(f"experiments.{name}.__main__")
    with pytest.raises(InputError, match=r"^--out: expected another file than .*input"):
        experiment.main(given)
    assert all(path.read_text() == "text\nmine\n" for path in paths.values())


KNOWN = DataFile("known.txt", 5, "0123456789abcdef")
BENCHMARK = Benchmark(
    task="Task",
    protocol="some protocol",
    data="some data",
    licence="some licence",
    published="some published",
    best_known="some best_known",
    sha256=("0123456789abcdef",),
)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """One benchmark, of one file."""
    monkeypatch.setattr(known_data, "BENCHMARKS", (BENCHMARK,))


def a_result(
    task: str = "some task",
    ours: str = "some ours",
    protocol: str = "some protocol",
    command: str = "some command",
    files: tuple[DataFile, ...] = (KNOWN,),
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
        files=files,
    )


def test_a_row_says_all_of_a_result() -> None:
    *_, row = table.table([a_result(protocol="a | b\nc")]).splitlines()
    assert row == (
        r"| some task | some data, some licence | a \| b c | some metric: **some ours**"
        " | some floor | some published | some best_known | 12.3 | `some command` |"
    )


@pytest.mark.usefixtures("known")
def test_the_table_takes_in_runs_and_leaves_the_prose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "FOLDER", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    write_result(tmp_path / "run1", a_result(task="Task, ONE", ours="0.1"))
    write_result(tmp_path / "run2", a_result(task="Task, two", ours="0.2"))
    table.main([str(tmp_path / "run1"), str(tmp_path / "run2")])
    write_result(tmp_path / "run1", a_result(task="Task, ONE", ours="0.3"))
    table.main([str(tmp_path / "run1")])
    rows = [
        a_result(task="Task, ONE", ours="0.3"),
        a_result(task="Task, two", ours="0.2"),
    ]
    expected = f"{table.BEGIN}\n\n{table.table(rows)}\n\n{table.END}"
    assert readme.read_text() == f"before\n{expected}\nafter\n"
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "task-one",
        "task-two",
    }


OTHER = dataclasses.replace(KNOWN, sha256="fedcba9876543210")


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (None, "expected a finished run"),
        ({"files": ()}, r"expected some data \(sha256 01234567\), found .* unknown\)"),
        ({"files": (OTHER,)}, r"01234567\), found Task: some data \(sha256 fedcba98\)"),
        ({"files": (KNOWN, OTHER)}, r"found .*01234567 fedcba98\)"),
        (
            {"protocol": "some protocols"},
            "expected Task, some protocol, found Task, s",
        ),
        ({"task": "Tasks"}, "expected a task of the benchmarks, found Tasks: some"),
    ],
)
def test_what_is_no_benchmark_does_not_get_into_the_table(
    changed: dict | None, message: str, tmp_path: Path
) -> None:
    """Not even beside a good run, and whatever it calls itself."""
    write_result(tmp_path / "good", a_result(task="Task"))
    if changed is not None:
        row = dataclasses.replace(a_result(task="Task"), **changed)
        write_result(tmp_path / "bad", row)
    with pytest.raises(InputError, match=f"bad.*{message}") as raised:
        table.take_in([tmp_path / "good", tmp_path / "bad"], tmp_path / "results")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "results").exists()


def test_a_benchmarks_name_takes_its_data_and_its_protocol(known: None) -> None:
    named = known_data.described("Task, x", "some protocol, y", [KNOWN], "own.txt")
    assert named == {
        "task": "Task, x",
        "protocol": "some protocol, y",
        "files": (KNOWN,),
        "data": "some data",
        "licence": "some licence",
        "published": "some published",
        "best_known": "some best_known",
    }
    for files, protocol in (([OTHER], "some protocol"), ([KNOWN], "another")):
        found = known_data.described("Task", protocol, files, "own.txt")
        assert found["data"] == "own.txt" and found["files"] == tuple(files)
        assert {found[k] for k in ("licence", "published", "best_known")} == {"-"}


def test_the_rows_of_the_table_are_those_of_benchmarks() -> None:
    rows = [read_result(path.parent) for path in FOLDER.glob("results/*/result.json")]
    for known in known_data.BENCHMARKS:
        assert any(known.is_for(row.task) for row in rows), known.task
    for row in rows:
        assert known_data.refusal(row) is None, row.task
        words = known_data.described(row.task, row.protocol, row.files, "own")
        assert {name: getattr(row, name) for name in words} == words
        assert all(file.bytes for file in row.files)


def row_of(
    name: str, files: Sequence[DataFile], **options: object
) -> dict[str, str | int]:
    """What an experiment says of a run that scored this and that, with these files."""
    experiment = importlib.import_module(f"experiments.{name}.__main__")
    if name == "forecast":
        options = {"frame": WindowSpec(), **options}  # as M4's run has it
    given = dataclasses.replace(experiment.Options(), **options)
    if name == "forecast":
        scores = {"LSTM": "0.4", "seasonal naive": "0.6"}
        return dataclasses.asdict(experiment.result(given, scores, 1.0, 9, files))
    if name == "translate":
        bleu = SimpleNamespace(name="BLEU", score=40.0)
        return dataclasses.asdict(experiment.result(given, files, *[bleu] * 3, 1.0))
    losses = {each: {"loss": 1.4} for each in ("window256", "stream")}
    summary = {"validation": losses, "seconds": {"loop": 180.0}}
    return dataclasses.asdict(experiment.result(given, [summary], 1.7, files))


def files_of(task: str) -> list[DataFile]:
    (known,) = (b for b in known_data.BENCHMARKS if b.task == task)
    return [DataFile(f"file{k}", 1, sum) for k, sum in enumerate(known.sha256)]


@pytest.mark.parametrize(
    ("name", "task", "usual", "changed"),
    [
        ("forecast", "time-series prediction", {}, {"validate": True}),
        ("forecast", "time-series prediction", {}, {"frame": WindowSpec(24)}),
        ("text_generation", "Text generation", {}, {"vocab": "byte"}),
        (
            "translate",
            "Machine translation, de to en",
            {"data": (Path("x"),)},
            {"capitals": True},
        ),
        (
            "translate",
            "Machine translation, de to en",
            {"data": (Path("x"),)},
            {"test": "test_2017"},
        ),
    ],
)
def test_whose_data_a_row_is_about(
    name: str, task: str, usual: dict, changed: dict
) -> None:
    files = files_of(task)
    row = row_of(name, files, **usual)
    assert "-" not in {row["licence"], row["published"], row["best_known"]}
    own = [*files[:-1], dataclasses.replace(files[-1], sha256="other")]
    for found in (row_of(name, own, **usual), row_of(name, files, **usual | changed)):
        assert {found["licence"], found["published"], found["best_known"]} == {"-"}
        assert "file0" in str(found["data"])
        assert (found["ours"], found["floor"]) == (row["ours"], row["floor"])


def test_a_text_that_is_soon_known_is_named_after_its_time() -> None:
    """A run that may take an hour ends sooner if more passes would not help."""
    files = files_of("Text generation")
    rows = [
        row_of("text_generation", files, run=RunConfig(max_seconds=seconds))
        for seconds in (3600.0, None)
    ]
    names = [row["task"] for row in rows]
    assert names == ["Text generation, 60 minutes", "Text generation, 3 minutes"]


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        (["small.en", "small.de"], {}, "en to de"),
        (["train.fr", "train.es", "v", "v", "t", "t"], {"languages": ("fr", "es")}, ""),
        (["a.txt", "b.txt"], {}, "a to b"),
        (["a.txt", "b.txt"], {"languages": ("fr", "es")}, "fr to es"),
        (["source", "target.en"], {}, "source to en"),
        ([], {"smoke": True}, "de to en"),
    ],
)
def test_the_languages_are_the_users_own(
    names: list[str], given: dict, expected: str
) -> None:
    row = row_of("translate", [DataFile(name, 1, "x") for name in names], **given)
    assert row["task"] == f"Machine translation, {expected or 'fr to es'}"
    assert row["data"] == (" ".join(names) or "generated")


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
    assert {"--dropout 0", "--ema 0", "--mogrifier 0", "--top-only"} <= changes
    assert {"--no-variational", "--precision float32"} <= changes
    assert "--weight-drop 0" not in changes
    assert "--weight-drop 0" in changes_of("shakespeare-60min", ("regularizers",))
    assert "--mogrifier 0" not in changes_of("shakespeare-3min", ("regularizers",))
