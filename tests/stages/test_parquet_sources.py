"""Parquet files: old types, and one line for what is damaged, ambiguous or no Parquet."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pyarrow as pa
import pytest

from exp_platform.config.environment import Environment
from exp_platform.stages.shards import read_and_split
from stages.plans import planned, problems, rows_of, told_when_read
from stages.raw_data import (
    deliver,
    events_experiment,
    exposures,
    units,
    units_experiment,
    write_parquet,
)


def test_the_old_timestamp_type_is_utc(tmp_path: Path, environment: Environment) -> None:
    """Spark and Hive write instants as INT96, which says nothing of a zone; the experiment's is Berlin."""
    deliver(tmp_path)
    naive = [at.replace(tzinfo=None) for at in exposures()["seen"]]
    for old in (True, False):
        write_parquet(
            tmp_path / "exposures" / "part.parquet",
            {**exposures(), "seen": naive},
            use_deprecated_int96_timestamps=old,
        )
        plan = planned(events_experiment(tmp_path), environment)
        kind = rows_of(plan, "exposures").schema.field("exposed_at").type
        assert (kind.tz == "UTC") is old
    assert rows_of(plan, "exposures")["exposed_at"][0].as_py().replace(tzinfo=UTC) == exposures()["seen"][0]


def test_a_damaged_file_is_a_problem_of_its_piece(tmp_path: Path, environment: Environment) -> None:
    deliver(tmp_path)
    path = tmp_path / "exposures" / "part.parquet"
    content = bytearray(path.read_bytes())
    content[8:200] = b"\x00" * 192
    path.write_bytes(content)
    plan = planned(events_experiment(tmp_path), environment)
    shards = [shard for _, shard in read_and_split(enumerate(plan.pieces), 1)]
    (broken,) = [shard for shard in shards if shard.problem]
    assert broken.table == "exposures"
    assert str(path) in str(broken.problem)


def test_a_parquet_column_that_is_read_stands_once(tmp_path: Path, environment: Environment) -> None:
    import pyarrow.parquet as pq

    rows = pa.table(units(6))
    twice = pa.table([*rows.columns, rows["spent"]], names=[*rows.column_names, "spent"])
    pq.write_table(twice, tmp_path / "u.parquet")
    ((check, message),) = problems(units_experiment(tmp_path / "u.parquet", "parquet"), environment)
    assert check == "schema"
    assert "u.parquet has 2 columns spent (for outcome.spent): which one is meant cannot be told" in message

    # Not read: no harm. Nor is a field of a struct a column, whatever its name.
    inner = pa.array([{"spent": "9"}] * 6)
    unread = [*rows.columns, rows["spent"], rows["arm"], rows["arm"], inner]
    names_ = [*rows.column_names, "Spent", "unread", "unread", "inner"]
    pq.write_table(pa.table(unread, names=names_), tmp_path / "u.parquet")
    plan = planned(units_experiment(tmp_path / "u.parquet", "parquet"), environment)
    assert rows_of(plan, "units")["outcome.spent"].to_pylist() == units(6)["spent"]


def test_a_damaged_page_is_found_by_its_checksum(tmp_path: Path, environment: Environment) -> None:
    """A flipped bit in numbers that are stored plainly still reads as numbers."""
    path = tmp_path / "exposures" / "part.parquet"
    deliver(tmp_path)
    plain = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    write_parquet(path, exposures(), **plain)
    content = bytearray(path.read_bytes())
    content[content.index(b"user 77")] ^= 2
    path.write_bytes(content)
    assert "part.parquet cannot be read" in told_when_read(planned(events_experiment(tmp_path), environment))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"arm,visited\nA,1\n", "it is no Parquet file"),
        (b"", "it is no Parquet file"),
        (b"PAR1" + bytes(60) + b"PARE", "encrypted Parquet is not read"),
        (b"PAR1" + bytes(60) + b"\xff\xff\xff\x7fPAR1", "write it again"),
        (b"PAR1" + bytes(60) + b"\x10\x00\x00\x00PAR1", "write it again"),
    ],
)
def test_what_is_no_parquet_file_is_one_line(
    tmp_path: Path, environment: Environment, content: bytes, told: str
) -> None:
    (tmp_path / "u.parquet").write_bytes(content)
    ((check, message),) = problems(units_experiment(tmp_path / "u.parquet", "parquet"), environment)
    assert check == "source"
    assert told in message
    assert "\n" not in message


def test_a_parquet_file_without_row_groups_has_no_rows(tmp_path: Path, environment: Environment) -> None:
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in units(1)])
    pq.ParquetWriter(tmp_path / "u.parquet", schema).close()
    assert planned(units_experiment(tmp_path / "u.parquet", "parquet"), environment).pieces == ()


def test_a_damaged_name_in_a_footer_is_one_line(tmp_path: Path, environment: Environment) -> None:
    path = write_parquet(tmp_path / "u.parquet", units(6))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"channel", b"\xc1hannel"))
    ((check, message),) = problems(units_experiment(path, "parquet"), environment)
    assert (check, "u.parquet cannot be read: " in message) == ("source", True)


def test_encrypted_parquet_is_refused_with_the_remedy(tmp_path: Path, environment: Environment) -> None:
    """Columns encrypted under a footer that is not: only reading them tells."""
    import base64

    import pyarrow.parquet as pq
    import pyarrow.parquet.encryption as pe

    class Keys(pe.KmsClient):
        def wrap_key(self, key: bytes, _name: str) -> bytes:
            return base64.b64encode(key)

        def unwrap_key(self, key: bytes, _name: str) -> bytes:
            return base64.b64decode(key)

    config = pe.EncryptionConfiguration(
        footer_key="footer", column_keys={"columns": ["arm", "spent"]}, plaintext_footer=True
    )
    factory, rows = pe.CryptoFactory(lambda _: Keys()), pa.table(units(6))
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), config)
    with pq.ParquetWriter(tmp_path / "u.parquet", rows.schema, encryption_properties=properties) as writer:
        writer.write_table(rows)
    told = told_when_read(planned(units_experiment(tmp_path / "u.parquet", "parquet"), environment))
    assert told.endswith("encrypted Parquet is not read: write it without encryption")


def test_names_are_dictionaries_where_they_are_few_and_ids_never(
    tmp_path: Path, environment: Environment
) -> None:
    deliver(tmp_path)
    few = rows_of(planned(events_experiment(tmp_path), environment), "exposures")
    assert pa.types.is_dictionary(few.schema.field("variant_id").type)
    assert few.schema.field("user_id").type == pa.string()

    many = {**exposures(300), "arm": [f"arm {i}" for i in range(300)]}
    write_parquet(tmp_path / "exposures" / "part.parquet", many)
    found = rows_of(planned(events_experiment(tmp_path), environment), "exposures")
    assert found["variant_id"].to_pylist() == many["arm"]
    assert found.schema.field("variant_id").type == pa.string()
