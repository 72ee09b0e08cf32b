"""Scores of points: nothing later decides, and a stream has those of the whole."""

import io
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.anomaly import __main__ as page
from experiments.anomaly.data import LABELS, Series
from experiments.anomaly.evidence import (
    CERTAIN,
    SILENCE,
    Judge,
    Tail,
    expected,
    judge,
)
from experiments.anomaly.features import ANCHORS, FEATURES, LEADS, tabulate
from experiments.anomaly.inference import Stream
from experiments.anomaly.scoring import judged
from experiments.anomaly.task import leads_loss, stretches, surprises_of
from lstm_jax.errors import InputError
from lstm_jax.models import DensityModel, ModelSpec, density_loss, save_model
from lstm_jax.training import members_of

SIZES = {"features": FEATURES, "anchors": ANCHORS, "hidden_size": 4, "num_layers": 1}


@pytest.fixture(scope="module")
def model() -> DensityModel:
    made = ModelSpec("density", SIZES, len(LEADS)).build(jax.random.key(0))
    drawn = np.random.default_rng(0).normal(size=made.w_out.shape)
    made.w_out[...] = drawn.astype(np.float32)
    return made


def a_series(points: int = 400, seed: int = 0) -> Series:
    rng = np.random.default_rng(seed)
    hours = np.arange(points)
    values = 50 + 10 * np.sin(hours * np.pi / 12) + rng.normal(size=points)
    values[points // 2] += 30
    seconds = np.arange(1.4e9, 1.4e9 + 3600.0 * points, 3600.0)
    return Series(f"g/{seed}", seconds, values)


def scores(model: DensityModel, *series: Series) -> list[np.ndarray]:
    evidence, news = judged(series, surprises_of(model, list(series)))
    return [np.stack(pair) for pair in zip(evidence, news, strict=True)]


def test_a_score_does_not_depend_on_what_comes_later(model: DensityModel) -> None:
    series, at = a_series(), 250
    values = series.values.copy()
    values[at:] = np.random.default_rng(9).normal(size=len(values) - at) * 1e6
    other = Series("g/other", series.seconds, values)
    cut = Series("g/cut", series.seconds[:at], series.values[:at])
    one, changed, short = (scores(model, each)[0] for each in (series, other, cut))
    np.testing.assert_array_equal(one[:, :at], changed[:, :at])
    np.testing.assert_array_equal(one[:, :at], short)
    assert np.any(one[:, at:] != changed[:, at:])


def test_series_side_by_side_do_not_touch_each_other(model: DensityModel) -> None:
    alone, beside = a_series(), a_series(300, seed=1)
    for one, many in zip(
        (scores(model, alone)[0], scores(model, beside)[0]),
        scores(model, alone, beside),
        strict=True,
    ):
        np.testing.assert_allclose(one, many, rtol=1e-4, atol=1e-4)


def test_a_stream_has_the_scores_of_the_whole(model: DensityModel) -> None:
    series = a_series()
    stream = Stream(model)
    points = zip(series.seconds.tolist(), series.values.tolist(), strict=True)
    found = np.array([stream.judge(*point) for point in points]).T
    evidence, news = scores(model, series)[0]
    by_chance = expected(news, np.arange(1, 401))
    np.testing.assert_allclose(found[0], evidence, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(np.log(found[1]), np.log(by_chance), atol=1e-2)
    assert evidence.argmax() == 200 and news[200] == evidence[200]


def test_scores_do_not_depend_on_the_unit_of_the_values(model: DensityModel) -> None:
    series = a_series()
    other = Series("g/big", series.seconds, 1e6 * series.values)
    one, big = (scores(model, each)[0] for each in (series, other))
    np.testing.assert_allclose(one, big, rtol=1e-3, atol=1e-3)


def test_the_tail_of_an_exponential_is_known() -> None:
    """-ln P of Exp(2) is half the value, whatever the scale that is assumed."""
    drawn = np.random.default_rng(0).exponential(2.0, size=(20_000, 1))
    tail = Tail.empty(1)
    for row in drawn:
        tail.weigh(row)
    assert tail.start[0] == pytest.approx(-2 * np.log(0.05), rel=0.1)
    assert tail.weigh(np.array([20.0]))[0] == pytest.approx(10, rel=0.15)


def test_an_alarm_is_given_once() -> None:
    """Until it is stranger still, or some time has passed."""
    surprise = np.random.default_rng(0).exponential(size=(1, 1500))
    for at, size in (
        (600, 40.0),
        (610, 30.0),
        (620, 200.0),
        (620 + SILENCE + 1, 150.0),
    ):
        surprise[:, at] = size
    evidence, news = judge(surprise, np.zeros_like(surprise))
    strange = np.flatnonzero(evidence[0] > 10)
    assert {600, 610, 620, 921} <= {*strange}
    assert np.flatnonzero(news[0] > 10).tolist() == [600, 620, 921]
    assert np.all((news == 0) | (news == evidence))


def test_a_longer_series_has_more_strange_points_by_chance() -> None:
    """N times the probability of one; a beginning is as long as a silence."""
    news = np.array([0.0, np.log(100.0), np.log(100.0)])
    found = expected(news, np.array([1000, 1000, 10]))
    np.testing.assert_allclose(found, [1000.0, 10.0, SILENCE / 100])


def test_a_value_beyond_all_before_is_strange() -> None:
    judged = Judge(1)
    none = np.zeros(1)
    for k in range(100):
        evidence, _ = judged.weigh(none, np.array([float(k % 10)]))
        assert evidence[0] == 0
    found = [judged.weigh(none, np.array([v]))[0][0] for v in (9.1, 9.5, 9.5, -1.0)]
    assert found[0] == found[2] == 0
    assert found[1] == pytest.approx(CERTAIN + 0.4 / 9.1)
    assert found[3] == pytest.approx(CERTAIN + 1 / 9.5)


def test_a_point_is_forecast_from_afar() -> None:
    """The last point that is shown is a lead before the one that comes."""
    values = np.zeros(80)
    values[20] = 1.0
    series = Series("g/s", np.arange(0.0, 80 * 60.0, 60.0), values)
    guesses = tabulate([series]).anchors[0, ..., 0]
    assert guesses.argmax(axis=1).tolist() == [20 + lead for lead in LEADS]


def test_a_batch_is_a_function_of_its_number() -> None:
    """Upside down its inputs and its points are so together; padding weighs nothing."""
    table = tabulate([a_series(60), a_series(30, seed=1)])
    one, same, other = (stretches(table, n, 64, 60, seed=0) for n in (3, 3, 4))
    for name in one:
        np.testing.assert_array_equal(one[name], same[name])
    assert np.any(one["inputs"] != other["inputs"])
    np.testing.assert_array_equal(one["inputs"][..., :ANCHORS], one["anchors"])
    kinds = set()
    for row in range(64):
        k = 0 if one["weights"][row].sum() == 60 else 1
        sign = 1 if np.all(one["values"][row] == table.values[k]) else -1
        kinds.add((k, sign))
        np.testing.assert_array_equal(one["weights"][row], table.weights[k])
        np.testing.assert_array_equal(one["values"][row], sign * table.values[k])
        np.testing.assert_array_equal(one["anchors"][row], sign * table.anchors[k])
    assert kinds == {(0, 1), (0, -1), (1, 1), (1, -1)}


def test_every_network_has_the_gradient_it_would_have_alone() -> None:
    """Its share of it; and its own distance."""
    models = ModelSpec("density", SIZES, len(LEADS)).build(jax.random.key(0))
    drawn = stretches(tabulate([a_series(90)]), 0, 2, 8, seed=0)
    batch = {name: jnp.asarray(each) for name, each in drawn.items()}

    def total(models: DensityModel) -> jax.Array:
        return leads_loss(models, (), batch, None)[0].loss

    found = jax.jit(jax.grad(total))(models).w_out[...]
    mine = {name: each[:, -1] for name, each in batch.items() if each.ndim == 4}

    def alone(model: DensityModel) -> jax.Array:
        return density_loss(model, (), batch | mine, None)[0].loss

    expected = jax.jit(jax.grad(alone))(members_of(models)[-1]).w_out[...] / len(LEADS)
    np.testing.assert_allclose(found[-1], expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def kept(model: DensityModel, tmp_path: Path) -> Path:
    spec = ModelSpec("density", SIZES, len(LEADS))
    save_model(tmp_path / "run", "anomaly", spec, model, {"false_alarms": 1e-4})
    return tmp_path / "run"


def lines(series: Series) -> list[str]:
    stamps = np.datetime_as_string(series.seconds.astype("datetime64[s]"))
    pairs = zip(stamps, series.values.tolist(), strict=True)
    return [f"{stamp},{value!r}" for stamp, value in pairs]


def test_predict_reads_a_file_and_the_standard_input(
    kept: Path,
    model: DensityModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    series = a_series(240)
    given = "\n".join(["timestamp,value", *lines(series)])
    (kept.parent / "own.csv").write_text(given)
    page.main(["predict", str(kept), str(kept.parent / "own.csv")])
    from_file = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
    page.main(["predict", str(kept), "-"])
    assert capsys.readouterr().out == from_file
    head, *rows = from_file.splitlines()
    cells = [row.split(",") for row in rows]
    assert head == "timestamp,value,score,alarm" and len(rows) == 240
    (kept.parent / "own.csv").write_bytes(given.replace(",", "\t").encode("utf-16"))
    page.main(["predict", str(kept), str(kept.parent / "own.csv")])
    assert capsys.readouterr().out == from_file
    assert [row[0] for row in cells] == [line.split(",")[0] for line in lines(series)]
    evidence, news = scores(model, series)[0]
    np.testing.assert_allclose([float(r[2]) for r in cells], evidence, atol=2e-3)
    by_chance = expected(news, np.arange(1, 241))
    assert [int(r[3]) for r in cells] == (by_chance <= 1e-4).astype(int).tolist()
    assert cells[120][3] == "1"


def test_evaluate_scores_labelled_series(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One anomaly, which is found at the first point of its window."""
    series, folder = a_series(seed=1), kept.parent / "nab"
    stamps = [line.split(",")[0].replace("T", " ") for line in lines(series)]
    windows = {"g/s.csv": [[stamps[200], stamps[219]]]}
    for name, content in (
        ("data/g/s.csv", "\n".join(["timestamp,value", *lines(series)])),
        (LABELS, json.dumps(windows)),
    ):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(content)
    page.main(["evaluate", str(kept), "--data", str(folder), "--json"])
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    assert found["nab"] == found["nab_convention"] == pytest.approx(100)
    assert found["f1"] == found["precision"] == found["recall"] == 1
    assert found["share_of_points"] == 101 / 400
    assert "5.0% in labelled windows" in printed
    with pytest.raises(InputError, match="--data: expected a path, found none"):
        page.main(["evaluate", str(kept)])


def test_what_came_before_a_bad_line_is_judged(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kept.parent / "own.csv"
    path.write_text("\n".join([*lines(a_series(5)), "2030-01-01,x"]))
    with pytest.raises(InputError, match=r"own.csv: line 6: expected a finite value"):
        page.main(["predict", str(kept), str(path)])
    assert len(capsys.readouterr().out.splitlines()) == 1 + 5


def test_a_detector_needs_its_level_and_its_inputs(
    kept: Path,
    model: DensityModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, settings in (("None", {}), ("-1.0", {"false_alarms": -1.0})):
        folder, spec = tmp_path / name, ModelSpec("density", SIZES, len(LEADS))
        save_model(folder, "anomaly", spec, model, settings)
        with pytest.raises(InputError, match=f"expected false_alarms, found {name}"):
            page.main(["predict", str(folder), "-"])
    few = ModelSpec("density", SIZES)
    save_model(tmp_path / "few", "anomaly", few, few.build(jax.random.key(0)))
    with pytest.raises(InputError, match=r"expected \d+ networks of 8 inputs"):
        page.main(["predict", str(tmp_path / "few"), "-"])
    with pytest.raises(InputError, match="--false-alarms: expected"):
        page.main(["predict", str(kept), "-", "--false-alarms", "-1"])
    with pytest.raises(InputError, match="expected a CSV file, found: No such file"):
        page.main(["predict", str(kept), str(tmp_path / "none.csv")])
    monkeypatch.setattr(sys, "stdin", None)  # closed by the shell
    with pytest.raises(InputError, match=r"^-: expected a standard input, found none"):
        page.main(["predict", str(kept), "-"])
