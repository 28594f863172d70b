"""A source that is an Iceberg table: its rows as they stand, and one line for what cannot be read of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import TableSource
from exp_platform.stages.fingerprint import input_fingerprint
from exp_platform.stages.shards import read_and_split
from exp_platform.stages.sources import plan_reading
from stages.plans import planned, problems, rows_of
from stages.raw_data import (
    units,
    units_experiment,
)


def test_iceberg_tables_are_read_without_their_deleted_rows(environment: Environment) -> None:
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


def mailing(environment: Environment) -> Experiment:
    """A units experiment on the Iceberg table crm.mailing, which is made here with three rows in one file."""
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


def test_a_table_of_another_catalog_is_read_and_its_changes_are_seen(
    environment: Environment, tmp_path: Path
) -> None:
    """The other catalog is as its own tools made it; nothing of the platform's is put into it."""
    from pyiceberg.catalog import load_catalog

    from exp_platform.config.database import CatalogSettings

    uri = str(tmp_path / "other.db")
    other = load_catalog("crm", type="sql", uri=f"sqlite:///{uri}", warehouse=f"file://{tmp_path}/crm")
    other.create_namespace("lake")
    rows = pa.table({c: v[:3] for c, v in units(50).items()})
    table = other.create_table("lake.mailing", schema=rows.schema)
    table.append(rows)
    both = environment.model_copy(update={"catalogs": {"crm": CatalogSettings(kind="sqlite", uri=uri)}})
    experiment = units_experiment(Path("unused"))
    named = TableSource("iceberg", "crm.lake.mailing", {"variant_id": "arm"})
    experiment = replace(experiment, source=replace(experiment.source, table=named))
    assert rows_of(planned(experiment, both), "units")["variant_id"].to_pylist() == ["A", "B", "A"]
    assert problems(experiment, environment)[0][0] == "source"  # where it is not named, there is none

    before = input_fingerprint(experiment, both, generate_synth=False)
    assert input_fingerprint(experiment, both, generate_synth=False) == before
    table.append(rows)
    assert input_fingerprint(experiment, both, generate_synth=False) != before
    assert other.list_namespaces() == [("lake",)]
