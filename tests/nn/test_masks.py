"""Masks with holes and padding on the left: a row is its real steps, put together.

The reference takes the real steps out, runs the NumPy loop on them alone, and puts the
outputs back; the gradients are its central differences.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.cells.lstm import LSTMParams, LSTMState
from lstm_jax.engines.dispatch import explain_engine
from lstm_jax.nn.layers import LSTM, Bidirectional
from lstm_jax.nn.recurrence import lstm
from tests.helpers.reference_lstm import (
    Array,
    Case,
    Outcome,
    assert_close,
    cast,
    loss,
    random_case,
    sequence,
    slopes,
)

T, B, D, H = 5, 5, 2, 2
CASE = random_case(3, T, B, D, H)
WEIGHTS = random_case(4, T, B, H, H).xs
MASK = np.array(
    [  # one line per row of the batch
        [0, 0, 1, 1, 1],  # padded on the left
        [1, 0, 1, 0, 1],  # holes
        [0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0],  # padded on both sides
        [1, 1, 1, 1, 1],
    ],
    bool,
).T
RESETS = np.array(
    [
        [1, 0, 0, 1, 0],
        [0, 1, 0, 0, 0],  # in a hole
        [0, 1, 0, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 1, 0],
    ],
    bool,
).T
LENGTHS = np.array([4, T, T, T, 3])
each_way = pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "back"])


def squeezed(case: Case, valid: Array, resets: Array, reverse: bool) -> Outcome:
    """Each row's real steps alone, by the NumPy loop; zeros elsewhere."""
    ys = np.zeros((T, B, H))
    last = [np.array(case.h), np.array(case.c)]
    for row in range(B):
        places = np.flatnonzero(valid[:, row])
        if len(places) == 0:
            continue
        before = [-1, *places[:-1]]
        begins = [resets[a + 1 : b + 1, row].any() for a, b in zip(before, places)]  # noqa: B905
        one = slice(row, row + 1)
        alone = case._replace(xs=case.xs[places][:, one], h=case.h[one], c=case.c[one])
        found = sequence(alone, None, np.array(begins)[:, None], reverse)
        ys[places, row] = found[0][:, 0]
        last[0][row], last[1][row] = found[1][0], found[2][0]
    return ys, last[0], last[1]


def masked(case: Case, engine: str, reverse: bool, **options: Any) -> Outcome:  # noqa: ANN401
    """The same by the library."""
    params, state = LSTMParams(case.w_x, case.w_h, case.b), LSTMState(case.h, case.c)
    ys, last = lstm(params, case.xs, state, reverse=reverse, engine=engine, **options)
    return ys, last.h, last.c


def measured(case: Case, engine: str, reverse: bool, **options: Any) -> tuple:  # noqa: ANN401
    def of(case: Case) -> tuple:
        outcome = masked(case, engine, reverse, **options)
        return loss(WEIGHTS, outcome), outcome

    (_, outcome), gradient = jax.jit(jax.value_and_grad(of, has_aux=True))(case)
    return outcome, gradient


@pytest.mark.usefixtures("x64")
@each_way
def test_a_row_is_its_real_steps(reverse: bool) -> None:
    """Outputs, last state and every gradient, by two engines, with lengths and resets.

    Whatever stands in the steps that are masked, NaN included, changes nothing.
    """
    valid = MASK & (np.arange(T)[:, None] < LENGTHS)

    def reference(case: Case) -> Outcome:
        return squeezed(case, valid, RESETS, reverse)

    expected = reference(CASE)
    slope = slopes(lambda case: float(loss(WEIGHTS, reference(case))), CASE)
    xs = np.where(valid[..., None], CASE.xs, np.nan)
    given = {"mask": MASK, "lengths": LENGTHS, "resets": RESETS}
    for engine, remat in (("scan", False), ("fused", False), ("fused", True)):
        case = cast(CASE._replace(xs=xs), float)
        outcome, gradient = measured(case, engine, reverse, remat=remat, **given)
        assert_close(outcome, expected, 1e-12)
        assert_close(gradient, slope, 1e-8)


@pytest.mark.parametrize(
    ("engine", "stand_in"),
    [("native", None), ("pallas_gpu", "gpu_kernels"), ("pallas_tpu", "interpreted")],
)
@each_way
def test_so_it_is_by_the_other_engines(
    engine: str, stand_in: str | None, reverse: bool, request: pytest.FixtureRequest
) -> None:
    if stand_in:
        request.getfixturevalue(stand_in)
    case = cast(CASE, "float32")
    given = {"mask": MASK, "resets": RESETS}
    found = measured(case, engine, reverse, **given)
    assert_close(found, measured(case, "scan", reverse, **given), 1e-5)


@pytest.mark.usefixtures("x64")
@each_way
def test_a_mask_of_lengths_is_lengths(reverse: bool) -> None:
    """With flags behind the end of a row, which mean nothing either way."""
    case, mask = cast(CASE, float), np.arange(T)[:, None] < LENGTHS
    one = measured(case, "fused", reverse, mask=mask, resets=RESETS)
    other = measured(case, "fused", reverse, lengths=LENGTHS, resets=RESETS)
    assert_close(one, other, 1e-14)


def test_layers_have_masks() -> None:
    """Rows first; integers serve as well, as Hugging Face's attention masks are."""
    layer = Bidirectional(D, H, rngs=nnx.Rngs(0))
    xs = jnp.asarray(CASE.xs.swapaxes(0, 1), "float32")
    ys, (last, first) = layer(xs, mask=MASK.T.astype(int))
    ahead, end = lstm(layer.forward.params, xs.swapaxes(0, 1), mask=MASK)
    back, start = lstm(
        layer.backward.params, xs.swapaxes(0, 1), mask=MASK, reverse=True
    )
    both = jnp.concatenate([ahead, back], -1).swapaxes(0, 1)
    assert_close((ys, last, first), (both, end, start), 1e-6)
    assert not np.asarray(ys)[~MASK.T].any()


def test_who_has_masks() -> None:
    sizes = {"steps": 64, "rows": 32, "hidden": 64, "mask": True}
    assert explain_engine(platform="cpu", **sizes).name in ("native", "fused")
    with pytest.raises(ValueError, match="needs lengths; found a mask"):
        explain_engine("cudnn", platform="cuda", **sizes)


def test_several_batch_axes_are_one() -> None:
    """In functions and in layers, with everything that has them."""
    layer = LSTM(D, H, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(5)
    xs, h, c = (rng.normal(size=(2, 3, *rest)) for rest in ((T, D), (H,), (H,)))
    options = {
        "lengths": rng.integers(0, T + 1, (2, 3)),
        "mask": rng.random((2, 3, T)) < 0.7,
        "resets": rng.random((2, 3, T)) < 0.3,
    }
    read = jax.jit(lambda xs, state, options: layer(xs, state, **options))
    ys, last = read(xs, (h, c), options)
    assert ys.shape == (2, 3, T, H)
    for k in range(2):
        picked = {name: value[k] for name, value in options.items()}
        mine = jax.tree.map(lambda a, k=k: a[k], (ys, last))
        assert_close(mine, read(xs[k], (h[k], c[k]), picked), 1e-6)
    turned: dict[str, Any] = {
        name: value if name == "lengths" else np.moveaxis(value, 2, 0)
        for name, value in options.items()
    }
    there, same = lstm(layer.params, np.moveaxis(xs, 2, 0), (h, c), **turned)
    assert_close((jnp.moveaxis(there, 0, 2), same), (ys, last), 1e-6)
