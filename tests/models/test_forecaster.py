"""The model of many series, its loss, and forecasts from rolling origins."""

from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.forecast.task import (
    forecast,
    forecast_task,
    rolling_forecast,
    window_batch,
)
from lstm_jax.config import RunConfig
from lstm_jax.data.series import Panel, WindowSpec, hold_out, scale_series
from lstm_jax.models.forecaster import (
    LEVELS,
    ForecastModel,
    build_ensemble,
    forecast_loss,
    pinball,
    recent,
    same_phase,
    spread_out,
)
from lstm_jax.training.compiled import CompiledSteps
from lstm_jax.training.optimizer import make_optimizer
from lstm_jax.training.schedule import Schedule
from lstm_jax.training.step import TrainState, init_state
from lstm_jax.training.trainer import train_model

WINDOW = WindowSpec(horizon=5, seasons=(3, 6), reads=8)
YARDSTICK = (20.0, 2.0)


def some_series(points: int = 60) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    t = np.arange(points)
    return {
        f"s{k}": np.exp(
            k + 0.3 * np.sin(t * np.pi / 3 + k) + rng.normal(0, 0.1, points)
        )
        for k in range(4)
    }


def a_panel() -> Panel:
    return scale_series(some_series(), WINDOW, log=True)


def windows(panel: Panel, n: int, batch: int, members: int) -> dict[str, np.ndarray]:
    sizes = {"batch": batch, "members": members, "seed": 0}
    return window_batch(panel, WINDOW, n, **sizes, yardstick=YARDSTICK)


@pytest.fixture(scope="module")
def models() -> ForecastModel:
    """Three members whose output weights are not zero."""
    fresh = build_ensemble(WINDOW, 6, 1, members=3, seed=0)
    noise = np.random.default_rng(1).normal(0, 0.5, fresh.w_out.shape)
    fresh.w_out[...] = jnp.asarray(noise, jnp.float32)
    return fresh


def member(models: ForecastModel, k: int) -> ForecastModel:
    return jax.tree.map(lambda array: array[k], models)


@jax.jit
def read(model: ForecastModel, past: jax.Array) -> jax.Array:
    return model(past)


def some_past(rows: int = 4) -> jax.Array:
    past = np.random.default_rng(2).normal(size=(rows, WINDOW.context))
    return jnp.asarray(past, jnp.float32)


def test_what_is_read_is_what_a_slow_loop_says() -> None:
    past = np.asarray(some_past())
    end = past.shape[1]
    read, seasonal = recent(some_past(), WINDOW), same_phase(some_past(), WINDOW)
    assert read.shape == (4, 8, 3) and seasonal.shape == (4, 5, 4)
    for t in range(8):
        for column, lag in enumerate((0, 3, 6)):
            expected = past[:, end - 8 + t - lag]
            np.testing.assert_array_equal(read[:, t, column], expected)
    for step in range(5):
        ends = [end + step - lag for lag in (3, 6, 6, 12)]  # of seasons 3, 3, 6 and 6
        for column, at in enumerate(ends):
            while at >= end - (3 if column == 1 else 0):  # known, or of the one before
                at -= (3, 3, 6, 6)[column]
            np.testing.assert_array_equal(seasonal[:, step, column], past[:, at])


def test_an_untrained_model_repeats_the_seasons() -> None:
    t = np.arange(WINDOW.context + WINDOW.horizon)
    periodic = np.array([1.0, -1.0, 3.0])[t % 3].astype(np.float32)
    model = ForecastModel(WINDOW, 6, rngs=nnx.Rngs(0))
    found = read(model, jnp.asarray(np.tile(periodic[: WINDOW.context], (4, 1))))
    np.testing.assert_allclose(found[0, :, 2], periodic[WINDOW.context :], rtol=1e-6)


