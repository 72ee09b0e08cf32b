"""Which devices a run uses, what lies where on them, and what they exchange."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from experiments.benchmarks.scaling.hlo import Collective, collectives
from lstm_jax.config import ClusterConfig, Devices
from lstm_jax.data.bptt import tbptt_batch
from lstm_jax.distributed.host import enable_compilation_cache, set_cpu_device_count
from lstm_jax.distributed.mesh import mesh_for, replicate, row_mesh, shard_params
from lstm_jax.errors import InputError
from lstm_jax.models.language import LanguageModel, language_loss
from lstm_jax.training.compiled import CompiledSteps
from lstm_jax.training.loop import Task, Timer, fit
from lstm_jax.training.optimizer import make_optimizer
from lstm_jax.training.schedule import Schedule
from lstm_jax.training.step import TrainState, init_state

SYMBOLS, UNITS, ROWS, STEPS = 30, 16, 16, 12
ADAM = make_optimizer(0.01, 1.0, 0.99)
IDS = np.random.default_rng(0).integers(SYMBOLS, size=2000).astype(np.uint8)


def language(engine: str = "auto") -> LanguageModel:
    return LanguageModel(
        SYMBOLS, UNITS, 1, rngs=nnx.Rngs(0), dropout=0.1, engine=engine
    )


def segment_batch(n: int, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    return tbptt_batch(
        IDS, n, batch=ROWS, length=STEPS, seed=0, reset_probability=0.3, rows=rows
    )


TASK = Task(
    loss=language_loss,
    batch=segment_batch,
    batch_rows=segment_batch,
    rows=ROWS,
    steps_per_epoch=10,
    items_per_step=ROWS * STEPS,
)


class Recorder(CompiledSteps):
    """Programs that can be read afterwards."""

    def texts(self) -> list[str]:
        """Optimised HLO."""
        compilations: list[Any] = list(self._compiled.values())
        return [program.__wrapped__.as_text() for program in compilations]


@functools.cache
def trained(devices: int, shard_model: bool, engine: str) -> tuple[TrainState, str]:
    """The state after five steps, and the program that took them."""

    @jax.jit
    def first() -> TrainState:
        model = language(engine)
        return init_state(model, ADAM, model.initial_state(ROWS), jax.random.key(0))

    compiled = Recorder(language_loss, ADAM)
    schedule = Schedule(5, None, peak=0.01, warmup=0.0, final_rate=1.0)
    loop = fit(
        TASK,
        ADAM,
        first(),
        schedule,
        Timer(),
        steps_per_call=3,
        devices=devices,
        shard_model=shard_model,
        compiled=compiled,
    )
    *_, (state, _) = loop
    (text,) = compiled.texts()
    return state, text


# What is exchanged.


def gradients(text: str) -> list[Collective]:
    """Sums over devices of floating-point numbers."""
    return [
        each
        for each in collectives(text)
        if each.operation in ("all-reduce", "reduce-scatter") and each.floats
    ]


@pytest.mark.parametrize("shard_model", [False, True])
def test_gradients_meet_once_per_step(shard_model: bool) -> None:
    """One sum over devices per optimizer step, of all gradients and the loss.

    Nothing whatever is exchanged in the loops over time.
    """
    state, text = trained(2, shard_model, "fused")
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.model))
    assert gradients(text) == [Collective("all-reduce", 1, parameters + 1)]
    assert {each.depth for each in collectives(text)} == {1}
    assert text.count(" while(") >= 1 + 2  # steps; through time, there and back


def test_autodiff_would_meet_at_every_time_step() -> None:
    """On CPU: what the fused engine is for, and proof that the count sees it."""
    _, text = trained(2, False, "scan")
    assert [each.depth for each in gradients(text)].count(2) == 1


def test_one_device_exchanges_nothing() -> None:
    assert collectives(trained(1, False, "fused")[1]) == []


# Equal results.


@pytest.mark.parametrize("shard_model", [False, True])
def test_more_devices_change_nothing(shard_model: bool) -> None:
    one, _ = trained(1, False, "fused")
    two, _ = trained(2, shard_model, "fused")
    for expected, found in zip(
        jax.tree.leaves((one.model, one.optimizer, one.carry)),
        jax.tree.leaves((two.model, two.optimizer, two.carry)),
        strict=True,
    ):
        np.testing.assert_allclose(expected, found, rtol=0, atol=2e-6)


def test_a_sharded_model_takes_its_share_of_memory() -> None:
    """Of parameters and of both moments each device has half."""
    state, _ = trained(2, True, "fused")
    for leaf in jax.tree.leaves((state.model, state.optimizer)):
        share = leaf.addressable_shards[0].data.size
        assert share == (leaf.size if leaf.ndim == 0 else leaf.size // 2), leaf.shape


def test_the_longest_axis_that_fits_is_cut() -> None:
    mesh = row_mesh(ROWS, 2)
    arrays = [jnp.zeros(shape) for shape in ((4, 6), (4, 7), (3, 5), (), (0, 3))]
    places = [placed.sharding for placed in shard_params(mesh, arrays)]
    cut = [at.spec for at in places if isinstance(at, NamedSharding)]
    whole = PartitionSpec()
    assert cut == [
        PartitionSpec(None, "rows"),
        PartitionSpec("rows"),
        *[whole] * 3,
    ]


# Explicit sharding, the default of `jax.make_mesh`, and `jax.shard_map`.


def mean(model: LanguageModel, states: tuple, batch: dict) -> jax.Array:
    return language_loss(model, states, batch, None)[0].loss / (ROWS * STEPS)


@functools.cache
def on_one_device(symbols: int) -> tuple[tuple, tuple]:
    """A model, its first state and a batch; their mean loss and its gradient."""

    @jax.jit
    def build() -> tuple[LanguageModel, tuple]:
        model = LanguageModel(symbols, UNITS, 1, rngs=nnx.Rngs(0))
        return model, model.initial_state(ROWS)

    arguments = *build(), segment_batch(0)
    return arguments, jax.jit(jax.value_and_grad(mean))(*arguments)


@pytest.mark.parametrize(
    ("way", "symbols"),
    [("explicit", SYMBOLS), ("explicit", 1100), ("shard_map", SYMBOLS)],
)
def test_a_language_model_learns_under(way: str, symbols: int) -> None:
    """The gradient on two devices is that on one, however they are addressed.

    With many symbols the gradient of the table is added up row by row.
    """
    arguments, one = on_one_device(symbols)
    rows = PartitionSpec("data")
    spread = PartitionSpec(), PartitionSpec("data"), rows
    explicit = way == "explicit"
    kind = AxisType.Explicit if explicit else AxisType.Auto
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        if explicit:
            function = jax.value_and_grad(mean)
        else:

            def added(model: LanguageModel, states: tuple, batch: dict) -> jax.Array:
                return jax.lax.psum(mean(model, states, batch), "data")

            function = jax.shard_map(
                jax.value_and_grad(added),
                in_specs=spread,
                out_specs=(PartitionSpec(), PartitionSpec()),
            )
        places = jax.tree.map(
            lambda spec: NamedSharding(mesh, spec),
            spread,
            is_leaf=lambda leaf: isinstance(leaf, PartitionSpec),
        )
        placed = [
            jax.device_put(arguments[0], places[0]),
            jax.device_put(arguments[1], places[1]),
            {
                name: jax.device_put(a, places[2])
                for name, a in segment_batch(0).items()
            },
        ]
        two = jax.jit(function)(*placed)
    for expected, found in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(expected, np.asarray(found), rtol=1e-6, atol=2e-6)


# Which devices.


@pytest.mark.parametrize(
    ("rows", "count", "expected"),
    [(16, None, 2), (15, None, 1), (8, None, 1), (4, "all", 2), (3, 1, 1), (2, 2, 2)],
)
def test_devices_for_rows(rows: int, count: Devices, expected: int) -> None:
    """By default as many as pay; those asked for whether they pay or not."""
    assert row_mesh(rows, count).size == expected


@pytest.mark.parametrize(
    ("rows", "count", "message"),
    [
        (16, 3, "--devices: expected at most 2, which this machine has, found 3"),
        (15, "all", "--batch: expected a multiple of the 2 devices, found 15"),
        (15, 2, "--batch: expected a multiple of the 2 devices, found 15"),
    ],
)
def test_devices_that_do_not_fit(rows: int, count: Devices, message: str) -> None:
    with pytest.raises(InputError, match=message):
        row_mesh(rows, count)


def test_evaluation_stays_where_the_model_is() -> None:
    """A run on one of two devices leaves the other alone, and rows are filled up."""
    model = jax.jit(language)()
    both = row_mesh(2, 2)
    assert mesh_for(32, replicate(row_mesh(32, 1), model))[0].size == 1
    assert mesh_for(3, replicate(both, model)) == (both, 4)
    assert mesh_for(32, model) == (both, 32)


@pytest.mark.parametrize(
    ("devices", "cluster", "expected"),
    [
        (6, ClusterConfig(), 6),
        ("all", ClusterConfig(), 3),
        (8, ClusterConfig("localhost:1", 2, 0), 4),
        (None, ClusterConfig("auto"), 1),
    ],
)
def test_the_cpu_shows_as_many_devices(
    devices: Devices,
    cluster: ClusterConfig,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = {}
    monkeypatch.setattr(jax.config, "update", shown.__setitem__)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2})
    set_cpu_device_count(devices, cluster)
    assert shown == {"jax_num_cpu_devices": expected}


def test_the_cpu_stays_as_it_is_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX_NUM_CPU_DEVICES and the like are the user's."""
    monkeypatch.setattr(jax.config, "update", pytest.fail)
    set_cpu_device_count()


