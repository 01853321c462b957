"""The parts of the package's metadata that depend on where the repository is published.

PyPI shows the README without the files beside it. Where ``FTBRIDGE_REPOSITORY`` holds the address
of the repository, such as ``https://github.com/OWNER/NAME``, its links and pictures lead to the
files of this version there, and PyPI gets the project's links. Without it the README is as it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from hatchling.metadata.plugin.interface import MetadataHookInterface

_RELATIVE: Final = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)")
"""The end of a link or picture in Markdown, with its path in the repository."""


class CustomMetadataHook(MetadataHookInterface):
    """Fills in the fields that ``pyproject.toml`` calls dynamic."""

    def update(self, metadata: dict[str, object]) -> None:
        """Add the README and the project's links to the metadata."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = os.environ.get("FTBRIDGE_REPOSITORY", "").rstrip("/")
        if repository:
            text = absolute(text, repository, f"v{metadata['version']}")
            metadata["urls"] = {
                "Repository": repository,
                "Changelog": f"{repository}/blob/main/CHANGELOG.md",
                "Issues": f"{repository}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, repository: str, tag: str) -> str:
    """Return Markdown whose relative links lead to the files of a tag in a repository."""

    def address(found: re.Match[str]) -> str:
        kind = "raw" if found[1].endswith(".png") else "blob"
        return f"]({repository}/{kind}/{tag}/{found[1]})"

    return _RELATIVE.sub(address, text)
