"""The README as a package index can show it: without links into the repository.

On an index a page stands alone. Where `[project.urls]` has a `Source`, links and
pictures lead there; without one a link becomes its text and the path, to be found in
the source distribution, and a picture its description.
"""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?)\[([^]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")


def standing_alone(text: str, source: str | None = None) -> str:
    """Turn a page's links to other files into what needs no repository.

    Args:
        text: Markdown.
        source: address of the repository's files, if they are somewhere.
    """

    def replaced(found: re.Match[str]) -> str:
        picture, shown, path = found.groups()
        if source:
            return f"{picture}[{shown}]({source.rstrip('/')}/{path})"
        if picture:
            return f"({shown}: `{path}`)"
        return shown if path in shown else f"{shown} (`{path}`)"

    return _LINK.sub(replaced, text)


class ReadmeHook(MetadataHookInterface):
    """Hands the README to whoever builds the package."""

    def update(self, metadata: dict) -> None:
        """Set the field `readme`, which pyproject.toml declares dynamic."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": standing_alone(text, source),
        }
