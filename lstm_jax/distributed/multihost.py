"""What the processes of a run tell each other, so that they all do the same.

Each function is a collective over all devices: every process calls it, in the same
order. With one process there is nothing to tell, and nothing is done.
"""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lstm_jax.distributed.bounded import bounded_jit

Tree = TypeVar("Tree")
_ALL = "all"
_LONGEST_PATH = 4096  # bytes, as Linux has it


def is_primary() -> bool:
    """Whether this is process 0, or the only one."""
    return jax.process_index() == 0


def any_process(answer: bool) -> bool:
    """Whether any process says yes."""
    if jax.process_count() == 1:
        return answer
    return bool(_everyones(np.array([answer], np.uint32)).any())


def primary_decides(answer: bool) -> bool:
    """The answer of process 0."""
    return bool(broadcast(np.bool_(answer)))


def settle(anyone: Sequence[bool], first: Sequence[bool]) -> list[bool]:
    """Settle several questions in one exchange.

    Args:
        anyone: questions to which any process may say yes.
        first: questions that process 0 answers.

    Returns:
        The answers, in the same order.
    """
    if jax.process_count() == 1:
        return [*anyone, *first]
    answers = _everyones(np.array([*anyone, *first], np.uint32))
    settled = np.concatenate(
        [answers.max(axis=0)[: len(anyone)], answers[0, len(anyone) :]]
    )
    return [bool(answer) for answer in settled]


def broadcast_number(number: float) -> float:
    """The number that process 0 has."""
    return float(broadcast(np.float64(number)))


def broadcast_path(path: Path | None) -> Path | None:
    """The path that process 0 has, absolute, or None if it has none."""
    if jax.process_count() == 1:
        return path
    raw = os.fsencode(path.resolve()) if path and is_primary() else b""
    words = np.frombuffer(raw.ljust(_LONGEST_PATH, b"\0"), np.uint8)
    told = broadcast(words).tobytes().rstrip(b"\0")
    return Path(os.fsdecode(told)) if told else None


def broadcast(tree: Tree) -> Tree:
    """The arrays of process 0, bit for bit, on the host.

    Args:
        tree: arrays that every process has whole, of the same shapes and types; with
            one process they come back as they are.
    """
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    arrays = [np.asarray(jax.random.key_data(a) if _is_key(a) else a) for a in leaves]
    sent = b"".join(array.tobytes() for array in arrays)
    words = np.frombuffer(sent + bytes(-len(sent) % 4), np.uint32)
    got, end = _firsts(words).tobytes(), 0
    told = []
    for leaf, array in zip(leaves, arrays, strict=True):
        start, end = end, end + array.nbytes
        value = np.frombuffer(got[start:end], array.dtype).reshape(array.shape)
        told.append(
            jax.random.wrap_key_data(jnp.asarray(value)) if _is_key(leaf) else value
        )
    return jax.tree.unflatten(structure, told)


def gather_replicated(tree: Tree) -> Tree:
    """The same arrays, whole and where this process can read them.

    Those spread over several processes are gathered, one after the other; what this
    process can read already is left as it is.
    """

    def whole(array: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        if not isinstance(array, jax.Array) or array.is_fully_addressable:
            return array
        if not array.is_fully_replicated:
            assert isinstance(array.sharding, NamedSharding)
            places = NamedSharding(array.sharding.mesh, PartitionSpec())
            array = jax.device_put(array, places)
        return array.addressable_data(0)

    return jax.tree.map(whole, tree)


def _is_key(leaf: jax.Array | np.ndarray) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _everyones(words: np.ndarray) -> np.ndarray:
    """The words [N] of every device's process, [devices, N]."""
    return _exchange(words, first_only=False)


def _firsts(words: np.ndarray) -> np.ndarray:
    """The words [N] of the first device's process, which is process 0."""
    return _exchange(words, first_only=True)


def _exchange(words: np.ndarray, first_only: bool) -> np.ndarray:
    places, program = _program(first_only)
    shape = (jax.device_count(), len(words))
    rows = jax.make_array_from_callback(shape, places, lambda _: words[None])
    return np.asarray(program(rows).addressable_data(0))


@functools.cache
def _program(first_only: bool) -> tuple[NamedSharding, Callable[..., jax.Array]]:
    """Where the words of all lie, and what brings them, or the first, to all.

    All devices take part, as in a training step: they meet once, when the run begins.
    """
    devices = np.array(sorted(jax.devices(), key=lambda d: (d.process_index, d.id)))
    mesh = Mesh(devices, (_ALL,), axis_types=(AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    take = (lambda rows: rows[0]) if first_only else (lambda rows: rows)
    program = bounded_jit(take, out_shardings=everywhere)
    return NamedSharding(mesh, PartitionSpec(_ALL)), program
