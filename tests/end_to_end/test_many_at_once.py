"""Eight experiments at once, with a reader and maintenance beside, on SQLite: nothing is lost, doubled or mixed."""

from __future__ import annotations

from pathlib import Path

from end_to_end.installation import Installation
from stages.many import ROUNDS, nothing_lost_doubled_or_mixed


def test_eight_experiments_at_once_on_sqlite(tmp_path: Path) -> None:
    told = nothing_lost_doubled_or_mixed(Installation(tmp_path), experiments=8, rounds=ROUNDS)
    assert told["read"] > 0
