"""The optimizer step against Adam by hand, and many steps against one at a time.

The step knows no task, so most tests bring the smallest there is: a line through
points, whose gradient fits on one line.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.typing import NDArray

from lstm_jax.metrics.losses import LossSums, loss_sums
from lstm_jax.training.loop import Task, Timer, fit
from lstm_jax.training.optimizer import make_optimizer
from lstm_jax.training.schedule import Schedule
from lstm_jax.training.step import (
    Loss,
    StepReport,
    TrainState,
    eval_step,
    init_state,
    train_step,
    train_steps,
    train_steps_jointly,
)
from lstm_jax.typing import Batch, Carry, Model, PRNGKey

POINTS, INPUTS, OUTPUTS = 8, 3, 2
STEPS = 6
PLAIN = optax.identity()
x64 = pytest.mark.usefixtures("x64")
one_step = jax.jit(train_step, static_argnums=(0, 1))
many_steps = jax.jit(train_steps, static_argnums=(0, 1))
several = jax.jit(train_steps_jointly, static_argnums=(0, 1))


def line(
    model: Model, carry: Carry, batch: Batch, key: PRNGKey | None
) -> tuple[LossSums, Carry]:
    """Squared errors of a linear model, summed over the points."""
    errors = batch["x"] @ model["w"] + model["b"] - batch["y"]
    count = jnp.asarray(len(errors), errors.dtype)
    return loss_sums((errors**2).sum(), count, accuracy=count * 0), carry


def line_gradient(model: Model, batch: Batch) -> dict[str, NDArray]:
    """Of the mean error."""
    errors = batch["x"] @ model["w"] + model["b"] - batch["y"]
    scale = 2 / len(errors)
    return {"w": scale * batch["x"].T @ errors, "b": scale * errors.sum(axis=0)}


def adam_by_hand(
    model: Model,
    batches: list[Batch],
    rates: NDArray,
    decay: float,
    clip: float,
    beta2: float,
) -> tuple[Model, list[float]]:
    """Clipping, Adam (Kingma & Ba 2015), decoupled decay; the model, and the norms."""
    mean = {name: np.zeros_like(w) for name, w in model.items()}
    square = {name: np.zeros_like(w) for name, w in model.items()}
    norms = []
    for t, (batch, rate) in enumerate(zip(batches, rates, strict=True), 1):
        gradient = line_gradient(model, batch)
        norms.append(np.sqrt(sum((g**2).sum() for g in gradient.values())))
        after = {}
        for name, w in model.items():
            g = gradient[name] * min(1.0, clip / norms[-1])
            mean[name] = 0.9 * mean[name] + 0.1 * g
            square[name] = beta2 * square[name] + (1 - beta2) * g**2
            m, v = mean[name] / (1 - 0.9**t), square[name] / (1 - beta2**t)
            shrink = decay if name == "w" else 0.0
            after[name] = w - rate * (m / (np.sqrt(v) + 1e-8) + shrink * w)
        model = after
    return model, norms


def problem(seed: int = 0) -> tuple[Model, list[Batch], NDArray]:
    """A line, points to learn it from, and a learning rate for each step."""
    rng = np.random.default_rng(seed)
    model = {"w": rng.normal(size=(INPUTS, OUTPUTS)), "b": rng.normal(size=OUTPUTS)}
    batches = [
        {
            "x": rng.normal(size=(POINTS, INPUTS)),
            "y": scale * rng.normal(size=(POINTS, OUTPUTS)),
        }
        for scale in rng.permutation([0.1, 0.1, 1.0, 1.0, 9.0, 9.0])
    ]
    return model, batches, rng.uniform(0.01, 0.1, STEPS)


def jax_problem() -> tuple[Model, list[Batch], jax.Array]:
    return jax.tree.map(jnp.asarray, problem())


def start(model: Model, optimizer: optax.GradientTransformation) -> TrainState:
    return init_state(model, optimizer, (), jax.random.key(0))


def stack(batches: list) -> Batch:
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *batches)


def assert_close(actual: object, expected: object, tolerance: float) -> None:
    compare = functools.partial(
        np.testing.assert_allclose, rtol=tolerance, atol=tolerance
    )
    jax.tree.map(compare, actual, expected)


ADAM = make_optimizer(weight_decay=0.1, clip_norm=4.0, beta2=0.95)


# One step.


@x64
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("clip", [0.0, 4.0])
@pytest.mark.parametrize("beta2", [0.9, 0.999])
def test_steps_are_those_of_adam(decay: float, clip: float, beta2: float) -> None:
    """In float64 only the order of additions differs."""
    model, batches, rates = problem()
    longest = clip or np.inf
    expected, norms = adam_by_hand(model, batches, rates, decay, longest, beta2)
    assert not clip or min(norms) < clip < max(norms)  # some are clipped, some not
    optimizer = make_optimizer(decay, clip, beta2)
    state = start(jax.tree.map(jnp.asarray, model), optimizer)
    found = []
    for batch, rate in zip(batches, rates, strict=True):
        state, report = one_step(line, optimizer, state, batch, jnp.asarray(rate))
        found.append(report.gradient_norm)
    assert_close(state.model, expected, 1e-10)
    assert_close(found, norms, 1e-10)  # the norms before they are clipped
    assert state.step == STEPS


def test_a_report_holds_the_sums_of_the_batch() -> None:
    model, batches, rates = jax_problem()
    _, report = one_step(line, ADAM, start(model, ADAM), batches[0], rates[0])
    sums, _ = line(model, (), batches[0], None)
    assert_close(report.sums, sums, 1e-6)
    assert report.sums.count == POINTS


def test_decay_is_for_matrices() -> None:
    """Where there is no gradient, the matrix shrinks by its share; the bias stays."""

    def nothing(*_: object) -> tuple[LossSums, Carry]:
        return loss_sums(jnp.float32(0), jnp.float32(0)), ()

    model, batches, _ = jax_problem()
    state, _ = one_step(nothing, ADAM, start(model, ADAM), batches[0], jnp.float32(0.5))
    assert_close(state.model["w"], model["w"] * (1 - 0.5 * 0.1), 1e-6)
    np.testing.assert_array_equal(state.model["b"], model["b"])


def test_the_type_of_a_weight_stays() -> None:
    model, batches, _ = jax_problem()
    model = {**model, "w": model["w"].astype(jnp.bfloat16)}
    state, _ = one_step(line, ADAM, start(model, ADAM), batches[0], jnp.float32(0.1))
    assert state.model["w"].dtype == jnp.bfloat16
    assert state.model["b"].dtype == jnp.float32


def draws(
    model: Model, carry: Carry, batch: Batch, key: PRNGKey | None
) -> tuple[LossSums, Carry]:
    """A loss that is a random number, and a carry that counts its calls."""
    assert key is not None
    number = jax.random.uniform(key)
    return loss_sums(number + 0 * model["b"].sum(), number * 0 + 1), carry + 1


def test_an_average_is_kept_beside_the_model() -> None:
    """Of the models before each step, the first ones soon forgotten."""
    model, batches, rates = jax_problem()
    memory = 0.3
    averaging, plain = (make_optimizer(0.0, 0.0, 0.9, m) for m in (memory, 0.0))
    state, other = start(model, averaging), start(model, plain)
    expected = jax.tree.map(np.zeros_like, model)
    for n, (batch, rate) in enumerate(zip(batches * 3, [*rates] * 3, strict=True)):
        kept = min(memory, n / (n + 10))
        expected = {
            name: kept * a + (1 - kept) * np.asarray(other.model[name])
            for name, a in expected.items()
        }
        state = one_step(line, averaging, state, batch, rate)[0]
        other = one_step(line, plain, other, batch, rate)[0]
    assert state.has_ema and not other.has_ema
    assert_close(state.eval_model, expected, 1e-5)
    assert_close(state.model, other.model, 0)
    assert_close(other.eval_model, other.model, 0)
    assert np.abs(np.asarray(state.eval_model["w"] - state.model["w"])).max() > 1e-3


def test_each_step_draws_from_the_key_of_its_number() -> None:
    model, batches, rates = jax_problem()
    key = jax.random.key(7)
    state = init_state(model, ADAM, jnp.int32(0), key)
    found, again = [], []
    for batch, rate in zip(batches, rates, strict=True):
        _, repeated = one_step(draws, ADAM, state, batch, rate)
        state, report = one_step(draws, ADAM, state, batch, rate)
        found.append(float(report.sums.loss))
        again.append(float(repeated.sums.loss))
    keys = [jax.random.fold_in(key, n) for n in range(STEPS)]
    assert found == again == [float(jax.random.uniform(key)) for key in keys]
    assert len(set(found)) == STEPS
    assert state.key == key


def test_the_carry_goes_from_step_to_step() -> None:
    model, batches, rates = jax_problem()
    state = init_state(model, ADAM, jnp.int32(10), jax.random.key(0))
    state, _ = many_steps(
        draws, ADAM, state, stack(batches), rates, jnp.int32(STEPS - 1)
    )
    assert state.carry == 10 + STEPS - 1


def test_evaluation_has_no_key() -> None:
    def keyless(
        model: Model, carry: Carry, batch: Batch, key: PRNGKey | None
    ) -> tuple[LossSums, Carry]:
        assert key is None
        return line(model, carry, batch, key)

    model, batches, _ = jax_problem()
    found = eval_step(keyless, model, "carried", batches[0])
    assert found[1] == "carried"
    assert_close(found[0], line(model, (), batches[0], None)[0], 0)


# Many steps.


@pytest.mark.parametrize("count", range(STEPS + 1))
def test_many_steps_are_single_steps(count: int) -> None:
    """The first `count` of them: what lies behind is not so much as looked at."""
    model, batches, rates = jax_problem()
    expected = start(model, ADAM)
    reports: list[StepReport] = []
    for batch, rate in zip(batches[:count], rates[:count], strict=True):
        expected, report = one_step(line, ADAM, expected, batch, rate)
        reports.append(report)
    behind = jnp.arange(STEPS) >= count
    poisoned = jax.tree.map(
        lambda a: jnp.where(behind[:, None, None], jnp.nan, a), stack(batches)
    )
    state, total = many_steps(
        line,
        ADAM,
        start(model, ADAM),
        poisoned,
        jnp.where(behind, jnp.nan, rates),
        jnp.int32(count),
    )
    assert state.step == count
    assert_close(
        (state.model, state.optimizer), (expected.model, expected.optimizer), 1e-6
    )
    assert_close(total.sums.loss, sum(r.sums.loss for r in reports), 1e-6)
    assert total.sums.count == count * POINTS
    norms = [r.gradient_norm for r in reports] or [0.0]
    assert_close(total.gradient_norm, np.mean(norms), 1e-6)


def test_models_trained_together_are_those_trained_alone() -> None:
    """Two problems, each with its own batches; one clips where the other does not."""
    (_, _, rates), count = jax_problem(), jnp.int32(STEPS - 1)
    problems = [jax.tree.map(jnp.asarray, problem(seed)[:2]) for seed in (0, 1)]
    states = [start(model, ADAM) for model, _ in problems]
    joint = dataclasses.replace(stack(states), step=jnp.int32(0))
    batches = jax.tree.map(
        lambda *arrays: jnp.stack(arrays, axis=1), *(stack(b) for _, b in problems)
    )
    state, total = several(line, ADAM, joint, batches, rates, count)
    reports = []
    for k, (_, own) in enumerate(problems):
        alone, report = many_steps(line, ADAM, states[k], stack(own), rates, count)
        reports.append(report)
        found = jax.tree.map(lambda a, k=k: a[k], (state.model, state.optimizer))
        assert_close(found, (alone.model, alone.optimizer), 1e-5)
    assert state.step == STEPS - 1
    assert_close(total.sums, reports[0].sums + reports[1].sums, 1e-5)
    norms = [report.gradient_norm for report in reports]
    assert_close(total.gradient_norm, np.mean(norms), 1e-5)


def counting(loss: Loss) -> tuple[Loss, Callable[[], int]]:
    """A loss that knows how often it was traced."""
    traces = []

    def counted(
        model: Model, carry: Carry, batch: Batch, key: PRNGKey | None
    ) -> tuple[LossSums, Carry]:
        traces.append(1)
        return loss(model, carry, batch, key)

    return counted, lambda: len(traces)


def test_another_count_compiles_nothing() -> None:
    model, batches, rates = jax_problem()
    loss, traces = counting(line)
    for count in (1, 2, STEPS, 0):
        state = start(model, ADAM)
        many_steps(loss, ADAM, state, stack(batches), rates, jnp.int32(count))
        assert traces() == 1


# The same steps in the training loop.


def line_task(loss: Loss) -> Task:
    _, batches, _ = problem()
    batches = jax.tree.map(np.float32, batches)
    return Task(
        loss=loss,
        batch=lambda n: batches[n % len(batches)],
        rows=POINTS,
        steps_per_epoch=len(batches),
        items_per_step=POINTS,
    )


def test_the_loop_hands_on_its_memory_and_compiles_once() -> None:
    """Calls of 4, 4 and 2 steps. The state is donated: its arrays are reused."""
    model, _, _ = jax_problem()
    loss, traces = counting(line)
    schedule = Schedule(10, None, peak=0.05, warmup=0.2, final_rate=0.0)
    before: list[jax.Array] = []
    steps = []
    for state, report in fit(
        line_task(loss), ADAM, start(model, ADAM), schedule, Timer(), steps_per_call=4
    ):
        assert all(array.is_deleted() for array in before)
        before = jax.tree.leaves((state.model, state.optimizer))
        assert not any(array.is_deleted() for array in before)
        steps.append(report.step)
    assert steps == [4, 8, 10]
    assert traces() == 1


@x64
def test_batches_made_ahead_keep_their_float64() -> None:
    """JAX keeps by thread whether there is float64, and they are made in another."""
    found = []

    def loss(model: Model, carry: Carry, batch: Batch, key: PRNGKey | None) -> tuple:
        found.append(batch["x"].dtype)
        zero = 0 * jnp.sum(model["w"]).astype(jnp.float32)
        return loss_sums(zero, zero + 1), carry

    model = {"w": jnp.zeros(2, jnp.float32)}
    task = dataclasses.replace(
        line_task(loss), batch=lambda n: {"x": np.ones(2), "y": np.ones(2)}, rows=2
    )
    schedule = Schedule(3, None, peak=0.05, warmup=0.2, final_rate=0.0)
    run = fit(task, PLAIN, start(model, PLAIN), schedule, Timer(), steps_per_call=1)
    assert len(list(run)) == 3
    assert set(found) == {jnp.dtype("float64")}


@pytest.mark.parametrize("steps_per_call", [1, 3, 16])
def test_the_loop_takes_the_steps_of_its_plan(steps_per_call: int) -> None:
    """However many it takes per call; batch n comes n-th, at the rate of its middle."""
    model, batches, _ = problem()
    schedule = Schedule(10, None, peak=0.05, warmup=0.2, final_rate=0.0)
    task = line_task(line)
    rates = np.array(schedule.rates(0, 0.0, 0.0, 10))
    sequence = [batches[n % len(batches)] for n in range(10)]
    expected, _ = adam_by_hand(model, sequence, rates, 0.1, 4.0, 0.95)
    first = start(jax.tree.map(jnp.asarray, model), ADAM)
    run = fit(task, ADAM, first, schedule, Timer(), steps_per_call=steps_per_call)
    *_, (state, _) = run
    assert_close(state.model, expected, 1e-4)  # float32 against float64


def test_the_last_line_knows_that_it_is_the_last() -> None:
    """Even if whoever reads the lines takes longer than was left."""
    model, _, _ = jax_problem()
    timer = Timer()
    schedule = Schedule(None, 60.0, peak=0.05, warmup=0.2, final_rate=0.0)
    evaluated = loss_sums(*map(jnp.float32, (3.0, 2.0)))
    task = dataclasses.replace(line_task(line), evaluate=lambda _: evaluated)
    lines = []
    for _, report in fit(
        task, ADAM, start(model, ADAM), schedule, timer, evaluations=1
    ):
        lines.append(report)
        timer.spent += 60.0
    assert [line.val_loss is None for line in lines] == [True, False]
    assert lines[-1].seconds == timer.seconds() - 60.0


def test_gradients_lie_as_parameters_do_on_a_gpu(
    request: pytest.FixtureRequest,
) -> None:
    """Or XLA turns all parameters round, and table rows are read across the grain."""
    model, batches, rates = jax_problem()
    state = start(model, ADAM)

    def pins_and_models() -> tuple[int, list[Model]]:
        steps = functools.partial(train_steps, line, ADAM)  # traced anew
        given = stack(batches), rates, jnp.int32(STEPS)
        pins = str(jax.make_jaxpr(steps)(state, *given)).count("layout_constraint")
        alone = jax.jit(lambda *args: steps(*args)[0].model)(state, *given)
        pair = jax.tree.map(lambda a: jnp.stack([a, a]), state.model)
        both = jax.vmap(lambda model: steps(start(model, ADAM), *given)[0].model)
        return pins, [alone, jax.jit(both)(pair)]

    pins, wanted = pins_and_models()
    assert not pins
    request.getfixturevalue("h100")
    pins, found = pins_and_models()
    assert pins == 1  # of the matrix; a vector lies in one way only
    assert_close(found, wanted, 1e-6)
