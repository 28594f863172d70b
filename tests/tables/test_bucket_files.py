"""A bucket's files as tasks read them: dictionaries per file, and PyIceberg where a file is not as the table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exp_platform.config.environment import Environment
from exp_platform.tables import files
from exp_platform.tables.catalog import open_catalog
from exp_platform.tables.files import BucketFiles, plan_buckets, task_writer
from exp_platform.tables.schemas import INSTANT, STRINGS
from exp_platform.tables.write import replace_files

COLUMNS = ("user_id", "variant_id", "exposed_at", "attributes")


def rows(users: list[str]) -> pa.Table:
    n = len(users)
    return pa.table(
        {
            "user_id": users,
            "variant_id": pa.array(["control"] * n).dictionary_encode(),
            "exposed_at": pa.array(range(n), INSTANT),
            "event_id": pa.nulls(n, pa.string()),
            "attributes": pa.array([[("device", "phone")]] * n, STRINGS),
        }
    )


def written(environment: Environment, *parts: list[str]) -> BucketFiles:
    writer = task_writer(environment, "exposures", "exp_a", "r1")
    paths = [writer.write(0, rows(users)) for users in parts]
    snapshot = replace_files(open_catalog(environment), "exposures", "exp_a", paths, "r1")
    return plan_buckets(environment, "exposures", "exp_a", snapshot, COLUMNS)[0]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The files that PyIceberg is asked to read."""
    found: list[Any] = []
    scan = files.ArrowScan.to_table

    def to_table(self: Any, tasks: Any) -> pa.Table:
        found.extend(tasks)
        return scan(self, tasks)

    monkeypatch.setattr(files.ArrowScan, "to_table", to_table)
    return found


def test_files_of_the_platform_are_read_without_pyiceberg(environment: Environment, asked: list[Any]) -> None:
    bucket = written(environment, ["a", "b", "a"], ["b", "c"])
    found = bucket.read(("user_id", "variant_id"))
    assert not asked
    assert found.schema.field("user_id").type == pa.dictionary(pa.int32(), pa.string())
    assert sorted(found["user_id"].to_pylist()) == ["a", "a", "b", "b", "c"]
    assert bucket.read().schema.equals(bucket.types)
    assert found.cast(bucket.types).equals(bucket.read())


def test_users_are_written_once(environment: Environment) -> None:
    bucket = written(environment, ["some-user"] * 5000)
    group = pq.ParquetFile(bucket.tasks[0].file.file_path.removeprefix("file://")).metadata.row_group(0)
    column = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert "RLE_DICTIONARY" in column["user_id"].encodings
    assert column["user_id"].total_uncompressed_size < 200


def changed(rows: pa.Table, how: str) -> pa.Table:
    if how == "column absent":
        return rows.drop_columns(["attributes"])
    if how == "another type":
        position = rows.schema.get_field_index("variant_id")
        field = rows.schema.field(position).with_type(pa.large_string())
        return rows.set_column(position, field, rows["variant_id"].cast(pa.large_string()))
    position, other = (rows.schema.get_field_index(name) for name in ("variant_id", "user_id"))
    names = list(rows.column_names)  # renamed the one to the other since
    names[position], names[other] = names[other], names[position]
    return rows.rename_columns(names)


@pytest.mark.parametrize("how", ["column absent", "another type", "names swapped"])
def test_a_file_that_is_not_as_the_table_is_read_by_pyiceberg(
    environment: Environment, asked: list[Any], how: str
) -> None:
    bucket = written(environment, ["a", "b"])
    expected = bucket.read()
    path = bucket.tasks[0].file.file_path.removeprefix("file://")
    pq.write_table(changed(pq.read_table(path, partitioning=None), how), path)
    found = bucket.read(("user_id",)).cast(bucket.types)
    assert len(asked) == 1
    for name in ("user_id", "variant_id", "exposed_at"):
        assert found[name].equals(expected[name])
    assert found["attributes"].null_count == (2 if how == "column absent" else 0)


def test_rows_of_a_file_with_deletes_are_asked_of_pyiceberg(
    environment: Environment, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = written(environment, ["a"])
    monkeypatch.setattr(bucket.tasks[0], "delete_files", {"deletes"})
    monkeypatch.setattr(
        files.ArrowScan, "to_table", lambda _, tasks: asked.extend(tasks) or rows(["b"]).select(COLUMNS)
    )
    assert replace(bucket).read(("user_id",))["user_id"].to_pylist() == ["b"]
    assert len(asked) == 1
