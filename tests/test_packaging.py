"""What is built and said for people who install the package."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from lstm_jax import InputError, cli
from tests.helpers.caches import own_cache

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NAMED = (
    *("requirements.lock", "Dockerfile", ".ci/run", "CHANGELOG.md", "CONTRIBUTING.md"),
    *("docs/architecture.md", "docs/curves.png", "experiments/speech/wav.py"),
    *("experiments/results/sentiment/result.json", "tests/test_packaging.py"),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def run(words: list[str], where: Path, *paths: Path) -> subprocess.CompletedProcess:
    """Python in a folder, with these on the path before all else."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "XDG_CACHE_HOME": own_cache(),
    }
    return subprocess.run(
        [sys.executable, *words],
        cwd=where,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
    )


def test_the_wheel_has_all_of_the_library_and_nothing_else(
    built: Path, tmp_path: Path
) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "installed")
    library = (ROOT / "lstm_jax").rglob("*")
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in library
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"lstm_jax/py.typed", "lstm_jax/engines/native/products.h"} <= expected
    assert {name for name in names if ".dist-info/" not in name} == expected
    (tmp_path / "empty").mkdir()
    where = "import lstm_jax; print(lstm_jax.__file__)"
    done = run(["-c", where], tmp_path / "empty", tmp_path / "installed")
    assert done.stdout.startswith(str(tmp_path / "installed"))
    words = ["-m", "lstm_jax.generate", "--help"]
    done = run(words, tmp_path / "empty", tmp_path / "installed")
    assert done.returncode == 0 and "RUN_DIR" in done.stdout


def test_the_command_that_is_installed_is_there() -> None:
    module, _, function = PROJECT["scripts"]["lstm-jax"].partition(":")
    code = f"import {module} as it, sys; sys.argv[1:] = ['nothing']; it.{function}()"
    done = run(["-c", code], ROOT, ROOT)
    assert done.returncode == 2 and done.stderr.startswith("error: expected one of tr")


