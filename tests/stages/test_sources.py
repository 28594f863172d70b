"""Input is found, checked and cut into pieces without reading a row; a piece reads exactly its own rows."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, date
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow.fs import LocalFileSystem

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.stages import pieces
from exp_platform.stages.pieces import Piece
from exp_platform.stages.shards import read_and_split
from exp_platform.stages.source_files import file_system, found_at
from exp_platform.stages.sources import Plan, plan_reading
from stages.raw_data import (
    changed,
    deliver,
    events_experiment,
    exposures,
    outcomes,
    units,
    units_experiment,
    write_csv,
    write_parquet,
)


def rows_of(plan: Plan, table: str) -> pa.Table:
    parts = [part.rows for piece in plan.pieces if piece.table == table for part in piece.parts()]
    return pa.concat_tables(parts)


def planned(experiment: Experiment, environment: Environment) -> Plan:
    plan = plan_reading(experiment, environment)
    assert plan.problems == ()
    return plan


def problems(experiment: Experiment, environment: Environment) -> list[tuple[str, str]]:
    return [(problem.check, problem.message) for problem in plan_reading(experiment, environment).problems]


def names(folder: Path, pattern: str, kind: str = "csv") -> list[str]:
    found = found_at(str(folder / pattern) if pattern else str(folder), kind, LocalFileSystem())
    return [str(Path(info.path).relative_to(folder)) for info in found.files]


def test_a_location_is_a_file_a_folder_or_a_glob(tmp_path: Path) -> None:
    for name in (
        "b.csv",
        "a.csv.gz",
        "_SUCCESS",
        ".b.csv.crc",
        "day=1/c.csv",
        "day=2/d.csv",
        "_tmp/e.csv",
        "f.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path, "") == ["a.csv.gz", "b.csv", "day=1/c.csv", "day=2/d.csv"]
    assert names(tmp_path, "b.csv") == ["b.csv"]
    assert names(tmp_path, "f.txt") == ["f.txt"]  # named, so taken at its word
    assert names(tmp_path, "*.csv") == ["b.csv"]
    assert names(tmp_path, "**/*.csv") == ["b.csv", "day=1/c.csv", "day=2/d.csv"]
    assert names(tmp_path, "day=[13]/*.csv") == ["day=1/c.csv"]
    assert names(tmp_path, "day=*") == ["day=1/c.csv", "day=2/d.csv"]
    assert names(tmp_path, "?.csv") == ["b.csv"]
    assert names(tmp_path, "absent") == []


def test_a_location_in_an_object_store_keeps_every_character_of_its_path(
    environment: Environment, monkeypatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert file_system("s3://lake/day=?/a#b.csv", environment)[1] == "lake/day=?/a#b.csv"


def test_columns_get_our_names(tmp_path: Path, environment: Environment) -> None:
    plan = planned(events_experiment(deliver(tmp_path)), environment)
    assert rows_of(plan, "exposures").column_names == [
        "user_id",
        "variant_id",
        "exposed_at",
        "event_id",
        "attribute.device",
    ]
    assert rows_of(plan, "outcomes")["event_id"].to_pylist() == outcomes()["id"]
    assert (plan.rows("exposures"), plan.rows("outcomes")) == (120, 360)


def test_everything_wrong_with_the_columns_is_told_at_once(tmp_path: Path, environment: Environment) -> None:
    bad = changed({**exposures()}, "seen", lambda i, _: i)
    del bad["arm"]
    deliver(tmp_path, bad, changed(outcomes(), "amount", lambda i, _: [i]))
    found = problems(events_experiment(tmp_path), environment)
    assert [check for check, _ in found] == ["schema"] * 3
    (_, arm), (_, seen), (_, amount) = found
    assert "exposures/part.parquet has no column arm (for variant_id)" in arm
    assert "device, id, seen, uid" in arm
    assert "seen (for exposed_at) is int64, allowed is a timestamp, a date or ISO 8601 text" in seen
    assert "amount (for value) is list" in amount


def test_files_that_are_missing_or_not_what_they_say(tmp_path: Path, environment: Environment) -> None:
    (tmp_path / "exposures").mkdir()
    (tmp_path / "exposures" / "part.parquet").write_text("uid,arm,seen\n")
    (tmp_path / "exposures" / "more.parquet").touch()
    found = problems(events_experiment(tmp_path), environment)
    assert [check for check, _ in found] == ["source"] * 3
    assert "more.parquet cannot be read" in found[0][1]
    assert "part.parquet cannot be read" in found[1][1]
    assert f"outcomes: no parquet file at {tmp_path}/outcomes" in found[2][1]


def test_an_empty_csv_is_no_table(tmp_path: Path, environment: Environment) -> None:
    (tmp_path / "units.csv").touch()
    ((check, message),) = problems(units_experiment(tmp_path / "units.csv"), environment)
    assert check == "source"
    assert "is empty: a CSV file has a first line of column names" in message


def test_a_csv_with_a_header_only_has_columns_and_no_rows(tmp_path: Path, environment: Environment) -> None:
    (tmp_path / "units.csv").write_text("arm,visited,spent,history,channel\n")
    plan = planned(units_experiment(tmp_path / "units.csv"), environment)
    assert len(rows_of(plan, "units")) == 0


def test_a_missing_environment_variable_is_named(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exp_platform.errors import ConfigError

    monkeypatch.delenv("EXP_DATA_DIR", raising=False)
    with pytest.raises(ConfigError, match="EXP_DATA_DIR"):
        plan_reading(units_experiment(Path("${EXP_DATA_DIR}/units.csv")), environment)


def test_raw_data_that_were_not_generated(environment: Environment) -> None:
    from synth.synthetic import synthetic

    found = problems(synthetic(10), environment)
    assert [check for check, _ in found] == ["source", "source"]
    assert "--generate-synth" in found[0][1]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv"])
def test_csv_is_text_with_nulls_quotes_and_broken_lines(
    tmp_path: Path, environment: Environment, ending: str
) -> None:
    lines = [
        "arm,visited,spent,history,channel",
        'A,TRUE,1.5,,"web, mobile"',
        "too,few",
        'B,FALSE,"2",NA,"two\nlines"',
        "A,TRUE,1,2,web,too many",
    ]
    text = "\ufeff" + "\r\n".join(lines).replace(",", "\t" if ending == ".tsv" else ",") + "\n"
    path = tmp_path / f"units{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith(".gz") else text.encode())
    plan = planned(units_experiment(path), environment)
    parts = [part for piece in plan.pieces for part in piece.parts()]
    rows = pa.concat_tables([part.rows for part in parts])
    assert sum(part.bad_rows for part in parts) == 2
    assert rows["variant_id"].to_pylist() == ["A", "B"]
    assert rows["covariate.history"].to_pylist() == [None, "NA"]
    assert rows["attribute.channel"].to_pylist() == [
        "web\t mobile" if ending == ".tsv" else "web, mobile",
        "two\nlines",
    ]


def split_user_ids(plan: Plan, order: slice) -> dict[str, list[str]]:
    """Spent by user id, when the pieces are read in some order."""
    numbered: list[tuple[int, Piece]] = list(enumerate(plan.pieces))[order]
    spent: dict[str, list[str]] = {}
    for _, shard in read_and_split(numbered, 3):
        for row in pa.ipc.open_stream(shard.rows).read_all().to_pylist():
            spent.setdefault(row["user_id"], []).append(row["outcome.spent"])
    return spent


def test_units_without_ids_are_numbered_over_all_files(tmp_path: Path, environment: Environment) -> None:
    rows = units(50)
    for name, cut in (("a.csv", slice(0, 7)), ("b.csv.gz", slice(7, 30)), ("c.csv", slice(30, 50))):
        write_csv(tmp_path / name, {column: values[cut] for column, values in rows.items()})
    expected = {str(i + 1): [spent] for i, spent in enumerate(rows["spent"])}
    plan = planned(units_experiment(tmp_path), environment)
    assert len(plan.pieces) == 3
    assert split_user_ids(plan, slice(None)) == split_user_ids(plan, slice(None, None, -1)) == expected


def test_units_without_ids_are_numbered_over_all_row_groups(
    tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_ROWS", 8)
    write_parquet(tmp_path / "1.parquet", units(31), row_group_size=5)
    write_parquet(tmp_path / "2.parquet", {c: v[31:] for c, v in units(50).items()}, row_group_size=50)
    plan = planned(units_experiment(tmp_path, "parquet"), environment)
    assert [piece.rows for piece in plan.pieces] == [10, 10, 10, 1, 19]
    expected = {str(i + 1): [spent] for i, spent in enumerate(units(50)["spent"])}
    assert split_user_ids(plan, slice(None)) == split_user_ids(plan, slice(None, None, -1)) == expected


def test_a_user_is_in_one_bucket_and_all_buckets_are_used(tmp_path: Path, environment: Environment) -> None:
    plan = planned(events_experiment(deliver(tmp_path)), environment)
    found: dict[str, set[int]] = {}
    for bucket, shard in read_and_split(enumerate(plan.pieces), 4):
        for user in pa.ipc.open_stream(shard.rows).read_all()["user_id"].to_pylist():
            found.setdefault(user, set()).add(bucket)
    assert {len(buckets) for buckets in found.values()} == {1}
    assert set.union(*found.values()) == {0, 1, 2, 3}


def test_ids_of_other_types_meet_in_the_same_bucket(tmp_path: Path, environment: Environment) -> None:
    deliver(
        tmp_path,
        changed(exposures(), "uid", lambda i, _: i),
        changed(outcomes(), "uid", lambda i, _: str(i // 3)),
    )
    plan = planned(events_experiment(tmp_path), environment)
    of_table: dict[str, dict[str, int]] = {"exposures": {}, "outcomes": {}}
    for bucket, shard in read_and_split(enumerate(plan.pieces), 4):
        for user in pa.ipc.open_stream(shard.rows).read_all()["user_id"].to_pylist():
            of_table[shard.table][user] = bucket
    assert of_table["exposures"] == of_table["outcomes"]


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


def test_iceberg_tables_are_read_without_their_deleted_rows(environment: Environment) -> None:
    from exp_platform.config.experiment import TableSource
    from exp_platform.tables.catalog import open_catalog

    catalog = open_catalog(environment)
    catalog.create_namespace("crm")
    rows = pa.table({"arm": ["A", "B", "A"], "visited": [True, False, True], "spent": [1.5, 0.0, 2.0]})
    rows = rows.append_column("history", pa.array([1, None, 3])).append_column(
        "channel", pa.array(["web"] * 3)
    )
    table = catalog.create_table("crm.mailing", schema=rows.schema)
    table.append(rows)
    table.delete("spent == 0.0")
    experiment = units_experiment(Path("unused"))
    source = replace(
        experiment.source, table=TableSource("iceberg", "iceberg.crm.mailing", {"variant_id": "arm"})
    )
    plan = planned(replace(experiment, source=source), environment)
    assert rows_of(plan, "units")["outcome.spent"].to_pylist() == [1.5, 2.0]
    assert plan.rows("units") == 2

    missing = replace(source, table=TableSource("iceberg", "crm.absent", {"variant_id": "arm"}))
    ((check, message),) = problems(replace(experiment, source=missing), environment)
    assert (check, "no table crm.absent" in message) == ("source", True)


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


def test_dates_are_good_times(tmp_path: Path, environment: Environment) -> None:
    deliver(tmp_path, changed(exposures(), "seen", lambda i, _: date(2025, 3, 25)))
    plan = planned(events_experiment(tmp_path), environment)
    assert pa.types.is_date32(rows_of(plan, "exposures").schema.field("exposed_at").type)
    assert rows_of(plan, "exposures")["exposed_at"][0].as_py() == date(2025, 3, 25)


def mailing(environment: Environment) -> Experiment:
    """A units experiment on the Iceberg table crm.mailing, which is made here with three rows in one file."""
    from exp_platform.config.experiment import TableSource
    from exp_platform.tables.catalog import open_catalog

    rows = {c: v[:3] for c, v in units(50).items()}
    catalog = open_catalog(environment)
    catalog.create_namespace("crm")
    catalog.create_table("crm.mailing", schema=pa.table(rows).schema).append(pa.table(rows))
    experiment = units_experiment(Path("unused"))
    table = TableSource("iceberg", "crm.mailing", {"variant_id": "arm"})
    return replace(experiment, source=replace(experiment.source, table=table))


def with_equality_deletes(environment: Environment) -> None:
    """As Flink's upserts leave it: beside the data a delete file of user ids, which PyIceberg cannot apply."""
    from pyiceberg.manifest import (
        DataFile,
        DataFileContent,
        FileFormat,
        ManifestContent,
        ManifestEntry,
        ManifestEntryStatus,
        ManifestWriterV2,
        write_manifest_list,
    )
    from pyiceberg.typedef import Record

    from exp_platform.tables.catalog import open_catalog

    class Deletes(ManifestWriterV2):
        def content(self) -> ManifestContent:
            return ManifestContent.DELETES

    table = open_catalog(environment).load_table("crm.mailing")
    snapshot = table.current_snapshot()
    output = table.io.new_output(f"{table.location()}/metadata/deletes.avro")
    with Deletes(table.spec(), table.schema(), output, snapshot.snapshot_id, "null") as writer:
        deleted = DataFile.from_args(
            content=DataFileContent.EQUALITY_DELETES,
            file_path=f"{table.location()}/data/deletes.parquet",
            file_format=FileFormat.PARQUET,
            partition=Record(),
            record_count=1,
            file_size_in_bytes=100,
            equality_ids=[1],
        )
        entry = ManifestEntry.from_args(
            status=ManifestEntryStatus.ADDED, snapshot_id=snapshot.snapshot_id, data_file=deleted
        )
        writer.add_entry(entry)
    manifests = [*snapshot.manifests(table.io), writer.to_manifest_file()]
    Path(snapshot.manifest_list.removeprefix("file://")).unlink()
    listed = table.io.new_output(snapshot.manifest_list)
    with write_manifest_list(
        2, listed, snapshot.snapshot_id, snapshot.parent_snapshot_id, snapshot.sequence_number, "null"
    ) as into:
        into.add_manifests(manifests)


