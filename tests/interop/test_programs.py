"""Programs outside JAX: what they compute with every cell, and how they cut texts.

Each is held to the model's own logits and to the tokenizer's own ids, in NumPy, in C
and in JavaScript.
"""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.cells.gru import GRUCell
from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.protocol import Cell
from lstm_jax.cells.variant import CoupledCell, VariantCell
from lstm_jax.config import RegularizerConfig
from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.data.tokenizers.pieces import PieceTokenizer, learn_pieces
from lstm_jax.data.tokenizers.vocabulary import Vocabulary
from lstm_jax.distributed import bounded_jit
from lstm_jax.errors import InputError
from lstm_jax.interop import exports, portable
from lstm_jax.interop.portable import Generator, Proof
from lstm_jax.interop.symbols import SymbolProof, prove_symbols, symbol_settings
from lstm_jax.models.saved import ModelSpec, save_model

RUNTIMES = Path(exports.__file__).parent / "runtimes"
ALL_OPTIONS = {"peepholes": True, "proj_size": 3, "clip": 0.7, "cell_clip": 0.4}
CELLS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "top": {"top_only": True},
    "tied": {"tie_embedding": True},
    "gru": {"cell": "gru"},
    "gru reset first": {"cell": GRUCell(reset_after=False), "tie_embedding": True},
    "peephole": {"cell": "peephole"},
    "coupled": {"cell": "coupled"},
    "mogrifier": {"cell": "mogrifier"},
    "capped": {"cell": MogrifierCell(0, capped=True)},
    "capped mogrifier": {"cell": MogrifierCell(3, capped=True)},
    "variant": {"cell": VariantCell(**ALL_OPTIONS)},
    "coupled variant": {"cell": CoupledCell(**ALL_OPTIONS), "tie_embedding": True},
    "zoneout": {"regularizer": RegularizerConfig(zoneout_hidden=0.3, zoneout_cell=0.2)},
    "gru zoneout": {
        "cell": "gru",
        "regularizer": RegularizerConfig(zoneout_hidden=0.3),
    },
}
IN_OTHERS = {"top", "peephole", "coupled", "capped", "zoneout"}  # whose parts these are
SIZES = {"vocab_size": 9, "hidden_size": 5, "num_layers": 2}
LEARNED = "Don't they know? The cats' mats - mother-in-law’s e\u0301té नमस्ते! " * 3
LEARNED += f"{' ' * 97}x{'!' * 97}{'w' * 97}\n" * 3  # words as long as they can be
VOCABULARIES: dict[str, Vocabulary | None] = {
    "char": CharTokenizer("char", " \ufffdaebn't-’\u0301न्中\x00\n\ud800😀"),
    "byte": CharTokenizer("byte"),
    "word": learn_pieces("word", [LEARNED]),
    "bpe": learn_pieces("bpe", [LEARNED]),
    # The same piece, "abc", is made of two pairs.
    "two ways": PieceTokenizer("bpe", ("a", "b", "c", "ab", "bc", "abc", "\ud83d")),
    "ids": None,
}
C = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
NODE = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")


