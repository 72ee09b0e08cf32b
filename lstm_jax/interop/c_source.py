"""A text generator's settings and arrays as C: the data of `runtimes/generate.c`."""

from collections.abc import Callable, Iterable

import numpy as np

from lstm_jax.data.tokenizers.characters import to_bytes
from lstm_jax.interop.portable import Portable, Proof, rounded

_KINDS = {"char": "CHAR", "byte": "BYTE", "word": "WORD", "bpe": "BPE", "ids": "IDS"}
# One of each for every layer: matrices and vectors that a cell may have.
_MATRICES, _VECTORS = ("w_x", "w_h", "w_hr", "w_n"), ("b", "p", "b_hn")


def c_definitions(parts: Portable, proof: Proof, eight_bits: bool) -> str:
    """Give the settings, arrays and proof of a program in C99, in ASCII."""
    lines = [f"#define {n} {value}" for n, value in _constants(parts, proof).items()]
    number = "int8_t" if eight_bits else "float"
    members = f"int rows, columns; const {number} *of; const float *scale;"
    lines.append(f"struct matrix {{ {members} }};")
    for name, array in parts.arrays.items():
        if array.ndim == 1:
            lines.append(_numbers("float", f"{name}_", array))
        else:
            lines += _matrix(name, array, number)
    lines += _by_layer(parts)
    lines += _symbols(parts)
    lines.append(_numbers("int", "check_ids", proof.ids))
    lines.append(_numbers("float", "check_logits", proof.logits))
    lines.append(_numbers("int", "check_text_ids", proof.symbols.ids))
    lines.append(_text("check_text[]", [proof.symbols.text]))
    return "\n".join(lines)


def _constants(parts: Portable, proof: Proof) -> dict[str, str | int]:
    settings, arrays = parts
    hidden = settings["hidden"]
    widths = [a.shape[1] for a in arrays.values() if a.ndim == 2]
    zoneout_h, zoneout_c = settings["zoneout"]
    return {
        "KIND": _KINDS[settings["kind"]],
        "LAYERS": settings["layers"],
        "HIDDEN": hidden,
        "OUTPUT": settings["output"],
        "BLOCKS": len(arrays["b0"]) // hidden,
        "SYMBOLS": settings["size"],
        "SORTED": max(len(settings["symbols"]) - 1, 0),
        "FIRST": settings["first"],
        "LETTERS": len(settings.get("letters", ())),
        "SPACES": len(settings.get("spaces", ())),
        "LONGEST": settings.get("longest", 1),
        "GRU": int(settings["cell"] == "gru"),
        "RESET_AFTER": int(settings["reset_after"]),
        "ROUNDS": settings["rounds"],
        "CAPPED": int(settings["capped"]),
        "COUPLED": int(settings["coupled"]),
        "CLIP": _float(settings["clip"]),
        "CELL_CLIP": _float(settings["cell_clip"]),
        "ZONEOUT_H": _float(zoneout_h),
        "ZONEOUT_C": _float(zoneout_c),
        "PROJECTED": int("w_hr0" in arrays),
        "EMBEDDED": int("embedding" in arrays),
        "TIED": int("w_out" not in arrays),
        "LARGEST": max(widths),
        "CHECKED": len(proof.ids),
        "CHECK_BYTES": len(proof.symbols.text.encode()),
        "CHECK_TEXT_IDS": len(proof.symbols.ids),
        "b_out": "b_out_",
    }


def _float(value: float) -> str:
    return f"{float(value)!r}f"


def _matrix(name: str, array: np.ndarray, number: str) -> list[str]:
    """A matrix of floats, or of eight bits with a scale for each column."""
    rows, columns = array.shape
    if number == "float":
        value = f"{{{rows}, {columns}, {name}_, NULL}}"
        return [_numbers(number, f"{name}_", array), f"#define {name}_matrix {value}"]
    whole, scale = rounded(array)
    value = f"{{{rows}, {columns}, {name}_, {name}_scale}}"
    return [
        _numbers("float", f"{name}_scale", scale),
        _numbers(number, f"{name}_", whole),
        f"#define {name}_matrix {value}",
    ]


def _by_layer(parts: Portable) -> list[str]:
    """The arrays by the names that the program has for them, absent ones as nothing."""
    settings, arrays = parts
    layers, rounds = range(settings["layers"]), settings["rounds"]

    def matrix(name: str) -> str:
        return f"{name}_matrix" if name in arrays else "{0, 0, NULL, NULL}"

    def vector(name: str) -> str:
        return f"{name}_" if name in arrays else "NULL"

    def row(values: Iterable[str]) -> str:
        return "{" + ", ".join(values) + "}"

    lines = [
        f"static const struct matrix {name}[] = "
        f"{row(matrix(f'{name}{depth}') for depth in layers)};"
        for name in _MATRICES
    ]
    lines += [
        f"static const float *const {name}[] = "
        f"{row(vector(f'{name}{depth}') for depth in layers)};"
        for name in _VECTORS
    ]
    lines += [
        f"static const struct matrix {name} = {matrix(name)};"
        for name in ("embedding", "w_out")
    ]
    each = (
        row(matrix(f"round{n}_{depth}") for n in range(max(rounds, 1)))
        for depth in layers
    )
    size = f"[{len(layers)}][{max(rounds, 1)}]"
    return [*lines, f"static const struct matrix rounds{size} = {row(each)};"]


def _symbols(parts: Portable) -> list[str]:
    """How symbols are written, their order by bytes, and what letters there are."""
    settings = parts.settings
    texts = settings["symbols"] or [""]
    sizes = np.array([len(to_bytes(text)) for text in texts])
    order = sorted(range(1, len(texts)), key=lambda k: to_bytes(texts[k])) or [0]
    lines = [
        _text("*const symbols[]", texts),
        _numbers("int", "symbol_sizes", sizes),
        _numbers("int", "by_bytes", order),
    ]
    for name in ("letters", "spaces"):
        ranges = settings.get(name, [[0, 0]])
        pairs = ", ".join(f"{{{first}, {last}}}" for first, last in ranges)
        lines.append(f"static const uint32_t {name}[][2] = {{{pairs}}};")
    return lines


def _numbers(kind: str, name: str, array: np.ndarray | list[int]) -> str:
    write: Callable[[float], str] = str if kind != "float" else "{:.9g}".format
    flat = np.asarray(array).ravel().tolist() or [0]  # C has no array of nothing
    rows = [", ".join(map(write, flat[k : k + 16])) for k in range(0, len(flat), 16)]
    return f"static const {kind} {name}[] = {{\n" + ",\n".join(rows) + "};"


def _text(declared: str, texts: list[str]) -> str:
    """Texts as strings of C; three digits of an escape never run into what follows."""
    each = ["".join(f"\\{byte:03o}" for byte in to_bytes(text)) for text in texts]
    strings = ", ".join(f'"{one}"' for one in each)
    return f"static const char {declared} = {{{strings}}};"
