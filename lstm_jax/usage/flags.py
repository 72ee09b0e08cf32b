"""The flags of a command, read from the dataclass of its options.

There may be others inside it. `tyro` makes them of the command line; what people read
is made in this folder.
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from lstm_jax.config import flag_of

SPELLED = {"--from-run": "--from"}  # a word that no Python name can be
_NUMBER = re.compile(r"-\.?\d|-inf|-nan", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag, or a word that is known by its place.

    Attributes:
        owner: the dataclass that has the field.
        name: of the field.
        kind: its type, None left out.
        default: what it is if it is not given; MISSING if it has to be.
        group: what its group is about; empty at the top.
        metavar: what stands for its value.
        in_place: whether it has no name on the command line.
    """

    owner: type
    name: str
    kind: Any
    default: Any
    group: str
    metavar: str
    in_place: bool

    @property
    def word(self) -> str:
        """How it is written."""
        if self.in_place:
            return self.metavar
        return SPELLED.get(flag_of(self.name), flag_of(self.name))

    @property
    def about(self) -> str:
        """Its help, which is read from the source where somebody asks for it."""
        return _help_of_fields(self.owner).get(self.name, "")

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value."""
        return self.kind is bool

    @property
    def takes_several(self) -> bool:
        """Whether it takes as many values as there are."""
        return typing.get_origin(self.kind) is tuple


def flags_of(kind: Any, default: object = None) -> list[Flag]:  # noqa: ANN401
    """All flags of a dataclass of options, in the order of its fields."""
    return list(_walk(kind, default, ""))


def _walk(kind: Any, default: object, group: str) -> Iterator[Flag]:  # noqa: ANN401
    import tyro  # here: `cli` says what to do where there is none

    place = typing.get_args(tyro.conf.Positional[int])[1]
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint, markers = without_none(hints[field.name])
        value = _default_of(field) if default is None else getattr(default, field.name)
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            inside = None if value is dataclasses.MISSING else value
            yield from _walk(hint, inside, _first_paragraph(inspect.getdoc(hint)))
            continue
        names = [m.metavar for m in markers if getattr(m, "metavar", None)]
        yield Flag(
            owner=kind,
            name=field.name,
            kind=hint,
            default=value,
            group=group,
            metavar=names[0] if names else _metavar(hint),
            in_place=any(m is place for m in markers),
        )


def without_none(hint: Any) -> tuple[Any, list[Any]]:  # noqa: ANN401
    """A type without None and without what is written beside it, and that."""
    markers: list[Any] = []
    if typing.get_origin(hint) is Annotated:
        hint, *markers = typing.get_args(hint)
        inner, more = without_none(hint)
        return inner, [*markers, *more]
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        parts = [p for p in typing.get_args(hint) if p is not types.NoneType]
        if len(parts) == 1:
            return without_none(parts[0])
    return hint, markers


def _default_of(field: dataclasses.Field[Any]) -> Any:  # noqa: ANN401
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _metavar(hint: Any) -> str:  # noqa: ANN401
    """What stands for a value of a type."""
    hint, _ = without_none(hint)
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "|".join(map(str, parts))
    if origin in (types.UnionType, typing.Union):
        return "|".join(_metavar(p) for p in parts if p is not types.NoneType)
    if origin is tuple:
        return _metavar(parts[0])
    return {int: "N", float: "X", Path: "PATH"}.get(hint, "TEXT")


@functools.cache
def _help_of_fields(kind: type) -> dict[str, str]:
    """The text under every field, or behind its name in the docstring of the class."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(each):
            continue
        found |= _help_in_docstring(inspect.getdoc(each) or "")
        try:
            source = inspect.getsource(each)
        except OSError:  # a program that comes without its sources
            continue
        tree = ast.parse(textwrap.dedent(source))
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                if isinstance(text.value, ast.Constant):
                    found[ast.unparse(field.target)] = str(text.value.value)
    return {name: " ".join(text.split()) for name, text in found.items()}


def _help_in_docstring(text: str) -> dict[str, str]:
    """What stands behind each name in the sections `Args` and `Attributes`."""
    sections = re.findall(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", text, re.M)
    pattern = r"^    (\w+): (.*(?:\n     +.*)*)"
    return {n: t for part in sections for n, t in re.findall(pattern, part, re.M)}


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def looks_like_a_flag(word: str) -> bool:
    """Whether the parser takes a word for a flag and not for a value."""
    dashed = word[:1] == "-" and len(word) > 1 and " " not in word
    return dashed and not _NUMBER.match(word)
