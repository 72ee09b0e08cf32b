"""One process at a time in a run directory: a lock on the folder itself.

The operating system drops the lock when its process ends, however it ends: there is no
lock file that could be left behind.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from lstm_jax.errors import InputError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a folder.

    Where there are no such locks, on Windows and on some network file systems, nothing
    is held.

    Raises:
        InputError: another process holds it, or there is no such folder.
    """
    if fcntl is None:
        yield
        return
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InputError(f"{path}: expected a run directory: {error}") from None
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{path}: expected no other process in this run, found one at work"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(folder)


def is_locked(path: Path) -> bool:
    """Tell whether another process holds the lock of a folder.

    It is asked for a shared lock, for a moment, so two that ask find nobody at work.

    Raises:
        InputError: there is no such folder.
    """
    if fcntl is None:
        return False
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InputError(f"{path}: expected a run directory: {error}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(folder)
    return False
