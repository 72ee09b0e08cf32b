"""Who may import whom, read from the sources.

Every import counts, inside a function or under TYPE_CHECKING as much as at the top of
a file.
"""

import ast
import functools
import graphlib
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lstm_jax"

# Imports go down from line to line; neighbours on a line do not import each other.
LAYERS = [
    line.split()
    for line in """
        __main__
        train evaluate generate inspect crossval convert
        interop
        lm
        report decoding
        training models
        nn metrics
        engines data distributed
        ops cells storage
        cli
        usage
        config
        errors typing _lazy
    """.strip().splitlines()
]
LEVEL = {part: -n for n, line in enumerate(LAYERS) for part in line}
COMMANDS = LAYERS[1]
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
PATHS = {f"lstm_jax.{package}" for package in PACKAGES}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
PAGES = sorted((ROOT / "experiments").rglob("*.py"))

# The parts a library may be imported in, where they are few.
IMPORTERS = {
    "flax": {"cells", "nn", "models", "lm", "interop"},
    "matplotlib": {"report"},
    "tyro": {"cli", "usage", *COMMANDS},
}
WITHOUT_JAX = {
    "data",
    "config",
    "cli",
    "usage",
    "errors",
    "_lazy",
    *COMMANDS,
}
HEAVY = {"jax", "jaxlib", "flax", "optax", "matplotlib"}


class Import(NamedTuple):
    """One imported module: where, and whether it is imported with its importer."""

    module: str
    at_once: bool


def module_of(path: Path) -> str:
    """The dotted name of a file, without that of the library."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES = {module_of(path): path for path in FILES}


def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


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
    """Every module that is imported; of `lstm_jax` the file."""
    at_once = at_import(tree)
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            known = [name.removeprefix("lstm_jax.") in MODULES for name in whole]
            names = [
                name if k else node.module for name, k in zip(whole, known, strict=True)
            ]
        yield from (Import(name, node in at_once) for name in names)


@functools.cache
def own(module: str) -> frozenset[Import]:
    """The files of the library that one of them imports."""
    return frozenset(
        Import(found.module.removeprefix("lstm_jax."), found.at_once)
        for found in imports(tree_of(MODULES[module]))
        if found.module.startswith("lstm_jax.")
    )


@functools.cache
def others(module: str) -> frozenset[Import]:
    """The other people's packages that a file imports."""
    return frozenset(
        Import(found.module.split(".")[0], found.at_once)
        for found in imports(tree_of(MODULES[module]))
        if found.module.split(".")[0] not in sys.stdlib_module_names | {"lstm_jax"}
    )


def part(module: str) -> str:
    """The package that a file lies in, or the file itself."""
    return module.split(".")[0]


def test_every_part_has_its_place() -> None:
    assert {part(module) for module in MODULES} == set(LEVEL)
    assert len([path for path in PACKAGE.iterdir() if path.name[:2] != "__"]) < 28


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    asked = {found.module for found in own(module)}
    assert asked <= set(MODULES), "files are imported, not packages"
    up = {
        name
        for name in asked
        if part(name) != part(module) and LEVEL[part(name)] >= LEVEL[part(module)]
    }
    assert not up


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {module: {found.module for found in own(module)} for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(("library", "importers"), IMPORTERS.items())
def test_a_library_is_imported_by_its_packages_alone(
    library: str, importers: set[str]
) -> None:
    found = {m for m in MODULES if library in {each.module for each in others(m)}}
    assert found and {part(module) for module in found} <= importers


def test_what_needs_no_jax_does_not_import_it() -> None:
    found = {m for m in MODULES if {"jax", "jaxlib"} & {o.module for o in others(m)}}
    assert not {part(module) for module in found} & WITHOUT_JAX


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_answers_before_anything_heavy_is_imported(command: str) -> None:
    reached, new = set[str](), {command}
    while new:
        reached |= new
        new = {o.module for m in new for o in own(m) if o.at_once} - reached
    heavy = {
        (module, found.module)
        for module in reached
        for found in others(module)
        if found.at_once and found.module in HEAVY
    }
    assert not heavy


@pytest.mark.parametrize("package", ["", *PACKAGES])
def test_public_names_resolve(package: str) -> None:
    path = f"lstm_jax.{package}".rstrip(".")
    public = importlib.import_module(path)
    assert public.__all__ == sorted(set(public.__all__))
    modules = {module.removeprefix(f"{package}.") for module in MODULES}
    assert not set(public.__all__) & modules, "a name that is also a file's"
    for name in public.__all__:
        found = getattr(public, name)
        if inspect.isfunction(found):
            assert found.__name__ == name
        assert name in dir(public)
    with pytest.raises(AttributeError, match=f"{path}' has no attribute 'nonsense'"):
        getattr(public, "nonsense")  # noqa: B009 - of a module


def allowed(module: str) -> set[str]:
    """The names of a module of the library that experiments may use."""
    public = importlib.import_module(module)
    if hasattr(public, "__all__"):
        return {*public.__all__, "__version__"}
    inside = ".".join(module.split(".")[1:])
    assert "." not in inside, f"{module} is no public module"
    return {name for name in vars(public) if not name.startswith("_")}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_experiments_use_public_names_only(path: Path) -> None:
    tree = tree_of(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            assert not [name for name in names if name.startswith("lstm_jax.")]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.split(".")[0] == "lstm_jax":
                assert {alias.name for alias in node.names} <= allowed(node.module)
        elif isinstance(node, ast.Attribute):
            module, _, name = ast.unparse(node).rpartition(".")
            if module == "lstm_jax" or module in PATHS:
                assert name in allowed(module)


@pytest.mark.parametrize("module", MODULES)
def test_importing_sets_nothing_up(module: str) -> None:
    global_state = ("jax.config", "logging.", "warnings.", "os.environ", "sys.")
    used = {
        ast.unparse(node)
        for node in at_import(tree_of(MODULES[module]))
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
        # Pallas's compiler for GPUs notes in the last one where it has found CUDA.
        sorted(i for i in os.environ.items() if i[0] != "MOSAIC_GPU_CUDA_ROOT"),
    ])

before = surroundings()
for module in sys.argv[1:]:
    importlib.import_module(f"lstm_jax.{module}")
assert surroundings() == before, "an import changed JAX, logging, warnings or environ"
jax.config.update("jax_num_cpu_devices", 3)  # too late once an array was made
assert len(jax.devices("cpu")) == 3
"""


def test_nothing_happens_at_import() -> None:
    command = [sys.executable, "-c", IMPORT_ALL, *MODULES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stdout


def test_the_package_itself_imports_nothing_but_the_standard_library() -> None:
    command = "import sys, lstm_jax; print(*sys.modules)"
    words = [sys.executable, "-c", command]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "lstm_jax" in loaded and not loaded & {*HEAVY, "numpy", "tyro"}
