"""A catalog on Postgres is backed up and brought back by Postgres' own programs, its own tables and no others."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import InternalError

from cluster import postgres
from cluster.postgres import Postgres
from exp_platform.config.database import CatalogSettings
from exp_platform.config.environment import Environment
from exp_platform.doctor import stored
from exp_platform.errors import ConfigError, LeaseError
from exp_platform.tables.backup import backup, restore
from exp_platform.tables.catalog import open_catalog
from exp_platform.tables.lease import Lease, holder_of
from exp_platform.tables.repair import repair
from exp_platform.tables.standing import entries, reading
from stages.frozen_runs import D3


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if postgres.programs() is None or shutil.which("pg_dump") is None:
        pytest.skip("Postgres is not installed: apt-get install postgresql, or brew install postgresql")
    made = Postgres()
    made.server.start()
    yield made
    made.close()


@pytest.fixture
def on_postgres(environment: Environment, server: Postgres, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """The embedded environment with its catalog on Postgres, in a database that another table lives in too."""
    name, password = f"catalog_{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    server.make_user(name, password)
    server.make_database(name, name)
    monkeypatch.setenv("CATALOG_PASSWORD", password)
    settings = CatalogSettings(
        kind="postgres",
        uri=f"postgresql://{server.address}/{name}",
        user=name,
        password_env="CATALOG_PASSWORD",
    )
    _execute(settings, "CREATE TABLE neighbour (x INT)")
    return environment.model_copy(update={"catalog": settings})


def _execute(settings: CatalogSettings, statement: str) -> list[tuple[object, ...]]:
    engine = create_engine(settings.sqlalchemy_uri)
    with engine.begin() as connection:
        found = connection.execute(text(statement))
        rows = [tuple(row) for row in found] if found.returns_rows else []
    engine.dispose()
    return rows


def test_an_older_dump_comes_back_and_repair_brings_it_forward(
    on_postgres: Environment, tmp_path: Path
) -> None:
    # A run's stages load their environment by name, so commits are made here as `decision` makes them.
    then = _committed(on_postgres, "r1")
    told = backup(on_postgres, tmp_path / "then")
    assert "bytes" in told[0]
    now = _committed(on_postgres, "r2")
    _execute(on_postgres.catalog, "INSERT INTO neighbour VALUES (1)")
    told = restore(on_postgres, tmp_path / "then")
    assert any(line.startswith("decisions: older than") for line in told)
    assert _entry(on_postgres) == then
    assert _execute(on_postgres.catalog, "SELECT x FROM neighbour") == [(1,)]
    repair(on_postgres, forward=True)
    assert _entry(on_postgres) == now


def test_the_doctor_reads_a_catalog_on_postgres(on_postgres: Environment) -> None:
    _committed(on_postgres, "r1")
    Lease("exp_a", "a run", on_postgres).acquire()
    findings = [
        stored.catalog(on_postgres),
        *stored.standing_leases(on_postgres),
        *stored.tables(on_postgres),
    ]
    assert [finding.line for finding in findings if finding.state != "ok"] == []
    assert any("exp_a is held by a run" in finding.found for finding in findings)
    with reading(on_postgres.catalog) as connection:
        assert connection is not None
        with pytest.raises(InternalError, match="read-only"):
            connection.execute(text("DELETE FROM exp_leases"))


def _committed(environment: Environment, run_id: str) -> str:
    from exp_platform.tables.write import replace_rows

    key = {"experiment_id": "exp_a"}
    replace_rows(
        open_catalog(environment), "decisions", key, [{**key, "as_of_date": D3, "run_id": run_id}], run_id
    )
    return _entry(environment)


def _entry(environment: Environment) -> str:
    return entries(environment)["decisions"]


def test_no_restore_under_a_run_and_no_token_twice(on_postgres: Environment, tmp_path: Path) -> None:
    open_catalog(on_postgres)
    lease = Lease("exp_a", "a run", on_postgres)
    lease.acquire()
    backup(on_postgres, tmp_path / "then")
    tokens = [lease.claim() for _ in range(3)]
    with pytest.raises(LeaseError, match="exp_a by a run"):
        restore(on_postgres, tmp_path / "then")
    lease.release()
    restore(on_postgres, tmp_path / "then")
    assert holder_of(on_postgres, "exp_a") is None
    lease.acquire()
    assert lease.claim() > max(tokens)


def test_what_is_no_dump_of_this_catalog_changes_nothing(on_postgres: Environment, tmp_path: Path) -> None:
    open_catalog(on_postgres)
    (tmp_path / "text").write_text("no dump")
    with pytest.raises(ConfigError, match="no dump of pg_dump"):
        restore(on_postgres, tmp_path / "text")
    backup(on_postgres, tmp_path / "then")
    with pytest.raises(ConfigError, match="the dump of another catalog"):
        restore(on_postgres.model_copy(update={"warehouse": "file:///elsewhere"}), tmp_path / "then")


def test_without_postgres_programs_the_command_is_told(
    on_postgres: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"pg_dump is not installed here.*--table=exp_leases") as said:
        backup(on_postgres, tmp_path / "then")
    password = on_postgres.catalog.password
    assert password is not None
    assert password not in str(said.value)
