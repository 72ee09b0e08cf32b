"""What the runs of all applications share: how one is resumed, and how long it took."""

import contextlib
import dataclasses
import time
from pathlib import Path

import pytest

import lstm_jax
from experiments.healthcare import __main__ as healthcare
from experiments.runs import Clock, RunOptions, begun, refuse_changes, run_folder
from experiments.sentiment import __main__ as sentiment
from experiments.speech import config as speech
from experiments.text_generation import __main__ as text_generation
from lstm_jax import InputError
from lstm_jax.config import RunConfig
from tests.helpers.experiment_runs import SETTINGS_OF_THE_PROCESS

LASTING = {"epochs": 9, "max_seconds": 5.0, "steps_per_call": 1, "devices": 2}


def test_a_run_may_last_longer_but_draws_as_it_began() -> None:
    kept = RunOptions()
    refuse_changes(kept, RunOptions(run=RunConfig(**LASTING, evaluations=3)))
    with pytest.raises(
        InputError, match=r"^--resume: expected --seed as .* 0, found 5"
    ):
        refuse_changes(kept, RunOptions(run=RunConfig(seed=5)))
    with pytest.raises(InputError, match=r"^--resume: expected --precision as the run"):
        refuse_changes(kept, dataclasses.replace(kept, precision="mixed"))


@pytest.mark.parametrize(
    ("options", "several"),
    [
        (sentiment.Options(), True),
        (sentiment.Options(folds=0), False),
        (sentiment.Options(folds=1), False),
        (healthcare.Options(), True),
        (speech.Options(), True),
        (speech.Options(transcripts=Path("words.csv")), False),
        (speech.Options(validate=True), False),
        (text_generation.Options(), True),
        (text_generation.Options(seeds=1), False),
        (text_generation.Options(seeds=1, ablation=("cell",)), True),
    ],
)
@pytest.mark.parametrize("changed", [{"epochs": 9}, {"max_seconds": 5.0}])
def test_of_several_trainings_none_is_longer_than_others(
    options: RunOptions, several: bool, changed: dict
) -> None:
    """Those that are finished would have been shorter."""
    longer = dataclasses.replace(options.run, **changed)
    refused = pytest.raises(InputError, match=r"^--resume: expected --(epochs|max-sec)")
    with refused if several else contextlib.nullcontext():
        refuse_changes(options, dataclasses.replace(options, run=longer))


def test_all_attempts_of_a_run_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SETTINGS_OF_THE_PROCESS:
        monkeypatch.setattr(lstm_jax.distributed, name, lambda *given: None)
    options = RunOptions(run=RunConfig(run_dir=tmp_path / "run"))
    first = Clock(started=time.perf_counter() - 600)
    with begun("music", options, files=(), clock=first):
        assert first.spent == 0
    lasting = dataclasses.replace(options.run, resume=True)
    again = dataclasses.replace(options, run=lasting)
    second = Clock(started=time.perf_counter() - 300)
    with begun("music", again, files=(), clock=second):
        assert second.spent >= 600 and second.minutes >= 15
    (tmp_path / "run" / "seconds.json").write_text('{"seconds": "many"}')
    with pytest.raises(InputError, match=r"seconds\.json: expected seconds, found 'ma"):
        with begun("music", again, files=()):
            pass


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("handwriting", "isolated"),
        ("healthcare", "folds/fold-0"),
        ("sentiment", "folds/fold-0"),
    ],
)
def test_a_first_network_that_took_no_step_leaves_nothing(
    name: str, inner: str, tmp_path: Path
) -> None:
    """Its run can be begun again without --overwrite."""
    options = RunOptions(run=RunConfig(run_dir=tmp_path / "run"))
    with pytest.raises(InputError, match="no time"):
        with run_folder(name, options):
            place = tmp_path / "run" / inner
            (place / "checkpoints" / "0").mkdir(parents=True)
            for file in ("config.json", "checkpoints/0/model.safetensors"):
                (place / file).write_bytes(b"")
            if name == "sentiment":
                (place / "tokenizer.json").write_bytes(b"")
            raise InputError("no time")
    assert not (tmp_path / "run").exists()


def test_a_trial_run_is_not_where_the_real_one_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[RunOptions] = []
    monkeypatch.setattr(healthcare, "learn", seen.append)
    for words in (["--smoke"], ["--smoke", "--run-dir", "mine"], []):
        healthcare.main(words)
    with run_folder("healthcare", seen[0]):
        pass
    healthcare.main(["--smoke", "--resume"])
    healthcare.main(["--resume"])  # where there is no other
    healthcare.main(["--smoke", "--run-dir", "runs/healthcare"])
    folders = [options.run.run_dir for options in seen]
    trial = Path("runs/healthcare-smoke")
    real = Path("runs/healthcare")
    assert folders == [trial, Path("mine"), real, trial, trial, real]
    with pytest.raises(InputError, match=r"^--smoke: expected no --test beside it"):
        sentiment.main(["--smoke", "--test", "a.csv"])
