"""What PyIceberg imports for texts is loaded by whoever gives it one."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import sys
from exp_platform.postponed import postpone_parsers
postpone_parsers()
import pyiceberg.catalog.sql, pyiceberg.io.pyarrow, pyiceberg.table
print([name for name in ("pyparsing", "strictyaml.parser") if name in sys.modules])
print(pyiceberg.table._parse_row_filter("day > '2026-03-01'"))
import strictyaml
print(strictyaml.load("catalog: iceberg").data["catalog"], "pyparsing" in sys.modules)
"""


def test_parsers_are_loaded_once_they_are_used() -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
    first, condition, last = done.stdout.splitlines()
    assert first == "[]"
    assert "GreaterThan" in condition
    assert last == "iceberg True"
