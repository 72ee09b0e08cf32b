"""What XLA makes of the recurrence on devices that nobody has here: estimates.

Command   python -m experiments.benchmarks.speed.aot               both devices
          python -m experiments.benchmarks.speed --aot h100        or v5e
Needs     for a TPU v5e: pip install libtpu;
          for an H100: pip install jax-cuda13-plugin jax-cuda13-pjrt (no GPU needed).

Programs are compiled ahead of time and never run. What is printed is read off the
optimised program: the kernels inside the bodies of its loops, which is what every time
step costs a GPU at least, its temporary memory, and XLA's own count and estimate. A row
says why if a compiler is not there. The versions of the compilers and of jaxlib have to
fit together.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import rnn, topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import lstm_jax
from experiments.benchmarks.speed import hlo

STEPS, ROWS, UNITS = 64, 64, 256
H100 = Path(__file__).with_name("h100.txtpb")
KERNELS = ("tpu_custom_call", "mosaic_gpu")  # Pallas's calls, by how they begin
SETTINGS = {  # for compilers without their devices
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}
HEADER = """\
| device | program | kernels per time step, loop by loop | temporary MB | MFLOP \
| XLA's estimate | 4 devices: collectives in loops, in all |
|---|---|---|---|---|---|---|"""


class Target(NamedTuple):
    """A kind of device: its name, its platform, and four of them described."""

    title: str
    platform: str
    engines: tuple[str, ...]
    describe: Callable[[], Sequence[jax.Device]]


class Program(NamedTuple):
    """The bare layer, forward or with gradients, by an engine."""

    engine: str
    gradient: bool

    def __str__(self) -> str:
        return f"{'gradient' if self.gradient else 'forward'}, engine {self.engine}"


class Estimate(NamedTuple):
    """Of a program: kernels per time step in each loop, and how much it needs."""

    kernels: list[float]
    whole_walks: int  # kernels that make all time steps
    temporary_mb: float
    mflop: float
    seconds: float
    collectives: tuple[int, int]  # on four devices, inside loops and in all


def h100() -> Sequence[jax.Device]:
    """Four H100, described."""
    described = H100.read_text(encoding="utf-8")
    return topologies.get_topology_desc(
        platform="cuda", target_config=described, topology="1x1x4"
    ).devices


def v5e() -> Sequence[jax.Device]:
    """Four TPU v5e, described."""
    return topologies.get_topology_desc("v5e:2x2", "tpu").devices


TARGETS = {
    "h100": Target("H100", "cuda", ("pallas_gpu", "fused", "scan", "cudnn"), h100),
    "v5e": Target("TPU v5e", "tpu", ("pallas_tpu", "fused", "scan"), v5e),
}


def main(names: Sequence[str]) -> int:
    """Print a table: devices by programs; all devices if none is named."""
    if {"-h", "--help"} & set(names):
        print(f"{__doc__}\nDevices: {', '.join(TARGETS)}")
        return 0
    for name in names:
        if name not in TARGETS:
            known = ", ".join(TARGETS)
            print(f"error: expected {known}, found {name}", file=sys.stderr)
            return 2
    os.environ |= SETTINGS
    jax.config.update("jax_platforms", "cpu")  # nothing runs on what is described
    print(f"H = {UNITS}, B = {ROWS}, T = {STEPS}, float32. Nothing was run.\n")
    print(HEADER)
    for name in names or TARGETS:
        target = TARGETS[name]
        try:
            devices = target.describe()
        except Exception as error:
            reason = str(error).splitlines()[0][:120]
            print(f"| {target.title} | not compiled: {reason} | | | | | |")
            continue
        for gradient in (False, True):
            for engine in target.engines:
                program = Program(engine, gradient)
                row = read(program, target.platform, devices)
                print(f"| {target.title} | {program} | {row} |", flush=True)
    return 0


def read(program: Program, platform: str, devices: Sequence[jax.Device]) -> str:
    """The cells of a program, or why there are none: its engine needs a newer JAX."""
    with lstm_jax.engines.as_if_on(devices):
        sizes = dict(steps=STEPS, rows=ROWS, hidden=UNITS)
        lack = lstm_jax.explain_engine("scan", **sizes).others.get(program.engine, "")
    if lack.startswith("needs"):
        return f"not compiled: {lack} | | | | "
    return cells(estimate(program, platform, devices))


def cells(found: Estimate) -> str:
    """An estimate as the cells of a row."""
    kernels = " + ".join(f"{kernels:g}" for kernels in found.kernels) or "no loop"
    if found.whole_walks:
        kernels += f"; {found.whole_walks} for all steps"
    memory = f"{found.temporary_mb:.1f}" if found.temporary_mb else "not told"
    time = f"{found.seconds * 1e6:.0f} µs" if found.seconds > 0 else "not told"
    inside, in_all = found.collectives
    return f"{kernels} | {memory} | {found.mflop:.0f} | {time} | {inside}, {in_all}"


def estimate(
    program: Program, platform: str, devices: Sequence[jax.Device]
) -> Estimate:
    """Compile for one device that is not there, and for all of them together."""
    alone = compiled(program, platform, devices[:1])
    together = compiled(program, platform, devices)
    text = alone.as_text() or ""
    costs = alone.cost_analysis() or {}
    return Estimate(
        hlo.kernels_per_step(text, STEPS),
        sum(text.count(f'custom_call_target="{name}') for name in KERNELS),
        getattr(alone.memory_analysis(), "temp_size_in_bytes", 0) / 1e6,
        costs.get("flops", 0) / 1e6,
        costs.get("optimal_seconds", 0),
        hlo.collectives(together.as_text() or ""),
    )


def compiled(
    program: Program, platform: str, devices: Sequence[jax.Device]
) -> jax.stages.Compiled:
    """The program for these devices, a part of the rows for each."""
    mesh = Mesh(np.array(devices), ("rows",))
    places = (PartitionSpec(), PartitionSpec(None, "rows"))

    def forward(params: lstm_jax.LSTMParams, xs: jax.Array) -> jax.Array:
        return lstm_jax.lstm(params, xs, engine=program.engine)[0]

    def loss(params: lstm_jax.LSTMParams, xs: jax.Array) -> jax.Array:
        return jnp.sum(forward(params, xs) ** 2)

    function = jax.grad(loss, argnums=(0, 1)) if program.gradient else forward
    if program.engine.startswith("pallas_") and len(devices) > 1:
        ends = places if program.gradient else places[1]
        function = jax.shard_map(function, mesh=mesh, in_specs=places, out_specs=ends)

    def described(
        a: jax.ShapeDtypeStruct, place: PartitionSpec
    ) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(mesh, place)
        return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding)

    def arguments() -> tuple[lstm_jax.LSTMParams, jax.Array]:
        params = lstm_jax.init_lstm(jax.random.key(0), UNITS, UNITS)
        return params, jnp.zeros((STEPS, ROWS, UNITS))

    if program.engine == "cudnn":  # which would say how much memory it works in
        sizes = "compute_rnn_workspace_reserve_space_sizes"
        setattr(rnn.gpu_rnn, sizes, lambda *_: (1024, 1024))
    params, xs = jax.eval_shape(arguments)
    params = jax.tree.map(lambda a: described(a, places[0]), params)
    with lstm_jax.engines.as_if_on(devices):
        traced = jax.jit(function).trace(params, described(xs, places[1]))
    return traced.lower(lowering_platforms=(platform,)).compile()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
