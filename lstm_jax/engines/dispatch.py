"""Which engine runs a recurrence, and why: decided in Python, before tracing."""

import dataclasses
import functools
from collections.abc import Callable

import jax.numpy as jnp
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import LSTM_CELL, LSTMCell
from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.protocol import Cell, State
from lstm_jax.engines.cudnn import run_cudnn, unsupported_by_cudnn
from lstm_jax.engines.devices import current_devices, current_gpu, current_platform
from lstm_jax.engines.fused import run_fused
from lstm_jax.engines.measured import fastest
from lstm_jax.engines.mogrifier import run_mogrifier
from lstm_jax.engines.native.build import why_not_built
from lstm_jax.engines.native.engine import run_native, unsupported_by_native
from lstm_jax.engines.native.mogrifier import run_native_mogrifier
from lstm_jax.engines.pallas_gpu.engine import (
    needs_the_card_alone,
    run_pallas_gpu,
    unsupported_by_pallas_gpu,
)
from lstm_jax.engines.pallas_tpu.engine import run_pallas_tpu, unsupported_by_pallas_tpu
from lstm_jax.engines.scan import run_scan
from lstm_jax.engines.spec import (
    RecurrenceSpec,
    being_exported,
    explicit_sharding,
    inside_part_of_a_shard_map,
    inside_shard_map,
    matmul_precision,
)
from lstm_jax.typing import Hidden, Size

AUTO = "auto"
_FEW = 64  # steps times rows, for which it does not pay to pack the weights
_NO_MASKS = "cannot have recurrent dropout or zoneout, which act inside the loop"


Run = Callable[..., tuple[Hidden, State]]  # see `lstm_jax.engines`


def _can_all(spec: RecurrenceSpec) -> None:
    """Why an engine without limits can't run a request: there is no reason."""


def _is_there() -> None:
    """Why an engine that is always there is absent: there is no reason."""


@dataclasses.dataclass(frozen=True)
class Engine:
    """A line of the table.

    Attributes:
        run_of: the engine for a cell, see `lstm_jax.engines`; None if it has none.
        note: what speaks for it.
        unsupported: what it lacks for a request, or None.
        why_absent: why it can't be had on this machine, or None; finding out may take
            seconds, so it is asked of an engine that is to run, and of no other.
        takes_inputs: it takes xs and `LSTMParams` in the place of z and w_h.
        takes_masks: it lets regularizers into the loop.
        takes_symbols: T and B may be symbols, as `jax.export` has them.
    """

    run_of: Callable[[Cell], Run | None]
    note: str
    unsupported: Callable[[RecurrenceSpec], str | None] = _can_all
    why_absent: Callable[[], str | None] = _is_there
    takes_inputs: bool = False
    takes_masks: bool = False
    takes_symbols: bool = False

    def lacks(self, spec: RecurrenceSpec) -> str | None:
        """Why it can't run a request; None if it can."""
        if self.run_of(spec.cell) is None:
            return f"has no loop for the cell {spec.cell.name}"
        if spec.masks and not self.takes_masks:
            return _NO_MASKS
        if spec.symbolic and not self.takes_symbols:
            return "needs sizes that are numbers, not symbols of jax.export"
        return self.unsupported(spec)


# By exact type: a subclass may have other equations.


def _lstm_only(run: Run) -> Callable[[Cell], Run | None]:
    return lambda cell: run if type(cell) is LSTMCell else None


def _fused(cell: Cell) -> Run | None:
    """The loop whose gradient was written for this cell."""
    if type(cell) is MogrifierCell:
        return functools.partial(run_mogrifier, capped=cell.capped)
    return run_fused if type(cell) is LSTMCell else None


def _native(cell: Cell) -> Run | None:
    """The kernel for this cell."""
    if type(cell) is MogrifierCell:
        return functools.partial(run_native_mogrifier, capped=cell.capped)
    return run_native if type(cell) is LSTMCell else None


def _scan(cell: Cell) -> Run:
    return functools.partial(run_scan, cell)


