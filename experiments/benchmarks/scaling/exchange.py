"""One of two processes that time an all-reduce: `python -m ...exchange PORT PROCESS`.

Process 0 prints, as JSON, pairs of bytes and of seconds, the median of many.
"""

import json
import statistics
import sys
import time

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

SIZES = (1, 1 << 22)  # floating-point numbers
ROUNDS = 20


def main(port: int, process: int) -> None:
    """Meet the other one and add up arrays of several sizes."""
    jax.config.update("jax_num_cpu_devices", 1)
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
    mesh = Mesh(np.array(jax.devices()), ("rows",), axis_types=(AxisType.Auto,))
    found = [[4 * size, seconds(mesh, size)] for size in SIZES]
    if process == 0:
        print(json.dumps(found))


def seconds(mesh: Mesh, size: int) -> float:
    """Of one sum over the devices of `size` numbers on each."""
    places = NamedSharding(mesh, PartitionSpec("rows"))
    whole = NamedSharding(mesh, PartitionSpec())
    shape = (mesh.size, size)
    row = np.ones((1, size), np.float32)
    rows = jax.make_array_from_callback(shape, places, lambda _: row)
    add = jax.jit(lambda rows: rows.sum(axis=0), out_shardings=whole)
    add(rows).block_until_ready()
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        add(rows).block_until_ready()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
