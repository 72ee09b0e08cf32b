"""Text files of any origin: UTF-8, UTF-16 or UTF-32, with a byte order mark or without.

Windows' programs write UTF-16 and byte order marks, old ones lines that end with a
carriage return; none of it is part of a text. What is no text at all is refused with
its line, not read as some letters.
"""

import codecs
from pathlib import Path

from lstm_jax.data.text import bytes_of
from lstm_jax.errors import InputError, warn

# Those of UTF-32 come first: UTF-16's is how one of them begins.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_MARK = "\ufeff"
_MANY, _FEW = 0.5, 0.05  # shares of the high and of the low bytes of UTF-16 that are 0


def read_plain(path: Path, otherwise: str | None = None) -> str:
    """The text of a file, `.gz` and `.xz` unpacked; see `decode_plain`.

    Raises:
        InputError: the file is missing, or no text.
    """
    return decode_plain(b"".join(bytes_of(path)), str(path), otherwise)


def decode_plain(raw: bytes, where: str, otherwise: str | None = None) -> str:
    r"""A text without byte order marks, its lines ended by `\n`.

    Lone carriage returns end lines where nothing else does.

    Args:
        raw: the bytes.
        where: what a message calls them.
        otherwise: the encoding of what is no UTF-8 and has no byte order mark; without
            one it is refused.

    Raises:
        InputError: they are no text, or hold a NUL character.
    """
    encoding = _encoding_of(raw)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        if otherwise is None or encoding != "utf-8":
            raise InputError(
                f"{where}: expected {encoding.upper().removesuffix('-SIG')} text, "
                f"found other data at byte {error.start}"
            ) from None
        text = raw.decode(otherwise)
        if "\0" not in text:  # which is refused below
            warn(f"{where}: no UTF-8 text, read as {otherwise}")
    text = text.replace("\r\n", "\n")
    if "\n" not in text:
        text = text.replace("\r", "\n")
    # Files put together have a mark at the beginning of each.
    text = text.lstrip(_MARK).replace("\n" + _MARK, "\n")
    if (place := text.find("\0")) >= 0:
        line = 1 + text.count("\n", 0, place)
        raise InputError(
            f"{where}: expected text, found a NUL character in line {line}"
        )
    return text


def plain_lines(text: str) -> list[str]:
    """The lines of what `decode_plain` gives; the last one need not end."""
    return text.removesuffix("\n").split("\n")


def _encoding_of(raw: bytes) -> str:
    """What a byte order mark says, or the NULs in every other byte of Latin letters."""
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return encoding
    half = len(raw) / 2
    even, odd = raw[::2].count(0), raw[1::2].count(0)
    if odd > _MANY * half and even < _FEW * half:
        return "utf-16-le"
    if even > _MANY * half and odd < _FEW * half:
        return "utf-16-be"
    return "utf-8"
