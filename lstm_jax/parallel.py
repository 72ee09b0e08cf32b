"""Parallel texts: two files, line by line translations of each other."""

from collections.abc import Sequence
from pathlib import Path

from lstm_jax.data import bytes_of
from lstm_jax.errors import InputError

Pairs = list[tuple[str, str]]  # a sentence and its translation


def read_parallel(source: Path, target: Path) -> Pairs:
    """The pairs of two files, `.gz` or plain; those with an empty side are left out.

    Lines end at a newline and nowhere else: Unicode's other separators occur within
    sentences.

    Raises:
        InputError: a file is missing or no UTF-8 text, they are of unequal length, or
            there is nothing in them.
    """
    ours, theirs = read_lines(source), read_lines(target)
    if len(ours) != len(theirs):
        raise InputError(
            f"expected as many lines in {target} as in {source}, {len(ours)}, "
            f"found {len(theirs)}"
        )
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a and b]
    if not pairs:
        raise InputError(f"{source}: expected sentences, found none")
    return pairs


def read_lines(path: Path) -> list[str]:
    """The lines of a text, white space within them made single spaces.

    Raises:
        InputError: the file is missing or no UTF-8 text.
    """
    try:
        text = b"".join(bytes_of(path)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected UTF-8 text, found other data at byte {error.start}"
        ) from None
    return [" ".join(line.split()) for line in text.removesuffix("\n").split("\n")]


def in_lower_case(pairs: Sequence[tuple[str, str]]) -> Pairs:
    """The same pairs without capitals."""
    return [(source.lower(), target.lower()) for source, target in pairs]
