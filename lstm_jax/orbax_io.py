"""Reading with orbax what may be damaged, quietly.

Whatever is wrong with a checkpoint becomes one exception with one line; nothing is
read that is larger than it should be.
"""

import contextlib
import functools
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import orbax.checkpoint as ocp

from lstm_jax.arrays import Stored
from lstm_jax.errors import InputError

_SLACK = 1 << 24  # bytes that a checkpoint may take besides its arrays


class Damaged(InputError):
    """A checkpoint can't be read, or is not what was written."""


def metadata_of(where: Path) -> dict[str, Stored]:
    """What the arrays are, from the files that hold them; nothing large is read."""
    with quiet(), damaged(where):
        with ocp.StandardCheckpointer() as reader:
            metadata = reader.metadata(where).item_metadata
        if not metadata or not metadata.tree:
            raise ValueError("no description of its arrays")
        found = {}
        for name, leaf in metadata.tree.items():
            chunk = leaf.storage.chunk_shape if leaf.storage else leaf.shape
            if any(c > max(1, s) for c, s in zip(chunk, leaf.shape, strict=True)):
                raise ValueError(f"{name} of shape {leaf.shape} in pieces of {chunk}")
            found[name] = Stored(str(leaf.dtype), tuple(leaf.shape))
        return found


def check_size(where: Path, expected: int) -> None:
    """Refuse links, and more bytes on disk than such arrays can take."""
    with damaged(where):
        files = list(where.rglob("*"))
        links = [file for file in (where.parent, where, *files) if file.is_symlink()]
        if links:
            raise ValueError(f"{links[0]} is a link")
        size = sum(file.stat().st_size for file in files)
        if size > 2 * expected + _SLACK:
            raise ValueError(f"{size:,} bytes on disk for arrays of {expected:,}")


@contextlib.contextmanager
def damaged(where: Path) -> Iterator[None]:
    """Whatever goes wrong while reading is the file's fault, and said in one line."""
    _ignore_late_reads()
    try:
        yield
    except Exception as error:
        raise Damaged(
            f"expected a checkpoint at {where}, found a damaged one: "
            f"{first_line(error)}"
        ) from None


def first_line(error: Exception) -> str:
    """What an exception says, in one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


@functools.cache
def _ignore_late_reads() -> None:
    """Say nothing of reads that end after another one has failed.

    Orbax reads arrays side by side in an event loop and closes it at the first error;
    those still under way then find it closed, and Python would print their traces.
    """
    logging.getLogger("asyncio").addFilter(
        lambda record: "zarr" not in record.getMessage()
    )
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep orbax's notices to itself while it works for us."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
