"""Checkpoints: what comes back is what was saved, or one clear line."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.distributed.mesh import replicate, row_mesh, shard_rows
from lstm_jax.errors import InputError
from lstm_jax.lm.config import TrainConfig
from lstm_jax.storage.arrays import Stored
from lstm_jax.storage.checkpoints import CheckpointInfo, Checkpoints
from lstm_jax.storage.safetensors import parts_of, read_arrays
from lstm_jax.training.states import load_state, trees_of
from lstm_jax.training.step import TrainState
from tests.helpers.tiny_checkpoints import (
    RECORD,
    STEP,
    Tree,
    random_state,
    saved,
    settings,
    shapes_of,
)


def on_host(tree: Tree) -> Tree:
    """Copies of all arrays, and the numbers inside of keys."""
    return jax.tree.map(
        lambda a: np.array(
            jax.random.key_data(a)
            if jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
            else a
        ),
        tree,
    )


def assert_same(found: object, expected: object) -> None:
    """Both trees hold the same arrays, bit for bit."""
    found, expected = on_host(found), on_host(expected)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for path, array in jax.tree_util.tree_leaves_with_path(expected):
        other = dict(jax.tree_util.tree_leaves_with_path(found))[path]
        where = jax.tree_util.keystr(path)
        assert (other.dtype, other.shape) == (array.dtype, array.shape), where
        assert other.tobytes() == array.tobytes(), where


def steps(folder: Path) -> list[int]:
    """The checkpoints in a folder."""
    return sorted(int(path.name) for path in folder.iterdir())


def history(losses: Sequence[float | None]) -> list[CheckpointInfo]:
    """Records of steps 1, 2, ... that reached these losses, None if unmeasured."""
    records = []
    best_step, best_loss = 1, None
    for step, loss in enumerate(losses, 1):
        if loss is not None and (best_loss is None or loss < best_loss):
            best_step, best_loss = step, loss
        records.append(
            dataclasses.replace(
                RECORD, step=step, loss=loss, best_step=best_step, best_loss=best_loss
            )
        )
    return records


@pytest.fixture(scope="module")
def state() -> TrainState:
    return random_state()


@pytest.fixture(scope="module")
def kept(state: TrainState, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one checkpoint, to be copied before it is damaged."""
    folder = tmp_path_factory.mktemp("kept") / "checkpoints"
    saved(folder, (state, RECORD)).close()
    return folder


def test_all_of_a_state_comes_back(state: TrainState, kept: Path) -> None:
    checkpoints = Checkpoints(kept)
    like = shapes_of(settings())
    loaded = load_state(checkpoints, STEP, like)
    assert_same(loaded, state)
    assert_same(checkpoints.load_model(STEP, like.model), state.model)
    # The key is one again, and draws what the first would have drawn.
    assert_same(jax.random.normal(loaded.key, (3,)), jax.random.normal(state.key, (3,)))
    checkpoints.close()


@pytest.mark.parametrize(
    "record",
    [RECORD, dataclasses.replace(RECORD, loss=None, best_loss=None, best_step=3)],
)
def test_the_record_comes_back(
    record: CheckpointInfo, state: TrainState, tmp_path: Path
) -> None:
    checkpoints = saved(tmp_path / "c", (state, record))
    assert checkpoints.latest() == record
    checkpoints.close()


@pytest.mark.parametrize(
    ("losses", "left"),
    [
        ([5.0, 4.0, 3.0, 2.0, 1.0], [4, 5]),
        ([3.0, 1.0, 2.0, 4.0, 5.0], [2, 4, 5]),
        ([1.0, 2.0, 3.0, 4.0, None], [1, 4, 5]),
        ([None, 2.0, None, None, None], [2, 4, 5]),
    ],
)
def test_the_last_two_and_the_best_are_kept(
    losses: list[float | None], left: list[int], state: TrainState, tmp_path: Path
) -> None:
    records = history(losses)
    checkpoints = saved(tmp_path / "c", *((state, record) for record in records))
    assert steps(tmp_path / "c") == left == checkpoints.steps()[::-1]
    assert checkpoints.latest() == records[-1]
    checkpoints.close()


