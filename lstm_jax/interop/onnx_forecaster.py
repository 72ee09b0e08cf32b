"""The forecaster as an ONNX graph: from series in their own units to quantiles.

What `lstm_jax.data.Panel` does to a series is in the graph: the logarithm, the level
and the scale, in float64, and the way back. So are the shift and the scale of the
covariates, the seasons, and the median of the members of an ensemble.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from lstm_jax.data.series import Panel, WindowSpec, scale_series
from lstm_jax.errors import InputError
from lstm_jax.interop import ours
from lstm_jax.interop.onnx_graph import Graph
from lstm_jax.interop.onnx_networks import ROWS, Subject, Trial
from lstm_jax.models.forecaster import ForecastModel
from lstm_jax.storage.files import Fields

_ROUNDING = 1e-12  # of a change that is one, as in lstm_jax.data.series
_FLOAT, _INT64, _DOUBLE = 1, 7, 11  # ONNX's numbers for types


def build_forecaster(subject: Subject) -> Graph:
    """Series [B, T] and their lengths to quantiles [B, horizon, Q] of what comes next.

    With covariates [B, T, C], beside each point, for a network that reads them. A row
    gives NaN if it has fewer points than the network looks at, or one that is no
    number, or has no logarithm where these are taken; or a covariate that is none.

    Raises:
        InputError: settings that do not fit the network.
    """
    network: ForecastModel = subject.members[0]
    graph, window = Graph("forecaster"), network.frame
    series = graph.input("series", ["B", "T"], "DOUBLE")
    lengths = graph.input("sequence_lens", ["B"], "INT32")
    log = bool(subject.settings.get("log"))
    count = graph.add("Cast", lengths, to=_INT64)
    scaled = _Scaled(graph, series, count, window, log)
    beside = ""
    if network.covariates:
        shape = ["B", "T", network.covariates]
        given = graph.input("covariates", shape, "DOUBLE")
        beside = _covariates(graph, given, count, window, subject)
        scaled.demand(beside)
    found = [
        _quantiles(graph, member, scaled.past, beside, subject.prefix(k))
        for k, member in enumerate(subject.members)
    ]
    scaled.restore(_median(graph, found))
    graph.output("quantiles", ["B", window.horizon, len(network.levels)], "DOUBLE")
    return graph


class _Scaled:
    """The past as the network sees it, [B, context], and the way back from its units.

    Attributes:
        past: the name of (value - level) / scale, in float32.
    """

    def __init__(
        self, graph: Graph, series: str, count: str, window: WindowSpec, log: bool
    ) -> None:
        self._graph, self._log = graph, log
        self._one = graph.constant([1], np.int64)
        values, real = self._values(series, count, log)
        points = graph.add("Cast", count, to=_DOUBLE)
        self._scale = self._scale_of(values, real, points, window.seasons[0])
        past = _window(graph, values, count, window.context)
        last = [0] * (window.context - window.seasons[-1]) + [1] * window.seasons[-1]
        share = graph.constant(np.array(last) / window.seasons[-1], np.float64)
        self._level = graph.add(
            "Unsqueeze", graph.add("MatMul", past, share), self._one
        )
        units = graph.add("Div", graph.add("Sub", past, self._level), self._scale)
        self.past = graph.add("Cast", units, to=_FLOAT)
        least = graph.constant([[window.context]], np.int64)
        there = graph.add("Unsqueeze", count, self._one)
        self._short = graph.add("Less", there, least)

    def _values(self, series: str, count: str, log: bool) -> tuple[str, str]:
        """The series or their logarithms, zeros in the padding; and what is none."""
        graph = self._graph
        zero, one = (graph.constant(n, np.int64) for n in (0, 1))
        steps = graph.add("Gather", graph.add("Shape", series), one)
        clock = graph.add("Range", zero, steps, one)
        real = graph.add("Less", clock, graph.add("Unsqueeze", count, self._one))
        other = graph.constant(float(log), np.float64)
        values = graph.add("Where", real, series, other)
        return (graph.add("Log", values) if log else values), real

    def _scale_of(self, values: str, real: str, points: str, season: int) -> str:
        """The mean change over a season, else the spread, else 1: [B, 1]."""
        graph, axis = self._graph, self._one
        start, after = graph.constant([0], np.int64), graph.constant([season], np.int64)
        end, before = (graph.constant([n], np.int64) for n in (2**62, -season))
        nothing, double = graph.constant(0.0, np.float64), np.float64

        def mean(masked: str, of: str, where: str) -> str:
            kept = graph.add("Where", where, masked, nothing)
            total = graph.add("ReduceSum", kept, axis, keepdims=1)
            return graph.add("Div", total, of)

        all_points = graph.add("Unsqueeze", points, axis)
        pairs = graph.add("Sub", all_points, graph.constant(season, double))
        later = graph.add("Slice", values, after, end, axis)
        earlier = graph.add("Slice", values, start, before, axis)
        apart = graph.add("Abs", graph.add("Sub", later, earlier))
        change = mean(apart, pairs, graph.add("Slice", real, after, end, axis))
        middle = mean(values, all_points, real)
        # Nothing is added to a level, but NaN if there is a point that is no number.
        self._sound = graph.add("Sub", middle, middle)
        off = graph.add("Sub", values, middle)
        spread = graph.add("Sqrt", mean(graph.add("Mul", off, off), all_points, real))
        largest = graph.add("ReduceMax", graph.add("Abs", values), axes=[1], keepdims=1)
        mere = graph.add("Mul", largest, graph.constant(_ROUNDING, double))
        moves = graph.add("Greater", spread, mere)
        other = graph.add("Where", moves, spread, graph.constant(1.0, double))
        return graph.add("Where", graph.add("Greater", change, mere), change, other)

    def demand(self, beside: str) -> None:
        """Have rows be NaN where one of these [B, T, C] is no number."""
        graph = self._graph
        axes = graph.constant([1, 2], np.int64)
        total = graph.add("ReduceSum", beside, axes, keepdims=0)
        total = graph.add("Unsqueeze", graph.add("Cast", total, to=_DOUBLE), self._one)
        here = graph.add("Sub", total, total)
        self._sound = graph.add("Add", self._sound, here)

    def restore(self, units: str) -> None:
        """Make `quantiles` of those in the network's units, [B, horizon, Q]."""
        graph = self._graph
        axis, nan = graph.constant([2], np.int64), graph.constant(np.nan, np.float64)
        wide = graph.add("Cast", units, to=_DOUBLE)
        scaled = graph.add("Mul", wide, graph.add("Unsqueeze", self._scale, axis))
        level = graph.add("Add", self._level, self._sound)
        found = graph.add("Add", scaled, graph.add("Unsqueeze", level, axis))
        found = graph.add("Exp", found) if self._log else found
        short = graph.add("Unsqueeze", self._short, axis)
        graph.add("Where", short, nan, found, out="quantiles")


