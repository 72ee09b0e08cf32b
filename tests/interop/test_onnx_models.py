"""Whole networks as ONNX graphs, run by ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.forecast.__main__ import load_forecaster, own_data
from experiments.forecast.task import forecast
from experiments.translate.inference import translate_ids
from lstm_jax.config import RegularizerConfig
from lstm_jax.data import END, SeriesSpec
from lstm_jax.errors import InputError
from lstm_jax.interop.formats import convert_file
from lstm_jax.interop.onnx_graph import Graph
from lstm_jax.interop.onnx_models import kind_of
from lstm_jax.interop.onnx_networks import Subject, subject_of
from lstm_jax.models.classifier import SequenceClassifier
from lstm_jax.models.language import LanguageModel
from lstm_jax.models.saved import save_model
from tests.helpers.graphed_networks import (
    MEMBERS,
    NETWORKS,
    random_subject,
    save_subject,
    spec_of,
)

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def sessions_of(subject: Subject) -> dict[str, runtime.InferenceSession]:
    graphs = kind_of(subject.network).build(subject)
    return {
        name: runtime.InferenceSession(graph.model().SerializeToString())
        for name, graph in graphs.items()
    }


# Whose parts others have.
SLOW = {"top", "last", "dense", "language gru", "seq2seq"}
SLOW |= {name for name in NETWORKS if name.startswith("forecaster")}


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        *(
            pytest.param(kind, None, marks=[pytest.mark.slow] * (kind in SLOW))
            for kind in NETWORKS
        ),
        *MEMBERS.items(),
    ],
)
def test_runtime_and_network_compute_the_same(kind: str, members: int | None) -> None:
    subject = random_subject(kind, members)
    sessions = sessions_of(subject)
    trials = kind_of(subject.network).attempt(subject)
    assert list(sessions) == list(trials)
    for session, trial in zip(sessions.values(), trials.values(), strict=True):
        names = [each.name for each in session.get_outputs()]
        assert sorted(names) == sorted(trial.expected)
        for name, one in zip(names, session.run(names, trial.inputs), strict=True):
            np.testing.assert_allclose(one, trial.expected[name], rtol=2e-5, atol=2e-5)


def test_layers_are_single_operators() -> None:
    subject = random_subject("seq2seq")
    graphs = kind_of(subject.network).build(subject)
    operators = [
        [node.op_type for node in graph.model().graph.node] for graph in graphs.values()
    ]
    assert [each.count("LSTM") for each in operators] == [2, 2]
    assert not {"Scan", "Loop", "Sigmoid"} & {*operators[0], *operators[1]}


def test_a_text_is_read_in_pieces_of_any_length() -> None:
    subject = random_subject("language")
    (session,) = sessions_of(subject).values()
    ids = np.random.default_rng(0).integers(0, 9, (2, 7))
    names = [each.name for each in session.get_inputs()][1:]
    assert names == ["initial_h_0", "initial_c_0", "initial_h_1", "initial_c_1"]
    last = [name.replace("initial", "last") for name in names]
    states = [np.zeros((1, 2, 6), np.float32) for _ in names]
    pieces = []
    for piece in (ids[:, :3], ids[:, 3:4], ids[:, 4:]):
        given = dict(zip(names, states, strict=True)) | {"ids": piece}
        logits, *states = session.run(["logits", *last], given)
        pieces.append(logits)
    whole, _ = subject.network(jnp.asarray(ids, jnp.int32))
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=2e-5)


def test_two_graphs_translate_as_the_network_does(tmp_path: Path) -> None:
    """Greedily, symbol after symbol, by the lines that docs/interop.md has for it."""
    text = (Path(__file__).parents[2] / "docs/interop.md").read_text()
    (lines,) = [
        block for block in text.split("```") if "def translate(folder, ids" in block
    ]
    written: dict[str, Callable[..., list[int]]] = {}
    exec(lines.removeprefix("py"), written)
    folder = tmp_path / "both"
    convert_file(save_subject("seq2seq", tmp_path / "run"), folder, "onnx-model")
    rng = np.random.default_rng(0)
    sources = [rng.integers(3, 7, n).astype(np.int32) for n in (5, 1, 8)]
    expected = translate_ids(random_subject("seq2seq").network, sources)
    assert len({*map(tuple, expected)}) == 3
    for source, ids in zip(sources, expected, strict=True):
        # As long as translate_ids writes for sentences of these lengths.
        found = written["translate"](folder, source.astype(np.int64), limit=23)
        assert [symbol for symbol in found if symbol != END] == ids


def test_what_stands_in_the_padding_of_series_does_not_count() -> None:
    """And what comes of a series that is too short, or has no logarithm, is NaN."""
    subject = random_subject("forecaster logs")
    (session,) = sessions_of(subject).values()
    (trial,) = kind_of(subject.network).attempt(subject).values()
    inputs = {name: array.copy() for name, array in trial.inputs.items()}
    for row, length in zip(inputs["series"], inputs["sequence_lens"], strict=True):
        row[length:] = np.nan
    inputs["sequence_lens"][1] = subject.network.frame.context - 1
    (found,) = session.run(None, inputs)
    assert np.isnan(found[1]).all()
    expected = trial.expected["quantiles"]
    np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], rtol=2e-5)
    inputs["series"][[0, 2], 0] = [0.0, -1.0]  # before what the network looks at
    (found,) = session.run(None, inputs)
    assert np.isnan(found).all()


def test_a_covariate_that_is_missing_gives_no_forecast() -> None:
    """Where it is read; a runtime's operators may pass over NaN."""
    subject = random_subject("forecaster covariates", 2)
    (session,) = sessions_of(subject).values()
    (trial,) = kind_of(subject.network).attempt(subject).values()
    inputs = {name: array.copy() for name, array in trial.inputs.items()}
    inputs["covariates"][1, inputs["sequence_lens"][1] - 1, 0] = np.nan
    inputs["covariates"][2, 0, 1] = np.nan  # before what is read
    (found,) = session.run(None, inputs)
    assert np.isnan(found[1]).all()
    expected = trial.expected["quantiles"]
    np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], rtol=2e-5)


