"""The house: who may import whom, read from the sources.

Every import counts, inside a function or under TYPE_CHECKING as much as at the top of
a module: a back door is a door.
"""

import ast
import functools
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import lstm_jax

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lstm_jax"

# From the foundations to the front door: a room imports from those before it.
ROOMS = (
    "errors",
    "files",
    "lock",
    "signals",
    "config",
    "presets",
    "sizing",
    "vocab",
    "ids",
    "data",
    "buckets",
    "folds",
    "validation",
    "ngrams",
    "notation",
    "bounded",
    "cell",
    "padding",
    "products",
    "regularize",
    "engines",
    "engines.request",
    "engines.scan",
    "engines.fused",
    "engines.mogrified",
    "mogrifier",
    "engines.cudnn",
    "engines.vmem",
    "engines.tpu_blocks",
    "engines.tpu_kernels",
    "engines.tpu_gradient",
    "engines.pallas_tpu",
    "dispatch",
    "remat",
    "recurrence",
    "layers",
    "attention",
    "argmax",
    "losses",
    "metrics",
    "classification",
    "classification.words",
    "classification.recipe",
    "classification.labelled",
    "classification.bayes",
    "translation",
    "translation.parallel",
    "translation.subwords",
    "translation.lexicon",
    "forecasting",
    "forecasting.series",
    "forecasting.series_csv",
    "forecasting.scores",
    "forecasting.baselines",
    "speech",
    "speech.audio",
    "speech.mel",
    "speech.augment",
    "speech.templates",
    "speech.ctc",
    "speech.edits",
    "models.language",
    "models.mogrifier",
    "models.translate",
    "models.forecast",
    "models.transcribe",
    "models.classify",
    "schedule",
    "agree",
    "watch",
    "processes",
    "devices",
    "step",
    "ensemble",
    "programs",
    "fit",
    "beam",
    "sampling",
    "decode",
    "likelihood",
    "protocols",
    "dynamic",
    "inspection",
    "history",
    "record",
    "claim",
    "rundir",
    "advice",
    "board",
    "arrays",
    "safetensors",
    "checkpoint",
    "keeper",
    "writer",
    "task",
    "text",
    "continuation",
    "plots",
    "plots_inspect",
    "runner",
    "artifacts",
    "together",
    "text_folds",
    "scorecard",
    "plots_confusion",
    "classification.texts",
    "translation.pairs",
    "translation.translate",
    "translation.picture",
    "forecasting.forecast",
    "forecasting.picture",
    "speech.recognize",
    "speech.picture",
    "report",
    "cli",
    "train",
    "evaluate",
    "generate",
    "inspect",
    "crossval",
)
COMMANDS = {"train", "evaluate", "generate", "inspect", "crossval"}

# The rooms a library may be imported in, where they are few.
DOORS = {
    "flax": {
        *("layers", "task", "classification.texts"),
        *("models.language", "models.translate", "models.forecast", "models.classify"),
        *("models.transcribe", "models.mogrifier"),
    },
    "matplotlib": {
        *("plots", "plots_inspect", "forecasting.picture", "plots_confusion"),
        "speech.picture",
    },
    "tyro": {"cli"} | COMMANDS,
}
WITHOUT_JAX = {
    *("errors", "files", "lock", "signals", "config", "presets", "sizing", "vocab"),
    "ids",
    *(
        "data",
        "ngrams",
        "buckets",
        "folds",
        "validation",
        "record",
        "claim",
        "rundir",
        "history",
        "board",
        "cli",
    ),
    *("classification.words", "classification.recipe", "classification.bayes"),
    *("translation.parallel", "translation.subwords", "translation.lexicon"),
    *("forecasting.series", "forecasting.series_csv"),
    *("forecasting.scores", "forecasting.baselines"),
    *("speech.audio", "speech.mel", "speech.augment"),
    *("speech.templates", "speech.ctc", "speech.edits"),
    *COMMANDS,
}
HEAVY = {"jax", "jaxlib", "flax", "optax", "orbax", "matplotlib"}


class Import(NamedTuple):
    """One imported module: where, and whether it is imported with its importer."""

    module: str
    at_once: bool


def source(room: str) -> ast.Module:
    """The syntax tree of a room."""
    path = PACKAGE.joinpath(*room.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def at_import(tree: ast.AST) -> set[ast.AST]:
    """The nodes that are executed when the module is imported."""
    later = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for inner in ast.walk(node)
    }
    return set(ast.walk(tree)) - later


def imports(tree: ast.AST) -> Iterator[Import]:
    """Every module that is imported, and `lstm_jax` names by the room they live in."""
    at_once = at_import(tree)
    for node in ast.walk(tree):
        for module in _imported(node):
            yield Import(module, node in at_once)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name != "lstm_jax")
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0 and node.module, "imports are absolute"
        for alias in node.names:
            yield _origin(node.module, alias.name)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        # `import lstm_jax` reaches every room through the names it hands out.
        if node.value.id == "lstm_jax" and not node.attr.startswith("__"):
            yield _origin("lstm_jax", node.attr)


def _origin(module: str, name: str) -> str:
    """The module that `from module import name` reads."""
    if module == "lstm_jax" and name in lstm_jax._ROOM_OF:
        return f"lstm_jax.{lstm_jax._ROOM_OF[name]}"
    whole = f"{module}.{name}"
    return whole if whole.removeprefix("lstm_jax.") in ROOMS else module


