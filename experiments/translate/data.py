"""Parallel texts: two files, line by line translations of each other."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from lstm_jax import InputError
from lstm_jax.data import composed, plain_lines, read_plain
from lstm_jax.errors import warn

Pairs = list[tuple[str, str]]  # a sentence and its translation
_HELD_OUT = 1000  # pairs at most, for validation and for the test


@dataclasses.dataclass(frozen=True)
class ParallelParts:
    """Pairs of sentences, by what they are for."""

    train: Pairs
    val: Pairs
    test: Pairs

    def in_lower_case(self) -> "ParallelParts":
        """The same without capitals."""
        return ParallelParts(*map(_lower, (self.train, self.val, self.test)))


def read_parts(
    data: Sequence[Path], languages: tuple[str, str], test: str
) -> ParallelParts:
    """The parts of a folder, or of two files.

    Args:
        data: a folder with files train, val and `test`, which end with the languages
            and may be packed (`train.de`, `train.en.gz`); or two files.
        languages: from, to.
        test: the name of the folder's test files.

    Raises:
        InputError: it is neither, or one of the files is not as it should be.
    """
    files = part_files(data, languages, test)
    if len(files) == 1:
        return split_pairs(read_parallel(*files[0]))
    return ParallelParts(*(read_parallel(*pair) for pair in files))


def part_files(
    data: Sequence[Path], languages: tuple[str, str], test: str
) -> list[tuple[Path, Path]]:
    """Name the pairs of files that `read_parts` reads: one, or one for each part.

    Raises:
        InputError: there are neither one nor two paths.
    """
    if len(data) == 2:
        return [(data[0], data[1])]
    if len(data) != 1:
        raise InputError(
            f"--data: expected a folder or two files, found {len(data)} paths"
        )
    if data[0].is_file():
        raise InputError(
            f"--data: expected a folder or two files, found one file, {data[0]}"
        )
    source, target = languages
    return [
        (
            _plain_or_packed(data[0] / f"{name}.{source}"),
            _plain_or_packed(data[0] / f"{name}.{target}"),
        )
        for name in ("train", "val", test)
    ]


def split_pairs(pairs: Pairs) -> ParallelParts:
    """A twentieth of the pairs, from the end, for the test; another for validation.

    Raises:
        InputError: there are too few.
    """
    count = min(_HELD_OUT, len(pairs) // 20)
    if not count:
        raise InputError(
            f"--data: expected at least 20 pairs of sentences, found {len(pairs)}"
        )
    return ParallelParts(
        pairs[: -2 * count], pairs[-2 * count : -count], pairs[-count:]
    )


def read_parallel(source: Path, target: Path) -> Pairs:
    """The pairs of two files, `.gz` or plain; those with an empty side are left out.

    Lines end at a newline and nowhere else: Unicode's other separators occur within
    sentences.

    Raises:
        InputError: a file is missing or no text, they are of unequal length, but for
            empty lines at the end, or there is nothing in them.
    """
    ours, theirs = read_lines(source), read_lines(target)
    if len(ours) != len(theirs):
        ours, theirs = _without_end(ours), _without_end(theirs)
    if len(ours) != len(theirs):
        raise InputError(
            f"expected as many lines in {target} as in {source}, {len(ours)}, "
            f"found {len(theirs)}"
        )
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a and b]
    if not pairs:
        raise InputError(f"{source}: expected sentences, found none")
    lone = sum(bool(a) != bool(b) for a, b in zip(ours, theirs, strict=True))
    if lone:
        warn(f"{source}, {target}: pairs with an empty side are left out, {lone}")
    return pairs


def read_lines(path: Path) -> list[str]:
    """The lines of a text in normal form C, their white space made single spaces.

    Raises:
        InputError: the file is missing or no text, see `decode_plain`.
    """
    lines = plain_lines(composed(read_plain(path)))
    return [" ".join(line.split()) for line in lines]


def _without_end(lines: list[str]) -> list[str]:
    """The lines up to the last one that has words."""
    last = max((k for k, line in enumerate(lines) if line), default=-1)
    return lines[: last + 1]


def _lower(pairs: Pairs) -> Pairs:
    return [(source.lower(), target.lower()) for source, target in pairs]


def _plain_or_packed(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    return path if path.exists() or not packed.exists() else packed
