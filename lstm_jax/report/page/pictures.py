"""Pictures that a run has left, as they are put into its page."""

import base64
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from lstm_jax.storage.files import Fields

DESCRIPTION = "Description"  # the keyword of PNG for what a picture shows
_TYPES = {".png": "image/png", ".gif": "image/gif", ".jpg": "image/jpeg"}
_BUDGET = 1_400_000  # bytes of all pictures of a page before they become text


def describe_pictures(paths: Sequence[Path]) -> list[Fields]:
    """Embed pictures with what is written in them about what they show.

    One that is too large or damaged is named, and why it isn't there. The smaller ones
    are embedded first.
    """
    known = [path for path in paths if path.suffix.lower() in _TYPES]
    budget, found = _BUDGET, {}
    for path in sorted(known, key=lambda path: path.stat().st_size):
        size = path.stat().st_size
        fits = size <= budget
        budget -= size if fits else 0
        found[path] = _describe(path, fits)
    return [found[path] for path in known]


def _describe(path: Path, fits: bool) -> Fields:
    try:
        with Image.open(path) as image:
            image.verify()
            (width, height), said = image.size, image.info.get(DESCRIPTION)
    except Exception as error:  # Pillow raises what the file makes it raise
        return {"name": path.name, "alt": "", "left": f"It can't be read: {error}"}
    fields: Fields = {"name": path.name, "alt": said if isinstance(said, str) else ""}
    if not fits:
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        return {**fields, "left": f"Not embedded, for its size: {size}."}
    kind, raw = _TYPES[path.suffix.lower()], base64.b64encode(path.read_bytes())
    source = f"data:{kind};base64,{raw.decode()}"
    return {**fields, "width": width, "height": height, "source": source}