def test_an_index_shows_a_page_without_broken_links(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    page = metadata.get_payload()
    assert isinstance(page, str) and page.startswith("# lstm_jax")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert re.findall(r"\]\((?![a-z]+:|#)[^)]*\)", page) == []
    assert "docs/results.md" in page
    assert metadata["Author"] and metadata["License-Expression"] == "Apache-2.0"


def test_links_lead_to_the_repository_where_there_is_one() -> None:
    pytest.importorskip("hatchling")
    from hatch_build import standing_alone

    page = "![a picture](docs/a.png) [b](b.md) [`c.md`](c.md) [d](https://d) [e](#e)"
    assert standing_alone(page) == (
        "(a picture: `docs/a.png`) b (`b.md`) `c.md` [d](https://d) [e](#e)"
    )
    assert standing_alone(page, "https://x/y/") == (
        "![a picture](https://x/y/docs/a.png) [b](https://x/y/b.md) "
        "[`c.md`](https://x/y/c.md) [d](https://d) [e](#e)"
    )


def test_the_source_distribution_is_complete(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert set(NAMED) <= names
    for page in (ROOT / "README.md", ROOT / "experiments" / "README.md"):
        for link in re.findall(r"\]\((?![a-z]+:|#)([^)#]+)", page.read_text("utf-8")):
            target = (page.parent / link).resolve().relative_to(ROOT)
            inside = (name.startswith(f"{target}/") for name in names)
            assert target.as_posix() in names or any(inside), link


@pytest.mark.slow
def test_tests_run_from_the_source_distribution(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    words = ["-m", "pytest", "-n", "0", "-q", "tests/test_config.py"]
    words += ["tests/test_architecture.py"]
    done = run(words, folder, folder)
    assert done.returncode == 0, done.stdout


LIGHT = """
import sys
sys.modules |= dict.fromkeys(("matplotlib", "tyro", "jaxtyping"))
import jax.numpy as jnp
from flax import nnx
import lstm_jax

layer = lstm_jax.StackedLSTM(8, 4, num_layers=2, rngs=nnx.Rngs(0))
assert layer(jnp.ones((4, 3, 8)))[0].shape == (4, 3, 4)
for name in lstm_jax.__all__:
    getattr(lstm_jax, name)
for name in ("cells", "data", "decoding", "engines", "lm", "models", "training"):
    package = getattr(lstm_jax, name)
    for name in package.__all__:
        getattr(package, name)
model = lstm_jax.fit_text(
    "the cat sat on the mat. " * 9,
    lstm_jax.TrainConfig(
        lstm_jax.DataConfig(validation_fraction=0.0),
        lstm_jax.ModelConfig(layers=1, hidden=4, dropout=0.0),
        lstm_jax.OptimizerConfig(batch=2, length=8),
        run=lstm_jax.RunConfig(epochs=1),
    ),
)
assert len(lstm_jax.generate_text(model, "the", length=5)) == 5
"""


def test_the_library_does_without_what_only_commands_need() -> None:
    """JAX, Flax, Optax and NumPy suffice; JAX needs SciPy itself, and Flax rich."""
    done = run(["-c", LIGHT], ROOT, ROOT)
    assert done.returncode == 0, done.stderr


def test_importing_the_library_imports_nothing_large() -> None:
    """So that it is done in a moment, and `--help` is there in another."""
    large = "('jax', 'flax', 'matplotlib', 'scipy', 'tyro', 'rich')"
    code = f"import sys, {{}}; print(*[m for m in {large} if m in sys.modules])"
    assert run(["-c", code.format("lstm_jax")], ROOT, ROOT).stdout == "\n"
    done = run(["-c", code.format("lstm_jax.train")], ROOT, ROOT)
    assert set(done.stdout.split()) <= {"tyro"}


def test_a_command_without_its_packages_says_so_in_one_line() -> None:
    code = "import sys, runpy; sys.modules['tyro'] = None; sys.argv[1:] = []; "
    code += "runpy.run_module('lstm_jax.train', run_name='__main__')"
    done = run(["-c", code], ROOT, ROOT)
    assert (done.returncode, done.stdout) == (1, "")
    line = "error: the commands need tyro: pip install tyro\n"
    assert done.stderr == line


def test_packages_that_draw_are_asked_for_before_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from experiments.speech import __main__ as speech
    from lstm_jax import train

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 90)
    for main, words in (
        (train.main, ["--data", str(tmp_path / "text.txt")]),
        (speech.main, ["--smoke"]),
    ):
        with pytest.raises(InputError, match="expected the package matplotlib, found"):
            main([*words, "--run-dir", str(tmp_path / "run")])
        assert not (tmp_path / "run").exists()

    def command() -> None:
        raise ModuleNotFoundError("no such module", name="matplotlib.figure")

    with pytest.raises(SystemExit) as ended:
        cli.run_command(command)
    assert ended.value.code == 2
    line = "error: expected the package matplotlib, found none; pip install matplotlib"
    assert capsys.readouterr().err.splitlines() == [line]


def test_extras_that_are_named_exist() -> None:
    """And none is asked of an index, where the package is not."""
    named = set()
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT).parts[0] in ("lstm_jax", "experiments", "docs")
        if path.suffix in (".py", ".md") and (inside or path.parent == ROOT):
            text = path.read_text("utf-8")
            assert not re.search(r"pip install [^\n`]*lstm-jax", text), path
            for extras in re.findall(r"\.\[([a-z0-9,]+)\]", text):
                named |= set(extras.split(","))
    assert {"test", "peers", "audio", "cuda13"} <= named
    assert named <= set(PROJECT["optional-dependencies"])


def test_the_container_has_what_it_copies_and_runs_as_a_user() -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    for source in (source for sources in copied for source in sources):
        assert (ROOT / source).exists(), source
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users and users[-1] not in ("root", "0")
    assert 'ENTRYPOINT ["python", "-m"]' in lines
    assert "pyproject.toml hatch_build.py" in " ".join(map(" ".join, copied))
