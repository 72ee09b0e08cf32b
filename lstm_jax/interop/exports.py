"""A trained text generator as a program that needs no JAX, or JAX alone.

Each is run once where it has been written, on what the model itself has computed, and
refused if it computes something else. `runtimes/` has the programs.
"""

import base64
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from lstm_jax.errors import InputError
from lstm_jax.interop.c_source import c_definitions
from lstm_jax.interop.files import needed, new_file
from lstm_jax.interop.portable import (
    Generator,
    Portable,
    Proof,
    make_proof,
    read_generator,
    rounded,
    take_apart,
    with_rounded_weights,
)
from lstm_jax.models.language import LanguageModel

_RUNTIMES = Path(__file__).parent / "runtimes"
_TOLERANCE = 1e-3  # of logits, which are of the order of 10
_SECONDS = 300  # that compiling and checking a program may take
_PLATFORMS = ("cpu", "cuda", "tpu")
_PROMPT = "The "


class Source(NamedTuple):
    """What a runtime is made of: the model, its parts, and what it computes."""

    generator: Generator
    parts: Portable
    proof: Proof


def open_source(source: Path, to: str, eight_bits: bool) -> Source:
    """Load a run and compute what a runtime has to compute.

    Raises:
        InputError: it is no text generator, or one that no runtime can run.
    """
    generator = read_generator(source, to)
    try:
        parts = take_apart(generator)
    except InputError as error:
        raise InputError(f"--to {to}: {error}") from None
    if eight_bits:
        generator = with_rounded_weights(generator)
        parts = take_apart(generator)
    return Source(generator, parts, make_proof(generator))


def write_numpy(source: Path, target: Path) -> list[str]:
    """Write a folder with the arrays and a Python file that needs NumPy alone.

    Raises:
        InputError: it can't be done, and why; nothing is written then.
    """
    found = open_source(source, "numpy", eight_bits=False)
    with new_file(target) as draft:
        draft.mkdir()
        shutil.copyfile(_RUNTIMES / "generate.py", draft / "generate.py")
        text, ids = found.proof.symbols
        settings = found.parts.settings | {"check_text": text, "check_text_ids": ids}
        (draft / "model.json").write_text(json.dumps(settings), encoding="ascii")
        arrays: dict[str, Any] = {
            **found.parts.arrays,
            "check_ids": found.proof.ids,
            "check_logits": found.proof.logits,
        }
        np.savez(draft / "weights.npz", **arrays)
        command = [sys.executable, str(draft / "generate.py"), "--check"]
        error = _checked(command, "the program in NumPy")
        shutil.rmtree(draft / "__pycache__", ignore_errors=True)
    return [
        found.generator.about,
        f"{target}: generate.py, model.json, weights.npz",
        _proved(error, "NumPy"),
    ]


def write_c(source: Path, target: Path, eight_bits: bool) -> list[str]:
    """Write one file in C99 with the weights in it, as floats or of eight bits.

    Raises:
        InputError: it can't be done, and why; nothing is written then.
    """
    found = open_source(source, "c", eight_bits)
    text = c_program(found.parts, found.proof, eight_bits)
    lines = [found.generator.about, f"{target}: {len(text) / 1e6:.1f} MB of C"]
    with new_file(target) as draft:
        draft.write_text(text, encoding="ascii")
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            lines.append("not checked: there is no C compiler here")
        else:
            with tempfile.TemporaryDirectory() as folder:
                program = f"{folder}/generate"
                flags = ["-std=c99", "-O2", "-x", "c", str(draft), "-lm"]
                _run([compiler, "-o", program, *flags], "a C compiler that works")
                error = _checked([program, "--check"], "the program in C")
            lines.append(_proved(error, "the compiled program"))
    return lines + _cost(source, found, eight_bits)


def c_program(parts: Portable, proof: Proof, eight_bits: bool) -> str:
    """Give a program in C99."""
    text = (_RUNTIMES / "generate.c").read_text(encoding="utf-8")
    return text.replace("/*@ARRAYS@*/", c_definitions(parts, proof, eight_bits))


def write_html(source: Path, target: Path) -> list[str]:
    """Write a page that generates text in a browser, with weights of eight bits.

    Raises:
        InputError: it can't be done, and why; nothing is written then.
    """
    found = open_source(source, "html", eight_bits=True)
    page = html_page(found)
    with new_file(target) as draft:
        draft.write_text(page, encoding="utf-8")
    return [
        found.generator.about,
        f"{target}: {len(page.encode()) / 1e6:.1f} MB; it checks itself when opened "
        "(data-check of its body is the largest error)",
        *_cost(source, found, True),
    ]