def test_equality_deletes_are_one_line_with_the_remedy(environment: Environment) -> None:
    """Before the run starts too: the fingerprint asks the same library."""
    from exp_platform.stages.fingerprint import input_fingerprint

    experiment = mailing(environment)
    before = input_fingerprint(experiment, environment, generate_synth=False)
    with_equality_deletes(environment)
    ((check, message),) = problems(experiment, environment)
    assert check == "source"
    assert message.startswith(
        "units: the Iceberg table crm.mailing has equality deletes (Flink writes upserts so)"
    )
    assert "rewrite its data files" in message
    assert input_fingerprint(experiment, environment, generate_synth=False) != before


@pytest.mark.parametrize("lost", ["metadata", "avro", "parquet"])
def test_an_iceberg_table_with_lost_files_is_one_line(environment: Environment, lost: str) -> None:
    from exp_platform.stages.fingerprint import input_fingerprint
    from exp_platform.tables.catalog import open_catalog

    experiment = mailing(environment)
    folder = Path(open_catalog(environment).load_table("crm.mailing").location().removeprefix("file://"))
    for path in folder.rglob({"metadata": "*.json", "avro": "*.avro", "parquet": "*.parquet"}[lost]):
        path.unlink()
    assert input_fingerprint(experiment, environment, generate_synth=False)
    plan = plan_reading(experiment, environment)
    told = [problem.message for problem in plan.problems]
    told += [str(shard.problem) for _, shard in read_and_split(enumerate(plan.pieces), 1) if shard.problem]
    (message,) = told
    assert "the Iceberg table crm.mailing cannot be read" in message
    assert "see that its metadata and data files are all there" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "name", ["mailing", "crm.absent", "nowhere.mailing", "iceberg.crm.absent", "a.b.c", ".", "crm."]
)
def test_a_table_name_that_the_catalog_does_not_know_is_one_line(environment: Environment, name: str) -> None:
    experiment = mailing(environment)
    source = replace(experiment.source, table=replace(experiment.source.table, location=name))
    ((check, message),) = problems(replace(experiment, source=source), environment)
    assert check == "source"
    assert name in message
    assert "\n" not in message


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