def test_flat_and_periodic_series_have_a_scale() -> None:
    """One that repeats itself is measured by its spread, one that is flat by 1."""
    subject = random_subject("forecaster")
    (session,) = sessions_of(subject).values()
    count = subject.network.frame.context + 4
    noise = np.random.default_rng(0).choice([0, 2**-50], count)  # of the last bits
    periodic = np.tile([1.0, 5.0], count)[:count]
    series = np.stack([np.full(count, 7.0), periodic, 7 + noise])
    lengths = np.full(3, count, np.int32)
    (found,) = session.run(None, {"series": series, "sequence_lens": lengths})
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[2], found[0], rtol=1e-6)
    (again,) = session.run(None, {"series": 3 * series, "sequence_lens": lengths})
    np.testing.assert_allclose(again[1], 3 * found[1], rtol=1e-5)
    np.testing.assert_allclose(again[0] - 21, found[0] - 7, rtol=1e-5, atol=1e-5)


def test_a_graph_forecasts_what_the_application_does(tmp_path: Path) -> None:
    """From a table of numbers, with covariates, to quantiles."""
    kind = "forecaster covariates"
    spec, subject = spec_of(kind, 2), random_subject(kind, 2)
    save_model(tmp_path / "run", "forecast", spec, subject.network, subject.settings)
    rng = np.random.default_rng(0)
    table = rng.normal(size=(40, 3)) * [5.0, 2.0, 0.5] + [20.0, 3.0, -1.0]
    lines = ["load,a,b", *(",".join(f"{x:.4f}" for x in row) for row in table)]
    (tmp_path / "my.csv").write_text("\n".join(lines))
    forecaster = load_forecaster(tmp_path / "run")
    data = own_data(forecaster, tmp_path / "my.csv", SeriesSpec(), 0)
    panel = forecaster.panel(data)
    expected = forecast(forecaster.model, panel, panel.known)
    (session,) = sessions_of(subject).values()
    table = np.round(table, 4)
    lengths = np.array([len(table)], np.int32)
    given = {"series": table[None, :, 0], "covariates": table[None, :, 1:]}
    (found,) = session.run(None, given | {"sequence_lens": lengths})
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_weights_beyond_one_file_are_refused() -> None:
    graph = Graph("large")
    graph.arrays["w"] = np.broadcast_to(np.float32(0), (2**29,))
    with pytest.raises(InputError, match=r"bytes of weights, .* found 2,147,483,648"):
        graph.model()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda sizes: nnx.Linear(2, 3, **sizes), "LanguageModel, .* found a Linear"),
        (
            lambda sizes: LanguageModel(9, 6, 1, cell="mogrifier", **sizes),
            "at most, or a GRU, found mogrifier",
        ),
        (
            lambda sizes: SequenceClassifier(
                *(4, 5, 1, 3), regularizer=RegularizerConfig(zoneout_cell=0.1), **sizes
            ),
            "zoneout: expected none, found some",
        ),
        (
            lambda sizes: SequenceClassifier(
                *(4, 5, 1, 3), vocab_size=9, side_features=2, **sizes
            ),
            "of symbols or of dense inputs, found one of both",
        ),
        (
            lambda sizes: LanguageModel(9, 6, 1, dtype="bfloat16", **sizes),
            "computes in float32, found bfloat16",
        ),
    ],
)
def test_what_has_no_graph(network: object, message: str) -> None:
    assert callable(network)
    subject = subject_of(network({"rngs": nnx.Rngs(0)}), None, {})
    with pytest.raises(InputError, match=message):
        kind_of(subject.network).build(subject)


@pytest.mark.parametrize("kept", [{}, {"covariates": {"means": [1.0], "spreads": "b"}}])
def test_covariates_without_their_scales_are_refused(kept: dict) -> None:
    subject = random_subject("forecaster covariates")
    with pytest.raises(InputError, match="expected the means and spreads of 2 cov"):
        kind_of(subject.network).build(subject_of(subject.network, None, kept))


def test_a_translator_is_no_single_file(tmp_path: Path) -> None:
    run = save_subject("seq2seq", tmp_path / "run")
    with pytest.raises(InputError, match=r"a\.onnx: expected the name of a folder for"):
        convert_file(run, tmp_path / "a.onnx", "onnx-model")
    assert list(tmp_path.iterdir()) == [run]