def drawn(spec: ModelSpec) -> Any:  # noqa: ANN401 - any network
    """A network with random weights everywhere."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda a: jnp.asarray(rng.normal(size=a.shape), jnp.float32),
        jax.eval_shape(spec.build, jax.random.key(0)),
    )


def generator(arguments: dict[str, Any], vocab: Vocabulary | None = None) -> Generator:
    model = drawn(ModelSpec("language", SIZES | arguments))
    return Generator(model, vocab, "a model")


def proof_of(source: Generator) -> Proof:
    ids = np.random.default_rng(1).integers(0, SIZES["vocab_size"], 12)
    logits = bounded_jit(lambda model, ids: model(ids)[0])(source.model, ids[None])
    return Proof(ids.astype(np.int32), np.asarray(logits[0]), prove_symbols(None, 9))


def numpy_program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("program", RUNTIMES / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def error_in_numpy(parts: portable.Portable, proof: Proof) -> float:
    text, ids = proof.symbols
    settings = parts.settings | {"check_text": text, "check_text_ids": ids}
    weights = {"check_ids": proof.ids, "check_logits": proof.logits, **parts.arrays}
    return numpy_program().check(settings, weights)


def compiled(folder: Path, source: Generator, proof: Proof, int8: bool = False) -> Path:
    program, text = folder / "program", folder / "program.c"
    text.write_text(exports.c_program(portable.take_apart(source), proof, int8))
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-o", program, text, "-lm"]
    subprocess.run(["cc", *flags], check=True)
    return program


def error_in_c(folder: Path, source: Generator, proof: Proof, int8: bool) -> float:
    program = compiled(folder, source, proof, int8)
    done = subprocess.run([program, "--check"], capture_output=True, check=True)
    return float(done.stdout)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in IN_OTHERS else [])
        for name in CELLS
    ],
)
def test_every_cell(name: str, tmp_path: Path) -> None:
    source = generator(CELLS[name])
    coarse = portable.with_rounded_weights(source)
    proof, coarse_proof = proof_of(source), proof_of(coarse)
    assert np.abs(proof.logits - coarse_proof.logits).max() > 1e-4
    assert error_in_numpy(portable.take_apart(source), proof) < 5e-6
    if shutil.which("cc"):
        assert error_in_c(tmp_path, source, proof, int8=False) < 5e-6
        assert error_in_c(tmp_path, coarse, coarse_proof, int8=True) < 5e-6
    if shutil.which("node"):
        found = exports.Source(coarse, portable.take_apart(coarse), coarse_proof)
        page = exports.html_page(found)
        assert in_node(tmp_path, {name: page}, "check()")[name] < 5e-6


def in_node(folder: Path, pages: dict[str, str], expression: str) -> dict[str, Any]:
    """What an expression is in the script of each page, in one process."""
    parts = []
    for name, page in pages.items():
        model = re.search(r'id="model" [^>]*>(.*?)</script>', page, re.DOTALL)
        script = re.search(r'id="program">(.*?)</script>', page, re.DOTALL)
        assert model is not None and script is not None
        text = json.dumps(json.dumps(json.loads(model[1])))
        parts.append(
            f"found[{json.dumps(name)}] = (() => {{ const document = "
            f"{{ getElementById: () => ({{ textContent: {text} }}) }};"
            f"{script[1]}; return {expression}; }})();"
        )
    path = folder / "pages.js"
    end = "console.log(JSON.stringify(found));"
    path.write_text("\n".join(["const found = {};", *parts, end]))
    done = subprocess.run(["node", path], capture_output=True, check=True)
    return json.loads(done.stdout)


def hostile_text(halves: bool) -> str:
    """Some thousand characters that are hard to cut; with lone surrogates or not."""
    rng = np.random.default_rng(2)
    alphabet = list(
        "aabcdeehmnorstwyDT  '''’’---.,!?\n\r\t\x00\x0b\x1c\x85\u00a0\u3000\u2028\u200b"
        "\u200c\u200d\u0301\u0308\ufeff\ufffdéन्म中😀🏳️_²½٣Ⅻß\U0001d400\U000e0100"
    )
    alphabet += ["\ud800", "\ud83d"] if halves else []
    drawn = "".join(rng.choice(alphabet, 3000))
    runs = "".join(c * n for c in " a!-'\u0301中" for n in (1, 47, 48, 49, 97))
    begin = "\udfff" if halves else ""  # behind another half it would be half a pair
    return f"{begin}{drawn}{LEARNED}{runs}abcabc bcabc cabab don't-’t"


def settings_of(name: str) -> dict[str, Any]:
    vocab = VOCABULARIES[name]
    size = 9 if vocab is None else len(vocab)
    return symbol_settings(vocab, size)


def ids_of(name: str, text: str) -> list[int]:
    vocab = VOCABULARIES[name]
    return [*map(int, text.split())] if vocab is None else vocab.encode(text).tolist()


def text_of(name: str, ids: list[int]) -> str:
    vocab = VOCABULARIES[name]
    return "".join(f"{i} " for i in ids) if vocab is None else vocab.decode(ids)


def some_text(name: str, halves: bool = True) -> str:
    return " 3 1\n4  0 8 " if name == "ids" else hostile_text(halves)


def some_ids(name: str) -> list[int]:
    """Any, of bytes also such as are no UTF-8, and such as are."""
    size = settings_of(name)["size"]
    drawn = np.random.default_rng(3).integers(0, size, 2000).tolist()
    if name != "byte":
        return drawn
    edges = bytes.fromhex(
        "efbbbf 61 e2 28a1 f09f98 41 f09f9880 eda080 c0af f4908080 e0809f ff fe 80 f0"
    )
    return [*edges, *"é中😀\ufeff".encode(), *drawn, 0xF0, 0x9F]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_texts_in_numpy(name: str) -> None:
    program, settings = numpy_program(), settings_of(name)
    text = some_text(name)
    assert program.encode(settings, text) == ids_of(name, text)
    ids = some_ids(name)
    assert program.decode(settings, ids) == text_of(name, ids)


@C
@pytest.mark.parametrize("name", VOCABULARIES)
def test_texts_in_c(name: str, tmp_path: Path) -> None:
    vocab, size = VOCABULARIES[name], settings_of(name)["size"]
    source = generator({"vocab_size": size}, vocab)
    symbols = prove_symbols(vocab, size)
    proof = Proof(np.zeros(1, np.int32), np.zeros((1, size)), symbols)
    program = compiled(tmp_path, source, proof)

    def given(word: str, text: bytes) -> bytes:
        done = subprocess.run([program, word], input=text, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    text = some_text(name, halves=False)
    found = given("--encode", text.encode())
    assert [*map(int, found.split())] == ids_of(name, text)
    ids = some_ids(name)
    written = given("--decode", " ".join(map(str, ids)).encode())
    assert written.decode("utf-8", "surrogatepass") == text_of(name, ids)
    if name not in ("ids", "byte"):
        for wrong in (b"a\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"a\xe2\x82", b"\xf5"):
            command = [program, "--encode"]
            done = subprocess.run(command, input=wrong, capture_output=True)
            assert done.returncode == 2
            assert done.stderr == b"expected a text in UTF-8\n"


@NODE
def test_texts_in_a_page(tmp_path: Path) -> None:
    pages = {}
    for name in VOCABULARIES:
        text, ids = some_text(name), some_ids(name)
        data = settings_of(name) | {"matrices": {}, "vectors": {}}
        data |= {"text": text, "ids": ids}
        page = (RUNTIMES / "page.html").read_text(encoding="utf-8")
        text = json.dumps(data).replace("<", "\\u003c")
        pages[name] = page.replace("/*@MODEL@*/", text)
    write = "const write = decoder(); const text = model.ids.map((id) => write(id))"
    expression = (
        f"(() => {{ {write}.join('') + write(undefined, false);"
        " return [encode(model.text), text]; })()"
    )
    found = in_node(tmp_path, pages, expression)
    for name, (ids, text) in found.items():
        assert ids == ids_of(name, some_text(name)), name
        assert text == text_of(name, some_ids(name)), name


def test_a_tokenizer_of_others_is_refused() -> None:
    members = dict.fromkeys((n for n in dir(Vocabulary) if n[0] != "_"), "")
    vocab = MagicMock(**members | {"kind": "tokenizer.json"})  # needs no package
    with pytest.raises(InputError, match=r"word or bpe, found a tokenizer\.json"):
        symbol_settings(vocab, 5)


def test_another_way_of_cutting_is_noticed() -> None:
    source = generator({})
    proof = proof_of(source)._replace(symbols=SymbolProof("3 1 4", [3, 1, 5]))
    with pytest.raises(SystemExit, match="other symbols"):
        error_in_numpy(portable.take_apart(source), proof)


def test_a_model_of_ids(tmp_path: Path) -> None:
    spec = ModelSpec("language", SIZES | {"cell": "peephole"}, 1)
    run = tmp_path / "run"
    save_model(run, "tunes", spec, drawn(spec))
    found = portable.read_generator(run, "numpy")
    assert found.vocab is None
    assert found.about.startswith("tunes, a model of ids: 2 layers of 5 units")
    assert error_in_numpy(portable.take_apart(found), proof_of(found)) < 5e-6


@pytest.mark.parametrize(
    ("network", "members", "message"),
    [
        ("language", 3, "--to c: expected one network, found 3 members"),
        ("classifier", None, "--to c: expected a text generator, found a Sequence"),
    ],
)
def test_networks_that_are_no_program(
    network: str, members: int | None, message: str, tmp_path: Path
) -> None:
    sizes = SIZES if network == "language" else {"classes": 2, "features": 3}
    spec = ModelSpec(network, {**sizes, "hidden_size": 4, "num_layers": 1}, members)
    save_model(tmp_path / "run", "tunes", spec, drawn(spec))
    with pytest.raises(InputError, match=re.escape(message)):
        exports.write_c(tmp_path / "run", tmp_path / "text.c", False)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (VariantCell(gate_activation="relu"), "found relu, tanh, tanh"),
        (VariantCell(output_activation=jnp.sin), "found sigmoid, tanh, a function"),
    ],
)
def test_cells_that_are_no_program(cell: Cell, message: str) -> None:
    with pytest.raises(InputError, match=message):
        portable.take_apart(generator({"cell": cell}))


def test_weights_that_are_no_numbers() -> None:
    source = generator({})
    source.model.b_out[...] = jnp.full(9, jnp.nan)
    with pytest.raises(InputError, match="finite weights, found others in b_o"):
        portable.take_apart(source)