def test_the_future_depends_on_order_and_on_all_that_is_read(
    models: ForecastModel,
) -> None:
    """The recurrence is at work: every point read has a gradient at every step."""
    slope = jax.jacobian(lambda past: member(models, 0)(past[None])[0, :, 2])
    gradient = jax.jit(slope)(some_past(1)[0])
    assert (gradient[:, -WINDOW.reads :] != 0).all()


def test_quantiles_never_cross(models: ForecastModel) -> None:
    wild = 30 * jax.random.normal(jax.random.key(0), (50, 7, 5))
    assert (jnp.diff(spread_out(wild, 2), axis=-1) >= 0).all()
    found = read(member(models, 1), some_past())
    assert found.shape == (4, 5, 5) and (jnp.diff(found, axis=-1) > 0).all()
    np.testing.assert_array_equal(spread_out(wild, 2)[..., 2], wild[..., 2])
    with pytest.raises(ValueError, match=r"rise through 0\.5"):
        ForecastModel(WINDOW, 6, rngs=nnx.Rngs(0), levels=(0.1, 0.9))


def test_pinball_is_what_a_slow_loop_says() -> None:
    rng = np.random.default_rng(3)
    quantiles, truth = rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 3))
    found = pinball(jnp.float32(quantiles), jnp.float32(truth), (0.1, 0.5))
    for b in range(2):
        for f in range(3):
            slow = 0.0
            for q, value in zip((0.1, 0.5), quantiles[b, f], strict=True):
                error = truth[b, f] - value
                slow += 2 * (q * error if error > 0 else (q - 1) * error)
            np.testing.assert_allclose(found[b, f], slow / 2, rtol=1e-5)


def test_pinball_is_least_at_the_quantile() -> None:
    truth = jnp.asarray(np.random.default_rng(4).exponential(size=999), jnp.float32)
    guesses = jnp.linspace(0, 5, 501)
    for level in (0.1, 0.5, 0.9):
        grid = jnp.broadcast_to(guesses[:, None, None], (501, 999, 1))
        rows = jnp.broadcast_to(truth, (501, 999))
        losses = pinball(grid, rows, (level,)).mean(axis=1)
        best = guesses[losses.argmin()]
        assert abs(float(jnp.mean(truth < best)) - level) < 0.01


def test_members_learn_as_if_they_were_alone(models: ForecastModel) -> None:
    arrays = windows(a_panel(), 0, batch=4, members=3)
    batch = {name: jnp.asarray(array) for name, array in arrays.items()}

    def loss(models: ForecastModel) -> jax.Array:
        return forecast_loss(models, (), batch, None)[0].loss

    def alone(
        model: ForecastModel, past: jax.Array, future: jax.Array, weight: jax.Array
    ) -> jax.Array:
        return (pinball(model(past), future, LEVELS).sum(axis=1) * weight).sum()

    together, slope = jax.jit(jax.grad(loss))(models), jax.jit(jax.grad(alone))
    for k in range(3):
        rows = (batch[name][:, k] for name in ("past", "future", "weight"))
        single = slope(member(models, k), *rows)
        for one, all_of_them in zip(
            jax.tree.leaves(single), jax.tree.leaves(together), strict=True
        ):
            np.testing.assert_allclose(all_of_them[k], one, rtol=1e-4, atol=1e-5)


def test_batches_depend_on_their_number_and_never_on_what_came_after() -> None:
    known, truth = hold_out(some_series(), 10)
    panel = scale_series(known, WINDOW, log=True)
    unknown = {name: points * np.nan for name, points in truth.items()}
    seen = [windows(panel.extended(unknown), n, 64, 2) for n in (0, 1, 0)]
    assert seen[0]["past"].shape == (64, 2, 14)
    assert seen[0]["future"].shape == (64, 2, 5)
    for batch in seen:
        assert all(np.isfinite(array).all() for array in batch.values())
    np.testing.assert_array_equal(seen[0]["past"], seen[2]["past"])
    assert (seen[0]["past"] != seen[1]["past"]).any()
    assert (seen[0]["past"][:, 0] != seen[0]["past"][:, 1]).any()


