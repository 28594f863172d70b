"""PyArrow without pandas, which it imports wherever it is installed: half a second of CPU of every command and every stage."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder


class _Hidden(MetaPathFinder):
    def find_spec(self, fullname: str, *_: object) -> None:
        """Raise ModuleNotFoundError for pandas, and leave the rest to others."""
        if fullname == "pandas":
            raise ModuleNotFoundError("the platform does without pandas", name=fullname)


def hide_pandas() -> None:
    """Hide pandas from now on, unless it is imported already: for a process that does nothing but our work."""
    sys.meta_path.insert(0, _Hidden())


@contextmanager
def without_pandas() -> Iterator[None]:
    """Hide it for the length of a `with` block. Nothing of a command or a stage uses it."""
    hidden = _Hidden()
    sys.meta_path.insert(0, hidden)
    try:
        yield
    finally:
        sys.meta_path.remove(hidden)
