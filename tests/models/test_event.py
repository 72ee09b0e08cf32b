"""The network of events: it does not look ahead, and learns from every step."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.cells.decay import DecayCell
from lstm_jax.data.special_ids import IGNORED
from lstm_jax.models.event import EventModel, event_loss
from lstm_jax.models.saved import ModelSpec, load_model, save_model

D, H, T, B, K = 5, 4, 6, 3, 2
RNG = np.random.default_rng(0)
INPUTS = jnp.asarray(RNG.normal(size=(B, T, D)), jnp.float32)
TARGETS = jnp.array([[0, 1], [IGNORED, IGNORED], [1, 1]])
BATCH = {"inputs": INPUTS, "targets": TARGETS}
read = jax.jit(lambda model, inputs: model(inputs))
sums_of = jax.jit(lambda model, batch, key=None: event_loss(model, (), batch, key)[0])


@functools.cache
def small(**options: Any) -> EventModel:  # noqa: ANN401
    return EventModel(D, H, K, rngs=nnx.Rngs(0), gaps=2, **options)


@pytest.mark.parametrize("cell", ["lstm", "decay"])
def test_what_is_said_after_a_step_knows_that_step_and_nothing_later(cell: str) -> None:
    """By the gradient: it is exactly zero at all later steps, and there before."""
    model = small(cell=cell)

    @jax.jit
    @jax.grad
    def influence(inputs: jax.Array) -> jax.Array:
        return model(inputs)[:, 3].sum()

    reached = np.abs(influence(INPUTS)).max(axis=(0, 2)) > 0
    assert reached.tolist() == [True] * 4 + [False] * 2


def test_the_loss_is_that_of_every_step_of_the_rows_that_count() -> None:
    sums = sums_of(small(), BATCH)
    chances = jax.nn.sigmoid(read(small(), INPUTS))
    told = jnp.where(TARGETS[:, None] == 1, chances, 1 - chances)
    expected = -jnp.log(told[jnp.array([0, 2])]).sum()
    assert float(sums.loss) == pytest.approx(float(expected), rel=1e-5)
    assert int(sums.count) == 2 * T


def test_what_is_dropped_is_dropped_at_all_steps_and_only_with_a_key() -> None:
    for rate in ("input_dropout", "dropout"):
        noisy, plain = small(**{rate: 0.5}), sums_of(small(), BATCH).loss
        assert sums_of(noisy, BATCH).loss == plain
        found = {float(sums_of(noisy, BATCH, jax.random.key(n)).loss) for n in (0, 1)}
        assert len({*found, float(plain)}) == 3
    blind = small(input_dropout=0.5)
    shown = jax.jit(
        jax.grad(lambda x, key: blind(x, key=key).sum()),
    )(INPUTS, jax.random.key(0))
    seen = np.asarray(shown != 0)
    assert (seen == seen[:, :1]).all() and 0 < seen[:, 0].mean() < 1


def test_its_decay_has_the_gaps_that_it_is_told_of(tmp_path: Path) -> None:
    arguments = {"features": D, "hidden_size": H, "gaps": 2, "cell": "decay"}
    spec = ModelSpec("event", arguments, members=2)
    models = jax.jit(spec.build)(jax.random.key(0))
    assert models.reader.cell == DecayCell(2)
    save_model(tmp_path, "some", spec, models)
    again = load_model(tmp_path).model
    run = jax.jit(jax.vmap(lambda model: model(INPUTS)))
    np.testing.assert_array_equal(run(again), run(models))
    with pytest.raises(ValueError, match=r"^gaps: expected 1 to 5, the inputs, found"):
        EventModel(D, H, rngs=nnx.Rngs(0), cell="decay")
