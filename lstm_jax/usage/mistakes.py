"""Mistakes on a command line, each refused in one line that says what was expected."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lstm_jax.errors import InputError
from lstm_jax.usage.flags import Flag, looks_like_a_flag, without_none

# What flags are called elsewhere.
_ELSEWHERE = {
    **dict.fromkeys(("lr", "rate", "alpha"), "learning-rate"),
    **dict.fromkeys(("batch-size", "minibatch", "bs"), "batch"),
    **dict.fromkeys(("hidden-size", "units", "rnn-size", "hidden-dim"), "hidden"),
    **dict.fromkeys(("num-layers", "n-layers", "depth"), "layers"),
    **dict.fromkeys(("seq-length", "sequence-length", "seq-len", "bptt"), "length"),
    **dict.fromkeys(("block-size", "max-tokens", "max-new-tokens"), "length"),
    **dict.fromkeys(
        ("output", "output-dir", "out", "out-dir", "save-dir", "logdir", "model-dir"),
        "run-dir",
    ),
    **dict.fromkeys(("num-epochs", "max-epochs", "n-epochs"), "epochs"),
    **dict.fromkeys(("file", "input", "text", "corpus", "dataset", "files"), "data"),
    **dict.fromkeys(("grad-clip", "clip", "max-grad-norm", "clip-grad"), "clip-norm"),
    **dict.fromkeys(("tokenizer", "level"), "vocab"),
    **dict.fromkeys(("finetune", "init-from", "checkpoint", "pretrained"), "from"),
    **dict.fromkeys(("num-samples", "n-samples"), "samples"),
    **dict.fromkeys(("force", "replace"), "overwrite"),
    **dict.fromkeys(("val-fraction", "val-split", "holdout"), "validation-fraction"),
    **dict.fromkeys(("continue", "restore"), "resume"),
    **dict.fromkeys(("max-time", "time", "seconds", "budget"), "max-seconds"),
}


def refuse_mistakes(
    flags: Sequence[Flag], words: Sequence[str], *, others: bool = False
) -> None:
    """Refuse the first word on a command line that can't be meant.

    Args:
        flags: of the command.
        words: what was given.
        others: whether there may be flags that are not known here.

    Raises:
        InputError: naming the flag, what it expects and what it found.
    """
    known = {flag.word: flag for flag in flags if not flag.in_place}
    places = [flag for flag in flags if flag.in_place]
    loose: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not looks_like_a_flag(word):
            loose.append(word)
            continue
        name, equals, value = word.partition("=")
        name = name.replace("_", "-") if name.startswith("--") else name
        flag = known.get(name) or known.get(re.sub(r"^--no-", "--", name))
        if flag is None or (name not in known and not flag.is_switch):
            if others:
                continue
            raise InputError(f"{name}: no such flag{_meant(name, known)}")
        if flag.is_switch and equals:
            raise InputError(f"{name}: expected no value, found {value!r}")
        if not flag.is_switch:
            values = [value] if equals else _values(flag, rest)
            _refuse_values(flag, values, rest[:1])
    if not others:
        _refuse_places(places, known, loose)


def _values(flag: Flag, rest: list[str]) -> list[str]:
    """Take the values of a flag from the words behind it."""
    values: list[str] = []
    while rest and not looks_like_a_flag(rest[0]):
        values.append(rest.pop(0))
        if not flag.takes_several:
            break
    return values


def _refuse_values(flag: Flag, values: Sequence[str], following: Sequence[str]) -> None:
    if not values:
        dashed = flag.kind is str and following
        hint = (
            f"; a text that begins with -: {flag.word}={following[0]}" if dashed else ""
        )
        raise InputError(
            f"{flag.word}: expected {_expected(flag.kind)}, found nothing{hint}"
        )
    for value in values:
        if not _fits(flag.kind, value):
            plain = value.isidentifier() and "one of" in _expected(flag.kind)
            found = value if plain else repr(value)
            raise InputError(
                f"{flag.word}: expected {_expected(flag.kind)}, found {found}"
            )


def _refuse_places(
    places: Sequence[Flag], known: dict[str, Flag], loose: Sequence[str]
) -> None:
    needed = [p for p in places if p.default is dataclasses.MISSING]
    needed = [p for p in needed if not p.takes_several]
    if len(loose) < len(needed):
        raise InputError(f"expected {needed[len(loose)].word}, found nothing")
    if len(loose) > len(places) and not any(p.takes_several for p in places):
        word = loose[len(places)]
        hint = f"; did you mean --data {word}?" if "--data" in known else ""
        raise InputError(f"expected flags, found {word!r}{hint}")


def _meant(name: str, known: dict[str, Flag]) -> str:
    """What somebody may have meant who has mistyped a flag."""
    bare = name.lstrip("-")
    elsewhere = f"--{_ELSEWHERE.get(bare, bare)}"
    if elsewhere in known:
        return f"; did you mean {elsewhere}?"
    near = [word for word in known if word.startswith(name)]
    near = near or difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else "; --help lists them"


def _expected(kind: Any) -> str:  # noqa: ANN401
    """What a value of a type looks like, in words."""
    kind, _ = without_none(kind)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        known = ", ".join(map(str, parts))
        return known if len(parts) == 1 else f"one of {known}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_expected(p) for p in parts if p is not types.NoneType)
    if origin is tuple:
        return _expected(parts[0])
    return {int: "a whole number", float: "a number", Path: "a path"}.get(
        kind, "a text"
    )


def _fits(kind: Any, value: str) -> bool:  # noqa: ANN401
    """Whether a word is a value of a type."""
    kind, _ = without_none(kind)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if value == "None":
        return True
    if origin is Literal:
        return value in map(str, parts)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(p, value) for p in parts if p is not types.NoneType)
    if origin is tuple:
        return any(_fits(p, value) for p in parts if p is not ...)
    if kind in (int, float):
        try:
            kind(value)
        except ValueError:
            return False
    return True
