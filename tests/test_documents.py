"""What the documents for users promise: their code runs, their links lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
# Each shows a piece of a file that is to be written, not a program.
STEP_BY_STEP = {"add-a-cell.md", "add-an-application.md", "add-an-engine.md"}
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS.append(ROOT / "experiments/README.md")
GENERATED = ("reference/", "changelog.md", "contributing.md")  # docs/hooks.py
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))


def _programs() -> Iterator[tuple[str, str]]:
    """The code of the pages: block by block, or as one where a page is read as one."""
    for page in DOCUMENTS:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        if page.parent.name == "learn":
            blocks = ["\n".join(blocks)] if blocks else []
        if page.name not in STEP_BY_STEP:
            for number, block in enumerate(blocks):
                yield f"{page.relative_to(ROOT)}-{number}", block


PROGRAMS = [pytest.param(code, id=name) for name, code in _programs()]


@pytest.mark.parametrize("code", PROGRAMS)
def test_python_blocks_run(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "a page", "exec"), {})


def test_there_are_blocks_to_run() -> None:
    assert len(PROGRAMS) >= 10


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_and_show_what_came_out(path: Path, tmp_path: Path) -> None:
    notebook: Any = nbformat.read(path, nbformat.current_nbformat)
    assert path.stat().st_size < 2**20
    assert any(cell.get("outputs") for cell in notebook.cells)
    folder = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, resources=folder).execute()


@pytest.mark.parametrize(
    "page", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if path.is_relative_to(ROOT / "docs") and str(
            path.relative_to(ROOT / "docs")
        ).startswith(GENERATED):
            continue  # the strict build of the site looks at these
        assert path.exists(), f"{page.name}: {target}"
        if anchor and path.suffix == ".md":
            assert anchor in _anchors(path), f"{page.name}: {target}"


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()))
        for heading in headings
    }
