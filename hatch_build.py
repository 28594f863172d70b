"""What the wheel depends on: what `requirements.in` says, so that it is said once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Requirements(MetadataHookInterface):
    """Fills `dependencies` when the package's metadata are made."""

    def update(self, metadata: dict[str, Any]) -> None:
        """The lines of requirements.in without its comments."""
        lines = Path(self.root, "requirements.in").read_text("utf-8").splitlines()
        stated = (line.partition("#")[0].strip() for line in lines)
        metadata["dependencies"] = [line for line in stated if line]
