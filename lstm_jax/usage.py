"""The flags of a command: how they are listed by --help, and mistakes in one line.

A command's options are a dataclass, perhaps with others inside. `tyro` makes them of
the command line; what people read is made here.
"""

import ast
import dataclasses
import difflib
import functools
import inspect
import itertools
import re
import shutil
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from lstm_jax.config import flag_of
from lstm_jax.errors import InputError

# What people need first is shown first, in this order.
_FIRST = (
    *("data", "run_dir", "epochs", "max_seconds", "preset", "resume", "from_run"),
    *("overwrite", "vocab", "layers", "hidden", "dropout", "batch", "length"),
    *("learning_rate", "seed", "devices"),
)
SPELLED = {"--from-run": "--from"}  # a word that no Python name can be
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
_COLUMN, _WIDEST, _NARROWEST = 28, 100, 60
_MANY = 20  # flags that nobody reads to the end
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
        hint, markers = _bare(hints[field.name])
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


def _bare(hint: Any) -> tuple[Any, list[Any]]:  # noqa: ANN401
    """A type without None and without what is written beside it, and that."""
    markers: list[Any] = []
    if typing.get_origin(hint) is Annotated:
        hint, *markers = typing.get_args(hint)
        inner, more = _bare(hint)
        return inner, [*markers, *more]
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        parts = [p for p in typing.get_args(hint) if p is not types.NoneType]
        if len(parts) == 1:
            return _bare(parts[0])
    return hint, markers


def _default_of(field: dataclasses.Field[Any]) -> Any:  # noqa: ANN401
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _metavar(hint: Any) -> str:  # noqa: ANN401
    """What stands for a value of a type."""
    hint, _ = _bare(hint)
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


# Help.


def help_text(program: str, about: str, flags: Sequence[Flag]) -> str:
    """Write what --help shows.

    Args:
        program: the command, as it is typed.
        about: what it does; paragraphs are filled, indented lines left as they are.
        flags: of `flags_of`.
    """
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    words = [f for f in flags if f.in_place]
    named = ["[FLAGS]"] if len(words) < len(flags) else []
    usage = " ".join([program, *map(_placed, words), *named])
    parts = [f"usage: {usage}", _filled(about, width)]
    if words:
        parts.append("\n".join(_line(f, width) for f in words))
    for title, group in _grouped([f for f in flags if not f.in_place]).items():
        lines = "\n".join(_line(flag, width) for flag in group)
        parts.append(f"{_filled(title, width)}\n{lines}" if title else lines)
    return "\n\n".join(part for part in parts if part) + "\n"


def _grouped(flags: Sequence[Flag]) -> dict[str, list[Flag]]:
    """The flags that people need first, then the others by what they are about."""
    known = {flag.name: flag for flag in flags}
    first = [known[name] for name in _FIRST if name in known and len(flags) > _MANY]
    groups = {"Most used:": first, "": []}
    for flag in flags:
        if flag not in first:
            title = flag.group.removesuffix(".") + ":" if flag.group else ""
            groups.setdefault(title, []).append(flag)
    return {title: group for title, group in groups.items() if group}


def _placed(flag: Flag) -> str:
    several = f"{flag.metavar} ..." if flag.takes_several else flag.metavar
    return several if flag.default is dataclasses.MISSING else f"[{several}]"


def _line(flag: Flag, width: int) -> str:
    """A flag and what it is for, the text beside it or, if it is long, under it."""
    head = f"  {flag.word}"
    if flag.is_switch and flag.default is True:
        head = f"  --no-{flag.word.removeprefix('--')}"
    elif not flag.in_place and not flag.is_switch:
        head += f" {flag.metavar}" + (" ..." if flag.takes_several else "")
    text = textwrap.wrap(_with_default(flag), width - _COLUMN, break_on_hyphens=False)
    indent = " " * _COLUMN
    if len(head) <= _COLUMN - 2 and text:
        return "\n".join(
            [head.ljust(_COLUMN) + text[0], *(indent + t for t in text[1:])]
        )
    return "\n".join([head, *(indent + t for t in text)])


def _with_default(flag: Flag) -> str:
    value, about = flag.default, flag.about
    if about and not about[0].isupper() and " " in about.split(". ")[0]:
        about = about[0].upper() + about[1:]
    if flag.is_switch and value is True:
        return f"Turn off: {about[:1].lower()}{about[1:]} (on by default)"
    nothing = value in (None, (), "", False) and not isinstance(value, int | float)
    if nothing or value is False or value is dataclasses.MISSING:
        return about
    about = about.partition("Default:")[0].strip()  # what it is if nobody says it
    values = value if isinstance(value, tuple) else (value,)
    shown = " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
    return f"{about} (default: {shown})".strip()


def _filled(text: str, width: int) -> str:
    """Paragraphs filled to a width; those that are indented stay as they are."""
    parts = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        part if part.startswith("  ") else textwrap.fill(" ".join(part.split()), width)
        for part in parts
    )


def commands_in(folder: Path) -> dict[str, str]:
    """The commands in a folder, modules or packages, and what each of them does."""
    found = {}
    for path in sorted([*folder.glob("*.py"), *folder.glob("*/__main__.py")]):
        name = path.stem if path.parent == folder else path.parent.name
        source = path.read_text(encoding="utf-8")
        if name[:2] != "__" and '\nif __name__ == "__main__":' in source:
            about = (ast.get_docstring(ast.parse(source)) or "").split("\n")[0]
            found[name] = about.split(": `python")[0].removesuffix(".")
    return found


def listed(commands: Mapping[str, str]) -> str:
    """Commands, a line each."""
    widest = max(map(len, commands), default=0)
    return "\n".join(f"  {name:<{widest}}  {commands[name]}" for name in commands)


# Mistakes.


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
        if not _looks_like_a_flag(word):
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


def _looks_like_a_flag(word: str) -> bool:
    """Whether the parser takes a word for a flag and not for a value."""
    dashed = word[:1] == "-" and len(word) > 1 and " " not in word
    return dashed and not _NUMBER.match(word)


def _values(flag: Flag, rest: list[str]) -> list[str]:
    """Take the values of a flag from the words behind it."""
    values: list[str] = []
    while rest and not _looks_like_a_flag(rest[0]):
        values.append(rest.pop(0))
        if not flag.takes_several:
            break
    return values


def _refuse_values(flag: Flag, values: Sequence[str], following: Sequence[str]) -> None:
    if not values and not flag.takes_several:
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
    kind, _ = _bare(kind)
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
    kind, _ = _bare(kind)
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


# Flags that are given more than once: argparse forgets all but the last.


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
    if any(map(_looks_like_a_flag, values)):  # which can only stand behind =
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
        if _looks_like_a_flag(word) or not found:
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
