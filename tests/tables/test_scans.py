"""Rows of whole files, read without PyIceberg, are those that PyIceberg reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import DataScan, FileScanTask, Table
from pyiceberg.typedef import Record
from pyiceberg.types import StringType

from exp_platform.config.analyses import RESULTS
from exp_platform.config.environment import Environment
from exp_platform.tables import scans
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.scans import planned, rows_by_file, rows_of
from exp_platform.tables.schemas import RESULT_TABLES
from exp_platform.tables.selection import selection
from stages.frozen_runs import D1, D2, a_run, an_experiment, carry_out


@pytest.fixture
def stored(environment: Environment) -> Table:
    """Result rows in three files, of a version that knew one column fewer."""
    return three_runs(environment, RESULTS)


def three_runs(environment: Environment, name: str) -> Table:
    for run_id, day, id in (("r1", D1, "exp_a"), ("r2", D2, "exp_a"), ("s1", D1, "exp_b")):
        carry_out(a_run(environment, run_id, (day,), of=an_experiment(id)))
    found = table(open_catalog(environment), name)
    with found.update_schema() as change:
        change.add_column("of_a_later_version", StringType())
    return found.refresh()


def same(found: list[dict[str, Any]], scan: DataScan) -> bool:
    """Whether these are the rows that PyIceberg reads, and some."""
    return sorted(found, key=str) == sorted(scan.to_arrow().to_pylist(), key=str) != []


@pytest.mark.parametrize("near", ["file", "elsewhere"])
@pytest.mark.parametrize("fields", [("*",), ("metric_id", "as_of_date", "of_a_later_version")])
@pytest.mark.parametrize(
    "where", [{}, {"method": ["ab", "srm"], "segment": "all"}, {"experiment_id": "exp_a"}]
)
def test_one_by_one_or_many_at_a_time_with_and_without_a_condition(
    stored: Table, near: str, fields: tuple[str, ...], where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of conditions about columns that are not asked for."""
    monkeypatch.setattr(scans, "_NEAR", near)
    scan = stored.scan(selection(where), fields)
    assert same(rows_of(scan, stored.io, planned(scan)).to_pylist(), scan)
    by_file = rows_by_file(scan, stored.io, planned(scan))
    assert by_file.keys() == {task.file.file_path for task in planned(scan)}
    assert same([row for rows in by_file.values() for row in rows], scan)


def test_of_every_table_of_results(environment: Environment) -> None:
    three_runs(environment, RESULTS)
    for name in RESULT_TABLES:
        found = table(open_catalog(environment), name)
        scan = found.scan()
        if tasks := planned(scan):
            assert same(rows_of(scan, found.io, tasks).to_pylist(), scan), name


def test_rows_that_another_writer_deleted_are_left_out(stored: Table, tmp_path: Path) -> None:
    """By a file beside the rows, as engines write it that merge when they read."""
    scan = stored.scan(selection({"experiment_id": "exp_a"}))
    first, *others = planned(scan)
    there = rows_of(scan, stored.io, [first]).to_pylist()
    deletes = tmp_path / "deletes.parquet"
    positions = pa.array([0, 2], pa.int64())
    pq.write_table(pa.table({"file_path": [first.file.file_path] * 2, "pos": positions}), deletes)
    deleted = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=str(deletes),
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=2,
        file_size_in_bytes=deletes.stat().st_size,
    )
    tasks = [FileScanTask(first.file, delete_files={deleted}), *others]
    found = rows_of(scan, stored.io, tasks).to_pylist()
    left = [row for place, row in enumerate(there) if place not in (0, 2)]
    assert sorted(found, key=str) == sorted(left + rows_of(scan, stored.io, others).to_pylist(), key=str)


def test_no_file_has_no_rows_and_the_columns(stored: Table) -> None:
    scan = stored.scan(selection({"experiment_id": "nobody"}), ("metric_id",))
    found = rows_of(scan, stored.io, planned(scan))
    assert (len(found), found.column_names) == (0, ["metric_id"])
