"""`--shard-model`: a state that no device has as a whole is kept in parts, by Orbax."""

import dataclasses
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from lstm_jax.distributed.mesh import row_mesh
from lstm_jax.errors import InputError
from lstm_jax.lm.claim import Claim
from lstm_jax.lm.run_directory import RunDirectory
from lstm_jax.lm.task import first_state
from lstm_jax.lm.text_model import load_text_model
from lstm_jax.storage.checkpoints import PARTS, Damaged
from lstm_jax.storage.sharded import load_sharded, save_sharded
from lstm_jax.training.loop import place_state
from lstm_jax.training.recorder import open_checkpoints
from lstm_jax.training.step import TrainState
from lstm_jax.training.trainer import Trained
from tests.helpers import tiny_runs
from tests.helpers.tiny_runs import (
    VOCAB,
    assert_same,
    checkpoint_steps,
    computed,
    copied_run,
    last_state,
    new_run,
    run_once,
)

pytest.importorskip("orbax.checkpoint", reason="the extra `sharded` is not installed")

# 4 calls, a validation after every second; an average of the weights, too.
CONFIG = dataclasses.replace(
    tiny_runs.CONFIG,
    model=dataclasses.replace(tiny_runs.CONFIG.model, layers=1),
    optimizer=dataclasses.replace(tiny_runs.CONFIG.optimizer, ema=0.5),
    run=dataclasses.replace(
        tiny_runs.CONFIG.run, epochs=2, evaluations=2, shard_model=True
    ),
)
ALONE = dataclasses.replace(
    CONFIG, run=dataclasses.replace(CONFIG.run, shard_model=False, devices=1)
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Trained]:
    """The run that nothing interrupts."""
    run = new_run(tmp_path_factory.mktemp("whole") / "run", CONFIG)
    return run, run_once(run, CONFIG)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The same run, interrupted after three calls. To be copied."""
    run = new_run(tmp_path_factory.mktemp("begun") / "run", CONFIG)
    assert run_once(run, CONFIG, calls=3).ended == "interrupted"
    return run


def assert_same_run(
    run: RunDirectory, outcome: Trained, expected: tuple[RunDirectory, Trained]
) -> None:
    """To the bit."""
    assert_same(last_state(run, CONFIG), last_state(expected[0], CONFIG))
    assert_same(outcome.model, expected[1].model)
    assert computed(run.history.read()) == computed(expected[0].history.read())


def states(run: RunDirectory) -> set[str]:
    """The files and folders of all checkpoints."""
    return {path.name for path in run.checkpoint_path.glob("*/*")}


def test_the_model_is_a_file_and_the_rest_is_in_parts(
    whole: tuple[RunDirectory, Trained],
) -> None:
    """And `load` knows nothing of it."""
    run, outcome = whole
    assert states(run) == {"model.safetensors", PARTS, "record.json"}
    assert_same(load_text_model(run.path).model, outcome.model)
    assert len(checkpoint_steps(run)) <= 3, "older ones are removed"


def test_a_resumed_run_is_the_same_run(
    begun: RunDirectory, whole: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    run = copied_run(begun, tmp_path / "run")
    assert_same_run(run, run_once(run, CONFIG, resume=True), whole)


def test_no_device_ever_has_all_of_a_state(
    begun: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made, written and read in parts."""
    seen: list[TrainState] = []

    def save(folder: Path, state: TrainState) -> None:
        seen.append(state)
        save_sharded(folder, state)

    def load(folder: Path, like: TrainState) -> TrainState:
        seen.append(load_sharded(folder, like))
        return seen[-1]

    monkeypatch.setattr("lstm_jax.training.recorder.save_sharded", save)
    monkeypatch.setattr("lstm_jax.training.trainer.load_sharded", load)
    run_once(new_run(tmp_path / "new", CONFIG), CONFIG, calls=1)
    assert len(seen) == 2
    run_once(copied_run(begun, tmp_path / "run"), CONFIG, calls=1, resume=True)
    assert len(seen) == 4
    for state in seen:
        for leaf in jax.tree.leaves(state.optimizer):
            assert leaf.ndim == 0 or not leaf.sharding.is_fully_replicated


