"""Maintenance takes away result rows that count no more, and no others."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from exp_platform.config.analyses import NAMES
from exp_platform.config.environment import Environment
from exp_platform.results.reader import Results
from exp_platform.stages.analyse import rows_path
from exp_platform.tables import superseded
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.maintenance import maintain
from exp_platform.tables.schemas import RESULT_TABLES
from exp_platform.tables.write import replace_rows
from stages.frozen_runs import D1, D3, a_run, an_experiment, carry_out

FILLED = tuple(name for name in RESULT_TABLES if name != "late_days")  # nothing is late in these runs

pytestmark = pytest.mark.e2e  # commit after commit, or Spark: longer than a unit test may take


def lying(environment: Environment, name: str) -> set[tuple[date, str]]:
    """As_of dates and runs of which rows lie in a table."""
    found = table(open_catalog(environment), name).scan().to_arrow().to_pylist()
    return {(row["as_of_date"], row["run_id"]) for row in found}


def all_decided(environment: Environment, *runs: tuple[str, tuple[date, ...]]) -> None:
    for run_id, days in runs:
        carry_out(a_run(environment, run_id, days))


@pytest.fixture
def deletes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables of which superseded rows are looked for in files."""
    looked: list[str] = []
    delete = superseded.delete_rows

    def noting(catalog: Any, name: str, *arguments: Any) -> None:
        looked.append(name)
        delete(catalog, name, *arguments)

    monkeypatch.setattr(superseded, "delete_rows", noting)
    return looked


def test_a_rerun_commits_once_a_table_and_takes_nothing_away(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_decided(environment, ("r1", (D3,)))
    run = a_run(environment, "r2", (D3,))
    carry_out(run, "publish", *NAMES)
    commits: list[str] = []
    commit = SqlCatalog.commit_table

    def counting(self: SqlCatalog, changed: Any, *arguments: Any) -> Any:
        commits.append(changed.name()[-1])
        return commit(self, changed, *arguments)

    monkeypatch.setattr(SqlCatalog, "commit_table", counting)
    carry_out(run, "decision")
    assert sorted(commits) == sorted((*FILLED, "decisions"))


def test_they_go_even_of_tables_that_a_rerun_left_empty_and_others_stay(
    environment: Environment, deletes: list[str]
) -> None:
    all_decided(environment, ("r1", (D1, D3)))
    carry_out(a_run(environment, "r0", of=an_experiment("exp_b")))
    rerun = a_run(environment, "r2", (D3,))
    carry_out(rerun, "publish", *NAMES)
    for name in ("did", "pretrends"):  # best effort, which left nothing
        rows_path(rerun, name).unlink()
    carry_out(rerun, "decision")
    counting = {name: lying(environment, name) - {(D3, "r1")} for name in FILLED}
    assert (D3, "r1") in lying(environment, "did_results")
    read = repr(Results(environment).stored_aggregates("exp_a", D3))
    assert maintain(environment).superseded > len(FILLED)
    assert {name: lying(environment, name) for name in FILLED} == counting
    assert repr(Results(environment).stored_aggregates("exp_a", D3)) == read
    assert deletes == [*FILLED]  # not of exp_b, which has none
    assert maintain(environment).superseded == 0
    assert deletes == [*FILLED]  # and are not looked for again and again


def test_rows_of_a_run_that_has_not_decided_stay_for_it_to_go_on_with(environment: Environment) -> None:
    all_decided(environment, ("r1", (D3,)), ("r2", (D3,)))
    later = {"experiment_id": "exp_a", "run_id": "r3"}
    row = {"as_of_date": D3, "status": "OK", "computed_at": datetime.now(UTC)}
    replace_rows(open_catalog(environment), "did_results", later, [row], "r3")
    maintain(environment)
    assert lying(environment, "did_results") == {(D3, "r2"), (D3, "r3")}


def test_where_an_older_run_was_cleared_and_decided_last_the_rows_of_the_newer_one_go(
    environment: Environment,
) -> None:
    all_decided(environment, ("r2", (D3,)), ("r1", (D3,)))
    maintain(environment)
    assert [lying(environment, name) for name in FILLED] == [{(D3, "r1")}] * len(FILLED)


def test_of_decisions_of_an_older_version_which_do_not_say_how_many_rows_count_they_go_too(
    environment: Environment,
) -> None:
    all_decided(environment, ("r1", (D3,)), ("r2", (D3,)))
    with table(open_catalog(environment), "decisions").update_schema(
        allow_incompatible_changes=True
    ) as change:
        change.delete_column("result_rows")
    maintain(environment)
    assert [lying(environment, name) for name in FILLED] == [{(D3, "r2")}] * len(FILLED)


def test_a_superseded_file_that_is_lost_goes_without_being_opened(environment: Environment) -> None:
    all_decided(environment, ("r1", (D3,)))
    (lost,) = (
        task.file.file_path for task in table(open_catalog(environment), "did_results").scan().plan_files()
    )
    Path(lost.removeprefix("file://")).unlink()
    all_decided(environment, ("r2", (D3,)))
    assert maintain(environment).damaged == ()
    assert lying(environment, "did_results") == {(D3, "r2")}


def test_one_experiment_that_is_damaged_is_told_and_keeps_no_other_from_its_maintenance(
    environment: Environment,
) -> None:
    all_decided(environment, ("r1", (D3,)), ("r2", (D3,)))
    (lost,) = (
        task.file.file_path for task in table(open_catalog(environment), "decisions").scan().plan_files()
    )
    for run_id in ("r3", "r4"):
        carry_out(a_run(environment, run_id, (D3,), of=an_experiment("exp_b")))
    Path(lost.removeprefix("file://")).unlink()
    done = maintain(environment, now=datetime.now(UTC) + timedelta(days=4), force=True)
    assert done.damaged == ("results of exp_a",)
    assert {run for _, run in lying(environment, "did_results")} == {"r1", "r2", "r4"}
