"""`benchmarks/compare.py` on 2,000 users: all engines that are installed agree with the platform, and what each took is told."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from exp_platform.config.environment import project_root

BENCHMARKS = project_root() / "benchmarks"


def test_all_engines_agree_with_the_platform(tmp_path: Path) -> None:
    said = tmp_path / "first.json"
    asked = [
        "first",
        "--rounds",
        "0",
        "--users",
        "2000",
        "--folder",
        str(tmp_path / "kept"),
        "--json",
        str(said),
    ]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "compare.py", *asked], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(said.read_text())
    assert found["rows"]["exposures"] > 2_000
    assert found["rows"]["outcomes"] == pytest.approx(7.4 * 2_000, rel=0.1)
    (took,) = found["rounds"]
    needed = {"clickhouse": "chdb", "tea_tasting": "tea_tasting"}
    present = {name for name, package in needed.items() if find_spec(package)}
    assert set(took) == {"ours", "duckdb", "duckdb_loose", "spark"} | present
    assert set(found["absent"]) == set(needed) - present
    assert all(one["differs"] <= 1e-9 for name, one in took.items() if name != "duckdb_loose")
    assert took["duckdb_loose"]["differs"] > 1e-6  # rows that stand twice are there, and are looked for
    assert all(one["cpu"] > 0 and one["wall"] > 0 and one["peak_mb"] > 0 for one in took.values())
    assert took["ours"]["peak_mb"] > 100  # others may end before the second look at their memory
    stages = took["ours"]["stages"]
    assert {"ingest", "aggregates", "memo"} < set(stages)
    assert sum(taken["cpu"] for taken in stages.values()) == pytest.approx(took["ours"]["cpu"])
    assert "`exp run`" in done.stdout


def test_what_differs_by_more_than_rounding_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from compare_engines import disagreement

    answer = {"revenue": {"control": {"n": 9, "mean": [5.0, 2.0], "cov": [[4.0, 1.0], [1.0, 1.0]]}}}
    assert disagreement(answer, copy.deepcopy(answer)) == 0
    for path, value, differs in (
        (("n",), 10, 1),
        (("mean", 0), 5.0 + 4e-8, 2e-8),
        (("cov", 0, 1), 1.0 + 4e-8, 2e-8),
        (("cov", 1, 1), 1.0 - 3e-8, 3e-8),
    ):
        other = copy.deepcopy(answer)
        at = other["revenue"]["control"]
        for step in path[:-1]:
            at = at[step]  # type: ignore[literal-required, index]
        at[path[-1]] = value  # type: ignore[literal-required, index]
        assert disagreement(answer, other) == pytest.approx(differs, rel=1e-6)


def test_an_arm_of_whom_nobody_counts_yet_may_be_absent_or_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from compare_engines import disagreement

    empty = {"conversion": {"control": {"n": 0, "mean": [0.0], "cov": [[0.0]]}}}
    same = {"conversion": {"control": {"n": 3, "mean": [0.0], "cov": [[0.0]]}}}
    assert disagreement({"conversion": {}}, empty) == disagreement(empty, {}) == 0
    assert disagreement(same, {"conversion": {}}) == 3
    assert disagreement(same, same) == 0


def test_the_cpu_of_processes_that_outlive_their_parent_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from compare_measure import measured

    busy = "import time\nwhile time.process_time() < 0.8: pass"
    orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {busy!r}]); print('gone')"
    spent = measured([sys.executable, "-c", orphan], threads=1)
    assert spent.said == "gone\n"
    assert 0.8 < spent.cpu < 3
    assert spent.cpu_until(spent.began) == 0
    assert spent.cpu_until(spent.began + 1e6) == spent.cpu
