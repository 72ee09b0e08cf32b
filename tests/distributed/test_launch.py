"""Many devices and several processes give what one device gives; and how they end."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from lstm_jax.config import ClusterConfig
from lstm_jax.distributed.launch import LOST, joined
from lstm_jax.errors import InputError
from lstm_jax.lm.config import TrainConfig, check
from tests.helpers import multiprocess_run

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
ENVIRONMENT.pop("JAX_COMPILATION_CACHE_DIR", None)  # that is of this process alone
MOST_SECONDS = 60  # after the loss of a process


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(
    *command: str, log: Path | None = None, **variables: str
) -> subprocess.Popen[bytes]:
    """A process that writes to a file, or to be listened to."""
    with open(log or os.devnull, "wb") as file:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=ENVIRONMENT | variables,
            stdout=file if log else subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


def together(out: Path, processes: int, **given: object) -> dict[str, Any]:
    """What `multiprocess_run` finds with as many processes."""
    given["out"] = str(out)
    if processes > 1:
        given |= {
            "coordinator": f"127.0.0.1:{free_port()}",
            "processes": processes,
        }
    running = [
        start(
            *("-m", "tests.helpers.multiprocess_run"),
            json.dumps(given | ({"process": n} if processes > 1 else {})),
        )
        for n in range(processes)
    ]
    for process in running:
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, printed.decode()[-2000:]
    return json.loads(out.read_text())


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """To rounding: sums over rows are taken in another order."""
    tree = jax.tree.structure(expected)
    assert jax.tree.structure(found) == tree
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """One process, one device."""
    return json.loads(json.dumps(multiprocess_run.outcome(devices=1)))


def test_two_processes_of_four_devices_are_one(
    alone: dict[str, Any], tmp_path: Path
) -> None:
    """Training, validation and all metrics of all the data, over gloo."""
    found = together(tmp_path / "found", 2, devices=8)
    assert (
        found["scores"]["stream"]["characters"]
        == len(multiprocess_run.CORPUS.validation) - 1
    )
    assert_same(found, alone)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_eight_devices_are_one(
    processes: int, alone: dict[str, Any], tmp_path: Path
) -> None:
    """With the model whole on each, or in parts."""
    for shard_model in (False, True):
        out = tmp_path / str(shard_model)
        assert_same(together(out, processes, devices=8, shard_model=shard_model), alone)


@pytest.mark.slow
def test_the_tasks_of_a_slurm_job_find_each_other(tmp_path: Path) -> None:
    """By the variables that Slurm sets, and nothing else."""
    out = tmp_path / "out"
    given = {"devices": 8, "processes": 2, "coordinator": "auto", "calls": 1}
    port = str(free_port())
    running = [
        start(
            *("-m", "tests.helpers.multiprocess_run"),
            json.dumps(given | {"out": str(out)}),
            SLURM_JOB_ID="1",
            SLURM_STEP_NODELIST="localhost",
            SLURM_NTASKS="2",
            SLURM_PROCID=str(n),
            SLURM_LOCALID=str(n),
            JAX_COORDINATOR_PORT=port,
        )
        for n in range(2)
    ]
    for process in running:
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, printed.decode()[-2000:]
    assert len(json.loads(out.read_text())["lines"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("before", [(1, 1), (8, 1), (8, 2)])
@pytest.mark.parametrize("after", [(1, 1), (8, 1), (8, 2)])
@pytest.mark.parametrize("shard_model", [False, True])
def test_a_run_goes_on_elsewhere(
    before: tuple[int, int],
    after: tuple[int, int],
    shard_model: bool,
    alone: dict[str, Any],
    tmp_path: Path,
) -> None:
    """Checkpoints know nothing of devices: any number of them continues a run."""
    if before == after:
        pytest.skip("the same devices")
    shared = {"run_dir": str(tmp_path / "run"), "shard_model": shard_model}
    (devices, processes) = before
    together(tmp_path / "a", processes, devices=devices, calls=2, **shared)
    (devices, processes) = after
    found = together(tmp_path / "b", processes, devices=devices, resume=True, **shared)
    assert_same(found, alone)


# A process that is lost.


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A training that would take minutes."""
    text = tmp_path / "text.txt"
    text.write_text(multiprocess_run.TEXT)
    return [
        *("-m", "lstm_jax.train", "--data", str(text), "--epochs", "300"),
        *("--run-dir", str(tmp_path / "run"), "--hidden", "16", "--layers", "1"),
        *("--batch", "16", "--length", "16", "--steps-per-call", "4"),
        *("--evaluations", "300", "--devices", "8", "--processes", "2"),
    ]


