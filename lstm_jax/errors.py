"""The one exception for what a user can cause, and a word on what was got over."""

import logging
import os
import re


class InputError(ValueError):
    """Something given from outside is not what was expected.

    The message is one line that says what was expected and what was found. The
    commands print it and exit with 2; from Python it is a ValueError. It stays one line
    if a name in it, that of a file or of a class, has several.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


def warn(message: str) -> None:
    """Tell the user in one line of something that went otherwise than it should.

    It is a warning of the logger `lstm_jax`, which Python prints to stderr unless told
    otherwise.
    """
    logging.getLogger("lstm_jax").warning("note: %s", message)


# What XLA or CUDA says, and what it means for who started the command.
_DEVICE_TROUBLES = (
    (
        r"failed to allocate.*during (context|device) creation|"
        r"CUDA_ERROR_OUT_OF_MEMORY.*(context|initializ)",
        "the device's memory is held by another process, which nvidia-smi names; "
        "XLA_PYTHON_CLIENT_PREALLOCATE=false takes only what is needed",
    ),
    (
        r"RESOURCE_EXHAUSTED|CUDA_ERROR_OUT_OF_MEMORY",
        "out of memory on the device: a smaller --batch, --length or --hidden needs "
        "less, and so does --remat; checkpoints are kept",
    ),
    (
        r"driver version is (insufficient|too old)|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "the NVIDIA driver is older than this CUDA needs: expected a newer driver, or "
        "the extra for an older CUDA (cuda12)",
    ),
    (
        r"Unable to initialize backend|Unknown backend",
        "no device of the platform asked for can be used; JAX_PLATFORMS=cpu runs on "
        "the CPU",
    ),
)


_BACKENDS = "jax._src.xla_bridge"  # where JAX looks for devices


def device_trouble(error: Exception) -> str | None:
    """Say in one line what is wrong with the device, if that is what an error tells.

    Errors of XLA and CUDA come as RuntimeErrors of many lines; the first of theirs
    follows in brackets. Where JAX has no plugin or no driver for the platform that was
    asked for, all it says is a failed assertion.
    """
    if isinstance(error, AssertionError) and _raised_in(error) == _BACKENDS:
        asked = os.environ.get("JAX_PLATFORMS", "")
        return (
            f"JAX_PLATFORMS={asked}: expected such a device, found none, or its driver "
            "or JAX's plugin is missing: pip install '.[cuda13]' has the "
            "plugin; JAX_PLATFORMS=cpu runs on the CPU"
        )
    if not isinstance(error, RuntimeError):
        return None
    said = str(error)
    for pattern, meaning in _DEVICE_TROUBLES:
        if re.search(pattern, said):
            return f"{meaning} [{said.strip().splitlines()[0][:160]}]"
    return None


def _raised_in(error: Exception) -> str | None:
    """The module that raised an error."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace.tb_frame.f_globals.get("__name__") if trace else None


class Interrupted(Exception):
    """A command was asked to stop, and has stopped.

    The message is one line that says what was kept; `code` is the exit code.
    """

    def __init__(self, kept: str, code: int) -> None:
        super().__init__(f"interrupted: {kept}")
        self.code = code