def test_every_window_is_drawn_the_last_one_too() -> None:
    points = np.random.default_rng(6).normal(size=WINDOW.context + WINDOW.horizon + 2)
    panel = scale_series({"a": points}, WINDOW, log=False)
    drawn = windows(panel, 0, batch=64, members=1)["future"][:, 0]
    rows, ends = np.zeros(3, int), WINDOW.context + np.arange(3)
    _, level = panel.windows(rows, ends, WINDOW)
    every = panel.futures(rows, ends, level, WINDOW.horizon)
    assert {tuple(row) for row in drawn} == {tuple(row) for row in every}


def test_one_step_ahead_is_a_forecast_from_every_point(models: ForecastModel) -> None:
    known, truth = hold_out(some_series(), 7)
    panel = scale_series(known, WINDOW, log=True).extended(truth)
    found = rolling_forecast(models, panel, panel.known, 7, stride=1)
    assert found.shape == (4, 7, 5)
    for k in range(7):
        single = forecast(models, panel, panel.known + k)
        np.testing.assert_allclose(found[:, k], single[:, 0], rtol=1e-5)
    many = rolling_forecast(models, panel, panel.known, 7, stride=5)
    first, second = (forecast(models, panel, panel.known + k) for k in (0, 5))
    np.testing.assert_allclose(many[:, :5], first, rtol=1e-5)
    np.testing.assert_allclose(many[:, 5:], second[:, :2], rtol=1e-5)
    with pytest.raises(ValueError, match="stride"):
        rolling_forecast(models, panel, panel.known, 7, stride=6)


@pytest.mark.parametrize(("stride", "unchanged"), [(1, 4), (5, 5)])
def test_a_forecast_does_not_know_what_comes(
    models: ForecastModel, stride: int, unchanged: int
) -> None:
    """Another truth from point 3 on: what was forecast before it was seen stays."""
    known, truth = hold_out(some_series(), 6)
    other = {name: points.copy() for name, points in truth.items()}
    for points in other.values():
        points[3:] *= 2
    panel = scale_series(known, WINDOW, log=True)
    found = [
        rolling_forecast(models, panel.extended(after), panel.known, 6, stride)
        for after in (truth, other)
    ]
    same = (found[0] == found[1]).all(axis=(0, 2))
    assert same.tolist() == [True] * unchanged + [False] * (6 - unchanged)


def test_an_ensemble_is_the_median_of_its_members(models: ForecastModel) -> None:
    panel = a_panel()
    whole = forecast(models, panel, panel.known)
    parts = [
        forecast(
            jax.tree.map(lambda array, k=k: array[k : k + 1], models),
            panel,
            panel.known,
        )
        for k in range(3)
    ]
    assert len({part.tobytes() for part in parts}) == 3
    np.testing.assert_allclose(whole, np.median(parts, axis=0), rtol=1e-4)
    assert (np.diff(whole, axis=-1) > 0).all()