def start_both(command: list[str], folder: Path, *more: str) -> list[subprocess.Popen]:
    address = f"127.0.0.1:{free_port()}"
    return [
        start(
            *(*command, *more, "--coordinator", address, "--process", str(n)),
            log=folder / f"log{n}",
        )
        for n in range(2)
    ]


def last_step(run: Path) -> int:
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def wait_for_checkpoint(run: Path, later_than: int, running: list) -> None:
    until = time.monotonic() + 300
    while not any(
        folder.name.isdecimal() and int(folder.name) > later_than
        for folder in (run / "checkpoints").glob("*")
    ):
        assert all(process.poll() is None for process in running)
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [1, 0])
@pytest.mark.parametrize(
    "how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"]
)
def test_a_lost_process_ends_the_other(
    lost: int, how: signal.Signals, command: list[str], tmp_path: Path
) -> None:
    """Killed, or stopped in its tracks; and both together take the run up again."""
    run = tmp_path / "run"
    running = start_both(command, tmp_path)
    try:
        wait_for_checkpoint(run, 0, running)
        running[lost].send_signal(how)
        began = time.monotonic()
        code = running[1 - lost].wait(timeout=MOST_SECONDS)
        seconds = time.monotonic() - began
    finally:
        for process in running:
            process.kill()
            process.wait()
    said = (tmp_path / f"log{1 - lost}").read_text()
    print(f"process {lost} {how.name}: the other ended after {seconds:.1f} s, {code}")
    assert code in (LOST, -signal.SIGABRT), said  # gloo may abort at the same moment
    assert "another process of this run has ended" in said
    reached = last_step(run)
    running = start_both(command, tmp_path, "--resume")
    try:
        wait_for_checkpoint(run, reached, running)
        running[1].send_signal(signal.SIGTERM)  # to either: both stop, and save
        codes = [process.wait(timeout=MOST_SECONDS) for process in running]
    finally:
        for process in running:
            process.kill()
    assert all(code > 128 for code in codes), (tmp_path / "log0").read_text()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(set(steps)) and steps[-1] > reached


# What is asked for.


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ((None, 2, None), "--coordinator: expected HOST:PORT or auto, found none"),
        (("here", 2, 0), "--coordinator: expected HOST:PORT or auto, found here"),
        (("here:0", 2, 0), "--coordinator: expected HOST:PORT or auto, found here:0"),
        (("here:1", None, 0), "--processes: expected their number, found None"),
        (("here:1", 2, None), "--process: expected which one this is, found None"),
        (("here:1", 0, 0), "--processes: expected 1 or more, found 0"),
        (("here:1", 2, 2), "--process: expected 0 to 1, found 2"),
        (("here:1", 3, 2), "--devices: expected a multiple of 3 processes, found 8"),
    ],
)
def test_what_makes_no_cluster(cluster: tuple, message: str) -> None:
    config = TrainConfig(
        run=dataclasses.replace(TrainConfig().run, devices=8),
        cluster=ClusterConfig(*cluster),
    )
    with pytest.raises(InputError, match=message):
        check(config)


def test_no_cluster_is_found_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM", "OMPI", "KUBERNETES", "TPU", "JAX_COORD")):
            monkeypatch.delenv(name)
    with pytest.raises(InputError, match="--coordinator: expected to find the other"):
        with joined(ClusterConfig("auto")):
            raise AssertionError("nobody is here")