@functools.cache
def rooms_of(room: str) -> frozenset[Import]:
    """The rooms of the house that a room imports."""
    return frozenset(
        Import(found.module.removeprefix("lstm_jax."), found.at_once)
        for found in imports(source(room))
        if found.module.split(".")[0] == "lstm_jax"
    )


@functools.cache
def libraries_of(room: str) -> frozenset[Import]:
    """The other people's packages that a room imports."""
    return frozenset(
        Import(found.module.split(".")[0], found.at_once)
        for found in imports(source(room))
        if found.module.split(".")[0] not in sys.stdlib_module_names | {"lstm_jax"}
    )


def test_every_module_has_its_place() -> None:
    found = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
    }
    rooms = {name.removesuffix(".__init__") for name in found - {"__init__"}}
    assert rooms == set(ROOMS) and len(ROOMS) == len(set(ROOMS))


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    before = set(ROOMS[: ROOMS.index(room)])
    wrong = sorted({found.module for found in rooms_of(room)} - before)
    assert not wrong, f"{room} imports {wrong}, which do not come before it"


@pytest.mark.parametrize(("library", "doors"), DOORS.items())
def test_a_library_has_its_doors(library: str, doors: set[str]) -> None:
    found = {
        room
        for room in ROOMS
        if library in {found.module for found in libraries_of(room)}
    }
    assert found and found <= doors


@pytest.mark.parametrize("room", sorted(WITHOUT_JAX))
def test_what_needs_no_jax_does_not_import_it(room: str) -> None:
    assert not {found.module for found in libraries_of(room)} & {"jax", "jaxlib"}


@pytest.mark.parametrize("room", sorted(COMMANDS))
def test_a_command_answers_before_anything_heavy_is_imported(room: str) -> None:
    reached, new = set[str](), {room}
    while new:
        reached |= new
        new = {
            found.module for r in new for found in rooms_of(r) if found.at_once
        } - reached
    heavy = {
        (r, found.module)
        for r in reached
        for found in libraries_of(r)
        if found.at_once and found.module in HEAVY
    }
    assert not heavy


def test_the_package_itself_imports_nothing_but_the_standard_library() -> None:
    at_once = {found for found in imports(source("")) if found.at_once}
    assert {found.module for found in at_once} <= sys.stdlib_module_names


def test_the_lazy_table_is_what_type_checkers_see() -> None:
    seen = {
        (alias.name, node.module)
        for node in ast.walk(source(""))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("lstm_jax.")
        for alias in node.names
        if alias.asname == alias.name  # "as" itself: re-exported
    }
    table = {(name, f"lstm_jax.{room}") for name, room in lstm_jax._ROOM_OF.items()}
    assert seen == table
    assert lstm_jax.__all__ == sorted(name for name, _ in table)


@pytest.mark.parametrize(("name", "room"), lstm_jax._ROOM_OF.items())
def test_every_public_name_resolves(name: str, room: str) -> None:
    value = getattr(importlib.import_module(f"lstm_jax.{room}"), name)
    assert getattr(lstm_jax, name) is value
    assert name in dir(lstm_jax)
    assert value.__module__ == f"lstm_jax.{room}", "made where it is said to live"


def test_an_unknown_name_is_an_attribute_error() -> None:
    name = "nonsense"
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        getattr(lstm_jax, name)


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "experiments").rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT / "experiments")),
)
def test_experiments_use_public_names_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
            assert not [name for name in modules if name.startswith("lstm_jax.")]
        elif isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("lstm_jax.")
            if node.module == "lstm_jax":
                names = {alias.name for alias in node.names}
                assert names <= set(lstm_jax.__all__)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "lstm_jax":
                assert node.attr in {*lstm_jax.__all__, "__version__"}


def test_the_documentation_has_the_rooms_in_this_order() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.split("| room | what belongs there |")[1].split("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    found = re.findall(r"`([\w/]+?)(?:\.py|/)`", "".join(cells))
    rooms = [
        room.replace(".", "/") for room in ROOMS if not room.startswith("engines.")
    ]
    assert found == rooms


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_sets_nothing_up(room: str) -> None:
    global_state = ("jax.config", "logging.", "warnings.", "os.environ", "sys.")
    used = {
        ast.unparse(node)
        for node in at_import(source(room))
        if isinstance(node, ast.Attribute)
    }
    assert not [name for name in used if name.startswith(global_state)]


IMPORT_ALL = """
import importlib, json, logging, os, sys, warnings
import flax.nnx, jax, matplotlib.figure, optax, tyro

def surroundings():
    loggers = [logging.getLogger(name) for name in ("", "absl", "jax")]
    return repr([
        jax.config.values,
        [(logger.level, logger.handlers, logger.filters) for logger in loggers],
        warnings.filters,
        sorted(os.environ.items()),
    ])

before = surroundings()
for room in sys.argv[1:]:
    importlib.import_module(f"lstm_jax.{room}")
assert surroundings() == before, "an import changed JAX, logging, warnings or environ"
jax.config.update("jax_num_cpu_devices", 3)  # too late once an array was made
assert len(jax.devices("cpu")) == 3
"""


def test_nothing_happens_at_import() -> None:
    command = [sys.executable, "-c", IMPORT_ALL, *ROOMS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stdout
