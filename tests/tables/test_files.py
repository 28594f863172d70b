from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exp_platform.config.environment import Environment
from exp_platform.errors import DataError
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.files import Writer, plan_buckets, task_writer
from exp_platform.tables.schemas import TABLES, arrow_schema
from exp_platform.tables.write import replace_files

LONG_ID = "exp_with_a_name_far_beyond_sixteen_characters"


def outcomes(users: list[str]) -> pa.Table:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    return pa.table(
        {
            "user_id": users,
            "event": ["order"] * len(users),
            "occurred_at": pa.array([start + timedelta(microseconds=i) for i in range(len(users))]),
            "value": [float(i) for i in range(len(users))],
            "event_id": pa.nulls(len(users), pa.string()),
            "properties": pa.array([[("sku", user)] for user in users], pa.map_(pa.string(), pa.string())),
            "item": [f"shoe {i}" for i in range(len(users))],
        }
    )


def test_what_pickled_writers_wrote_is_read_by_pickled_plans_bucket_by_bucket(
    environment: Environment,
) -> None:
    writer: Writer = pickle.loads(pickle.dumps(task_writer(environment, "outcomes", LONG_ID, "run1")))
    paths = [
        writer.write(0, outcomes(["a", "b"])),
        writer.write(1, outcomes(["c"])),
        writer.write(1, outcomes(["d"])),
    ]
    snapshot = replace_files(open_catalog(environment), "outcomes", LONG_ID, paths, "run1")

    plan = plan_buckets(environment, "outcomes", LONG_ID, snapshot, arrow_schema("outcomes").names)
    assert {bucket: files.rows for bucket, files in plan.items()} == {0: 2, 1: 2}
    read = {bucket: pickle.loads(pickle.dumps(files)).read() for bucket, files in plan.items()}
    assert read[0].schema == read[1].schema == arrow_schema("outcomes")
    assert read[0].to_pylist() == [
        {
            "experiment_id": LONG_ID,
            "bucket": 0,
            "user_id": user,
            "event": "order",
            "occurred_at": datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(microseconds=i),
            "value": float(i),
            "event_id": None,
            "properties": [("sku", user)],
            "item": f"shoe {i}",
            "row_key": None,
        }
        for i, user in enumerate("ab")
    ]
    assert sorted(read[1]["user_id"].to_pylist()) == ["c", "d"]


def test_a_plan_reads_only_its_columns_its_experiment_and_its_snapshot(environment: Environment) -> None:
    catalog = open_catalog(environment)
    snapshots = {}
    for experiment_id, users in (("exp_a", ["old"]), ("exp_b", ["other"]), ("exp_a", ["new", "newer"])):
        path = task_writer(environment, "outcomes", experiment_id, "run").write(0, outcomes(users))
        snapshots[users[0]] = replace_files(catalog, "outcomes", experiment_id, [path], "run")

    def users_at(snapshot: int) -> list[str]:
        table = plan_buckets(environment, "outcomes", "exp_a", snapshot, ["user_id"])[0].read()
        assert table.column_names == ["user_id"]
        return table["user_id"].to_pylist()

    assert users_at(snapshots["old"]) == users_at(snapshots["other"]) == ["old"]
    assert users_at(snapshots["new"]) == ["new", "newer"]


def test_a_plan_stays_small_however_long_the_tables_history(environment: Environment) -> None:
    catalog = open_catalog(environment)
    sizes = []
    for _ in range(12):
        path = task_writer(environment, "outcomes", "exp_a", "run").write(0, outcomes(["u"]))
        snapshot = replace_files(catalog, "outcomes", "exp_a", [path], "run")
        sizes.append(
            len(pickle.dumps(plan_buckets(environment, "outcomes", "exp_a", snapshot, ["user_id"])[0]))
        )
    assert max(sizes) < 10_000
    assert sizes[-1] - sizes[0] < 200


