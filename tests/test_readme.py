"""The code on the pages for users runs as printed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in (
        *("README.md", "docs/monitoring.md", "docs/evaluation.md"),
        "docs/coming-from.md",
    )
    for number, block in enumerate(
        re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks_run(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "a block", "exec"), {})


def test_there_are_blocks_to_run() -> None:
    assert len(BLOCKS) >= 6