# Parts of a batch.


def test_some_rows_are_those_of_the_whole_batch() -> None:
    for n in (0, 3, 11):
        whole, part = segment_batch(n), segment_batch(n, slice(4, 9))
        for name, array in whole.items():
            np.testing.assert_array_equal(part[name], array[4:9])


def test_once_jax_is_in_use_the_cores_stay_as_they_are() -> None:
    before = jax.device_count()
    set_cpu_device_count(before + 1)
    assert jax.device_count() == before


# The cache of compiled programs.


@pytest.mark.parametrize("theirs", [False, True])
@pytest.mark.parametrize("writable", [False, True])
def test_programs_are_kept_in_the_users_cache(
    writable: bool, theirs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it can't be written, or the user has named another one."""
    home = tmp_path / "cache"
    if not writable:
        home.touch()
    set_to = {}
    monkeypatch.setattr(jax.config, "update", set_to.__setitem__)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "theirs" if theirs else "")
    enable_compilation_cache()
    assert set_to.pop("jax_remove_custom_partitioning_ptr_from_cache_key")
    if theirs or not writable:
        assert not set_to and home.exists() != writable
        return
    (folder,) = (home / "lstm_jax").iterdir()  # by processor
    assert set_to == {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }


def test_an_exchange_that_is_begun_yields_its_results() -> None:
    """Their types follow those of its operands, which would count them twice."""
    text = """
ENTRY %main (x: f32[2,3]) -> f32[2,3] {
  %x = f32[2,3]{1,0} parameter(0)
  %begun = ((f32[2,3]{1,0:T(8,128)}), f32[2,3]{1,0}) all-reduce-start(%x), to_apply=%add
  ROOT %done = f32[2,3]{1,0} all-reduce-done(%begun)
}
"""
    assert collectives(text) == [Collective("all-reduce", 0, 6)]
