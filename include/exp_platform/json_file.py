"""Writing a JSON file whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> Path:
    """Write JSON so that a reader sees the old file or the whole new one; dates become ISO 8601 strings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(value, indent=1, default=str))
    partial.replace(path)
    return path
