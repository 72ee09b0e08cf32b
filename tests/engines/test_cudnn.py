"""The cuDNN engine around its kernel; `test_equivalence.py` has its values.

There is no GPU here. JAX's own reference stands in for the kernel (`conftest.py`);
of the real one, programs are traced.
"""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import rnn
from jax.sharding import PartitionSpec

from lstm_jax.cells.lstm import LSTM_CELL, LSTMParams, LSTMState
from lstm_jax.nn.recurrence import lstm, unroll_projected
from tests.helpers.reference_lstm import assert_close, cast, random_case

T, B, D, H = 5, 4, 2, 3
CASE = cast(random_case(0, T, B, D, H), "float32")
PARAMS = LSTMParams(CASE.w_x, CASE.w_h, CASE.b)
STATE = LSTMState(CASE.h, CASE.c)
LENGTHS = jnp.array([T, 0, 3, 1])


def total(params: LSTMParams, xs: jax.Array, lengths: jax.Array) -> jax.Array:
    """Depends on every output and last state."""
    ys, last = lstm(params, xs, STATE, lengths=lengths, reverse=True, engine="cudnn")
    return (ys**2).sum() + (last.h * last.c).sum()


@pytest.mark.usefixtures("cudnn")
def test_what_the_kernel_cannot_stand() -> None:
    mapped = jax.vmap(lambda xs: total(PARAMS, xs, LENGTHS))
    for refuse in (
        lambda: mapped(CASE.xs[None]),
        lambda: jax.grad(lambda xs: mapped(xs).sum())(CASE.xs[None]),
        lambda: jax.vmap(jax.grad(total), (None, 0, None))(
            PARAMS, CASE.xs[None], LENGTHS
        ),
        lambda: jax.vmap(total, (0, None, None))(
            jax.tree.map(lambda a: a[None], PARAMS), CASE.xs, LENGTHS
        ),
    ):
        with pytest.raises(ValueError, match="expected no vmap, found one"):
            refuse()
    with pytest.raises(ValueError, match=r"engine 'cudnn': .* can: scan"):
        jax.jvp(lambda xs: total(PARAMS, xs, LENGTHS), (CASE.xs,), (CASE.xs,))
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    columns = PartitionSpec(None, "data")
    for check in (True, False):
        spread = jax.shard_map(
            lambda params, xs: lstm(params, xs, engine="cudnn")[0],
            mesh=mesh,
            in_specs=(PartitionSpec(), columns),
            out_specs=columns,
            check_vma=check,
        )
        if check:
            with pytest.raises(ValueError, match="expected shard_map with check_vma=F"):
                spread(PARAMS, CASE.xs)
        else:
            whole, _ = lstm(PARAMS, CASE.xs, engine="scan")
            assert_close(spread(PARAMS, CASE.xs), whole, 2e-6)


@pytest.mark.usefixtures("cuda")
def test_one_call_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What JAX traces for the real kernel: two custom calls, in full float32."""
    size = "compute_rnn_workspace_reserve_space_sizes"
    monkeypatch.setattr(rnn.gpu_rnn, size, lambda *_: (16, 16), raising=False)
    text = str(jax.make_jaxpr(jax.grad(total))(PARAMS, CASE.xs, LENGTHS))
    assert (text.count("rnn_fwd["), text.count("rnn_bwd[")) == (1, 1)
    assert text.count("cudnn_allow_tf32=False") == 2
    assert "while[" not in text and "scan[" not in text


def test_refused_before_tracing() -> None:
    with pytest.raises(ValueError, match=r"needs a CUDA device; found cpu; .* scan"):
        jax.jit(total).trace(PARAMS, CASE.xs, LENGTHS)


@pytest.mark.usefixtures("cudnn")
def test_refused_by_what_is_given() -> None:
    z, w_h = CASE.xs @ CASE.w_x, CASE.w_h
    resets = jnp.zeros((T, B), bool)
    half = jax.tree.map(lambda a: a.astype("bfloat16"), PARAMS)
    for refuse, message in (
        (
            lambda: unroll_projected(LSTM_CELL, z, w_h, w_h, engine="cudnn"),
            "needs the inputs",
        ),
        (lambda: lstm(PARAMS, CASE.xs, resets=resets, engine="cudnn"), "found resets"),
        (lambda: lstm(half, CASE.xs, engine="cudnn"), "found bfloat16"),
    ):
        with pytest.raises(ValueError, match=message):
            refuse()