def _window(graph: Graph, values: str, count: str, points: int) -> str:
    """The last points of each row that are real, [B, points] or [B, points, C]."""
    first = graph.add("Sub", count, graph.constant(points, np.int64))
    first = graph.add("Unsqueeze", first, graph.constant([1, 2], np.int64))
    steps = graph.constant(np.arange(points).reshape(1, -1, 1), np.int64)
    places = graph.add("Add", first, steps)
    # What is too short gives NaN in the end, whatever was read.
    places = graph.add("Max", places, graph.constant(0, np.int64))
    return graph.add("GatherND", values, places, batch_dims=1)


def _covariates(
    graph: Graph, given: str, count: str, window: WindowSpec, subject: Subject
) -> str:
    """What stands beside the points that are read, as the network sees it."""
    means, spreads = covariate_scaling(subject)
    beside = _window(graph, given, count, window.reads)
    shifted = graph.add("Sub", beside, graph.constant(means, np.float64))
    units = graph.add("Div", shifted, graph.constant(spreads, np.float64))
    return graph.add("Cast", units, to=_FLOAT)


def covariate_scaling(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Means and spreads [C] of the covariates that a run was trained with.

    Raises:
        InputError: there are not as many as the network reads.
    """
    count = subject.members[0].covariates
    kept: Fields = subject.settings.get("covariates") or {}
    try:
        parts = [np.asarray(kept[n], np.float64) for n in ("means", "spreads")]
    except (KeyError, TypeError, ValueError):
        parts = []
    if [part.shape for part in parts] != [(count,), (count,)]:
        raise InputError(
            f"expected the means and spreads of {count} covariates among the settings "
            f"of the run, found {kept!r:.80}"
        )
    means, spreads = parts
    return means, spreads


def _quantiles(
    graph: Graph, member: ForecastModel, past: str, beside: str, prefix: str
) -> str:
    """The quantiles of one network in its own units, [B, horizon, Q]."""
    window, last = member.frame, graph.constant([-1], np.int64)
    first = window.context - window.reads
    lags = [
        np.arange(first - lag, window.context - lag) for lag in (0, *window.seasons)
    ]
    read = graph.add("Gather", past, _places(graph, lags), axis=1)
    if beside:
        read = graph.add("Concat", read, beside, axis=-1)
    read = graph.add("Transpose", read, perm=[1, 0, 2])
    reader = graph.read(ours.rows_of(member.reader), read, f"{prefix}reader_")
    seasonal = _same_phase(graph, past, window)
    shown = _shown(graph, past, seasonal, window)
    writer = graph.read(
        ours.rows_of(member.writer), shown, f"{prefix}writer_", states=reader.states
    )
    hs = graph.add("Transpose", writer.xs, perm=[1, 0, 2])
    out = graph.affine(hs, member, prefix)
    base = graph.add("MatMul", seasonal, graph.parameter(member, "mix", prefix))
    spread = _spread_out(graph, out, member.levels.index(0.5), len(member.levels))
    return graph.add("Add", spread, graph.add("Unsqueeze", base, last))


def _places(graph: Graph, columns: Sequence[np.ndarray]) -> str:
    return graph.constant(np.stack(columns, axis=-1), np.int64)


def _same_phase(graph: Graph, past: str, window: WindowSpec) -> str:
    """See `lstm_jax.models.forecaster.same_phase`."""
    steps = np.arange(window.horizon)
    columns = [
        window.context - back + steps % season
        for season in window.seasons
        for back in (season, 2 * season)
    ]
    return graph.add("Gather", past, _places(graph, columns), axis=1)


def _shown(graph: Graph, past: str, seasonal: str, window: WindowSpec) -> str:
    """What the writer sees of each step, time first."""
    steps = window.horizon
    ends = [np.full(steps, window.context - 1)]
    last = graph.add("Gather", past, _places(graph, ends), axis=1)
    share = np.arange(1, steps + 1, dtype=np.float32) / np.float32(steps)
    ahead = graph.constant(share[None, :, None])
    ahead = graph.add("Expand", ahead, graph.add("Shape", last))
    shown = graph.add("Concat", seasonal, last, ahead, axis=-1)
    return graph.add("Transpose", shown, perm=[1, 0, 2])


def _spread_out(graph: Graph, out: str, middle: int, levels: int) -> str:
    """See `lstm_jax.models.forecaster.spread_out`."""
    axis, last = graph.constant([2], np.int64), graph.constant(2, np.int64)

    def cut(of: str, begin: int, end: int) -> str:
        ends = (graph.constant([n], np.int64) for n in (begin, end))
        return graph.add("Slice", of, *ends, axis)

    steps, median = graph.add("Softplus", out), cut(out, middle, middle + 1)
    parts = [median]
    if middle:
        below = graph.add("CumSum", cut(steps, 0, middle), last, reverse=1)
        parts.insert(0, graph.add("Sub", median, below))
    if middle + 1 < levels:
        above = graph.add("CumSum", cut(steps, middle + 1, levels), last)
        parts.append(graph.add("Add", median, above))
    return graph.add("Concat", *parts, axis=-1)


def _median(graph: Graph, members: Sequence[str]) -> str:
    """The median of the members, quantile by quantile."""
    count = len(members)
    if count == 1:
        return members[0]
    axis = graph.constant([0], np.int64)
    each = [graph.add("Unsqueeze", one, axis) for one in members]
    side_by_side = graph.add("Concat", *each, axis=0)
    many = graph.constant([count], np.int64)
    ranked, _ = graph.add_pair("TopK", side_by_side, many, axis=0)
    middles = sorted({(count - 1) // 2, count // 2})
    found = [
        graph.add("Gather", ranked, graph.constant(k, np.int64), axis=0)
        for k in middles
    ]
    if len(found) == 1:
        return found[0]
    return graph.add("Mul", graph.add("Add", *found), graph.constant(0.5))


def try_forecaster(subject: Subject) -> Trial:
    """Series of different lengths, forecast by way of a `Panel`."""
    network: ForecastModel = subject.members[0]
    window, log = network.frame, bool(subject.settings.get("log"))
    rng = np.random.default_rng(0)
    lengths = window.context + np.arange(ROWS, dtype=np.int32) * 2 + 1
    steps = int(lengths.max())
    waves = np.sin(np.arange(steps) * 2 * np.pi / window.seasons[-1])
    series = np.exp(waves + 0.3 * rng.normal(size=(ROWS, steps)))
    known = {
        str(k): row[:n] for k, (row, n) in enumerate(zip(series, lengths, strict=True))
    }
    inputs = {"series": series, "sequence_lens": lengths}
    beside = None
    if network.covariates:
        means, spreads = covariate_scaling(subject)
        noise = rng.normal(size=(ROWS, steps, network.covariates))
        inputs["covariates"] = means + spreads * noise
        beside = tuple((inputs["covariates"] - means) / spreads)
    panel = scale_series(known, window, log, beside)
    return Trial(inputs, {"quantiles": _forecast(subject, panel, window)})


def _forecast(subject: Subject, panel: Panel, window: WindowSpec) -> np.ndarray:
    """What the ensemble says comes after every series of a panel."""
    rows, ends = np.arange(len(panel.values)), panel.known
    past, level = panel.windows(rows, ends, window)
    beside = panel.covariates(rows, ends, window.reads)
    given = (jnp.asarray(past), None, None if beside is None else jnp.asarray(beside))
    found = [np.asarray(member(*given)) for member in subject.members]
    return panel.restore(np.median(found, axis=0), rows, level)