ENGINES: dict[str, Engine] = {
    "fused": Engine(
        _fused,
        "the fastest one of XLA's own, on every platform",
        takes_symbols=True,
    ),
    "scan": Engine(
        _scan,
        "the reference, with every cell and forward mode",
        takes_masks=True,
        takes_symbols=True,
    ),
    "native": Engine(
        _native,
        "the fastest one measured on CPU, a kernel compiled on this machine",
        unsupported_by_native,
        why_not_built,
    ),
    "cudnn": Engine(
        _lstm_only(run_cudnn),
        "one cuDNN call, full float32; slower than fused where it was measured",
        unsupported_by_cudnn,
        takes_inputs=True,
    ),
    "pallas_gpu": Engine(
        _lstm_only(run_pallas_gpu),
        "w_h stays in a Hopper GPU's shared memory",
        unsupported_by_pallas_gpu,
    ),
    "pallas_tpu": Engine(
        _lstm_only(run_pallas_tpu),
        "w_h and the state stay in VMEM; never measured",
        unsupported_by_pallas_tpu,
    ),
}


@dataclasses.dataclass(frozen=True)
class EngineChoice:
    """What runs, and why; for every other engine, why it does not."""

    name: str
    reason: str
    others: dict[str, str]

    def __str__(self) -> str:
        lines = [f"engine {self.name}: {self.reason}"]
        lines += [f"    not {name}: {why}" for name, why in self.others.items()]
        return "\n".join(lines)


def choose_engine(engine: str, spec: RecurrenceSpec) -> EngineChoice:
    """The engine for a request: the one named, or the one "auto" stands for.

    Raises:
        ValueError: there is no engine of this name, or it can't run the request.
    """
    check_engine_name(engine)
    lacks = {name: entry.lacks(spec) for name, entry in ENGINES.items()}
    name, reason = engine, "asked for by name"
    if engine == AUTO:
        name, reason = _automatic(spec)
    lacks[name] = lacks[name] or ENGINES[name].why_absent()
    if lacks[name]:
        able = ", ".join(other for other, lack in lacks.items() if not lack)
        raise ValueError(f"engine {name!r}: {lacks[name]}; engines that can: {able}")
    others = {
        other: lack or f"possible too: {ENGINES[other].note}"
        for other, lack in lacks.items()
        if other != name
    }
    return EngineChoice(name, reason, others)


def _automatic(spec: RecurrenceSpec) -> tuple[str, str]:
    """What "auto" stands for, and why."""
    if spec.masks:
        return "scan", "auto: the one that can have recurrent dropout and zoneout"
    if ENGINES["fused"].run_of(spec.cell) is None:
        return "scan", f"auto: the one that has a loop for the cell {spec.cell.name}"
    if spec.platform == "cpu":
        return _automatic_on_cpu(spec)
    if spec.platform == "cuda":
        return _automatic_on_cuda(spec)
    if not ENGINES["pallas_tpu"].lacks(spec):
        if spec.devices == 1:
            return "pallas_tpu", "auto: w_h and the state stay in VMEM; never measured"
        return (
            "fused",
            f"auto: XLA may spread rows over {spec.devices} devices, and can't "
            "divide the kernels of pallas_tpu; never measured on tpu",
        )
    return (
        "fused",
        f"auto: the same on every platform; none was measured on {spec.platform}",
    )


def _automatic_on_cpu(spec: RecurrenceSpec) -> tuple[str, str]:
    """What "auto" stands for on a CPU, and why."""
    native = ENGINES["native"]
    why_not = native.lacks(spec)
    if why_not is None and spec.exported and spec.devices > 1:
        why_not = "is a custom call, which jax.export refuses on several devices"
    if why_not is None and spec.steps * spec.rows < _FEW:
        why_not = f"packs the weights, for no more than {spec.steps} x {spec.rows} rows"
    why_not = why_not or native.why_absent()
    if why_not is None:
        return "native", "auto: the fastest one measured on CPU"
    return "fused", f"auto: the fastest one measured on CPU but native, which {why_not}"


