"""Text generators outside JAX: every runtime computes what the model does.

The proof that an export carries is the model's own logits; here each runtime is also
held to it after a change of one gate, which it has to notice.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import lstm_jax
from lstm_jax import convert
from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.data.tokenizers.pieces import PieceTokenizer
from lstm_jax.data.tokenizers.vocabulary import Vocabulary
from lstm_jax.errors import InputError
from lstm_jax.interop import exports
from lstm_jax.interop.formats import find_layers
from lstm_jax.interop.portable import rounded
from lstm_jax.lm.config import ModelConfig, TrainConfig
from lstm_jax.lm.task import build_model
from lstm_jax.lm.text_model import TextModel

CHARACTERS = CharTokenizer("char", " </script>\"'\\?éñ中&abc".replace("c", ""))
KINDS = {
    "plain": ModelConfig(layers=2, hidden=7, dropout=0.0),
    "top": ModelConfig(layers=2, hidden=6, dropout=0.0, top_only=True),
    "capped": ModelConfig(layers=1, hidden=5, dropout=0.0, capped_gate=True),
    "mogrifier": ModelConfig(layers=2, hidden=6, dropout=0.0, mogrifier=3),
}


def saved(folder: Path, config: ModelConfig, vocab: Vocabulary = CHARACTERS) -> Path:
    """A run of a model that has random weights everywhere."""
    train = TrainConfig(model=config)
    model = build_model(train, vocab)
    rng = np.random.default_rng(0)
    model = jax.tree.map(
        lambda a: jnp.asarray(rng.normal(size=a.shape), jnp.float32), model
    )
    lstm_jax.save(TextModel(train, vocab, model), folder)
    return folder


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return saved(tmp_path / "run", KINDS[request.param])


def greedily(run: Path, prompt: str = "ab") -> str:
    trained = lstm_jax.load(run)
    assert isinstance(trained, TextModel)
    sampling = lstm_jax.SamplingConfig(temperature=0.0)
    return lstm_jax.generate_text(trained, prompt, 20, sampling)


def command(*words: object) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, check=True)
    return done.stdout.decode()


def test_numpy_alone(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "numpy"
    lines = exports.write_numpy(run, folder)
    assert re.search(r"largest error \d\.\de-0[5-9] of a logit", lines[-1])
    program = [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r};"]
    program[-1] += (
        "sys.modules['jax'] = sys.modules['lstm_jax'] = None; "
        f"sys.argv = ['g', '--prompt', 'ab', '--length', '20', '--temperature', '0'];"
        f"import runpy; runpy.run_path({str(folder / 'generate.py')!r}, None, "
        "'__main__')"
    )
    written = command(*program).rstrip("\n")
    assert written == "ab" + greedily(run)


def test_a_changed_gate_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "numpy"
    exports.write_numpy(saved(tmp_path / "run", KINDS["plain"]), folder)
    program = folder / "generate.py"
    text = program.read_text().replace(
        "gates, g, o = np.split", "gates, o, g = np.split"
    )
    program.write_text(text)
    assert float(command(sys.executable, program, "--check")) > 0.01


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("int8", [False, True])
def test_c_alone(run: Path, tmp_path: Path, int8: bool) -> None:
    source, program = tmp_path / "text.c", tmp_path / "text"
    lines = exports.write_c(run, source, int8)
    assert any("largest error" in line for line in lines)
    command("cc", "-std=c99", "-Wall", "-Werror", "-o", program, source, "-lm")
    written = command(program, "ab", 20, 0).rstrip("\n")
    assert written.startswith("ab") and len(written) == 22
    if not int8:
        assert written == "ab" + greedily(run)
    assert command(program, "ab", 50, 1, 7) != command(program, "ab", 50, 1, 8)


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_bytes_in_c_and_numpy(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", KINDS["plain"], CharTokenizer("byte"))
    exports.write_numpy(run, tmp_path / "numpy")
    exports.write_c(run, tmp_path / "text.c", False)


def test_a_model_of_bfloat16_computes_in_float32(tmp_path: Path) -> None:
    config = ModelConfig(layers=1, hidden=5, dropout=0.0, precision="bfloat16")
    run = saved(tmp_path / "run", config)
    lines = exports.write_numpy(run, tmp_path / "numpy")
    assert float(lines[-1].split()[2]) < 5e-6


def test_a_page(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium")
    run = saved(tmp_path / "run", KINDS["mogrifier"])
    page = tmp_path / "page.html"
    lines = exports.write_html(run, page)
    assert "MB" in lines[1] and page.read_text().count("</script>") == 3
    flags = "--headless --no-sandbox --disable-gpu --virtual-time-budget=9000"
    shown = command(browser, *flags.split(), "--dump-dom", page.as_uri())
    body = re.search(r"<body ([^>]*)>", shown)
    assert body and 'data-written="yes"' in body[1]
    found = re.search(r'data-check="([^"]+)"', body[1])
    assert found and 0 <= float(found[1]) < 1e-4


def test_stablehlo_for_any_batch_and_length(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.stablehlo"
    exports.write_stablehlo(run, path)
    program = export.deserialize(bytearray(path.read_bytes()))
    model = lstm_jax.load(run).model
    ids = jnp.asarray(np.random.default_rng(1).integers(0, 9, (3, 5)), jnp.int32)
    states = [a for state in model.initial_state(3) for a in (state.h, state.c)]
    logits, *after = program.call(ids, *states)
    expected, last = model(ids)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    np.testing.assert_allclose(after[-1], last[-1].c, atol=1e-5)


def test_stablehlo_of_a_gru_that_reads_words(tmp_path: Path) -> None:
    config = ModelConfig(cell="gru", layers=2, hidden=4, dropout=0.0)
    words = PieceTokenizer("word", ("a", "b", " ", "ab"))
    lines = exports.write_stablehlo(
        saved(tmp_path / "run", config, words), tmp_path / "model.stablehlo"
    )
    assert "2 states [B, 4]" in lines[1]
    assert float(lines[2].split()[2]) < 1e-5


def test_eight_bits_are_the_nearest() -> None:
    matrix = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    matrix[:, 2] = 0
    found = rounded(matrix)
    assert found.whole.dtype == np.int8
    half = np.abs(matrix).max(axis=0) / 127 / 2
    assert (np.abs(found.again() - matrix) <= half * 1.001).all()
    assert np.abs(found.whole).max(axis=0).tolist() == [127, 127, 0, 127]


def test_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = saved(tmp_path / "run", KINDS["plain"])
    convert.main([str(run), str(tmp_path / "numpy"), "--to", "numpy"])
    assert "largest error" in capsys.readouterr().out
    assert json.loads((tmp_path / "numpy" / "model.json").read_text())["layers"] == 2
    with pytest.raises(InputError, match="expected a file to be written, found one"):
        convert.main([str(run), str(tmp_path / "numpy"), "--to", "numpy"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "some"], "expected a length of 0 or more"),
        (["a", "3", "-1"], "expected a temperature of 0 or more"),
        (["a", "3", "nan"], "expected a temperature of 0 or more"),
        ([b"a\xff"], "expected a text in UTF-8"),
    ],
)
def test_bad_words_for_the_program_in_c(
    words: list[str | bytes], message: str, c_program: list[str]
) -> None:
    done = subprocess.run([*c_program, *words], capture_output=True)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == message + "\n"


@pytest.mark.parametrize("kind", ["numpy", "c"])
def test_unknown_characters_of_a_prompt_are_told(
    kind: str, request: pytest.FixtureRequest
) -> None:
    program = request.getfixturevalue(f"{kind}_program")
    flag = ["--prompt"] if kind == "numpy" else []
    for prompt, note in (("a€bX", "note: 2 characters of the prompt"), ("ab", "")):
        words = [*program, *flag, prompt]
        done = subprocess.run(words, capture_output=True, check=True)
        assert done.stderr.decode().startswith(note)
        assert bool(done.stderr) == bool(note)


@pytest.mark.parametrize("kind", ["numpy", "c"])
def test_the_first_symbol_follows_the_bias(
    kind: str, plain_run: Path, request: pytest.FixtureRequest
) -> None:
    program = request.getfixturevalue(f"{kind}_program")
    words = ["--temperature", "0", "--length", "20"] if kind == "numpy" else ["", 20, 0]
    assert command(*program, *words).rstrip("\n") == greedily(plain_run, "")


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("plain") / "run", KINDS["plain"])


@pytest.fixture(scope="module")
def numpy_program(plain_run: Path) -> list[str]:
    folder = plain_run.with_name("numpy")
    exports.write_numpy(plain_run, folder)
    return [sys.executable, str(folder / "generate.py")]


@pytest.fixture(scope="module")
def c_program(plain_run: Path) -> list[str]:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    source, program = plain_run.with_name("text.c"), plain_run.with_name("text")
    exports.write_c(plain_run, source, False)
    command("cc", "-std=c99", "-o", program, source, "-lm")
    return [str(program)]


def test_layers_of_a_text_generator_that_are_more_than_their_arrays(
    tmp_path: Path,
) -> None:
    capped = saved(tmp_path / "capped", KINDS["capped"])
    message = "expected an LSTM, .* found a mogrifier with capped gates"
    with pytest.raises(InputError, match=message):
        find_layers(capped)
    coupled = ModelConfig(cell="coupled", hidden=4, dropout=0.0)
    found = find_layers(saved(tmp_path / "coupled", coupled))
    assert found.weights().style.coupled


def test_sources_that_are_no_text_generator(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"")
    for source in ("model.pt", "nothing"):
        with pytest.raises(InputError, match="expected the folder of a text generator"):
            exports.write_html(tmp_path / source, tmp_path / "page.html")
