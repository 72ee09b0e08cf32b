"""A cache for the commands of a test: not the user's, but with the kernels in it."""

import atexit
import shutil
import tempfile
from pathlib import Path

from lstm_jax.storage.caches import cache_folder


def own_cache() -> str:
    """Make a folder that goes with this process, for XDG_CACHE_HOME.

    Programs are compiled anew in it; the library of the engine native is not.
    """
    home = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, home)
    cache = cache_folder()
    if cache is None:
        return str(home)
    kernels = cache / "native"
    kernels.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / "lstm_jax").mkdir()
    (home / "lstm_jax" / "native").symlink_to(kernels)
    return str(home)
