"""What more devices bring: `python -m experiments.benchmarks.scaling`.

Measures, on this machine, a training step on one CPU device, its input, and a sum over
two processes (gloo, through the loopback interface); counts the bytes that the compiled
step adds up; and computes from these what a step costs on up to 1,024 devices. With
--step-ms, --input-ms, --bandwidth and --latency-us the table is computed from your own
numbers.
"""

import dataclasses
from collections.abc import Sequence

from experiments.benchmarks.scaling.model import Costs, estimate
from experiments.benchmarks.speed.shapes import Shape
from lstm_jax.cli import parse, run_command


@dataclasses.dataclass(frozen=True)
class Options:
    """What is trained, and what is known of the devices."""

    layers: int = 2
    """LSTM layers."""
    hidden: int = 256
    """Units of each."""
    batch: int = 16
    """Rows on each device."""
    length: int = 64
    """Symbols per step."""
    vocab: int = 65
    """Different symbols."""
    step_ms: float | None = None
    """Milliseconds of a step on one device. Default: measured here."""
    input_ms: float | None = None
    """Milliseconds to prepare the rows of one device. Default: measured here."""
    bandwidth: float | None = None
    """Gigabytes per second that a device can send. Default: measured here."""
    latency_us: float | None = None
    """Microseconds of a round between devices. Default: measured here."""
    most: int = 1024
    """Devices up to which is computed."""
    absent: bool = False
    """Only compile for 4 x H100 and 4 x TPU v5e, and show what a step exchanges."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, compute, print."""
    package = "experiments.benchmarks"
    options = parse(Options, "scaling", __doc__, arguments, package=package)
    shape = Shape(
        "asked for",
        options.layers,
        options.hidden,
        options.batch,
        options.length,
        options.vocab,
    )
    print(
        f"{shape.layers} x {shape.hidden} units, {shape.batch} rows of {shape.steps} "
        f"symbols per device, {shape.vocab} symbols, float32\n"
    )
    if options.absent:
        show_absent(shape)
        return 0
    import jax

    jax.config.update("jax_num_cpu_devices", 2)
    show_costs(options, shape)
    return 0


def show_costs(options: Options, shape: Shape) -> None:
    """Two tables: what was measured or given, and what follows from it."""
    from experiments.benchmarks.scaling import measure

    given = (options.bandwidth, options.latency_us)
    bandwidth, latency = (1.0, 0.0) if None not in given else measure.network()
    step, cut = options.step_ms, options.input_ms
    costs = Costs(
        compute=measure.compute(shape) if step is None else step / 1e3,
        input=measure.prepare(shape) if cut is None else cut / 1e3,
        gradient_bytes=measure.gradient_bytes(shape),
        bandwidth=bandwidth if given[0] is None else given[0] * 1e9,
        latency=latency if given[1] is None else given[1] / 1e6,
    )
    print("| measured | | how |\n|---|---|---|")
    here = "on this machine, one CPU device"
    rows = (
        ("a step", f"{costs.compute * 1e3:.2f} ms", step, here),
        ("its input", f"{costs.input * 1e3:.2f} ms", cut, here),
        ("bandwidth", f"{costs.bandwidth / 1e9:.2f} GB/s", given[0], "two processes"),
        ("latency", f"{costs.latency * 1e6:.0f} µs a round", given[1], "two processes"),
    )
    for name, value, asked, how in rows:
        print(
            f"| {name} | {value} | {how if asked is None else 'given, not measured'} |"
        )
    size = f"{costs.gradient_bytes / 1e6:.3f} MB"
    print(f"| added up over devices | {size} a step | counted in the compiled step |\n")
    print(
        "| computed: devices | rows | exchange ms | step ms | efficiency | symbols/s |"
    )
    print("|---|---|---|---|---|---|")
    devices = 1
    while devices <= options.most:
        found = estimate(costs, devices)
        rows = devices * shape.batch
        print(
            f"| {devices:,} | {rows:,} | {found.exchange * 1e3:.2f} | "
            f"{found.step * 1e3:.2f} | {found.efficiency:.0%} | "
            f"{rows * shape.steps / found.step:,.0f} |"
        )
        devices *= 2


def show_absent(shape: Shape) -> None:
    """What a compiled step exchanges, per optimizer step and per time step."""
    from experiments.benchmarks.scaling.ahead_of_time import exchanged
    from experiments.benchmarks.speed.aot import TARGETS

    print("| devices | per call | per step | per time step |\n|---|---|---|---|")
    for target in TARGETS.values():
        title = f"4 x {target.title}"
        try:
            found = exchanged(target, shape)
        except Exception as error:
            reason = str(error).splitlines()[0]
            print(f"| {title} | not compiled: {reason:.120} | | |")
            continue
        cells = [
            ", ".join(
                f"{each.operation} of {each.floats or 'no'} floats"
                for each in found
                if each.depth == depth
            )
            for depth in range(3)
        ]
        print(f"| {title} | {' | '.join(cell or 'nothing' for cell in cells)} |")


if __name__ == "__main__":
    run_command(main)
