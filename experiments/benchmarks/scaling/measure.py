"""The measured numbers: a step on one device, its input, a sum over two processes."""

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.scaling.exchange import SIZES
from experiments.benchmarks.scaling.hlo import collectives
from experiments.benchmarks.scaling.model import fit_line
from experiments.benchmarks.scaling.program import (
    STEPS,
    first_state,
    lower,
    some_batches,
)
from experiments.benchmarks.speed.shapes import LEARNING_RATE, Shape
from lstm_jax.data import tbptt_batch

ROUNDS = 5
TEXT = 1 << 20  # symbols of the text that is read


def network() -> tuple[float, float]:
    """Bytes per second, and seconds of a round, between two processes here."""
    return fit_line(*exchange())


def compute(shape: Shape) -> float:
    """Seconds of a training step on one device."""
    program = lower(shape, jax.devices()[:1], "cpu").compile()
    state = jax.jit(lambda: first_state(shape, shape.batch))()
    batches = some_batches(shape, shape.batch)
    rates = jnp.full(STEPS, LEARNING_RATE)

    def run() -> None:
        nonlocal state
        state, _ = program(state, batches, rates, jnp.int32(STEPS))
        jax.block_until_ready(state)

    run()
    return median_seconds(run) / STEPS


def prepare(shape: Shape) -> float:
    """Seconds to cut a batch out of a text."""
    ids = np.random.default_rng(0).integers(shape.vocab, size=TEXT).astype(np.uint8)
    numbers = iter(range(10**9))

    def cut() -> None:
        tbptt_batch(
            ids,
            next(numbers),
            batch=shape.batch,
            length=shape.steps,
            seed=0,
            reset_probability=0.0,
        )

    return median_seconds(cut)


def gradient_bytes(shape: Shape) -> int:
    """What the compiled step adds up over devices, read off the program for two."""
    compiled = lower(shape, jax.devices()[:2], "cpu").compile()
    found = collectives(compiled.as_text() or "")
    return 4 * sum(each.floats for each in found)


def exchange() -> tuple[tuple[int, float], tuple[int, float]]:
    """Bytes and seconds of a small and a large sum over two processes here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "experiments.benchmarks.scaling.exchange",
        str(port),
    ]
    first, second = (
        subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True)
        for n in range(2)
    )
    printed, _ = first.communicate()
    second.communicate()
    if first.returncode or second.returncode:
        raise RuntimeError(f"two processes of {SIZES} numbers did not meet")
    few, many = json.loads(printed.splitlines()[-1])
    return tuple(few), tuple(many)


def median_seconds(run: Callable[[], object]) -> float:
    """Of a call."""
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
