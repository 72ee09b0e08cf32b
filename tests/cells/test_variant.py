"""The variants beside the peers that have them, and their refusals.

`tests/engines/test_cells.py` holds them to NumPy loops, with every gradient.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.cells.protocol import Cell
from lstm_jax.cells.variant import CoupledCell, VariantCell, VariantParams
from lstm_jax.config import RegularizerConfig
from lstm_jax.models.language import LanguageModel
from lstm_jax.nn.layers import LSTM, StackedLSTM
from lstm_jax.nn.recurrence import unroll
from tests.helpers.reference_lstm import assert_close

T, B, D, H, P = 5, 3, 4, 6, 2
RNG = np.random.default_rng(0)
XS = RNG.normal(size=(T, B, D))
START = {"h": RNG.normal(size=(B, P)), "c": RNG.normal(size=(B, H))}


def shaken(cell: Cell, bias: bool = True) -> VariantParams:
    """Parameters of random numbers."""
    drawn = cell.init(jax.random.key(0), D, H)
    params = jax.tree.map(lambda a: jnp.asarray(RNG.normal(size=a.shape)), drawn)
    return params if bias else dataclasses.replace(params, b=None)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("bias", [True, False])
def test_the_projection_is_that_of_pytorch(bias: bool) -> None:
    """Outputs, both states, and the gradients of everything."""
    torch = pytest.importorskip("torch")
    cell = VariantCell(proj_size=P)
    params = shaken(cell, bias)
    theirs = torch.nn.LSTM(D, H, proj_size=P, bias=bias, dtype=torch.float64)
    zeros = None if params.b is None else jnp.zeros_like(params.b)
    held = {
        "weight_ih_l0": params.w_x,
        "weight_hh_l0": params.w_h,
        "weight_hr_l0": params.w_hr,
        "bias_ih_l0": params.b,
        "bias_hh_l0": zeros,
    }
    held = {name: a for name, a in held.items() if a is not None}
    theirs.load_state_dict({n: torch.tensor(np.asarray(a).T) for n, a in held.items()})
    xs = torch.tensor(XS, requires_grad=True)
    before = tuple(torch.tensor(START[n][None], requires_grad=True) for n in "hc")
    ys, (h, c) = theirs(xs, before)
    ((ys**3).sum() + (h**2).sum() + c.sum()).backward()

    def loss(params: VariantParams, xs: jax.Array, start: dict) -> tuple:
        state = cell.initial_state(jnp.zeros((B, H)))
        ys, last = unroll(cell, params, xs, type(state)(**start))
        return (ys**3).sum() + (last.h**2).sum() + last.c.sum(), (ys, last)

    grad = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    slopes, (found, last) = grad(params, jnp.asarray(XS), START)
    there = [t.detach().numpy() for t in (ys, h[0], c[0])]
    assert_close([found, last.h, last.c], there, 1e-12)
    of = dict(theirs.named_parameters())
    assert_close(slopes[0].w_x, of["weight_ih_l0"].grad.numpy().T, 1e-12)
    assert_close(slopes[0].w_h, of["weight_hh_l0"].grad.numpy().T, 1e-12)
    assert_close(slopes[0].w_hr, of["weight_hr_l0"].grad.numpy().T, 1e-12)
    assert_close(slopes[1], xs.grad.numpy(), 1e-12)
    assert_close(slopes[2]["h"], before[0].grad[0].numpy(), 1e-12)
    assert (slopes[0].b is None) == (not bias)


@pytest.mark.parametrize("coupled", [False, True])
def test_clip_activations_and_coupled_gates_are_those_of_onnx(coupled: bool) -> None:
    """Whose coupled cell has i and f = 1 - i: our f with the signs of its i changed."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    kind = CoupledCell if coupled else VariantCell
    cell = kind(
        peepholes=True,
        clip=0.7,
        candidate_activation="relu",
        output_activation="softsign",
    )
    params = shaken(cell)
    as_onnx = {"W": params.w_x, "R": params.w_h, "B": params.b, "P": params.p}
    names, order = ("ifgo", "iofg") if not coupled else ("fgo", "iofg")
    given: dict[str, Any] = {"X": XS.astype("float32")}
    for name, array in as_onnx.items():
        assert array is not None
        blocks = dict(
            zip(
                [n for n in names if name != "P" or n != "g"],
                jnp.split(array, len(names) - (name == "P"), -1),
                strict=True,
            )
        )
        if coupled:
            blocks["i"], blocks["f"] = -blocks["f"], jnp.zeros_like(blocks["f"])
        whole = [blocks[n] for n in ("iof" if name == "P" else order)]
        given[name] = np.asarray(jnp.concatenate(whole, -1).T, "float32")[None]
    given["B"] = np.pad(given["B"], ((0, 0), (0, 4 * H)))
    inputs = ["X", "W", "R", "B", "", "", "", "P"]
    node = onnx.helper.make_node(
        *("LSTM", inputs, ["Y", "Yh", "Yc"]),
        **{"hidden_size": H, "clip": 0.7, "input_forget": int(coupled)},
        activations=["Sigmoid", "Relu", "Softsign"],
    )
    kinds = onnx.TensorProto.FLOAT
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "lstm",
        [value(n, kinds, a.shape) for n, a in given.items()],
        [value(n, kinds, None) for n in ("Y", "Yh", "Yc")],
    )
    opsets = [onnx.helper.make_opsetid("", 14)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString())
    ys, h, c = session.run(None, given)
    found, last = unroll(cell, params, jnp.asarray(XS))
    assert_close([found, last.h, last.c], [ys[:, 0], h[0], c[0]], 1e-5)


