"""Files that are replaced, and what is no file."""

import os
from pathlib import Path

import pytest

from lstm_jax.errors import InputError
from lstm_jax.storage.files import replace_file


def test_a_pipe_or_a_device_is_not_replaced(tmp_path: Path) -> None:
    """Root could; /dev/stdout would be a file from then on."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(InputError, match=f"{name}: could not .* no regular file"):
            replace_file(tmp_path / name, b"x")
        assert (tmp_path / name).is_fifo()
