"""Several processes of one run: how they find each other, and end together.

Every process runs the same program on its own devices. Process 0 leads: it alone writes
the run directory, and what is to be decided it decides
(`lstm_jax.distributed.multihost`).
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator

import jax

from lstm_jax.config import ClusterConfig
from lstm_jax.distributed.heartbeat import connect, watch
from lstm_jax.distributed.multihost import any_process
from lstm_jax.errors import InputError

LOST = 75  # exit code when another process is gone (EX_TEMPFAIL): start all again
_LOSS = (
    "another process of this run has ended or can't be reached; start all of them "
    "again with --resume"
)
_SILENCE = 40  # seconds without a heartbeat of JAX's, which comes after `watch`
_PATIENCE = 86_400  # seconds to wait for process 0 to write its last files


@contextlib.contextmanager
def joined(cluster: ClusterConfig) -> Iterator[None]:
    """Be one of several processes, if there are any: none outlives another.

    To be entered before JAX is first used. With the coordinator "auto", JAX finds the
    others through Slurm, Open MPI, Kubernetes or the metadata of a TPU slice. What ends
    this process ends it at once: leaving in the usual way would first wait for the
    others, who wait for this one in a collective.

    Raises:
        InputError: there is no such cluster, or the address is none.
    """
    if cluster.coordinator is None:
        yield
        return
    leave = _join(cluster, cluster.coordinator)
    try:
        yield
    except Exception as error:
        _end(*_explain(error))
    leave()


def _join(cluster: ClusterConfig, coordinator: str) -> Callable[[], None]:
    """Meet the others; returns what is to be called before leaving."""
    address = None if coordinator == "auto" else coordinator
    try:
        jax.distributed.initialize(
            address,
            cluster.processes,
            cluster.process,
            cluster_detection_method="deactivate" if address else None,
            heartbeat_timeout_seconds=_SILENCE,
            shutdown_timeout_seconds=_PATIENCE,
        )
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            "--coordinator: expected to find the other processes of the run through "
            f"{coordinator}, found: {reason:.200}"
        ) from None
    # At once, while all are here: gloo waits only 30 s for the first collective, and
    # process 0 may soon be busy reading a large text.
    any_process(False)
    links = connect(address.rpartition(":")[0] if address else None)
    return watch(links, lambda: _end(_LOSS, LOST))


def _explain(error: Exception) -> tuple[str, int]:
    """What the user is told, and the exit code."""
    if isinstance(error, InputError):
        return str(error), 2
    own = not isinstance(error, jax.errors.JaxRuntimeError)
    if own or "RESOURCE_EXHAUSTED" in str(error):
        return traceback.format_exc(), 1
    reason = str(error).strip().splitlines()[0]
    return f"{_LOSS} ({reason:.160})", LOST


def _end(message: str, code: int) -> None:
    sys.stdout.flush()
    print(f"error: process {jax.process_index()}: {message}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(code)
