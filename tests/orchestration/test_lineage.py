"""The datasets that OpenLineage is told of are named as its specification names them, and are those a stage read and wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config.test_awaited import events, experiment, table
from exp_platform.config.analyses import NAMES
from exp_platform.config.sources import EventsSource
from exp_platform.orchestration.lineage import READS, WRITES, lineage_of
from exp_platform.stages.graph import STAGES
from exp_platform.stages.run import Manifest, Run


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / "state"))


def a_run(source: EventsSource, folder: Path) -> Run:
    return Run("r", experiment(source), (), "embedded", str(folder), "c", "v", "f")


def names(datasets: list) -> list[tuple[str, str]]:
    return [(dataset.namespace, dataset.name) for dataset in datasets]


def test_every_stage_but_the_analyses_and_the_judge_says_what_it_reads_or_writes() -> None:
    assert {*READS, *WRITES} == {stage.name for stage in STAGES} - {*NAMES, "quality"}


@pytest.mark.parametrize(
    ("location", "namespace", "name"),
    [
        ("s3://lake/exports/exposures/", "s3://lake", "exports/exposures"),
        ("s3a://lake/exports/day=*/part-[0-9].parquet", "s3://lake", "exports"),
        ("s3://lake/*.parquet", "s3://lake", "/"),
        ("gs://lake/exports", "gs://lake", "exports"),
        ("file:///data/exports/", "file", "/data/exports"),
        ("/data/exports/*.parquet", "file", "/data/exports"),
        ("/data/a b/x.csv", "file", "/data/a b/x.csv"),
    ],
)
def test_raw_files_are_named_by_store_and_path_without_their_glob(
    tmp_path: Path, location: str, namespace: str, name: str
) -> None:
    run = a_run(events(table(location), table("/o")), tmp_path)
    assert names(lineage_of(run, "ingest", None).inputs) == [(namespace, name), ("file", "/o")]


def test_a_table_of_others_is_named_by_where_it_lies_with_the_snapshot_that_was_read(tmp_path: Path) -> None:
    run = a_run(events(table("iceberg.lake.seen", "iceberg"), table("/o")), tmp_path)
    assert names(lineage_of(run, "ingest", None).inputs) == [("file", "/o")]  # nobody has read it yet
    read = {"iceberg.lake.seen": {"location": "s3://lake/tables/seen", "snapshot": 7}}
    (tmp_path / "ingest.json").write_text(json.dumps({"tables": read}))
    for stage in ("ingest", "publish"):
        seen = lineage_of(run, stage, None).inputs[0]
        assert (seen.namespace, seen.name) == ("s3://lake", "tables/seen")
        assert seen.facets["version"].datasetVersion == "7"
        (symlink,) = seen.facets["symlinks"].identifiers
        assert (symlink.name, symlink.type) == ("lake.seen", "TABLE")
        assert symlink.namespace == f"file://{tmp_path}/state/warehouse"


def test_a_try_that_failed_wrote_nothing_that_counts(tmp_path: Path) -> None:
    run = a_run(events(table("/e"), table("/o")), tmp_path)
    failed = Manifest("r", "x", "publish", 1, "failed", "2026-01-05T00:00:00+00:00", 1.0)
    told = lineage_of(run, "publish", failed)
    assert (names(told.inputs), told.outputs) == ([("file", "/e"), ("file", "/o")], [])
