"""What a compiled program says of itself, read off XLA's text (HLO)."""

import re

# In a loop's body these are no work on the device.
_FREE = {
    "parameter",
    "constant",
    "get-tuple-element",
    "tuple",
    "bitcast",
    "copy-start",
    "copy-done",
    "after-all",
    "partition-id",
}
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_COLLECTIVE = re.compile(
    r"all-(reduce|gather|to-all)|reduce-scatter|collective-(permute|broadcast)"
)

_LAYOUT = re.compile(r"(\w+\[[\d,]*\])\{([\d,]*)")
_OF_XLA = ("__", "LayoutConstraint", "Sharding", "SPMD")  # calls that it emits itself


def loop_kernels(hlo: str) -> list[int]:
    """How many instructions that do work each loop's body has."""
    return [
        sum(_works(operation) for operation in operations(body))
        for body in loop_bodies(hlo)
    ]


def kernels_per_step(hlo: str, steps: int) -> list[float]:
    """`loop_kernels` per time step, of loops that may take several steps a turn."""
    loops = re.findall(r"^.*\bwhile\(.*\bbody=.*$", hlo, re.MULTILINE)
    found = map(_TRIPS.search, loops)
    turns = [int(trips[1]) if trips else steps for trips in found]
    each = zip(loop_kernels(hlo), turns, strict=True)
    return [kernels * count / steps for kernels, count in each]


def _works(operation: str) -> bool:
    """Whether it is a kernel; the end of one that runs beside others is none."""
    return operation not in _FREE and not operation.endswith("-done")


def collectives(hlo: str) -> tuple[int, int]:
    """How often devices exchange numbers: inside loops' bodies, and in all."""
    counts = [
        sum(
            bool(_COLLECTIVE.match(operation)) and not operation.endswith("-done")
            for operation in operations(text)
        )
        for text in ("\n".join(loop_bodies(hlo)), hlo)
    ]
    return counts[0], counts[1]


def loop_bodies(hlo: str) -> list[str]:
    """The text of every loop's body."""
    bodies = re.findall(r"\bwhile\(.*?\bbody=%?([\w.-]+)", hlo)
    computations = {
        found["name"]: found["body"]
        for found in re.finditer(
            r"^(?:ENTRY )?%?(?P<name>[\w.-]+) .*?\{\n(?P<body>.*?)^\}",
            hlo,
            re.MULTILINE | re.DOTALL,
        )
    }
    return [computations[body] for body in bodies if body in computations]


def operations(body: str) -> list[str]:
    """The name of each instruction's operation."""
    return re.findall(
        r"^\s+(?:ROOT )?%?[\w.-]+ = .*? ([a-z][\w-]*)\(", body, re.MULTILINE
    )


def out_of_order(hlo: str) -> list[str]:
    """What foreign kernels are given or asked for that lies in another order.

    A kernel that XLA knows nothing about reads memory by the order of the axes, the
    last one fastest. Entries are "target: shape{layout}".
    """
    typed = dict(re.findall(r"^\s+(?:ROOT )?(%[\w.-]+) = (\S+) ", hlo, re.MULTILINE))
    calls = re.findall(
        r" = (\(?[^()]*\)?) custom-call\(([^)]*)\), custom_call_target=\"([^\"]+)\"",
        hlo,
    )
    found = []
    for results, operands, target in calls:
        if target.startswith(_OF_XLA):
            continue
        given = [typed.get(name, "") for name in re.findall(r"%[\w.-]+", operands)]
        for shape, layout in _LAYOUT.findall(" ".join([results, *given])):
            axes = [int(axis) for axis in layout.split(",") if axis]
            if axes != sorted(axes, reverse=True):
                found.append(f"{target}: {shape}{{{layout}}}")
    return found
