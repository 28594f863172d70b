"""Many experiments at once on one installation, a reader and maintenance beside: what must hold afterwards, and while."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from end_to_end.installation import Installation
from exp_platform.results.reader import Results
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.maintenance import maintain
from exp_platform.tables.schemas import RESULT_TABLES
from stages.frozen_runs import D1, D3

TESTS = Path(__file__).parents[1]
ROUNDS = int(os.environ.get("EXP_ROUNDS", "2"))  # runs of each experiment, one after another


def nothing_lost_doubled_or_mixed(made: Installation, experiments: int, rounds: int) -> dict[str, int]:
    """Run them; what the reader and maintenance did meanwhile. Raises AssertionError with what a process said."""
    ids = [f"exp_{n}" for n in range(experiments)]
    with made.here():
        open_catalog()  # all tables are there: a reader that meets the first tables being made takes them for lost
    ended = made.folder / "ended"
    others = {
        "read": _start(made, "read", str(ended), *ids),
        "maintain": _start(made, "maintain", str(ended)),
    }
    writers = [_start(made, "run", experiment_id, str(rounds)) for experiment_id in ids]
    try:
        said = [writer.communicate(timeout=540) for writer in writers]
        assert [writer.returncode for writer in writers] == [0] * experiments, said
    finally:
        ended.touch()
    told = {}
    for role, process in others.items():
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, (role, error)
        told[role] = int(out)
    with made.here():
        maintain()  # takes away what was superseded
        _all_is_there(ids, f"r{rounds - 1:03d}")
    return told


def _all_is_there(ids: list[str], last: str) -> None:
    catalog, results = open_catalog(), Results()
    users = Counter(row["user_id"] for row in table(catalog, "exposures").scan().to_arrow().to_pylist())
    assert users == Counter({f"{last}-{user}": len(ids) for user in "abc"})
    for experiment_id in ids:
        decisions = results.decisions(experiment_id)
        assert [(d.as_of_date, d.run_id) for d in sorted(decisions, key=lambda d: d.as_of_date)] == [
            (D1, last),
            (D3, last),
        ]
        assert [results.missing_rows(decision) for decision in decisions] == [{}, {}]
    expected: Counter[str] = Counter()
    for experiment_id in ids:
        for decision in results.decisions(experiment_id):
            expected.update(decision.result_rows)
    found = {name: table(catalog, name).scan().count() for name in RESULT_TABLES}
    assert found == {name: expected[name] for name in RESULT_TABLES}


def _start(made: Installation, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stages.many_at_once", *arguments],
        env={**os.environ, **made.variables, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
