"""Flags that are given more than once: argparse forgets all but the last."""

from collections.abc import Iterable, Sequence

from lstm_jax.errors import InputError
from lstm_jax.usage.flags import Flag, looks_like_a_flag


def joined(flags: Sequence[Flag], argv: Sequence[str]) -> list[str]:
    """Put together the values of a flag that is given several times.

    Args:
        flags: of the command; others are left as they are.
        argv: the words of a command line.

    Raises:
        InputError: a flag of one value is given with two, or a switch is on and off.
    """
    known = {flag.word: flag for flag in flags if not flag.in_place}
    words: list[list[str]] = []
    seen: dict[str, list[str]] = {}
    for segment in _segments(argv):
        name = _name_of(segment[0])
        opposite = f"--{name[5:]}" if name[:5] == "--no-" else f"--no-{name[2:]}"
        flag = known.get(name)
        if opposite in seen and name != opposite:
            raise InputError(f"{name}: expected it or {opposite}, found both")
        if flag is None and not _is_off(name, known):
            words.append(segment)
        elif name not in seen:
            seen[name] = segment
            words.append(segment)
        elif flag is None or flag.is_switch:
            words.append(segment[1:])
        elif flag.takes_several:
            seen[name][:] = _added(name, seen[name], segment)
        else:
            words.append(_repeated(name, seen[name], segment))
    return [word for part in words for word in part]


def _is_off(name: str, known: dict[str, Flag]) -> bool:
    """Whether it turns a switch off."""
    flag = known.get(f"--{name[5:]}") if name[:5] == "--no-" else None
    return flag is not None and flag.is_switch


def _added(name: str, first: Sequence[str], second: Sequence[str]) -> list[str]:
    """A flag with the values of both."""
    values = [*_values_of(first), *_values_of(second)]
    if any(map(looks_like_a_flag, values)):  # which can only stand behind =
        raise InputError(f"{name}: expected it once, found it twice")
    return [name, *values]


def _repeated(name: str, first: Sequence[str], second: Sequence[str]) -> list[str]:
    """What stands behind a flag whose value is that of the first time, too."""
    (one, *_), (other, *rest) = _values_of(first), _values_of(second)
    if one != other:
        raise InputError(f"{name}: expected one value, found {one} and {other}")
    return rest


def _segments(argv: Iterable[str]) -> list[list[str]]:
    """Each flag with what stands behind it; first the words before any of them."""
    found: list[list[str]] = []
    for word in argv:
        if looks_like_a_flag(word) or not found:
            found.append([word])
        else:
            found[-1].append(word)
    return found


def _name_of(word: str) -> str:
    """A flag without its value, as it is listed."""
    name = word.partition("=")[0]
    return name.replace("_", "-") if name[:2] == "--" else name


def _values_of(segment: Sequence[str]) -> list[str]:
    flag, *values = segment
    _, equals, value = flag.partition("=")
    return [value, *values] if equals else values
