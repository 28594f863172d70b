"""Which code this is, however it was installed."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import exp_platform


@lru_cache(maxsize=1)
def code_version() -> str:
    """The package's version and a hash of its files, however they were installed."""
    root = Path(exp_platform.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return f"{exp_platform.__version__}+{digest.hexdigest()[:12]}"
