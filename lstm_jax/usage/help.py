"""What --help shows: of one command its flags, of a folder its commands."""

import ast
import dataclasses
import inspect
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from lstm_jax.usage.flags import Flag

# What people need first is shown first, in this order.
_FIRST = (
    *("data", "run_dir", "epochs", "max_seconds", "preset", "resume", "from_run"),
    *("overwrite", "vocab", "layers", "hidden", "dropout", "batch", "length"),
    *("learning_rate", "seed", "devices"),
)
_COLUMN, _WIDEST, _NARROWEST = 28, 100, 60
_MANY = 20  # flags that nobody reads to the end


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
