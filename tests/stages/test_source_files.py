"""What lies at a location is what its name says: no table format is taken for a folder, no folder for a glob."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem

from exp_platform.config.environment import Environment
from exp_platform.stages.source_files import found_at
from exp_platform.stages.sources import plan_reading
from stages.raw_data import deliver, events_experiment, units, units_experiment, write_csv

UUID = "6f1c2f0e-9a53-4b0b-8f0c-2f1d6f7c1a11"
# What each format leaves in a table's folder, as its own documentation names it.
TABLES = {
    "a Delta table": ("_delta_log/00000000000000000000.json", "part-0.parquet"),
    "a Hudi table": (".hoodie/hoodie.properties", "day=1/part-0.parquet"),
    "an Iceberg table": (f"metadata/00001-{UUID}.metadata.json", "data/day=1/part-0.parquet"),
    "an Iceberg table of a Hadoop catalog": ("metadata/v3.metadata.json", "data/part-0.parquet"),
    "a Paimon table": ("snapshot/snapshot-1", "bucket-0/part-0.parquet"),
    "a table that a Spark stream writes": ("_spark_metadata/0", "part-0.parquet"),
    "a transactional Hive table": ("base_0000002/_metadata_acid", "base_0000002/part-0.parquet"),
}


def table_at(folder: Path, what: str) -> Path:
    sign, data = (folder / name for name in TABLES[what])
    for path in (sign, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return data


def tables(location: Path) -> list[str]:
    return [what for _, what in found_at(str(location), "parquet", LocalFileSystem()).tables]


@pytest.mark.parametrize("what", TABLES)
@pytest.mark.parametrize("named", ["folder", "data file", "folder of the data file", "glob", "folder above"])
def test_a_table_format_is_never_read_as_a_folder_of_files(tmp_path: Path, what: str, named: str) -> None:
    data = table_at(tmp_path / "lake" / "orders", what)
    location = {
        "folder": tmp_path / "lake" / "orders",
        "data file": data,
        "folder of the data file": data.parent,
        "glob": tmp_path / "lake" / "or*" / "**" / "*.parquet",
        "folder above": tmp_path / "lake",
    }[named]
    told = what.removesuffix(" of a Hadoop catalog")
    assert tables(location) == [told]


def test_a_table_beside_the_files_that_are_read_does_no_harm(tmp_path: Path) -> None:
    table_at(tmp_path / "lake" / "orders", "a Delta table")
    (tmp_path / "lake" / "exposures-1.parquet").touch()
    (tmp_path / "lake" / "metadata").mkdir()
    (tmp_path / "lake" / "metadata" / "owners.metadata.json").touch()  # nobody's table
    assert tables(tmp_path / "lake" / "exposures-1.parquet") == []
    assert tables(tmp_path / "lake" / "exposures-*.parquet") == []
    assert tables(tmp_path / "lake" / "absent-*.parquet") == []


@pytest.mark.parametrize("what", ["a Delta table", "an Iceberg table"])
def test_a_table_format_is_refused_with_the_remedy(
    tmp_path: Path, environment: Environment, what: str
) -> None:
    deliver(tmp_path)
    sign = tmp_path / "outcomes" / TABLES[what][0]
    sign.parent.mkdir()
    sign.touch()
    plan = plan_reading(events_experiment(tmp_path), environment)
    (problem,) = plan.problems
    assert problem.message.startswith(f"outcomes: {tmp_path}/outcomes is {what}: its folder also holds files")
    assert plan.rows("outcomes") == 0
    assert "`table`" in problem.message


def names(folder: Path, pattern: str) -> list[str]:
    found = found_at(str(folder / pattern), "csv", LocalFileSystem())
    return [str(Path(info.path).relative_to(folder)) for info in found.files]


def test_a_path_that_exists_is_meant_itself_and_no_glob(tmp_path: Path) -> None:
    for name in ("data [old] #1 100%/a.csv", "data o #1 100%/b.csv", "what?.csv", "whats.csv", "x*/y.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path, "data [old] #1 100%") == ["data [old] #1 100%/a.csv"]
    assert names(tmp_path, "data [old] #1 100%/*.csv") == ["data [old] #1 100%/a.csv"]
    assert names(tmp_path, "data [o] #1 100%/*.csv") == ["data o #1 100%/b.csv"]
    assert names(tmp_path, "what?.csv") == ["what?.csv"]
    assert names(tmp_path, "x*") == ["x*/y.csv"]
    assert names(tmp_path, "w*.csv") == ["what?.csv", "whats.csv"]
    assert names(tmp_path, "[!w]*/*.csv") == [
        "data [old] #1 100%/a.csv",
        "data o #1 100%/b.csv",
        "x*/y.csv",
    ]
    for broken in ("[z-a].csv", "a[].csv", "a[!].csv", "a[", "[\\]"):
        assert names(tmp_path, broken) == []


def test_in_a_folder_named_like_a_file_only_data_are_data(tmp_path: Path) -> None:
    """Spark and Hadoop name folders so; a note in one is no row."""
    for name in ("units.csv/part-0.csv", "units.csv/notes.txt", "units.csv/_SUCCESS"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path, "units.csv") == ["units.csv/part-0.csv"]
    assert names(tmp_path, "u*.csv") == ["units.csv/part-0.csv"]


def test_a_file_that_a_link_names_again_does_not_count_twice(
    tmp_path: Path, environment: Environment
) -> None:
    write_csv(tmp_path / "data" / "day=1" / "u.csv", units())
    (tmp_path / "data" / "latest").symlink_to("day=1")
    plan = plan_reading(units_experiment(tmp_path / "data"), environment)
    (problem,) = plan.problems
    assert "are one file under two names: its rows would count twice" in problem.message


def test_a_link_in_a_circle_and_one_that_leads_nowhere_are_told(
    tmp_path: Path, environment: Environment
) -> None:
    write_csv(tmp_path / "data" / "u.csv", units())
    (tmp_path / "data" / "v.csv").symlink_to("nowhere.csv")
    problems = plan_reading(units_experiment(tmp_path / "data"), environment).problems
    assert [
        "v.csv cannot be read: it is no file" in p.message and "a link that leads nowhere" in p.message
        for p in problems
    ] == [True]

    write_csv(tmp_path / "circle" / "u.csv", units())
    (tmp_path / "circle" / "back").symlink_to("../circle")
    problems = plan_reading(units_experiment(tmp_path / "circle"), environment).problems
    assert ["/u.csv are one file under two names" in p.message for p in problems] == [True]
