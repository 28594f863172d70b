"""What a command imports before it does anything, and that PyArrow is imported without pandas."""

from __future__ import annotations

import subprocess
import sys

import pytest


def _printed(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_command_imports_nothing_of_data_before_it_knows_what_it_is_to_do() -> None:
    heavy = ("numpy", "pyarrow", "pyiceberg", "sqlalchemy", "pyspark", "pandas", "scipy", "altair")
    code = f"import sys, exp_platform.cli; print([name for name in {heavy} if name in sys.modules])"
    assert _printed(code) == "[]"


@pytest.mark.parametrize(("block", "found"), [("without_pandas()", False), ("nullcontext()", True)])
def test_arrow_finds_no_pandas_in_the_block_and_gives_data_frames_after_it(block: str, found: bool) -> None:
    code = f"""
import sys
from contextlib import nullcontext
from exp_platform.without_pandas import without_pandas
with {block}:
    import pyarrow.dataset
    print("pandas" in sys.modules)
print(pyarrow.table({{"n": [1, 2]}}).to_pandas()["n"].sum())
"""
    assert _printed(code).split() == [str(found), "3"]
