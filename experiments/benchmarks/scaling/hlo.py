"""The collectives of a compiled program, and how deep in its loops they stand."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_COMPUTATION = re.compile(
    r"^(?P<entry>ENTRY )?%?(?P<name>[\w.-]+) .*?\{\n(?P<body>.*?)^\}",
    re.MULTILINE | re.DOTALL,
)
_INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?%?[\w.-]+ = (?P<type>.*?) (?P<operation>[a-z][\w-]*)\(",
    re.MULTILINE,
)
_CALLED = re.compile(r"(?:body|condition|calls|to_apply)=%?([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_ARRAY = re.compile(r"([a-z]+\d+)\[([\d,]*)\]")
_COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
)


class Collective(NamedTuple):
    """One exchange between devices.

    `depth` counts the loops around it: in a program of K training steps, 1 is once per
    step and 2 once per time step. `floats` is how many floating-point numbers it
    yields, 0 for one of integers alone.
    """

    operation: str
    depth: int
    floats: int


def collectives(hlo: str) -> list[Collective]:
    """All exchanges of an optimised program, given as text."""
    found = list(_COMPUTATION.finditer(hlo))
    bodies = {match["name"]: match["body"] for match in found}
    entry = next(match["name"] for match in found if match["entry"])
    return list(_walk(bodies, entry, 0))


def _walk(bodies: dict[str, str], name: str, depth: int) -> Iterator[Collective]:
    for line in bodies.get(name, "").splitlines():
        match = _INSTRUCTION.match(line)
        if not match:
            continue
        operation = match["operation"].removesuffix("-start")
        if operation in _COLLECTIVES:
            yield Collective(operation, depth, _floats(_yielded(match["type"])))
            continue
        inner = depth + (operation == "while")
        called = _CALLED.findall(line)
        for branches in _BRANCHES.findall(line):
            called += re.findall(r"[\w.-]+", branches)
        for other in called:
            yield from _walk(bodies, other, inner)


def _yielded(types: str) -> str:
    """The results of an exchange; one that is begun has (operands, results, ...)."""
    if not types.startswith("(("):
        return types
    depth = 0
    for place, letter in enumerate(types[1:], 1):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return types[place + 1 :]
    return types


def _floats(types: str) -> int:
    """The floating-point numbers in a type such as (f32[2,3]{1,0}, s32[])."""
    count = 0
    for kind, sizes in _ARRAY.findall(types):
        size = 1
        for axis in filter(None, sizes.split(",")):
            size *= int(axis)
        count += size * kind.startswith(("f", "bf"))
    return count