def test_a_projection_narrows_layers_and_networks() -> None:
    """The next layer reads P numbers, masks fit, and a language model learns."""
    cell = VariantCell(proj_size=P)
    rates = {"zoneout_hidden": 0.5, "zoneout_cell": 0.5, "recurrent_dropout": 0.5}
    regularizer = RegularizerConfig(**rates)
    stack = StackedLSTM(D, H, 2, cell=cell, regularizer=regularizer, rngs=nnx.Rngs(0))
    read = jax.jit(lambda stack, xs, key: stack(xs, key=key))
    ys, states = read(stack, jnp.asarray(XS, "float32"), jax.random.key(0))
    assert ys.shape == (*XS.shape[:2], P)
    assert stack.layers[1].w_x.shape == (P, 4 * H)
    assert (states[1].h.shape, states[1].c.shape) == ((T, P), (T, H))
    model = LanguageModel(5, H, 2, cell=cell, rngs=nnx.Rngs(0))
    ids = jnp.zeros((B, T), int)
    logits, states = jax.jit(lambda model: model(ids, model.initial_state(B)))(model)
    assert logits.shape == (B, T, 5)
    assert_close(model.next_logits(states), logits[:, -1], 1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VariantCell(clip=-1.0), "clip: expected 0 or more, found -1.0"),
        (lambda: VariantCell(cell_clip=np.nan), "cell_clip: expected 0 or more, found"),
        (lambda: VariantCell(proj_size=-1), "proj_size: expected 0 or more, found -1"),
        (
            lambda: VariantCell(gate_activation="sigmod"),
            "activation: expected one of sigmoid, .*, linear or a function, found 'sig",
        ),
        (
            lambda: LSTM(D, H, cell=VariantCell(proj_size=7), rngs=nnx.Rngs(0)),
            "proj_size: expected 1 to 6, the hidden units, found 7",
        ),
    ],
)
def test_options_that_make_no_sense(make: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_parameters_of_another_cell() -> None:
    wide = VariantCell().init(jax.random.key(0), D, H)
    with pytest.raises(ValueError, match=r"variant: expected w_h \[2, 24\] for H = 6"):
        unroll(VariantCell(proj_size=P), wide, jnp.asarray(XS))
    with pytest.raises(ValueError, match=r"expected p \[18\] for H = 6, found None"):
        unroll(VariantCell(peepholes=True), wide, jnp.asarray(XS))
