"""What a command imports before it does anything, and that PyArrow is imported without pandas."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def _printed(code: str, **variables: str) -> str:
    command, environment = [sys.executable, "-c", code], {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


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


def test_only_the_thread_that_imports_arrow_goes_without() -> None:
    """The pages are loaded in Airflow's API server, other threads of which may need pandas at that moment."""
    code = """
import sys
from threading import Thread
from exp_platform.without_pandas import arrow_without_pandas
with arrow_without_pandas():
    import pyarrow.dataset
    print("pandas" in sys.modules)
    other = Thread(target=lambda: __import__("pandas"))
    other.start()
    other.join()
    print("pandas" in sys.modules)
print(pyarrow.table({"n": [1, 2]}).to_pandas()["n"].sum())
"""
    assert _printed(code).split() == ["False", "True", "3"]


@pytest.mark.e2e
def test_a_spark_session_that_begins_in_the_block_may_have_pandas(tmp_path: Path) -> None:
    """Spark's `mapInArrow`, by which rows of a database come, refuses to work without."""
    code = """
from exp_platform.without_pandas import without_pandas
with without_pandas():
    import pyarrow.dataset
    from exp_platform.spark.session import build_spark_session
    session = build_spark_session("pandas")
    print(session.range(3).mapInArrow(lambda batches: batches, "id long").count())
    session.stop()
"""
    assert _printed(code, EXP_STATE_DIR=str(tmp_path)) == "3"