def test_the_best_is_known_after_reopening(state: TrainState, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    records = history([3.0, 1.0, 2.0, 2.5, None, 0.5])
    for part, left in (
        (records[:3], [2, 3]),
        (records[3:5], [2, 4, 5]),
        (records[5:], [2, 5, 6]),
    ):
        saved(folder, *((state, record) for record in part)).close()
        assert steps(folder) == left


def test_a_state_may_be_overwritten_once_saved(tmp_path: Path) -> None:
    # NumPy arrays change in place; donated arrays are given to what comes next.
    state = random_state()
    state = dataclasses.replace(state, carry=on_host(state.carry))
    expected = on_host(state)
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(trees_of(state), RECORD)
    jax.tree.map(lambda a: a.fill(-1), state.carry)
    donate = jax.jit(
        lambda model: jax.tree.map(lambda a: a * 0 - 1, model), donate_argnums=0
    )
    jax.block_until_ready(donate(state.model))
    checkpoints.close()
    loaded = load_state(Checkpoints(tmp_path / "c"), STEP, shapes_of(settings()))
    assert_same(on_host(loaded), expected)


def test_a_sharded_state_is_loaded_on_one_device(
    state: TrainState, tmp_path: Path
) -> None:
    mesh = row_mesh(16)
    assert mesh.size == 2
    placed = replicate(mesh, dataclasses.replace(state, carry=()))
    placed = dataclasses.replace(placed, carry=shard_rows(mesh, state.carry))
    assert all(len(a.devices()) == 2 for a in jax.tree.leaves(placed))
    checkpoints = saved(tmp_path / "c", (placed, RECORD))
    loaded = load_state(checkpoints, STEP, shapes_of(settings()))
    assert_same(loaded, state)
    assert all(len(a.devices()) == 1 for a in jax.tree.leaves(loaded))
    checkpoints.close()


@pytest.mark.parametrize(
    ("config", "characters", "message"),
    [
        (
            settings(hidden=5),
            "abcd",
            r"model\S*: expected layers/0/b\S* to be float32\(20,\), found .*\(24,\)",
        ),
        (
            settings(layers=1),
            "abcd",
            r"model\S*: the array layers/1/b\S* is not exp",
        ),
        (settings(layers=3), "abcd", r"model\S*: the array layers/2/b\S* is missing"),
        (
            settings(),
            "abcde",
            r"model\S*: expected b_out\S* to be float32\(6,\), found float32\(5,\)",
        ),
        (
            settings(batch=4),
            "abcd",
            r"training\S*: expected carry/0/c to be float32\(4, 6\), "
            r"found float32\(16, 6\)",
        ),
    ],
    ids=["width", "shallower", "deeper", "vocabulary", "batch"],
)
def test_another_model_is_refused_by_name(
    config: TrainConfig, characters: str, message: str, kept: Path
) -> None:
    like = shapes_of(config, characters)
    checkpoints = Checkpoints(kept)
    with pytest.raises(InputError, match=message) as raised:
        load_state(checkpoints, STEP, like)
    assert "\n" not in str(raised.value)
    checkpoints.close()


def test_another_type_is_refused_by_name(state: TrainState, kept: Path) -> None:
    model = jax.tree.map(lambda a: a.astype(jnp.bfloat16), state.model)
    checkpoints = Checkpoints(kept)
    with pytest.raises(InputError, match=r"to be bfloat16.*, found float32"):
        checkpoints.load_model(STEP, model)
    checkpoints.close()


@pytest.mark.parametrize("present", [True, False])
def test_reading_where_there_is_none_creates_nothing(
    present: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    if present:
        folder.mkdir()
    with pytest.raises(InputError, match=r"expected a checkpoint in .*, found none"):
        Checkpoints(folder).latest()
    assert folder.exists() == present


@pytest.mark.parametrize("content", ["{}", '{"step": 7}', "[]", "", '{"step"'])
def test_a_foreign_record_is_refused(content: str, kept: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(kept, tmp_path / "c")
    (folder / str(STEP) / "record.json").write_text(content)
    checkpoints = Checkpoints(folder)
    with pytest.raises(InputError) as raised:
        checkpoints.latest()
    assert "\n" not in str(raised.value) and str(folder) in str(raised.value)
    checkpoints.close()


def _delete(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _halve(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])


def _scramble(path: Path) -> None:
    path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))


@pytest.mark.parametrize("damage", [_delete, _empty, _halve, _scramble])
def test_a_damaged_checkpoint_is_refused_in_one_line(
    damage: Callable[[Path], None],
    state: TrainState,
    kept: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One file after the other: the truth comes back, or an InputError."""
    refused = set()
    files = sorted(p.relative_to(kept) for p in kept.rglob("*") if p.is_file())
    for number, file in enumerate(files):
        folder = shutil.copytree(kept, tmp_path / str(number))
        damage(folder / file)
        try:
            with Checkpoints(folder) as checkpoints:
                found = (load_state(checkpoints, STEP, state), checkpoints.latest())
        except InputError as error:
            assert "\n" not in str(error) and str(folder) in str(error), file
            refused.add(file)
        else:
            assert_same(found[0], state)
            assert found[1] == RECORD, file
    assert caplog.text == "", "nothing is said besides"
    assert refused == set(files) and len(files) == 3


@pytest.mark.parametrize(
    "item", ["model.safetensors", "training.safetensors", "record.json"]
)
def test_a_missing_part_is_refused(
    item: str, state: TrainState, kept: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(kept, tmp_path / "c")
    (folder / str(STEP) / item).unlink()
    checkpoints = Checkpoints(folder)
    with pytest.raises(InputError, match=f"{STEP}/{item}"):
        checkpoints.latest()
        load_state(checkpoints, STEP, state)
    checkpoints.close()


def test_the_record_is_readable_by_anyone(kept: Path) -> None:
    found = json.loads((kept / str(STEP) / "record.json").read_text())
    assert dataclasses.asdict(RECORD).items() <= found.items()
    for name, digest in found["files"].items():
        raw = (kept / str(STEP) / name).read_bytes()
        assert digest == hashlib.sha256(raw).hexdigest()


def test_the_arrays_are_readable_by_anyone(state: TrainState, kept: Path) -> None:
    """By the format's own description, without our reader."""
    raw = (kept / str(STEP) / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    arrays = jax.tree.leaves(state.model)
    assert len(header) == len(arrays) and (8 + length) % 8 == 0
    end = 0
    for entry, array in zip(header.values(), arrays, strict=True):
        assert (entry["dtype"], tuple(entry["shape"])) == ("F32", array.shape)
        start, stop = entry["data_offsets"]
        numbers = raw[8 + length + start : 8 + length + stop]
        assert start == end and numbers == np.asarray(array).tobytes()
        end = stop
    assert 8 + length + end == len(raw)


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "int8", "uint32", "bool"]
)
def test_every_type_comes_back(dtype: str, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 2, (2, 3)).astype(jnp.dtype(dtype))
    arrays = {"a": numbers, "empty": numbers[:0], "scalar": numbers[0, 0].reshape(())}
    (tmp_path / "file").write_bytes(b"".join(map(bytes, parts_of(arrays))))
    kinds = {name: Stored(dtype, array.shape) for name, array in arrays.items()}
    with open(tmp_path / "file", "rb") as file:
        found = read_arrays(file, kinds)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_a_checkpoint_that_cannot_be_written_is_said_at_the_next_wait(
    state: TrainState, tmp_path: Path
) -> None:
    (tmp_path / "c").write_text("in the way")
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(trees_of(state), RECORD)
    with pytest.raises(InputError, match="could not be written: Not a directory"):
        checkpoints.wait()
    checkpoints.close()


def test_arrays_of_a_mogrifier_are_found_by_their_former_names(tmp_path: Path) -> None:
    """Its rounds were once beside the layers: rounds/LAYER/ROUND."""
    rounds = [[1.0, 2.0], [3.0, 4.0]]
    moments = [[5.0, 6.0], [7.0, 8.0]]

    def as_written(numbers: list) -> dict:
        return {"rounds": [[{"value": jnp.full(2, n)} for n in one] for one in numbers]}

    def as_read(numbers: list) -> dict:
        each = [{"rounds": [{"value": jnp.full(2, n)} for n in one]} for one in numbers]
        return {"layers": each}

    with Checkpoints(tmp_path) as kept:
        trees = {"model": as_written(rounds), "training": {"mu": as_written(moments)}}
        kept.save(trees, dataclasses.replace(RECORD, step=3, best_step=3))
    with Checkpoints(tmp_path) as kept:
        model = kept.load_model(3, as_read([[0.0, 0.0]] * 2))
        state = kept.load(3, "training", {"mu": as_read([[0.0, 0.0]] * 2)})
    assert_same(model, as_read(rounds))
    assert_same(state, {"mu": as_read(moments)})


def test_the_best_is_kept_though_the_last_record_is_damaged(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as kept:
        for step in (1, 2):
            kept.save({}, dataclasses.replace(RECORD, step=step, best_step=1))
        kept.wait()
        (tmp_path / "2" / "record.json").write_text("{")
        kept.save({}, dataclasses.replace(RECORD, step=3, best_step=1))
    assert steps(tmp_path) == [1, 2, 3]