def test_a_run_goes_on_with_other_devices_and_back(
    begun: RunDirectory, whole: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    """To rounding, as it is with any other number of devices."""
    run = copied_run(begun, tmp_path / "run")
    run_once(run, ALONE, calls=1, resume=True)
    assert states(run) == {*states(begun), "training.safetensors"}
    run_once(run, CONFIG, resume=True)
    for found, expected in zip(
        jax.tree.leaves(last_state(run, CONFIG).model),
        jax.tree.leaves(last_state(whole[0], CONFIG).model),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["d/*", "_METADATA"])
def test_a_damaged_part_is_passed_over_for_the_step_before(
    name: str,
    begun: RunDirectory,
    whole: tuple[RunDirectory, Trained],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = copied_run(begun, tmp_path / "run")
    last, before = checkpoint_steps(run)[::-1][:2]
    (path, *_) = (run.checkpoint_path / str(last) / PARTS).glob(name)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    outcome = run_once(run, CONFIG, resume=True)
    assert f"step {before} takes its place" in caplog.text
    assert_same_run(run, outcome, whole)


def test_a_new_run_replaces_all_parts(begun: RunDirectory, tmp_path: Path) -> None:
    """And those that were being written when a process was killed."""
    run = copied_run(begun, tmp_path / "run")
    last = run.checkpoint_path / str(checkpoint_steps(run)[-1])
    draft = shutil.copytree(last, last.with_suffix(".draft"))
    (draft / PARTS).rename(draft / f"{PARTS}.orbax-checkpoint-tmp")
    with Claim(run.path, overwrite=True).held():
        assert not list(run.path.rglob("*"))


def test_a_part_that_is_missing_or_too_many_is_damage(
    begun: RunDirectory, tmp_path: Path
) -> None:
    run = copied_run(begun, tmp_path / "run")
    last = checkpoint_steps(run)[-1]
    parts = run.checkpoint_path / str(last) / PARTS
    with open_checkpoints(run.path) as checkpoints:
        assert checkpoints.parts(last) == parts
        (parts / "more").touch()
        with pytest.raises(Damaged, match="not what was written"):
            checkpoints.parts(last)
        (parts / "more").unlink()
        (parts / "_METADATA").unlink()
        with pytest.raises(Damaged, match="not what was written"):
            checkpoints.parts(last)


@pytest.mark.parametrize("after", [False, True])
def test_a_save_that_is_cut_short_replaces_nothing(
    after: bool,
    whole: tuple[RunDirectory, Trained],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before or after the parts are written: the checkpoint before is the last one."""

    class Killed(BaseException):
        pass

    def save(folder: Path, state: TrainState) -> None:
        if int(state.step) == 0:
            return save_sharded(folder, state)
        if after:
            save_sharded(folder, state)
        else:
            (folder.parent / f"{folder.name}.orbax-checkpoint-tmp").mkdir()
        raise Killed

    run = new_run(tmp_path / "run", CONFIG)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("lstm_jax.training.recorder.save_sharded", save)
        run_once(run, CONFIG)
    assert checkpoint_steps(run) == [0]
    assert list(run.checkpoint_path.glob("*.draft"))
    assert_same_run(run, run_once(run, CONFIG, resume=True), whole)
    assert not list(run.checkpoint_path.glob("*.draft"))


def test_other_arrays_are_refused_by_name(begun: RunDirectory) -> None:
    parts = begun.checkpoint_path / str(checkpoint_steps(begun)[-1]) / PARTS
    state = jax.eval_shape(lambda: first_state(CONFIG, VOCAB))
    like = place_state(row_mesh(16, 2), state, shard_model=True)
    assert_same(load_sharded(parts, like), last_state(begun, CONFIG))
    wider = dataclasses.replace(like, carry=np.zeros(9))
    with pytest.raises(InputError, match="the array carry is missing"):
        load_sharded(parts, wider)
    longer = dataclasses.replace(like, step=jax.numpy.zeros(9, "int32"))
    with pytest.raises(InputError, match=r"step to be int32\(9,\), found int32\(\)"):
        load_sharded(parts, longer)


def test_without_orbax_it_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    run = new_run(tmp_path / "run", CONFIG)
    with pytest.raises(InputError, match=r"^--shard-model: .*orbax-checkpoint\)$"):
        run_once(run, CONFIG)
    assert not run.checkpoint_path.exists()
    shutil.rmtree(run.path)
    assert run_once(None, CONFIG, calls=1).history, "nothing is kept, nothing is needed"