def test_more_windows_than_fit_a_call(
    models: ForecastModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = a_panel()
    whole = rolling_forecast(models, panel, panel.known - 6, 6, stride=1)
    monkeypatch.setattr("experiments.forecast.task._ROWS", 5)
    parts = rolling_forecast(models, panel, panel.known - 6, 6, stride=1)
    np.testing.assert_allclose(parts, whole, rtol=1e-5)


def test_training_finds_the_quantiles_of_noise() -> None:
    """Logarithms that are independent and normal: the best forecast is known.

    The mix of seasonal points that an untrained model gives is a quarter worse.
    """
    rng = np.random.default_rng(5)
    series = {f"s{k}": np.exp(rng.normal(0, 1, 300)) for k in range(4)}
    panel = scale_series(series, WINDOW, log=True)
    sizes = {"batch": 32, "members": 2, "seed": 0}
    task = forecast_task(panel, WINDOW, **sizes, yardstick=YARDSTICK)
    compiled = CompiledSteps(task.loss, make_optimizer(0.0, 1.0, 0.99))
    fresh = build_ensemble(WINDOW, 6, 1, members=2, seed=0)
    schedule = Schedule(64, None, 2e-2, 0.05, 0.0)

    def first_state() -> TrainState:
        own = jax.tree.map(jnp.copy, fresh)
        return init_state(own, compiled.optimizer, (), jax.random.key(0))

    run = RunConfig(evaluations=0, steps_per_call=8)
    trained = train_model(task, first_state, schedule, compiled, run).model

    rows = np.repeat(np.arange(4), 281)
    ends = np.tile(np.arange(WINDOW.context, 295), 4)
    past, level = panel.windows(rows, ends, WINDOW)
    future = panel.futures(rows, ends, level, WINDOW.horizon)
    normal = np.array([NormalDist().inv_cdf(q) for q in LEVELS])
    best = (normal - level[:, None]) / panel.scale[rows][:, None]

    def loss(quantiles: jax.Array) -> float:
        return float(pinball(quantiles, jnp.asarray(future), LEVELS).mean())

    least = loss(jnp.repeat(jnp.float32(best)[:, None], WINDOW.horizon, axis=1))
    assert loss(read(member(trained, 0), jnp.asarray(past))) < 1.05 * least
    assert loss(read(member(fresh, 0), jnp.asarray(past))) > 1.2 * least


def test_covariates_are_read_where_there_are_any() -> None:
    """Every one of them, at every step that is read; and as many as were promised."""
    model = ForecastModel(WINDOW, 6, rngs=nnx.Rngs(0), covariates=2)
    model.w_out[...] = jnp.ones_like(model.w_out[...])
    rng = np.random.default_rng(0)
    beside = jnp.asarray(rng.normal(size=(4, WINDOW.reads, 2)), jnp.float32)

    def total(beside: jax.Array) -> jax.Array:
        return jnp.sum(model(some_past(), None, beside))

    slope = jax.jit(jax.grad(total))(beside)
    assert slope.shape == beside.shape and bool(jnp.all(slope != 0))
    for wrong in (None, beside[..., :1]):
        with pytest.raises(ValueError, match="covariates: expected 2, got"):
            model(some_past(), None, wrong)


def test_an_ensemble_learns_from_each_windows_own_covariates() -> None:
    """The loss of a batch is that of its rows, each beside its own covariates."""
    beside = tuple(np.random.default_rng(k).normal(size=(60, 2)) for k in range(4))
    panel = scale_series(some_series(), WINDOW, True, beside)
    models = build_ensemble(WINDOW, 6, 1, members=2, seed=0, covariates=2)
    models.w_out[...] = jnp.ones_like(models.w_out[...])
    batch = windows(panel, 0, 3, 2)
    assert batch["covariates"].shape == (3, 2, WINDOW.reads, 2)
    whole = jax.jit(lambda b: forecast_loss(models, (), b, None)[0])(batch)
    total = 0.0
    for k in range(2):
        quantiles = member(models, k)(
            jnp.asarray(batch["past"][:, k]),
            None,
            jnp.asarray(batch["covariates"][:, k]),
        )
        points = pinball(quantiles, jnp.asarray(batch["future"][:, k]), LEVELS)
        total += float(jnp.sum(batch["weight"][:, k, None] * points))
    assert float(whole.loss) == pytest.approx(total, rel=1e-5)
    ends = np.full(4, 60)
    found = forecast(models, panel, ends)
    assert found.shape == (4, WINDOW.horizon, len(LEVELS))
    other = scale_series(some_series(), WINDOW, True, tuple(b + 1 for b in beside))
    assert np.any(found != forecast(models, other, ends))
