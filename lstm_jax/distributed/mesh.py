"""Where arrays live: one copy of the model on every device, the batch spread over them.

What puts a tree of arrays in its place takes a tree of `jax.ShapeDtypeStruct`s too,
and returns one that says where the arrays would lie.

The only file that names a mesh or a sharding of JAX.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lstm_jax.config import Devices
from lstm_jax.errors import InputError

Tree = TypeVar("Tree")
Array = jax.Array | np.ndarray | jax.ShapeDtypeStruct
_ROWS = "rows"
_FEWEST_ROWS = 8  # of a device: with fewer, reading the weights takes the time


def row_mesh(rows: int, count: Devices = None) -> Mesh:
    """The devices over which this many rows are spread: a divisor of their number.

    Args:
        rows: B.
        count: how many devices, or "all"; None for as many as pay. Several processes
            use all that they have, and a number says how many these are.

    Raises:
        InputError: there are fewer devices, or the rows can't be spread evenly.
    """
    devices = jax.devices()
    if jax.process_count() > 1:
        devices = sorted(devices, key=lambda device: (device.process_index, device.id))
        if count not in (None, "all", len(devices)):
            raise InputError(
                f"--devices: expected {len(devices)}, as many as the processes have "
                f"together, found {count}"
            )
        count = "all"
    number = _paying(rows, len(devices)) if count is None else count
    number = len(devices) if number == "all" else number
    if number > len(devices):
        raise InputError(
            f"--devices: expected at most {len(devices)}, which this machine has, "
            f"found {number}"
        )
    if rows % number:
        raise InputError(
            f"--batch: expected a multiple of the {number} devices, found {rows}"
        )
    return _mesh(devices[:number])


def local_row_mesh(rows: int) -> Mesh:
    """As many of this process's devices as pay for rows that never meet."""
    devices = jax.local_devices()
    return _mesh(devices[: _paying(rows, len(devices))])


def mesh_for(rows: int, model: object) -> tuple[Mesh, int]:
    """Where to evaluate: the devices a model lies on; others if it lies on one alone.

    Returns:
        The mesh, and the number of rows to read side by side, at least `rows`.
    """
    leaf = jax.tree.leaves(model)[0]
    places = leaf.sharding if isinstance(leaf, jax.Array) else None
    if isinstance(places, NamedSharding) and _ROWS in places.mesh.axis_names:
        mesh = _mesh(list(places.mesh.devices.flat))
    elif jax.process_count() > 1:
        mesh = row_mesh(jax.device_count())
    else:
        mesh = row_mesh(rows)
    return mesh, -(-rows // mesh.size) * mesh.size


def _paying(rows: int, count: int) -> int:
    """Over how many of `count` devices it pays to spread rows, evenly."""
    count = max(1, min(count, rows // _FEWEST_ROWS))
    while rows % count:
        count -= 1
    return count


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
    return Mesh(np.array(devices), (_ROWS,), axis_types=(AxisType.Auto,))


def replicate(mesh: Mesh, tree: Tree) -> Tree:
    """The same arrays on every device."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    return _put_all(tree, everywhere)


def shard_rows(mesh: Mesh, tree: Tree, axis: int = 0) -> Tree:
    """The arrays cut along the axis of their rows, a part to each device."""
    places = _by_rows(mesh, axis)
    return _put_all(tree, places)


def shard_params(mesh: Mesh, tree: Tree) -> Tree:
    """Arrays cut along their longest axis that can be cut, a part to each device.

    What has no axis of a multiple of the number of devices is on every device.
    """

    def place(array: Array) -> NamedSharding:
        fitting = [n for n in range(array.ndim) if array.shape[n] % mesh.size == 0]
        longest = max(fitting, key=lambda n: array.shape[n], default=None)
        if longest is None or not array.shape[longest]:
            return NamedSharding(mesh, PartitionSpec())
        return _by_rows(mesh, longest)

    return jax.tree.map(lambda array: _lay(array, place(array)), tree)


def mesh_of_parts(tree: object) -> Mesh | None:
    """Over which devices `shard_params` has cut these arrays; None if it has not."""
    for leaf in jax.tree.leaves(tree):
        places = leaf.sharding
        if isinstance(places, NamedSharding) and not places.is_fully_replicated:
            return _mesh(list(places.mesh.devices.flat))
    return None


def gathered(mesh: Mesh, tree: Tree) -> Tree:
    """Inside a program: arrays that `shard_params` has cut, whole on every device."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def shard_batch(
    mesh: Mesh, batch: Mapping[str, np.ndarray], axis: int = 0
) -> dict[str, jax.Array]:
    """Cut a batch along the axis of its rows."""
    places = _by_rows(mesh, axis)
    return {name: _put(array, places) for name, array in batch.items()}


def shard_batch_by_process(
    mesh: Mesh,
    rows: int,
    read: Callable[[slice], Mapping[str, np.ndarray]],
    axis: int = 0,
) -> dict[str, jax.Array]:
    """A batch of which every process reads the rows of its own devices, and no other.

    Args:
        mesh: of `row_mesh`.
        rows: B, of the whole batch.
        read: some rows of the batch.
        axis: of the rows, in every array.
    """
    if jax.process_count() == 1:
        return shard_batch(mesh, read(slice(0, rows)), axis)
    each = rows // mesh.size
    own = [
        (device, read(slice(n * each, (n + 1) * each)))
        for n, device in enumerate(mesh.devices.flat)
        if device.process_index == jax.process_index()
    ]
    whole: dict[str, jax.Array] = {}
    for name in own[0][1]:
        shape = list(own[0][1][name].shape)
        shape[axis] = rows
        parts = [jax.device_put(part[name], device) for device, part in own]
        whole[name] = jax.make_array_from_single_device_arrays(
            tuple(shape), _by_rows(mesh, axis), parts
        )
    return whole


def _put_all(tree: Tree, places: NamedSharding) -> Tree:
    """Arrays that belong to the same place: together if possible, which is faster."""
    shapes = any(isinstance(a, jax.ShapeDtypeStruct) for a in jax.tree.leaves(tree))
    if places.is_fully_addressable and not shapes:
        return jax.device_put(tree, places)
    return jax.tree.map(lambda array: _lay(array, places), tree)


def _lay(array: Array, places: NamedSharding) -> jax.Array | jax.ShapeDtypeStruct:
    """An array where it belongs; of a shape, one that says where that is."""
    if isinstance(array, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=places)
    return _put(array, places)


def _put(array: jax.Array | np.ndarray, places: NamedSharding) -> jax.Array:
    """An array where it belongs. Of a part of several processes, each puts its own."""
    given = array.sharding if isinstance(array, jax.Array) else None
    if places.is_fully_addressable or (given and not given.is_fully_addressable):
        return jax.device_put(array, places)
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        bits = _put(jax.random.key_data(array), places)
        return jax.random.wrap_key_data(bits)
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, places, lambda index: host[index])


def _by_rows(mesh: Mesh, axis: int) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, _ROWS))
