"""Films in grey: files of frames in, predicted frames out. No JAX.

A `.npz` holds `frames`, [T, height, width] of one film or [N, T, height, width] of
several: bytes from 0 to 255, or numbers from 0 to 1. A single array may have any name.
A `.gif` is one film; colours become grey, and each of its pictures is a frame, however
long it is shown.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from experiments.video.archive import read_arrays
from lstm_jax import InputError
from lstm_jax.data import bytes_of, unpacked_name
from lstm_jax.storage import replace_file

Films = NDArray[np.float32]  # [N, T, height, width], grey from 0 to 1

_NAME = "frames"
_MOST_ACROSS, _MOST_FRAMES = 512, 10_000
_SHOWN = 16  # films in a movie
_ACROSS = 160  # pixels of a film in a movie, or more
_MILLISECONDS = 200  # per frame
_SEEN, _PREDICTED, _PAPER = (110, 110, 110), (230, 159, 0), (255, 255, 255)


def read_films(path: Path) -> Films:
    """Read a `.npz` or a `.gif`, as the top of this file has them, or packed.

    What is packed ends in `.gz` or `.xz`.

    Raises:
        InputError: it is no such file, or its numbers are no shades of grey.
    """
    kind = unpacked_name(path).suffix.lower()
    if kind not in (".npz", ".gif"):
        raise InputError(f"{path}: expected a .npz or .gif of frames")
    raw = b"".join(bytes_of(path))
    films = _from_gif(raw, path) if kind == ".gif" else _from_npz(raw, path)
    if 0 in films.shape:
        raise InputError(f"{path}: expected frames, found none")
    if max(films.shape[2:]) > _MOST_ACROSS:
        raise InputError(
            f"{path}: expected frames of {_MOST_ACROSS} pixels across at most, found "
            f"{films.shape[3]} x {films.shape[2]}"
        )
    return films


def _from_npz(raw: bytes, path: Path) -> Films:
    found = read_arrays(raw, path, lambda name: True)
    if _NAME not in found and len(found) != 1:
        names = ", ".join(sorted(found)) or "nothing"
        raise InputError(f"{path}: expected an array {_NAME}, found {names:.100}")
    frames = found.get(_NAME, next(iter(found.values())))
    if frames.ndim not in (3, 4) or not (
        frames.dtype == np.uint8 or frames.dtype.kind in "fb"
    ):
        raise InputError(
            f"{path}: expected frames of shape [T, height, width] or [N, T, height, "
            f"width], bytes or numbers from 0 to 1, found {list(frames.shape)} of "
            f"{frames.dtype}"
        )
    grey = frames.astype(np.float32)
    if frames.dtype == np.uint8:
        grey /= np.float32(255)
    if not ((grey >= 0) & (grey <= 1)).all():  # NaN is neither
        raise InputError(f"{path}: expected numbers from 0 to 1, found others")
    return grey if grey.ndim == 4 else np.expand_dims(grey, 0)


def _from_gif(raw: bytes, path: Path) -> Films:
    try:
        with Image.open(io.BytesIO(raw), formats=["GIF"]) as movie:
            if max(movie.size) > _MOST_ACROSS:
                shape = 1, 1, movie.height, movie.width
                return np.zeros(shape, np.float32)  # too large, which the caller says
            count = getattr(movie, "n_frames", 1)
            if count > _MOST_FRAMES:
                raise ValueError(f"{count:,} frames")
            pages = [
                np.asarray(page.convert("L")) for page in ImageSequence.Iterator(movie)
            ]
    except Exception as error:  # of the many that a hostile file can cause
        reason = "no such picture" if "BytesIO" in str(error) else str(error)
        raise InputError(f"{path}: expected a .gif, found: {reason:.100}") from None
    grey = np.stack(pages)[None].astype(np.float32)
    grey /= np.float32(255)
    return grey


def write_films(path: Path, films: Films) -> None:
    """Write a `.npz` that `read_films` reads.

    Raises:
        InputError: it could not be written.
    """
    packed = io.BytesIO()
    np.savez_compressed(packed, frames=films)
    replace_file(path, packed.getvalue())


def write_movie(path: Path, seen: Films, predicted: Films) -> None:
    """Write an animated GIF: the frames seen, framed in grey, then those predicted.

    Predicted ones are framed in orange. Of many films the first 16 are shown.

    Args:
        path: of the movie.
        seen: [N, T, height, width].
        predicted: [N, F, height, width].

    Raises:
        InputError: it could not be written.
    """
    pages = [_page(each, _SEEN) for each in seen[:_SHOWN].swapaxes(0, 1)]
    pages += [_page(each, _PREDICTED) for each in predicted[:_SHOWN].swapaxes(0, 1)]
    movie = io.BytesIO()
    pages[0].save(
        movie,
        "GIF",
        save_all=True,
        append_images=pages[1:],
        duration=_MILLISECONDS,
        loop=0,
    )
    replace_file(path, movie.getvalue())


def _page(frames: Films, edge: tuple[int, int, int]) -> Image.Image:
    """One moment of some films side by side, [N, height, width], in rows of four."""
    count, height, width = frames.shape
    scale = max(1, -(-_ACROSS // max(height, width)))
    columns = min(4, count)
    grey = (255 * frames).round().astype(np.uint8)
    large = grey.repeat(scale, axis=1).repeat(scale, axis=2)
    down, across = height * scale + 8, width * scale + 8  # 2 of edge, 2 of paper
    page = np.full((-(-count // columns) * down, columns * across, 3), _PAPER, np.uint8)
    for k, picture in enumerate(large):
        top, left = k // columns * down, k % columns * across
        page[top + 2 : top + down - 2, left + 2 : left + across - 2] = edge
        page[top + 4 : top + down - 4, left + 4 : left + across - 4] = picture[
            ..., None
        ]
    return Image.fromarray(page)
