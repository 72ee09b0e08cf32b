"""What XLA makes of the recurrence on devices that nobody has here: estimates.

Command   python -m experiments.speed.aot
Needs     for a TPU v5e: pip install libtpu;
          for an H100: pip install jax-cuda13-plugin jax-cuda13-pjrt (no GPU needed).

Programs are compiled ahead of time and never run. What is printed is read off the
optimised program: the kernels inside the bodies of its loops, which is what every time
step costs a GPU at least, and its temporary memory. A row says why if a compiler is
not there. The versions of the compilers and of jaxlib have to fit together.
"""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import lstm_jax

STEPS, ROWS, UNITS = 64, 64, 256
H100 = Path(__file__).with_name("h100.txtpb")
TPU_SETTINGS = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}
# In a loop's body these are no work on the device.
_FREE = {
    "parameter",
    "constant",
    "get-tuple-element",
    "tuple",
    "bitcast",
    "copy-start",
    "copy-done",
    "after-all",
    "partition-id",
}


class Estimate(NamedTuple):
    """Of one program: kernels per time step in each loop, and megabytes."""

    kernels: list[int]
    temporary_mb: float


def main() -> int:
    """Print a table: devices by programs."""
    os.environ |= TPU_SETTINGS
    print(
        f"H = {UNITS}, B = {ROWS}, T = {STEPS}, float32. Estimates: nothing was run.\n"
    )
    print("| device | program | kernels per time step, loop by loop | temporary MB |")
    print("|---|---|---|---|")
    for name, platform, find in (("H100", "cuda", h100s), ("TPU v5e", "tpu", v5es)):
        try:
            device = find()[0]
        except Exception as error:
            reason = str(error).splitlines()[0][:120]
            print(f"| {name} | not compiled: {reason} | | |")
            continue
        for label, program in programs().items():
            found = estimate(program, platform, device)
            kernels = " + ".join(map(str, found.kernels))
            memory = f"{found.temporary_mb:.1f}" if found.temporary_mb else "not told"
            print(f"| {name} | {label} | {kernels} | {memory} |")
    return 0


def h100s(count: int = 4) -> Sequence[jax.Device]:
    """Some H100 of one machine, described."""
    described = H100.read_text(encoding="utf-8")
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=described, topology=f"1x1x{count}"
    )
    return topology.devices


def v5es() -> Sequence[jax.Device]:
    """Four TPU v5e, described."""
    return topologies.get_topology_desc("v5e:2x2", "tpu").devices


def programs() -> dict[str, Callable]:
    """The bare layer: forward, and with gradients by either engine."""

    def forward(params: lstm_jax.LSTMParams, xs: jax.Array) -> jax.Array:
        return lstm_jax.lstm(params, xs)[0]

    def gradient(engine: str) -> Callable:
        def loss(params: lstm_jax.LSTMParams, xs: jax.Array) -> jax.Array:
            return jnp.sum(lstm_jax.lstm(params, xs, engine=engine)[0] ** 2)

        return jax.grad(loss, argnums=(0, 1))

    return {
        "forward": forward,
        "gradient, engine auto": gradient("auto"),
        "gradient, engine scan": gradient("scan"),
    }


def estimate(program: Callable, platform: str, device: jax.Device) -> Estimate:
    """Compile for a device that is not there."""
    here = SingleDeviceSharding(device)

    def described(a: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here)

    def arguments() -> tuple[lstm_jax.LSTMParams, jax.Array]:
        params = lstm_jax.init_lstm(jax.random.key(0), UNITS, UNITS)
        return params, jnp.zeros((STEPS, ROWS, UNITS))

    shapes = jax.tree.map(described, jax.eval_shape(arguments))
    traced = jax.jit(program).trace(*shapes)
    compiled = traced.lower(lowering_platforms=(platform,)).compile()
    memory = compiled.memory_analysis()
    temporary = getattr(memory, "temp_size_in_bytes", 0) / 1e6
    return Estimate(loop_kernels(compiled.as_text() or ""), temporary)


def loop_kernels(hlo: str) -> list[int]:
    """How many instructions that do work each loop's body has."""
    bodies = re.findall(r"\bwhile\(.*?\bbody=%?([\w.-]+)", hlo)
    computations = {
        found["name"]: found["body"]
        for found in re.finditer(
            r"^(?:ENTRY )?%?(?P<name>[\w.-]+) .*?\{\n(?P<body>.*?)^\}",
            hlo,
            re.MULTILINE | re.DOTALL,
        )
    }
    return [
        sum(operation not in _FREE for operation in operations(computations[body]))
        for body in bodies
        if body in computations
    ]


def operations(body: str) -> list[str]:
    """The name of each instruction's operation."""
    return re.findall(
        r"^\s+(?:ROOT )?%?[\w.-]+ = .*? ([a-z][\w-]*)\(", body, re.MULTILINE
    )


if __name__ == "__main__":
    sys.exit(main())
