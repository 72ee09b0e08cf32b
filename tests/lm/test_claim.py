"""Whose a folder is: what of the user's is never touched, what a run leaves to no one.

The runs here are files with the right names and records; what real ones leave is held
against the same table in `test_experiments`, `test_commands` and `test_text_folds`.
"""

import errno
import json
import re
import tempfile
from pathlib import Path

import pytest

from lstm_jax.cli import parse
from lstm_jax.config import RunConfig, expanded
from lstm_jax.errors import InputError
from lstm_jax.lm.claim import RUN, WRITTEN, Claim, default_folder
from lstm_jax.lm.config import TrainConfig, save_config
from lstm_jax.storage.files import seal
from lstm_jax.training.history import HistoryRow
from lstm_jax.training.tensorboard import TensorBoardWriter
from tests.helpers.experiment_runs import new_experiment
from tests.helpers.tiny_models import create_run

APPLICATIONS = sorted(set(WRITTEN) - {RUN})
ROW = dict.fromkeys(
    ("task", "data", "licence", "protocol", "metric", "ours", "floor", "published"), "x"
)


def fill(path: Path, *names: str) -> None:
    """Files that hold their names."""
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)


def contents(path: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {
        found.relative_to(path).as_posix(): found.read_bytes()
        for found in sorted(path.rglob("*"))
        if found.is_file()
    }


def make_run(path: Path, kind: str = RUN, *more: str) -> Path:
    """A folder with the record of a run of this kind, and more files."""
    path.mkdir(parents=True, exist_ok=True)
    if kind == RUN:
        save_config(TrainConfig(), path / "config.json")
        more = ("vocab.json", *more)
    else:
        record = {"format": 1, "experiment": kind}
        (path / "experiment.json").write_text(json.dumps(seal(record)))
        more = ("model.npz", *more)
    fill(path, *more)
    return path


# Only a run is replaced.

FOREIGN = {
    "empty object": "{}",
    "Hugging Face": '{"model_type": "bert", "hidden_size": 768}',
    "format only": '{"format": 1}',
    "list": "[]",
    "nothing": "",
    "no JSON": "// settings\n{}",
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["config.json", "experiment.json", "result.json"])
@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_other_peoples_records_make_no_run(
    text: str, name: str, overwrite: bool, tmp_path: Path
) -> None:
    fill(tmp_path, "notes/thesis.txt", "pytorch_model.bin", "samples.txt")
    (tmp_path / name).write_text(text)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="expected an empty folder or a run") as raised:
        create_run(tmp_path, overwrite)
    assert "\n" not in str(raised.value) and "--overwrite" not in str(raised.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", [RUN, "sentiment"])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_record_is_refused(kind: str, damage: str, tmp_path: Path) -> None:
    make_run(tmp_path, kind, "model.npz")
    path = tmp_path / ("config.json" if kind == RUN else "experiment.json")
    text = path.read_text()
    changed = text.replace('"format": 1', '"format": 2')
    path.write_text(text[: len(text) // 2] if damage == "cut" else changed)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"or a damaged run: .*damaged file") as raised:
        create_run(tmp_path, overwrite=True)
    assert "\n" not in str(raised.value) and path.name in str(raised.value)
    assert contents(tmp_path) == before


def test_a_run_of_an_application_older_than_its_record(tmp_path: Path) -> None:
    command = "python -m experiments.forecast --data my.csv"
    fill(tmp_path, "model.npz", "forecasts.csv", "notes.txt")
    row = ROW | {"best_known": "x", "minutes": 1.0, "command": command}
    (tmp_path / "result.json").write_text(json.dumps(row))
    with pytest.raises(InputError, match="found a run of forecast; --overwrite"):
        create_run(tmp_path)
    with new_experiment("forecast", tmp_path, overwrite=True):
        assert set(contents(tmp_path)) == {"notes.txt", "experiment.json"}


def test_the_message_says_what_can_be_done(tmp_path: Path) -> None:
    make_run(tmp_path / "trained")
    make_run(tmp_path / "forecast", "forecast")
    for name, resumes, expected in (
        ("trained", True, "found a run; --resume continues it, --overwrite replaces"),
        ("trained", False, "found a run; --overwrite replaces it"),
        ("forecast", True, "found a run of forecast; --overwrite replaces it"),
    ):
        with pytest.raises(InputError, match=expected):
            Claim(tmp_path / name, resumes=resumes).check()


# Only what a run writes is removed.


def examples(kind: str) -> list[str]:
    """A file for each name that a run of this kind writes, and its draft."""
    names = [name.replace("#", "12").replace("*", "x-1.y") for name in WRITTEN[kind]]
    return [*names, *(f"{name}.draft" for name in names)]


@pytest.mark.parametrize("kind", WRITTEN)
def test_all_that_a_run_writes_is_removed(kind: str, tmp_path: Path) -> None:
    fill(tmp_path, *examples(kind))
    (tmp_path / "checkpoints" / "3.draft").mkdir(parents=True)
    make_run(tmp_path, kind)
    with Claim(tmp_path, kind, overwrite=True).held():
        left = {path.name for path in tmp_path.iterdir()}
        assert left <= set() if kind == RUN else {"checkpoints"}


@pytest.mark.parametrize("kind", WRITTEN)
def test_all_else_stays_and_is_named(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = (
        *("a/config.json", "a/deep/metrics.jsonl", "notes.txt", "my/model.npz"),
        *("checkpoints/12/notes", "checkpoints/readme", "inspect/mine.png"),
        *("tensorboard/events", "corpus.npy.bak", "checkpoints/best/model.safetensors"),
        *("seed-0/notes.txt", "old/curves.png", "isolated/my.wav", ".hidden"),
    )
    fill(tmp_path / "run", *own, *examples(kind))
    make_run(tmp_path / "run", kind)
    with Claim(tmp_path / "run", kind, overwrite=True).held():
        assert set(contents(tmp_path / "run")) == set(own)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"note: {tmp_path}/run: .hidden, a/config.json, a/deep/metrics.jsonl and 11 "
        "more stay; only files of runs are replaced"
    )


@pytest.mark.parametrize(
    ("names", "said"),
    [(["b"], "b stays"), (["b", "c"], "b and c stay"), (["b", "c", "d"], "b, c and d")],
)
def test_a_note_in_good_english(
    names: list[str], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_run(tmp_path / "run", RUN, *names)
    create_run(tmp_path / "run", overwrite=True)
    assert f"run: {said}" in caplog.text


def test_a_clean_run_has_no_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    create_run(make_run(tmp_path / "run"), overwrite=True)
    assert not caplog.records and not any((tmp_path / "run").iterdir())


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_removal_cut_short_leaves_a_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which can be replaced then, and is not taken for a folder of other files."""
    fill(tmp_path, *examples(kind))
    make_run(tmp_path, kind)
    unlink, count = Path.unlink, len(contents(tmp_path))

    def failing(path: Path, missing_ok: bool = False) -> None:
        if len(contents(tmp_path)) == count - 3:
            raise OSError(errno.EIO, "Input/output error")
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", failing)
        with pytest.raises(InputError, match="could not be written: Input/output"):
            create_run(tmp_path, overwrite=True)
    assert len(contents(tmp_path)) == count - 3
    create_run(tmp_path, overwrite=True)
    assert not contents(tmp_path)


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    fill(tmp_path / "disk", "12/model.safetensors")
    make_run(tmp_path / "run")
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "disk")
    (tmp_path / "run" / "mine").symlink_to(tmp_path / "disk")
    create_run(tmp_path / "run", overwrite=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine"]
    assert set(contents(tmp_path / "disk")) == {"12/model.safetensors"}


@pytest.mark.parametrize("name", ["samples.txt/mine", "checkpoints", "seed-0"])
def test_a_users_file_is_not_written_over(name: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run", RUN, name)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=f"found {name.split('/')[0]}"):
        create_run(tmp_path / "run", overwrite=True)
    assert contents(tmp_path) == before


def test_a_file_that_another_kind_writes_is_not_written_over(tmp_path: Path) -> None:
    make_run(tmp_path / "run", RUN, "forecasts.csv")
    with pytest.raises(InputError, match=r"found forecasts\.csv"):
        Claim(tmp_path / "run", "forecast", overwrite=True).check()
    Claim(tmp_path / "run", "sentiment", overwrite=True).check()


def test_events_of_others_stay(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    fill(tmp_path, "events.out.tfevents.1.host", "mine/events.out.tfevents.1", "notes")
    board = TensorBoardWriter(tmp_path)
    board.on_row(HistoryRow(1, 1.0, 1, 1.0, 0.1, 1.0, 1.0, {"loss": 1.0}))
    board.end()
    left = contents(tmp_path)
    assert {"mine/events.out.tfevents.1", "notes"} <= set(left)
    assert "events.out.tfevents.1.host" not in left


# A run has a place of its own.


@pytest.mark.parametrize("kind", [RUN, "forecast"])
@pytest.mark.parametrize("inner", [RUN, "forecast"])
def test_no_run_is_around_another(inner: str, kind: str, tmp_path: Path) -> None:
    """As where runs/ itself was once taken for a run."""
    runs = make_run(tmp_path / "runs", kind)
    make_run(runs / "deep" / "mine", inner)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="expected no other run in it, found deep/mi"):
        create_run(runs, overwrite=True)
    with pytest.raises(InputError, match="expected a folder outside of other runs"):
        create_run(runs / "another")
    assert contents(tmp_path) == before


def test_the_runs_of_an_application_are_its_own(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", "text_generation")
    make_run(path / "seed-0")
    make_run(path / "ablation" / "mogrifier-0")
    create_run(path / "seed-1")
    with Claim(path, "text_generation", overwrite=True).held():
        assert not any(path.iterdir())


def test_where_one_lives_is_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home" / "me").mkdir(parents=True)
    (tmp_path / "work" / "here").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    monkeypatch.chdir(tmp_path / "work" / "here")
    for path, found in (
        (".", "found the current directory"),
        ("..", "found one around the current directory"),
        ("../here", "found the current directory"),
        (tmp_path / "home" / "me", "found the home directory"),
        (tmp_path / "home", "found one around the home directory"),
    ):
        with pytest.raises(InputError, match=f"a folder of its own .*{found}"):
            create_run(Path(path), overwrite=True)
    create_run(Path("run"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my.text.txt", "my"),
        ("some/where/text.txt.gz", "text"),
        (".bash_history", "bash_history"),
        ("/home/me/.bash_history", "bash_history"),
        ("..hidden.txt", "hidden"),
        ("...", "text"),
        ("..", "text"),
        (".", "text"),
        ("/", "text"),
        ("-", "text"),
        ("--", "text"),
        ("~", "text"),
        (" .txt", "txt"),
        ("/dev/stdin", "stdin"),
        ("a b.txt", "a b"),
        ("-rf.txt", "rf"),
        ("~me.txt", "me"),
    ],
)
def test_a_default_folder_is_one_in_runs(name: str, expected: str) -> None:
    found = default_folder([Path(name), Path("other")])
    assert found == Path("runs") / expected
    crossval = default_folder([Path(name)], "-crossval")
    assert crossval == Path("runs") / f"{expected}-crossval"


def test_a_tilde_is_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/x") == expanded(Path("~/x")) == tmp_path / "x"
    for name in ("x", "/x", "x/~", "~nobody-of-this-name", "~$thesis.txt"):
        assert expanded(name) == Path(name)
    given = ["--data=~/a.txt", "--data", "~/a.txt", "/b.txt", "--run-dir=~/runs/x"]
    config = parse(TrainConfig, "train", "", given[1:])
    assert config.text.data == (tmp_path / "a.txt", Path("/b.txt"))
    assert config.run == RunConfig(run_dir=tmp_path / "runs" / "x")


# What can't be written to.


def test_a_place_that_cannot_be_written_to_is_found_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run")
    before = contents(tmp_path)

    def refused(*given: object, **named: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    for path in (tmp_path / "run", tmp_path / "a" / "b"):
        with pytest.raises(InputError, match="write to: Read-only file system"):
            Claim(path, overwrite=True).check()
    assert contents(tmp_path) == before and not (tmp_path / "a").exists()


def test_trying_leaves_nothing(tmp_path: Path) -> None:
    Claim(tmp_path / "a" / "b").check()
    Claim(tmp_path).check()
    assert not any(tmp_path.iterdir())


# What is undone.


def failing(claim: Claim, error: BaseException, *names: str) -> None:
    """A run that writes some files and then fails."""
    with pytest.raises(type(error)), claim.held():
        fill(claim.path, *names)
        raise error


BEGINNING = ("config.json", "vocab.json", "corpus.npy", "checkpoints/0/record.json")


@pytest.mark.parametrize("error", [InputError("x"), RuntimeError("out of memory")])
def test_what_fails_at_once_leaves_nothing(error: Exception, tmp_path: Path) -> None:
    failing(Claim(tmp_path / "a" / "b"), error, *BEGINNING)
    assert not any(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    failing(Claim(tmp_path / "a" / "b"), error, *BEGINNING)
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]
    (tmp_path / "a" / "b").mkdir()
    failing(Claim(tmp_path / "a" / "b"), error, *BEGINNING)
    assert (tmp_path / "a" / "b").is_dir() and not contents(tmp_path)


def test_what_is_undone_is_what_was_made(tmp_path: Path) -> None:
    failing(Claim(tmp_path / "new"), InputError("x"), *BEGINNING, "notes.txt")
    assert set(contents(tmp_path / "new")) == {"notes.txt"}


@pytest.mark.parametrize("left", ["config.json.draft", "config.json"])
def test_what_fails_beside_files_of_the_users_can_be_tried_again(
    left: str, tmp_path: Path
) -> None:
    """Were nothing left but these, the folder would be none for runs any more."""
    make_run(tmp_path / "run", RUN, "notes.txt")
    with pytest.raises(InputError), Claim(tmp_path / "run", overwrite=True).held():
        if left == "config.json":
            make_run(tmp_path / "run")
        (tmp_path / "run" / left).touch()
        raise InputError("x")
    with pytest.raises(InputError, match="found a run; --overwrite"):
        create_run(tmp_path / "run")
    create_run(tmp_path / "run", overwrite=True)
    assert set(contents(tmp_path)) == {"run/notes.txt"}


@pytest.mark.parametrize("error", [InputError("x"), KeyboardInterrupt()])
def test_what_was_computed_is_kept(error: BaseException, tmp_path: Path) -> None:
    failing(Claim(tmp_path / "run"), error, *BEGINNING, "metrics.jsonl")
    assert set(contents(tmp_path / "run")) == {*BEGINNING, "metrics.jsonl"}


def test_an_interrupted_beginning_is_kept_if_it_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Claim(tmp_path / "run").held():
        make_run(tmp_path / "run")
        raise KeyboardInterrupt
    assert "config.json" in contents(tmp_path / "run")
    failing(Claim(tmp_path / "two"), KeyboardInterrupt(), "config.json.draft")
    with pytest.raises(KeyboardInterrupt), new_experiment("a", tmp_path / "three"):
        raise KeyboardInterrupt
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


@pytest.mark.parametrize("left", ["experiment.json", "experiment.json.draft"])
def test_a_killed_beginning_is_in_nobodys_way(left: str, tmp_path: Path) -> None:
    record = json.dumps(seal({"format": 1, "experiment": "speech"}))
    (tmp_path / left).write_text(record)
    with new_experiment("sentiment", tmp_path):
        assert json.loads((tmp_path / "experiment.json").read_text())["experiment"] == (
            "sentiment"
        )
    (tmp_path / "model.npz").touch()
    with pytest.raises(InputError, match="found a run of sentiment"):
        create_run(tmp_path)


def test_one_application_at_a_time(tmp_path: Path) -> None:
    with new_experiment("sentiment", tmp_path / "run"):
        with pytest.raises(InputError, match="found one at work"):
            with new_experiment("sentiment", tmp_path / "run", overwrite=True):
                pass
        assert (tmp_path / "run" / "experiment.json").exists()


def test_patterns_are_of_names_and_not_of_paths() -> None:
    for names in WRITTEN.values():
        for name in names:
            assert re.fullmatch(r"[a-z0-9_.#*/-]+", name) and ".." not in name
            assert not name.startswith("/")
