"""The speed suite: fair turns, honest comparisons, reports; never a time itself."""

import dataclasses
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from experiments.benchmarks.speed import __main__ as speed
from experiments.benchmarks.speed import (
    hlo,
    memory,
    profile,
    report,
    targets,
    techniques,
)
from experiments.benchmarks.speed.groups import sweeps, table
from experiments.benchmarks.speed.libraries import lstm_jax as ours
from experiments.benchmarks.speed.measure import (
    Plan,
    Processes,
    disagreement,
    measure,
    quartiles,
    turns,
)
from experiments.benchmarks.speed.picture import draw
from experiments.benchmarks.speed.shapes import (
    CASES,
    SHAPES,
    Array,
    Program,
    Shape,
    draw_ids,
    draw_prompt,
    draw_weights,
)
from experiments.benchmarks.speed.variants import BEST, Variant
from experiments.benchmarks.speed.worker import Worker
from lstm_jax import InputError
from lstm_jax.distributed.host import multiplies_bfloat16

ROOT = Path(__file__).parents[3]
# These sizes happen to continue the prompt with more than one symbol.
SMALL = Shape("small", layers=2, hidden=7, batch=8, steps=4, vocab=5)
PEERS = {
    "flax_linen": "flax",
    "flax_nnx": "flax",
    "torch": "torch",
    "haiku": "haiku",
    "equinox": "equinox",
}


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def slow_logits(shape: Shape, ids: Array) -> Array:
    """The model in float64, a symbol at a time [T, B, V]."""
    weights = draw_weights(shape)
    xs = weights.embedding.astype(np.float64)[ids]
    for layer in weights.layers:
        w_x, w_h, b = (w.astype(np.float64) for w in layer)
        h = c = np.zeros((ids.shape[1], shape.hidden))
        hs = []
        for x in xs:
            i, f, g, o = np.split(x @ w_x + h @ w_h + b, 4, axis=-1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            hs.append(h)
        xs = np.stack(hs)
    return xs @ weights.w_out + weights.b_out


def slow_loss(shape: Shape) -> float:
    """The mean loss of the first batch."""
    inputs, answers = (ids[0] for ids in draw_ids(shape))
    logits = slow_logits(shape, inputs)
    scores = np.take_along_axis(logits, answers[..., None], axis=-1)[..., 0]
    return float(np.mean(np.log(np.exp(logits).sum(axis=-1)) - scores))


def slow_text(shape: Shape, length: int) -> Array:
    """The greedy continuation of the prompt."""
    text = draw_prompt(shape)[:, None]
    start = len(text)
    for _ in range(length):
        best = slow_logits(shape, text)[-1].argmax(axis=-1).astype(text.dtype)
        text = np.concatenate([text, best[None]])
    return text[start:]


@pytest.fixture(scope="module")
def proofs() -> dict[str, dict[str, Array]]:
    """What we compute, by case."""
    return {case: getattr(ours, case)(SMALL).proof() for case in CASES}


def test_ours_is_the_model_that_was_agreed_on(proofs: dict) -> None:
    expected = slow_loss(SMALL)
    assert proofs["evaluate"]["loss"] == pytest.approx(expected, rel=1e-5)
    assert proofs["train"]["loss"] == pytest.approx(expected, rel=1e-5)
    text = slow_text(SMALL, 20)
    assert (proofs["generate"]["ids"][:20] == text).all() and len(np.unique(text)) > 1
    assert proofs["generate"]["ids"].shape == (256, SMALL.batch)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("case", CASES)
def test_a_rival_computes_the_same(case: str, peer: str, proofs: dict) -> None:
    pytest.importorskip(PEERS[peer], reason="not in the extra `test`, but in `peers`")
    rival = importlib.import_module(f"experiments.benchmarks.speed.libraries.{peer}")
    program = getattr(rival, case)(SMALL)
    program.run()
    found = program.proof()
    assert found.keys() == proofs[case].keys()
    assert disagreement(proofs[case], found) < 1e-4


@pytest.mark.parametrize("technique", [*techniques.LADDER, "eager"])
def test_every_technique_computes_the_same(technique: str, proofs: dict) -> None:
    program = techniques.layer(SMALL, technique)
    assert disagreement(proofs["layer"], program.proof()) < 1e-4


def test_training_without_the_table_computes_the_same(proofs: dict) -> None:
    found = techniques.train(SMALL).proof()
    assert disagreement(proofs["train"], found) < 1e-4


def test_everybody_begins_a_round_and_nobody_is_left_out() -> None:
    names = ["a", "b", "c"]
    rounds = list(turns(names, 6))
    assert all(sorted(order) == names for order in rounds)
    assert {order[0] for order in rounds} == set(names)
    assert {order[-1] for order in rounds} == set(names)
    assert list(turns([], 2)) == [[], []]


def test_errors_are_relative_and_symbols_are_counted() -> None:
    a = {"w": np.array([3.0, 4.0]), "ids": np.array([[1], [2], [3], [4]])}
    assert disagreement(a, a) == 0
    assert disagreement(a, {"w": np.array([3.0, 4.5])}) == pytest.approx(0.1)
    assert disagreement(a, {"ids": np.array([[1], [5]])}) == 0.5
    assert disagreement(a, {"w": np.array([[3.0, 4.0]])}) == np.inf
    assert disagreement(a, {"w": np.array([np.nan, 4.0])}) == np.inf
    assert quartiles([2.0]) == (2, 2, 2) and quartiles([1, 2, 3, 4, 5]) == (2, 3, 4)


class FakeProcesses:
    """Workers in this process, one per variant, and the order of their turns."""

    def __init__(self, makers: dict[str, Callable[..., Program]]) -> None:
        self.workers = {
            name: Worker(SimpleNamespace(train=make)) for name, make in makers.items()
        }
        self.asked: list[str] = []

    def of(self, variant: Variant) -> Any:  # noqa: ANN401
        """The worker of a variant."""

        def ask(**request: object) -> dict[str, Any]:
            if request["do"] == "run":
                self.asked.append(variant.name)
            return self.workers[variant.name].answer(request)

        return SimpleNamespace(ask=ask)


def constant(value: float) -> Callable[[Shape], Program]:
    """A program that does nothing and claims to have found a value."""
    return lambda shape: Program(lambda: None, 2, lambda: {"loss": np.array(value)})


def broken(shape: Shape) -> Program:
    raise RuntimeError("no such device\nand more")


def test_a_wrong_rival_is_refused_and_a_broken_one_says_why() -> None:
    makers = {"ours": constant(1.0), "right": constant(1.00001), "wrong": constant(1.1)}
    processes = FakeProcesses(makers | {"broken": broken})
    variants = [Variant(name, name) for name in processes.workers]
    plan = Plan(rounds=2, seconds=1e-4)
    cells = measure(cast(Processes, processes), "train", SMALL, variants, plan)
    by_name = {cell["variant"]: cell for cell in cells}
    assert "relative error 1.0e-01" in by_name["wrong"]["error"]
    assert by_name["broken"]["error"] == "RuntimeError: no such device"
    assert "ratio" not in by_name["wrong"] and "median_s" not in by_name["broken"]
    assert by_name["ours"]["ratio"] == 1 and by_name["right"]["ratio"] > 0
    assert by_name["right"]["n"] >= 2
    assert processes.asked == ["ours", "right", "ours", "right"]
    assert not any(worker.programs for worker in processes.workers.values())
    json.dumps(cells)


def canned() -> list[dict[str, Any]]:
    """Cells as they are measured, with round numbers."""

    def cell(case: str, shape: Shape, variant: str, **found: object) -> dict[str, Any]:
        about = {"case": case, "shape": dataclasses.asdict(shape), "variant": variant}
        return about | found

    def timed(median: float, ratio: float) -> dict[str, Any]:
        times = {"median_s": median, "q1_s": median, "q3_s": median, "n": 9}
        ratios = {"ratio": ratio, "ratio_q1": ratio, "ratio_q3": ratio}
        return times | ratios | {"compile_s": ratio / 2, "peak_mb": 100.0}

    big, grown = SHAPES["big"], dataclasses.replace(SHAPES["small"], name="T=64")
    gemm = {"median_s": 1e-2, "q1_s": 1e-2, "q3_s": 1e-2, "n": 9, "compile_s": 0.0}
    return [
        cell("train", big, "ours", **timed(1.0, 1.0)),
        cell("train", big, "torch", **timed(1.8, 1.8)),
        cell("train", big, "flax-linen", **timed(1.9, 1.9)),
        cell("train", big, "flax-nnx", **timed(2.5, 2.5)),
        cell("train", big, "haiku", error="No module named 'haiku'"),
        cell("train", big, "gemm 1024", **gemm),
        cell("train", grown, "ours", **timed(1e-3, 1.0)),
        cell("train", grown, "torch", **timed(2e-3, 2.0)),
    ]


def test_targets_are_met_by_the_best_of_a_family_or_missed() -> None:
    verdicts = {(v.case, v.shape, v.against): v for v in targets.judge(canned())}
    assert verdicts["train", "big", "PyTorch"].met
    flax = verdicts["train", "big", "Flax"]
    assert flax.rival == "flax-linen" and flax.found == 1.9 and not flax.met
    haiku = verdicts["train", "big", "Haiku"]
    assert haiku.found is None and not haiku.met
    share = SHAPES["big"].executed_flops / 1e9 / 100
    assert verdicts["train", "big", "products alone"].found == pytest.approx(share)
    assert verdicts["compile train", "big", "Flax"].met


def test_the_report_and_the_picture_are_made_from_the_lines(tmp_path: Path) -> None:
    report.write(tmp_path, {"cores": 2, "torch": {"threads": 2}}, canned())
    machine, cells = report.read(tmp_path / "results.jsonl")
    assert machine["torch"] == {"threads": 2} and cells == canned()
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert text == report.markdown(machine, cells)
    assert "| torch | 1.8 s | 1.8 s – 1.8 s | 9 | 1.80 (1.80–1.80) |" in text
    assert "| haiku | No module named 'haiku' |" in text
    needs = f"{SHAPES['big'].executed_flops / 1e11 * 2 / 1.9:.0%}"
    missed = "| train | big | Flax | 2 | 1.90 (flax-linen) | **missed** |"
    assert f"{missed} {needs} |" in text
    assert ", growing T**: time over ours" in text
    assert "| | big |\n|---|---|\n| ours | 1 s |\n| torch | 1.80 |\n" in text
    assert "| haiku | - |" in text
    assert "| | T=64 |\n|---|---|\n| ours | 1 ms |\n| torch | 2.00 |\n" in text
    assert "100 GF/s that products alone reached" in text
    assert "gemm" not in text.split("## Targets")[0]
    draw(cells, tmp_path / "results.png")
    assert (tmp_path / "results.png").stat().st_size > 10_000


def test_times_are_written_with_their_units() -> None:
    times = (2.5, 0.0025, 2.5e-6, 2.5e-9)
    assert [report.seconds(t) for t in times] == ["2.5 s", "2.5 ms", "2.5 µs", "2.5 ns"]


def test_groups_begin_with_what_everything_is_compared_with() -> None:
    groups = [*table(CASES, [*SHAPES], ("torch",), options=True), *sweeps(("torch",))]
    for group in groups:
        names = [variant.name for variant in group.variants]
        assert names[0] == "ours" and "torch" in names and len(names) == len(set(names))
    assert {g.shape.batch for g in groups if g.case == "generate"} == {1, 64}
    assert len({(g.case, g.shape.name) for g in groups}) == len(groups)


def test_the_kernels_of_a_loop_are_counted() -> None:
    text = """\
%body (state: (s32[], f32[4])) -> (s32[], f32[4]) {
  %state = (s32[], f32[4]{0}) parameter(0)
  %n = s32[] get-tuple-element(%state), index=0
  %h = f32[4]{0} get-tuple-element(%state), index=1
  %next = s32[] fusion(%n), kind=kLoop, calls=%add
  %dot.1 = f32[4]{0} custom-call(%h), custom_call_target="gemm"
  %sum = f32[4]{0} all-reduce(%dot.1), to_apply=%add
  ROOT %out = (s32[], f32[4]{0}) tuple(%next, %dot.1)
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %loop = (s32[], f32[4]{0}) while(%start), condition=%until, body=%body
  %sent = f32[4]{0} all-gather-start(%x), dimensions={0}
  %all = f32[4]{0} all-gather-done(%sent)
  ROOT %y = f32[4]{0} get-tuple-element(%loop), index=1
}
"""
    assert hlo.loop_kernels(text) == [3]
    assert hlo.kernels_per_step(text, steps=4) == [3]
    told = text.replace("body=%body", 'body=%body, "known_trip_count":{"n":"2"}')
    assert hlo.kernels_per_step(told, steps=4) == [1.5]
    assert hlo.collectives(text) == (1, 2)


def test_the_command(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "experiments.benchmarks.speed",
        "--quick",
        "--shapes",
        "tiny",
    ]
    command += ["--cases", "evaluate", "--rivals", "flax-linen", "--rounds", "1"]
    command += ["--seconds", "0.001", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    machine, cells = report.read(tmp_path / "results.jsonl")
    found = {cell["variant"]: cell for cell in cells}
    assert [*found] == ["ours", "flax-linen", "ours, mixed precision"]
    assert all(found[name]["disagreement"] < 1e-5 for name in ("ours", "flax-linen"))
    if multiplies_bfloat16():
        assert 0 < found["ours, mixed precision"]["disagreement"] < 0.1
    assert machine["flax_linen"]["flax"]


def test_the_command_refuses_what_it_does_not_know(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert speed.main(["--shapes", "huge"]) == 2
    assert capsys.readouterr().err.startswith("error: --shapes: expected")


# The profile.


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ynn_fusion.7", "matrix products"),
        ("dot.30", "matrix products"),
        ("all-reduce.48", "meeting of the devices"),
        ("Rendezvous", None),
        ("copy_bitcast_fusion.1", "copies"),
        ("add_tanh_fusion", "element-wise"),
        ("while.157", None),
        ("ThunkExecutor::Execute (wait for completion)", None),
        ("$api.py:2479 block_until_ready", None),
    ],
)
def test_an_operation_is_counted_to_its_kind(name: str, kind: str | None) -> None:
    assert profile.kind_of(name) == kind


def test_a_profile_adds_up_seconds_by_kind() -> None:
    events = [
        {"ph": "X", "name": "dot.1", "dur": 2e6},
        {"ph": "X", "name": "ynn_fusion", "dur": 1e6},
        {"ph": "X", "name": "while.2", "dur": 9e6},
        {"ph": "M", "name": "copy.3"},
        {"ph": "X", "name": "tanh_fusion", "dur": 5e5},
    ]
    assert profile.by_kind(events) == {"matrix products": 3.0, "element-wise": 0.5}


def test_the_memory_of_a_program_is_that_of_its_own_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    small, wide = (dataclasses.replace(SHAPES["tiny"], hidden=h) for h in (8, 2048))
    found = [float(memory.peak(BEST, "layer", each, log)) for each in (small, wide)]
    # Weights, and their gradients: 8 H^2 numbers each.
    assert found[1] - found[0] > 2 * 4 * 8 * 2048**2 / 2**20
    assert "AttributeError" in str(memory.peak(BEST, "nothing", small, log))
    with pytest.raises(
        InputError, match=r"^--shapes: expected some of tiny, .* 'vast'"
    ):
        memory.main(["--shapes", "vast"])
