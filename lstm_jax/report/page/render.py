"""The page itself: a template, a style, scripts and data, made one file.

The data stand in it as JSON that no browser executes. The page's own policy allows the
one script and the one style whose hashes it names, and nothing from a network; so what
a text, a label or a file name contains stays text.
"""

import base64
import functools
import hashlib
import json
import math
from importlib import resources
from typing import Any

from lstm_jax.storage.files import Fields

_SCRIPTS = ("chart.js", "reading.js", "confusion.js", "page.js")
_FILES = resources.files("lstm_jax.report.page")


def render(data: Fields) -> bytes:
    """Make the page of what `folder.describe` and the other files here return."""
    style, script = _text("style.css"), "\n".join(map(_text, _SCRIPTS))
    parts = {
        "style-hash": _hash(style),
        "script-hash": _hash(script),
        "style": style,
        "script": script,
        "data": as_json(data),  # last: what it holds is no part of the template
    }
    page = _text("template.html")
    for name, part in parts.items():
        page = page.replace(f"{{{{{name}}}}}", part, 1)
    return page.encode()


def as_json(data: object) -> str:
    """Write JSON that can stand inside an element: without <, > and &.

    Numbers that are not finite, which JSON has none of, are null.
    """
    text = json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _finite(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value if isinstance(value, str | int | bool | None) else str(value)


@functools.cache
def _text(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