def _automatic_on_cuda(spec: RecurrenceSpec) -> tuple[str, str]:
    """What "auto" stands for on an NVIDIA GPU, and why."""
    line = fastest(spec)
    if line is None:
        return (
            "fused",
            "auto: the same on every platform; none was measured on "
            f"{spec.device_kind or 'cuda'} with this type and these sizes",
        )
    why_not = None if line.engine == "fused" else _hinders_a_kernel(line.engine, spec)
    if why_not:
        return "fused", f"auto: XLA's fastest one; not {line.engine}, which {why_not}"
    if line.extrapolated:
        return line.engine, f"auto: the fastest one, extrapolated from {line.source}"
    return line.engine, f"auto: the fastest one measured ({line.source})"


def _hinders_a_kernel(engine: str, spec: RecurrenceSpec) -> str | None:
    """Why "auto" leaves a kernel alone that is faster; None if it does not."""
    if spec.exported:
        return "is a custom call, which jax.export refuses"
    if spec.devices > 1:
        return f"XLA can't divide, where it may spread rows over {spec.devices} devices"
    lack = ENGINES[engine].lacks(spec)
    if lack is None and engine == "pallas_gpu" and spec.reverse:
        # XLA may run the layers of both directions side by side.
        if needs_the_card_alone(spec):
            return "needs the card for itself, and time is walked backwards here"
    return lack


def explain_engine(
    engine: str = AUTO,
    *,
    steps: Size,
    rows: Size,
    hidden: int,
    dtype: DTypeLike = jnp.float32,
    lengths: bool = False,
    mask: bool = False,
    resets: bool = False,
    reverse: bool = False,
    inputs: bool = True,
    masks: bool = False,
    platform: str | None = None,
    cell: Cell = LSTM_CELL,
) -> EngineChoice:
    """Which engine `lstm` would run, and why: `print` shows it in a few lines.

    Args:
        engine: the name `lstm` is given.
        steps: T, time steps; a number, or a symbol of `jax.export`.
        rows: B, rows of the batch, likewise.
        hidden: H, units.
        dtype: type of the weights.
        lengths: whether `lstm` is given lengths.
        mask: whether it is given a mask.
        resets: whether it is given resets.
        reverse: whether time is walked backwards.
        inputs: False for `unroll_projected`, which a language model uses.
        masks: whether it is given loop masks: recurrent dropout or zoneout.
        platform: "cpu", "tpu", "cuda" or "rocm"; None for the one JAX uses here. Any
            other is taken to have one device, of TPUs the one with least VMEM, of GPUs
            one of which nothing is known.
        cell: what is repeated.

    Raises:
        ValueError: there is no engine of this name, or it can't run this.
    """
    spec = RecurrenceSpec(
        platform=platform or current_platform(),
        dtype=jnp.dtype(dtype).name,
        steps=steps,
        rows=rows,
        hidden=hidden,
        lengths=lengths,
        mask=mask,
        resets=resets,
        reverse=reverse,
        inputs=inputs,
        masks=masks,
        precision=matmul_precision(),
        device_kind="" if platform else current_devices()[0].device_kind,
        gpu=None if platform else current_gpu(),
        devices=1 if platform or inside_shard_map() else len(current_devices()),
        explicit=explicit_sharding(),
        partly_mapped=inside_part_of_a_shard_map(),
        exported=being_exported(),
        cell=cell,
    )
    return choose_engine(engine, spec)


def check_engine_name(
    engine: str, *, masks: bool = False, cell: Cell = LSTM_CELL
) -> str:
    """The name itself, if there is such an engine, with what is needed of it.

    Args:
        engine: the name.
        masks: whether it has to take masks.
        cell: what it has to repeat.

    Raises:
        ValueError: there is none, or it can't.
    """
    if engine != AUTO and engine not in ENGINES:
        known = ", ".join([AUTO, *ENGINES])
        raise ValueError(f"engine: expected one of {known}, found {engine!r}")
    if engine != AUTO and ENGINES[engine].run_of(cell) is None:
        able = ", ".join(n for n, entry in ENGINES.items() if entry.run_of(cell))
        raise ValueError(
            f"engine {engine!r}: has no loop for the cell {cell.name}; "
            f"engines that can: {able}"
        )
    if masks and engine != AUTO and not ENGINES[engine].takes_masks:
        able = ", ".join(name for name, entry in ENGINES.items() if entry.takes_masks)
        raise ValueError(f"engine {engine!r}: {_NO_MASKS}; engines that can: {able}")
    return engine
