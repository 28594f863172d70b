"""The functions of `scipy.special` that are used here, without the package around them.

That package imports numpy.f2py, unittest and scipy.linalg, to serve other array libraries: 0.2 s of CPU, a tenth of what a small
stage costs. Its compiled module holds the very same functions.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec, module_from_spec
from typing import Any

_PACKAGE = "scipy.special"


def _compiled() -> Any:
    """SciPy's own package where a process has it already, or where its compiled module is not to be had alone."""
    spec = find_spec(_PACKAGE)
    if spec is None or _PACKAGE in sys.modules:
        return importlib.import_module(_PACKAGE)
    sys.modules[_PACKAGE] = module_from_spec(
        spec
    )  # never filled: it stands there while what lies in it is imported
    try:
        return importlib.import_module(f"{_PACKAGE}._ufuncs")
    except ImportError:
        pass
    finally:
        del sys.modules[_PACKAGE]
    return importlib.import_module(_PACKAGE)


_FUNCTIONS = _compiled()


def __getattr__(name: str) -> Any:
    return getattr(_FUNCTIONS, name)
