"""PyIceberg without the parsers that it imports for texts which the platform gives none: a tenth of a second of every command's start."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader

# What parses conditions that are written as text, and the configuration file of PyIceberg's own.
_PARSERS = ("pyiceberg.expressions.parser", "strictyaml")


class _Postponing(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: object = None
    ) -> ModuleSpec | None:
        """Of a parser what loads it once it is used; nothing of any other module."""
        found = PathFinder.find_spec(fullname, path) if fullname in _PARSERS else None
        if found is not None and found.loader is not None:
            found.loader = LazyLoader(found.loader)
        return found


def postpone_parsers() -> None:
    """From now on, in this process, they are loaded by whoever first uses them."""
    if not any(isinstance(finder, _Postponing) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Postponing())
