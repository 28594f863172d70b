"""PyArrow without pandas, which it imports wherever it is installed: half a second of CPU of every command and every stage."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from threading import get_ident


class _Hidden(MetaPathFinder):
    def __init__(self, thread: int | None = None) -> None:
        self._thread = thread

    def find_spec(self, fullname: str, *_: object) -> None:
        """Raise ModuleNotFoundError for pandas, and leave the rest to others."""
        if fullname == "pandas" and self._thread in (None, get_ident()):
            raise ModuleNotFoundError("the platform does without pandas", name=fullname)


def hide_pandas() -> None:
    """Hide pandas from now on, unless it is imported already. No kernel and no stage uses it; Spark does (`allow_pandas`)."""
    sys.meta_path.insert(0, _Hidden())


def allow_pandas() -> None:
    """End what hides it: a Spark session begins, whose `mapInArrow` asks for it."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Hidden)]


@contextmanager
def arrow_without_pandas() -> Iterator[None]:
    """Import PyArrow in this `with` block without pandas; other threads of the process, and whatever comes later, may have it."""
    hidden = _Hidden(get_ident())
    sys.meta_path.insert(0, hidden)
    try:
        yield
    finally:
        sys.meta_path.remove(hidden)


@contextmanager
def without_pandas() -> Iterator[None]:
    """Hide it for the length of a `with` block, or until somebody allows it."""
    hide_pandas()
    try:
        yield
    finally:
        allow_pandas()
