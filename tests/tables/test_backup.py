"""A backup is whole whoever writes meanwhile, and an older one that comes back loses nothing that lies in the warehouse."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from exp_platform.config.environment import Environment
from exp_platform.errors import ConfigError, LeaseError
from exp_platform.results.reader import Results
from exp_platform.tables.backup import backup, restore
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.lease import Lease, holder_of
from exp_platform.tables.repair import repair
from exp_platform.tables.schemas import TABLES
from exp_platform.tables.selection import selection
from exp_platform.tables.write import delete_rows, replace_rows
from stages.frozen_runs import D3, a_run, an_experiment, carry_out
from tables.lost_state import forget_connections, lose_the_catalog, metadata_files

pytestmark = pytest.mark.e2e  # commit after commit, or Spark: longer than a unit test may take


def newest(environment: Environment, experiment_id: str = "exp_a") -> str | None:
    forget_connections()
    decision = Results(environment).latest_decision(experiment_id)
    return decision and decision.run_id


def test_an_older_backup_comes_back_and_repair_brings_it_forward(
    environment: Environment, tmp_path: Path
) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    backup(environment, tmp_path / "then")
    carry_out(a_run(environment, "r2", (D3,)))
    carry_out(a_run(environment, "r3", of=an_experiment("exp_b")))
    told = restore(environment, tmp_path / "then")
    assert any(line.startswith("decisions: older than") and "`exp repair --forward`" in line for line in told)
    assert (newest(environment), newest(environment, "exp_b")) == ("r1", None)
    repair(environment, forward=True)
    assert (newest(environment), newest(environment, "exp_b")) == ("r2", "r3")


def test_a_backup_replaces_a_lost_and_a_damaged_catalog(environment: Environment, tmp_path: Path) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    backup(environment, tmp_path / "then")
    lose_the_catalog(environment)
    assert restore(environment, tmp_path / "then")[-1] == "every table stands at its newest metadata"
    assert newest(environment) == "r1"
    forget_connections()
    place = Path(environment.catalog.uri)
    place.write_bytes(b"no database " * 1000)
    with pytest.raises(ConfigError, match="is damaged, and a backup of it would be"):
        backup(environment, tmp_path / "now")
    assert any("it was damaged, and lies in" in line for line in restore(environment, tmp_path / "then"))
    assert newest(environment) == "r1"


def test_entries_whose_files_are_gone_by_now_are_told(environment: Environment, tmp_path: Path) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    backup(environment, tmp_path / "then")
    for number in range(25):  # as many commits as metadata files are kept, and more
        row = {"experiment_id": f"exp_{number}", "as_of_date": D3, "run_id": "r"}
        replace_rows(open_catalog(environment), "decisions", {"experiment_id": f"exp_{number}"}, [row], "r")
    assert len(metadata_files(environment, "decisions")) < 25
    told = restore(environment, tmp_path / "then")
    assert any(
        line.startswith("decisions: the backup names") and "`exp repair` takes" in line for line in told
    )
    repair(environment)
    forget_connections()
    assert table(open_catalog(environment), "decisions").scan().to_arrow().num_rows == 26


def test_a_backup_is_of_one_moment_while_others_write(environment: Environment, tmp_path: Path) -> None:
    catalog = open_catalog(environment)
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            key = {"experiment_id": "exp_w"}
            replace_rows(catalog, "decisions", key, [{**key, "as_of_date": D3, "run_id": "w"}], "w")
            delete_rows(catalog, "decisions", selection(key), "w")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(10):
            backup(environment, tmp_path / f"then{number}")
    finally:
        ended.set()
        writer.join()
    for file in sorted(tmp_path.glob("then*")):
        connection = sqlite3.connect(file)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert {name for (name,) in connection.execute("SELECT table_name FROM iceberg_tables")} >= set(
            TABLES
        )
        connection.close()
        assert not file.with_name(f"{file.name}-wal").exists()


def test_nothing_is_restored_under_a_run(environment: Environment, tmp_path: Path) -> None:
    open_catalog(environment)
    backup(environment, tmp_path / "then")
    lease = Lease("exp_a", "a run", environment)
    lease.acquire()
    with pytest.raises(LeaseError, match="exp_a by a run"):
        restore(environment, tmp_path / "then")
    assert holder_of(environment, "exp_a") is not None


def test_a_restored_lease_is_nobodys_and_no_token_comes_a_second_time(
    environment: Environment, tmp_path: Path
) -> None:
    open_catalog(environment)
    lease = Lease("exp_a", "a run", environment, ttl=6 * 3600)
    lease.acquire()
    backup(environment, tmp_path / "then")
    tokens = [lease.claim() for _ in range(5)]
    lease.release()
    restore(environment, tmp_path / "then")
    assert holder_of(environment, "exp_a") is None
    lease.acquire()
    assert lease.claim() > max(tokens)


def test_what_is_no_backup_of_this_catalog_changes_nothing(environment: Environment, tmp_path: Path) -> None:
    open_catalog(environment)
    backup(environment, tmp_path / "then")
    (tmp_path / "text").write_text("no database at all, but long enough to look like one " * 50)
    with pytest.raises(ConfigError, match="SQLite cannot read it"):
        restore(environment, tmp_path / "text")
    with pytest.raises(ConfigError, match="is not there"):
        restore(environment, tmp_path / "nothing")
    with pytest.raises(ConfigError, match="backup of another catalog"):
        restore(environment.model_copy(update={"warehouse": "file:///elsewhere"}), tmp_path / "then")
    with pytest.raises(ConfigError, match="name a new file"):
        backup(environment, tmp_path / "then")
    with pytest.raises(ConfigError, match="is no folder"):
        backup(environment, tmp_path / "no folder" / "then")
