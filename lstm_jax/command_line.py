"""A command line before it is parsed: flags given twice, words that belong to none.

argparse takes the last of two equal flags and forgets the first.
"""

import dataclasses
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from lstm_jax.config import flag_of
from lstm_jax.errors import InputError

# What flags are called in other programs.
_ELSEWHERE = {
    "--lr": "--learning-rate",
    "--batch-size": "--batch",
    "--batch_size": "--batch",
    "--seq-len": "--length",
    "--seq-length": "--length",
    "--block-size": "--length",
    "--max-length": "--length",
    "--max-new-tokens": "--length",
    "--hidden-size": "--hidden",
    "--units": "--hidden",
    "--num-layers": "--layers",
    "--n-layers": "--layers",
    "--num-epochs": "--epochs",
    "--max-steps": "--steps",
    "--out-dir": "--run-dir",
    "--output-dir": "--run-dir",
    "--output": "--run-dir",
    "--input": "--data",
    "--train-data": "--data",
    "--file": "--data",
    "--temp": "--temperature",
    "--num-samples": "--samples",
    "--num-beams": "--beam",
    "--beam-size": "--beam",
    "--no-repeat-ngram-size": "--no-repeat-ngram",
    "--start": "--prompt",
    "--random-seed": "--seed",
    "--horizon-size": "--horizon",
    "--wd": "--weight-decay",
    "--grad-clip": "--clip-norm",
    "--dtype": "--precision",
}

_MEANT = ("--data", "--prompt")  # by a word without a flag


@dataclasses.dataclass(frozen=True)
class Flags:
    """What a command takes: flags by how many values they have, and other words.

    Attributes:
        counts: values of each flag: 0 of a switch, None of one that takes any number.
        positionals: how many words it takes without a flag; None for any number.
    """

    counts: dict[str, int | None]
    positionals: int | None


def flags_of(kind: type, positional: object) -> Flags:
    """Read what a dataclass of options takes, with those in its fields.

    Args:
        kind: the dataclass.
        positional: what is annotated to the type of a word without a flag.
    """
    counts: dict[str, int | None] = {}
    positionals: int | None = 0
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        plain = _plain(hint)
        if isinstance(plain, type) and dataclasses.is_dataclass(plain):
            counts |= flags_of(plain, positional).counts
        elif _has_mark(hint, positional):
            several = typing.get_origin(plain) is tuple
            positionals = None if several or positionals is None else positionals + 1
        elif plain is bool:
            counts |= {flag_of(name): 0, flag_of(f"no_{name}"): 0}
        else:
            counts[flag_of(name)] = None if _takes_several(plain) else 1
    return Flags(counts, positionals)


def _plain(hint: Any) -> Any:  # noqa: ANN401
    """A type without what is annotated to it."""
    return _plain(typing.get_args(hint)[0]) if _is_annotated(hint) else hint


def _is_annotated(hint: object) -> bool:
    return typing.get_origin(hint) is Annotated


def _has_mark(hint: object, mark: object) -> bool:
    """Whether this is annotated to a type."""
    if not _is_annotated(hint):
        return False
    inner, *marks = typing.get_args(hint)
    return mark in marks or _has_mark(inner, mark)


def _takes_several(plain: object) -> bool:
    """Whether a type is a tuple of any length, or may be one."""
    if typing.get_origin(plain) in (types.UnionType, typing.Union):
        return any(_takes_several(_plain(part)) for part in typing.get_args(plain))
    return typing.get_origin(plain) is tuple


def joined(flags: Flags, argv: Sequence[str]) -> list[str]:
    """Put together the values of a flag that is given several times.

    Raises:
        InputError: a flag of one value is, with two, or a switch is on and off.
    """
    words, seen = [], {}
    for flag, values in _segments(argv):
        name = _name(flag)
        opposite = f"--{name[5:]}" if name[:5] == "--no-" else f"--no-{name[2:]}"
        if name not in flags.counts or (name not in seen and opposite not in seen):
            seen[name] = [flag, *values]
            words.append(seen[name])
        elif opposite in seen and flags.counts[name] == 0:
            raise InputError(f"{name}: expected it or {opposite}, found both")
        elif flags.counts[name] == 0:
            words.append(values)
        elif flags.counts[name] == 1:
            _refuse_another(name, seen[name], [flag, *values])
            words.append(values[0 if "=" in flag else 1 :])
        else:
            first = seen[name]
            first[:] = [name, *_values(first), *_values([flag, *values])]
            if any(map(_is_flag, first[1:])):
                raise InputError(f"{name}: expected it once, found it twice")
    return [word for part in words for word in part]


def _refuse_another(name: str, first: Sequence[str], second: Sequence[str]) -> None:
    """Refuse a second value of a flag that has one, unless it is the same."""
    one, other = _values(first)[:1], _values(second)[:1]
    if one != other:
        found = " and ".join(" ".join(value) or "nothing" for value in (one, other))
        raise InputError(f"{name}: expected one value, found {found}")


def _segments(argv: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Each flag with what stands behind it; words before the first have the flag ""."""
    found: list[tuple[str, list[str]]] = []
    for word in argv:
        if _is_flag(word):
            found.append((word, []))
        elif not found:
            found.append((word, []))
        else:
            found[-1][1].append(word)
    return found


def _is_flag(word: str) -> bool:
    """Whether argparse takes a word for a flag; one with a space is a value to it."""
    return word[:1] == "-" and word != "-" and " " not in word and not _is_number(word)


def _name(flag: str) -> str:
    """A flag without its value, as it is listed."""
    name = flag.split("=", 1)[0]
    return name.replace("_", "-") if name[:2] == "--" else name


def _values(segment: Sequence[str]) -> list[str]:
    flag, *values = segment
    _, *own = flag.split("=", 1)
    return [*own, *values]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def refuse_strangers(flags: Flags, argv: Sequence[str]) -> None:
    """Refuse flags of other programs and words that no flag takes, and say what fits.

    Raises:
        InputError: naming the flag that was probably meant.
    """
    strays: list[str] = []
    for flag, values in _segments(argv):
        name = _name(flag)
        known = _ELSEWHERE.get(name)
        if name[:1] != "-":
            strays += [flag, *values]
        elif name not in flags.counts and known in flags.counts:
            raise InputError(f"{name}: no such flag; did you mean {known}?")
        elif name not in flags.counts:
            return  # the parser says more about it
        elif (count := flags.counts[name]) is not None:
            strays += values[max(0, count - ("=" in flag)) :]
    meant = next((flag for flag in _MEANT if flag in flags.counts), None)
    if meant is None or flags.positionals is None:
        return
    if more := strays[flags.positionals :]:
        raise InputError(
            f"expected a flag before {more[0]}, found none; "
            f"did you mean {meant} {' '.join(more)}?"
        )