def told_when_read(plan: Plan) -> str:
    (problem,) = [
        str(shard.problem) for _, shard in read_and_split(enumerate(plan.pieces), 1) if shard.problem
    ]
    return problem


def test_a_file_that_is_replaced_or_deleted_after_the_plan_is_not_read_as_planned(
    tmp_path: Path, environment: Environment
) -> None:
    deliver(tmp_path)
    plan = planned(events_experiment(tmp_path), environment)
    write_parquet(tmp_path / "exposures" / "part.parquet", exposures(7))
    assert "part.parquet cannot be read: it was changed after this run began: run again" in told_when_read(
        plan
    )
    (tmp_path / "exposures" / "part.parquet").unlink()
    assert "it was deleted after this run began: deliver it and run again" in told_when_read(plan)


@pytest.mark.parametrize(
    ("listed", "asked", "same"),
    [
        # as MinIO tells it: a listing, then the file itself
        (1_700_000_000_123_000_000, 1_700_000_000_000_000_000, True),
        (1_700_000_000_123_000_000, 1_700_000_001_000_000_000, False),
        (1_700_000_000_123_000_000, 1_700_000_000_456_000_000, False),  # a disk's own times
        (1_700_000_000_000_000_000, 1_700_000_000_000_000_000, True),
        (None, None, True),
    ],
)
def test_a_store_that_tells_times_finer_in_a_listing_has_changed_no_file(
    listed: int | None, asked: int | None, same: bool
) -> None:
    assert pieces.FileState(7, listed).same(pieces.FileState(7, asked)) is same
    assert not pieces.FileState(7, listed).same(pieces.FileState(8, asked))


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
