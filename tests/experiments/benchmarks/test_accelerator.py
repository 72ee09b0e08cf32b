"""The accelerator's benchmark: its reference, its tables, its flow on a CPU."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks.accelerator import report
from experiments.benchmarks.accelerator.__main__ import _STAGES, main
from experiments.benchmarks.accelerator.jobs import Job, jobs
from experiments.benchmarks.accelerator.reference import layer_in_float64
from experiments.benchmarks.accelerator.stage import _time
from experiments.benchmarks.speed.libraries import lstm_jax as ours
from experiments.benchmarks.speed.measure import disagreement
from experiments.benchmarks.speed.shapes import Program, Shape
from lstm_jax.errors import InputError
from tests.helpers.experiment_runs import run

DOCS = Path(__file__).parents[3] / "docs"
SHAPE = Shape("small", 1, 6, 3, 4)


def test_the_reference_is_the_layer() -> None:
    expected = layer_in_float64(SHAPE)
    found = ours.layer(SHAPE, engine="scan").proof()
    assert disagreement(expected, found) < 1e-6
    wrong = expected | {"w_h": np.roll(expected["w_h"], 6, axis=1)}  # gates mixed up
    assert disagreement(wrong, found) > 0.1


ENGINES = ("fused", "scan", "cudnn", "pallas_tpu")


def test_jobs_have_different_names() -> None:
    for stage in ("ceilings", "check", "layer", "train", "generate", "memory"):
        groups = jobs(stage, "lstm_jax", False, ENGINES)
        todo = [job for group in groups for job in group]
        names = {
            (str(j), j.case, j.shape.name, j.options.get("gradient")) for j in todo
        }
        assert len(names) == len(todo)


def test_the_units_are_measured_before_other_shapes() -> None:
    first, *_, last = jobs("layer", "lstm_jax", False, ENGINES)
    assert {job.shape.hidden for job in first} == {128, 256, 512, 1024}
    assert {job.options["engine"] for job in first} == {"fused", "cudnn", "pallas_tpu"}
    assert {(job.shape.batch, job.shape.steps) for job in first} == {(64, 256)}
    assert not any((j.shape.batch, j.shape.steps) == (64, 256) for j in last)


def test_torch_does_not_wait_for_kernels_to_compile() -> None:
    layers = [library for name, library, *_ in _STAGES if name == "layer"]
    assert layers[0] == "torch" and layers.count("lstm_jax") == 2


def test_files_of_results_are_joined(tmp_path: Path) -> None:
    shape = dataclasses.asdict(SHAPE)
    about = {"stage": "train", "library": "torch", "shape": shape, "gradient": None}
    files = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for file, rows in zip(
        files,
        (
            [
                about | {"job": "tf32", "seconds": 1.0},
                about | {"job": "", "error": "e"},
            ],
            [
                about | {"job": "tf32", "seconds": 2.0},
                about | {"job": "", "seconds": 3},
            ],
        ),
        strict=True,
    ):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    assert main(["--join", *map(str, files), "--out", str(out)]) == 0
    text = (out / "results.md").read_text()
    assert "| torch tf32 | 2e+03 |" in text and "| torch | 3e+03 |" in text
    assert main(["--join", *map(str, files[::-1]), "--out", str(out)]) == 0
    text = (out / "results.md").read_text()
    assert "| torch tf32 | 1e+03 |" in text and "| torch | 3e+03 |" in text


def test_a_stage_that_dies_is_a_line_of_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "experiments.benchmarks.accelerator.__main__"
    for program, limit, *expected in (
        ("import sys; sys.stdin.readline(); sys.exit(1)", 60.0, "ended with code 1;"),
        (
            "import time; time.sleep(60)",
            0.5,
            "stopped after 0 s",
            "no time was left, or",
        ),
    ):
        stages = [(name, "lstm_jax", "a", limit) for name in ("check", "layer")]
        monkeypatch.setattr(f"{module}._STAGES", stages[: len(expected)])
        monkeypatch.setattr(f"{module}._PROCESS", ("-c", program))
        monkeypatch.setattr(f"{module}._LEAST", 0.1)
        assert main(["--out", str(tmp_path)]) == 0
        rows = report.read(tmp_path / "results.jsonl")
        for row, words in zip(rows, expected, strict=True):
            assert row["error"].startswith(words)


def test_a_ceiling_is_units_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 2))  # a call takes two seconds
    module = "experiments.benchmarks.accelerator.stage"
    monkeypatch.setattr(f"{module}.perf_counter", lambda: next(clock))
    job = Job("copy", Shape("copy", 1, 8, 1, 1))
    found = _time(job, Program(lambda: None, 5e3, dict))
    about = {"stage": "ceilings", "library": "torch", "gradient": None, "job": ""}
    row = about | {"shape": dataclasses.asdict(job.shape)} | found
    assert "* copy, torch: 2,500 GB/s" in report.tables([row])


def test_tables_and_picture(tmp_path: Path) -> None:
    shape = dataclasses.asdict(Shape("T 256, B 64, H 512", 1, 512, 64, 256))
    layer = {"stage": "layer", "library": "torch", "shape": shape, "gradient": True}
    product = Shape("product", 1, 8192, 1, 1)
    step = dataclasses.asdict(Shape("2x512", 2, 512, 64, 64))
    rows = [
        {"stage": "layer", "library": "torch", "about": {"torch": "2.11"}},
        {
            "stage": "ceilings",
            "library": "lstm_jax",
            "shape": dataclasses.asdict(product),
            "job": "float32",
            "units": 8796.0,  # of a call; `seconds` are those of one unit
            "seconds": 1e-5,
        },
        layer | {"job": "bfloat16", "seconds": 256 * 40e-6},
        layer | {"job": "float32 tf32", "seconds": 256 * 50e-6, "auto": True},
        layer | {"job": "float16", "error": "RuntimeError: no such type"},
        {
            "stage": "train",
            "library": "torch",
            "shape": step,
            "job": "tf32",
            "gradient": None,
            "seconds": 2.0,
        },
        {"stage": "generate", "library": "flax", "error": "stopped after 40 s"},
    ]
    text = report.tables(rows)
    assert "* torch: torch 2.11" in text
    assert "* product, lstm_jax float32: 100,000 GFLOP/s" in text
    assert "| torch bfloat16 | 40.00 |" in text
    share = 6 * 64 * 8 * 512**2 / 50e-6 / 1e14  # of a ceiling that is the type's own
    assert f"| torch float32 tf32 | **50.00** ({share:.1%}) |" in text
    assert "| torch float16 |" not in text
    assert "* torch float16: RuntimeError: no such type" in text
    assert "* generate, flax: not measured: stopped after 40 s" in text
    products = 6e-9 * 64 * 64 * (8 * 2 * 512**2 + 512 * 65)
    assert f"| torch tf32 | 2e+03 ({products / 2.0 / 1e5:.1%}) |" in text
    report.draw(rows, tmp_path / "results.png")
    assert (tmp_path / "results.png").stat().st_size > 5000


def test_a_text_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data: expected a file, found "):
        main(["--data", str(tmp_path / "no.txt"), "--out", str(tmp_path)])
    with pytest.raises(InputError, match="--only: expected one of ceilings, "):
        main(["--only", "nothing", "--out", str(tmp_path)])
    with pytest.raises(InputError, match="--only text: expected --data, found none"):
        main(["--only", "text", "--out", str(tmp_path)])


def test_the_documents_show_what_was_measured() -> None:
    rows = report.latest(report.read(DOCS / "results/h100.jsonl"))
    text = report.tables(rows)
    assert (DOCS / "results/h100.md").read_text("utf-8") == text
    shown = [(DOCS / p).read_text("utf-8") for p in ("../README.md", "accelerators.md")]
    layers: dict[str, list[str]] = {"bfloat16": [], "float32": []}
    figures = []
    for row in rows:
        if row["stage"] == "layer" and row.get("gradient") and "seconds" in row:
            if (row["shape"]["steps"], row["shape"]["batch"]) == (256, 64):
                micro = f"{1e6 * row['seconds'] / 256:.2f}"
                layers.setdefault(row["job"].split()[1], []).append(micro)
        if row["stage"] == "train" and "seconds" in row and row["job"] != "bfloat16":
            figures.append(f"{1e3 * row['seconds']:.3g} |")
        if row["stage"] == "generate" and "seconds" in row:
            figures.append(f"{row['shape']['batch'] / row['seconds']:,.0f} |")
    assert len(figures) == 15
    for page in shown:
        assert not [figure for figure in figures if figure not in page]
        for dtype in ("bfloat16", "float32"):
            assert " | ".join(layers[dtype]) in page


@pytest.mark.slow
def test_the_whole_flow_on_a_cpu(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 400)
    out = tmp_path / "out"
    run(
        "benchmarks.accelerator", "--dry", "--data", tmp_path / "text.txt", "--out", out
    )
    rows = report.read(out / "results.jsonl")
    stages = {row["stage"] for row in rows if "seconds" in row or "loss" in row}
    assert stages >= {"ceilings", "layer", "train", "generate", "text"}
    checked = [row for row in rows if "relative_error" in row]
    assert checked and all(row["relative_error"] < 2e-2 for row in checked)
