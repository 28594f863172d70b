"""States that other versions of the platform stored are read, run on, kept and repaired by this one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from end_to_end.installation import Installation, run_of
from exp_platform.cli import main as exp
from exp_platform.config.environment import Environment
from exp_platform.doctor import stored
from exp_platform.doctor.finding import Finding
from exp_platform.results.reader import Results
from exp_platform.tables.backup import backup
from exp_platform.tables.catalog import existing_catalog, open_catalog, table
from exp_platform.tables.maintenance import maintain
from exp_platform.tables.repair import repair
from exp_platform.tables.schemas import NAMESPACE, RESULT_TABLES, TABLES
from states.make import SPECS
from states.stored import unpack
from tables.lost_state import forget_connections, lose_the_catalog

# The first version that carried out whole runs; one of the day of this test
FIRST, LATEST = "2026_11_22", "2026_11_29"
READ = date(2026, 1, 11)  # the last day of exp_ended


def installed(version: str, folder: Path) -> Installation:
    """An installation of today with the state that a version left."""
    made = Installation(folder)
    unpack(version, folder)
    made.entries(**yaml.safe_load(SPECS)["experiments"])
    return made


@pytest.fixture(scope="module", params=[FIRST, LATEST])
def older(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return installed(request.param, tmp_path_factory.mktemp("older"))


def faults_of(environment: Environment) -> list[Finding]:
    return [finding for finding in stored.tables(environment) if finding.state == "fault"]


def content(folder: Path) -> dict[Path, bytes]:
    """All files but those that SQLite has beside a database that is open."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("catalog.db-")
    }


def rows(made: Installation, *names: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of tables, of results those that count, in an order of their own; what a column of today's lacks is null."""
    catalog = existing_catalog(made.environment)
    assert catalog is not None
    lying = {
        name: [
            dict.fromkeys(column for column, _ in TABLES[name].columns) | row
            for row in table(catalog, name).scan().to_arrow().to_pylist()
        ]
        for name in {*names, "decisions"}
        if catalog.table_exists((NAMESPACE, name))
    }
    counts = {run_of(row) for row in lying["decisions"]}
    return {
        name: [row for row in lying[name] if name not in RESULT_TABLES or run_of(row) in counts]
        for name in names
        if name in lying
    }


def test_what_an_older_version_stored_is_read_and_nothing_is_written(older: Installation) -> None:
    before = content(older.state)
    listed = older.call(exp, "list")
    assert (listed.code, listed.err) == (0, "")
    assert [line.split("│")[-2].strip() for line in listed.out.splitlines() if "exp_" in line] == [
        "treatment, ship",
        "inconclusive, extend",
    ]
    said = older.call(exp, "results", "exp_ended", "--json")
    then, now = json.loads((older.state / "memos" / "exp_ended.json").read_text()), json.loads(said.out)
    for key in ("winner", "action", "lift", "confidence", "final"):
        assert now[key] == then[key], key
    told = {row["metric_id"]: row["estimate"] for row in now["metrics"]}
    assert told == {row["metric_id"]: row["estimate"] for row in then["metrics"]}
    memo = older.call(exp, "memo", "exp_ended")
    assert memo.out.splitlines()[0] == (older.state / "memos" / "exp_ended.md").read_text().splitlines()[0]
    assert faults_of(older.environment) == []
    assert content(older.state) == before


def test_the_next_day_is_run_upon_it_and_every_row_that_counts_stays(older: Installation) -> None:
    kept = (*RESULT_TABLES, "decisions")
    before = rows(older, *kept)
    older.run("exp_running", as_of_dates=[date(2026, 1, 10)])
    after = rows(older, *TABLES)
    for name in TABLES:
        columns = {column for column, _ in TABLES[name].columns}
        assert columns <= set(table(open_catalog(older.environment), name).schema().column_names), name
    for name, kept_rows in before.items():
        assert [row for row in kept_rows if row not in after[name]] == [], name
    days = [d.as_of_date for d in Results(older.environment).decisions("exp_running")]
    assert days == [date(2026, 1, 8), date(2026, 1, 9), date(2026, 1, 10)]


def test_a_test_that_an_older_version_read_is_not_read_again(older: Installation) -> None:
    (then,) = [d for d in Results(older.environment).decisions("exp_ended") if d.as_of_date == READ]
    older.run("exp_ended", as_of_dates=[READ], force=True)
    (now,) = [d for d in Results(older.environment).decisions("exp_ended") if d.as_of_date == READ]
    assert now.run_id != then.run_id
    read = now.decision.memory.final
    assert read is not None
    assert (read.as_of_date, read.read_on, read.data) == (
        READ,
        then.computed_at.date(),
        then.input_fingerprint,
    )
    edited = [reason.text for reason in now.decision.reasons if reason.code == "SPEC_CHANGED"]
    assert all("(the platform was upgraded too, and may have other defaults)" in text for text in edited)


def test_it_is_maintained_backed_up_and_repaired(older: Installation, tmp_path: Path) -> None:
    names = (*RESULT_TABLES, "decisions")
    before = {name: sorted(map(str, found)) for name, found in rows(older, *names).items()}
    for days in (4, 8):
        maintain(older.environment, now=datetime.now(UTC) + timedelta(days=days))
    assert faults_of(older.environment) == []
    backup(older.environment, tmp_path / "backup.db")
    lose_the_catalog(older.environment)
    repair(older.environment)
    forget_connections()
    # Of tables that the older version had: the others are there since, and empty
    assert {name: sorted(map(str, found)) for name, found in rows(older, *before).items()} == before
    assert faults_of(older.environment) == []


@pytest.fixture
def newer(tmp_path: Path) -> Iterator[Installation]:
    """A state that a version of tomorrow has written to: it has another column, and says so as each version does."""
    made = installed(LATEST, tmp_path)
    catalog = open_catalog(made.environment)
    from pyiceberg.types import StringType

    for name in ("decisions", "analysis_results"):
        with table(catalog, name).update_schema() as change:
            change.add_column("of_tomorrow", StringType())
    catalog.update_namespace_properties(NAMESPACE, updates={"exp-platform.definitions": "of tomorrow"})
    forget_connections()
    yield made
    forget_connections()


def test_a_state_of_a_newer_version_is_read_and_not_written(newer: Installation) -> None:
    before = content(newer.state)
    assert "treatment, ship" in newer.call(exp, "list").out
    assert newer.call(exp, "results", "exp_ended").code == 0
    for command in (("run", "exp_running"), ("maintain",), ("delete", "exp_ended", "--yes")):
        said = newer.call(exp, *command)
        assert said.code == 1
        assert "a newer version of the platform wrote the stored state" in said.err
        assert "analysis_results (of_tomorrow); decisions (of_tomorrow)" in said.err
    changed = {path for path, now in content(newer.state).items() if before.get(path) != now}
    assert {path.name for path in changed} <= {"catalog.db"}  # a lease was taken, and given back
