"""Hides pandas, which PyArrow imports wherever it is installed, for half a second of CPU: no kernel and no stage uses it."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder


def hide_pandas() -> None:
    """From now on nothing in this process can import pandas. A Spark session needs it."""
    sys.meta_path.insert(0, _NoPandas())


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, *_: object) -> None:
        """Raise ModuleNotFoundError for pandas, and leave the rest to others."""
        if fullname == "pandas":
            raise ModuleNotFoundError("without a Spark session there is no pandas", name=fullname)
