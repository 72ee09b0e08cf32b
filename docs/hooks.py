"""What the site shows of the code and of results, made when it is built.

`reference/` has a page for each package with every public name, and one with the flags
of every command; the gallery has the table of results. So none of them can lag behind.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
COMMANDS = ("train", "generate", "evaluate", "crossval", "inspect", "convert")


def on_config(config: MkDocsConfig) -> None:
    """Put the generated pages where `nav` says `reference/`."""
    pages = [{name: _page_of(name)} for name in _packages()]
    for section in config.nav or []:
        for title, target in section.items():
            if target == "reference/":
                section[title] = pages


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the generated pages."""
    for name in _packages():
        files.append(
            File.generated(config, _page_of(name), content=_package_page(name))
        )
    pages = {"reference/commands.md": _commands_page()}
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text("utf-8")
        pages[name.lower()] = text.replace("](docs/", "](")
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Put results and formats where the gallery wants them; lead links to pages."""
    source = ROOT / "experiments/README.md"
    table = _between(source, "<!-- table: ", "<!-- end of")
    formats = _between(source, "<!-- data of your own", "## Results")
    markdown = markdown.replace("<!-- the table of experiments/README.md -->", table)
    markdown = markdown.replace("<!-- its data of your own -->", formats)
    depth = "../" * page.file.src_uri.count("/")
    leaves = depth + "../"  # of a link that leaves docs/, to code or its tables
    markdown = markdown.replace(
        f"]({leaves}experiments/README.md", f"]({depth}gallery.md"
    )
    return re.sub(
        rf"\]\({re.escape(leaves)}lstm_jax/(\w+)/\w+\.py\)",
        rf"]({depth}reference/\1.md)",
        markdown,
    )


def _between(path: Path, start: str, end: str) -> str:
    """The lines after the one that begins with `start`, to the one with `end`."""
    text = path.read_text("utf-8")
    return text.partition(start)[2].partition("\n")[2].partition(end)[0]


def _packages() -> list[str]:
    """The package and those in it that list public names, the top one first."""
    inits = sorted((ROOT / "lstm_jax").glob("**/__init__.py"))
    names = [".".join(path.parent.relative_to(ROOT).parts) for path in inits]
    return [name for name in names if _public(name)]


def _page_of(package: str) -> str:
    return f"reference/{package.removeprefix('lstm_jax.')}.md"


def _source(package: str) -> ast.Module:
    return ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text())


def _public(package: str) -> dict[str, str]:
    """Where each public name is defined: the imports under `TYPE_CHECKING`."""
    block = next((n for n in _source(package).body if isinstance(n, ast.If)), None)
    return {
        alias.name: f"{node.module}.{alias.name}"
        for node in (block.body if block else [])
        if isinstance(node, ast.ImportFrom) and node.module != "lstm_jax"
        for alias in node.names
    }


def _package_page(package: str) -> str:
    """A page that describes every public name, or links where it is described."""
    parts = [f"# {package}", ast.get_docstring(_source(package)) or ""]
    for name, path in sorted(_public(package).items(), key=lambda item: item[1]):
        home = _home(path)
        if home == package:
            parts.append(f"::: {path}")
        else:
            parts.append(f"## [{name}][{path}]\n\nDescribed with [{home}][{path}].")
    return "\n\n".join(parts) + "\n"


def _home(path: str) -> str:
    """The package whose page describes a name: the innermost that lists it."""
    listing = [name for name in _packages() if path in _public(name).values()]
    return max(listing, key=len)


def _commands_page() -> str:
    """What `--help` of every command prints."""
    parts = ["# All flags"]
    environment = {
        **os.environ,
        "COLUMNS": "88",
        "NO_COLOR": "1",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }
    for command in COMMANDS:
        module = f"lstm_jax.{command}"
        printed = subprocess.run(
            [sys.executable, "-m", module, "--help"],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        parts.append(f"## python -m {module}\n\n```text\n{printed.strip()}\n```")
    return "\n\n".join(parts) + "\n"
