r"""What a word is made of: letters and digits, and the marks that are written on them.

Python's `\w` has no combining marks (Unicode's categories Mn, Mc and Me), so that it
cuts Hindi, Thai, Tamil, vocalised Arabic, pointed Hebrew and decomposed accents within
words. A mark, and an invisible joiner, belongs to the word that it follows; what
follows no word, as the marks in an emoji do, stays with the punctuation.
"""

import functools
import unicodedata

_PLANES = (range(0x300, 0x20000), range(0xE0000, 0xE0200))  # where all marks are
_JOINERS = "\u200c\u200d\u00ad"  # zero width (non-)joiner, soft hyphen


@functools.cache
def word_pattern(marks: bool) -> str:
    r"""A regular expression for one word.

    Args:
        marks: whether marks are part of it; without them it is `\w+`.
    """
    if not marks:
        return r"\w+"
    # Quick where there are none.
    return rf"\w+(?:[{combining_marks()}{_JOINERS}]\w*)*"


@functools.cache
def combining_marks() -> str:
    """All combining marks, side by side: the vowels of Hindi are some."""
    found = (chr(code) for plane in _PLANES for code in plane)
    return "".join(c for c in found if unicodedata.category(c)[0] == "M")


def composed(text: str) -> str:
    """A text in Unicode's normal form C: an accent and its letter are one character."""
    return unicodedata.normalize("NFC", text)
