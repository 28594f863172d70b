from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField, StringType

from exp_platform.config.environment import Environment, load_environment
from exp_platform.errors import ConfigError
from exp_platform.results.reader import Results
from exp_platform.tables import catalog as catalogs
from exp_platform.tables.catalog import existing_catalog, open_catalog, table
from exp_platform.tables.schemas import NAMESPACE, RETIRED, TABLES

PROMISED = {  # what users of the original platform count, and design's own tables
    "exposures",
    "outcomes",
    "outcomes_aside",
    "outcomes_seen",
    "ingested_files",
    "unit_days",
    "experiment_registry",
    "data_quality_results",
    "metric_aggregates_daily",
    "metric_aggregates_overall",
    "analysis_results",
    "did_results",
    "did_event_study",
    "did_sensitivity",
    "did_pretrend_delta",
    "did_pretrend_tests",
    "sample_sizes",
    "late_days",
    "decisions",
    "forgotten_users",
}


def test_every_promised_table_is_there_after_the_first_opening(environment: Environment) -> None:
    assert existing_catalog(environment) is None
    assert not environment.state_dir.exists()  # looking has made nothing
    opened = open_catalog(environment)
    existing = existing_catalog(environment)
    assert existing is not None
    assert existing.list_tables(NAMESPACE) == opened.list_tables(NAMESPACE)
    assert {name for _, name in opened.list_tables(NAMESPACE)} == PROMISED == TABLES.keys()


@pytest.mark.parametrize(
    "name, partitions",
    [
        ("exposures", ["experiment_id", "bucket"]),
        ("unit_days", ["experiment_id", "bucket"]),
        ("decisions", ["experiment_id"]),
    ],
)
def test_partitions_are_identities(environment: Environment, name: str, partitions: list[str]) -> None:
    spec = table(open_catalog(environment), name).spec()
    assert [field.name for field in spec.fields] == partitions
    assert {str(field.transform) for field in spec.fields} == {"identity"}


def test_a_column_and_a_property_that_an_older_table_lacks_are_added(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RETIRED, "decisions", frozenset({"retired_column"}))
    environment.prepare()
    older = catalogs.load_catalog("iceberg", **environment.pyiceberg_properties())
    older.create_namespace(NAMESPACE)
    older.create_table(
        (NAMESPACE, "decisions"),
        Schema(
            NestedField(1, "experiment_id", StringType(), required=False),
            NestedField(2, "retired_column", StringType(), required=False),
        ),
    )
    older.load_table((NAMESPACE, "decisions")).append(
        pa.table({"experiment_id": ["a"], "retired_column": ["kept"]})
    )
    now = table(open_catalog(environment), "decisions")
    assert set(now.schema().column_names) == set(TABLES["decisions"].arrow_schema.names) | {"retired_column"}
    assert now.properties["commit.retry.num-retries"] == "0"
    assert now.scan(selected_fields=("retired_column", "winner")).to_arrow().to_pylist() == [
        {"retired_column": "kept", "winner": None}
    ]


def test_a_registry_that_an_older_version_wrote_is_read_before_and_after_it_gets_its_column(
    environment: Environment,
) -> None:
    environment.prepare()
    older = catalogs.load_catalog("iceberg", **environment.pyiceberg_properties())
    older.create_namespace(NAMESPACE)
    now = TABLES["experiment_registry"].arrow_schema
    then = pa.schema([field for field in now if field.name != "watermarks"])
    older.create_table((NAMESPACE, "experiment_registry"), then).append(
        pa.Table.from_pylist([{"experiment_id": "a", "run_id": "r"}], then)
    )
    before = Results(environment).registered("a")
    assert before is not None
    assert before["run_id"] == "r"
    assert before.get("watermarks") is None
    open_catalog(environment)
    assert Results(environment).registered("a") == before | {"watermarks": None}


def test_two_processes_at_the_first_start_both_get_all_tables(
    environment: Environment, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    code = (
        "import pathlib, time\n"
        "from exp_platform.tables.catalog import open_catalog, table\n"
        "from exp_platform.tables.schemas import TABLES\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.001)\n"
        "catalog = open_catalog()\n"
        "print(sum(1 for name in TABLES if table(catalog, name)))\n"
    )
    starters = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    time.sleep(2)  # let all of them import first, so that they really meet
    go.touch()
    assert [starter.communicate(timeout=60)[0].strip() for starter in starters] == [str(len(PROMISED))] * 3
    assert all(starter.returncode == 0 for starter in starters)


def test_opening_an_existing_catalog_writes_nothing(environment: Environment) -> None:
    open_catalog(environment)
    catalogs._open.cache_clear()
    warehouse = Path(environment.warehouse.removeprefix("file://"))
    before = sorted(warehouse.rglob("*"))
    open_catalog(environment)
    assert sorted(warehouse.rglob("*")) == before


def test_a_state_folder_that_cannot_be_made_is_told_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / "file" / "state"))
    with pytest.raises(ConfigError, match=r"cannot be made .*a file lies there or above, move it away"):
        load_environment("embedded").prepare()
