"""Every system's arrays mean what ours mean: by its equations, and by its library."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.errors import InputError
from lstm_jax.interop import ours
from lstm_jax.interop.activations import Activation
from lstm_jax.interop.formats import SYSTEMS
from lstm_jax.interop.system import (
    Feed,
    Outcome,
    State,
    System,
    cut,
    draw,
    grouped,
    largest_error,
    sigmoid,
    unrolled,
)
from lstm_jax.interop.weights import (
    BLOCKS,
    Array,
    Arrays,
    Direction,
    Style,
    Weights,
    check_weights,
    features,
    reordered,
)
from tests.helpers.random_layers import LAYERS

Theirs = Any  # what another library has
CASES = [
    pytest.param(system, weights, id=f"{system.name}-{name}")
    for system in SYSTEMS.values()
    for name, weights in LAYERS.items()
    if features(weights) <= system.holds
]


KINDS: dict[str, Callable[[Activation], Callable[[Array], Array]]] = {
    "Sigmoid": lambda _: sigmoid,
    "Tanh": lambda _: np.tanh,
    "Relu": lambda _: lambda z: np.where(z > 0, z, 0),
    "Softsign": lambda _: lambda z: z / (1 + np.abs(z)),
    "HardSigmoid": lambda a: lambda z: np.clip(a.alpha * z + a.beta, 0, 1),
    "LeakyRelu": lambda a: lambda z: np.where(z > 0, z, a.alpha * z),
}


def step(style: Style, one: Arrays, x: Array, state: State) -> State:
    """The equations of every kind of cell on the common form, for these tests alone."""
    h, second = state[0], one.get("b_h", np.zeros_like(one["w_h"][0]))
    a = x @ one["w_x"] + one.get("b", 0)
    if style.kind == "gru":
        hidden = h.shape[-1]
        u_r, u_z, u_n = np.split(h @ one["w_h"] + second, 3, axis=-1)
        a_r, a_z, a_n = np.split(a, 3, axis=-1)
        r, z, inside = sigmoid(a_r + u_r), sigmoid(a_z + u_z), u_n
        if style.reset_after:
            inside = r * u_n
        else:
            inside = (r * h) @ one["w_h"][:, -hidden:] + second[-hidden:]
        return ((1 - z) * np.tanh(a_n + inside) + z * h,)
    i, f, g, o = np.split(a + h @ one["w_h"] + second, 4, axis=-1)
    c = state[1]
    p_i, p_f, p_o = np.split(one.get("p", np.zeros(3 * c.shape[-1])), 3)
    gate, offer, show = (KINDS[each.name](each) for each in style.activations)
    most = style.clip or np.inf
    i = gate(np.clip(i + p_i * c, -most, most))
    f = 1 - i if style.coupled else gate(np.clip(f + p_f * c, -most, most))
    c = f * c + i * offer(np.clip(g, -most, most))
    h = gate(np.clip(o + p_o * c, -most, most)) * show(c)
    return (h @ one["proj"] if "proj" in one else h), c


def expected_of(weights: Weights, feed: Feed) -> Outcome:
    """What layers should make of an input."""
    return unrolled(
        step,
        weights.map(lambda one: {n: a for n, a in vars(one).items() if a is not None}),
        feed,
    )


def truth(weights: Weights) -> tuple[Feed, Outcome]:
    """A random input, and what the layers should make of it."""
    feed = draw(weights)
    return feed, expected_of(weights, feed)


@pytest.mark.parametrize(("system", "weights"), CASES)
def test_the_equations_of_a_system_on_its_arrays_are_ours(
    system: System, weights: Weights
) -> None:
    feed, expected = truth(weights)
    found = unrolled(system.step, system.write(weights), feed)
    assert largest_error(found, expected) < 1e-6


@pytest.mark.parametrize(("system", "weights"), CASES)
def test_what_a_system_has_written_is_read_again(
    system: System, weights: Weights
) -> None:
    if system.name == "onnx":
        pytest.importorskip("onnx")
    found = system.find(system.assemble(system.write(weights)))
    ((name, stack),) = found.items()
    again = system.read(stack, name)
    assert again.style == weights.style
    feed, expected = truth(weights)
    assert largest_error(expected_of(again, feed), expected) < 1e-6


# A compilation of Keras, Equinox or of several layers takes seconds.
QUICK = {
    "lstm_jax-projection",
    "lstm_jax-coupled",
    "lstm_jax-gru both biases",
    "linen-gru",
}


@pytest.mark.parametrize(
    ("system", "weights"),
    [
        pytest.param(*case.values, id=case.id)
        if case.id in QUICK or str(case.id).startswith(("torch", "onnx", "haiku"))
        else pytest.param(*case.values, id=case.id, marks=pytest.mark.slow)
        for case in CASES
    ],
)
@pytest.mark.filterwarnings("default")
def test_the_library_of_a_system_agrees(
    system: System, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    pytest.importorskip(system.library)
    feed, expected = truth(weights)
    found = cut(system.run(system.write(weights), feed), feed.lengths)
    assert largest_error(found, expected) < 2e-6


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
@pytest.mark.parametrize("kind", BLOCKS)
def test_two_gates_in_the_wrong_order_are_seen(system: System, kind: str) -> None:
    weights = LAYERS["gru reset before" if system.name == "haiku" else "gru"]
    weights = LAYERS["lstm"] if kind == "lstm" else weights
    feed, expected = truth(weights)
    for first, second in itertools.combinations(BLOCKS[kind], 2):
        swapped = BLOCKS[kind].translate(str.maketrans(first + second, second + first))

        def wrong(one: Direction, order: str = swapped) -> Direction:
            there = {
                name: reordered(array, -1, BLOCKS[kind], order)
                for name, array in vars(one).items()
                if array is not None
            }
            return dataclasses.replace(one, **there)

        found = unrolled(system.step, system.write(weights.map(wrong)), feed)
        assert largest_error(found, expected) > 1e-2


@pytest.mark.parametrize(
    "name",
    [
        *("torch", "linen", "keras", "equinox"),
        pytest.param("nnx", marks=pytest.mark.slow),
    ],
)
def test_gradients_are_those_of_the_library(name: str) -> None:
    """Of a weighted sum of all outputs, with respect to every weight."""
    gradient_of = GRADIENTS[name]
    system, weights = SYSTEMS[name], LAYERS["two directions"]
    weights = dataclasses.replace(
        weights, layers=tuple((layer[0],) for layer in weights.layers[:1])
    )
    xs = draw(weights).xs
    factors = np.random.default_rng(5).normal(size=(*xs.shape[:2], 4)).astype("float32")
    layer = ours.to_layer(weights)
    theirs = gradient_of(system.write(weights), xs, factors)
    mine = jax.grad(lambda m: (m(jnp.asarray(xs))[0] * factors).sum())(layer)
    expected = system.read(dataclasses.replace(theirs), "gradients").layers[0][0]
    found = mine.params
    for array in ("w_x", "w_h", "b"):
        np.testing.assert_allclose(
            getattr(found, array), getattr(expected, array), rtol=1e-4, atol=1e-5
        )


def _torch_gradient(stack: Theirs, xs: Array, factors: Array) -> Theirs:
    torch = pytest.importorskip("torch")
    from lstm_jax.interop.torch import assemble, module_of

    module = module_of(stack)
    given = {n: torch.tensor(np.array(a)) for n, a in assemble(stack).items()}
    module.load_state_dict(given)
    (module(torch.tensor(xs))[0] * torch.tensor(factors)).sum().backward()
    grads = {
        n.removesuffix("_l0"): p.grad.numpy() for n, p in module.named_parameters()
    }
    grads.pop("bias_hh")  # the sum has the gradient of each
    return dataclasses.replace(stack, layers=((grads,),))


def _linen_gradient(stack: Theirs, xs: Array, factors: Array) -> Theirs:
    from flax import linen

    from lstm_jax.interop.weights import flattened, nested

    rnn = linen.RNN(linen.OptimizedLSTMCell(4))

    def loss(params: Theirs) -> Theirs:
        ys: Theirs = rnn.apply({"params": {"cell": params}}, xs)
        return (ys * factors).sum()

    grads = jax.grad(loss)(nested(stack.layers[0][0]))
    return dataclasses.replace(stack, layers=((flattened(grads),),))


def _nnx_gradient(stack: Theirs, xs: Array, factors: Array) -> Theirs:
    from flax import nnx

    from lstm_jax.interop.weights import flattened, nested

    cell: Theirs = nnx.OptimizedLSTMCell(xs.shape[-1], 4, rngs=nnx.Rngs(0))
    nnx.update(cell, nested(stack.layers[0][0]))
    graph, params, rest = nnx.split(cell, nnx.Param, ...)
    zeros = jnp.zeros((len(xs), 4))

    def loss(params: Theirs) -> Theirs:
        rnn = nnx.RNN(nnx.merge(graph, params, rest), rngs=False)
        return (rnn(jnp.asarray(xs), initial_carry=(zeros, zeros)) * factors).sum()

    grads = nnx.to_pure_dict(jax.grad(loss)(params))
    return dataclasses.replace(stack, layers=((flattened(grads),),))


def _equinox_gradient(stack: Theirs, xs: Array, factors: Array) -> Theirs:
    eqx = pytest.importorskip("equinox")
    from lstm_jax.interop.equinox import cell_of

    def loss(cell: Theirs) -> Theirs:
        def one(state: Theirs, x: Theirs) -> Theirs:
            state = jax.vmap(cell)(x, state)
            return state, state[0]

        zeros = jnp.zeros((len(xs), 4))
        ys = jax.lax.scan(one, (zeros, zeros), jnp.swapaxes(jnp.asarray(xs), 0, 1))[1]
        return (jnp.swapaxes(ys, 0, 1) * factors).sum()

    grads = eqx.filter_grad(loss)(cell_of(stack.style, stack.layers[0][0]))
    names = ("weight_ih", "weight_hh", "bias")
    arrays = {name: np.asarray(getattr(grads, name)) for name in names}
    return dataclasses.replace(stack, layers=((arrays,),))


def _keras_gradient(stack: Theirs, xs: Array, factors: Array) -> Theirs:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "jax")
        keras = pytest.importorskip("keras")
    layer = keras.layers.LSTM(4, return_sequences=True)
    layer.build(xs.shape)
    arrays = stack.layers[0][0]
    others = [variable.value for variable in layer.non_trainable_variables]

    def loss(weights: Theirs) -> Theirs:
        ys = layer.stateless_call(weights, others, xs)[0]
        return (ys * factors).sum()

    grads = jax.grad(loss)([jnp.asarray(array) for array in arrays.values()])
    named = dict(zip(arrays, map(np.asarray, grads), strict=True))
    return dataclasses.replace(stack, layers=((named,),))


GRADIENTS: dict[str, Callable[[Theirs, Array, Array], Theirs]] = {
    "torch": _torch_gradient,
    "linen": _linen_gradient,
    "nnx": _nnx_gradient,
    "equinox": _equinox_gradient,
    "keras": _keras_gradient,
}


@pytest.mark.parametrize(
    ("name", "weights", "what"),
    [
        ("torch", "peepholes", "found peepholes, which it does not have"),
        ("torch", "coupled", r"found coupled gates \(f = 1 - i\)"),
        ("torch", "widths", "layers of different widths"),
        ("torch", "backward", "a layer that only reads backwards"),
        ("keras", "backward layers", "layers on top of each other that only read back"),
        ("torch", "wide projection", "found a projection as wide as the memory"),
        ("torch", "gru reset before", "a reset before the product"),
        ("keras", "projection", "a projection"),
        ("linen", "peepholes", "Flax linen can hold, found peepholes"),
        ("nnx", "gru both biases", "a bias within the reset"),
        ("haiku", "gru", "a reset after the product"),
        ("onnx", "projection", "a projection"),
        ("torch", "clip", "found clipped activations and peepholes"),
        ("keras", "activations", "found other activations"),
        ("linen", "relu", "found an activation other than tanh, which"),
    ],
)
def test_what_a_system_cannot_hold_is_refused_by_name(
    name: str, weights: str, what: str
) -> None:
    with pytest.raises(InputError, match=what):
        SYSTEMS[name].write(LAYERS[weights])


def test_projections_of_several_widths_are_none_of_pytorch() -> None:
    """`nn.LSTM` has one `proj_size`."""
    first, second = LAYERS["projection"].layers
    narrow = [
        dataclasses.replace(one, w_h=one.w_h[:2], proj=np.asarray(one.proj)[:, :2])
        for one in second
    ]
    weights = dataclasses.replace(LAYERS["projection"], layers=(first, tuple(narrow)))
    with pytest.raises(InputError, match="found layers of different widths"):
        SYSTEMS["torch"].write(check_weights(weights))


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("a/0/{}/cell", "a/cell"),
        ("feed_forward/a/{}/cell", "feed_forward/a/cell"),
        ("reverse.{}_a", "reverse/a"),
    ],
)
def test_the_last_word_of_a_path_says_the_direction(place: str, name: str) -> None:
    forward, backward = {"w_h": np.zeros((1, 4))}, {"w_h": np.ones((1, 4))}
    cells = {place.format("backward"): backward, place.format("forward"): forward}
    stack = grouped(cells, lambda _: Style())[name]
    assert not stack.style.backward
    assert stack.layers[0][0] is forward and stack.layers[0][1] is backward


def test_two_cells_in_one_place_are_refused() -> None:
    cells = {"a/backward": {"w_h": np.ones((1, 4))}, "a/reverse": {}}
    with pytest.raises(InputError, match="a/reverse: expected one cell for each layer"):
        grouped(cells, lambda _: Style())
