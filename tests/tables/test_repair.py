"""A lost catalog costs nothing: no table is made anew over its own files, and each is registered again."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exp_platform.config.environment import Environment
from exp_platform.errors import ConfigError, DataError, LeaseError
from exp_platform.results.reader import Results
from exp_platform.tables import catalog as catalogs
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.lease import Lease
from exp_platform.tables.maintenance import maintain
from exp_platform.tables.repair import repair
from exp_platform.tables.schemas import NAMESPACE, TABLES
from stages.frozen_runs import D1, D3, a_run, an_experiment, carry_out
from tables.lost_state import (
    bring_back_the_catalog,
    copy_the_catalog,
    forget_connections,
    lose_the_catalog,
    metadata_files,
)

pytestmark = pytest.mark.e2e  # commit after commit, or Spark: longer than a unit test may take


def rows(environment: Environment) -> dict[str, list[str]]:
    catalog = open_catalog(environment)
    return {name: sorted(map(str, table(catalog, name).scan().to_arrow().to_pylist())) for name in TABLES}


def files(environment: Environment) -> list[Path]:
    return sorted(
        path for path in Path(environment.warehouse.removeprefix("file://")).rglob("*") if path.is_file()
    )


@pytest.fixture
def stored(environment: Environment) -> Environment:
    """Runs of two experiments, and their catalog."""
    carry_out(a_run(environment, "r1", (D1, D3)))
    carry_out(a_run(environment, "r2", of=an_experiment("exp_b")))
    return environment


def test_a_lost_catalog_is_not_made_anew_over_the_files_of_its_tables(stored: Environment) -> None:
    before = files(stored)
    lose_the_catalog(stored)
    for attempt in (
        lambda: open_catalog(stored),
        lambda: maintain(stored, now=datetime.now(UTC) + timedelta(days=9)),
        lambda: Results(stored).decisions("exp_a"),
    ):
        with pytest.raises(
            ConfigError, match=r"does not know .*decisions.*`exp repair`.*`exp restore"
        ) as said:
            attempt()
        assert "\n" not in str(said.value)
        assert f"{stored.warehouse}/{NAMESPACE}" in str(said.value)
    assert files(stored) == before


def test_repair_brings_every_row_of_every_table_back(stored: Environment) -> None:
    before = rows(stored)
    lose_the_catalog(stored)
    told = repair(stored)
    assert len(told) == len(TABLES)
    assert all("is registered: written 20" in line for line in told)
    forget_connections()
    assert rows(stored) == before
    carry_out(a_run(stored, "r4", (D3,)))  # and life goes on
    assert [d.run_id for d in Results(stored).decisions("exp_a")] == ["r1", "r4"]
    assert {line.partition(": ")[2] for line in repair(stored)} == {
        "the catalog's entry works and is the newest; left as it is"
    }


def test_the_newest_is_told_by_what_the_files_say_not_by_their_times(stored: Environment) -> None:
    before = rows(stored)
    oldest = metadata_files(stored, "decisions")[0]
    long_hence = (datetime.now(UTC) + timedelta(days=99)).timestamp()
    os.utime(oldest, (long_hence, long_hence))
    lose_the_catalog(stored)
    repair(stored)
    forget_connections()
    assert rows(stored) == before


def test_an_entry_whose_file_is_missing_is_replaced_by_the_newest_that_is_there(stored: Environment) -> None:
    *_, before_last, last = metadata_files(stored, "decisions")
    last.unlink()
    forget_connections()
    told = [line for line in repair(stored) if "decisions" in line]
    assert len(told) == 1
    assert before_last.name in told[0]
    assert f"instead of file://{last}, which is missing or cut" in told[0]
    assert len(Results(stored).decisions("exp_a")) == 2  # exp_b's, the last commit, went with the file


def test_a_cut_metadata_file_is_told_and_the_newest_whole_one_taken(stored: Environment) -> None:
    *_, before_last, last = metadata_files(stored, "decisions")
    last.write_bytes(last.read_bytes()[:200])
    lose_the_catalog(stored)
    told = [line for line in repair(stored) if line.startswith("decisions")]
    assert any(f"file://{last} cannot be read, it is cut or corrupt" in line for line in told)
    assert any(before_last.name in line and "is registered" in line for line in told)


def test_metadata_whose_manifests_are_gone_are_passed_over_with_a_word(stored: Environment) -> None:
    current = table(open_catalog(stored), "decisions")
    snapshot = current.current_snapshot()
    assert snapshot is not None
    Path(snapshot.manifest_list.removeprefix("file://")).unlink()
    lose_the_catalog(stored)
    told = [line for line in repair(stored) if line.startswith("decisions")]
    assert any("names manifests that cannot be read" in line for line in told)
    assert any("is registered" in line and current.metadata_location not in line for line in told)


def test_an_entry_that_works_is_moved_forward_on_demand_only(stored: Environment, tmp_path: Path) -> None:
    Results(stored)
    copy_the_catalog(stored, tmp_path / "then")
    carry_out(a_run(stored, "r5", (D3,)))
    now = rows(stored)
    bring_back_the_catalog(stored, tmp_path / "then")
    told = [line for line in repair(stored) if line.startswith("decisions")]
    assert len(told) == 1
    assert "left as it is, the catalog's entry works" in told[0]
    assert "`exp repair --forward` takes it" in told[0]
    assert rows(stored) != now
    assert any("is registered instead of" in line for line in repair(stored, forward=True))
    forget_connections()
    assert rows(stored) == now


def test_snapshots_that_have_expired_since_an_older_catalog_are_no_other_history(
    stored: Environment, tmp_path: Path
) -> None:
    copy_the_catalog(stored, tmp_path / "then")
    carry_out(a_run(stored, "r5", (D3,)))
    assert maintain(stored, now=datetime.now(UTC) + timedelta(days=4)).expired
    now = rows(stored)
    bring_back_the_catalog(stored, tmp_path / "then")
    told = repair(stored, forward=True)
    assert not any("does not follow from it" in line for line in told), told
    forget_connections()
    assert rows(stored) == now


def test_what_was_written_to_since_an_older_catalog_came_back_is_never_overwritten(
    stored: Environment, tmp_path: Path
) -> None:
    copy_the_catalog(stored, tmp_path / "then")
    for run_id in ("r5", "r6", "r7"):
        carry_out(a_run(stored, run_id, (D3,)))
    bring_back_the_catalog(stored, tmp_path / "then")
    carry_out(a_run(stored, "r8", (D3,)))
    told = [line for line in repair(stored, forward=True) if line.startswith("decisions")]
    assert "does not follow from it" in told[-1]
    assert Results(stored).decisions("exp_a")[-1].run_id == "r8"


def test_tables_that_an_older_version_has_made_anew_give_way_to_the_lost_ones(
    stored: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(stored)
    lose_the_catalog(stored)
    with monkeypatch.context() as older_version:
        older_version.setattr(catalogs, "refuse_lost", lambda *_: None)
        assert not any(rows(stored).values())
    with pytest.raises(DataError, match="decisions was committed to since"):
        maintain(stored, now=datetime.now(UTC) + timedelta(days=9))
    assert any(line.startswith("decisions") and "instead of" in line for line in repair(stored, forward=True))
    forget_connections()
    assert rows(stored) == before


def test_repair_refuses_while_a_run_is_under_way(stored: Environment) -> None:
    lease = Lease("exp_a", "a run", stored)
    lease.acquire()
    with pytest.raises(LeaseError, match=r"exp_a by a run.*exp unlock"):
        repair(stored)


def test_a_first_start_that_was_killed_is_no_lost_catalog(environment: Environment) -> None:
    open_catalog(environment)
    lose_the_catalog(environment)  # each table has one metadata file that names nothing
    assert len(open_catalog(environment).list_tables(NAMESPACE)) == len(TABLES)


def test_a_table_that_held_nothing_is_made_again_where_its_only_metadata_are_cut(
    environment: Environment,
) -> None:
    open_catalog(environment)
    (only,) = metadata_files(environment, "decisions")
    only.write_bytes(only.read_bytes()[:50])
    forget_connections()
    assert any(line == "decisions: held nothing yet; the next run makes it" for line in repair(environment))
    assert table(open_catalog(environment), "decisions").snapshots() == []


def test_where_nothing_lies_nothing_is_repaired(environment: Environment) -> None:
    assert "nothing to repair" in repair(environment)[0]