def html_page(found: Source) -> str:
    """Give a page, whose matrices have been rounded to eight bits."""
    arrays = found.parts.arrays
    matrices = {n: rounded(a) for n, a in arrays.items() if a.ndim == 2}
    vectors = {n: a for n, a in arrays.items() if a.ndim == 1}
    vectors["check_logits"] = found.proof.logits
    about = f"{found.generator.about}, weights of eight bits. Nothing leaves this page."
    data = {
        **found.parts.settings,
        "about": about[0].upper() + about[1:],
        "prompt": _prompt(found.generator),
        "check_ids": found.proof.ids.tolist(),
        "check_text": found.proof.symbols.text,
        "check_text_ids": found.proof.symbols.ids,
        "vectors": {n: _base64(a.astype("<f4")) for n, a in vectors.items()},
        "matrices": {
            name: {
                "rows": len(matrix.whole),
                "columns": len(matrix.scale),
                "of": _base64(matrix.whole),
                "scale": _base64(matrix.scale.astype("<f4")),
            }
            for name, matrix in matrices.items()
        },
    }
    # A symbol of the text is never markup: the end of a script would end this one.
    text = json.dumps(data).replace("<", "\\u003c")
    page = (_RUNTIMES / "page.html").read_text(encoding="utf-8")
    return page.replace("/*@MODEL@*/", text)


def write_stablehlo(source: Path, target: Path) -> list[str]:
    """Write the network as a program for JAX alone, weights included.

    It takes ids [B, T] and the states of all layers, h and c [B, H] in turn, and gives
    logits [B, T, V] and the states after; B and T are free. See `docs/interop.md`.

    Raises:
        InputError: it can't be done, and why; nothing is written then.
    """
    needed("flatbuffers", str(target))
    generator = read_generator(source, "stablehlo")
    proof = make_proof(generator)
    model = _on_any_platform(generator.model)
    like = model.initial_state(1)
    leaves, structure = jax.tree.flatten(like)

    @jax.jit
    def program(ids: jax.Array, *flat: jax.Array) -> tuple[jax.Array, ...]:
        logits, states = model(ids, jax.tree.unflatten(structure, flat))
        return logits, *jax.tree.leaves(states)

    widths = ", ".join(dict.fromkeys(f"[B, {a.shape[1]}]" for a in leaves))
    batch, steps = export.symbolic_shape("B, T")
    ids = jax.ShapeDtypeStruct((batch, steps), jnp.int32)
    states = [jax.ShapeDtypeStruct((batch, a.shape[1]), a.dtype) for a in leaves]
    written = export.export(program, platforms=_PLATFORMS)(ids, *states).serialize()
    with new_file(target) as draft:
        draft.write_bytes(written)
        again = export.deserialize(bytearray(draft.read_bytes()))
        logits, *_ = again.call(jnp.asarray(proof.ids)[None], *leaves)
        error = float(np.abs(np.asarray(logits)[0] - proof.logits).max())
        _refuse_above(error, "the serialized program")
    return [
        generator.about,
        f"{target}: {len(written) / 1e6:.1f} MB for {', '.join(_PLATFORMS)}; "
        f"(ids [B, T], {len(leaves)} states {widths}) to (logits, states)",
        _proved(error, "the serialized program"),
    ]


def _on_any_platform(model: LanguageModel) -> LanguageModel:
    """The model with an engine that every platform has, for any batch and length."""
    for layer in model.layers:
        layer.engine = "scan"
    return model


def _prompt(generator: Generator) -> str:
    """What a page begins with: something that the model can read."""
    if generator.vocab is None:
        return "0"
    return "" if generator.vocab.unknown(_PROMPT) else _PROMPT


def _proved(error: float, who: str) -> str:
    return f"largest error {error:.1e} of a logit between {who} and the model"


def _cost(source: Path, found: Source, eight_bits: bool) -> list[str]:
    """What rounding the weights does to the logits."""
    if not eight_bits:
        return []
    before, _ = read_generator(source, "c").model(jnp.asarray(found.proof.ids)[None])
    change = float(np.abs(np.asarray(before[0]) - found.proof.logits).mean())
    return [f"eight bits change a logit by {change:.3f} on average"]


def _checked(command: list[str], who: str) -> float:
    """Run a program's own check; it prints its largest error."""
    error = float(_run(command, f"{who} to run"))
    _refuse_above(error, who)
    return error


def _run(command: list[str], expected: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise InputError(f"expected {expected}, found {last:.200}")
    return done.stdout


def _refuse_above(error: float, who: str) -> None:
    if not error <= _TOLERANCE:
        raise InputError(
            f"expected {who} to compute what the model does up to {_TOLERANCE}, found "
            f"an error of {error:.1e}"
        )


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
