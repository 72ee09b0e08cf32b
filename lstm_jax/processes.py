"""Several processes of one run: how they find each other, and end together.

Every process runs the same program on its own devices. Process 0 leads: it alone
writes the run directory, and what is to be decided it decides (`lstm_jax.agree`).
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator

import jax

from lstm_jax.agree import any_says
from lstm_jax.config import ClusterConfig
from lstm_jax.errors import InputError

LOST = 75  # exit code when another process is gone (EX_TEMPFAIL): start all again
_SILENCE = 30  # seconds without a heartbeat after which a process counts as lost
_PATIENCE = 86_400  # seconds to wait for process 0 to write its last files


def join(cluster: ClusterConfig) -> None:
    """Meet the other processes of the run, if there are any.

    To be called before JAX is first used. With the coordinator "auto", JAX finds the
    others through Slurm, Open MPI, Kubernetes or the metadata of a TPU slice.

    Raises:
        InputError: there is no such cluster, or the address is none.
    """
    if cluster.coordinator is None:
        return
    found = cluster.coordinator == "auto"
    try:
        jax.distributed.initialize(
            None if found else cluster.coordinator,
            cluster.processes,
            cluster.process,
            cluster_detection_method=None if found else "deactivate",
            heartbeat_timeout_seconds=_SILENCE,
            shutdown_timeout_seconds=_PATIENCE,
        )
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"--coordinator: expected to find the other processes of the run through "
            f"{cluster.coordinator}, found: {reason:.200}"
        ) from None
    # At once, while all are here: gloo waits only 30 s for the first collective, and
    # process 0 may soon be busy reading a large text.
    any_says(False)


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """What ends this process ends it at once, so that no other waits for it in vain.

    Leaving in the usual way would first wait for the others, who wait for this one in
    a collective. With one process this does nothing.
    """
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1:
            raise
        message, code = _explain(error)
        sys.stdout.flush()
        print(f"error: process {jax.process_index()}: {message}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(code)


def _explain(error: Exception) -> tuple[str, int]:
    """What the user is told, and the exit code."""
    if isinstance(error, InputError):
        return str(error), 2
    own = not isinstance(error, jax.errors.JaxRuntimeError)
    if own or "RESOURCE_EXHAUSTED" in str(error):
        return traceback.format_exc(), 1
    reason = str(error).strip().splitlines()[0]
    return (
        "another process of this run has ended or can't be reached; start all of them "
        f"again with --resume ({reason:.160})",
        LOST,
    )