def test_files_are_zstd_and_every_attempt_writes_its_own(environment: Environment) -> None:
    writer = task_writer(environment, "outcomes", "exp_a", "20260301T000000Z-abc")
    first, second = (writer.write(7, outcomes(["u"])) for _ in range(2))
    assert first != second
    for path in (first, second):
        assert Path(path).name.startswith("20260301T000000Z-abc-00007-")
        assert "/exp/outcomes/data/experiment_id=exp_a/" in path
        column = pq.read_metadata(path.removeprefix("file://")).row_group(0).column(0)
        assert column.compression == "ZSTD"


def test_a_file_without_rows_can_be_committed(environment: Environment) -> None:
    writer = task_writer(environment, "outcomes", "exp_a", "run")
    paths = [writer.write(0, outcomes([])), writer.write(1, outcomes(["u"]))]
    snapshot = replace_files(open_catalog(environment), "outcomes", "exp_a", paths, "run")
    plan = plan_buckets(environment, "outcomes", "exp_a", snapshot, ["user_id"])
    assert {bucket: files.rows for bucket, files in plan.items() if files.rows} == {1: 1}


def test_a_missing_column_is_an_error_not_a_column_of_nulls(environment: Environment) -> None:
    with pytest.raises(KeyError, match="occurred_at"):
        task_writer(environment, "outcomes", "exp_a", "run").write(
            0, outcomes(["u"]).drop_columns(["occurred_at"])
        )


def test_an_expired_snapshot_is_told(environment: Environment) -> None:
    assert table(open_catalog(environment), "outcomes").current_snapshot() is None
    with pytest.raises(
        DataError, match="outcomes: snapshot 12345 has expired; run the experiment from `ingest` again"
    ):
        plan_buckets(environment, "outcomes", "exp_a", 12345, ["user_id"])


def test_a_file_has_no_id_of_a_row_that_was_left_out_and_no_bounds_of_ids(environment: Environment) -> None:
    rows = outcomes(["gone", "here", "here"])
    coded = rows.set_column(0, "user_id", rows["user_id"].dictionary_encode()).slice(1)
    path = task_writer(environment, "outcomes", "exp_a", "run").write(0, coded).removeprefix("file://")
    assert b"gone" not in Path(path).read_bytes()
    file = pq.ParquetFile(path, read_dictionary=["user_id"])
    assert file.read()["user_id"].chunks[0].dictionary.to_pylist() == ["here"]
    group = file.metadata.row_group(0)
    bounds = {group.column(i).path_in_schema: group.column(i).is_stats_set for i in range(group.num_columns)}
    assert [name for name, there in bounds.items() if not there] == ["user_id"]


@pytest.mark.parametrize("name", TABLES)
def test_all_columns_but_ids_have_statistics_or_every_commit_would_warn(
    name: str, environment: Environment
) -> None:
    columns = {field.name: None for field in arrow_schema(name)}
    rows = pa.Table.from_pylist([columns], pa.schema([f.with_nullable(True) for f in arrow_schema(name)]))
    path = task_writer(environment, name, "exp_a", "run").write(0, rows).removeprefix("file://")
    group = pq.ParquetFile(path).metadata.row_group(0)
    found = [group.column(i) for i in range(group.num_columns)]
    assert {c.path_in_schema for c in found if not c.is_stats_set} <= {"user_id"}


def test_a_buckets_files_are_read_in_the_order_in_which_runs_wrote_them(environment: Environment) -> None:
    """So that users stand where they stood, whatever the order in which the table lists its files."""
    catalog, paths = open_catalog(environment), []
    for run in ("20260302T05", "20260303T05", "20260304T05"):
        writer = task_writer(environment, "outcomes", LONG_ID, run)
        paths.append(writer.write(0, outcomes([f"of {run}"])))
        snapshot = replace_files(catalog, "outcomes", LONG_ID, reversed(paths), run)
    files = plan_buckets(environment, "outcomes", LONG_ID, snapshot, ("user_id",))[0]
    assert files.names == tuple(paths)
    assert files.read()["user_id"].to_pylist() == ["of 20260302T05", "of 20260303T05", "of 20260304T05"]
