"""Another version of a library by which users and rows are told apart: nobody is counted twice, whoever installed it where."""

from __future__ import annotations

from pathlib import Path

import pytest

from exp_platform.config.environment import Environment
from exp_platform.errors import DataError
from exp_platform.kernels import duplicates, hashing
from exp_platform.kernels.sql import query
from exp_platform.stages import rounds
from exp_platform.stages.shards import read_and_split
from stages.days import deliver_day, require_as_if_read_at_once, run_once
from stages.raw_data import (
    events_experiment,
)


def test_another_version_of_duckdb_that_hashes_otherwise_is_no_way_to_be_counted_twice(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its buckets would be others than those in which the rows of before lie."""
    monkeypatch.setattr(rounds, "BUCKET_USERS", 20)
    shop = events_experiment(tmp_path)
    deliver_day(tmp_path, 0)
    run_once(environment, shop, "r0")
    deliver_day(tmp_path, 1)
    monkeypatch.setattr(
        hashing, "query", lambda sql, table: query(sql.replace("hash(id)", "hash('v3' || id)"), table)
    )
    duplicates.told_apart_by.cache_clear()
    try:
        told = run_once(environment, shop, "r1")
        assert told == {
            "kind": "full",
            "why": "another version of DuckDB or PyArrow hashes or writes values otherwise",
        }
        require_as_if_read_at_once(environment, shop, "r1")
        assert run_once(environment, shop, "r2")["kind"] == "incremental"
    finally:
        duplicates.told_apart_by.cache_clear()


def test_a_worker_that_hashes_otherwise_deals_no_row_out() -> None:
    with pytest.raises(
        DataError, match=r"a worker has another version of DuckDB .*install the same packages"
    ):
        list(read_and_split([], 3, by="otherwise"))
